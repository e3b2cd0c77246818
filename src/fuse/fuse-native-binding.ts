/**
 * The second binding: libfuse 2 through the package `fuse-native`, which whoever wants it installs. For comparison, and for
 * where our own cannot run; what it cannot do is listed in docs/BINDINGS.md, and its contract tests assert each line.
 *
 * 1. A handler that throws, or never answers, leaves a caller waiting for ever: `settle` catches everything.
 * 2. Nothing tells when the mount has ended: the kernel's list of connections does, or the table of mounts and what is open.
 * 3. It knows no words for `-o` but its own, and joins them with commas: others ride on the name of the source.
 * 4. Its own unmount is always lazy and says nothing of who is still there: we detach as the other binding does.
 */
import { Buffer } from 'node:buffer';
import { existsSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ERRNO, toFsError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { type FuseNativeHandlers, type FuseNativeStat, loadFuseNative } from './fuse-native-package.ts';
import { checkedMountPoint, detachMount } from './mount.ts';
import { MountError } from './mount-error.ts';
import { escapedWord, mountFlags } from './mount-options.ts';
import { findMount } from './mount-table.ts';
import type { Attributes, FileSystemOps, KernelBinding, Mounted, MountOptions, StatfsReply } from './ops.ts';
import { PathOperations } from './path-operations.ts';

export interface FuseNativeBindingOptions {
  readonly telemetry: Telemetry;
  readonly uid: number;
  readonly gid: number;
  readonly onBug?: (error: unknown) => void;
  /** Default: `require('fuse-native')`. */
  readonly load?: () => unknown;
}

/** What libfuse 2 knows of the words for the mount itself. */
const WORDS: ReadonlySet<string> = new Set(
  'ro rw suid nosuid dev nodev exec noexec sync async atime noatime dirsync'.split(' '),
);
/** ms between two looks at the table of mounts: nobody waits for it but the end of the daemon. */
const LOOK_EVERY = 500;
/** Of its struct statvfs each number has 32 bits. */
const MOST_BLOCKS = 0xffff_ffff;

export class FuseNativeBinding implements KernelBinding {
  readonly #options: FuseNativeBindingOptions;

  constructor(options: FuseNativeBindingOptions) {
    this.#options = options;
  }

  async mount(ops: FileSystemOps, options: MountOptions): Promise<Mounted> {
    const { telemetry, uid, gid } = this.#options;
    const Fuse = loadFuseNative(this.#options.load);
    const mountPoint = await checkedMountPoint(options);
    const paths = new PathOperations(ops, { uid, gid });
    const fuse = new Fuse(mountPoint, this.#handlers(paths), {
      // It answers ETIMEDOUT after 15 s by default, whatever S3 may still be doing.
      timeout: false,
      fsname: [escapedWord(options.fsname), ...wordsOf(options)].join(','),
      subtype: escapedWord(options.subtype),
      allowOther: options.allowOther,
      defaultPermissions: options.defaultPermissions,
    });
    await new Promise<void>((resolve, reject) => {
      fuse.mount(error => {
        if (!error) return resolve();
        const text = `libfuse refused to mount on ${mountPoint}; what it said stands above.`;
        reject(new MountError('failed', text, { cause: error }));
      });
    });
    return {
      notifier: {
        // The kernel's own attributes last a second; its pages until the next open.
        invalidateInode() {},
        invalidateEntry: (parent, name) => paths.inodes.dropEntry(parent, name),
      },
      ended: untilGone(mountPoint, paths).then(() => {
        paths.inodes.clear();
        telemetry.log.info({ mountPoint, end: 'unmounted' }, 'the kernel has let go of the mount');
        return 'unmounted' as const;
      }),
      unmount: async ({ lazy = false } = {}) => detachMount(mountPoint, lazy),
    };
  }

  #handlers(paths: PathOperations): FuseNativeHandlers {
    /** An answer, whatever happens: 0 with what `values` makes of the result, or an errno, negative. */
    const settle = <T>(
      op: string,
      work: () => Promise<T>,
      answer: (error: number, ...values: never[]) => void,
      values: (result: T) => readonly unknown[] = () => [],
    ): void => {
      const tell = answer as (error: number, ...values: unknown[]) => void;
      work().then(
        result => tell(0, ...values(result)),
        (error: unknown) => tell(-this.#errnoOf(op, error)),
      );
    };
    /** As `settle`, where the number of bytes stands in the place of the error. */
    const count = (op: string, work: () => Promise<number>, answer: (result: number) => void): void => {
      work().then(answer, (error: unknown) => answer(-this.#errnoOf(op, error)));
    };
    return {
      getattr: (path, answer) =>
        settle(
          'getattr',
          () => paths.getattr(path),
          answer,
          of => [statOf(of)],
        ),
      access: (path, mask, answer) => settle('access', () => paths.access(path, mask), answer),
      statfs: (_path, answer) =>
        settle(
          'statfs',
          () => paths.statfs(),
          answer,
          of => [statfsOf(of)],
        ),
      readlink: (path, answer) =>
        settle(
          'readlink',
          () => paths.readlink(path),
          answer,
          target => [target],
        ),
      readdir: (path, answer) =>
        settle(
          'readdir',
          () => paths.readdir(path),
          answer,
          // Only the type is taken from these.
          names => [names.map(({ name }) => name), names.map(({ type }) => ({ ...NO_STAT, mode: type << 12 }))],
        ),
      fsyncdir: (path, dataOnly, _fh, answer) => settle('fsyncdir', () => paths.fsyncdir(path, dataOnly !== 0), answer),
      chmod: (path, mode, answer) => settle('chmod', () => paths.chmod(path, mode), answer),
      chown: (path, uid, gid, answer) => settle('chown', () => paths.chown(path, uid, gid), answer),
      truncate: (path, size, answer) => settle('truncate', () => paths.truncate(path, size), answer),
      ftruncate: (_path, fh, size, answer) => settle('ftruncate', () => paths.ftruncate(fh, size), answer),
      utimens: (path, atime, mtime, answer) => settle('utimens', () => paths.utimens(path, atime, mtime), answer),
      mknod: (path, mode, rdev, answer) => settle('mknod', () => paths.mknod(path, mode, rdev), answer),
      mkdir: (path, mode, answer) => settle('mkdir', () => paths.mkdir(path, mode), answer),
      symlink: (target, path, answer) => settle('symlink', () => paths.symlink(target, path), answer),
      link: (path, newPath, answer) => settle('link', () => paths.link(path, newPath), answer),
      unlink: (path, answer) => settle('unlink', () => paths.unlink(path), answer),
      rmdir: (path, answer) => settle('rmdir', () => paths.rmdir(path), answer),
      rename: (path, newPath, answer) => settle('rename', () => paths.rename(path, newPath), answer),
      create: (path, mode, answer) =>
        settle(
          'create',
          () => paths.create(path, mode),
          answer,
          fh => [fh],
        ),
      open: (path, flags, answer) =>
        settle(
          'open',
          () => paths.open(path, flags),
          answer,
          fh => [fh],
        ),
      read: (_path, fh, target, size, offset, answer) =>
        count('read', () => paths.read(fh, target.subarray(0, size), offset), answer),
      write: (_path, fh, data, size, offset, answer) =>
        count('write', () => paths.write(fh, data.subarray(0, size), offset), answer),
      flush: (_path, fh, answer) => settle('flush', () => paths.flush(fh), answer),
      fsync: (_path, dataOnly, fh, answer) => settle('fsync', () => paths.fsync(fh, dataOnly !== 0), answer),
      release: (_path, fh, answer) => settle('release', () => paths.release(fh), answer),
      getxattr: (path, name, _position, answer) =>
        settle(
          'getxattr',
          () => paths.getxattr(path, name),
          answer,
          value => [value],
        ),
      setxattr: (path, name, value, _position, flags, answer) =>
        settle('setxattr', () => paths.setxattr(path, name, Buffer.from(value), flags), answer),
      listxattr: (path, answer) =>
        settle(
          'listxattr',
          () => paths.listxattr(path),
          answer,
          names => [names],
        ),
      removexattr: (path, name, answer) => settle('removexattr', () => paths.removexattr(path, name), answer),
    };
  }

  #errnoOf(op: string, error: unknown): number {
    const known = toFsError(error);
    if (known !== undefined) return ERRNO[known.code];
    const { telemetry, onBug } = this.#options;
    telemetry.count('fuse.bug');
    telemetry.log.error(
      { op, stack: error instanceof Error ? error.stack : String(error) },
      'an operation failed in a way that it must not; this is a bug',
    );
    onBug?.(error);
    return ERRNO.EIO;
  }
}

function wordsOf(options: MountOptions): readonly string[] {
  mountFlags(options);
  const unknown = options.kernelOptions.find(word => !WORDS.has(word));
  if (unknown !== undefined) {
    throw new MountError('option', `libfuse 2 does not know the mount option '${unknown}'; use the binding dev-fuse.`);
  }
  // Without big_writes the kernel sends 4 KiB at a time.
  return ['big_writes', ...options.kernelOptions, options.readOnly ? 'ro' : 'rw'];
}

const NO_STAT = { uid: 0, gid: 0, size: 0, nlink: 1, rdev: 0, blksize: 4096, blocks: 0, atime: 0, mtime: 0, ctime: 0 };

/** Times in ms from 1970 on, which is all that it takes. The inode number is libfuse's own: it has room for 32 bits. */
function statOf(attributes: Attributes): FuseNativeStat {
  const { mode, uid, gid, size, nlink, rdev, blksize, blocks, atime, mtime, ctime } = attributes;
  const ms = ({ sec, nsec }: { sec: number; nsec: number }): number => Math.max(0, sec * 1000 + Math.floor(nsec / 1e6));
  const times = { atime: ms(atime), mtime: ms(mtime), ctime: ms(ctime) };
  return { mode, uid, gid, size, nlink, rdev, blksize, blocks, ...times };
}

/** In blocks as large as it takes for their number to fit. */
export function statfsOf(reply: StatfsReply): Readonly<Record<string, number>> {
  let scale = 1;
  while (reply.blocks / scale > MOST_BLOCKS) scale *= 2;
  const blocks = (count: number): number => Math.floor(count / scale);
  const files = (count: number): number => Math.min(count, MOST_BLOCKS);
  return {
    bsize: reply.bsize * scale,
    frsize: reply.frsize * scale,
    blocks: blocks(reply.blocks),
    bfree: blocks(reply.bfree),
    bavail: blocks(reply.bavail),
    files: files(reply.files),
    ffree: files(reply.ffree),
    favail: files(reply.ffree),
    namemax: reply.namelen,
  };
}

/**
 * Resolves when the kernel has let go: the connection has left its list, where that can be seen (fusectl is mounted);
 * else when the mount is out of the tree and no file of it is open.
 */
async function untilGone(mountPoint: string, paths: PathOperations): Promise<void> {
  const mounted = await findMount(mountPoint);
  const minor = mounted?.device.split(':')[1];
  const isConnected = (): boolean => minor !== undefined && existsSync(`/sys/fs/fuse/connections/${minor}`);
  const isListed = isConnected();
  const isHeld = (): boolean => (isListed ? isConnected() : paths.openFiles > 0);
  while ((await findMount(mountPoint))?.id === mounted?.id || isHeld()) await pause(LOOK_EVERY);
}
