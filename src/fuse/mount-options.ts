/** The words of `-o` that concern the mount itself: as flags for mount(2), or as words for fusermount3. Pure. */
import { MountError } from './mount-error.ts';
import type { MountOptions } from './ops.ts';

/** MS_* of mount(2): the bits that a word sets and clears. */
const WORDS: Readonly<Record<string, { readonly set?: number; readonly clear?: number }>> = {
  ro: { set: 1 },
  rw: { clear: 1 },
  nosuid: { set: 2 },
  suid: { clear: 2 },
  nodev: { set: 4 },
  dev: { clear: 4 },
  noexec: { set: 8 },
  exec: { clear: 8 },
  sync: { set: 16 },
  async: { clear: 16 },
  dirsync: { set: 128 },
  noatime: { set: 1024 },
  atime: { clear: 1024 },
  nodiratime: { set: 2048 },
  diratime: { clear: 2048 },
  relatime: { set: 1 << 21 },
  norelatime: { clear: 1 << 21 },
  strictatime: { set: 1 << 24 },
  nostrictatime: { clear: 1 << 24 },
};

const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;

/** Whether `word` may stand in `MountOptions.kernelOptions`. */
export function isMountWord(word: string): boolean {
  return Object.hasOwn(WORDS, word);
}

/** The flags of mount(2): the later word wins. Throws `MountError` for a word that is not known. */
export function mountFlags(options: MountOptions): number {
  let flags = MS_NOSUID | MS_NODEV | (options.readOnly ? MS_RDONLY : 0);
  for (const word of options.kernelOptions) {
    const bits = Object.hasOwn(WORDS, word) ? WORDS[word] : undefined;
    if (bits === undefined) throw new MountError('option', `The mount option '${word}' is not known.`);
    flags = (flags | (bits.set ?? 0)) & ~(bits.clear ?? 0);
  }
  // `rw` among the words must not open what the filesystem itself refuses to write.
  return options.readOnly ? flags | MS_RDONLY : flags;
}

export interface MountData {
  readonly fd: number;
  readonly uid: number;
  readonly gid: number;
}

/** The last argument of mount(2) for a FUSE filesystem. */
export function mountData(options: MountOptions, data: MountData): string {
  const words = [`fd=${data.fd}`, 'rootmode=40000', `user_id=${data.uid}`, `group_id=${data.gid}`];
  if (options.allowOther) words.push('allow_other');
  if (options.defaultPermissions) words.push('default_permissions');
  return words.join(',');
}

/** Commas separate options, so those of a value are written with a backslash. */
export function escapedWord(value: string): string {
  return value.replaceAll(/[\\,]/g, '\\$&');
}

/** The argument of `fusermount3 -o`. */
export function fusermountWords(options: MountOptions): string {
  mountFlags(options);
  const words = [options.readOnly ? 'ro' : 'rw', 'nosuid', 'nodev', ...options.kernelOptions];
  if (options.readOnly) words.push('ro');
  if (options.allowOther) words.push('allow_other');
  if (options.defaultPermissions) words.push('default_permissions');
  words.push(`fsname=${escapedWord(options.fsname)}`, `subtype=${escapedWord(options.subtype)}`);
  return words.join(',');
}
