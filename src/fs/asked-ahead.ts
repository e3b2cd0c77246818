/** What is asked for ahead of programs that go through directories: listings that nobody has looked up yet, first bytes of files. */
import type { StoredContent } from '../cache/stored-content.ts';
import type { ListedObject } from '../s3/store.ts';
import type { DirectoryMarkers } from './directory-markers.ts';
import type { Environment } from './environment.ts';
import type { DirectoryInode } from './inode.ts';
import { Listing, parsePage } from './listing.ts';
import type { MetadataRequests } from './metadata-requests.ts';
import type { UnshowableKeys } from './unshowable-keys.ts';

export class AskedAhead {
  readonly #environment: Environment;
  readonly #requests: MetadataRequests;
  readonly #markers: DirectoryMarkers;
  readonly #unshowable: UnshowableKeys;
  /** By key of the directory. */
  readonly #listed = new Map<string, { readonly listing: Listing; readonly marker: ListedObject | undefined }>();
  #epoch = 0;

  constructor(
    environment: Environment,
    requests: MetadataRequests,
    markers: DirectoryMarkers,
    unshowable: UnshowableKeys,
  ) {
    this.#environment = environment;
    this.#requests = requests;
    this.#markers = markers;
    this.#unshowable = unshowable;
  }

  /** What was listed ahead is no longer to be believed. */
  drop(): void {
    this.#epoch++;
    this.#listed.clear();
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

  /** Lists a directory whole, if that is one page; not kept where nobody wants it any more when it comes (`isWanted`). */
  list(key: string, isWanted: () => boolean): Promise<Listing | undefined> {
    const { store, clock, options } = this.#environment;
    const epoch = this.#epoch;
    const listing = new Listing(clock.monotonic());
    return store.list({ prefix: key, delimiter: '/' }).then(async page => {
      await this.#requests.index.recall(key, page.objects);
      const parsed = parsePage(key, page);
      // Looked up meanwhile, or changed: whoever has it asks for itself.
      if (page.next !== undefined || epoch !== this.#epoch || !isWanted()) return undefined;
      listing.add(parsed, listing.at);
      this.#unshowable.met(parsed.unshowable);
      listing.complete = true;
      const { marker } = parsed;
      if (marker && options.stat === 'exact' && !this.#requests.known(marker, listing.at))
        this.#requests.ahead(marker.key);
      this.#listed.set(key, { listing, marker: parsed.marker });
      clock.after(options.ttl, () => {
        if (this.#listed.get(key)?.listing === listing) this.#listed.delete(key);
      });
      return listing;
    });
  }

  /** A directory just met takes what was listed ahead of it: its names, and whether it has a marker. */
  take(directory: DirectoryInode): void {
    const ahead = this.#listed.get(directory.key);
    if (!ahead) return;
    this.#listed.delete(directory.key);
    if (!this.#requests.isRecent(ahead.listing.at)) return;
    directory.listing = ahead.listing;
    this.#markers.listed(directory, ahead.marker, ahead.listing.at);
  }
}
