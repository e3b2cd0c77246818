/** Small tools for concurrency in one thread. They know nothing of files or objects. */
import { setMaxListeners } from 'node:events';

/**
 * A lock whose holders run one after another, in order of arrival.
 * Between two awaits nothing else runs; the lock is for what must hold *across* awaits.
 */
export class Mutex {
  #tail: Promise<void> | undefined;
  #held = 0;

  get locked(): boolean {
    return this.#held > 0;
  }

  /** Runs `critical` when all earlier holders have finished; passes on its result or error. */
  async run<T>(critical: () => Promise<T> | T): Promise<T> {
    const before = this.#tail;
    let done!: () => void;
    const mine = new Promise<void>(resolve => {
      done = resolve;
    });
    this.#tail = mine;
    this.#held++;
    try {
      if (before) await before;
      return await critical();
    } finally {
      this.#held--;
      if (this.#tail === mine) this.#tail = undefined;
      done();
    }
  }
}

/** At most `limit` tasks at a time, started in order of arrival. */
export class Semaphore {
  readonly limit: number;
  #running = 0;
  readonly #queue: (() => void)[] = [];

  constructor(limit: number) {
    this.limit = limit;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#running >= this.limit) await new Promise<void>(resolve => this.#queue.push(resolve));
    else this.#running++;
    try {
      return await task();
    } finally {
      const next = this.#queue.shift();
      if (next) next();
      else this.#running--;
    }
  }
}

/** Runs `task` on each item, `limit` at a time; rejects with the first error after those under way have settled. */
export async function forEachLimit<T>(
  items: Iterable<T>,
  limit: number,
  task: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]();
  let index = 0;
  let failed = false;
  let failure: unknown;
  const worker = async (): Promise<void> => {
    while (!failed) {
      const next = iterator.next();
      if (next.done) return;
      try {
        await task(next.value, index++);
      } catch (error) {
        if (!failed) failure = error;
        failed = true;
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, worker));
  if (failed) throw failure;
}

/** Time, as the daemon sees it. Tests inject their own. */
export interface Clock {
  /** ms since the epoch, may jump. */
  now(): number;
  /** ms since some fixed moment, never goes back. */
  monotonic(): number;
  /** Calls back once after `ms`; returns how to cancel. Does not keep the process alive. */
  after(ms: number, callback: () => void): () => void;
}

/** ms that a timer of Node can wait; asked for more it fires at once (`stat_cache_expire` may be a year). */
const LONGEST_TIMER = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    if (ms > LONGEST_TIMER) {
      let cancel = systemClock.after(LONGEST_TIMER, () => {
        cancel = systemClock.after(ms - LONGEST_TIMER, callback);
      });
      return () => cancel();
    }
    const timer = setTimeout(callback, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/**
 * Whoever waits for an answer. Its signal is asked for where there is something to wait for: a request makes one then only,
 * for that takes 3 µs, a third of a read from memory.
 */
export interface Waiter {
  readonly signal: AbortSignal;
}

/** What a request can be told to stop by: an `AbortSignal`, or a `Cancellation`. */
export interface CancelSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/**
 * Controller and signal in one, for what is made with each request and is hardly ever used. Node's pair, with a listener put on
 * and taken off, takes 4 µs, ten times as much where it runs cold, and leaves ten objects behind: two pairs for each GET
 * were an eighth of what a small file cost.
 */
export class Cancellation implements CancelSignal {
  #aborted = false;
  #reason: unknown;
  /** Nearly always one, and gone again. */
  #first: (() => void) | undefined;
  #others: (() => void)[] | undefined;

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  /** Tells whoever listens, once. */
  abort(reason?: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason ?? new DOMException('This operation was aborted', 'AbortError');
    const first = this.#first;
    this.#first = undefined;
    first?.();
    // One that another has taken off meanwhile is not called.
    for (let next = this.#others?.shift(); next; next = this.#others?.shift()) next();
  }

  /**
   * Each listener is called once at most, and does not throw; nobody adds one twice. One that comes after the abort is not
   * called, as with an `AbortSignal`.
   */
  addEventListener(_type: 'abort', listener: () => void): void {
    if (this.#aborted) return;
    if (this.#first === undefined) this.#first = listener;
    else if (this.#others === undefined) this.#others = [listener];
    else this.#others.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    if (this.#first === listener) this.#first = undefined;
    else if (this.#others?.includes(listener)) this.#others = this.#others.filter(each => each !== listener);
  }
}

/** Resolves after `ms` of `clock`, or rejects with `signal.reason` when aborted. */
export function delay(clock: Clock, ms: number, signal?: CancelSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const abort = (): void => {
      cancel();
      reject(signal!.reason);
    };
    const cancel = clock.after(ms, () => {
      signal?.removeEventListener('abort', abort);
      resolve();
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** Aborts with either of the two; `signal` may be absent. Any number of requests may listen to it. */
export function eitherSignal(signal: AbortSignal | undefined, other: AbortSignal): AbortSignal {
  const either = signal ? AbortSignal.any([signal, other]) : other;
  // Node 20 warns of the eleventh listener, and all requests of one save share a signal.
  setMaxListeners(0, either);
  return either;
}
