/**
 * Seam 1: what the kernel asks of a filesystem, and what a binding to the kernel gives.
 *
 * `FileSystemOps` is named after the system calls. It takes inode numbers (`nodeid`) and handle numbers (`fh`), returns
 * plain data, and fails only with `FsError`. It knows no FUSE struct; `src/fs` implements it and never replies by itself.
 * `KernelBinding` is implemented by `dev-fuse-binding.ts` (our own protocol over /dev/fuse) and `fuse-native-binding.ts`.
 *
 * An operation may answer at once or by a promise: answers from memory should not cost a turn of the event loop.
 */

export type Awaitable<T> = T | Promise<T>;

/** Seconds and nanoseconds since the epoch (struct timespec): `sec` may be negative, 0 <= `nsec` < 1e9. */
export interface Timestamp {
  readonly sec: number;
  readonly nsec: number;
}

/** What stat(2) shows. Sizes in bytes; `blocks` in units of 512 bytes; `mode` with the type bits. */
export interface Attributes {
  readonly ino: bigint;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  readonly blocks: number;
  readonly blksize: number;
  readonly atime: Timestamp;
  readonly mtime: Timestamp;
  readonly ctime: Timestamp;
}

/** Attributes with the time in ms for which the kernel may keep them. */
export interface AttributesReply {
  readonly attributes: Attributes;
  readonly attributesTtl: number;
}

/**
 * A name resolved. Each `Entry` handed to the kernel counts as one lookup of `nodeid`, given back by `forget`.
 * `nodeid` 0 is a negative entry (lookup only): "no such name", to be kept for `entryTtl` ms.
 */
export interface Entry extends AttributesReply {
  readonly nodeid: number;
  readonly entryTtl: number;
}

/** A miss that the kernel may remember for `entryTtl` ms. */
export interface NegativeEntry {
  readonly nodeid: 0;
  readonly entryTtl: number;
}

/** Who asks. `pid` is that of the *thread*; `signal` aborts when the kernel interrupts the request. */
export interface RequestContext {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Made on first use, so that requests answered from memory do not pay for it. */
  readonly signal: AbortSignal;
}

/** The answer to open, create and opendir. */
export interface OpenReply {
  readonly fh: number;
  /** FOPEN_KEEP_CACHE: the kernel keeps the pages it has of this inode. */
  readonly keepCache?: boolean;
  /** FOPEN_DIRECT_IO: reads and writes bypass the page cache. */
  readonly directIo?: boolean;
  /** FOPEN_NOFLUSH: close(2) asks nothing, for it would change nothing. */
  readonly noFlush?: boolean;
  /** FOPEN_NONSEEKABLE is never needed; FOPEN_CACHE_DIR lets the kernel keep the listing of an opendir. */
  readonly cacheDirectory?: boolean;
}

/** The bytes of a read: `slices` in order stay valid until `release` is called (once, after the reply is written). */
export interface ReadReply {
  readonly slices: readonly Uint8Array[];
  release?(): void;
}

/** What setattr(2)-like calls change; an absent field stays. `'now'` is the time of the daemon's clock (UTIME_NOW). */
export interface SetAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: Timestamp | 'now';
  readonly mtime?: Timestamp | 'now';
  readonly ctime?: Timestamp;
  /** Present for ftruncate(2) and futimens(2). */
  readonly fh?: number;
  /** FATTR_KILL_SUIDGID: a write or truncate by somebody unprivileged clears setuid and setgid. */
  readonly killSuidgid?: boolean;
}

/**
 * One directory entry. `name` are raw bytes as a string of UTF-8. `cookie` names the place *after* this entry.
 * `type` is d_type (mode >> 12, 0 = DT_UNKNOWN). With `entry` the kernel takes it as looked up (readdirplus); without, it
 * gets name and type only.
 */
export interface DirectoryEntry {
  readonly name: string;
  readonly ino: bigint;
  readonly type: number;
  readonly cookie: number;
  readonly entry?: Entry;
}

/**
 * Where readdir puts entries. `add` returns false if this one no longer fits: it was not taken, and the call should
 * return. An entry with `entry` that was taken counts as one lookup.
 */
export interface DirectorySink {
  /** readdirplus: `entry` is wanted where it is known without waiting. */
  readonly plus: boolean;
  add(entry: DirectoryEntry): boolean;
}

/** struct statfs: sizes in units of `bsize` bytes. */
export interface StatfsReply {
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
  readonly bsize: number;
  readonly namelen: number;
  readonly frsize: number;
}

/** RENAME_* flags of renameat2(2). */
export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;

/** FALLOC_FL_* of fallocate(2). */
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_COLLAPSE_RANGE = 8;
export const FALLOC_FL_ZERO_RANGE = 16;
export const FALLOC_FL_INSERT_RANGE = 32;

export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** XATTR_CREATE and XATTR_REPLACE of setxattr(2). */
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;

/**
 * A name from the kernel: its raw bytes as UTF-8, or `undefined` where they are no UTF-8.
 * Ops that create refuse `undefined` with EILSEQ, the others with ENOENT.
 */
export type Name = string | undefined;

/** The filesystem as the kernel sees it. nodeid 1 is the root and is never forgotten. */
export interface FileSystemOps {
  lookup(parent: number, name: Name, ctx: RequestContext): Awaitable<Entry | NegativeEntry>;
  /** Takes back `count` lookups. Never fails, never waits. */
  forget(nodeid: number, count: number): void;
  getattr(nodeid: number, fh: number | undefined, ctx: RequestContext): Awaitable<AttributesReply>;
  setattr(nodeid: number, change: SetAttributes, ctx: RequestContext): Awaitable<AttributesReply>;
  readlink(nodeid: number, ctx: RequestContext): Awaitable<Uint8Array>;
  symlink(parent: number, name: Name, target: Uint8Array, ctx: RequestContext): Awaitable<Entry>;
  /** `mode` with the type bits, the umask already applied. */
  mknod(parent: number, name: Name, mode: number, rdev: number, ctx: RequestContext): Awaitable<Entry>;
  mkdir(parent: number, name: Name, mode: number, ctx: RequestContext): Awaitable<Entry>;
  unlink(parent: number, name: Name, ctx: RequestContext): Awaitable<void>;
  rmdir(parent: number, name: Name, ctx: RequestContext): Awaitable<void>;
  rename(
    parent: number,
    name: Name,
    newParent: number,
    newName: Name,
    flags: number,
    ctx: RequestContext,
  ): Awaitable<void>;
  link(nodeid: number, newParent: number, newName: Name, ctx: RequestContext): Awaitable<Entry>;
  /**
   * `flags` as of open(2), without O_CREAT, O_EXCL and O_NOCTTY. `killSuidgid` comes with O_TRUNC by somebody
   * unprivileged: the truncation clears setuid and setgid.
   */
  open(
    nodeid: number,
    flags: number,
    ctx: RequestContext,
    options?: { readonly killSuidgid: boolean },
  ): Awaitable<OpenReply>;
  /** `flags` as for open, and O_EXCL where it was given. */
  create(
    parent: number,
    name: Name,
    mode: number,
    flags: number,
    ctx: RequestContext,
  ): Awaitable<{ readonly entry: Entry; readonly open: OpenReply }>;
  read(nodeid: number, fh: number, offset: number, size: number, ctx: RequestContext): Awaitable<ReadReply>;
  /** `data` is valid until the answer is given. Returns the number of bytes taken. */
  write(
    nodeid: number,
    fh: number,
    offset: number,
    data: Uint8Array,
    options: { readonly killSuidgid: boolean; readonly fromPageCache: boolean },
    ctx: RequestContext,
  ): Awaitable<number>;
  /** Each close(2) of a descriptor, in whichever process. */
  flush(nodeid: number, fh: number, ctx: RequestContext): Awaitable<void>;
  fsync(nodeid: number, fh: number, dataOnly: boolean, ctx: RequestContext): Awaitable<void>;
  /** The last close. Never cancelled; an error is logged, nobody sees it. */
  release(nodeid: number, fh: number, ctx: RequestContext): Awaitable<void>;
  opendir(nodeid: number, flags: number, ctx: RequestContext): Awaitable<OpenReply>;
  /** Adds entries from `cookie` on (0: from the start) until the sink is full or the directory ends. */
  readdir(nodeid: number, fh: number, cookie: number, sink: DirectorySink, ctx: RequestContext): Awaitable<void>;
  releasedir(nodeid: number, fh: number, ctx: RequestContext): Awaitable<void>;
  fsyncdir(nodeid: number, fh: number, dataOnly: boolean, ctx: RequestContext): Awaitable<void>;
  statfs(nodeid: number, ctx: RequestContext): Awaitable<StatfsReply>;
  getxattr(nodeid: number, name: string, ctx: RequestContext): Awaitable<Uint8Array>;
  setxattr(nodeid: number, name: string, value: Uint8Array, flags: number, ctx: RequestContext): Awaitable<void>;
  listxattr(nodeid: number, ctx: RequestContext): Awaitable<readonly string[]>;
  removexattr(nodeid: number, name: string, ctx: RequestContext): Awaitable<void>;
  fallocate(
    nodeid: number,
    fh: number,
    mode: number,
    offset: number,
    length: number,
    ctx: RequestContext,
  ): Awaitable<void>;
  copyFileRange(
    from: { readonly nodeid: number; readonly fh: number; readonly offset: number },
    to: { readonly nodeid: number; readonly fh: number; readonly offset: number },
    length: number,
    flags: number,
    ctx: RequestContext,
  ): Awaitable<number>;
  lseek(nodeid: number, fh: number, offset: number, whence: number, ctx: RequestContext): Awaitable<number>;
  /** access(2) where the kernel does not check by itself (no default_permissions). `mask` of R_OK, W_OK, X_OK. */
  access(nodeid: number, mask: number, ctx: RequestContext): Awaitable<void>;
  /** The session ended: save what is unsaved. Called once, by whoever composed the mount, after `ended`. */
  destroy(): Promise<void>;
}

/** What the filesystem may tell the kernel unasked. Calls never wait for the kernel and never throw. */
export interface KernelNotifier {
  /** Drops the kernel's attributes of an inode; with `pages` its page cache too. */
  invalidateInode(nodeid: number, pages?: boolean): void;
  /** Drops the kernel's entry `name` of `parent`. */
  invalidateEntry(parent: number, name: string): void;
  /**
   * Gives back inodes that no program uses, directories too: those in use stay, and no lock of their directory is taken.
   * Absent where the kernel is too old for it.
   */
  prune?(nodeids: readonly number[]): void;
}

export interface MountOptions {
  /** Absolute path of the mount point. */
  readonly mountPoint: string;
  /** Shown as the source in /proc/mounts, such as the bucket's name. */
  readonly fsname: string;
  /** Shown as `fuse.SUBTYPE`. */
  readonly subtype: string;
  readonly readOnly: boolean;
  readonly allowOther: boolean;
  /** The kernel checks modes itself. */
  readonly defaultPermissions: boolean;
  /** Further words for the mount itself: noexec, nosuid, suid, dev, nodev, noatime, sync, dirsync … */
  readonly kernelOptions: readonly string[];
  /** POSIX ACLs are stored and enforced; only without overrides of mode or owner. */
  readonly posixAcl: boolean;
}

/** Why a session ended: `unmounted` (by us or from outside), `aborted` (the connection was cut). */
export type SessionEnd = 'unmounted' | 'aborted';

export interface Mounted {
  readonly notifier: KernelNotifier;
  /** Resolves when the kernel has let go of the session. */
  readonly ended: Promise<SessionEnd>;
  /** Detaches from the tree; `lazy` also while somebody stands in it. Rejects with EBUSY otherwise. */
  unmount(options?: { readonly lazy?: boolean }): Promise<void>;
}

export interface KernelBinding {
  /** Resolves when the mount answers. Rejects with a `MountError`, whose message is one sentence for people. */
  mount(ops: FileSystemOps, options: MountOptions): Promise<Mounted>;
}
