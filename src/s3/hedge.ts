/**
 * A second request where the first is slow to answer.
 *
 * S3 answers nearly all GETs in 10 to 30 ms and a few in hundreds: another front end answers the same request meanwhile. So
 * one whose first byte is later than that of 99 of 100 others is sent again, and whichever answers first goes on; the other
 * is aborted before it has touched a byte.
 *
 * 1. A store that is slow as a whole, or a link that is full, must not get twice the requests: what is late is measured, not
 *    set, and no more than 2 in 100 are sent again.
 * 2. Where this thread was busy the answer may be there unseen: it is looked for before the second one goes.
 * 3. A refusal of the second is nobody's failure while the first may still answer.
 */
import type { Clock } from '../concurrency.ts';
import type { Telemetry } from '../telemetry.ts';

/** The latest so many first bytes tell what is late: at 100 requests a second the last ten seconds. */
const REMEMBERED = 1000;
/** Fewer tell nothing about the slowest hundredth. */
const NEEDED = 100;
/** What is late is reckoned anew after so many: sorting a thousand numbers takes 50 µs. */
const RECKONED_EVERY = 50;
const LATE_SHARE = 0.99;
/** ms. A request that is answered within this is not slow, whatever the others are: nothing can be won by another. */
const LEAST_DELAY = 25;
/** Of 100 requests so many may be sent again, and so many in a row. */
const SHARE = 0.02;
const MOST_AT_ONCE = 4;

/** One sending. */
export interface Sending {
  readonly signal: AbortSignal;
  /** Its answer has begun. Throws if another sending's has: then this one must not go on. */
  answered(): void;
}

export class Hedge {
  readonly #clock: Clock;
  readonly #telemetry: Telemetry;
  readonly #latest = new Float64Array(REMEMBERED);
  #seen = 0;
  #delay = Number.POSITIVE_INFINITY;
  #allowance = MOST_AT_ONCE;

  constructor(clock: Clock, telemetry: Telemetry) {
    this.#clock = clock;
    this.#telemetry = telemetry;
  }

  /** After how many ms a request is late; infinite as long as too little is known. */
  get delay(): number {
    return this.#delay;
  }

  /** Runs `send`, and once more if its answer is late and `mayRepeat` says so. Settles as the one that answered first. */
  run<T>(
    send: (sending: Sending) => Promise<T>,
    signal: AbortSignal | undefined,
    mayRepeat: () => boolean,
  ): Promise<T> {
    this.#allowance = Math.min(MOST_AT_ONCE, this.#allowance + SHARE);
    return new Promise<T>((resolve, reject) => {
      const begun = this.#clock.monotonic();
      const sent: AbortController[] = [];
      let running = 0;
      let winner = -1;
      let failure: unknown;
      let cancelTimer = (): void => {};
      const abort = (): void => {
        for (const controller of sent) controller.abort(signal!.reason);
      };
      const finish = (settle: () => void): void => {
        cancelTimer();
        signal?.removeEventListener('abort', abort);
        settle();
      };
      const start = (): void => {
        const mine = sent.length;
        const controller = new AbortController();
        sent.push(controller);
        running++;
        const sending: Sending = {
          signal: controller.signal,
          answered: () => {
            if (winner >= 0) throw new Error('another sending of the same request was faster');
            winner = mine;
            cancelTimer();
            this.#note(this.#clock.monotonic() - begun);
            if (mine > 0) this.#telemetry.count('s3.hedges_won');
            for (const [place, other] of sent.entries()) if (place !== mine) other.abort();
          },
        };
        send(sending).then(
          value => finish(() => resolve(value)),
          (error: unknown) => {
            running--;
            // What the first met is what is told; but the one that has answered decides.
            if (mine === 0 || winner === mine) failure = error;
            failure ??= error;
            if (winner === mine || running === 0) finish(() => reject(failure));
          },
        );
      };
      signal?.addEventListener('abort', abort, { once: true });
      start();
      if (signal?.aborted) abort();
      if (this.#delay === Number.POSITIVE_INFINITY) return;
      cancelTimer = this.#clock.after(this.#delay, () => {
        setImmediate(() => {
          if (winner >= 0 || running === 0 || signal?.aborted || this.#allowance < 1 || !mayRepeat()) return;
          this.#allowance--;
          this.#telemetry.count('s3.hedged');
          start();
        });
      });
    });
  }

  #note(ms: number): void {
    this.#latest[this.#seen % REMEMBERED] = ms;
    this.#seen++;
    if (this.#seen < NEEDED || this.#seen % RECKONED_EVERY !== 0) return;
    const known = this.#latest.slice(0, Math.min(this.#seen, REMEMBERED)).sort();
    this.#delay = Math.max(LEAST_DELAY, known[Math.floor(known.length * LATE_SHARE)]!);
  }
}
