/** Listings of directories: one at a time for each, and never undoing what this mount changed while they were under way. */

import type { DirectoryMarkers } from './directory-markers.ts';
import { type Environment, limitsOf } from './environment.ts';
import { DirectoryInode, ROOT_NODEID } from './inode.ts';
import { justBefore, type RangeAnswer, rangesOf } from './listed-ranges.ts';
import { Listing, type ParsedPage, parsePage } from './listing.ts';
import { ListingLimit } from './listing-limit.ts';
import { interruptible, type MetadataRequests } from './metadata-requests.ts';
import { UnshowableKeys } from './unshowable-keys.ts';

export class DirectoryListings {
  readonly unshowable: UnshowableKeys;
  /** Of all listings, also of those that were asked for ahead. */
  readonly limit: ListingLimit;
  readonly #environment: Environment;
  readonly #requests: MetadataRequests;
  readonly #markers: DirectoryMarkers;
  readonly #release: (directory: DirectoryInode) => void;
  readonly #coming: (key: string) => Promise<unknown> | undefined;

  /**
   * `release`: whoever lists a directory holds it in the tree until then. `coming`: its listing is on its way already, ahead
   * of a walker.
   */
  constructor(
    environment: Environment,
    requests: MetadataRequests,
    markers: DirectoryMarkers,
    release: (directory: DirectoryInode) => void,
    coming: (key: string) => Promise<unknown> | undefined,
  ) {
    this.#environment = environment;
    this.#requests = requests;
    this.#markers = markers;
    this.#release = release;
    this.#coming = coming;
    this.unshowable = new UnshowableKeys(environment.telemetry);
    this.limit = new ListingLimit(limitsOf(environment).listedNames);
  }

  /** The listing of a directory, while it may be believed. */
  fresh(directory: DirectoryInode): Listing | undefined {
    const { listing } = directory;
    if (!listing || !this.#requests.isRecent(listing.at)) return undefined;
    listing.used = true;
    return listing;
  }

  /** The directory remembers this listing, as long as there is room; again, when it has grown. */
  remember(directory: DirectoryInode, listing: Listing): void {
    directory.listing = listing;
    this.limit.keep(
      listing,
      // One that has left the tree is met again as another inode.
      () => directory.listing === listing && isInTree(directory),
      () => {
        directory.listing = undefined;
      },
    );
  }

  /** Lists the first page of a directory, one at a time. The whole directory, where that was all (`complete`). */
  list(directory: DirectoryInode, signal?: AbortSignal): Promise<Listing> {
    let { loading } = directory;
    if (!loading) {
      const coming = directory.changes.any ? undefined : this.#coming(directory.key);
      const load = (): Promise<Listing> => this.#load(directory);
      loading = (coming ? coming.then(() => this.#known(directory) ?? load()) : load()).finally(() => {
        directory.loading = undefined;
        this.#release(directory);
      });
      directory.loading = loading;
      loading.catch(() => {});
    }
    return signal ? interruptible(loading, signal) : loading;
  }

  /** Whole and fresh: nothing is to be listed. */
  #known(directory: DirectoryInode): Listing | undefined {
    const listing = this.fresh(directory);
    return listing?.complete ? listing : undefined;
  }

  async #load(directory: DirectoryInode): Promise<Listing> {
    const { store, clock } = this.#environment;
    const place = directory.changes.watch();
    try {
      const { key } = directory;
      const listing = new Listing(clock.monotonic());
      const page = await store.list({ prefix: key, delimiter: '/' });
      await this.#requests.index.recall(key, page.objects);
      // Renamed meanwhile: what came belongs to the old key.
      if (directory.key !== key) return await this.#load(directory);
      this.takePage(directory, listing, parsePage(key, page), listing.at, page.next === undefined);
      listing.complete = page.next === undefined;
      listing.continuation = page.next;
      directory.large = !listing.complete;
      this.reconcile(directory, listing, place);
      this.remember(directory, listing);
      return listing;
    } finally {
      directory.changes.unwatch();
    }
  }

  /** Adds a page to a listing of `directory`, the last one if `isLast`; tells of keys that cannot be shown. */
  takePage(directory: DirectoryInode, listing: Listing, page: ParsedPage, at: number, isLast: boolean): void {
    const isFirst = listing.last === undefined;
    listing.add(page, at);
    this.unshowable.met(page.unshowable);
    // The directory's own marker sorts before everything else: the first page tells, or, without order, the last.
    if (page.unordered ? page.marker || isLast : isFirst) this.#markers.listed(directory, page.marker, at);
  }

  /** What is known of a name of a large directory by the ranges of it that were listed. */
  inRange(directory: DirectoryInode, name: string): RangeAnswer | undefined {
    return directory.ranges?.find(name, this.#oldest());
  }

  /** The listing that tells of a name and of those around it, while it may be believed: whole, or a range. */
  around(directory: DirectoryInode, name: string): Listing | undefined {
    return directory.listing ?? directory.ranges?.around(name, this.#oldest());
  }

  /**
   * Lists a large directory from `name` on, where more of its names will be asked for after this one (`ListedRanges`).
   * Undefined: nobody goes through it, or the name's directory lies too far behind it.
   */
  async rangeFrom(directory: DirectoryInode, name: string, signal?: AbortSignal): Promise<RangeAnswer | undefined> {
    const { store, clock, options } = this.#environment;
    if (!store.features.orderedListing) return undefined;
    const ranges = rangesOf(directory);
    if (ranges.loading) {
      await (signal ? interruptible(ranges.loading, signal) : ranges.loading).catch(() => {});
      signal?.throwIfAborted();
      const found = ranges.find(name, this.#oldest());
      if (found) return found;
    }
    if (!ranges.isWalked(name, clock.monotonic(), options.ttl)) return undefined;
    const loading = this.#loadRange(directory, justBefore(directory.key, name));
    ranges.loading ??= loading.finally(() => {
      ranges.loading = undefined;
    });
    ranges.loading.catch(() => {});
    await (signal ? interruptible(loading, signal) : loading);
    return ranges.find(name, this.#oldest());
  }

  async #loadRange(directory: DirectoryInode, after: string): Promise<void> {
    const { store, clock, options } = this.#environment;
    const { key } = directory;
    const ranges = rangesOf(directory);
    const place = directory.changes.watch();
    const at = clock.monotonic();
    try {
      const page = await store.list({ prefix: key, delimiter: '/', ...(after !== '' && { startAfter: key + after }) });
      await this.#requests.index.recall(key, page.objects);
      // Renamed or distrusted meanwhile: what came belongs to something else.
      if (directory.ranges !== ranges || directory.key !== key) return;
      const parsed = parsePage(key, page);
      this.unshowable.met(parsed.unshowable);
      const listing = ranges.add(after, parsed, page.next === undefined, at, this.#oldest());
      this.reconcile(directory, listing, place);
      clock.after(options.ttl, () => ranges.prune(this.#oldest()));
    } finally {
      directory.changes.unwatch();
    }
  }

  /** What was asked for before is too old to be believed: ms of the monotonic clock. */
  #oldest(): number {
    return this.#environment.clock.monotonic() - this.#environment.options.ttl;
  }

  /** What this mount changed since `place` goes before what a listing under way happened to see. */
  reconcile(directory: DirectoryInode, listing: Listing, place: number): void {
    for (const name of directory.changes.since(place)) {
      const child = directory.children.get(name);
      if (!child) listing.change(name, directory.changes.listedAs(name));
      else if (child instanceof DirectoryInode) listing.names.set(name, { name, directory: true });
      else if (child.stored) {
        const lastModified = child.lastModified ?? this.#environment.clock.now();
        listing.names.set(name, { name, object: { ...child.stored.version, lastModified }, directory: false });
      }
    }
  }
}

function isInTree({ nodeid, parent, name }: DirectoryInode): boolean {
  return nodeid === ROOT_NODEID || parent?.children.get(name)?.nodeid === nodeid;
}
