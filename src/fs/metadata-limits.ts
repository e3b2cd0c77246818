/**
 * How much of names and attributes stays in memory: a number for each kind, out of one number of bytes.
 *
 * A walk meets any number of names, and each is remembered in several places. What is let go of costs a request when
 * somebody comes back to it, and never an answer that is wrong.
 */

export interface MetadataLimits {
  /** Inodes that the kernel holds here; above it the kernel is asked to forget some. */
  readonly inodes: number;
  /** Names in all listings together. */
  readonly listedNames: number;
  /** Names of one directory that are remembered while it is listed. */
  readonly namesOfDirectory: number;
  /** Objects whose own metadata is remembered. */
  readonly described: number;
  /** The same, learned and not in the index on disk yet. */
  readonly describedWaiting: number;
  /** Versions whose identity is kept beside the inodes. */
  readonly versions: number;
}

const MIB = 1024 * 1024;

/** find, du and rm (fts of gnulib) read 100,000 names before they look at the first: with fewer remembered each would be a HEAD. */
const NAMES_READ_AT_ONCE = 105_000;

/** Where nobody says how much memory there is. */
export const DEFAULT_METADATA_BYTES = 256 * MIB;

/**
 * What these many bytes allow. Measured with names of 10 and ETags of 34 letters: an inode takes some 1.5 KB, a listed
 * name 300, an object's metadata 600, a version 300. All limits at once come to the bytes and about a half
 * more; no walk has reached more than two of them.
 */
export function metadataLimits(bytes: number): MetadataLimits {
  const listedNames = Math.floor(bytes / 512);
  return {
    // 131,072 of 256 MiB: `ls -l` of 100,000 files a second time stays without a lookup.
    inodes: Math.floor(bytes / 2048),
    listedNames,
    namesOfDirectory: Math.max(NAMES_READ_AT_ONCE, Math.floor(listedNames / 5)),
    described: Math.floor(bytes / 5368),
    describedWaiting: Math.floor(bytes / 2684),
    versions: Math.floor(bytes / 4096),
  };
}
