/**
 * Bounds how many names all remembered listings have together: `find` over a million keys in a thousand directories took
 * 1.4 GB here, most of it listings that nobody asked again. Those go that were not used for longest; who comes back lists
 * once more.
 */
import type { Listing } from './listing.ts';

interface Held {
  /** Whether it is still remembered where it was put. */
  readonly isHeld: () => boolean;
  readonly drop: () => void;
  names: number;
}

/** Listings that were replaced are looked for when there may be as many of them as of the others, and so many at least. */
const LEAST_SWEPT = 256;
/** Down to so much of the limit, so that not each new page has to look for room. */
const DOWN_TO = 7 / 8;

export class ListingLimit {
  readonly #max: number;
  /** Longest unused first, but for what was used since it was looked at. */
  readonly #held = new Map<Listing, Held>();
  /** At least as many as there are. */
  #names = 0;
  /** So many listings until those that were replaced are let go of: a directory that changes gets a new one each time. */
  #sweepAt = LEAST_SWEPT;

  constructor(max: number) {
    this.#max = max;
  }

  /** Names in what is held. */
  get names(): number {
    return this.#names;
  }

  /** A listing is remembered, or has grown. */
  keep(listing: Listing, isHeld: () => boolean, drop: () => void): void {
    const before = this.#held.get(listing);
    this.#held.delete(listing);
    this.#held.set(listing, { isHeld, drop, names: listing.names.size });
    this.grown(listing.names.size - (before?.names ?? 0));
    if (this.#held.size > this.#sweepAt) this.#sweep();
  }

  /** Names were added to some listing. */
  grown(names: number): void {
    this.#names += names;
    if (this.#names > this.#max) this.#trim();
  }

  #sweep(): void {
    this.#names = 0;
    for (const [listing, held] of this.#held) {
      if (!held.isHeld()) this.#held.delete(listing);
      else {
        held.names = listing.names.size;
        this.#names += held.names;
      }
    }
    this.#sweepAt = Math.max(LEAST_SWEPT, 2 * this.#held.size);
  }

  #trim(): void {
    this.#sweep();
    // Each is looked at twice at most: the second time it was not used since. The newest stays, however large.
    for (let looked = 2 * this.#held.size; looked > 0 && this.#names > this.#max * DOWN_TO; looked--) {
      if (this.#held.size <= 1) return;
      const [listing, held] = this.#held.entries().next().value!;
      this.#held.delete(listing);
      if (listing.used) {
        listing.used = false;
        this.#held.set(listing, held);
        continue;
      }
      this.#names -= held.names;
      held.drop();
    }
  }
}
