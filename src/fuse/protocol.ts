/**
 * The FUSE protocol as numbers: opcodes, flags and where each field of a request lies. Nothing here does anything.
 *
 * Versions 7.31 (Linux 5.4) to 7.45 (6.18). All integers are little-endian on the machines that we run on (the kernel uses
 * its own byte order), structs are padded to 8 bytes. The layout is that of the kernel's public header <linux/fuse.h>.
 * Offsets in requests are in bytes from the start of the message, the 40 bytes of `fuse_in_header` included.
 */

export const PROTOCOL_MAJOR = 7;
/** The newest minor whose layouts are known here; the kernel speaks the lower of its own and this. */
export const PROTOCOL_MINOR = 45;
/** Linux 5.4: the first with all that is relied upon (max_pages, cached symlinks, copy_file_range). */
export const PROTOCOL_MINOR_LEAST = 31;

export const IN_HEADER_SIZE = 40;
export const OUT_HEADER_SIZE = 16;
export const ENTRY_OUT_SIZE = 128;
export const ATTR_OUT_SIZE = 104;
export const OPEN_OUT_SIZE = 16;
export const DIRENT_SIZE = 24;

/** Largest READ and WRITE, in bytes: 256 pages of 4 KiB is where the kernel stops by default (fs.fuse.max_pages_limit). */
export const MAX_IO = 1024 * 1024;
/** A WRITE is its two structs (80 bytes) and the data; the kernel refuses to read into less, and 8 KiB is its least. */
export const REQUEST_CAPACITY = MAX_IO + 8192;

export const ROOT_NODEID = 1;

export const OPCODE = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

export type OpcodeName = keyof typeof OPCODE;

const NAME_OF_OPCODE = new Map<number, OpcodeName>(
  Object.entries(OPCODE).map(([name, code]) => [code, name as OpcodeName]),
);

/** For log lines: `READ`, or `opcode 99` where the kernel knows more than we do. */
export function opcodeName(opcode: number): string {
  return NAME_OF_OPCODE.get(opcode) ?? `opcode ${opcode}`;
}

/** Bits of `flags` (0–31) and `flags2` (32–63) in INIT. */
export const INIT_FLAG = {
  ASYNC_READ: 0,
  ATOMIC_O_TRUNC: 3,
  BIG_WRITES: 5,
  DONT_MASK: 6,
  AUTO_INVAL_DATA: 12,
  DO_READDIRPLUS: 13,
  READDIRPLUS_AUTO: 14,
  ASYNC_DIO: 15,
  WRITEBACK_CACHE: 16,
  PARALLEL_DIROPS: 18,
  POSIX_ACL: 20,
  ABORT_ERROR: 21,
  MAX_PAGES: 22,
  CACHE_SYMLINKS: 23,
  EXPLICIT_INVAL_DATA: 25,
  HANDLE_KILLPRIV_V2: 28,
  INIT_EXT: 30,
  HAS_EXPIRE_ONLY: 35,
  DIRECT_IO_ALLOW_MMAP: 36,
} as const;

export type InitFlagName = keyof typeof INIT_FLAG;

export const FOPEN_DIRECT_IO = 1;
export const FOPEN_KEEP_CACHE = 2;
export const FOPEN_CACHE_DIR = 8;
/** Since Linux 5.16; older kernels ignore it. */
export const FOPEN_NOFLUSH = 32;

export const GETATTR_FH = 1;
export const FSYNC_DATA_ONLY = 1;
export const OPEN_KILL_SUIDGID = 1;
export const WRITE_FROM_CACHE = 1;
export const WRITE_KILL_SUIDGID = 4;

export const FATTR = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  FH: 64,
  ATIME_NOW: 128,
  MTIME_NOW: 256,
  CTIME: 1024,
  KILL_SUIDGID: 2048,
} as const;

export const NOTIFY_INVAL_INODE = 2;
export const NOTIFY_INVAL_ENTRY = 3;
export const NOTIFY_PRUNE = 9;
/** From this minor on (Linux 6.18) the kernel knows NOTIFY_PRUNE. */
export const PRUNE_MINOR = 45;

/** `fuse_in_header`. */
export const HEADER = { len: 0, opcode: 4, unique: 8, nodeid: 16, uid: 24, gid: 28, pid: 32 } as const;

/** Field offsets per request, `name` being where its first NUL-terminated string starts and `end` the least length. */
export const IN = {
  INIT: { major: 40, minor: 44, maxReadahead: 48, flags: 52, flags2: 56, end: 56 },
  FORGET: { nlookup: 40, end: 48 },
  BATCH_FORGET: { count: 40, items: 48, itemSize: 16, end: 48 },
  GETATTR: { flags: 40, fh: 48, end: 56 },
  SETATTR: {
    valid: 40,
    fh: 48,
    size: 56,
    atime: 72,
    mtime: 80,
    ctime: 88,
    atimeNsec: 96,
    mtimeNsec: 100,
    ctimeNsec: 104,
    mode: 108,
    uid: 116,
    gid: 120,
    end: 128,
  },
  LOOKUP: { name: 40, end: 41 },
  READLINK: { end: 40 },
  SYMLINK: { name: 40, end: 42 },
  MKNOD: { mode: 40, rdev: 44, umask: 48, name: 56, end: 57 },
  MKDIR: { mode: 40, umask: 44, name: 48, end: 49 },
  UNLINK: { name: 40, end: 41 },
  RENAME: { newdir: 40, name: 48, end: 50 },
  RENAME2: { newdir: 40, flags: 48, name: 56, end: 58 },
  LINK: { oldNodeid: 40, name: 48, end: 49 },
  OPEN: { flags: 40, openFlags: 44, end: 48 },
  CREATE: { flags: 40, mode: 44, umask: 48, openFlags: 52, name: 56, end: 57 },
  READ: { fh: 40, offset: 48, size: 56, end: 80 },
  WRITE: { fh: 40, offset: 48, size: 56, writeFlags: 60, data: 80, end: 80 },
  RELEASE: { fh: 40, end: 64 },
  FLUSH: { fh: 40, end: 64 },
  FSYNC: { fh: 40, flags: 48, end: 56 },
  SETXATTR: { size: 40, flags: 44, name: 48, end: 49 },
  GETXATTR: { size: 40, name: 48, end: 49 },
  LISTXATTR: { size: 40, end: 48 },
  REMOVEXATTR: { name: 40, end: 41 },
  ACCESS: { mask: 40, end: 48 },
  INTERRUPT: { unique: 40, end: 48 },
  FALLOCATE: { fh: 40, offset: 48, length: 56, mode: 64, end: 72 },
  LSEEK: { fh: 40, offset: 48, whence: 56, end: 64 },
  COPY_FILE_RANGE: { fhIn: 40, offIn: 48, nodeidOut: 56, fhOut: 64, offOut: 72, length: 80, flags: 88, end: 96 },
} as const;
