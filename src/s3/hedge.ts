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
import type { CancelSignal, Clock } from '../concurrency.ts';
import { Cancellation } from '../concurrency.ts';
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
  readonly signal: CancelSignal;
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
    signal: CancelSignal | undefined,
    mayRepeat: () => boolean,
  ): Promise<T> {
    this.#allowance = Math.min(MOST_AT_ONCE, this.#allowance + SHARE);
    return new Promise<T>((resolve, reject) => {
      const begun = this.#clock.monotonic();
      const answered = (mine: number): void => {
        this.#note(this.#clock.monotonic() - begun);
        if (mine > 0) this.#telemetry.count('s3.hedges_won');
      };
      const race = new Race(send, signal, answered, resolve, reject);
      race.start();
      if (signal?.aborted) race.abort();
      if (this.#delay === Number.POSITIVE_INFINITY) return;
      race.cancelTimer = this.#clock.after(this.#delay, () => {
        setImmediate(() => {
          if (!race.isOpen || signal?.aborted || this.#allowance < 1 || !mayRepeat()) return;
          this.#allowance--;
          this.#telemetry.count('s3.hedged');
          race.start();
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

/** The sendings of one request. A class, not closures: there is one for each GET, and nearly all of them have one sending. */
class Race<T> {
  cancelTimer: (() => void) | undefined;
  readonly #send: (sending: Sending) => Promise<T>;
  readonly #signal: CancelSignal | undefined;
  readonly #answered: (place: number) => void;
  readonly #resolve: (value: T) => void;
  readonly #reject: (error: unknown) => void;
  readonly #sent: Cancellation[] = [];
  readonly #abort = (): void => this.abort();
  #running = 0;
  #winner = -1;
  #failure: unknown;

  constructor(
    send: (sending: Sending) => Promise<T>,
    signal: CancelSignal | undefined,
    answered: (place: number) => void,
    resolve: (value: T) => void,
    reject: (error: unknown) => void,
  ) {
    this.#send = send;
    this.#signal = signal;
    this.#answered = answered;
    this.#resolve = resolve;
    this.#reject = reject;
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** None has answered yet, and another could. */
  get isOpen(): boolean {
    return this.#winner < 0 && this.#running > 0;
  }

  abort(): void {
    for (const sending of this.#sent) sending.abort(this.#signal!.reason);
  }

  start(): void {
    const mine = this.#sent.length;
    const signal = new Cancellation();
    this.#sent.push(signal);
    this.#running++;
    this.#send({ signal, answered: () => this.#won(mine) }).then(
      value => {
        this.#finish();
        this.#resolve(value);
      },
      (error: unknown) => this.#failed(mine, error),
    );
  }

  #won(mine: number): void {
    if (this.#winner >= 0) throw new Error('another sending of the same request was faster');
    this.#winner = mine;
    this.cancelTimer?.();
    this.#answered(mine);
    for (const [place, other] of this.#sent.entries()) if (place !== mine) other.abort();
  }

  #failed(mine: number, error: unknown): void {
    this.#running--;
    // What the first met is what is told; but the one that has answered decides.
    if (mine === 0 || this.#winner === mine) this.#failure = error;
    this.#failure ??= error;
    if (this.#winner !== mine && this.#running > 0) return;
    this.#finish();
    this.#reject(this.#failure);
  }

  #finish(): void {
    this.cancelTimer?.();
    this.#signal?.removeEventListener('abort', this.#abort);
  }
}
