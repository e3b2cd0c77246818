/**
 * Unsaved bytes in memory: how many there may be over all files, who must wait, and who moves some to disk.
 *
 * 1. Unsaved bytes cannot be thrown away under pressure as cached blocks can. So they get a share of the budget, and a
 *    writer beyond it waits until some have been saved or spooled: the rest of the budget always suffices for a save.
 * 2. Waiting must end. Where nothing can be spooled and nothing is being sent, nothing will ever be freed: then those who
 *    wait get ENOSPC, at write(2) and never at close(2).
 * 3. What the store has acknowledged costs least to be rid of: it is let go of before anything is spooled. While parts are
 *    on their way that can be let go of when they arrive, writers wait for those: the network is the limit, not the disk.
 * 4. Memory is admitted before it is used, so that several writers together cannot overrun the share.
 */
import { FsError } from '../errors.ts';
import { BlockPool } from './block-pool.ts';
import { Budget } from './budget.ts';
import { WaitingLine } from './waiting-line.ts';

/** A buffer of unsaved bytes with those who hold it. While `frozen` > 0 somebody is sending it: it must not change. */
export class HeldBuffer {
  readonly bytes: Uint8Array;
  /** Bytes that it counts in the budget. */
  readonly cost: number;
  refs = 1;
  frozen = 0;
  /** Of all its bytes, if it was taken since they changed. */
  crc32: number | undefined = undefined;

  constructor(bytes: Uint8Array, cost: number) {
    this.bytes = bytes;
    this.cost = cost;
  }
}

/** Whoever has unsaved bytes in memory and can move them to disk. */
export interface Spillable {
  /** Unsaved bytes in memory. */
  readonly heldBytes: number;
  /** How many of them a spill could free. */
  readonly spillableBytes: number;
  /** How many can be let go of when the store has acknowledged them, which it will soon. */
  readonly comingBytes: number;
  /** Lets go of about `bytes` that the store has, at once; returns how many that freed. */
  letGo(bytes: number): number;
  /** Moves about `bytes` to disk; returns how many it moved. Rejects where the disk takes none. */
  spill(bytes: number): Promise<number>;
}

/** Half of the budget: the other half serves reads, what is read to be sent, and what is in flight. */
const SHARE_OF_BUDGET = 0.5;
/** Spilling starts before writers have to wait, and stops well below, so that it does not start for every block. */
const SPILL_ABOVE = 0.75;
const SPILL_DOWN_TO = 0.5;
/** Bytes of one spill: large enough for the disk, small enough to free memory soon. */
const SPILL_STEP = 4 * 1024 * 1024;

export class UnsavedMemory {
  readonly budget: Budget;
  readonly pool: BlockPool;
  /** Bytes of memory that unsaved bytes may take, over all files. */
  readonly limit: number;
  /**
   * What is read back to be sent may take a quarter of the budget, and each part asks for all of its own at once: parts
   * that each hold half of what they need would wait for each other for ever.
   */
  readonly assembly: Budget;
  /** Bytes kept free for those who save, whenever a writer asks for memory. */
  readonly #reserve: number;
  readonly #holders = new Set<Spillable>();
  /** What each waits for, in bytes. */
  readonly #waiters = new WaitingLine<number>(
    'memory for unsaved bytes',
    () => this.#relieve(),
    () => this.#serve(),
  );
  #held = 0;
  #busy = 0;
  #relieving = false;
  #again = false;

  constructor(budget: Budget, pool: BlockPool, share = SHARE_OF_BUDGET) {
    this.budget = budget;
    this.pool = pool;
    this.limit = Math.floor(budget.total * share);
    this.#reserve = Math.floor(budget.total / 8);
    this.assembly = new Budget(Math.floor(budget.total / 4));
  }

  /** Bytes admitted and not let go. */
  get held(): number {
    return this.#held;
  }

  /** What a buffer for `bytes` counts in the budget. */
  costOf(bytes: number): number {
    return BlockPool.sizeOf(bytes);
  }

  register(holder: Spillable): void {
    this.#holders.add(holder);
  }

  unregister(holder: Spillable): void {
    this.#holders.delete(holder);
  }

  /** Takes `bytes` of the share and of the budget, if nobody waits and both have room. */
  tryAdmit(bytes: number): boolean {
    if (bytes === 0) return true;
    if (this.#waiters.length > 0 || this.#held + bytes > this.limit) return false;
    if (!this.budget.tryAcquire(bytes, this.#reserve)) return false;
    this.#held += bytes;
    if (this.#held > this.limit * SPILL_ABOVE) this.#relieve();
    return true;
  }

  /**
   * The same, waiting in order of arrival. More than the whole share is admitted once nothing else is held. Whoever was
   * admitted so calls `settle` when the bytes are in use: until then others do not take it that nothing will be freed.
   * @throws {FsError} ENOSPC where nothing could ever free the memory; {StoreError} `aborted`.
   */
  async admit(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.tryAdmit(bytes)) {
      this.#busy++;
      return;
    }
    const isThere = this.#waiters.length === 0 && this.#fits(bytes) && !signal?.aborted;
    if (isThere) this.#held += bytes;
    else await this.#waiters.wait(bytes, signal);
    this.#busy++;
    try {
      await this.budget.acquire(bytes, Math.min(this.#reserve, Math.max(0, this.budget.total - bytes)), signal);
    } catch (error) {
      this.#held -= bytes;
      this.ended();
      throw error;
    }
  }

  /** Ends an `admit`: `unused` of its bytes go back. */
  settle(unused: number): void {
    this.letGo(unused);
    this.ended();
  }

  /** Gives admitted bytes back. */
  letGo(bytes: number): void {
    if (bytes === 0) return;
    this.#held -= bytes;
    this.budget.release(bytes);
    this.#serve();
  }

  /** Makes a buffer out of bytes admitted before. */
  take(bytes: number): HeldBuffer {
    return new HeldBuffer(this.pool.take(bytes), this.costOf(bytes));
  }

  /** Ends one use of `buffer`; the last one frees it. */
  drop(buffer: HeldBuffer): void {
    if (--buffer.refs > 0) return;
    this.pool.give(buffer.bytes);
    this.letGo(buffer.cost);
  }

  /** The buffer and its bytes of the budget have passed to the block cache. */
  passOn(buffer: HeldBuffer): void {
    this.#held -= buffer.cost;
    this.#serve();
  }

  /** Something began that frees memory when it ends: a save, a part being sent. */
  began(): void {
    this.#busy++;
  }

  ended(): void {
    this.#busy--;
    this.#serve();
    if (this.#waiters.length > 0) this.#relieve();
  }

  #fits(bytes: number): boolean {
    return this.#held === 0 || this.#held + bytes <= this.limit;
  }

  #serve(): void {
    while (this.#waiters.first !== undefined && this.#fits(this.#waiters.first)) {
      this.#held += this.#waiters.first;
      this.#waiters.serveFirst();
    }
  }

  #wanted(): number {
    const { first } = this.#waiters;
    if (first !== undefined) return Math.max(this.#held + first - this.limit, this.#held - this.limit * SPILL_DOWN_TO);
    return this.#held > this.limit * SPILL_DOWN_TO ? this.#held - this.limit * SPILL_DOWN_TO : 0;
  }

  /** Makes room: lets go, waits, spools. One at a time: the disk gains nothing from more. */
  #relieve(): void {
    if (this.#relieving) {
      this.#again = true;
      return;
    }
    this.#relieving = true;
    void this.#relieveNow();
  }

  async #relieveNow(): Promise<void> {
    let failure: unknown;
    do {
      this.#again = false;
      // Never within the turn of a write, which has seen what is at hand and reckons with it.
      await undefined;
      const refused = new Set<Spillable>();
      for (let wanted = this.#wanted(); wanted > 0; wanted = this.#wanted()) {
        if (this.#letGo(wanted)) continue;
        if ([...this.#holders].some(holder => holder.comingBytes > 0)) break;
        const holder = this.#largest(refused);
        if (!holder) break;
        try {
          if ((await holder.spill(Math.min(wanted, SPILL_STEP))) === 0) refused.add(holder);
        } catch (error) {
          failure = error;
          refused.add(holder);
        }
      }
      // What became busy and ended while this ran has called for another round.
    } while (this.#again && this.#waiters.length > 0);
    this.#relieving = false;
    // Where no file has bytes in memory a reply on its way holds them, and lets go of them soon.
    const stuck = this.#busy === 0 && [...this.#holders].some(holder => holder.heldBytes > 0);
    if (stuck && this.#waiters.first !== undefined && !this.#fits(this.#waiters.first)) {
      const reason = failure instanceof Error ? failure.message : 'no directory to spool to';
      this.#waiters.turnAway(
        () => new FsError('ENOSPC', `no room for more unsaved bytes: ${reason}`, { cause: failure }),
      );
    }
  }

  /** Lets go of all that the store has: not for memory, but for another place where it takes room. */
  letGoSent(): void {
    this.#letGo(Number.POSITIVE_INFINITY);
  }

  #letGo(wanted: number): boolean {
    let freed = 0;
    for (const holder of this.#holders) {
      freed += holder.letGo(wanted - freed);
      if (freed >= wanted) break;
    }
    return freed > 0;
  }

  #largest(refused: ReadonlySet<Spillable>): Spillable | undefined {
    let largest: Spillable | undefined;
    let most = 0;
    for (const holder of this.#holders) {
      if (refused.has(holder)) continue;
      const bytes = holder.spillableBytes;
      if (bytes > most) {
        most = bytes;
        largest = holder;
      }
    }
    return largest;
  }
}
