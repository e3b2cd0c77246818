/**
 * The blocks that are on their way, and the GETs that bring them: at most one GET for a block.
 *
 * 1. A fetch is known to all readers before its request is sent, and forgotten block by block as they become resident.
 * 2. The memory of a fetch was granted before. It is given back when the transport has let go of the buffers, which after
 *    a cancellation is later than when readers have.
 * 3. The first GET of an open belongs to no content until its headers are in (`OpeningRead`).
 */
import type { Cancellation } from '../concurrency.ts';
import { isStoreError } from '../errors.ts';
import type { ObjectInfo, ObjectStore } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { FetchReason } from './block-fetch.ts';
import { BlockFetch } from './block-fetch.ts';
import { BlockPool } from './block-pool.ts';
import type { BlockTier } from './block-tier.ts';
import { planSources } from './block-tier.ts';
import type { Budget } from './budget.ts';
import { OpeningRead } from './opening-read.ts';
import type { ResidentBlocks } from './resident-blocks.ts';
import { Block } from './resident-blocks.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';

export interface FlightOptions {
  readonly store: ObjectStore;
  readonly budget: Budget;
  readonly pool: BlockPool;
  readonly telemetry: Telemetry;
  readonly resident: ResidentBlocks;
  /** Where blocks are looked for before they are fetched, and kept afterwards. */
  readonly tier?: BlockTier | undefined;
  /** The largest GET, in bytes. */
  readonly maxRequestBytes: number;
  contentOf(info: ObjectInfo): StoredContent;
  /** Wrong bytes have come of the content, nobody knows which. */
  spoiled(content: StoredContent): void;
}

export interface FlightStats {
  /** GETs by reason. */
  readonly demandRequests: number;
  readonly prefetchRequests: number;
  readonly openRequests: number;
  /** Bytes asked for by all GETs. */
  readonly requestedBytes: number;
  readonly inFlightBlocks: number;
}

/**
 * Blocks (1 MiB) that are fetched once more rather than cut a GET in two: at 90 MB/s they take less time than the first byte
 * of another request.
 */
const WORTH_A_REQUEST = 8;

/** What an open found: the headers, and the content whose first blocks are there or on their way. */
export interface OpenedRead {
  readonly info: ObjectInfo;
  readonly content: StoredContent;
}

/** Sizes of the buffers for the first `bytes` bytes of an object. */
function openingBuffers(bytes: number): number[] {
  const wanted = Math.max(1, bytes);
  const sizes: number[] = [];
  for (let at = 0; at < wanted; at += BLOCK_SIZE) sizes.push(BlockPool.sizeOf(Math.min(BLOCK_SIZE, wanted - at)));
  return sizes;
}

/** Memory that `openRead(key, bytes)` takes. */
export function openingMemory(bytes: number): number {
  return openingBuffers(bytes).reduce((sum, size) => sum + size, 0);
}

export class BlocksInFlight {
  readonly #store: ObjectStore;
  readonly #budget: Budget;
  readonly #pool: BlockPool;
  readonly #telemetry: Telemetry;
  readonly #resident: ResidentBlocks;
  readonly #tier: BlockTier | undefined;
  readonly #maxBlocks: number;
  readonly #contentOf: (info: ObjectInfo) => StoredContent;
  readonly #spoiled: (content: StoredContent) => void;
  /** The fetch that brings a block, by the block's number. */
  readonly #fetches = new Map<number, BlockFetch>();
  readonly #prefetches = new Set<BlockFetch>();
  #requestedBytes = 0;
  readonly #requests: Record<FetchReason, number> = { demand: 0, prefetch: 0, open: 0 };

  constructor(options: FlightOptions) {
    this.#store = options.store;
    this.#budget = options.budget;
    this.#pool = options.pool;
    this.#telemetry = options.telemetry;
    this.#resident = options.resident;
    this.#tier = options.tier;
    this.#maxBlocks = options.maxRequestBytes / BLOCK_SIZE;
    this.#contentOf = options.contentOf;
    this.#spoiled = content => options.spoiled(content);
  }

  get stats(): FlightStats {
    return {
      demandRequests: this.#requests.demand,
      prefetchRequests: this.#requests.prefetch,
      openRequests: this.#requests.open,
      requestedBytes: this.#requestedBytes,
      inFlightBlocks: this.#fetches.size,
    };
  }

  /** The fetch that brings the block of number `key`. */
  get(key: number): BlockFetch | undefined {
    return this.#fetches.get(key);
  }

  /** Neither in memory nor on its way. */
  isMissing(content: StoredContent, index: number): boolean {
    const key = content.firstBlock + index;
    return this.#resident.get(key) === undefined && !this.#fetches.has(key);
  }

  /** Memory that the missing ones of blocks `first` … `last` take. */
  missingBytes(content: StoredContent, first: number, last: number): number {
    let bytes = 0;
    for (let index = first; index <= last; index++) {
      const key = content.firstBlock + index;
      if (this.#resident.get(key) === undefined && !this.#fetches.has(key)) {
        bytes += BlockPool.sizeOf(content.blockLength(index));
      }
    }
    return bytes;
  }

  /**
   * Fetches blocks `from` … `to - 1`, all of them missing, whose memory has been granted: from the tier where it has them,
   * else by as many GETs as the largest request makes necessary. They are known to readers when this returns.
   */
  fetch(content: StoredContent, from: number, to: number, reason: Exclude<FetchReason, 'open'>): void {
    const tier = this.#tier;
    if (tier === undefined) {
      this.#fetchRun(content, from, to, reason, undefined);
      return;
    }
    for (const run of planSources(from, to, index => tier.has(content, index), WORTH_A_REQUEST)) {
      this.#fetchRun(content, run.from, run.to, reason, run.tier ? tier : undefined);
    }
  }

  #fetchRun(
    content: StoredContent,
    from: number,
    to: number,
    reason: Exclude<FetchReason, 'open'>,
    tier: BlockTier | undefined,
  ): void {
    for (let at = from; at < to; at += this.#maxBlocks) {
      this.#fetchOnce(content, at, Math.min(at + this.#maxBlocks, to), reason, tier);
    }
  }

  #fetchOnce(
    content: StoredContent,
    from: number,
    to: number,
    reason: Exclude<FetchReason, 'open'>,
    tier: BlockTier | undefined,
  ): void {
    const buffers: Uint8Array[] = [];
    for (let index = from; index < to; index++) buffers.push(this.#pool.take(content.blockLength(index)));
    const fetch = new BlockFetch(content, from, buffers, reason);
    for (let index = from; index < to; index++) this.#fetches.set(content.firstBlock + index, fetch);
    if (reason === 'prefetch') this.#prefetches.add(fetch);
    void this.#run(fetch, tier);
  }

  async #run(fetch: BlockFetch, tier: BlockTier | undefined): Promise<void> {
    if (tier === undefined) this.#countGet(fetch);
    // Whoever asked for the fetch joins it first, even where a store answers in the same turn.
    await undefined;
    let failure: unknown;
    try {
      if (tier !== undefined) {
        await fetch.runFromTier(tier, position => this.#deliver(fetch, position, true));
        if (fetch.delivered < fetch.count) this.#countGet(fetch);
      }
      await fetch.run(this.#store, position => this.#deliver(fetch, position));
    } catch (error) {
      failure = error;
    }
    this.#end(fetch, failure);
  }

  /** See `BlockCache.openRead`. */
  async openRead(key: string, bytes: number, signal?: AbortSignal): Promise<OpenedRead> {
    await this.#budget.acquire(openingMemory(bytes), 0, signal);
    return this.openWithMemory(key, bytes, signal);
  }

  /** The same, when `openingMemory(bytes)` has been granted. */
  async openWithMemory(key: string, bytes: number, signal?: AbortSignal): Promise<OpenedRead> {
    const lengths = openingBuffers(bytes);
    this.#count('open', openingMemory(bytes));
    const opening = new OpeningRead(
      lengths.map(length => this.#pool.take(length)),
      {
        begin: (info, buffers, cancellation) => this.#beginOpened(info, buffers, cancellation),
        deliver: (fetch, position) => this.#deliver(fetch, position),
        end: (fetch, error) => this.#end(fetch, error),
        free: buffer => this.#free(buffer),
      },
    );
    try {
      const info = await opening.send(this.#store, key, signal);
      return { info, content: opening.content! };
    } catch (error) {
      // Bytes 0 … of an object without bytes: 416. There is nothing to read, but its headers are wanted.
      if (!isStoreError(error, 'range')) throw error;
      const info = await this.#store.head(key, signal === undefined ? {} : { signal });
      return { info, content: this.#contentOf(info) };
    }
  }

  /** The headers of an open are in: its blocks become known to readers. Answers the fetch that its body fills. */
  #beginOpened(info: ObjectInfo, buffers: readonly Uint8Array[], cancellation: Cancellation): BlockFetch {
    const content = this.#contentOf(info);
    const fetch = new BlockFetch(content, 0, buffers, 'open', cancellation);
    for (let index = 0; index < fetch.count; index++) {
      if (this.isMissing(content, index)) this.#fetches.set(content.firstBlock + index, fetch);
    }
    return fetch;
  }

  /** The block at `position` of `fetch` is whole. */
  #deliver(fetch: BlockFetch, position: number, fromTier = false): void {
    const { content } = fetch;
    const index = fetch.first + position;
    const key = content.firstBlock + index;
    const buffer = fetch.buffers[position]!;
    fetch.buffers[position] = undefined;
    const ours = this.#fetches.get(key) === fetch;
    if (ours) this.#fetches.delete(key);
    const readers = fetch.takeReaders(position);
    let block = this.#resident.get(key);
    if (block !== undefined || !ours) {
      // Adopted meanwhile, or nobody wanted it any longer.
      this.#free(buffer);
      if (block === undefined) return;
      for (const read of readers) read.arrived(index, block);
      return;
    }
    const length = content.blockLength(index);
    block = new Block(key, this.#fitted(buffer, length), length);
    if (!fromTier) this.#tier?.put(content, index, block.slice(0, length));
    // Held, so that the first reader's reply cannot make it leave before the last has it.
    block.uses++;
    this.#resident.add(block, readers.length > 0 ? 'fresh' : 'ahead');
    for (const read of readers) read.arrived(index, block);
    this.#resident.release(block);
  }

  /** An open does not know how small the file is: its bytes move to a buffer of their size. */
  #fitted(buffer: Uint8Array, length: number): Uint8Array {
    const size = BlockPool.sizeOf(length);
    if (size >= buffer.byteLength) return buffer;
    const small = this.#pool.take(length);
    small.set(buffer.subarray(0, length));
    this.#pool.give(buffer);
    this.#budget.release(buffer.byteLength - size);
    return small;
  }

  /** A GET has ended; what it did not bring is no longer on its way. */
  #end(fetch: BlockFetch, error: unknown): void {
    fetch.ended = true;
    this.#prefetches.delete(fetch);
    this.#forget(fetch);
    for (let position = fetch.delivered; position < fetch.count; position++) {
      const buffer = fetch.buffers[position]!;
      fetch.buffers[position] = undefined;
      this.#free(buffer);
      for (const read of fetch.takeReaders(position)) read.fail(error);
    }
    if (isStoreError(error, 'corrupt') && error.details.isOfWhole) this.#spoiled(fetch.content);
    if (error !== undefined && !fetch.cancelled) this.#telemetry.count('cache.fetch_failed');
  }

  /** A read has left `fetch`: what was sent for readers ends with the last of them. */
  cancelIfUnwanted(fetch: BlockFetch): void {
    if (fetch.reason === 'demand' && !fetch.wanted) this.#cancel(fetch);
  }

  /** Ends the prefetches of a content that nobody waits for. */
  cancelPrefetches(content: StoredContent): void {
    for (const fetch of this.#prefetches) if (fetch.content === content && !fetch.wanted) this.#cancel(fetch);
  }

  #cancel(fetch: BlockFetch): void {
    if (fetch.cancelled || fetch.ended) return;
    this.#prefetches.delete(fetch);
    this.#forget(fetch);
    fetch.abort();
  }

  /** Readers no longer find this fetch. Its memory is free when the transport has let go of it, at its end. */
  #forget(fetch: BlockFetch): void {
    for (let position = fetch.delivered; position < fetch.count; position++) {
      const key = fetch.content.firstBlock + fetch.first + position;
      if (this.#fetches.get(key) === fetch) this.#fetches.delete(key);
    }
  }

  /** Somebody waits for memory: the prefetch that was sent last, and that nobody waits for, gives way. */
  cancelOnePrefetch(): void {
    let latest: BlockFetch | undefined;
    for (const fetch of this.#prefetches) if (!fetch.wanted) latest = fetch;
    if (latest !== undefined) this.#cancel(latest);
  }

  #free(buffer: Uint8Array): void {
    this.#pool.give(buffer);
    this.#budget.release(buffer.byteLength);
  }

  #countGet(fetch: BlockFetch): void {
    this.#count(fetch.reason, fetch.end - (fetch.first + fetch.delivered) * BLOCK_SIZE);
  }

  #count(reason: FetchReason, bytes: number): void {
    this.#requests[reason]++;
    this.#requestedBytes += bytes;
    this.#telemetry.count(`cache.get_${reason}`);
    this.#telemetry.count('cache.requested_bytes', bytes);
  }
}
