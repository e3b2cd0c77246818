/** Whether S3 gets on with what it is sent: by this a stop that takes long is told from one that stands still. */
import type { Clock } from '../concurrency.ts';

/**
 * ms for which bytes may arrive and no request be answered well: 8 parts of 16 MiB, sent side by side, take that long at 1.8 Mbit/s. Not
 * for ever: what arrives may be refused each time, and a machine is to go down.
 */
const SLOW_FOR = 10 * 60_000;

export interface SendingParts {
  /** Requests that went well so far. */
  readonly answered: () => number;
  /** Whether more of what is being sent has arrived since this was asked last. */
  readonly sentMore: () => boolean;
  readonly clock: Clock;
}

export class SendingProgress {
  readonly #parts: SendingParts;
  #answered = 0;
  #answeredAt: number | undefined;
  #arrivals = 0;

  constructor(parts: SendingParts) {
    this.#parts = parts;
  }

  /** Grows with each good answer, and at each look at an upload of which more has arrived. */
  look(): number {
    const { answered, sentMore, clock } = this.#parts;
    const now = clock.monotonic();
    const count = answered();
    if (count !== this.#answered || this.#answeredAt === undefined) {
      this.#answered = count;
      this.#answeredAt = now;
    }
    if (sentMore() && now - this.#answeredAt < SLOW_FOR) this.#arrivals++;
    return count + this.#arrivals;
  }
}
