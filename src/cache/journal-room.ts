/**
 * Who waits for room in the journal, and what is promised of it to those who will need it at their close.
 *
 * A full journal slows writers down first: what S3 takes meanwhile makes room. Only where nothing was freed for a while is
 * it full for good, and then write(2) says so, never close(2).
 */
import type { Waiter as Asking, Clock } from '../concurrency.ts';
import { FsError, StoreError } from '../errors.ts';

/** ms without a byte freed until writers get ENOSPC: the time in which S3 answers, or does not answer any more. */
const FULL_AFTER = 30_000;

interface Waiter {
  readonly bytes: number;
  readonly isForDisk: boolean;
  resolve(): void;
  reject(error: unknown): void;
}

export class JournalRoom {
  readonly #clock: Clock;
  readonly #fits: (bytes: number, isForDisk: boolean) => boolean;
  readonly #why: () => string;
  readonly #waiters: Waiter[] = [];
  /** Bytes that will be appended at a close: nobody else gets them. */
  #promised = 0;
  #cancel: (() => void) | undefined;
  #isFull = false;
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
    if (this.#waiters.length > 0) this.#watch();
    this.serve();
  }

  /** S3 has taken something, which will give its room back: whoever waits may wait on. */
  progressed(): void {
    this.#isFull = false;
    if (this.#waiters.length > 0) this.#watch();
  }

  /** Looks whether those who wait find room now. */
  serve(): void {
    if (this.#waiters.length === 0) return;
    while (
      this.#waiters.length > 0 &&
      this.#fits(this.#waiters[0]!.bytes + this.#promised, this.#waiters[0]!.isForDisk)
    ) {
      const first = this.#waiters.shift()!;
      this.#promised += first.bytes;
      first.resolve();
    }
    if (this.#waiters.length === 0) this.#unwatch();
  }

  /** The same as `tryPromise`, waiting. @throws {FsError} ENOSPC; {StoreError} `aborted`. */
  async promise(bytes: number, isForDisk: boolean, asking?: Asking): Promise<void> {
    if (this.tryPromise(bytes, isForDisk)) return;
    if (this.#isFull) {
      for (const each of this.pressed) each();
      throw this.#full();
    }
    const signal = asking?.signal;
    if (signal?.aborted) throw interrupted();
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
        reject(interrupted());
        if (this.#waiters.length === 0) this.#unwatch();
        // Those behind may ask for less.
        else this.serve();
      };
      const waiter: Waiter = {
        bytes,
        isForDisk,
        resolve: () => {
          signal?.removeEventListener('abort', leave);
          resolve();
        },
        reject: error => {
          signal?.removeEventListener('abort', leave);
          reject(error);
        },
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiters.push(waiter);
      if (!this.#cancel) this.#watch();
      for (const each of this.pressed) each();
    });
  }

  #watch(): void {
    this.#unwatch();
    this.#cancel = this.#clock.after(FULL_AFTER, () => {
      this.#cancel = undefined;
      this.#isFull = true;
      for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#full());
    });
  }

  #unwatch(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #full(): FsError {
    return new FsError(
      'ENOSPC',
      `no room for more unsaved bytes: ${this.#why()}, and S3 took nothing for ${FULL_AFTER / 1000} s`,
    );
  }
}

function interrupted(): StoreError {
  return new StoreError('aborted', 'interrupted while waiting for room in the journal');
}
