/**
 * What a program that goes through a tree will come to next: the rest of its directory, what lies in the directories there,
 * then the rest of the directories above, as far as they are listed. Asks for nothing itself.
 *
 * Difficulties: (1) Directories of a few files are over before anything fetched within one of them has arrived, so the
 * forecast goes through them without regard to where one ends. (2) It must be cheap at each name: it goes on where it
 * stopped, and only a jump makes it begin anew. (3) Too far ahead is as bad as too late: what was fetched more than a
 * second before its open is asked about once more. So it reaches as far as the program will come in less than that, by the
 * pace it has kept, and tells what has become too old when the program is slower than it was.
 */
import type { ListedName, Listing } from './listing.ts';
import type { Habits, Order } from './walk-habits.ts';
import { MAX_STEP } from './walk-habits.ts';

/** Names ahead at first. */
const FIRST_WINDOW = 8;
/**
 * One more for each that was come to where attributes are asked for, and for so many where bytes are: who stops has a quarter
 * fetched for nothing, not as much again as it read (the first bytes of 50 of 100 files took 105 requests). 20 names ahead are
 * enough for 1,000 a second at 20 ms each.
 */
const USEFUL_FOR_ONE = 4;
/** Names ahead at most: half a second at a thousand files a second. */
const LAST_WINDOW = 512;
/** ms. Less than half of the second for which an open believes what was fetched: nobody keeps a pace exactly. */
const HORIZON = 250;
/** ms. Attributes alone are believed for the TTL. */
const HORIZON_OF_ATTRIBUTES = 1000;
/** ms. What has become too old is asked about so long before the program comes to it: some round trips. */
const RENEWAL = 150;
/** ms for a name above which nothing is asked ahead but large files: to ask about one once more is little beside its bytes. */
const SLOWEST = 350;
const LARGE = 1024 * 1024;
/** A name that took longer than this tells of a pause and not of a pace, ms. */
const LONGEST_STEP = 1000;
/** How much of the pace is that of the last name, once there were some. */
const LAST_SHARE = 0.1;

/** One directory on the way. */
export interface Frame {
  readonly key: string;
  readonly listing: Listing;
  readonly habits: Habits;
  /** Place in the order of the name that comes next. */
  next: number;
}

/** A directory that is to be gone into next. */
interface Entering {
  /** The directory that it is in. */
  readonly frame: Frame;
  readonly name: string;
  /** Its listing was asked for. If that does not come whole the program alone will find out what is there. */
  isAsked: boolean;
}

/** A name to come. */
export interface Coming {
  /** Of the directory. */
  readonly directory: string;
  readonly listed: ListedName;
  readonly habits: Habits;
  /** When something was asked for it, ms of the monotonic clock; undefined: nothing was. */
  askedAt: number | undefined;
  /** Bytes that were asked for it. */
  bytes: number;
}

export interface Start {
  readonly order: Order;
  /** Where the program is, outermost first, each with the place of what comes next. */
  readonly frames: readonly Frame[];
  /** ms of the monotonic clock. */
  readonly now: number;
  /** Whether anything might be asked for a name; others are passed over. */
  readonly isWanted: (listed: ListedName, habits: Habits) => boolean;
}

export class Forecast {
  readonly order: Order;
  /** Bytes that were asked for and not come to. */
  bytes = 0;
  /** The directory whose listing is needed to go on. */
  blockedBy: Entering | undefined;
  readonly #listingOf: (key: string) => Listing | undefined;
  readonly #isWanted: (listed: ListedName, habits: Habits) => boolean;
  /** Outermost first. */
  readonly #frames: Frame[];
  readonly #coming = new Map<string, Coming>();
  /** Names that the program came to after they had been asked for. */
  #useful: number;
  #pace: number;
  #steps: number;
  #at: number;
  #isLarge = false;
  #horizon = HORIZON;
  #entering: Entering | undefined;

  /** `before`: what led the same program so far. */
  constructor(start: Start, listingOf: (key: string) => Listing | undefined, before?: Forecast) {
    this.order = start.order;
    this.#frames = [...start.frames];
    this.#useful = before ? before.#useful : 0;
    this.#pace = before ? before.#pace : HORIZON / FIRST_WINDOW;
    this.#steps = before ? before.#steps : 0;
    this.#at = before ? before.#at : start.now;
    this.#isWanted = start.isWanted;
    this.#listingOf = listingOf;
  }

  /** ms from one name to the next. */
  get pace(): number {
    return this.#pace;
  }

  /** How many names it should be ahead. */
  get window(): number {
    // Whoever takes most of a second for a name would find it too old.
    if (this.#pace > SLOWEST) return this.#isLarge ? 2 : 0;
    const isReading = this.#horizon === HORIZON;
    const earned = isReading ? Math.floor(this.#useful / USEFUL_FOR_ONE) : this.#useful;
    return Math.min(LAST_WINDOW, FIRST_WINDOW + earned, Math.max(2, Math.ceil(this.#horizon / this.#pace)));
  }

  /** Names that went out and were not come to. */
  get size(): number {
    return this.#coming.size;
  }

  /** Whether the program comes to this name soon. */
  expects(key: string): boolean {
    return this.#coming.has(key);
  }

  /** Whether this name was not come to yet. */
  holds(item: Coming): boolean {
    return this.#coming.get(item.directory + item.listed.name) === item;
  }

  /** Names that come within the next moments and were asked for before `oldest`; none where the program has stopped. */
  outdated(oldest: number, now: number): readonly Coming[] {
    if (now - this.#at > LONGEST_STEP) return [];
    let left = Math.ceil(RENEWAL / this.#pace);
    const found: Coming[] = [];
    for (const item of this.#coming.values()) {
      if (left-- <= 0) break;
      // What comes later was asked for later, but for what was renewed.
      if (item.askedAt !== undefined && item.askedAt >= oldest && found.length === 0) break;
      if (item.bytes > 0 && item.askedAt !== undefined && item.askedAt < oldest) found.push(item);
    }
    return found;
  }

  /** Memory was taken for a name to come. */
  take(item: Coming, bytes: number): void {
    item.bytes += bytes;
    this.bytes += bytes;
  }

  /**
   * The program has come to `key`. False: it passed over too much of what was asked for it, or this is no name to come.
   */
  reached(key: string, now: number): boolean {
    if (!this.#coming.has(key)) return false;
    let passed = 0;
    let skipped = 0;
    for (const [each, item] of this.#coming) {
      this.#coming.delete(each);
      this.bytes -= item.bytes;
      passed++;
      if (each === key) {
        if (item.askedAt !== undefined) this.#useful++;
        if (!item.listed.directory) this.#horizon = item.habits.reads.holds ? HORIZON : HORIZON_OF_ATTRIBUTES;
        this.#isLarge = (item.listed.object?.size ?? 0) > LARGE;
        break;
      }
      if (item.askedAt !== undefined) skipped++;
    }
    const step = Math.min(LONGEST_STEP, (now - this.#at) / passed);
    this.#at = now;
    this.#pace += (step - this.#pace) * Math.max(LAST_SHARE, 1 / (2 + this.#steps++));
    return skipped <= MAX_STEP;
  }

  /** The next name; undefined where nothing more is known (`blockedBy`: until that is listed). */
  next(): Coming | undefined {
    this.blockedBy = undefined;
    for (;;) {
      if (this.#entering && !this.#enter(this.#entering)) return undefined;
      const frame = this.#frames.at(-1);
      if (!frame) return undefined;
      const names = namesOf(frame, this.order);
      const name = names[frame.next];
      if (name === undefined) {
        // It still grows, or is a range of a large one: what follows is not known.
        if (!frame.listing.complete) return undefined;
        this.#frames.pop();
        continue;
      }
      frame.next++;
      const listed = frame.listing.names.get(name);
      if (!listed) continue;
      if (listed.directory) this.#entering = { frame, name, isAsked: false };
      if (!this.#isWanted(listed, frame.habits)) continue;
      const item: Coming = { directory: frame.key, listed, habits: frame.habits, askedAt: undefined, bytes: 0 };
      this.#coming.set(frame.key + name, item);
      return item;
    }
  }

  #enter(entering: Entering): boolean {
    const { frame, name } = entering;
    if (frame.habits.descends.holds) {
      const key = `${frame.key}${name}/`;
      const listing = this.#listingOf(key);
      if (!listing?.complete) {
        this.blockedBy = entering;
        return false;
      }
      this.#frames.push({ key, listing, habits: frame.habits.below, next: 0 });
    }
    this.#entering = undefined;
    return true;
  }
}

export function namesOf(frame: { readonly key: string; readonly listing: Listing }, order: Order): readonly string[] {
  return order === 'listing' ? frame.listing.order : frame.listing.inoOrder(frame.key);
}
