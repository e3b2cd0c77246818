/**
 * What is known of a directory too large for one listing: ranges of its names, each as fresh as the LIST that brought it.
 *
 * Once the listing of such a directory is too old, each name that is looked up would cost a HEAD and a LIST of its own:
 * `rm -r` of 3,000 files took three minutes. One LIST that begins just before the name answers the 999 after it too, for
 * the same price. Whether anybody wants those is told by the names asked for before: in order, or so many that listing
 * everything again would have been cheaper (rm and cp sort large directories by inode number).
 */
import type { DirectoryInode } from './inode.ts';
import { byteLength, compareKeys, compareNames } from './keys.ts';
import { type ListedName, Listing, type ParsedPage } from './listing.ts';

/** Ranges kept of one directory: 64,000 names, some 13 MB; above that the oldest go. */
const MAX_RANGES = 64;
/** Names of a full LIST page. */
const PAGE_NAMES = 1000;
/** The third name in ascending order is taken for a walk: what a single stray access costs stays a HEAD and a LIST. */
const STREAK = 2;
/** S3's longest key, in bytes; a place to start from is refused when it is longer. */
const MAX_KEY_BYTES = 1024;

interface Range {
  /** Names are known whose keys, relative to the directory, lie after this one … */
  readonly after: string;
  /** … up to and with this one; undefined: to the end of the directory. */
  readonly to: string | undefined;
  readonly listing: Listing;
}

/** What a range says of a name. `listed` undefined: there is none. */
export interface RangeAnswer {
  readonly listed: ListedName | undefined;
  /** Age, ms of the monotonic clock. */
  readonly at: number;
}

export class ListedRanges {
  /** The LIST under way, shared by all who wait for it. */
  loading: Promise<void> | undefined;
  /** How many names the directory had when it was last read whole. */
  size: number | undefined;
  /** Newest last. */
  #ranges: Range[] = [];
  #lastMissed: string | undefined;
  #missedAt = Number.NEGATIVE_INFINITY;
  #streak = 0;
  #misses = 0;

  /** What is known of a name by ranges younger than `oldest` (ms of the monotonic clock); undefined: nothing. */
  find(name: string, oldest: number): RangeAnswer | undefined {
    const asFile = this.#covering(name, oldest);
    if (!asFile) return undefined;
    const place = `${name}/`;
    if (covers(asFile, place)) return { listed: asFile.listing.names.get(name), at: asFile.listing.at };
    // The directory of the same name is listed further on, after `name-…` and `name.…`.
    const asDirectory = this.#covering(place, oldest);
    if (!asDirectory) return undefined;
    const file = asFile.listing.names.get(name);
    const directory = asDirectory.listing.names.get(name);
    // The second range may begin before the name and have it too, as the file that it is.
    const isDirectory = (file?.directory ?? false) || (directory?.directory ?? false);
    const listed = file && directory ? { ...file, ...directory, directory: isDirectory } : (directory ?? file);
    return { listed, at: Math.min(asFile.listing.at, asDirectory.listing.at) };
  }

  /** The names around this one, in their order, if they are known. */
  around(name: string, oldest: number): Listing | undefined {
    return this.#covering(name, oldest)?.listing;
  }

  #covering(place: string, oldest: number): Range | undefined {
    for (let i = this.#ranges.length - 1; i >= 0; i--) {
      const range = this.#ranges[i]!;
      if (range.listing.at > oldest && covers(range, place)) return range;
    }
    return undefined;
  }

  /** A name that nothing tells of is asked for. True: a LIST from there on will answer more than this one. */
  isWalked(name: string, now: number, ttl: number): boolean {
    if (now - this.#missedAt >= ttl) {
      this.#streak = 0;
      this.#misses = 0;
      this.#lastMissed = undefined;
    }
    this.#missedAt = now;
    this.#misses++;
    if (this.#lastMissed !== undefined && name !== this.#lastMissed) {
      this.#streak = compareNames(name, this.#lastMissed) > 0 ? this.#streak + 1 : 0;
    }
    this.#lastMissed = name;
    if (this.#streak >= STREAK) return true;
    return this.size !== undefined && this.#misses > Math.max(STREAK, this.size / PAGE_NAMES);
  }

  /** Adds the answer to a LIST that began after `after`, asked for at `at`; `isLast`: there is nothing behind it. */
  add(after: string, page: ParsedPage, isLast: boolean, at: number, oldest: number): Listing {
    const listing = new Listing(at);
    listing.add(page, at);
    this.prune(oldest);
    this.#ranges.push({ after, to: isLast ? undefined : (page.last ?? after), listing });
    if (this.#ranges.length > MAX_RANGES) this.#ranges.shift();
    return listing;
  }

  /** Lets go of what is too old to be believed. */
  prune(oldest: number): void {
    this.#ranges = this.#ranges.filter(({ listing }) => listing.at > oldest);
  }

  /** Gives a name what it has now, or takes it away. */
  change(name: string, listed: ListedName | undefined): void {
    for (const range of this.#ranges) {
      if (!listed || covers(range, name) || covers(range, `${name}/`)) range.listing.change(name, listed);
    }
  }
}

function covers({ after, to }: Range, place: string): boolean {
  return compareKeys(place, after) > 0 && (to === undefined || compareKeys(place, to) <= 0);
}

/**
 * A key shortly before `name` in S3's order: nothing that matters lies between. Relative to the directory with `key`; empty
 * for the very beginning.
 */
export function justBefore(key: string, name: string): string {
  const last = name.codePointAt(name.length - 1 - (isLowSurrogate(name, name.length - 1) ? 1 : 0))!;
  const head = name.slice(0, name.length - (last > 0xffff ? 2 : 1));
  // Below a space are control characters, which few names have: then the names between are listed along.
  if (last <= 0x20) return head;
  const previous = last === 0xe000 ? 0xd7ff : last - 1;
  const before = `${head}${String.fromCodePoint(previous)}`;
  const further = `${before}~`;
  return byteLength(key) + byteLength(further) <= MAX_KEY_BYTES ? further : before;
}

function isLowSurrogate(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit < 0xe000 && at > 0;
}

/** The ranges of a directory; made at the first need. */
export function rangesOf(directory: DirectoryInode): ListedRanges {
  directory.ranges ??= new ListedRanges();
  return directory.ranges;
}
