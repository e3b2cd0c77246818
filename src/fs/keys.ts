/**
 * Names and keys: which names a filesystem can show, which keys it can make, and the one order of both.
 *
 * A directory's key is its prefix and ends in `/`; the root's is empty. Order is that of UTF-8 bytes, which is S3's. It is
 * not that of JavaScript strings: U+1F600 is a pair of surrogates there and sorts before U+FFA0.
 */
import { compareKeys } from '../key-order.ts';

export { compareKeys } from '../key-order.ts';

/** NAME_MAX of limits.h, in bytes. */
export const NAME_MAX = 255;

/** Objects that we put beside a user's: a prefix that Athena, Glue and Spark skip, and that listings here do not show. */
export const HIDDEN_PREFIX = '_s3mount/';

/** Compares names as a listing with directories sorts them, each as `name/` (`a-b` before `a/`). */
export function compareNames(a: string, b: string): number {
  return compareKeys(`${a}/`, `${b}/`);
}

/** Bytes in UTF-8. */
export function byteLength(text: string): number {
  return Buffer.byteLength(text);
}

/** Whether a filesystem can show this name: not empty, `.`, `..`, with NUL or `/`, or above 255 bytes. */
export function isShowable(name: string): boolean {
  if (name === '' || name === '.' || name === '..') return false;
  if (name.includes('/') || name.includes('\0')) return false;
  // A byte makes at most one UTF-16 unit, a unit at most three bytes: most names need no count.
  return name.length * 3 <= NAME_MAX || byteLength(name) <= NAME_MAX;
}

/** True where U+FFFD stands for bytes that S3 gave and that are no UTF-8: two such names would be one. */
export function isMangled(name: string): boolean {
  return name.includes('\uFFFD');
}

/** Of the root, as ext4 has it for none and other filesystems for theirs. */
export const ROOT_INO = 1n;

/**
 * A 64-bit number for a name in the directory with number `parent`, for st_ino; a directory's `name` ends in `/`. Two
 * 32-bit hashes (FNV-1a with different primes, finished as MurmurHash3 does), begun with the parent's number: what lies
 * below a directory keeps its number when the directory keeps its own over a rename. Never 0 or 1, which some programs
 * take for "none" and for the root.
 */
export function inoBelow(parent: bigint, name: string): bigint {
  let a = 0x811c9dc5 ^ Number(parent & 0xffffffffn);
  let b = 0xc2b2ae35 ^ Number(parent >> 32n);
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x85ebca6b);
    b = (b << 13) | (b >>> 19);
  }
  a = finish(a ^ name.length);
  b = finish(b ^ a);
  const ino = (BigInt(a >>> 0) << 32n) | BigInt(b >>> 0);
  return ino < 2n ? ino + 2n : ino;
}

/** The number of a key, as long as nothing on its way was renamed: the same in each mount of the bucket. */
export function inoOf(key: string): bigint {
  let ino = ROOT_INO;
  for (let at = 0; at < key.length; ) {
    const slash = key.indexOf('/', at);
    const end = slash < 0 ? key.length : slash + 1;
    ino = inoBelow(ino, key.slice(at, end));
    at = end;
  }
  return ino;
}

function finish(hash: number): number {
  let h = hash;
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}
