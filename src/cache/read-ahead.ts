/**
 * Fetching before somebody asks: how much of it the memory and the other readers allow.
 *
 * Prefetch takes memory only where there is plenty, gives up nothing for it but what was read once, and asks for less when
 * it is refused. All scans together may be `maxReadAhead` bytes ahead; those that are active share it.
 */
import type { Clock } from '../concurrency.ts';
import type { BlocksInFlight, OpenedRead } from './blocks-in-flight.ts';
import { openingMemory } from './blocks-in-flight.ts';
import type { Budget } from './budget.ts';
import type { PlannedRange, ReadCursor, ReadLimits, ReadPlan } from './read-plan.ts';
import { takeBack } from './read-plan.ts';
import type { ResidentBlocks } from './resident-blocks.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';

const MIB = 1024 * 1024;

/** Prefetch leaves this share of the budget free for those who wait. */
const PREFETCH_RESERVE = 1 / 16;

/** A cursor that has not asked for read-ahead for this many ms no longer counts as one that shares it. */
const STREAM_IDLE = 1000;

export interface ReadAheadOptions {
  readonly budget: Budget;
  readonly resident: ResidentBlocks;
  readonly inFlight: BlocksInFlight;
  readonly clock: Clock;
  readonly maxReadAhead: number;
  readonly maxRequestBytes: number;
}

export class ReadAhead {
  readonly #budget: Budget;
  readonly #resident: ResidentBlocks;
  readonly #inFlight: BlocksInFlight;
  readonly #clock: Clock;
  readonly #maxReadAhead: number;
  readonly #maxRequestBytes: number;
  readonly #reserve: number;
  #limits: ReadLimits;
  /** Cursors that read ahead, with when they last did: the longest ago first. */
  readonly #streams = new Map<ReadCursor, number>();
  #asking = false;

  constructor(options: ReadAheadOptions) {
    this.#budget = options.budget;
    this.#resident = options.resident;
    this.#inFlight = options.inFlight;
    this.#clock = options.clock;
    this.#maxReadAhead = options.maxReadAhead;
    this.#maxRequestBytes = options.maxRequestBytes;
    this.#reserve = Math.floor(options.budget.total * PREFETCH_RESERVE);
    this.#limits = { maxReadAhead: options.maxReadAhead, maxRequestBytes: options.maxRequestBytes };
  }

  /** What one reader may plan now. */
  get limits(): ReadLimits {
    return this.#limits;
  }

  /** True while prefetch asks the budget for memory: only what was read once may be given up for it. */
  get asking(): boolean {
    return this.#asking;
  }

  /** Carries out what was planned for the reader of `cursor`. */
  follow(content: StoredContent, cursor: ReadCursor, plan: ReadPlan): void {
    this.#share(cursor);
    for (const range of plan.ahead) {
      if (this.#fetchAhead(content, range)) continue;
      takeBack(cursor, range);
      return;
    }
  }

  /** See `BlockCache.openAhead`. */
  openAhead(key: string, bytes: number): Promise<OpenedRead> | undefined {
    return this.spareMemory(openingMemory(bytes)) ? this.#inFlight.openWithMemory(key, bytes) : undefined;
  }

  /** See `BlockCache.prefetch`. */
  prefetch(content: StoredContent, offset: number, length: number): void {
    const end = Math.min(offset + length, content.size);
    if (offset >= end) return;
    // A few GETs side by side: a file of 5 MiB is there after one round trip and the time for 2 MiB.
    const quarter = Math.max(MIB, Math.ceil((end - offset) / 4));
    const size = Math.min(powerOfTwoAbove(quarter), this.#maxRequestBytes);
    for (let at = offset; at < end; ) {
      const to = Math.min(Math.floor(at / size) * size + size, end);
      if (!this.#fetchAhead(content, { from: at, to })) return;
      at = to;
    }
  }

  /** Scans at the same time share what may be fetched ahead. */
  #share(cursor: ReadCursor): void {
    const now = this.#clock.monotonic();
    this.#streams.delete(cursor);
    this.#streams.set(cursor, now);
    for (const [other, at] of this.#streams) {
      if (now - at < STREAM_IDLE) break;
      this.#streams.delete(other);
    }
    const share = this.#maxReadAhead / this.#streams.size;
    if (share !== this.#limits.maxReadAhead) {
      this.#limits = { maxReadAhead: share, maxRequestBytes: this.#maxRequestBytes };
    }
  }

  /** Fetches what is missing of one range; false when memory was refused for some of it. */
  #fetchAhead(content: StoredContent, range: PlannedRange): boolean {
    const last = Math.ceil(range.to / BLOCK_SIZE) - 1;
    for (let index = Math.floor(range.from / BLOCK_SIZE); index <= last; ) {
      if (!this.#inFlight.isMissing(content, index)) {
        index++;
        continue;
      }
      let to = index + 1;
      while (to <= last && this.#inFlight.isMissing(content, to)) to++;
      // Less memory than wanted still pays for the nearer half.
      let count = to - index;
      while (count > 0 && !this.spareMemory(this.#inFlight.missingBytes(content, index, index + count - 1))) {
        count = Math.floor(count / 2);
      }
      if (count === 0) return false;
      this.#inFlight.fetch(content, index, index + count, 'prefetch');
      if (count < to - index) return false;
      index = to;
    }
    return true;
  }

  /** Takes memory for prefetch if there is plenty. */
  spareMemory(bytes: number): boolean {
    const budget = this.#budget;
    // Asked first, or blocks would be given up for a request that is refused all the same.
    if (budget.total - budget.used + this.#resident.expendable < bytes + this.#reserve) return false;
    this.#asking = true;
    const granted = budget.tryAcquire(bytes, this.#reserve);
    this.#asking = false;
    return granted;
  }
}

function powerOfTwoAbove(bytes: number): number {
  return 2 ** Math.ceil(Math.log2(bytes));
}
