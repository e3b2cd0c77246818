/**
 * What of `fuse-native` 2.2.6 is used, and how it is found. It is not among our dependencies: its last release is of 2020,
 * and where its library for x64 does not load, installing it starts a compiler.
 */
import { createRequire } from 'node:module';
import { MountError } from './mount-error.ts';

/** Times in ms since the epoch. */
export interface FuseNativeStat {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly nlink: number;
  readonly rdev: number;
  readonly blksize: number;
  readonly blocks: number;
  readonly atime: number;
  readonly mtime: number;
  readonly ctime: number;
}

/** 0, of read and write the number of bytes, or an errno, negative. */
type Done = (error: number) => void;
type Answer<T extends readonly unknown[]> = (error: number, ...values: Partial<T>) => void;

/** Its handlers: a path, what belongs to the call, and a function that has to be called exactly once. */
export interface FuseNativeHandlers {
  getattr(path: string, answer: Answer<[FuseNativeStat]>): void;
  access(path: string, mask: number, answer: Done): void;
  statfs(path: string, answer: Answer<[Readonly<Record<string, number>>]>): void;
  readlink(path: string, answer: Answer<[string]>): void;
  readdir(path: string, answer: Answer<[string[], FuseNativeStat[]]>): void;
  fsyncdir(path: string, dataOnly: number, fh: number, answer: Done): void;
  chmod(path: string, mode: number, answer: Done): void;
  chown(path: string, uid: number, gid: number, answer: Done): void;
  truncate(path: string, size: number, answer: Done): void;
  ftruncate(path: string, fh: number, size: number, answer: Done): void;
  utimens(path: string, atime: number, mtime: number, answer: Done): void;
  mknod(path: string, mode: number, rdev: number, answer: Done): void;
  mkdir(path: string, mode: number, answer: Done): void;
  symlink(target: string, path: string, answer: Done): void;
  link(path: string, newPath: string, answer: Done): void;
  unlink(path: string, answer: Done): void;
  rmdir(path: string, answer: Done): void;
  rename(path: string, newPath: string, answer: Done): void;
  create(path: string, mode: number, answer: Answer<[number]>): void;
  open(path: string, flags: number, answer: Answer<[number]>): void;
  /** `target` is valid until the answer. */
  read(path: string, fh: number, target: Buffer, size: number, offset: number, answer: Done): void;
  write(path: string, fh: number, data: Buffer, size: number, offset: number, answer: Done): void;
  flush(path: string, fh: number, answer: Done): void;
  fsync(path: string, dataOnly: number, fh: number, answer: Done): void;
  release(path: string, fh: number, answer: Done): void;
  getxattr(path: string, name: string, position: number, answer: Answer<[Buffer]>): void;
  setxattr(path: string, name: string, value: Buffer, position: number, flags: number, answer: Done): void;
  listxattr(path: string, answer: Answer<[readonly string[]]>): void;
  removexattr(path: string, name: string, answer: Done): void;
}

export interface FuseNativeOptions {
  readonly timeout: false;
  readonly fsname: string;
  readonly subtype: string;
  readonly allowOther: boolean;
  readonly defaultPermissions: boolean;
}

export type FuseNative = new (
  mountPoint: string,
  handlers: FuseNativeHandlers,
  options: FuseNativeOptions,
) => { mount(done: (error: Error | null | undefined) => void): void };

/** Beside us or globally (`NODE_PATH` counts). Throws `MountError` with what to install. */
export function loadFuseNative(
  load: () => unknown = () => createRequire(import.meta.url)('fuse-native') as unknown,
): FuseNative {
  try {
    return load() as FuseNative;
  } catch (error) {
    throw new MountError('unsupported', reasonOf(error as NodeJS.ErrnoException), { cause: error });
  }
}

function reasonOf({ code, message }: NodeJS.ErrnoException): string {
  const instead = 'or leave out binding=fuse-native';
  if (code === 'MODULE_NOT_FOUND') {
    return `The package fuse-native is not installed; install it beside s3mount ('npm install -g fuse-native', x64 only), ${instead}.`;
  }
  if (/libfuse\.so\.2/.test(message)) {
    return `fuse-native needs libfuse.so.2; install it (apt install libfuse2, dnf install fuse-libs), ${instead}.`;
  }
  return `fuse-native cannot be loaded here (${message.split('\n', 1)[0]}); it has a library for x64 only, so ${instead.slice(3)}.`;
}
