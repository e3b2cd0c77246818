/**
 * Operations that give and take names: create, mkdir, mknod, symlink, link, unlink, rmdir.
 *
 * All are answered when S3 has them, but create: a new file is saved at its close. The kernel holds the directory's lock
 * through each of these, so that two of them never meet in one directory of one mount.
 */
import { copyObject } from '../cache/object-copy.ts';
import { FsError, isStoreError } from '../errors.ts';
import type { Name, RequestContext, Timestamp } from '../fuse/ops.ts';
import type { ObjectDescription, Written } from '../s3/store.ts';
import { newPosix } from './attributes.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode, SpecialInode } from './inode.ts';
import { byteLength, HIDDEN_PREFIX, NAME_MAX } from './keys.ts';
import { Listing } from './listing.ts';
import { S_IFDIR, S_IFLNK, S_IFREG, typeOf } from './modes.ts';
import type { Namespace } from './namespace.ts';
import type { Orphans } from './orphans.ts';
import { metadataBytes, timestampOf } from './posix.ts';
import type { Saver } from './saver.ts';

/**
 * A listing this young (ms) is believed when it says that a directory is empty; an older one is asked again, and one that came
 * ahead of a walker who has not read it: `stat d; rmdir d` asks as if nothing had been known.
 */
const EMPTY_PROOF_AGE = 1000;
/** Deletes of so many names take as long as a LIST. */
const LAST_NAMES = 3;

export class Names {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #saver: Saver;
  readonly #orphans: Orphans;

  constructor(environment: Environment, namespace: Namespace, saver: Saver, orphans: Orphans) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#saver = saver;
    this.#orphans = orphans;
  }

  now(): Timestamp {
    return timestampOf(this.#environment.clock.now());
  }

  /** Checks a name that is to be made; returns it. Too long for its key fails here, not at close. */
  creatable(parent: DirectoryInode, name: Name, isDirectory: boolean): string {
    if (name === undefined) {
      throw new FsError('EILSEQ', `a name in ${parent.key || '/'} is not UTF-8; S3 keys are: convert it first`);
    }
    if (byteLength(name) > NAME_MAX) throw new FsError('ENAMETOOLONG', `a name may have ${NAME_MAX} bytes`);
    const { store, options } = this.#environment;
    if (options.readOnly) throw new FsError('EROFS');
    const key = parent.key + name + (isDirectory ? '/' : '');
    const limit = store.limits.maxKeyBytes - store.prefixBytes;
    if (byteLength(key) > limit) throw new FsError('ENAMETOOLONG', `the key would have more than S3's ${limit} bytes`);
    if (parent === this.#namespace.root && `${name}/` === HIDDEN_PREFIX)
      throw new FsError('EACCES', `${name} is reserved`);
    return key;
  }

  /**
   * Local bookkeeping of a directory whose entries changed: its mtime and ctime, in this mount only. The kernel need not be
   * told: it forgets the attributes of a directory by itself when it has changed its entries (fs/fuse/dir.c, fuse_dir_changed).
   */
  touchParent(parent: DirectoryInode): void {
    const now = this.now();
    parent.posix = { ...parent.posix, mtime: now, ctime: now };
  }

  /** Gives an inode another place and name; `isNew`: nothing had that name. */
  relocate(inode: Inode, newParent: DirectoryInode, newName: string, isNew: boolean): void {
    const { parent, name } = inode;
    this.#namespace.move(inode, newParent, newName);
    if (parent) this.#namespace.changed(parent, name, undefined);
    if (isNew) newParent.changes.added(newName);
    else newParent.changes.record(newName);
    inode.posix = { ...inode.posix, ctime: this.now() };
  }

  createFile(parent: DirectoryInode, name: Name, mode: number, ctx: RequestContext): FileInode {
    this.creatable(parent, name, false);
    const existing = parent.children.get(name!);
    if (existing) throw new FsError('EEXIST');
    const posix = newPosix(parent, S_IFREG | (mode & 0o7777), 0, ctx, this.now());
    const file = this.#namespace.newFile(parent, name!, posix);
    file.exact = true;
    parent.changes.added(name!);
    this.touchParent(parent);
    return file;
  }

  makeDirectory(parent: DirectoryInode, name: Name, mode: number, ctx: RequestContext): Promise<DirectoryInode> {
    return this.#saver.moves.within([parent], () => this.#makeDirectory(parent, name, mode, ctx));
  }

  async #makeDirectory(parent: DirectoryInode, name: Name, mode: number, ctx: RequestContext): Promise<DirectoryInode> {
    const key = this.creatable(parent, name, true);
    await this.#expectFree(parent, name!);
    const { clock } = this.#environment;
    const posix = newPosix(parent, S_IFDIR | (mode & 0o7777), 0, ctx, this.now());
    const at = clock.monotonic();
    const description = this.#saver.descriptions.describe(new DirectoryInode(0, 0n, parent, name!, posix));
    const written = await this.#putNew(key, [], description);
    const directory = this.#namespace.newDirectory(parent, name!, posix);
    this.#saver.descriptions.marked(directory, key, written, description, at);
    // It is new: what is not here does not exist.
    const listing = new Listing(at);
    listing.complete = true;
    this.#namespace.listings.remember(directory, listing);
    parent.changes.added(name!);
    this.#namespace.changed(parent, name!, { name: name!, directory: true });
    this.touchParent(parent);
    return directory;
  }

  /** A link with its target, a fifo, a socket or a device: an object whose metadata says what it is. */
  makeSpecial(
    parent: DirectoryInode,
    name: Name,
    mode: number,
    rdev: number,
    target: Uint8Array | undefined,
    ctx: RequestContext,
  ): Promise<SpecialInode> {
    return this.#saver.moves.within([parent], () => this.#makeSpecial(parent, name, mode, rdev, target, ctx));
  }

  async #makeSpecial(
    parent: DirectoryInode,
    name: Name,
    mode: number,
    rdev: number,
    target: Uint8Array | undefined,
    ctx: RequestContext,
  ): Promise<SpecialInode> {
    const key = this.creatable(parent, name, false);
    const { options, blocks, clock } = this.#environment;
    if (options.stat === 'list' || options.metadata === 'none') {
      throw new FsError(
        'EOPNOTSUPP',
        'links, fifos and devices live in metadata, which stat=list and metadata=none leave out',
      );
    }
    await this.#expectFree(parent, name!);
    const posix = newPosix(parent, mode, rdev, ctx, this.now());
    const inode = new SpecialInode(0, 0n, parent, name!, posix);
    const description = this.#saver.descriptions.describe(inode);
    const at = clock.monotonic();
    const body = target ? [target.slice()] : [];
    const written = await this.#putNew(key, body, description);
    const special = this.#namespace.newSpecial(parent, name!, posix);
    const stored = blocks.contentOf({ key, etag: written.etag, size: target?.length ?? 0 });
    special.stored = stored;
    if (typeOf(mode) === S_IFLNK) special.target = body[0];
    special.description = description;
    special.exact = true;
    special.checkedAt = at;
    this.#namespace.index.wrote(key, written, stored.size, description, at);
    parent.changes.added(name!);
    this.#namespace.saved(special);
    this.touchParent(parent);
    return special;
  }

  async #expectFree(parent: DirectoryInode, name: string, waiter?: Pick<RequestContext, 'signal'>): Promise<void> {
    const there = await this.#namespace.find(parent, name, waiter);
    if (!there) return;
    this.#namespace.release(there);
    throw new FsError('EEXIST');
  }

  async #putNew(key: string, body: readonly Uint8Array[], description: ObjectDescription): Promise<Written> {
    try {
      return await this.#environment.store.put(key, body, description, { ifAbsent: true });
    } catch (error) {
      if (!isStoreError(error, 'precondition-failed')) throw error;
      throw new FsError('EEXIST', `${key} was made by another client`, { cause: error });
    }
  }

  /** link(2) as an independent copy (`link=copy`): S3 has no second name for one object. */
  async link(source: Inode, parent: DirectoryInode, name: Name, ctx: RequestContext): Promise<Inode> {
    if (source instanceof DirectoryInode) throw new FsError('EPERM', 'a directory cannot be linked');
    this.creatable(parent, name, false);
    if (this.#environment.options.link !== 'copy') {
      throw new FsError('EPERM', 'S3 has no hard links; -o link=copy makes an independent copy instead');
    }
    if (source instanceof FileInode) await this.#saver.save(source);
    return this.#saver.moves.within([source, parent], () => this.#copyAs(source, parent, name!, ctx));
  }

  async #copyAs(
    source: FileInode | SpecialInode,
    parent: DirectoryInode,
    name: string,
    ctx: RequestContext,
  ): Promise<Inode> {
    const key = this.creatable(parent, name, false);
    await this.#expectFree(parent, name, ctx);
    return source.lock.run(async () => {
      const { stored } = source;
      if (!stored || !source.parent) throw new FsError('ENOENT', 'what has lost its name cannot get another one');
      const { store, blocks, clock } = this.#environment;
      const told = await this.#saver.descriptions.describeCopy(source);
      const description = told ?? source.description;
      const at = clock.monotonic();
      const written = await copyObject(store, stored.version, key, told, { ifAbsent: true }).catch(error => {
        throw isStoreError(error, 'precondition-failed') ? new FsError('EEXIST', `${key} exists`) : error;
      });
      const copy =
        source instanceof FileInode
          ? this.#namespace.newFile(parent, name, source.posix)
          : this.#namespace.newSpecial(parent, name, source.posix);
      if (copy instanceof SpecialInode) copy.target = (source as SpecialInode).target;
      copy.stored = blocks.contentOf({ key, etag: written.etag, size: stored.size });
      copy.description = description;
      copy.exact = source.exact;
      copy.checkedAt = at;
      if (description) this.#namespace.index.wrote(key, written, stored.size, description, at);
      parent.changes.added(name);
      this.#namespace.saved(copy);
      this.touchParent(parent);
      return copy;
    });
  }

  async unlink(parent: DirectoryInode, name: Name, ctx: RequestContext): Promise<void> {
    const inode = await this.#existing(parent, name, ctx);
    if (inode instanceof DirectoryInode) throw new FsError('EISDIR');
    const remove = async (): Promise<void> => {
      if (inode instanceof FileInode) await this.#orphans.keep(inode);
      // What it was renamed over before its first save is still in S3.
      const isInS3 = inode.stored !== undefined || (inode instanceof FileInode && inode.replaces !== undefined);
      if (isInS3) {
        this.#proveEmptyAhead(parent, name!);
        await this.#environment.store.delete(inode.key);
      }
      this.lost(inode);
      this.touchParent(parent);
    };
    const unlink = async (): Promise<void> => {
      if (inode.parent !== parent) throw new FsError('ENOENT');
      await this.leaving(inode, remove);
    };
    await this.#saver.moves.within([inode], () => inode.lock.run(unlink));
    // Under the lock nothing is released.
    this.#namespace.release(inode);
    this.keepIfEmptied(parent);
  }

  /**
   * `rm -r` takes the last names of a directory that it has open: rmdir comes next and will want to know whether others put
   * something there. The LIST that tells goes out beside the deletes, early enough that nobody waits for it.
   */
  #proveEmptyAhead(parent: DirectoryInode, name: string): void {
    const { listing } = parent;
    if (parent.opens === 0 || !listing?.complete || listing.names.size > LAST_NAMES || !listing.names.has(name)) return;
    if (this.#environment.clock.monotonic() - listing.at < this.#emptyProofAge / 2) return;
    this.#namespace.listings.list(parent).catch(() => {});
  }

  /** Runs what takes the name from an inode; under its lock. Who opens it meanwhile waits until that is decided. */
  async leaving(inode: Inode | undefined, work: () => Promise<void>): Promise<void> {
    if (!(inode instanceof FileInode)) return work();
    inode.leaving = true;
    const change = (): Promise<void> => this.#saver.changeName(inode, true, work);
    try {
      // Copies that only refer to it get its bytes first.
      await (inode.stored ? inode.stored.leave(change) : change());
    } catch (error) {
      if (!inode.unlinked) await this.#orphans.stays(inode);
      throw error;
    } finally {
      inode.leaving = false;
    }
  }

  /** An inode lost its name for good: unlinked, or another was renamed over it. Its S3 object is gone or replaced. */
  lost(inode: FileInode | SpecialInode): void {
    const { parent, name } = inode;
    this.#saver.metadata.take(inode);
    inode.metadataUnsaved = false;
    inode.posix = { ...inode.posix, ctime: this.now() };
    this.#namespace.index.delete(inode.key);
    if (inode instanceof FileInode) {
      inode.unlinked = true;
      inode.content?.keepLocal();
      // Perhaps closed while its bytes were being made safe.
      if (!inode.isInUse) void this.#orphans.drop(inode);
    }
    if (!parent) return;
    this.#namespace.detach(inode);
    this.#namespace.changed(parent, name, undefined);
  }

  async removeDirectory(parent: DirectoryInode, name: Name, ctx: RequestContext): Promise<void> {
    const inode = await this.#existing(parent, name, ctx);
    if (!(inode instanceof DirectoryInode)) throw new FsError('ENOTDIR');
    const remove = async (): Promise<void> => {
      await this.expectEmpty(inode);
      await this.deleteMarkers(inode);
      this.#forgetDirectory(inode);
      this.touchParent(parent);
    };
    await this.#saver.moves.within([inode], () => inode.lock.run(remove));
    this.#namespace.release(inode);
    this.keepIfEmptied(parent);
  }

  #forgetDirectory(inode: DirectoryInode): void {
    const { parent, name } = inode;
    this.#saver.metadata.take(inode);
    inode.metadataUnsaved = false;
    inode.localOnly = false;
    this.#namespace.detach(inode);
    if (parent) this.#namespace.changed(parent, name, undefined);
  }

  /** A directory that another was renamed over: empty, its marker now the other's. */
  replaced(inode: DirectoryInode): void {
    this.#forgetDirectory(inode);
  }

  /** Under write-back what is answered is not yet so in S3: then a listing is believed as long as it is for anybody. */
  get #emptyProofAge(): number {
    const { writeBack, options } = this.#environment;
    return writeBack ? Math.max(EMPTY_PROOF_AGE, options.ttl) : EMPTY_PROOF_AGE;
  }

  /** ENOTEMPTY told truly: also of what other clients put there. */
  async expectEmpty(directory: DirectoryInode): Promise<void> {
    const notEmpty = (): FsError => new FsError('ENOTEMPTY', `${directory.key} is not empty`);
    if (directory.holdsLocal) throw notEmpty();
    const { store, clock } = this.#environment;
    if (directory.loading) await directory.loading.catch(() => {});
    const { listing } = directory;
    const isRead = listing && (!listing.isAhead || this.#environment.writeBack !== undefined);
    if (listing?.complete && isRead && clock.monotonic() - listing.at < this.#emptyProofAge) {
      if (listing.names.size > 0) throw notEmpty();
      return;
    }
    const { key } = directory;
    const page = await store.list({ prefix: key, maxKeys: 2 });
    if (page.objects.some(object => object.key !== key)) throw notEmpty();
    directory.unmarked =
      page.objects.length === 0 && (directory.markerKey === undefined || directory.markerKey === key);
    if (page.objects.length > 0) directory.markerKey ??= key;
  }

  /** Deletes the objects by which a directory is known. None where it is known that there is none; `keepOwn`: not `dir/`. */
  async deleteMarkers(directory: DirectoryInode, keepOwn = false): Promise<void> {
    if (directory.unmarked) return;
    const { key, markerKey } = directory;
    const { store } = this.#environment;
    if (markerKey !== undefined && markerKey !== key) await store.delete(markerKey);
    if (!keepOwn) await store.delete(key);
    this.#namespace.index.delete(key);
  }

  /** An implicit directory whose last entry went would vanish: it gets a marker, unless it is removed at once. */
  keepIfEmptied(parent: DirectoryInode): void {
    if (!parent.unmarked || !parent.listing?.complete || parent.listing.names.size > 0) return;
    for (const child of parent.children.values()) if (child.parent === parent) return;
    this.#saver.metadata.keepDirectory(parent);
  }

  async #existing(parent: DirectoryInode, name: Name, ctx: RequestContext): Promise<Inode> {
    if (this.#environment.options.readOnly) throw new FsError('EROFS');
    const inode = name === undefined ? undefined : await this.#namespace.find(parent, name, ctx);
    if (!inode) throw new FsError('ENOENT');
    return inode;
  }

  /** Fails with ENOSPC where an inode's metadata would not fit S3's 2 KB: never with a broken PUT later. */
  expectMetadataFits(inode: Inode): void {
    const { metadata } = this.#saver.descriptions.describe(inode);
    const limit = this.#environment.store.limits.maxMetadataBytes;
    if (metadataBytes(metadata) > limit)
      throw new FsError('ENOSPC', `${inode.key}: S3 keeps ${limit} bytes of metadata with an object`);
  }
}
