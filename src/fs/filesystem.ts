/**
 * The filesystem as the kernel sees it: one short method per operation. It turns numbers into inodes and handles and leaves
 * the work to whoever knows how: `Namespace` (names to inodes), `Names` and `Renamer` (changes of names), `OpenFiles`
 * (open, close, fsync, truncate), `MetadataOperations` (mode, owner, times, extended attributes), `FileContent` (bytes),
 * `DirectoryReader` (entries), `Saver` (what S3 has not yet).
 */
import { FsError, isStoreError } from '../errors.ts';
import type {
  Attributes,
  AttributesReply,
  Awaitable,
  DirectorySink,
  Entry,
  FileSystemOps,
  Name,
  NegativeEntry,
  OpenReply,
  ReadReply,
  RequestContext,
  SetAttributes,
  StatfsReply,
} from '../fuse/ops.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, SEEK_DATA, SEEK_HOLE } from '../fuse/ops.ts';
import { attributesOf, ownerMayBeGuessed } from './attributes.ts';
import { type ContentTypes, parseMimeTypes } from './content-types.ts';
import { DirectoryReader, entryOf } from './directory.ts';
import type { Environment } from './environment.ts';
import {
  type FileSystemStatus,
  type FlushOutcome,
  type FlushProgress,
  pathOf,
  saveBelow,
  statusOf,
} from './filesystem-status.ts';
import { HandleTable } from './handles.ts';
import { Indexers } from './indexers.ts';
import { DirectoryInode, FileInode, type Inode, SpecialInode } from './inode.ts';
import { byteLength, HIDDEN_PREFIX, isShowable, NAME_MAX } from './keys.ts';
import { Leftovers } from './leftovers.ts';
import { MetadataOperations } from './metadata-operations.ts';
import { interruptible } from './metadata-requests.ts';
import { O_ACCMODE, O_RDONLY, S_IFLNK, S_IFMT, S_IFREG, typeOf } from './modes.ts';
import { Names } from './names.ts';
import { Namespace } from './namespace.ts';
import { NormalizationHints } from './normalization.ts';
import { OPEN_BYTES, OpenFiles } from './open-files.ts';
import { Orphans } from './orphans.ts';
import { decodePosix } from './posix.ts';
import { QueuedSaves } from './queued-saves.ts';
import { recover, type Unsaved } from './recovery.ts';
import { Renamer } from './rename.ts';
import { Saver } from './saver.ts';
import { Walks } from './walks.ts';

/** Block size of statfs: what s3fs and NFS servers show; only its product with the counts means something. */
const STATFS_BLOCK = 4096;

export interface FileSystemParts extends Environment {
  /** The text of /etc/mime.types or of the file named by `mime=`; empty where there is none. */
  readonly mimeTypes: string;
}

export class S3FileSystem implements FileSystemOps {
  readonly namespace: Namespace;
  readonly #environment: Environment;
  readonly #handles = new HandleTable();
  readonly #saver: Saver;
  readonly #orphans: Orphans;
  readonly #names: Names;
  readonly #renamer: Renamer;
  readonly #files: OpenFiles;
  readonly #queued: QueuedSaves;
  readonly #walks: Walks;
  readonly #normalization: NormalizationHints;
  readonly #indexers: Indexers;
  readonly #metadata: MetadataOperations;

  constructor(parts: FileSystemParts) {
    const types: ContentTypes = parseMimeTypes(parts.mimeTypes);
    this.#environment = parts;
    this.namespace = new Namespace(parts);
    this.#saver = new Saver(parts, this.namespace, types);
    this.#orphans = new Orphans(parts, this.#saver);
    this.#names = new Names(parts, this.namespace, this.#saver, this.#orphans);
    this.#renamer = new Renamer(parts, this.namespace, this.#saver, this.#orphans, this.#names);
    this.#queued = new QueuedSaves(parts, this.namespace);
    this.#files = new OpenFiles(parts, this.namespace, this.#saver, this.#orphans, this.#handles, this.#queued);
    this.#walks = new Walks(parts, this.namespace);
    this.#normalization = new NormalizationHints(parts.telemetry);
    this.#indexers = new Indexers(parts);
    this.#metadata = new MetadataOperations(parts, this.namespace, this.#names, this.#files, this.#saver);
  }

  // --- names ----------------------------------------------------------------------------------------------------------

  lookup(parent: number, name: Name, ctx: RequestContext): Awaitable<Entry | NegativeEntry> {
    const directory = this.namespace.directory(parent);
    if (name === undefined) throw new FsError('ENOENT');
    if (byteLength(name) > NAME_MAX) throw new FsError('ENAMETOOLONG');
    if (!isShowable(name)) throw new FsError('ENOENT');
    if (directory === this.namespace.root && `${name}/` === HIDDEN_PREFIX) return this.#negative();
    const found = this.#found(directory, name, ctx);
    if (!(found instanceof Promise)) return this.#entryOrNegative(found, directory, name);
    return this.#waited(found, ctx).then(inode => this.#entryOrNegative(inode, directory, name));
  }

  #found(directory: DirectoryInode, name: string, ctx: RequestContext): Awaitable<Inode | undefined> {
    if (ownerMayBeGuessed(this.#environment.options, ctx.uid)) {
      const found = this.namespace.find(directory, name, ctx);
      this.#walks.looked(directory, name, found instanceof FileInode && !found.exact);
      return found;
    }
    const waiter = {
      get signal() {
        return ctx.signal;
      },
      wantsOwner: true,
    };
    const found = this.namespace.find(directory, name, waiter);
    // Each of its lookups wants the attributes: they are asked for ahead of it as for one who stats.
    this.#walks.looked(directory, name, true);
    this.#walks.stated(directory);
    return found;
  }

  /** Until the caller is interrupted: the listing or HEAD behind it is everybody's and goes on. */
  async #waited(found: Awaitable<Inode | undefined>, { signal }: RequestContext): Promise<Inode | undefined> {
    if (!(found instanceof Promise)) return found;
    try {
      return await interruptible(found, signal);
    } catch (error) {
      if (signal.aborted) found.then(inode => inode && this.namespace.release(inode)).catch(() => {});
      throw error;
    }
  }

  #entryOrNegative(inode: Inode | undefined, parent: DirectoryInode, name: string): Entry | NegativeEntry {
    if (inode) return this.#entry(inode);
    this.#normalization.missed(parent, name);
    return this.#negative();
  }

  #negative(): NegativeEntry {
    return { nodeid: 0, entryTtl: this.#environment.options.ttl };
  }

  #entry(inode: Inode): Entry {
    return entryOf(this.#environment, this.namespace, this.namespace.claim(inode));
  }

  forget(nodeid: number, count: number): void {
    this.namespace.forget(nodeid, count);
  }

  async mkdir(parent: number, name: Name, mode: number, ctx: RequestContext): Promise<Entry> {
    const directory = this.namespace.directory(parent);
    const made = await this.#names.makeDirectory(directory, name, mode, ctx);
    this.#metadata.inheritAcl(directory, made);
    return this.#entry(made);
  }

  async mknod(parent: number, name: Name, mode: number, rdev: number, ctx: RequestContext): Promise<Entry> {
    const directory = this.namespace.directory(parent);
    if (typeOf(mode) !== S_IFREG && (mode & S_IFMT) !== 0) {
      return this.#entry(await this.#names.makeSpecial(directory, name, mode, rdev, undefined, ctx));
    }
    // No close will follow that saves it.
    const file = this.#names.createFile(directory, name, mode, ctx);
    this.#metadata.inheritAcl(directory, file);
    this.#files.content(file);
    file.opens++;
    try {
      await this.#saver.save(file);
    } catch (error) {
      this.#names.lost(file);
      throw error;
    } finally {
      file.opens--;
    }
    return this.#entry(file);
  }

  async symlink(parent: number, name: Name, target: Uint8Array, ctx: RequestContext): Promise<Entry> {
    const directory = this.namespace.directory(parent);
    return this.#entry(await this.#names.makeSpecial(directory, name, S_IFLNK | 0o777, 0, target, ctx));
  }

  async link(nodeid: number, newParent: number, newName: Name, ctx: RequestContext): Promise<Entry> {
    const parent = this.namespace.directory(newParent);
    return this.#entry(await this.#names.link(this.namespace.inode(nodeid), parent, newName, ctx));
  }

  unlink(parent: number, name: Name, ctx: RequestContext): Promise<void> {
    const directory = this.namespace.directory(parent);
    this.#walks.unlinked(directory);
    return this.#noted(this.#names.unlink(directory, name, ctx));
  }

  rmdir(parent: number, name: Name, ctx: RequestContext): Promise<void> {
    return this.#names.removeDirectory(this.namespace.directory(parent), name, ctx);
  }

  rename(
    parent: number,
    name: Name,
    newParent: number,
    newName: Name,
    flags: number,
    ctx: RequestContext,
  ): Promise<void> {
    const from = this.namespace.directory(parent);
    return this.#noted(this.#renamer.rename(from, name, this.namespace.directory(newParent), newName, flags, ctx));
  }

  /** The next daemon must not bring back a file under a name that it has lost. */
  #noted(work: Promise<void>): Promise<void> {
    const { unsavedLog } = this.#environment;
    return unsavedLog ? work.then(() => unsavedLog.noted()) : work;
  }

  async readlink(nodeid: number, ctx: RequestContext): Promise<Uint8Array> {
    const inode = this.namespace.inode(nodeid);
    if (!(inode instanceof SpecialInode) || typeOf(inode.posix.mode) !== S_IFLNK) throw new FsError('EINVAL');
    if (!inode.target) {
      const { stored, description } = inode;
      const inHeader = description && decodePosix(description.metadata).symlinkTarget;
      if (inHeader !== undefined) inode.target = Buffer.from(inHeader);
      else if (stored) {
        const target = new Uint8Array(stored.size);
        const request = { offset: 0, length: stored.size, ifMatch: stored.version.etag };
        await this.#environment.store.get(stored.version.key, request, { buffers: [target] }, { signal: ctx.signal });
        inode.target = target;
      }
    }
    if (!inode.target) throw new FsError('EIO', `${inode.label} has no target`);
    return inode.target;
  }

  // --- attributes -----------------------------------------------------------------------------------------------------

  getattr(nodeid: number, fh: number | undefined, ctx: RequestContext): Awaitable<AttributesReply> {
    const inode = this.namespace.inode(nodeid);
    if (inode === this.namespace.root && this.namespace.markers.rootIsUnknown) {
      const key = this.#saver.descriptions.markerKey(this.namespace.root);
      const described = interruptible(this.namespace.markers.describeRoot(key), ctx.signal);
      return described.then(() => this.#attributes(inode));
    }
    if (!inode.parent || this.namespace.isFresh(inode)) return this.#attributes(inode);
    const isOpen = inode instanceof FileInode && inode.opens > 0;
    if (fh === undefined && !isOpen) return this.#refreshedAttributes(inode, ctx);
    // An open file is not looked for under its name, but guessed attributes are not shown: `cp -p` takes them.
    const isGuessed = inode instanceof FileInode && inode.isGuessed && this.#environment.options.stat === 'exact';
    if (!isGuessed) return this.#attributes(inode);
    return this.namespace.exactly(inode, ctx).then(() => this.#attributes(inode));
  }

  async #refreshedAttributes(inode: Inode, ctx: RequestContext): Promise<AttributesReply> {
    const { parent, name } = inode;
    if (parent && inode instanceof FileInode) {
      this.#walks.looked(parent, name, true);
      this.#walks.stated(parent);
    }
    const present = parent ? await this.#waited(this.namespace.find(parent, name, ctx), ctx) : inode;
    const found = present && (await this.namespace.exactly(present, ctx));
    if (found && found !== inode) this.namespace.release(found);
    if (found !== inode && inode.parent === undefined && !(inode instanceof FileInode && inode.opens > 0)) {
      throw new FsError(found ? 'ESTALE' : 'ENOENT');
    }
    return this.#attributes(inode);
  }

  #attributes(inode: Inode): AttributesReply {
    const attributes: Attributes = attributesOf(this.#environment.options, inode);
    return {
      attributes,
      attributesTtl: inode === this.namespace.root ? this.#environment.options.ttl : this.namespace.ttlOf(inode),
    };
  }

  async setattr(nodeid: number, change: SetAttributes): Promise<AttributesReply> {
    const { options } = this.#environment;
    if (options.readOnly) throw new FsError('EROFS');
    const inode = this.namespace.inode(nodeid);
    if (change.size !== undefined) {
      if (!(inode instanceof FileInode)) throw new FsError(inode instanceof DirectoryInode ? 'EISDIR' : 'EINVAL');
      await this.#files.truncate(inode, change.size, change.fh !== undefined, change.killSuidgid ?? false);
    }
    await this.#metadata.change(inode, change);
    return this.#attributes(inode);
  }

  access(): void {
    // The kernel checks by itself (default_permissions).
  }

  statfs(): StatfsReply {
    const blocks = Math.floor(this.#environment.options.bucketSize / STATFS_BLOCK);
    const files = 2 ** 32;
    return {
      blocks,
      bfree: blocks,
      bavail: blocks,
      files,
      ffree: files,
      bsize: STATFS_BLOCK,
      namelen: NAME_MAX,
      frsize: STATFS_BLOCK,
    };
  }

  // --- files ----------------------------------------------------------------------------------------------------------

  open(nodeid: number, flags: number, ctx: RequestContext): Awaitable<OpenReply> {
    const file = this.namespace.file(nodeid);
    if (file.parent && (flags & O_ACCMODE) === O_RDONLY) {
      this.#walks.looked(file.parent, file.name, !file.exact);
      this.#walks.opened(file.parent);
    }
    return this.#files.open(file, flags, ctx);
  }

  create(
    parent: number,
    name: Name,
    mode: number,
    flags: number,
    ctx: RequestContext,
  ): Awaitable<{ readonly entry: Entry; readonly open: OpenReply }> {
    const directory = this.namespace.directory(parent);
    const file = this.#names.createFile(directory, name, mode, ctx);
    this.#metadata.inheritAcl(directory, file);
    const open = this.#files.opened(file, flags, ctx, true);
    return { entry: this.#entry(file), open };
  }

  read(_nodeid: number, fh: number, offset: number, size: number, ctx: RequestContext): Awaitable<ReadReply> {
    const handle = this.#handles.file(fh);
    const { inode } = handle;
    if (offset + size > handle.readTo) handle.readTo = offset + size;
    // The kernel asks again by itself for what its read-ahead did not get: one refusal would not reach the program.
    if ((inode.stored?.spoiledAt ?? 0) > handle.findings) {
      throw new FsError('EIO', `wrong bytes have come of ${inode.label} since it was opened; open and read it again`);
    }
    const reply = this.#files.read(handle, offset, size, ctx);
    return reply instanceof Promise ? reply.catch(error => this.#readFailed(inode, error)) : reply;
  }

  /** Gone or changed under an open file: ESTALE in both cases, and whoever opens it again gets what is there. */
  #readFailed(file: FileInode, error: unknown): never {
    if (!isStoreError(error, 'not-found', 'precondition-failed')) throw error;
    this.namespace.distrust(file);
    throw new FsError('ESTALE', `${file.label} was changed or deleted by another client while it was open`, {
      cause: error,
    });
  }

  write(
    _nodeid: number,
    fh: number,
    offset: number,
    data: Uint8Array,
    options: { readonly killSuidgid: boolean },
    ctx: RequestContext,
  ): Awaitable<number> {
    const { inode } = this.#handles.file(fh);
    const { limits } = this.#environment.store;
    if (offset + data.length > limits.maxObjectSize) throw new FsError('EFBIG');
    const done = (): number => {
      this.#files.changed(inode, options.killSuidgid);
      return data.length;
    };
    const written = this.#files.content(inode).write(offset, data, ctx);
    return written instanceof Promise ? written.then(done) : done();
  }

  flush(_nodeid: number, fh: number, ctx: RequestContext): Awaitable<void> {
    const handle = this.#handles.file(fh);
    if (!handle.inode.content?.unsaved) return;
    return this.#files.flush(handle, ctx);
  }

  fsync(_nodeid: number, fh: number, _dataOnly: boolean, ctx: RequestContext): Promise<void> {
    return this.#files.fsync(this.#handles.file(fh).inode, ctx);
  }

  release(_nodeid: number, fh: number): Awaitable<void> {
    const { inode, readTo } = this.#handles.file(fh);
    if (inode.parent && readTo > 0 && inode.size > OPEN_BYTES) this.#walks.closed(inode.parent, readTo >= inode.size);
    return this.#files.release(fh);
  }

  async fallocate(
    _nodeid: number,
    fh: number,
    mode: number,
    offset: number,
    length: number,
    ctx: RequestContext,
  ): Promise<void> {
    const { inode } = this.#handles.file(fh);
    const content = this.#files.content(inode);
    const end = offset + length;
    if (end > this.#environment.store.limits.maxObjectSize) throw new FsError('EFBIG');
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
      throw new FsError('EOPNOTSUPP', 'ranges cannot be inserted or collapsed');
    }
    const isZeroing = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0;
    const zeroed = isZeroing ? Math.min(end, content.size) - offset : 0;
    const isGrowing = !(mode & FALLOC_FL_KEEP_SIZE) && end > content.size;
    if (zeroed > 0) await content.zero(offset, zeroed);
    if (isGrowing) await content.truncate(end);
    // An allocation alone is nothing to S3: no time changes that would not be saved. Nor has the kernel a flag here that
    // tells whether setuid is to go.
    if (zeroed > 0 || isGrowing) this.#files.changed(inode, ctx.uid !== 0);
  }

  async copyFileRange(
    from: { readonly fh: number; readonly offset: number },
    to: { readonly fh: number; readonly offset: number },
    length: number,
    _flags: number,
    ctx: RequestContext,
  ): Promise<number> {
    const source = this.#handles.file(from.fh).inode;
    const { inode } = this.#handles.file(to.fh);
    const target = this.#files.content(inode);
    const copied = await target.copyRange(this.#files.content(source), from.offset, to.offset, length, ctx.signal);
    if (copied > 0) this.#files.changed(inode, ctx.uid !== 0);
    return copied;
  }

  lseek(_nodeid: number, fh: number, offset: number, whence: number): number {
    const content = this.#files.content(this.#handles.file(fh).inode);
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError('EINVAL');
    if (offset >= content.size) throw new FsError('ENXIO');
    const found = content.seek(offset, whence === SEEK_DATA ? 'data' : 'hole');
    if (found === undefined) throw new FsError('ENXIO');
    return found;
  }

  // --- directories ----------------------------------------------------------------------------------------------------

  opendir(nodeid: number, _flags: number, ctx: RequestContext): OpenReply {
    const directory = this.namespace.directory(nodeid);
    this.#indexers.check(ctx.pid);
    directory.opens++;
    this.#walks.descended(directory);
    return { fh: this.#handles.openDirectory(new DirectoryReader(this.#environment, this.namespace, directory)) };
  }

  async readdir(_nodeid: number, fh: number, cookie: number, sink: DirectorySink, ctx: RequestContext): Promise<void> {
    const counted: DirectorySink = {
      plus: sink.plus,
      add: entry => {
        const taken = sink.add(entry);
        if (!entry.entry) return taken;
        const inode = this.namespace.inode(entry.entry.nodeid);
        if (taken) inode.lookups++;
        else this.namespace.release(inode);
        return taken;
      },
    };
    await this.#handles.directory(fh).read(cookie, counted, ctx);
  }

  releasedir(_nodeid: number, fh: number): void {
    const reader = this.#handles.closeDirectory(fh);
    reader.close();
    reader.directory.opens--;
    this.namespace.release(reader.directory);
  }

  async fsyncdir(nodeid: number): Promise<void> {
    const directory = this.namespace.directory(nodeid);
    await this.#saver.metadata.save(directory);
    for (const child of [...directory.children.values()]) {
      if (child.metadataUnsaved && !(child instanceof FileInode && child.content?.unsaved))
        await this.#saver.metadata.save(child);
    }
    await this.#queued.sentBelow(directory);
  }

  // --- extended attributes --------------------------------------------------------------------------------------------

  getxattr(nodeid: number, name: string, ctx: RequestContext): Awaitable<Uint8Array> {
    return this.#metadata.getxattr(nodeid, name, ctx);
  }

  setxattr(nodeid: number, name: string, value: Uint8Array, flags: number): Promise<void> {
    return this.#metadata.setxattr(nodeid, name, value, flags);
  }

  listxattr(nodeid: number, ctx: RequestContext): Promise<readonly string[]> {
    return this.#metadata.listxattr(nodeid, ctx);
  }

  removexattr(nodeid: number, name: string): Promise<void> {
    return this.#metadata.removexattr(nodeid, name);
  }

  // --- beginning and end ----------------------------------------------------------------------------------------------

  /** What may be done in the background once the mount answers. */
  started(): void {
    if (!this.#environment.options.readOnly) void new Leftovers(this.#environment).sweep();
  }

  /** Saves everything that S3 does not have. Resolves also if some of it could not be saved: see `unsaved`. */
  async drain(): Promise<void> {
    await this.#saver.drain();
    await this.#queued.drain();
    await this.#environment.persistentIndex?.flush();
    await this.#orphans.deleteLeftovers();
  }

  /**
   * What S3 does not have: bytes, and the paths below the mount point. What is in the journal would outlive the process; the
   * rest would be lost with it.
   */
  unsaved(): { bytes: number; names: readonly string[]; journal?: { readonly names: number; readonly path: string } } {
    const contents = this.#unsavedContents();
    const queued = this.#queued.unsent;
    const sizes = [...contents.map(({ content }) => content.unsavedBytes), ...queued.map(({ bytes }) => bytes)];
    const names = [...contents.map(({ label }) => label), ...queued.map(({ key }) => key)];
    const path = this.#environment.writeBack?.journalPath;
    return {
      bytes: sizes.reduce((sum, each) => sum + each, 0),
      names,
      ...(path !== undefined && queued.length > 0 && { journal: { names: queued.length, path } }),
    };
  }

  /** What `status` shows of it. */
  status(): FileSystemStatus {
    const status = statusOf(this.namespace, this.#handles.counts);
    const queued = this.#queued.state;
    if (!queued) return status;
    const { unsaved } = status;
    const files = unsaved.files + queued.files + queued.deletes;
    return { ...status, unsaved: { ...unsaved, bytes: unsaved.bytes + queued.bytes, files }, queued };
  }

  /** Saves what is unsaved of `path`, or below it; see `saveBelow`. */
  flushBelow(path: string, progress: FlushProgress, signal: AbortSignal): Promise<FlushOutcome> {
    return saveBelow(this.namespace, this.#saver, path, progress, signal).then(outcome =>
      this.#queued.flush(path, outcome),
    );
  }

  /** Where an inode is, relative to the mount point, for messages; undefined for one that is not known. */
  pathOf(nodeid: number, name?: Name): string | undefined {
    return pathOf(this.namespace, nodeid, name);
  }

  #unsavedContents(): Unsaved[] {
    const contents: Unsaved[] = [];
    for (const inode of this.namespace.inodes()) {
      if (!(inode instanceof FileInode) || inode.unlinked || !inode.content?.unsaved) continue;
      contents.push({ label: inode.label, content: inode.content });
    }
    return contents;
  }

  /** Writes what S3 would not take to files below `directory`; returns their paths. */
  recover(directory: string): Promise<readonly string[]> {
    return recover(this.#unsavedContents(), directory, this.#environment.telemetry.log);
  }

  async destroy(): Promise<void> {
    try {
      await this.drain();
    } finally {
      await this.#environment.blocks.close();
    }
  }
}
