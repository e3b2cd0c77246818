/**
 * The kernel's side of the filesystem, as far as it decides what a program sees: names remembered for as long as they were
 * promised to hold, lookups counted and given back, pages of the page cache kept by inode and thrown away when it would,
 * ESTALE tried again once with everything asked anew.
 *
 * Unlike `FakeKernel`, which asks the filesystem for everything, this one keeps what it was told. `remembers: false` makes
 * it forget each name after each call, which is what memory pressure does.
 */
import { Mutex } from '../../src/concurrency.ts';
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
import { SharedLock } from './shared-lock.ts';

const PAGE = 4096;

interface KernelInode {
  readonly nodeid: number;
  /** i_rwsem: of a directory around changes of its names, of a file around changes of its bytes and attributes. */
  readonly lock: SharedLock;
  /** Has lost its name: nothing can be made in it, and it gets no other name. */
  isDead: boolean;
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
  isDropped: boolean;
}

type Positive = Dentry & { readonly inode: KernelInode };

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
  /** s_vfs_rename_mutex: one rename between directories at a time. */
  readonly #renames = new Mutex();
  /** System calls under way: what they hold is not forgotten. */
  #calls = 0;
  readonly #unused = new Set<KernelInode>();
  #forgetLater = false;

  constructor(ops: FileSystemOps, identity: { uid: number; gid: number }, options: KernelOptions) {
    this.#ops = ops;
    this.#options = options;
    const inode = newInode(1, S_IFDIR, 0);
    inode.users = 1;
    this.#inodes.set(1, inode);
    this.#root = {
      name: '',
      parent: undefined,
      inode,
      expires: Number.POSITIVE_INFINITY,
      children: new Map(),
      attributes: undefined,
      isDropped: false,
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
      inode = newInode(entry.nodeid, typeOf(entry.attributes.mode), entry.attributes.size);
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
    inode.users--;
    this.#letGo(inode);
  }

  #letGo(inode: KernelInode): void {
    if (inode.users > 0 || inode.nodeid === 1) return;
    if (this.#calls > 0) {
      this.#unused.add(inode);
      return;
    }
    this.#inodes.delete(inode.nodeid);
    this.#ops.forget(inode.nodeid, inode.lookups);
  }

  #began(): void {
    this.#calls++;
  }

  #ended(): void {
    if (--this.#calls > 0) return;
    if (this.#forgetLater || !this.#options.remembers) this.forgetNames();
    for (const inode of this.#unused) this.#letGo(inode);
    this.#unused.clear();
  }

  #attach(parent: Dentry, name: string, inode: KernelInode | undefined, ttl: number, attributes?: Attributes): Dentry {
    const before = parent.children.get(name);
    if (before && inode !== undefined && before.inode === inode) {
      before.expires = this.#options.now() + ttl;
      before.attributes = attributes;
      return before;
    }
    const expires = this.#options.now() + ttl;
    const { isDropped } = parent;
    const dentry = { name, parent, inode, expires, children: new Map(), attributes, isDropped };
    if (isDropped) {
      if (inode) this.#letGo(inode);
      return dentry;
    }
    if (inode) this.#use(inode);
    if (before) this.#drop(before);
    parent.children.set(name, dentry);
    return dentry;
  }

  #drop(dentry: Dentry): void {
    if (dentry.isDropped) return;
    dentry.isDropped = true;
    this.#take(dentry);
    for (const child of [...dentry.children.values()]) this.#drop(child);
    if (dentry.inode) this.#unuse(dentry.inode);
  }

  /** All names are forgotten, as soon as no call uses them; open files stay. */
  forgetNames(): void {
    this.#forgetLater = this.#calls > 0;
    if (this.#forgetLater) return;
    for (const child of [...this.#root.children.values()]) this.#drop(child);
  }

  async #lookup(parent: Dentry, name: string, anew: boolean): Promise<Dentry> {
    const known = parent.children.get(name);
    if (known && !anew && this.#options.now() < known.expires) {
      known.attributes = undefined;
      return known;
    }
    return parent.inode!.lock.shared(() => this.#ask(parent, name));
  }

  async #ask(parent: Dentry, name: string): Promise<Dentry> {
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

  async #existing(path: string, anew: boolean): Promise<Positive> {
    const dentry = await this.#walk(namesOf(path), anew);
    if (!dentry.inode) throw new FsError('ENOENT');
    return dentry as Positive;
  }

  async #parent(path: string, anew: boolean): Promise<[parent: Positive, name: string]> {
    const names = namesOf(path);
    const parent = await this.#walk(names.slice(0, -1), anew);
    if (!parent.inode) throw new FsError('ENOENT');
    if (parent.inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
    return [parent as Positive, names.at(-1)!];
  }

  /** One system call on paths: ESTALE is tried once more with all names asked anew. */
  async #call<T>(work: (anew: boolean) => Promise<T>): Promise<T> {
    this.#began();
    try {
      return await work(false);
    } catch (error) {
      if (toFsError(error)?.code !== 'ESTALE') throw error;
      return await work(true);
    } finally {
      this.#ended();
    }
  }

  /** Looks `name` up with its directory locked against changes by others, and works on it so. */
  #inDirectory<T>(parent: Positive, name: string, anew: boolean, work: (dentry: Dentry) => Promise<T>): Promise<T> {
    return parent.inode.lock.exclusive(async () => {
      if (parent.inode.isDead) throw new FsError('ENOENT');
      return work(await this.#lookupLocked(parent, name, anew));
    });
  }

  async #lookupLocked(parent: Dentry, name: string, anew: boolean): Promise<Dentry> {
    const known = parent.children.get(name);
    const isValid = known !== undefined && !anew && this.#options.now() < known.expires;
    return isValid ? known : this.#ask(parent, name);
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
      await this.#inDirectory(parent, name, anew, async there => {
        if (there.inode) throw new FsError('EEXIST');
        this.#made(parent, name, await make(parent.inode.nodeid, name));
      });
    });
  }

  link(from: string, to: string): Promise<void> {
    return this.#call(async anew => {
      const source = await this.#existing(from, anew);
      const [parent, name] = await this.#parent(to, anew);
      await this.#inDirectory(parent, name, anew, async there => {
        if (there.inode) throw new FsError('EEXIST');
        const { inode } = source;
        if (inode.type === S_IFDIR) throw new FsError('EPERM');
        await inode.lock.exclusive(async () => {
          if (inode.isDead) throw new FsError('ENOENT');
          this.#made(parent, name, await this.#ops.link(inode.nodeid, parent.inode.nodeid, name, this.#ctx));
        });
      });
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
      await this.#inDirectory(parent, name, anew, async dentry => {
        const { inode } = dentry;
        if (!inode) throw new FsError('ENOENT');
        if (inode.type === S_IFDIR) throw new FsError('EISDIR');
        await inode.lock.exclusive(async () => this.#ops.unlink(parent.inode.nodeid, name, this.#ctx));
        inode.isDead = true;
        this.#drop(dentry);
      });
    });
  }

  rmdir(path: string): Promise<void> {
    return this.#call(async anew => {
      const [parent, name] = await this.#parent(path, anew);
      await this.#inDirectory(parent, name, anew, async dentry => {
        const { inode } = dentry;
        if (!inode) throw new FsError('ENOENT');
        if (inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
        await inode.lock.exclusive(async () => {
          await this.#ops.rmdir(parent.inode.nodeid, name, this.#ctx);
          inode.isDead = true;
        });
        this.#drop(dentry);
      });
    });
  }

  rename(from: string, to: string, flags: number): Promise<void> {
    return this.#call(async anew => {
      const [oldParent, oldName] = await this.#parent(from, anew);
      const [newParent, newName] = await this.#parent(to, anew);
      const work = async (): Promise<void> => {
        for (const { inode } of [oldParent, newParent]) if (inode.isDead) throw new FsError('ENOENT');
        const source = await this.#lookupLocked(oldParent, oldName, anew);
        await this.#renameTo(oldParent, source, newParent, newName, anew, flags);
      };
      if (oldParent.inode === newParent.inode) return oldParent.inode.lock.exclusive(work);
      return this.#renames.run(() => {
        // The one above first, else by number, so that two never wait for each other.
        const isSwapped = isAncestor(newParent, oldParent)
          ? true
          : !isAncestor(oldParent, newParent) && newParent.inode.nodeid < oldParent.inode.nodeid;
        const [first, second] = isSwapped ? [newParent, oldParent] : [oldParent, newParent];
        return first.inode.lock.exclusive(() => second.inode.lock.exclusive(work));
      });
    });
  }

  /** With the directories locked. */
  async #renameTo(
    oldParent: Positive,
    source: Dentry,
    newParent: Positive,
    newName: string,
    anew: boolean,
    flags: number,
  ): Promise<void> {
    if (!source.inode) throw new FsError('ENOENT');
    const target = await this.#lookupLocked(newParent, newName, anew);
    if (target.inode && flags & RENAME_NOREPLACE) throw new FsError('EEXIST');
    if (!target.inode && flags & RENAME_EXCHANGE) throw new FsError('ENOENT');
    if (isAncestor(source, newParent)) throw new FsError('EINVAL');
    if (isAncestor(target, oldParent)) throw new FsError(flags & RENAME_EXCHANGE ? 'EINVAL' : 'ENOTEMPTY');
    if (source.inode === target.inode) return;
    if (target.inode && !(flags & RENAME_EXCHANGE)) {
      if (source.inode.type === S_IFDIR && target.inode.type !== S_IFDIR) throw new FsError('ENOTDIR');
      if (source.inode.type !== S_IFDIR && target.inode.type === S_IFDIR) throw new FsError('EISDIR');
    }
    const oldName = source.name;
    // Nothing is made any more in a directory that is about to be replaced.
    const inodes = source.inode.type === S_IFDIR ? [] : [source.inode];
    if (target.inode) inodes.push(target.inode);
    await locked(inodes, async () => {
      await this.#ops.rename(oldParent.inode.nodeid, oldName, newParent.inode.nodeid, newName, flags, this.#ctx);
    });
    this.#take(source);
    if (flags & RENAME_EXCHANGE) {
      this.#take(target);
      this.#put(target, oldParent, oldName);
    } else {
      if (target.inode) target.inode.isDead = true;
      this.#drop(target);
    }
    this.#put(source, newParent, newName);
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
      await inode.lock.exclusive(() => this.#setattr(inode, change));
    });
  }

  async #setattr(inode: KernelInode, change: SetAttributes): Promise<void> {
    const { attributes } = await this.#ops.setattr(inode.nodeid, change, this.#ctx);
    this.#learn(inode, attributes);
  }

  setxattr(path: string, name: string, value: string, flags: number): Promise<void> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      await inode.lock.exclusive(async () =>
        this.#ops.setxattr(inode.nodeid, name, Buffer.from(value), flags, this.#ctx),
      );
    });
  }

  removexattr(path: string, name: string): Promise<void> {
    return this.#call(async anew => {
      const { inode } = await this.#existing(path, anew);
      await inode.lock.exclusive(async () => this.#ops.removexattr(inode.nodeid, name, this.#ctx));
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
      let dentry: Dentry;
      if (flags & O_CREAT) {
        const made = await this.#inDirectory(parent, name, anew, async there => {
          if (there.inode) return { there };
          return { file: await this.#create(parent, name, flags, mode) };
        });
        if ('file' in made) return made.file;
        dentry = made.there;
        if (flags & O_EXCL) throw new FsError('EEXIST');
      } else dentry = await this.#lookup(parent, name, anew);
      const { inode } = dentry;
      if (!inode) throw new FsError('ENOENT');
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

  async #create(parent: Positive, name: string, flags: number, mode: number): Promise<OpenFile> {
    const clean = flags & ~(O_CREAT | O_TRUNC);
    const made = await this.#ops.create(parent.inode.nodeid, name, 0o100000 | mode, clean, this.#ctx);
    this.#made(parent, name, made.entry);
    const inode = this.#inodes.get(made.entry.nodeid)!;
    this.#use(inode);
    return { inode, fh: made.open.fh, flags };
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

  write(file: OpenFile, offset: number, data: Uint8Array): Promise<number> {
    return file.inode.lock.exclusive(() => this.#write(file, offset, data));
  }

  async #write({ inode, fh, flags }: OpenFile, offset: number, data: Uint8Array): Promise<number> {
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
    await inode.lock.exclusive(() => this.#setattr(inode, { size, fh, mtime: 'now', killSuidgid: true }));
  }

  async fallocate({ inode, fh }: OpenFile, mode: number, offset: number, length: number): Promise<void> {
    await inode.lock.exclusive(async () => {
      await this.#ops.fallocate(inode.nodeid, fh, mode, offset, length, this.#ctx);
      this.#dropPages(inode, offset, length);
    });
  }

  async copyRange(from: OpenFile, to: OpenFile, offset: number, target: number, length: number): Promise<number> {
    const source = { nodeid: from.inode.nodeid, fh: from.fh, offset };
    const into = { nodeid: to.inode.nodeid, fh: to.fh, offset: target };
    return to.inode.lock.exclusive(async () => {
      const copied = await this.#ops.copyFileRange(source, into, length, 0, this.#ctx);
      this.#dropPages(to.inode, target, length);
      return copied;
    });
  }

  lseek({ inode, fh }: OpenFile, offset: number, whence: number): Promise<number> {
    return inode.lock.exclusive(async () => this.#ops.lseek(inode.nodeid, fh, offset, whence, this.#ctx));
  }

  fsync({ inode, fh }: OpenFile): Promise<void> {
    return inode.lock.exclusive(async () => this.#ops.fsync(inode.nodeid, fh, false, this.#ctx));
  }

  async close({ inode, fh }: OpenFile): Promise<void> {
    this.#began();
    try {
      // Writes under way come first; the flush itself holds no lock.
      await inode.lock.exclusive(async () => {});
      await this.#ops.flush(inode.nodeid, fh, this.#ctx);
    } finally {
      await this.#ops.release(inode.nodeid, fh, this.#ctx);
      this.#unuse(inode);
      this.#ended();
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
          const from = cookie;
          await inode.lock.shared(async () =>
            this.#ops.readdir(inode.nodeid, fh, from, { plus: options.plus, add }, this.#ctx),
          );
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

function newInode(nodeid: number, type: number, size: number): KernelInode {
  const lock = new SharedLock();
  return { nodeid, lookups: 0, users: 0, type, size, pages: new Map(), lock, isDead: false };
}

/** Holds the locks of all `inodes`, taken in order of their numbers. */
function locked<T>(inodes: readonly KernelInode[], work: () => Promise<T>): Promise<T> {
  const [first, ...rest] = [...new Set(inodes)].sort((a, b) => a.nodeid - b.nodeid);
  return first ? first.lock.exclusive(() => locked(rest, work)) : work();
}

function namesOf(path: string): string[] {
  return path.split('/').filter(name => name !== '');
}

function isAncestor(above: Dentry, dentry: Dentry): boolean {
  for (let at: Dentry | undefined = dentry; at; at = at.parent) if (at === above) return true;
  return false;
}
