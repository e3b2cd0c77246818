/**
 * Who waits for room in the journal, and what is promised of it to those who will need it at their close.
 *
 * A full journal slows writers down first: what S3 takes meanwhile makes room. Only where nothing was freed for a while, nor
 * did any of what is being sent arrive, is it full for good, and then write(2) says so, never close(2).
 */
import type { Clock, Waiter } from '../concurrency.ts';
import { FsError } from '../errors.ts';
import { WaitingLine } from './waiting-line.ts';

/** ms without a byte freed until writers get ENOSPC: the time in which S3 answers, or does not answer any more. */
const FULL_AFTER = 30_000;
/** ms between two looks whether bytes go on arriving there: each reads a table of the kernel, and of three one may be late. */
const LOOK_EVERY = FULL_AFTER / 3;
/**
 * ms for which bytes may arrive and none be freed: 32 PUTs of 16 MiB at once, of which none is whole before the others, take
 * that long at 2.4 Mbit/s. What arrives may be of uploads that free nothing, and a program is to be told some time.
 */
const SLOW_FOR = 30 * 60_000;

export class JournalRoom {
  readonly #clock: Clock;
  readonly #fits: (bytes: number, isForDisk: boolean) => boolean;
  readonly #why: () => string;
  readonly #waiters = new WaitingLine<{ readonly bytes: number; readonly isForDisk: boolean }>(
    'room in the journal',
    () => {
      if (!this.#cancel) this.#watchFromNow();
      for (const each of this.pressed) each();
    },
    () => {
      if (this.#waiters.length === 0) this.#unwatch();
      else this.serve();
    },
  );
  /** Bytes that will be appended at a close: nobody else gets them. */
  #promised = 0;
  #cancel: (() => void) | undefined;
  /** ms of the monotonic clock: since when nothing was freed, and since when nothing arrived at S3 either. */
  #stuckSince = 0;
  #stillSince = 0;
  #isFull = false;
  /** Asked whether more has arrived at S3 since they were asked last. */
  readonly sending = new Set<() => boolean>();
  /** Told when somebody finds no room: perhaps something can be let go of. */
  readonly pressed = new Set<() => void>();

  /**
   * `fits`: whether so many bytes more may be written, promised ones among them, and where `isForDisk` the disk has them too;
   * `why`: not, for people.
   */
  constructor(clock: Clock, fits: (bytes: number, isForDisk: boolean) => boolean, why: () => string) {
    this.#clock = clock;
    this.#fits = fits;
    this.#why = why;
  }

  get promised(): number {
    return this.#promised;
  }

  /** True if `bytes` are there for somebody to whom nothing is promised. */
  has(bytes: number, isForDisk: boolean): boolean {
    return this.#waiters.length === 0 && this.#fits(bytes + this.#promised, isForDisk);
  }

  /**
   * Promises `bytes`, if they are there. Undone by `giveBack`. `isForDisk`: they are needed there; else it is no harm if the
   * disk turns out to be full, whoever was promised them then waits for S3.
   */
  tryPromise(bytes: number, isForDisk: boolean): boolean {
    if (!this.has(bytes, isForDisk)) return false;
    this.#promised += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#promised -= bytes;
    this.serve();
  }

  /** True while somebody waits. */
  get isPressed(): boolean {
    return this.#waiters.length > 0;
  }

  /** Something was freed: whoever waits may wait on. */
  freed(): void {
    this.#isFull = false;
    if (this.#waiters.length > 0) this.#watchFromNow();
    this.serve();
  }

  /** S3 has taken something, which will give its room back: whoever waits may wait on. */
  progressed(): void {
    this.#isFull = false;
    if (this.#waiters.length > 0) this.#watchFromNow();
  }

  /** Looks whether those who wait find room now. */
  serve(): void {
    if (this.#waiters.length === 0) return;
    for (let first = this.#waiters.first; first; first = this.#waiters.first) {
      if (!this.#fits(first.bytes + this.#promised, first.isForDisk)) break;
      this.#promised += first.bytes;
      this.#waiters.serveFirst();
    }
    if (this.#waiters.length === 0) this.#unwatch();
  }

  /** The same as `tryPromise`, waiting. @throws {FsError} ENOSPC; {StoreError} `aborted`. */
  async promise(bytes: number, isForDisk: boolean, waiter?: Waiter): Promise<void> {
    if (this.tryPromise(bytes, isForDisk)) return;
    if (this.#isFull) {
      for (const each of this.pressed) each();
      throw this.#full();
    }
    await this.#waiters.wait({ bytes, isForDisk }, waiter?.signal);
  }

  #watchFromNow(): void {
    this.#stuckSince = this.#clock.monotonic();
    this.#stillSince = this.#stuckSince;
    this.#watch();
  }

  #watch(): void {
    this.#unwatch();
    this.#cancel = this.#clock.after(LOOK_EVERY, () => {
      this.#cancel = undefined;
      const now = this.#clock.monotonic();
      if ([...this.sending].some(sentMore => sentMore()) && now - this.#stuckSince < SLOW_FOR) this.#stillSince = now;
      // Timers come a little early or late.
      if (now - this.#stillSince < FULL_AFTER - LOOK_EVERY / 2) {
        this.#watch();
        return;
      }
      this.#isFull = true;
      this.#waiters.turnAway(() => this.#full());
    });
  }

  #unwatch(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #full(): FsError {
    const seconds = Math.round((this.#clock.monotonic() - this.#stuckSince) / 1000);
    return new FsError(
      'ENOSPC',
      `no room for more unsaved bytes: ${this.#why()}, and S3 took nothing whole for ${seconds} s`,
    );
  }
}
