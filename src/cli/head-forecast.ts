/**
 * Tells, once, of a walk that costs more than people expect: with `stat=exact` each file that is looked at for the first time
 * is a HEAD. Seen from outside, by the counts of requests and of names listed: nobody knows how far a walk will go, but what
 * was listed lately and is being asked for one by one will be asked for in full.
 */

import { DOLLARS } from './prices.ts';
import { countText, dollarsText } from './quantities.ts';

/** HEADs from which on somebody should know: $0.04, and half an hour at 50 a second. */
export const MANY_HEADS = 100_000;
/** Fewer than this are an ls or two: no walk. */
const WALK = 1_000;
/** ms without a HEAD or a listing after which a new walk begins. */
const PAUSE = 60_000;

export interface HeadCounts {
  /** HeadObject requests, and keys in listings, since the mount began. */
  readonly heads: number;
  readonly listed: number;
}

export class HeadForecast {
  readonly #many: number;
  #begin: HeadCounts = { heads: 0, listed: 0 };
  #last: HeadCounts = { heads: 0, listed: 0 };
  #movedAt = Number.NEGATIVE_INFINITY;
  #said = false;

  constructor(many = MANY_HEADS) {
    this.#many = many;
  }

  /** To be called every few seconds. `now` in ms. The sentence for the log, once; else undefined. */
  look(counts: HeadCounts, now: number): string | undefined {
    if (this.#said) return undefined;
    if (counts.heads !== this.#last.heads || counts.listed !== this.#last.listed) {
      if (now - this.#movedAt > PAUSE) this.#begin = this.#last;
      this.#movedAt = now;
    }
    this.#last = counts;
    const sent = counts.heads - this.#begin.heads;
    const all = Math.max(sent, counts.listed - this.#begin.listed);
    if (sent < Math.min(WALK, this.#many) || all < this.#many) return undefined;
    this.#said = true;
    return (
      `a program walks the mount: ${countText(sent)} HEAD requests so far, about ${countText(all)} if it looks at all that ` +
      `was listed (${dollarsText(all * DOLLARS.read)}); stat=list takes attributes from the listings and sends none`
    );
  }
}
