/** What is asked for ahead of programs that go through directories: listings that nobody has looked up yet, first bytes of files. */
import type { StoredContent } from '../cache/stored-content.ts';
import { forEachLimit } from '../concurrency.ts';
import type { ListedObject } from '../s3/store.ts';
import type { DirectoryListings } from './directory-listings.ts';
import type { DirectoryMarkers } from './directory-markers.ts';
import { type Environment, limitsOf } from './environment.ts';
import type { DirectoryInode } from './inode.ts';
import { Listing, parsePage } from './listing.ts';
import type { MetadataRequests } from './metadata-requests.ts';

/** Of what is kept of many small directories so many files are read at a time. */
const PARALLEL_RECALLS = 16;

/** All that lies in one directory. */
export interface FoundDirectory {
  readonly key: string;
  readonly objects: readonly ListedObject[];
  readonly prefixes: readonly string[];
}

export class AskedAhead {
  readonly #environment: Environment;
  readonly #requests: MetadataRequests;
  readonly #markers: DirectoryMarkers;
  readonly #listings: DirectoryListings;
  /** By key of the directory. */
  readonly #listed = new Map<string, { readonly listing: Listing; readonly marker: ListedObject | undefined }>();
  /** In them; nobody changes what nobody has come to. */
  #names = 0;
  /** Listings on their way, by key of the directory. */
  readonly #coming = new Map<string, Promise<unknown>>();
  readonly #inodeOf: (key: string) => DirectoryInode | undefined;
  #droppedAt = Number.NEGATIVE_INFINITY;
  /** When this mount last changed something there, ms of the monotonic clock; oldest first, no older than listings live. */
  readonly #changed = new Map<string, number>();

  /** `inodeOf`: the inode of a directory's key, where the tree holds one. */
  constructor(
    environment: Environment,
    requests: MetadataRequests,
    markers: DirectoryMarkers,
    listings: DirectoryListings,
    inodeOf: (key: string) => DirectoryInode | undefined,
  ) {
    this.#environment = environment;
    this.#requests = requests;
    this.#markers = markers;
    this.#listings = listings;
    this.#inodeOf = inodeOf;
  }

  #letGo(key: string): void {
    const listed = this.#listed.get(key);
    if (!listed) return;
    this.#listed.delete(key);
    this.#names -= listed.listing.names.size;
  }

  /** So much is there ahead of those who come for it that more would push out what they have not seen. */
  get isFull(): boolean {
    return this.#names > limitsOf(this.#environment).listedNames / 2;
  }

  /** What was listed ahead is no longer to be believed: keys changed as a whole. */
  drop(): void {
    this.#droppedAt = this.#environment.clock.monotonic();
    this.#listed.clear();
    this.#names = 0;
  }

  /** This mount changed names in the directory with this key, or took it away: what was asked before does not show it. */
  distrust(key: string): void {
    const now = this.#environment.clock.monotonic();
    this.#letGo(key);
    this.#changed.delete(key);
    this.#changed.set(key, now);
    for (const [old, at] of this.#changed) {
      if (now - at <= this.#environment.options.ttl) break;
      this.#changed.delete(old);
    }
  }

  /** Whether what was asked at `at` may be believed of this directory. */
  #mayBelieve(key: string, at: number): boolean {
    return this.#requests.isRecent(at) && at > this.#droppedAt && at > (this.#changed.get(key) ?? at - 1);
  }

  listingOf(key: string): Listing | undefined {
    return this.#listed.get(key)?.listing;
  }

  has(key: string): boolean {
    return this.#listed.has(key);
  }

  /** GETs the first bytes of a file that will probably be opened next; its headers tell what a HEAD would. */
  fetch(object: ListedObject, bytes: number): 'known' | 'no memory' | Promise<StoredContent | undefined> {
    const { blocks, clock } = this.#environment;
    if (this.#requests.isPending(object.key)) return 'known';
    const content = blocks.contentOf(object);
    if (blocks.expects(content, 0)) return 'known';
    const at = clock.monotonic();
    const opened = blocks.openAhead(object.key, bytes);
    if (!opened) return 'no memory';
    let found: StoredContent | undefined;
    const head = opened.then(result => {
      found = result.content;
      return this.#requests.index.record(result.info, at);
    });
    this.#requests.share(object.key, head);
    return head.then(() => found);
  }

  /** The listing of this directory that is on its way, by itself or with others. Never rejects. */
  coming(key: string): Promise<unknown> | undefined {
    return this.#coming.get(key);
  }

  /** Whoever comes to this directory meanwhile waits for `answer`. */
  expect(key: string, answer: Promise<unknown>): void {
    const done = (): void => {
      if (this.#coming.get(key) === expected) this.#coming.delete(key);
    };
    const expected = answer.then(done, done);
    this.#coming.set(key, expected);
  }

  /** Lists a directory whole, if that is one page. */
  list(key: string): Promise<Listing | undefined> {
    const { store, clock } = this.#environment;
    const at = clock.monotonic();
    const listing = store.list({ prefix: key, delimiter: '/' }).then(async page => {
      if (page.next !== undefined) return undefined;
      const [found] = await this.#adopt([{ key, objects: page.objects, prefixes: page.prefixes }], at);
      return found;
    });
    this.expect(key, listing);
    return listing;
  }

  /** Takes directories that were listed whole, asked for at `at`, but those that were changed since. */
  async adopt(found: readonly FoundDirectory[], at: number): Promise<void> {
    await this.#adopt(found, at);
  }

  async #adopt(found: readonly FoundDirectory[], at: number): Promise<(Listing | undefined)[]> {
    const { clock, options } = this.#environment;
    await forEachLimit(found, PARALLEL_RECALLS, async ({ key, objects }) => {
      await this.#requests.index.recall(key, objects);
    });
    const kept: string[] = [];
    const listings = found.map(({ key, objects, prefixes }) => {
      // Changed meanwhile: whoever needs it asks for itself.
      if (!this.#mayBelieve(key, at)) return undefined;
      const inode = this.#inodeOf(key);
      if (inode && (inode.changes.any || inode.localOnly || (inode.listing?.at ?? Number.NEGATIVE_INFINITY) >= at)) {
        return undefined;
      }
      const parsed = parsePage(key, { objects, prefixes, serverDate: 0 });
      const listing = new Listing(at);
      listing.add(parsed, at);
      listing.complete = true;
      listing.isAhead = true;
      this.#listings.unshowable.met(parsed.unshowable);
      const { marker } = parsed;
      if (marker && options.stat === 'exact' && !this.#requests.known(marker, at)) this.#requests.ahead(marker.key);
      if (inode) {
        this.#listings.remember(inode, listing);
        inode.large = false;
        this.#markers.listed(inode, marker, at);
      } else {
        this.#letGo(key);
        this.#listed.set(key, { listing, marker });
        this.#names += listing.names.size;
        const isHeld = (): boolean => this.#listed.get(key)?.listing === listing;
        this.#listings.limit.keep(listing, isHeld, () => this.#letGo(key));
        kept.push(key);
      }
      return listing;
    });
    // By key and time: what was let go of or taken meanwhile would live until then.
    clock.after(options.ttl, () => {
      for (const key of kept) if (this.#listed.get(key)?.listing.at === at) this.#letGo(key);
    });
    return listings;
  }

  /** A directory just met takes what was listed ahead of it: its names, and whether it has a marker. */
  take(directory: DirectoryInode): void {
    const ahead = this.#listed.get(directory.key);
    if (!ahead) return;
    this.#letGo(directory.key);
    if (!this.#requests.isRecent(ahead.listing.at)) return;
    this.#listings.remember(directory, ahead.listing);
    this.#markers.listed(directory, ahead.marker, ahead.listing.at);
  }
}
