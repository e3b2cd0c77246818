/**
 * The kernel's side of the filesystem, as far as it decides what a program sees: names remembered for as long as they were
 * promised to hold, lookups counted and given back, pages of the page cache kept by inode and thrown away when it would,
 * ESTALE tried again once with everything asked anew.
 *
 * Unlike `FakeKernel`, which asks the filesystem for everything, this one keeps what it was told. `remembers: false` makes
 * it forget each name after each call, which is what memory pressure does.
 */
import { FsError, toFsError } from '../../src/errors.ts';
import { O_APPEND, O_EXCL, O_TRUNC, S_IFDIR, typeOf } from '../../src/fs/modes.ts';
import type {
  Attributes,
  DirectoryEntry,
  Entry,
  FileSystemOps,
  KernelNotifier,
  RequestContext,
  SetAttributes,
} from '../../src/fuse/ops.ts';
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../src/fuse/ops.ts';
import { O_CREAT } from './reference.ts';

const PAGE = 4096;

interface KernelInode {
  readonly nodeid: number;
  /** Given back when nobody uses it any more. */
  lookups: number;
  /** Dentries and open files. */
  users: number;
  /** i_mode's type: it never changes for a nodeid. */
  type: number;
  size: number;
  readonly pages: Map<number, Buffer>;
}

interface Dentry {
  name: string;
  parent: Dentry | undefined;
  /** Undefined: known not to exist. */
  readonly inode: KernelInode | undefined;
  expires: number;
  readonly children: Map<string, Dentry>;
  attributes: Attributes | undefined;
}

export interface OpenFile {
  readonly inode: KernelInode;
  readonly fh: number;
  readonly flags: number;
}

export interface KernelOptions {
  readonly remembers: boolean;
  /** ms, as the filesystem's clock has it. */
  now(): number;
}

export class ModelKernel implements KernelNotifier {
  readonly #ops: FileSystemOps;
  readonly #options: KernelOptions;
  readonly #inodes = new Map<number, KernelInode>();
  readonly #root: Dentry;
  readonly #context: RequestContext;

  constructor(ops: FileSystemOps, identity: { uid: number; gid: number }, options: KernelOptions) {
    this.#ops = ops;
    this.#options = options;
    const inode = { nodeid: 1, lookups: 0, users: 1, type: S_IFDIR, size: 0, pages: new Map() };
    this.#inodes.set(1, inode);
    this.#root = {
      name: '',
      parent: undefined,
      inode,
      expires: Number.POSITIVE_INFINITY,
      children: new Map(),
      attributes: undefined,
    };
    // pid 0: another pid namespace, so that each flush saves.
    this.#context = { ...identity, pid: 0, signal: new AbortController().signal };
  }

  /** A signal of its own for each request, as the real kernel gives it. */
  get #ctx(): RequestContext {
    return { ...this.#context, signal: new AbortController().signal };
  }

  /** How many nodeids the kernel holds beside the root: the filesystem must know each. */
  get nodeids(): readonly number[] {
    return [...this.#inodes.keys()];
  }

  // --- names ----------------------------------------------------------------------------------------------------------

  #inode(entry: Entry): KernelInode {
    let inode = this.#inodes.get(entry.nodeid);
    if (!inode) {
      const type = typeOf(entry.attributes.mode);
      inode = { nodeid: entry.nodeid, lookups: 0, users: 0, type, size: entry.attributes.size, pages: new Map() };
      this.#inodes.set(entry.nodeid, inode);
    }
    inode.lookups++;
    this.#learn(inode, entry.attributes);
    return inode;
  }

  #learn(inode: KernelInode, attributes: Attributes): void {
    if (typeOf(attributes.mode) !== inode.type) throw new Error(`nodeid ${inode.nodeid} changed its type`);
    if (attributes.size !== inode.size) this.#resize(inode, attributes.size);
  }

  #use(inode: KernelInode): void {
    inode.users++;
  }

  #unuse(inode: KernelInode): void {
    if (--inode.users > 0 || inode.nodeid === 1) return;
    this.#inodes.delete(inode.nodeid);
    this.#ops.forget(inode.nodeid, inode.lookups);
  }

  #attach(parent: Dentry, name: string, inode: KernelInode | undefined, ttl: number, attributes?: Attributes): Dentry {
    const before = parent.children.get(name);
    if (before && inode !== undefined && before.inode === inode) {
      before.expires = this.#options.now() + ttl;
      before.attributes = attributes;
      return before;
    }
    if (inode) this.#use(inode);
    if (before) this.#drop(before);
    const dentry = {
      name,
      parent,
      inode,
      expires: this.#options.now() + ttl,
      children: new Map(),
      attributes,
    };
    parent.children.set(name, dentry);
    return dentry;
  }

  #drop(dentry: Dentry): void {
    this.#take(dentry);
    for (const child of [...dentry.children.values()]) this.#drop(child);
    if (dentry.inode) this.#unuse(dentry.inode);
  }

  /** All names are forgotten; open files stay. */
  forgetNames(): void {
    for (const child of [...this.#root.children.values()]) this.#drop(child);
  }

  async #lookup(parent: Dentry, name: string, anew: boolean): Promise<Dentry> {
    const known = parent.children.get(name);
    if (known && !anew && this.#options.now() < known.expires) {
      known.attributes = undefined;
      return known;
    }
    const reply = await this.#ops.lookup(parent.inode!.nodeid, name, this.#ctx);
    if (reply.nodeid === 0) return this.#attach(parent, name, undefined, reply.entryTtl);
    const entry = reply as Entry;
    return this.#attach(parent, name, this.#inode(entry), entry.entryTtl, validAttributes(entry));
  }

  async #walk(names: readonly string[], anew: boolean): Promise<Dentry> {
    let dentry = this.#root;
    for (const name of names) {
      if (!dentry.inode) throw new FsError('ENOENT');
      if (dentry.inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
      dentry = await this.#lookup(dentry, name, anew);
    }
    return dentry;
  }

  async #existing(path: string, anew: boolean): Promise<Dentry & { readonly inode: KernelInode }> {
    const dentry = await this.#walk(namesOf(path), anew);
    if (!dentry.inode) throw new FsError('ENOENT');
    return dentry as Dentry & { readonly inode: KernelInode };
  }

  async #parent(
    path: string,
    anew: boolean,
  ): Promise<[parent: Dentry & { readonly inode: KernelInode }, name: string]> {
    const names = namesOf(path);
    const parent = await this.#walk(names.slice(0, -1), anew);
    if (!parent.inode) throw new FsError('ENOENT');
    if (parent.inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
    return [parent as Dentry & { readonly inode: KernelInode }, names.at(-1)!];
  }

  /** One system call on paths: ESTALE is tried once more with all names asked anew. */
  async #call<T>(work: (anew: boolean) => Promise<T>): Promise<T> {
    try {
      return await work(false);
    } catch (error) {
      if (toFsError(error)?.code !== 'ESTALE') throw error;
      return await work(true);
    } finally {
      if (!this.#options.remembers) this.forgetNames();
    }
  }

  stat(path: string): Promise<Attributes> {
    return this.#call(async anew => {
      const dentry = await this.#existing(path, anew);
      return dentry.attributes ?? this.#getattr(dentry.inode);
    });
  }

  async #getattr(inode: KernelInode): Promise<Attributes> {
    const { attributes } = await this.#ops.getattr(inode.nodeid, undefined, this.#ctx);
    this.#learn(inode, attributes);
    return attributes;
  }

  #made(parent: Dentry, name: string, entry: Entry): void {
    this.#attach(parent, name, this.#inode(entry), entry.entryTtl, validAttributes(entry));
  }

  mkdir(path: string, mode: number): Promise<void> {
    return this.#make(path, (parent, name) => this.#ops.mkdir(parent, name, S_IFDIR | mode, this.#ctx));
  }

  symlink(target: string, path: string): Promise<void> {
    return this.#make(path, (parent, name) => this.#ops.symlink(parent, name, Buffer.from(target), this.#ctx));
  }

  mknod(path: string, mode: number): Promise<void> {
    return this.#make(path, (parent, name) => this.#ops.mknod(parent, name, mode, 0, this.#ctx));
  }

  #make(path: string, make: (parent: number, name: string) => Entry | Promise<Entry>): Promise<void> {
    return this.#call(async anew => {
      const [parent, name] = await this.#parent(path, anew);
      const there = await this.#lookup(parent, name, anew);
      if (there.inode) throw new FsError('EEXIST');
      this.#made(parent, name, await make(parent.inode.nodeid, name));
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.#call(async anew => {
      const source = await this.#existing(from, anew);
      const [parent, name] = await this.#parent(to, anew);
      const there = await this.#lookup(parent, name, anew);
      if (there.inode) throw new FsError('EEXIST');
      if (source.inode.type === S_IFDIR) throw new FsError('EPERM');
      this.#made(parent, name, await this.#ops.link(source.inode.nodeid, parent.inode.nodeid, name, this.#ctx));
    });
  }

  readlink(path: string): Promise<string> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      return Buffer.from(await this.#ops.readlink(inode.nodeid, this.#ctx)).toString();
    });
  }

  unlink(path: string): Promise<void> {
    return this.#call(async anew => {
      const [parent, name] = await this.#parent(path, anew);
      const dentry = await this.#lookup(parent, name, anew);
      if (!dentry.inode) throw new FsError('ENOENT');
      if (dentry.inode.type === S_IFDIR) throw new FsError('EISDIR');
      await this.#ops.unlink(parent.inode.nodeid, name, this.#ctx);
      this.#drop(dentry);
    });
  }

  rmdir(path: string): Promise<void> {
    return this.#call(async anew => {
      const [parent, name] = await this.#parent(path, anew);
      const dentry = await this.#lookup(parent, name, anew);
      if (!dentry.inode) throw new FsError('ENOENT');
      if (dentry.inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
      await this.#ops.rmdir(parent.inode.nodeid, name, this.#ctx);
      this.#drop(dentry);
    });
  }

  rename(from: string, to: string, flags: number): Promise<void> {
    return this.#call(async anew => {
      const [oldParent, oldName] = await this.#parent(from, anew);
      const [newParent, newName] = await this.#parent(to, anew);
      const source = await this.#lookup(oldParent, oldName, anew);
      if (!source.inode) throw new FsError('ENOENT');
      const target = await this.#lookup(newParent, newName, anew);
      if (target.inode && flags & RENAME_NOREPLACE) throw new FsError('EEXIST');
      if (!target.inode && flags & RENAME_EXCHANGE) throw new FsError('ENOENT');
      if (isAncestor(source, newParent)) throw new FsError('EINVAL');
      if (isAncestor(target, oldParent)) throw new FsError(flags & RENAME_EXCHANGE ? 'EINVAL' : 'ENOTEMPTY');
      if (source.inode === target.inode) return;
      if (target.inode && !(flags & RENAME_EXCHANGE)) {
        if (source.inode.type === S_IFDIR && target.inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
        if (source.inode.type !== S_IFDIR && target.inode.type === S_IFDIR) throw new FsError('EISDIR');
      }
      await this.#ops.rename(oldParent.inode.nodeid, oldName, newParent.inode.nodeid, newName, flags, this.#ctx);
      this.#take(source);
      if (!(flags & RENAME_EXCHANGE)) this.#drop(target);
      else {
        this.#take(target);
        this.#put(target, oldParent, oldName);
      }
      this.#put(source, newParent, newName);
    });
  }

  #take(dentry: Dentry): void {
    if (dentry.parent?.children.get(dentry.name) === dentry) dentry.parent.children.delete(dentry.name);
  }

  #put(dentry: Dentry, parent: Dentry, name: string): void {
    const before = parent.children.get(name);
    if (before) this.#drop(before);
    Object.assign(dentry, { parent, name, attributes: undefined });
    parent.children.set(name, dentry);
  }

  // --- attributes -----------------------------------------------------------------------------------------------------

  setattr(path: string, change: SetAttributes): Promise<void> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      if (change.size !== undefined && inode.type === S_IFDIR) throw new FsError('EISDIR');
      await this.#setattr(inode, change);
    });
  }

  async #setattr(inode: KernelInode, change: SetAttributes): Promise<void> {
    const { attributes } = await this.#ops.setattr(inode.nodeid, change, this.#ctx);
    this.#learn(inode, attributes);
  }

  setxattr(path: string, name: string, value: string, flags: number): Promise<void> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      await this.#ops.setxattr(inode.nodeid, name, Buffer.from(value), flags, this.#ctx);
    });
  }

  removexattr(path: string, name: string): Promise<void> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      await this.#ops.removexattr(inode.nodeid, name, this.#ctx);
    });
  }

  xattrs(path: string): Promise<Map<string, string>> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      const values = new Map<string, string>();
      for (const name of await this.#ops.listxattr(inode.nodeid, this.#ctx)) {
        values.set(name, Buffer.from(await this.#ops.getxattr(inode.nodeid, name, this.#ctx)).toString());
      }
      return values;
    });
  }

  // --- files ----------------------------------------------------------------------------------------------------------

  open(path: string, flags: number, mode: number): Promise<OpenFile> {
    return this.#call(async anew => {
      const [parent, name] = await this.#parent(path, anew);
      const dentry = await this.#lookup(parent, name, anew);
      if (!dentry.inode) {
        if (!(flags & O_CREAT)) throw new FsError('ENOENT');
        const clean = flags & ~(O_CREAT | O_TRUNC);
        const made = await this.#ops.create(parent.inode.nodeid, name, 0o100000 | mode, clean, this.#ctx);
        this.#made(parent, name, made.entry);
        const inode = this.#inodes.get(made.entry.nodeid)!;
        this.#use(inode);
        return { inode, fh: made.open.fh, flags };
      }
      if (flags & O_CREAT && flags & O_EXCL) throw new FsError('EEXIST');
      const { inode } = dentry;
      if (inode.type === S_IFDIR) throw new FsError('EISDIR');
      const reply = await this.#ops.open(inode.nodeid, flags & ~(O_CREAT | O_EXCL), this.#ctx, {
        killSuidgid: (flags & O_TRUNC) !== 0,
      });
      if (flags & O_TRUNC) this.#resize(inode, 0);
      if (!reply.keepCache) inode.pages.clear();
      this.#use(inode);
      return { inode, fh: reply.fh, flags };
    });
  }

  async fstat({ inode }: OpenFile): Promise<Attributes> {
    return this.#getattr(inode);
  }

  /** From the page cache, whole pages being read where they are missing. */
  async read(file: OpenFile, offset: number, length: number): Promise<Buffer> {
    const { inode } = file;
    const { size } = await this.#getattr(inode);
    const end = Math.min(offset + length, size);
    if (offset >= end) return Buffer.alloc(0);
    const first = Math.floor(offset / PAGE);
    const last = Math.floor((end - 1) / PAGE);
    for (let page = first; page <= last; page++) {
      if (inode.pages.has(page)) continue;
      let after = page + 1;
      while (after <= last && !inode.pages.has(after)) after++;
      await this.#fetch(file, page, after);
      page = after;
    }
    const pages = [];
    for (let page = first; page <= last; page++) pages.push(inode.pages.get(page)!);
    return Buffer.concat(pages).subarray(offset - first * PAGE, end - first * PAGE);
  }

  async #fetch({ inode, fh }: OpenFile, first: number, after: number): Promise<void> {
    const reply = await this.#ops.read(inode.nodeid, fh, first * PAGE, (after - first) * PAGE, this.#ctx);
    const bytes = Buffer.concat(reply.slices);
    reply.release?.();
    for (let page = first; page < after; page++) {
      const content = Buffer.alloc(PAGE);
      bytes.copy(content, 0, (page - first) * PAGE, (page - first + 1) * PAGE);
      inode.pages.set(page, content);
    }
  }

  async write(file: OpenFile, offset: number, data: Uint8Array): Promise<number> {
    const { inode, fh, flags } = file;
    const at = flags & O_APPEND ? (await this.#getattr(inode)).size : offset;
    if (data.length === 0) return 0;
    const options = { killSuidgid: true, fromPageCache: false };
    // The filesystem may keep nothing of the buffer after its answer.
    const lent = Buffer.from(data);
    const written = await this.#ops.write(inode.nodeid, fh, at, lent, options, this.#ctx);
    lent.fill(0xee);
    if (at + written > inode.size) inode.size = at + written;
    for (let page = Math.floor(at / PAGE); page * PAGE < at + written; page++) {
      const start = page * PAGE;
      const from = Math.max(at, start);
      const to = Math.min(at + written, start + PAGE);
      let content = inode.pages.get(page);
      // A page written in part is not read for it.
      if (!content && to - from < PAGE) continue;
      content ??= Buffer.alloc(PAGE);
      content.set(data.subarray(from - at, to - at), from - start);
      inode.pages.set(page, content);
    }
    return written;
  }

  #resize(inode: KernelInode, size: number): void {
    const kept = Math.min(size, inode.size);
    inode.size = size;
    for (const [page, content] of inode.pages) {
      if (page * PAGE >= kept) inode.pages.delete(page);
      else if ((page + 1) * PAGE > kept) content.fill(0, kept - page * PAGE);
    }
  }

  #dropPages(inode: KernelInode, offset: number, length: number): void {
    for (let page = Math.floor(offset / PAGE); page * PAGE < offset + length; page++) inode.pages.delete(page);
  }

  async ftruncate({ inode, fh }: OpenFile, size: number): Promise<void> {
    await this.#setattr(inode, { size, fh, mtime: 'now', killSuidgid: true });
  }

  async fallocate({ inode, fh }: OpenFile, mode: number, offset: number, length: number): Promise<void> {
    await this.#ops.fallocate(inode.nodeid, fh, mode, offset, length, this.#ctx);
    this.#dropPages(inode, offset, length);
  }

  async copyRange(from: OpenFile, to: OpenFile, offset: number, target: number, length: number): Promise<number> {
    const copied = await this.#ops.copyFileRange(
      { nodeid: from.inode.nodeid, fh: from.fh, offset },
      { nodeid: to.inode.nodeid, fh: to.fh, offset: target },
      length,
      0,
      this.#ctx,
    );
    this.#dropPages(to.inode, target, length);
    return copied;
  }

  async lseek({ inode, fh }: OpenFile, offset: number, whence: number): Promise<number> {
    return this.#ops.lseek(inode.nodeid, fh, offset, whence, this.#ctx);
  }

  async fsync({ inode, fh }: OpenFile): Promise<void> {
    await this.#ops.fsync(inode.nodeid, fh, false, this.#ctx);
  }

  async close({ inode, fh }: OpenFile): Promise<void> {
    try {
      await this.#ops.flush(inode.nodeid, fh, this.#ctx);
    } finally {
      await this.#ops.release(inode.nodeid, fh, this.#ctx);
      this.#unuse(inode);
    }
  }

  // --- directories ----------------------------------------------------------------------------------------------------

  /** Entries without `.` and `..`, up to `atOnce` a call. */
  readdir(path: string, options: { readonly plus: boolean; readonly atOnce: number }): Promise<DirectoryEntry[]> {
    return this.#call(async anew => {
      const dentry = await this.#existing(path, anew);
      const { inode } = dentry;
      if (inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
      const { fh } = await this.#ops.opendir(inode.nodeid, 0, this.#ctx);
      this.#use(inode);
      const entries: DirectoryEntry[] = [];
      try {
        for (let cookie = 0, taken = -1; taken !== 0; ) {
          taken = 0;
          const add = (entry: DirectoryEntry): boolean => {
            if (taken >= options.atOnce) return false;
            taken++;
            cookie = entry.cookie;
            entries.push(entry);
            if (!entry.entry || entry.entry.nodeid === 0) return true;
            this.#attach(
              dentry,
              entry.name,
              this.#inode(entry.entry),
              entry.entry.entryTtl,
              validAttributes(entry.entry),
            );
            return true;
          };
          await this.#ops.readdir(inode.nodeid, fh, cookie, { plus: options.plus, add }, this.#ctx);
        }
      } finally {
        await this.#ops.releasedir(inode.nodeid, fh, this.#ctx);
        this.#unuse(inode);
      }
      return entries.filter(({ name }) => name !== '.' && name !== '..');
    });
  }

  // --- what the filesystem says unasked ---------------------------------------------------------------------------------

  invalidateInode(nodeid: number, pages = false): void {
    if (pages) this.#inodes.get(nodeid)?.pages.clear();
  }

  invalidateEntry(parent: number, name: string): void {
    const visit = (dentry: Dentry): void => {
      const child = dentry.inode?.nodeid === parent ? dentry.children.get(name) : undefined;
      if (child) child.expires = Number.NEGATIVE_INFINITY;
      for (const below of dentry.children.values()) visit(below);
    };
    visit(this.#root);
  }
}

/** Attributes that may not be kept are asked for by whoever wants them. */
function validAttributes(entry: Entry): Attributes | undefined {
  return entry.attributesTtl > 0 ? entry.attributes : undefined;
}

function namesOf(path: string): string[] {
  return path.split('/').filter(name => name !== '');
}

function isAncestor(above: Dentry, dentry: Dentry): boolean {
  for (let at: Dentry | undefined = dentry; at; at = at.parent) if (at === above) return true;
  return false;
}
