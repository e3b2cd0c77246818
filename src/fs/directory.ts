/**
 * One open directory: its entries as a snapshot that grows page by page.
 *
 * Difficulties: (1) A listing gives files as `a`, directories as `a/`, and `a-b` sorts between: a file is held back until
 * the listing has passed `a/`, for a directory shadows a file of the same name. (2) Names that S3 does not have yet must
 * appear once, also when they are saved while the listing goes on. (3) The directory may be changed while it is read:
 * cookies index the snapshot, deletions never shift it, and what came into being meanwhile is left out rather than shown
 * twice. (4) In exact mode the attributes of an entry may cost a HEAD: nobody waits for them until the kernel asks a
 * second time for entries with attributes, which it does only for programs that stat what they read.
 */
import { Semaphore } from '../concurrency.ts';
import type { DirectoryEntry, DirectorySink, Entry, RequestContext } from '../fuse/ops.ts';
import { attributesOf, ownerMayBeGuessed } from './attributes.ts';
import { type Environment, limitsOf } from './environment.ts';
import { DirectoryInode, FileInode, type Inode, typeBits } from './inode.ts';
import { compareKeys } from './keys.ts';
import { rangesOf } from './listed-ranges.ts';
import { type ListedName, Listing, parsePage, sortNames } from './listing.ts';
import { interruptible } from './metadata-requests.ts';
import { direntType, S_IFDIR, S_IFREG } from './modes.ts';
import type { Namespace } from './namespace.ts';
import { type PageAhead, PagesAhead } from './pages-ahead.ts';
import { MAX_LINK } from './posix.ts';
import { SnapshotEntries } from './snapshot-entries.ts';

/** Entries whose metadata is asked for ahead of the reader: about what one READDIRPLUS answer holds. */
const HEADS_AHEAD = 768;
/** HEADs at once: at 15 ms each, this many answer 8,000 a second, above what S3 allows a prefix. */
const PARALLEL_HEADS = 128;
const CURRENT = 0;
const PARENT = 1;
const FIRST_ENTRY = 2;

export class DirectoryReader {
  readonly directory: DirectoryInode;
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  #snapshot: Snapshot | undefined;
  #plusCalls = 0;

  constructor(environment: Environment, namespace: Namespace, directory: DirectoryInode) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.directory = directory;
  }

  close(): void {
    this.#snapshot?.close();
    this.#snapshot = undefined;
  }

  async read(cookie: number, sink: DirectorySink, waiter: Pick<RequestContext, 'signal' | 'uid'>): Promise<void> {
    if (cookie === 0 || !this.#snapshot) {
      // opendir or rewinddir: what is there now.
      this.#snapshot?.close();
      this.#snapshot = new Snapshot(this.#environment, this.#namespace, this.directory);
      this.#plusCalls = 0;
    }
    if (sink.plus) this.#plusCalls++;
    const snapshot = this.#snapshot;
    const wantsOwner = !ownerMayBeGuessed(this.#environment.options, waiter.uid);
    snapshot.entries.passed(cookie - FIRST_ENTRY);
    for (let place = cookie; ; place++) {
      if (place < FIRST_ENTRY) {
        if (!sink.add(this.#dots(place))) return;
        continue;
      }
      const index = place - FIRST_ENTRY;
      while (index >= snapshot.entries.length && !snapshot.ended) {
        if (!snapshot.growAtOnce()) await snapshot.grow(waiter.signal);
      }
      const listed = snapshot.entries.at(index);
      if (!listed) return;
      // The kernel asks again for attributes only while somebody stats the entries.
      if (sink.plus && this.#plusCalls > 1) {
        const asked = snapshot.describe(index);
        if (asked) await interruptible(asked, waiter.signal);
      }
      const known = sink.plus
        ? this.#namespace.peek(this.directory, listed, snapshot.at, wantsOwner)
        : this.#known(listed);
      if (!sink.add(this.#entry(listed, place + 1, sink.plus, known))) return;
    }
  }

  #dots(place: number): DirectoryEntry {
    const inode = place === PARENT ? (this.directory.parent ?? this.directory) : this.directory;
    const name = place === CURRENT ? '.' : '..';
    return { name, ino: inode.ino, type: direntType(S_IFDIR), cookie: place + 1 };
  }

  /** The inode of an entry, if it is still what is listed: by another client a file may have become a link. */
  #known(listed: ListedName): Inode | undefined {
    const child = this.directory.children.get(listed.name);
    return child && (this.#namespace.isPresent(child) || isListedVersion(child, listed)) ? child : undefined;
  }

  #entry(listed: ListedName, cookie: number, plus: boolean, inode: Inode | undefined): DirectoryEntry {
    const { directory } = this;
    if (inode) {
      const base = { name: listed.name, ino: inode.ino, type: direntType(typeBits(inode)), cookie };
      return plus ? { ...base, entry: entryOf(this.#environment, this.#namespace, inode) } : base;
    }
    const ino = this.#namespace.inoFor(directory, listed.name, listed.directory);
    if (listed.directory) return { name: listed.name, ino, type: direntType(S_IFDIR), cookie };
    const isKnownFile = this.#environment.options.stat === 'list' || (listed.object?.size ?? 0) > MAX_LINK;
    return { name: listed.name, ino, type: isKnownFile ? direntType(S_IFREG) : 0, cookie };
  }
}

function isListedVersion(child: Inode, listed: ListedName): boolean {
  if (child instanceof DirectoryInode) return listed.directory;
  return !listed.directory && child.stored !== undefined && child.stored.version.etag === listed.object?.etag;
}

/** What the kernel gets of an inode. The caller counts the lookup when the kernel takes it. */
export function entryOf(environment: Environment, namespace: Namespace, inode: Inode): Entry {
  const ttl = namespace.ttlOf(inode);
  return {
    nodeid: inode.nodeid,
    entryTtl: ttl,
    // Not its own yet: the kernel asks again before it uses them.
    attributesTtl: environment.options.stat === 'exact' && !inode.exact ? 0 : ttl,
    attributes: attributesOf(environment.options, inode),
  };
}

class Snapshot {
  readonly entries = new SnapshotEntries();
  /** Age of what is listed, ms of the monotonic clock. */
  at: number;
  ended = false;
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #directory: DirectoryInode;
  /** Where the directory's changes stood when this began. */
  readonly #place: number;
  /** Names that S3 did not have then, still to be emitted. */
  readonly #local = new Set<string>();
  /** Files whose directory of the same name might still come. */
  #held: ListedName[] = [];
  #listing: Listing | undefined;
  /** Of the directory when its last page was asked for. */
  #key = '';
  #pages: PagesAhead | undefined;
  /** The next page, on its way. */
  #page: Promise<PageAhead> | undefined;
  #growing: Promise<void> | undefined;
  readonly #heads = new Semaphore(PARALLEL_HEADS);
  /** Metadata on its way, by index; entries before `askedTo` were asked for where that was needed. */
  readonly #asked = new Map<number, Promise<void>>();
  #askedTo = 0;
  #isClosed = false;
  /** Whether the listing has all names from the first on. */
  #whole = true;

  constructor(environment: Environment, namespace: Namespace, directory: DirectoryInode) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#directory = directory;
    this.at = environment.clock.monotonic();
    this.#place = directory.changes.watch();
    for (const child of directory.children.values()) if (isLocal(child)) this.#local.add(child.name);
  }

  close(): void {
    this.#isClosed = true;
    this.#directory.changes.unwatch();
  }

  /** Takes the whole listing, where that is known: then nobody waits. */
  growAtOnce(): boolean {
    if (this.#listing || this.#growing || this.ended) return false;
    const known = this.#namespace.listings.fresh(this.#directory);
    if (!known?.complete) return false;
    this.#key = this.#directory.key;
    this.#takeWhole(known);
    return true;
  }

  #takeWhole(listing: Listing): void {
    listing.isAhead = false;
    this.at = listing.at;
    this.#take([...listing.names.values()], listing, true);
    this.#end();
  }

  /** Adds the next page, or ends. One at a time. */
  async grow(signal: AbortSignal): Promise<void> {
    this.#growing ??= this.#grow(signal).finally(() => {
      this.#growing = undefined;
    });
    // Begun ahead of the reader, it has another's signal.
    await interruptible(this.#growing, signal);
  }

  async #grow(signal: AbortSignal): Promise<void> {
    const directory = this.#directory;
    if (!this.#listing) {
      this.#key = directory.key;
      const first = await this.#namespace.listings.list(directory, signal);
      if (first.complete) {
        this.#takeWhole(first);
        return;
      }
      first.isAhead = false;
      this.at = first.at;
      this.#take([...first.names.values()], first, false);
      this.#listing = first;
      return;
    }
    let listing = this.#listing;
    const { page, at } = await this.#nextPage(listing, signal);
    await this.#namespace.index.recall(directory.key, page.objects);
    // What was changed since is not noted any more.
    if (this.#isClosed) return;
    const parsed = parsePage(directory.key, page);
    if (listing.names.size >= limitsOf(this.#environment).namesOfDirectory) {
      // Only what passed by last is remembered of a directory this large.
      this.#whole = false;
      listing = new Listing(at);
      this.#listing = listing;
    }
    this.#namespace.listings.takePage(directory, listing, parsed, at, page.next === undefined);
    listing.continuation = page.next;
    this.#namespace.listings.reconcile(directory, listing, this.#place);
    this.#namespace.listings.remember(directory, listing);
    this.#take(parsed.names, listing, page.next === undefined);
    if (page.next === undefined) {
      if (this.#whole) listing.complete = true;
      rangesOf(directory).size = this.entries.length + this.#held.length;
      this.#forgetInTime(listing);
      this.#end();
    }
  }

  async #nextPage(listing: Listing, signal: AbortSignal): Promise<PageAhead> {
    const { store, clock } = this.#environment;
    const { key } = this.#directory;
    if (listing.unordered || !store.features.orderedListing) {
      const at = clock.monotonic();
      // Renamed: from the beginning, for all names are held until the last, and each is held once.
      const token = this.#key === key ? listing.continuation : undefined;
      this.#key = key;
      const from = token === undefined ? {} : { continuation: token };
      const page = await store.list({ prefix: key, delimiter: '/', ...from }, { signal });
      return this.#directory.key === key ? { page, at } : await this.#nextPage(listing, signal);
    }
    if (this.#pages?.directory !== key) {
      // The first page has come, or the directory was renamed meanwhile: then its token is another directory's.
      const names = [...listing.names.values()].map(each => (each.directory ? `${each.name}/` : each.name));
      const token = this.#key === key ? listing.continuation : undefined;
      this.#key = key;
      this.#pages = new PagesAhead(store, clock, key, names.sort(compareKeys), listing.last ?? '', token);
      this.#page = undefined;
    }
    this.#page ??= this.#pages.next();
    try {
      const page = await interruptible(this.#page, signal);
      this.#page = undefined;
      return this.#directory.key === key ? page : await this.#nextPage(listing, signal);
    } catch (error) {
      // Who is interrupted has had nothing of it: the page is there for whoever asks next.
      if (!signal.aborted) this.#page = undefined;
      throw error;
    }
  }

  /** A large listing takes memory: it goes when nobody may believe it any more. */
  #forgetInTime(listing: Listing): void {
    const directory = this.#directory;
    const held = new WeakRef(listing);
    this.#environment.clock.after(this.#environment.options.ttl, () => {
      if (directory.listing === held.deref()) directory.listing = undefined;
    });
  }

  /** Takes the names of a page of `listing`. Those of pages in no order are held back to the last one. */
  #take(names: readonly ListedName[], listing: Listing, isLast: boolean): void {
    if (listing.unordered && !isLast) this.#held.push(...names);
    else this.#emit(names, isLast ? undefined : (listing.last ?? ''));
  }

  /** Takes names that are final: directories, and files up to `last` (undefined: the listing is over). */
  #emit(names: readonly ListedName[], last: string | undefined): void {
    const ready = new Map<string, ListedName>();
    const held: ListedName[] = [];
    for (const listed of [...this.#held, ...names]) {
      const known = ready.get(listed.name);
      const merged = known ? { ...known, ...listed, directory: known.directory || listed.directory } : listed;
      ready.set(listed.name, merged);
    }
    for (const [name, listed] of ready) {
      if (last === undefined || listed.directory || compareKeys(`${name}/`, last) <= 0) continue;
      held.push(listed);
      ready.delete(name);
    }
    this.#held = held;
    const { changes, children } = this.#directory;
    for (const name of sortNames([...ready.keys()])) {
      const wasLocal = this.#local.delete(name);
      if (changes.changedSince(name, this.#place)) {
        if (changes.addedSince(name, this.#place) && !wasLocal) continue;
        if (!children.has(name) && !changes.listedAs(name)) continue;
      }
      const listed = ready.get(name)!;
      if (listed.folderMarker === undefined || !this.#wasEmitted(name)) this.entries.push(listed);
    }
  }

  /** `a_$folder$` comes after `a/`, perhaps on a later page. What lies between begins with the same letters. */
  #wasEmitted(name: string): boolean {
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const before = this.entries.at(i)!.name;
      if (before === name) return true;
      if (!before.startsWith(name)) return false;
    }
    return false;
  }

  #end(): void {
    for (const name of sortNames([...this.#local])) {
      const child = this.#directory.children.get(name);
      if (child) this.entries.push({ name, directory: child instanceof DirectoryInode });
    }
    this.#local.clear();
    this.#listing = undefined;
    this.ended = true;
  }

  /** The metadata of an entry, where they are on their way; asks for those of the entries behind it. */
  describe(index: number): Promise<void> | undefined {
    if (this.#environment.options.stat === 'list') return undefined;
    const end = Math.min(index + HEADS_AHEAD, this.entries.length);
    this.#askedTo = Math.max(this.#askedTo, index);
    for (; this.#askedTo < end; this.#askedTo++) this.#ask(this.#askedTo);
    // HEADs do not stop at the end of a page.
    if (end === this.entries.length && !this.ended) this.grow(new AbortController().signal).catch(() => {});
    return this.#asked.get(index);
  }

  #ask(index: number): void {
    const directory = this.#directory;
    const listed = this.entries.at(index);
    if (!listed || (!listed.object && !listed.directory) || this.#namespace.isKnown(directory, listed)) return;
    const asked = this.#heads.run(async () => {
      if (this.#isClosed) return;
      if (listed.object && !listed.directory && !directory.children.has(listed.name)) {
        await this.#namespace.requests.head(listed.object.key);
        return;
      }
      const found = await this.#namespace.find(directory, listed.name);
      // What was learned is remembered by key; the inode is made again when its entry goes out.
      if (found) this.#namespace.release(await this.#namespace.exactly(found));
    });
    // An error shows when the entry itself is asked for.
    const done = (): void => void this.#asked.delete(index);
    this.#asked.set(index, asked.then(done, done));
  }
}

/** What S3 does not show under its name yet. */
function isLocal(child: Inode): boolean {
  if (child instanceof DirectoryInode) return child.localOnly || child.holdsLocal;
  return child instanceof FileInode && !child.stored;
}
