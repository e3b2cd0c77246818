/** File types and permission bits of st_mode (sys/stat.h), and open(2) flags as FUSE passes them on (fcntl.h, x64 and arm64). */

export const S_IFMT = 0o170000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFIFO = 0o010000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;
export const S_IXGRP = 0o010;

export const O_ACCMODE = 3;
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_EXCL = 0o200;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
/** O_DIRECT differs between x64 and arm64. */
export const O_DIRECT = process.arch === 'arm64' ? 0o200000 : 0o40000;

export function typeOf(mode: number): number {
  return mode & S_IFMT;
}

/** d_type of readdir(3): the type bits shifted down. */
export function direntType(mode: number): number {
  return (mode & S_IFMT) >> 12;
}

/**
 * What a change of content or owner by somebody without privilege does to a mode: setuid goes, and setgid where the group
 * may execute (otherwise it would mean mandatory locking). POSIX.1-2024, chown() and write().
 */
export function withoutSuidgid(mode: number): number {
  const kept = mode & ~S_ISUID;
  return mode & S_IXGRP ? kept & ~S_ISGID : kept;
}
