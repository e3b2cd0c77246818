/**
 * From names to inodes: the tree of what the kernel holds, and how fresh it is.
 *
 * Difficulties: (1) A name is learned from a listing, from a HEAD or from our own writes, and each may be older than the
 * other: a listing under way never undoes a local change (`NameChanges`). (2) A version changed by others must not change
 * under an open handle: then the *name* gets a new inode with the same st_ino, and the old one lives on for its handles.
 * (3) What is unsaved is the truth here, whatever S3 says. (4) A directory of more than a page is asked name by name.
 */
import type { StoredContent } from '../cache/stored-content.ts';
import { isStoreError } from '../errors.ts';
import type { ListedObject, ObjectVersion } from '../s3/store.ts';
import { AskedAhead } from './asked-ahead.ts';
import { describedPosix, listedPosix, rootPosix } from './attributes.ts';
import { DirectoryListings } from './directory-listings.ts';
import { DirectoryMarkers } from './directory-markers.ts';
import { type Environment, limitsOf } from './environment.ts';
import { DirectoryInode, FileInode, type Inode, isAttached, SpecialInode } from './inode.ts';
import { InodeLimit } from './inode-limit.ts';
import { InodeTree } from './inode-tree.ts';
import type { RangeAnswer } from './listed-ranges.ts';
import type { ListedName, Listing } from './listing.ts';
import type { IndexedMetadata, MetadataIndex } from './metadata-index.ts';
import { MetadataRequests } from './metadata-requests.ts';
import { S_IFDIR, S_IFREG, S_ISVTX, typeOf } from './modes.ts';
import { type FullPosix, MAX_LINK } from './posix.ts';

/** Who asks: its signal is made when there is something to wait for, and most is at hand. */
interface Waiter {
  readonly signal: AbortSignal;
  /** A guessed owner will not do: see `ownerMayBeGuessed`. */
  readonly wantsOwner?: boolean;
}

/** What is known of an object, however it was learned. */
interface Facts {
  readonly version: ObjectVersion;
  readonly lastModified: number | undefined;
  readonly posix: FullPosix;
  readonly exact: boolean;
  readonly metadata: IndexedMetadata | undefined;
  /** ms of the monotonic clock. */
  readonly checkedAt: number;
}

export class Namespace extends InodeTree {
  readonly requests: MetadataRequests;
  readonly markers: DirectoryMarkers;
  readonly listings: DirectoryListings;
  readonly ahead: AskedAhead;
  readonly #environment: Environment;
  readonly #limit: InodeLimit;

  constructor(environment: Environment) {
    super(rootPosix(environment.options, environment.clock.now()));
    this.#environment = environment;
    this.#limit = new InodeLimit(environment, this.inodesByNumber, limitsOf(environment).inodes);
    this.requests = new MetadataRequests(environment);
    this.markers = new DirectoryMarkers(environment, this.requests, this.root);
    this.listings = new DirectoryListings(
      environment,
      this.requests,
      this.markers,
      directory => this.release(directory),
      key => this.ahead.coming(key),
    );
    this.ahead = new AskedAhead(environment, this.requests, this.markers, this.listings, key => this.directoryAt(key));
  }

  get index(): MetadataIndex {
    return this.requests.index;
  }

  protected override grown(): void {
    this.#limit.grown();
  }

  /** A listing under way ahead of somebody may not show what was changed in a directory that is forgotten now. */
  protected override directoryForgotten(directory: DirectoryInode): void {
    if (directory.changes.any && isAttached(directory)) this.ahead.distrust(directory.key);
  }

  /** Notes that this mount gave `name` to an object of its own, or took it away (`listed` undefined). */
  changed(parent: DirectoryInode, name: string, listed: ListedName | undefined): void {
    parent.changes.record(name, listed);
    if (parent.listing) {
      parent.listing.change(name, listed);
      if (listed) this.listings.limit.grown(1);
    }
    parent.ranges?.change(name, listed);
    if (!listed && isAttached(parent)) this.ahead.distrust(`${parent.key}${name}/`);
  }

  /** A file or link of ours was saved under its name. */
  saved(inode: FileInode | SpecialInode): void {
    const { parent, stored } = inode;
    if (!parent || !stored) return;
    const object = { ...stored.version, lastModified: inode.lastModified ?? this.#environment.clock.now() };
    this.changed(parent, inode.name, { name: inode.name, object, directory: false });
  }

  // --- resolution -----------------------------------------------------------------------------------------------------

  /** Whether what is known of an inode still holds without asking. */
  isFresh(inode: Inode): boolean {
    if (inode.metadataUnsaved || (inode instanceof FileInode && (inode.unsaved || inode.unlinked))) return true;
    if (this.#environment.options.stat === 'exact' && !inode.exact) return false;
    return this.requests.isRecent(inode.checkedAt);
  }

  /** Whether the name still leads to this inode, without asking; its attributes may have to be fetched (`exactly`). */
  isPresent(inode: Inode): boolean {
    if (this.isFresh(inode)) return true;
    return (
      inode instanceof FileInode && (inode.stored?.size ?? 0) > MAX_LINK && this.requests.isRecent(inode.checkedAt)
    );
  }

  /** The inode with its object's own metadata: one HEAD, where that is not known. What has lost its name is as exact as it gets. */
  async exactly(inode: Inode, waiter?: Waiter): Promise<Inode> {
    const { parent, name } = inode;
    if (this.isFresh(inode) || inode.exact || !parent || !(inode instanceof FileInode) || !inode.stored) return inode;
    if (this.#environment.options.stat === 'list') return inode;
    const object = { ...inode.stored.version, lastModified: inode.lastModified ?? this.#environment.clock.now() };
    const known = this.requests.known(object, inode.checkedAt);
    if (known)
      return this.#place(parent, name, this.#factsOf(object.key, known, Math.max(inode.checkedAt, known.checkedAt)));
    return (await this.#describe(parent, name, object, inode.checkedAt, waiter)) ?? inode;
  }

  /** How long, in ms, the kernel may keep what it is told of this inode. */
  ttlOf(inode: Inode): number {
    const { options, clock } = this.#environment;
    if (inode.metadataUnsaved || (inode instanceof FileInode && inode.unsaved)) return options.ttl;
    return Math.max(0, Math.min(options.ttl, options.ttl - (clock.monotonic() - inode.checkedAt)));
  }

  /** The inode of a name, or undefined where there is none. */
  find(parent: DirectoryInode, name: string, waiter?: Waiter): Inode | undefined | Promise<Inode | undefined> {
    const child = parent.children.get(name);
    if (child && (waiter?.wantsOwner ? this.isFresh(child) : this.isPresent(child))) return child;
    const listing = this.listings.fresh(parent);
    if (listing?.complete) return this.#fromListing(parent, name, listing, waiter);
    // Somebody reads a large directory: what has passed by is known, and each page is as old as its own request.
    const listed = parent.listing?.names.get(name);
    const at = listed && parent.listing?.ageOf(name);
    if (listed && at !== undefined && this.requests.isRecent(at)) return this.#apply(parent, listed, at, waiter);
    const range = this.listings.inRange(parent, name);
    if (range) return this.#fromRange(parent, name, range, waiter);
    return this.#resolve(parent, name, waiter);
  }

  async #resolve(parent: DirectoryInode, name: string, waiter?: Waiter): Promise<Inode | undefined> {
    if (!parent.large) {
      const child = parent.children.get(name);
      if (child instanceof DirectoryInode && isLookedInto(child)) {
        const listing = await this.listings.list(child, waiter?.signal);
        // Empty tells nothing: it may be gone. Nor is it a proof for rmdir, which asks by itself.
        if (listing.names.size === 0) listing.isAhead = true;
        else if (parent.children.get(name) === child) {
          return this.#applyDirectory(parent, { name, directory: true }, listing.at, waiter);
        }
      }
      const listing = await this.listings.list(parent, waiter?.signal);
      listing.used = true;
      if (listing.complete) return this.#fromListing(parent, name, listing, waiter);
      const listed = listing.names.get(name);
      // The first page has it, unless a later one shows that it is a directory too.
      if (listed?.directory) return this.#fromListing(parent, name, listing, waiter);
    }
    const range = await this.listings.rangeFrom(parent, name, waiter?.signal);
    return range ? this.#fromRange(parent, name, range, waiter) : this.#ask(parent, name, waiter);
  }

  #fromRange(
    parent: DirectoryInode,
    name: string,
    { listed, at }: RangeAnswer,
    waiter?: Waiter,
  ): Inode | undefined | Promise<Inode | undefined> {
    return listed ? this.#apply(parent, listed, at, waiter) : this.#missing(parent, name);
  }

  /** HEAD of the object and LIST of the directory, side by side. */
  async #ask(parent: DirectoryInode, name: string, waiter?: Waiter): Promise<Inode | undefined> {
    const { store, clock } = this.#environment;
    const key = parent.key + name;
    const at = clock.monotonic();
    const place = parent.changes.watch();
    try {
      const [object, below] = await Promise.all([
        this.requests.head(key, waiter?.signal),
        store.list({ prefix: `${key}/`, maxKeys: 1 }, waiter ? { signal: waiter.signal } : {}),
      ]);
      if (parent.changes.changedSince(name, place)) return parent.children.get(name);
      const directory = below.objects.length > 0;
      if (!object && !directory) return this.#missing(parent, name);
      const listed: ListedName = {
        name,
        directory,
        ...(object && {
          object: { key, etag: object.etag, size: object.size, lastModified: object.lastModified ?? clock.now() },
        }),
      };
      return await this.#apply(parent, listed, at, waiter);
    } finally {
      parent.changes.unwatch();
    }
  }

  #fromListing(
    parent: DirectoryInode,
    name: string,
    listing: Listing,
    waiter?: Waiter,
  ): Inode | undefined | Promise<Inode | undefined> {
    const listed = listing.names.get(name);
    return listed ? this.#apply(parent, listed, listing.at, waiter) : this.#missing(parent, name);
  }

  /** S3 has no such name; what is only here stays. */
  #missing(parent: DirectoryInode, name: string): Inode | undefined {
    const child = parent.children.get(name);
    if (!child) return undefined;
    if (child.metadataUnsaved || child.lock.locked) return child;
    if (child instanceof FileInode) {
      if (child.unsaved || child.saving || !child.stored) return child;
    } else if (child instanceof DirectoryInode) {
      // An implicit directory whose last object went (see DirectoryKeeper), or that has something unsaved below.
      if (child.localOnly || child.holdsLocal) return child;
    }
    this.detach(child);
    return undefined;
  }

  /** The inode of a listed name, if that can be told without asking; `at` is the age of the listing. */
  peek(parent: DirectoryInode, listed: ListedName, at: number, wantsOwner: boolean): Inode | undefined {
    const child = parent.children.get(listed.name);
    if (child && (wantsOwner ? this.isFresh(child) : this.isPresent(child))) return child;
    if (!child && this.#limit.isFull) return undefined;
    // Passed long ago, or never in S3: a name and its kind.
    if (!listed.directory && !listed.object) return undefined;
    if (this.#environment.options.stat === 'exact') {
      if (listed.directory) {
        const key = `${parent.key}${listed.name}/`;
        const known = this.index.get(key);
        if (!this.ahead.has(key) && (!known || !this.requests.isRecent(known.checkedAt))) return undefined;
      } else if (listed.object && !wantsOwner && this.#canWait(parent, listed.object)) {
        // Its name and type are known, its attributes are fetched when somebody wants them.
      } else if (!this.requests.known(listed.object!, at)) return undefined;
    }
    const found = this.#apply(parent, listed, at);
    return found instanceof Promise ? undefined : found;
  }

  /** Makes the tree say what a listing (asked at `at`) says of a name. */
  #apply(
    parent: DirectoryInode,
    listed: ListedName,
    at: number,
    waiter?: Waiter,
  ): Inode | undefined | Promise<Inode | undefined> {
    if (listed.directory) return this.#applyDirectory(parent, listed, at, waiter);
    const object = listed.object!;
    const child = parent.children.get(listed.name);
    if (child && (child.lock.locked || this.#isLocal(child))) return child;
    if (this.#environment.options.stat === 'list') {
      const facts = this.#listedFacts(object, at);
      return this.#place(parent, listed.name, facts);
    }
    const metadata = this.requests.known(object, at);
    if (metadata) {
      return this.#place(parent, listed.name, this.#factsOf(object.key, metadata, Math.max(at, metadata.checkedAt)));
    }
    if (!waiter?.wantsOwner && this.#canWait(parent, object))
      return this.#place(parent, listed.name, this.#listedFacts(object, at));
    return this.#describe(parent, listed.name, object, at, waiter);
  }

  /** In a sticky directory the kernel compares owners before it deletes; elsewhere nobody needs them before a stat. */
  #canWait(parent: DirectoryInode, object: ListedObject): boolean {
    return object.size > MAX_LINK && (parent.posix.mode & S_ISVTX) === 0;
  }

  /** True where this mount's own state goes before what S3 says. */
  #isLocal(child: Inode): boolean {
    if (child instanceof FileInode) return child.unsaved || child.saving !== undefined;
    return child.metadataUnsaved;
  }

  async #describe(
    parent: DirectoryInode,
    name: string,
    object: ListedObject,
    at: number,
    waiter?: Waiter,
  ): Promise<Inode | undefined> {
    const place = parent.changes.watch();
    try {
      const metadata = await this.requests.head(object.key, waiter?.signal);
      if (parent.changes.changedSince(name, place)) return parent.children.get(name);
      if (!metadata) return this.#missing(parent, name);
      return this.#place(parent, name, this.#factsOf(object.key, metadata, metadata.checkedAt));
    } catch (error) {
      // No right to HEAD, or a key of SSE-C: it is listed, so it is shown as the listing has it.
      if (!isStoreError(error, 'forbidden', 'invalid', 'archived')) throw error;
      return this.#place(parent, name, { ...this.#listedFacts(object, at), exact: true });
    } finally {
      parent.changes.unwatch();
    }
  }

  #listedFacts(object: ListedObject, at: number): Facts {
    return {
      version: { key: object.key, etag: object.etag, size: object.size },
      lastModified: object.lastModified,
      posix: listedPosix(this.#environment.options, S_IFREG, object.lastModified),
      exact: false,
      metadata: undefined,
      checkedAt: at,
    };
  }

  #factsOf(key: string, metadata: IndexedMetadata, checkedAt: number): Facts {
    const { options, clock } = this.#environment;
    const lastModified = metadata.lastModified ?? clock.now();
    return {
      version: { key, etag: metadata.etag, size: metadata.size },
      lastModified: metadata.lastModified,
      posix: describedPosix(options, metadata.description, metadata.size, lastModified, false),
      exact: true,
      metadata,
      checkedAt,
    };
  }

  /** Puts an object's facts under a name: into the inode that has it, or into a new one. */
  #place(parent: DirectoryInode, name: string, facts: Facts): Inode {
    const type = typeOf(facts.posix.mode);
    const child = parent.children.get(name);
    if (child && (child.lock.locked || this.#isLocal(child))) return child;
    if (type === S_IFDIR) {
      const directory =
        child instanceof DirectoryInode ? child : this.#replace(child, parent, name, facts.posix, 'directory');
      this.markers.set(directory as DirectoryInode, facts.version.key, facts.metadata, facts.checkedAt);
      return directory;
    }
    const isFile = type === S_IFREG;
    if (child && (isFile ? child instanceof FileInode : child instanceof SpecialInode)) {
      const inode = child as FileInode | SpecialInode;
      if (inode.stored?.version.etag === facts.version.etag && inode.stored.size === facts.version.size) {
        this.#update(inode, inode.stored, facts);
        return inode;
      }
      // A truncate by name, or an open that cuts it, works on its content already.
      const isOpen =
        inode instanceof FileInode && (inode.opens > 0 || (inode.opening > 0 && inode.content !== undefined));
      if (!isOpen && typeOf(inode.posix.mode) === type) {
        if (inode instanceof FileInode) inode.content = undefined;
        else inode.target = undefined;
        this.#update(inode, this.#environment.blocks.contentOf(facts.version), facts);
        this.#environment.notifier?.invalidateInode(inode.nodeid);
        return inode;
      }
    }
    const inode = this.#replace(child, parent, name, facts.posix, isFile ? 'file' : 'special') as
      | FileInode
      | SpecialInode;
    this.#update(inode, this.#environment.blocks.contentOf(facts.version), facts);
    return inode;
  }

  #replace(
    child: Inode | undefined,
    parent: DirectoryInode,
    name: string,
    posix: FullPosix,
    kind: 'file' | 'special' | 'directory',
  ): Inode {
    const ino = child?.ino;
    if (child) this.supersede(child);
    if (kind === 'file') return this.newFile(parent, name, posix, ino);
    if (kind === 'special') return this.newSpecial(parent, name, posix, ino);
    return this.newDirectory(parent, name, posix, ino);
  }

  /** The name goes to what somebody else put there; who has this inode open keeps it as it is. */
  supersede(inode: Inode): void {
    if (inode instanceof FileInode && inode.parent) inode.supersededIn = { parent: inode.parent, name: inode.name };
    this.detach(inode, true);
  }

  #update(inode: FileInode | SpecialInode, stored: StoredContent, facts: Facts): void {
    const isOther = inode.stored !== stored;
    if (isOther) {
      inode.stored = stored;
      inode.description = undefined;
    }
    inode.lastModified = facts.lastModified;
    inode.checkedAt = Math.max(inode.checkedAt, facts.checkedAt);
    // What was once known is not replaced by a listing's guess, but asked for again when somebody wants it.
    if (facts.exact || inode.isGuessed || isOther) {
      inode.posix = facts.posix;
      inode.isGuessed = !facts.exact;
    }
    inode.exact = facts.exact;
    if (facts.metadata && facts.metadata.tagCount === 0) inode.description = facts.metadata.description;
  }

  #applyDirectory(
    parent: DirectoryInode,
    listed: ListedName,
    at: number,
    waiter?: Waiter,
  ): Inode | Promise<Inode | undefined> {
    const existing = parent.children.get(listed.name);
    if (existing instanceof DirectoryInode && existing.metadataUnsaved) return existing;
    if (existing && !(existing instanceof DirectoryInode) && this.#isLocal(existing)) return existing;
    const posix = listedPosix(this.#environment.options, S_IFDIR, this.#environment.clock.now());
    const directory =
      existing instanceof DirectoryInode
        ? existing
        : (this.#replace(existing, parent, listed.name, posix, 'directory') as DirectoryInode);
    directory.localOnly = false;
    if (directory !== existing) this.ahead.take(directory);
    if (listed.folderMarker && !directory.markerKey) directory.markerKey = listed.folderMarker;
    if (this.#environment.options.stat === 'list' || (directory.exact && this.requests.isRecent(directory.checkedAt))) {
      directory.checkedAt = Math.max(directory.checkedAt, at);
      return directory;
    }
    const key = directory.markerKey ?? directory.key;
    const known = this.index.get(key);
    if (!known || !this.requests.isRecent(known.checkedAt)) {
      return this.markers.describe(directory, at, waiter?.signal).then(() => directory);
    }
    this.markers.described(directory, key, known, at);
    return directory;
  }

  // --- ahead of walkers -----------------------------------------------------------------------------------------------

  /** True where this mount's own state goes before anything that might be fetched. */
  isBusy(inode: Inode): boolean {
    return inode.lock.locked || this.#isLocal(inode);
  }

  /** Whether a lookup of this name needs no request. */
  isKnown(parent: DirectoryInode, listed: ListedName): boolean {
    const child = parent.children.get(listed.name);
    if (child && this.isFresh(child)) return true;
    return this.isKeyKnown(parent.key + listed.name + (listed.directory ? '/' : ''), listed);
  }

  /** The same of a name in a directory that nobody has met yet. */
  isKeyKnown(key: string, listed: ListedName): boolean {
    if (this.requests.isPending(key)) return true;
    if (!listed.directory) return this.requests.known(listed.object!, 0) !== undefined;
    const known = this.index.get(key);
    return this.ahead.has(key) || (known !== undefined && this.requests.isRecent(known.checkedAt));
  }

  /** Whether the directory of this name needs no listing: it has one, or was changed here and asks for itself. */
  isListed(parent: DirectoryInode, name: string): boolean {
    if (this.ahead.has(`${parent.key}${name}/`)) return true;
    const child = parent.children.get(name);
    if (!child) return false;
    if (!(child instanceof DirectoryInode)) return true;
    return (
      child.loading !== undefined || this.listings.fresh(child) !== undefined || child.changes.any || child.localOnly
    );
  }

  /** Lists a directory that will probably be opened next. Undefined where that is known or under way. */
  listAhead(parent: DirectoryInode, name: string): Promise<Listing | undefined> | undefined {
    const key = `${parent.key}${name}/`;
    const child = parent.children.get(name);
    if (this.ahead.has(key)) return undefined;
    if (child instanceof DirectoryInode) {
      if (child.loading || this.listings.fresh(child) || child.changes.any || child.localOnly) return undefined;
      return this.listings.list(child).then(listing => {
        listing.isAhead = true;
        return listing.complete ? listing : undefined;
      });
    }
    if (child) return undefined;
    return this.ahead.coming(key) ? undefined : this.ahead.list(key);
  }

  /**
   * S3 has just shown that it no longer has this version under this name. A listing that still holds would bring the old
   * one back with the next lookup, and whoever tries again would fail again until its time is over.
   */
  distrust(inode: FileInode | SpecialInode): void {
    inode.checkedAt = Number.NEGATIVE_INFINITY;
    if (!inode.parent) return;
    this.index.delete(inode.key);
    inode.parent.distrustListed();
  }

  /** Facts from the headers of an open's own GET or HEAD. `undefined`: nothing changed for whoever has it open. */
  refreshed(inode: FileInode, metadata: IndexedMetadata): 'same' | 'updated' | 'replaced' {
    const { parent, name, stored } = inode;
    const facts = this.#factsOf(inode.key, metadata, metadata.checkedAt);
    if (stored?.version.etag === metadata.etag && stored.size === metadata.size) {
      if (!this.#isLocal(inode) && !inode.lock.locked) this.#update(inode, stored, facts);
      return 'same';
    }
    if (!parent) return 'same';
    const placed = this.#place(parent, name, facts);
    return placed === inode ? 'updated' : 'replaced';
  }
}

/**
 * A directory whose last listing answered somebody: the next one tells that it is still there, what its marker is, and what is
 * asked for in it next. A program that stats one file in it each second costs one LIST when the time is over, not two and a HEAD.
 */
function isLookedInto({ listing, large, localOnly }: DirectoryInode): boolean {
  return listing?.used === true && !large && !localOnly;
}
