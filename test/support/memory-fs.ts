/**
 * A small filesystem in memory behind the kernel seam: what the contract of a binding is tested against, and how fast a
 * binding is with nothing behind it. POSIX where the contract looks, no more.
 *
 * Some names behave in a way of their own, so that a test which only touches the mount can bring it about:
 * - `errno-EXXX`: its lookup fails with that code.
 * - `bug`: its lookup throws a TypeError.
 * - `blocked`: a file whose read, and whose open for writing, waits until it is interrupted, or for ever.
 * - `pattern`: a file of 1 GiB (read only) whose bytes repeat every 32 MiB.
 */
import { ERRNO, type ErrnoCode, FsError } from '../../src/errors.ts';
import {
  type Attributes,
  type AttributesReply,
  type DirectorySink,
  type Entry,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  type FileSystemOps,
  type Name,
  type OpenReply,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  type ReadReply,
  type RequestContext,
  SEEK_DATA,
  SEEK_HOLE,
  type SetAttributes,
  type Timestamp,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../src/fuse/ops.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const O_WRONLY = 1;
const O_TRUNC = 0o1000;
const O_EXCL = 0o200;

export const PATTERN_SIZE = 1024 ** 3;
const PATTERN_PERIOD = 32 * 1024 * 1024;

interface Inode {
  readonly nodeid: number;
  mode: number;
  uid: number;
  gid: number;
  rdev: number;
  nlink: number;
  size: number;
  data: Uint8Array;
  target: Uint8Array;
  readonly children: Map<string, Inode>;
  readonly xattrs: Map<string, Uint8Array>;
  atime: Timestamp;
  mtime: Timestamp;
  ctime: Timestamp;
  lookups: number;
}

export interface MemoryFsOptions {
  /** ms for which the kernel may keep attributes and entries. */
  readonly ttl: number;
}

const now = (): Timestamp => {
  const ms = Date.now();
  return { sec: Math.floor(ms / 1000), nsec: (ms % 1000) * 1e6 };
};

export class MemoryFs implements FileSystemOps {
  readonly calls = new Map<string, number>();
  /** uid, gid and umask-applied mode of the last create, mkdir or mknod. */
  lastMode = 0;
  readonly #inodes = new Map<number, Inode>();
  readonly #listings = new Map<number, [string, Inode][]>();
  readonly #ttl: number;
  #next = 1;
  #nextFh = 1;
  readonly #root: Inode;
  #pattern: Uint8Array | undefined;

  constructor(options: MemoryFsOptions = { ttl: 1000 }) {
    this.#ttl = options.ttl;
    this.#root = this.#make(S_IFDIR | 0o755, process.getuid!(), process.getgid!());
    const add = (name: string, size: number): void => {
      const file = this.#make(S_IFREG | 0o644, process.getuid!(), process.getgid!());
      file.size = size;
      this.#root.children.set(name, file);
    };
    add('blocked', 4096);
    add('pattern', PATTERN_SIZE);
  }

  /** The inode at `path`, such as `a/b`; for what a test does behind the kernel's back. */
  at(path: string): Inode {
    let inode = this.#root;
    for (const name of path.split('/').filter(Boolean)) inode = this.#child(inode, name);
    return inode;
  }

  setContent(path: string, content: string): number {
    const inode = this.at(path);
    inode.data = new TextEncoder().encode(content);
    inode.size = inode.data.length;
    inode.mtime = now();
    return inode.nodeid;
  }

  /** Lookups that the kernel holds of everything but the root. */
  get lookups(): number {
    let sum = 0;
    for (const inode of this.#inodes.values()) if (inode !== this.#root) sum += inode.lookups;
    return sum;
  }

  #make(mode: number, uid: number, gid: number): Inode {
    const time = now();
    const inode: Inode = {
      nodeid: this.#next++,
      mode,
      uid,
      gid,
      rdev: 0,
      nlink: (mode & S_IFMT) === S_IFDIR ? 2 : 1,
      size: 0,
      data: new Uint8Array(0),
      target: new Uint8Array(0),
      children: new Map(),
      xattrs: new Map(),
      atime: time,
      mtime: time,
      ctime: time,
      lookups: 0,
    };
    this.#inodes.set(inode.nodeid, inode);
    return inode;
  }

  #inode(nodeid: number): Inode {
    const inode = this.#inodes.get(nodeid);
    if (!inode) throw new FsError('ESTALE');
    return inode;
  }

  #child(parent: Inode, name: Name): Inode {
    const child = name === undefined ? undefined : parent.children.get(name);
    if (!child) throw new FsError('ENOENT');
    return child;
  }

  #attributes(inode: Inode): Attributes {
    return {
      ino: BigInt(inode.nodeid) + 0x1_0000_0000n,
      mode: inode.mode,
      nlink: inode.nlink,
      uid: inode.uid,
      gid: inode.gid,
      rdev: inode.rdev,
      size: inode.size,
      blocks: Math.ceil(inode.size / 512),
      blksize: 4096,
      atime: inode.atime,
      mtime: inode.mtime,
      ctime: inode.ctime,
    };
  }

  #reply(inode: Inode): AttributesReply {
    return { attributes: this.#attributes(inode), attributesTtl: this.#ttl };
  }

  #entry(inode: Inode): Entry {
    inode.lookups++;
    return { nodeid: inode.nodeid, entryTtl: this.#ttl, attributes: this.#attributes(inode), attributesTtl: this.#ttl };
  }

  #add(parent: number, name: Name, mode: number, ctx: RequestContext): Inode {
    if (name === undefined) throw new FsError('EILSEQ');
    if (Buffer.byteLength(name) > 255) throw new FsError('ENAMETOOLONG');
    const directory = this.#inode(parent);
    if (directory.children.has(name)) throw new FsError('EEXIST');
    this.lastMode = mode;
    const inode = this.#make(mode, ctx.uid, ctx.gid);
    directory.children.set(name, inode);
    directory.mtime = now();
    return inode;
  }

  lookup(parent: number, name: Name): Entry {
    if (name?.startsWith('errno-')) {
      const code = name.slice(6);
      if (code in ERRNO) throw new FsError(code as ErrnoCode);
    }
    if (name === 'bug') throw new TypeError('deliberate: a bug in an operation');
    return this.#entry(this.#child(this.#inode(parent), name));
  }

  forget(nodeid: number, count: number): void {
    const inode = this.#inodes.get(nodeid);
    if (!inode || nodeid === 1) return;
    inode.lookups -= count;
    if (inode.lookups <= 0 && inode.nlink === 0) this.#inodes.delete(nodeid);
  }

  getattr(nodeid: number): AttributesReply {
    return this.#reply(this.#inode(nodeid));
  }

  setattr(nodeid: number, change: SetAttributes): AttributesReply {
    const inode = this.#inode(nodeid);
    if (change.mode !== undefined) inode.mode = (inode.mode & S_IFMT) | (change.mode & 0o7777);
    if (change.uid !== undefined) inode.uid = change.uid;
    if (change.gid !== undefined) inode.gid = change.gid;
    if (change.size !== undefined) this.#truncate(inode, change.size);
    if (change.killSuidgid) inode.mode &= ~0o6000;
    if (change.atime !== undefined) inode.atime = change.atime === 'now' ? now() : change.atime;
    if (change.mtime !== undefined) inode.mtime = change.mtime === 'now' ? now() : change.mtime;
    return this.#reply(inode);
  }

  #truncate(inode: Inode, size: number): void {
    if (size > 2 ** 32) throw new FsError('EFBIG');
    if (size < inode.size) inode.data.fill(0, size, inode.size);
    this.#reserve(inode, size);
    inode.size = size;
    inode.mtime = now();
  }

  #reserve(inode: Inode, size: number): void {
    if (size <= inode.data.length) return;
    const larger = new Uint8Array(Math.max(size, Math.min(inode.data.length * 2, 2 ** 31)));
    larger.set(inode.data.subarray(0, inode.size));
    inode.data = larger;
  }

  readlink(nodeid: number): Uint8Array {
    return this.#inode(nodeid).target;
  }

  symlink(parent: number, name: Name, target: Uint8Array, ctx: RequestContext): Entry {
    const inode = this.#add(parent, name, S_IFLNK | 0o777, ctx);
    inode.target = target;
    inode.size = target.length;
    return this.#entry(inode);
  }

  mknod(parent: number, name: Name, mode: number, rdev: number, ctx: RequestContext): Entry {
    const inode = this.#add(parent, name, mode, ctx);
    inode.rdev = rdev;
    return this.#entry(inode);
  }

  mkdir(parent: number, name: Name, mode: number, ctx: RequestContext): Entry {
    return this.#entry(this.#add(parent, name, S_IFDIR | (mode & 0o7777), ctx));
  }

  unlink(parent: number, name: Name): void {
    const directory = this.#inode(parent);
    const inode = this.#child(directory, name);
    if ((inode.mode & S_IFMT) === S_IFDIR) throw new FsError('EISDIR');
    directory.children.delete(name!);
    inode.nlink--;
  }

  rmdir(parent: number, name: Name): void {
    const directory = this.#inode(parent);
    const inode = this.#child(directory, name);
    if ((inode.mode & S_IFMT) !== S_IFDIR) throw new FsError('ENOTDIR');
    if (inode.children.size > 0) throw new FsError('ENOTEMPTY');
    directory.children.delete(name!);
    inode.nlink = 0;
  }

  rename(parent: number, name: Name, newParent: number, newName: Name, flags: number): void {
    if (newName === undefined) throw new FsError('EILSEQ');
    const from = this.#inode(parent);
    const to = this.#inode(newParent);
    const inode = this.#child(from, name);
    const target = to.children.get(newName);
    if (flags & RENAME_EXCHANGE) {
      if (!target) throw new FsError('ENOENT');
      from.children.set(name!, target);
      to.children.set(newName, inode);
      return;
    }
    if (flags & RENAME_NOREPLACE && target) throw new FsError('EEXIST');
    if (target && target.children.size > 0) throw new FsError('ENOTEMPTY');
    if (target) target.nlink = 0;
    from.children.delete(name!);
    to.children.set(newName, inode);
  }

  link(nodeid: number, newParent: number, newName: Name): Entry {
    if (newName === undefined) throw new FsError('EILSEQ');
    const inode = this.#inode(nodeid);
    const directory = this.#inode(newParent);
    if (directory.children.has(newName)) throw new FsError('EEXIST');
    directory.children.set(newName, inode);
    inode.nlink++;
    return this.#entry(inode);
  }

  open(nodeid: number, flags: number, ctx: RequestContext): OpenReply | Promise<OpenReply> {
    const inode = this.#inode(nodeid);
    if (nodeid === 2 && flags & O_WRONLY) return untilInterrupted(ctx);
    if (flags & O_TRUNC) this.#truncate(inode, 0);
    return { fh: this.#nextFh++ };
  }

  create(
    parent: number,
    name: Name,
    mode: number,
    flags: number,
    ctx: RequestContext,
  ): { entry: Entry; open: OpenReply } {
    const existing = name === undefined ? undefined : this.#inode(parent).children.get(name);
    if (existing && flags & O_EXCL) throw new FsError('EEXIST');
    const inode = existing ?? this.#add(parent, name, mode, ctx);
    if (flags & O_TRUNC) this.#truncate(inode, 0);
    return { entry: this.#entry(inode), open: { fh: this.#nextFh++ } };
  }

  read(nodeid: number, _fh: number, offset: number, size: number, ctx: RequestContext): ReadReply | Promise<ReadReply> {
    const inode = this.#inode(nodeid);
    if (nodeid === 2) return untilInterrupted(ctx);
    const end = Math.min(offset + size, inode.size);
    if (offset >= end) return { slices: [] };
    if (nodeid === 3) return { slices: this.#patternSlices(offset, end - offset) };
    // Where nothing was written, `data` may be shorter than the file.
    this.#reserve(inode, end);
    return { slices: [inode.data.subarray(offset, end)] };
  }

  #patternSlices(offset: number, size: number): Uint8Array[] {
    if (!this.#pattern) {
      this.#pattern = new Uint8Array(PATTERN_PERIOD);
      const words = new Uint32Array(this.#pattern.buffer);
      for (let i = 0; i < words.length; i++) words[i] = Math.imul(i, 2654435761);
    }
    const start = offset % PATTERN_PERIOD;
    const first = this.#pattern.subarray(start, start + size);
    return first.length === size ? [first] : [first, this.#pattern.subarray(0, size - first.length)];
  }

  write(nodeid: number, _fh: number, offset: number, data: Uint8Array, options: { killSuidgid: boolean }): number {
    const inode = this.#inode(nodeid);
    const end = offset + data.length;
    if (end > 2 ** 32) throw new FsError('EFBIG');
    this.#reserve(inode, end);
    inode.data.set(data, offset);
    inode.size = Math.max(inode.size, end);
    if (options.killSuidgid) inode.mode &= ~0o6000;
    inode.mtime = now();
    return data.length;
  }

  flush(): void {
    this.#count('flush');
  }

  fsync(_nodeid: number, _fh: number, dataOnly: boolean): void {
    this.#count(dataOnly ? 'fdatasync' : 'fsync');
  }

  release(): void {
    this.#count('release');
  }

  #count(name: string): void {
    this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
  }

  opendir(nodeid: number): OpenReply {
    const fh = this.#nextFh++;
    this.#listings.set(fh, [...this.#inode(nodeid).children]);
    return { fh };
  }

  readdir(nodeid: number, fh: number, cookie: number, sink: DirectorySink): void {
    const listing = this.#listings.get(fh);
    if (!listing) throw new FsError('EBADF');
    for (let i = cookie; i < listing.length + 2; i++) {
      const [name, inode] = i < 2 ? ([i === 0 ? '.' : '..', this.#inode(nodeid)] as const) : listing[i - 2]!;
      const base = { name, ino: BigInt(inode.nodeid) + 0x1_0000_0000n, type: inode.mode >> 12, cookie: i + 1 };
      if (!sink.plus || i < 2) {
        if (!sink.add(base)) return;
        continue;
      }
      const entry = this.#entry(inode);
      if (!sink.add({ ...base, entry })) {
        inode.lookups--;
        return;
      }
    }
  }

  releasedir(_nodeid: number, fh: number): void {
    this.#listings.delete(fh);
    this.#count('releasedir');
  }

  fsyncdir(): void {
    this.#count('fsyncdir');
  }

  statfs() {
    return { blocks: 1000, bfree: 600, bavail: 500, files: 40, ffree: 30, bsize: 4096, namelen: 255, frsize: 4096 };
  }

  getxattr(nodeid: number, name: string): Uint8Array {
    const value = this.#inode(nodeid).xattrs.get(name);
    if (!value) throw new FsError('ENODATA');
    return value;
  }

  setxattr(nodeid: number, name: string, value: Uint8Array, flags: number): void {
    const { xattrs } = this.#inode(nodeid);
    if (flags & XATTR_CREATE && xattrs.has(name)) throw new FsError('EEXIST');
    if (flags & XATTR_REPLACE && !xattrs.has(name)) throw new FsError('ENODATA');
    xattrs.set(name, value);
  }

  listxattr(nodeid: number): readonly string[] {
    return [...this.#inode(nodeid).xattrs.keys()];
  }

  removexattr(nodeid: number, name: string): void {
    if (!this.#inode(nodeid).xattrs.delete(name)) throw new FsError('ENODATA');
  }

  fallocate(nodeid: number, _fh: number, mode: number, offset: number, length: number): void {
    const inode = this.#inode(nodeid);
    if (mode & FALLOC_FL_PUNCH_HOLE) {
      inode.data.fill(0, offset, Math.min(offset + length, inode.size));
      return;
    }
    if (mode & ~FALLOC_FL_KEEP_SIZE) throw new FsError('EOPNOTSUPP');
    if (!(mode & FALLOC_FL_KEEP_SIZE) && offset + length > inode.size) this.#truncate(inode, offset + length);
  }

  copyFileRange(
    from: { nodeid: number; offset: number },
    to: { nodeid: number; fh: number; offset: number },
    length: number,
  ): number {
    this.#count('copyFileRange');
    const source = this.#inode(from.nodeid);
    const bytes = source.data.slice(from.offset, Math.min(from.offset + length, source.size));
    return this.write(to.nodeid, to.fh, to.offset, bytes, { killSuidgid: false });
  }

  /** Everything is data, up to the end. */
  lseek(nodeid: number, _fh: number, offset: number, whence: number): number {
    this.#count('lseek');
    const { size } = this.#inode(nodeid);
    if (offset >= size) throw new FsError('ENXIO');
    if (whence === SEEK_DATA) return offset;
    if (whence === SEEK_HOLE) return size;
    throw new FsError('EINVAL');
  }

  access(): void {}

  async destroy(): Promise<void> {}
}

/** The same, every answer some turns of the event loop late. */
export function delayed(ops: FileSystemOps): FileSystemOps {
  return new Proxy(ops, {
    get(target, name) {
      const method = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      if (name === 'forget' || name === 'destroy') return method.bind(target);
      return async (...args: unknown[]) => {
        for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve));
        return method.apply(target, args);
      };
    },
  });
}

function untilInterrupted({ signal }: RequestContext): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
