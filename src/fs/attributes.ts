/** From what is stored to what stat(2) shows, and what a new file gets. */
import type { Attributes, RequestContext, Timestamp } from '../fuse/ops.ts';
import type { ObjectDescription } from '../s3/store.ts';
import { DirectoryInode, FileInode, type Inode, isAttached } from './inode.ts';
import { S_IFDIR, S_IFMT, S_ISGID } from './modes.ts';
import type { FileSystemOptions } from './options.ts';
import { decodePosix, type FullPosix, objectType, timestampOf } from './posix.ts';

/** As s3fs: what other tools wrote belongs to the mounter and is closed to others, unless options say otherwise. */
const DEFAULT_FILE_MODE = 0o640;
const DEFAULT_DIRECTORY_MODE = 0o750;

/** st_blksize: what programs take as a good buffer size. A kernel request; larger ones only cost memory. */
const BLKSIZE = 128 * 1024;

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

function defaultMode(options: FileSystemOptions, type: number): number {
  if (type === S_IFDIR) return S_IFDIR | (options.dirMode ?? DEFAULT_DIRECTORY_MODE);
  return type | (options.fileMode ?? DEFAULT_FILE_MODE);
}

/** Attributes of an object of which only a listing is known. `lastModified` in ms. */
export function listedPosix(options: FileSystemOptions, type: number, lastModified: number): FullPosix {
  const time = timestampOf(lastModified);
  return {
    mode: defaultMode(options, type),
    uid: options.mounterUid,
    gid: options.mounterGid,
    rdev: 0,
    atime: time,
    mtime: time,
    ctime: time,
    xattrs: NO_XATTRS,
  };
}

/**
 * Whether a caller may be told of an object with the owner of `listedPosix`, until somebody asks for its own. Before chmod,
 * chown and utimens the kernel compares the caller with the owner that the name came with, and does not ask again: a user
 * of an `allow_other` mount whose first call to a file of his own was a chmod got EPERM.
 */
export function ownerMayBeGuessed({ allowOther, uid, mounterUid }: FileSystemOptions, caller: number): boolean {
  return !allowOther || uid !== undefined || caller === 0 || caller === mounterUid;
}

/** Attributes of an object whose metadata is known; a directory's marker with `directory`. */
export function describedPosix(
  options: FileSystemOptions,
  description: ObjectDescription,
  size: number,
  lastModified: number,
  directory: boolean,
): FullPosix {
  const stored = decodePosix(description.metadata);
  const type = directory ? S_IFDIR : objectType(stored, description.headers.contentType, size);
  const base = listedPosix(options, type, lastModified);
  const mtime = stored.mtime ?? base.mtime;
  return {
    mode: stored.mode === undefined ? base.mode : type | (stored.mode & ~S_IFMT),
    uid: stored.uid ?? base.uid,
    gid: stored.gid ?? base.gid,
    rdev: stored.rdev ?? 0,
    mtime,
    atime: stored.atime ?? mtime,
    ctime: stored.ctime ?? mtime,
    xattrs: stored.xattrs ?? NO_XATTRS,
  };
}

/** What a new inode below `parent` gets: a directory with setgid gives its group, and to directories the bit too. */
export function newPosix(
  parent: DirectoryInode,
  mode: number,
  rdev: number,
  ctx: RequestContext,
  now: Timestamp,
): FullPosix {
  const inherit = (parent.posix.mode & S_ISGID) !== 0;
  const isDirectory = (mode & S_IFMT) === S_IFDIR;
  return {
    mode: inherit && isDirectory ? mode | S_ISGID : mode,
    uid: ctx.uid,
    gid: inherit ? parent.posix.gid : ctx.gid,
    rdev,
    atime: now,
    mtime: now,
    ctime: now,
    xattrs: NO_XATTRS,
  };
}

/** The root where it has no stored mode: closed to others without allow_other, as s3fs's mount point. */
export function rootPosix(options: FileSystemOptions, now: number): FullPosix {
  const open = 0o777 & ~(options.mountPointUmask ?? 0);
  return {
    ...listedPosix(options, S_IFDIR, now),
    mode: S_IFDIR | (options.dirMode ?? (options.allowOther ? open : 0o700)),
  };
}

/** `umask=` makes every mode 0777 & ~umask, also a file's (so libfuse does it for s3fs); `fmask` and `dmask` go before it. */
function shownMode(options: FileSystemOptions, mode: number): number {
  const type = mode & S_IFMT;
  const mask = (type === S_IFDIR ? options.dmask : options.fmask) ?? options.umask;
  return mask === undefined ? mode : type | (0o777 & ~mask);
}

/** A directory has two links and one of each directory in it, as far as its listing is known. */
function linkCount(inode: Inode): number {
  if (!isAttached(inode)) return 0;
  return inode instanceof DirectoryInode ? 2 + (inode.listing?.directories ?? 0) : 1;
}

export function attributesOf(options: FileSystemOptions, inode: Inode): Attributes {
  const { posix } = inode;
  const size = inode instanceof DirectoryInode ? 0 : inode.size;
  const allocated = inode instanceof FileInode ? (inode.content?.allocatedBytes ?? size) : size;
  return {
    ino: inode.ino,
    mode: shownMode(options, posix.mode),
    nlink: linkCount(inode),
    uid: options.uid ?? posix.uid,
    gid: options.gid ?? posix.gid,
    rdev: posix.rdev,
    size,
    blocks: Math.ceil(allocated / 512),
    blksize: BLKSIZE,
    atime: posix.atime,
    mtime: posix.mtime,
    ctime: posix.ctime,
  };
}
