/**
 * The one hard limit on memory: cached blocks, bytes in flight and unsaved bytes all count here, in bytes.
 *
 * Whoever holds memory that can be given up registers as a reclaimer (the block cache). Take memory before locks, or a
 * full budget deadlocks: the holder of the lock waits for memory that only a save under that lock would free.
 */
import { WaitingLine } from './waiting-line.ts';

/** Gives up at least `bytes` if it can; returns how many it gave up. They were released to the budget already. */
export type Reclaimer = (bytes: number) => number;

export class Budget {
  readonly total: number;
  #used = 0;
  readonly #reclaimers: Reclaimer[] = [];
  readonly #waiters = new WaitingLine<{ readonly bytes: number; readonly reserve: number }>(
    'memory',
    () => {
      for (const listener of this.#pressure) listener();
      this.#serve();
    },
    () => this.#serve(),
  );
  readonly #pressure: (() => void)[] = [];

  /** `total` in bytes. */
  constructor(total: number) {
    this.total = total;
  }

  get used(): number {
    return this.#used;
  }

  get waiting(): number {
    return this.#waiters.length;
  }

  addReclaimer(reclaimer: Reclaimer): void {
    this.#reclaimers.push(reclaimer);
  }

  /** `listener` runs each time somebody has to wait: who can make memory reclaimable by work (a save) starts it. */
  onPressure(listener: () => void): void {
    this.#pressure.push(listener);
  }

  /** Takes `bytes` now, reclaiming if need be, but leaves `reserve` bytes free. False if there is no room. */
  tryAcquire(bytes: number, reserve = 0): boolean {
    if (this.#waiters.length > 0) return false;
    return this.#take(bytes, reserve);
  }

  /**
   * Takes `bytes`, waiting in order of arrival. `reserve` bytes are left to those who ask with a smaller reserve, so that
   * what is needed to drain a full budget is always to be had. More than the whole budget is granted when it is empty.
   */
  acquire(bytes: number, reserve = 0, signal?: AbortSignal): void | Promise<void> {
    if (this.#waiters.length === 0 && this.#take(bytes, reserve)) return;
    // Those with a smaller reserve drain the budget: they go before those who fill it.
    return this.#waiters.wait({ bytes, reserve }, signal, other => other.reserve > reserve);
  }

  release(bytes: number): void {
    this.#used -= bytes;
    this.#serve();
  }

  #take(bytes: number, reserve: number): boolean {
    let missing = this.#used + bytes + reserve - this.total;
    if (missing > 0) {
      for (const reclaim of this.#reclaimers) {
        missing -= reclaim(missing);
        if (missing <= 0) break;
      }
    }
    if (this.#used + bytes + reserve > this.total && this.#used > 0) return false;
    this.#used += bytes;
    return true;
  }

  #serving = false;
  #serve(): void {
    // A reclaimer releases from within #take: one loop at a time.
    if (this.#serving) return;
    this.#serving = true;
    for (let first = this.#waiters.first; first; first = this.#waiters.first) {
      if (!this.#take(first.bytes, first.reserve)) break;
      this.#waiters.serveFirst();
    }
    this.#serving = false;
  }
}
