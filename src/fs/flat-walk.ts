/**
 * A walk through the directories below one: their names are listed without a delimiter, ahead of the walker, so that one
 * LIST brings many small directories whole. 100,000 keys in 1,000 directories are a hundred LISTs and not a thousand.
 *
 * Difficulties: (1) Whether that pays is known only afterwards: of directories of a thousand keys and more a flat page
 * brings not one whole. The first page is sent alone and tells; if it was a mistake, it was one. (2) Pages of one listing
 * come one after the other, but the names of the directories are known: several runs begin at once, each at a directory so
 * far behind the last one as a page reaches. (3) cp and rm go in the order of inode numbers: then a run begins wherever the
 * walker will be, and its neighbours come along. (4) A slow walker needs them when they are too old to be believed: they
 * are asked for again, the many with one LIST.
 */
import type { Clock } from '../concurrency.ts';
import type { ListedObject, ObjectStore } from '../s3/store.ts';
import { compareKeys } from './keys.ts';
import type { Listing } from './listing.ts';

/** Fewer directories than this are as soon listed one by one. */
const MIN_DIRECTORIES = 8;
/** Directories that a page must bring whole, or the flat way is left. */
const MIN_PER_PAGE = 3;
/** Runs at once: at 40 ms a LIST, 8 bring 200,000 names a second, which is more than a walker asks for. */
const MAX_RUNS = 8;
/** Of its time to be believed so much must be left for what was listed ahead. */
const USEFUL = 0.7;

/** What a flat page tells of one directory. */
export interface DirectoryFound {
  readonly key: string;
  readonly objects: ListedObject[];
  readonly prefixes: string[];
}

/** Sorts the objects of a flat listing below `prefix` into the directories that they make. In order of keys. */
export function directoriesOf(prefix: string, objects: Iterable<ListedObject>): Map<string, DirectoryFound> {
  const found = new Map<string, DirectoryFound>();
  const at = (key: string): DirectoryFound => {
    let directory = found.get(key);
    if (!directory) {
      directory = { key, objects: [], prefixes: [] };
      found.set(key, directory);
    }
    return directory;
  };
  let last = '';
  for (const object of objects) {
    const { key } = object;
    const end = key.lastIndexOf('/') + 1;
    if (end <= prefix.length) continue;
    const directory = key.slice(0, end);
    if (directory !== last) {
      // Each directory on the way to it is a prefix in the one above.
      for (let above = prefix.length; above < end; ) {
        const next = key.indexOf('/', above) + 1;
        const below = key.slice(0, next);
        if (above > prefix.length && !found.has(below)) at(key.slice(0, above)).prefixes.push(below);
        at(below);
        above = next;
      }
      last = directory;
    }
    found.get(directory)!.objects.push(object);
  }
  return found;
}

export interface FlatWalkParts {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly ttl: number;
  /** Takes directories that are known whole, asked for at `at`. */
  readonly adopt: (found: readonly DirectoryFound[], at: number) => Promise<void>;
  /** Tells that the listing of a directory is on its way. */
  readonly coming: (key: string, run: Promise<void>) => void;
}

/** How it went so far: goes over to the next listing of the same directory. */
export interface FlatExperience {
  /** Directories that a page brings whole; undefined: not tried yet. */
  perPage: number | undefined;
  runs: number;
}

export class FlatWalk {
  readonly #listing: WeakRef<Listing>;
  readonly experience: FlatExperience;
  readonly #parts: FlatWalkParts;
  readonly #prefix: string;
  readonly #directories: readonly string[];
  readonly #rank: ReadonlyMap<string, number>;
  /** When each directory was asked for, ms of the monotonic clock. */
  readonly #askedAt: Float64Array;
  #running = 0;

  constructor(parts: FlatWalkParts, prefix: string, listing: Listing, experience?: FlatExperience) {
    this.#parts = parts;
    this.#prefix = prefix;
    this.#listing = new WeakRef(listing);
    this.experience = experience ?? { perPage: undefined, runs: 1 };
    this.#directories = listing.order.filter(name => listing.names.get(name)?.directory);
    this.#rank = new Map(this.#directories.map((name, rank) => [name, rank]));
    this.#askedAt = new Float64Array(this.#directories.length).fill(Number.NEGATIVE_INFINITY);
  }

  /** Whether it goes through the directories of this listing. */
  isOf(listing: Listing): boolean {
    return this.#listing.deref() === listing;
  }

  /**
   * The walker will come to this directory. `coming`: it is listed, or will be; `wait`: ask again when more is known;
   * `apart`: it is to be listed by itself.
   */
  ask(name: string): 'coming' | 'wait' | 'apart' {
    const rank = this.#rank.get(name);
    const { perPage, runs } = this.experience;
    if (rank === undefined || this.#directories.length < MIN_DIRECTORIES) return 'apart';
    if (perPage !== undefined && perPage < MIN_PER_PAGE) return 'apart';
    if (!this.#isDue(rank)) return 'coming';
    if (this.#running >= runs) return 'wait';
    const length = perPage ?? MIN_DIRECTORIES;
    let end = rank + 1;
    while (end < this.#directories.length && end < rank + length && this.#isDue(end)) end++;
    this.#start(rank, end);
    return 'coming';
  }

  #isDue(rank: number): boolean {
    return this.#parts.clock.monotonic() - this.#askedAt[rank]! >= this.#parts.ttl * USEFUL;
  }

  #start(from: number, end: number): void {
    this.#askedAt.fill(this.#parts.clock.monotonic(), from, end);
    this.#running++;
    const run = this.#run(from, end)
      .catch(() => {
        // Whoever comes to these directories lists them, and is told the error.
        this.#askedAt.fill(Number.NEGATIVE_INFINITY, from, end);
      })
      .finally(() => {
        this.#running--;
      });
    for (let rank = from; rank < end; rank++) this.#parts.coming(this.#keyOf(rank), run);
  }

  #keyOf(rank: number): string {
    return `${this.#prefix}${this.#directories[rank]}/`;
  }

  /** Lists from one directory on, until all before `end` are known. */
  async #run(from: number, end: number): Promise<void> {
    const { store, clock, adopt } = this.#parts;
    const { experience } = this;
    let next = from;
    let rest: readonly ListedObject[] = [];
    let continuation: string | undefined;
    while (next < end) {
      const at = clock.monotonic();
      const page = await store.list({
        prefix: this.#prefix,
        // The last place before `name/`: what begins with `name-` or `name.` lies before it.
        ...(continuation === undefined
          ? { startAfter: `${this.#prefix}${this.#directories[from]}.\u{10FFFD}` }
          : { continuation }),
      });
      const found = directoriesOf(this.#prefix, [...rest, ...page.objects]);
      // All but the last, which may go on; where the listing is over, all.
      const last = page.next === undefined ? undefined : page.objects.at(-1)?.key;
      const open = this.#childOf(last);
      const whole: DirectoryFound[] = [];
      const children = new Set<number>();
      for (const directory of found.values()) {
        const child = this.#childOf(directory.key)!;
        const rank = this.#rank.get(child);
        if (child === open || rank === undefined) continue;
        children.add(rank);
        whole.push(directory);
      }
      const reached = last === undefined ? this.#directories.length : this.#rankAt(last);
      for (const rank of children) if (this.#isDue(rank)) this.#askedAt[rank] = at;
      if (page.next !== undefined && continuation === undefined) {
        // A page that was cut short by the end of the directories tells nothing of how far one reaches.
        const before = experience.perPage ?? children.size;
        experience.perPage = Math.floor((before + children.size) / 2);
      } else if (page.next === undefined) experience.perPage ??= Math.max(children.size, MIN_PER_PAGE);
      await adopt(whole, at);
      if (page.next === undefined) break;
      // A page that brings not one whole directory: a large one lies here, or all are large.
      if (children.size === 0 || (experience.perPage !== undefined && experience.perPage < MIN_PER_PAGE)) {
        this.#askedAt.fill(Number.NEGATIVE_INFINITY, Math.max(next, reached), end);
        break;
      }
      experience.runs = Math.min(MAX_RUNS, experience.runs + 1);
      next = Math.max(next, reached);
      rest = next < end ? [...rest, ...page.objects].filter(({ key }) => this.#childOf(key) === open) : [];
      continuation = page.next;
    }
    experience.runs = Math.min(MAX_RUNS, experience.runs + 1);
  }

  /** The first directory that a listing up to and with `last` does not tell of in full. */
  #rankAt(last: string): number {
    const open = this.#childOf(last);
    const rank = open === undefined ? undefined : this.#rank.get(open);
    if (rank !== undefined) return rank;
    let [low, high] = [0, this.#directories.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keyOf(middle), last) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The name below the walked directory under which a key lies; undefined for a file in it. */
  #childOf(key: string | undefined): string | undefined {
    if (key === undefined) return undefined;
    const slash = key.indexOf('/', this.#prefix.length);
    return slash < 0 ? undefined : key.slice(this.#prefix.length, slash);
  }
}
