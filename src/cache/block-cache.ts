/**
 * Reads of stored contents: from memory, or by ranged GETs that bring the missing blocks.
 *
 * What makes it hard:
 * 1. Many readers want the same blocks at once: one GET brings each block (`BlockFetch`), whoever asks meanwhile joins it.
 * 2. Memory is short, and a reader that held some of it while waiting for more would wait for ever beside another of its
 *    kind: a read takes the memory for all that it lacks in one go, holding nothing, and only then begins.
 * 3. Prefetch must never take memory from those who wait, nor push out what is hot.
 * 4. An object may get a new key or ETag by ourselves while its blocks are on their way: see `BlockFetch.run`.
 *
 * In memory: `ResidentBlocks`. What to fetch ahead: `planRead`. A read that finds all its blocks is answered in the same
 * turn, without a promise.
 */
import type { Clock, Waiter } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { Awaitable, ReadReply } from '../fuse/ops.ts';
import type { ObjectStore, ObjectVersion } from '../s3/store.ts';
import { SecondChance } from '../second-chance.ts';
import type { Telemetry } from '../telemetry.ts';
import { PendingRead } from './block-fetch.ts';
import { BlockPool } from './block-pool.ts';
import type { BlockTier } from './block-tier.ts';
import type { FlightStats, OpenedRead } from './blocks-in-flight.ts';
import { BlocksInFlight } from './blocks-in-flight.ts';
import type { Budget } from './budget.ts';
import { ReadAhead } from './read-ahead.ts';
import type { ReadCursor } from './read-plan.ts';
import { planRead } from './read-plan.ts';
import type { ResidentStats } from './resident-blocks.ts';
import { Block, BlocksReply, OneBlockReply, ResidentBlocks } from './resident-blocks.ts';
import { BLOCK_SIZE, StoredContent } from './stored-content.ts';

const MIB = 1024 * 1024;

/** At 90 MB/s a connection and 20 ms to the first byte, 8 MiB keep a connection busy for 4/5 of its time. */
const MAX_REQUEST = 8 * MIB;

/**
 * 20 connections of 90 MB/s, each with 8 MiB under way (113 ms), bring 1.4 GB/s: more than one reader takes through the
 * kernel on two cores. Simulated scan of 2 GiB at 0.5 ms of CPU per MiB: 1.92 s with 128 MiB, 1.60 s with 160 MiB.
 */
const MAX_READ_AHEAD = 160 * MIB;

/** What scans may fetch ahead of the budget. What they have read stays until its memory is wanted: the rest of it. */
const READ_AHEAD_SHARE = 5 / 8;

/** Together with a scan's share this is all of the budget. */
const FILES_AHEAD_SHARE = 3 / 8;

/** Contents remembered by version. One costs some 300 bytes; forgetting one only costs fetching its blocks again. */
const CONTENTS_REMEMBERED = 65_536;

/** A pinned content takes at most this share of the budget, all pinned ones together. */
const PIN_SHARE = 1 / 4;

const EMPTY: ReadReply = Object.freeze({ slices: Object.freeze([]) as readonly Uint8Array[] });

export interface BlockCacheOptions {
  readonly store: ObjectStore;
  readonly budget: Budget;
  readonly pool: BlockPool;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** A place for blocks below memory. Default: none. */
  readonly tier?: BlockTier | undefined;
  /** The largest GET, in bytes; rounded down to a power of two. Default 8 MiB. */
  readonly maxRequestBytes?: number;
  /** How far all scans together may be ahead of their readers, in bytes. Default 160 MiB, at most 5/8 of the budget. */
  readonly maxReadAhead?: number;
  /** Versions whose identity is remembered. Default 65,536. */
  readonly versions?: number;
}

export interface BlockCacheStats extends ResidentStats, FlightStats {
  /** Blocks that reads found in memory, joined on their way, or had to fetch. */
  readonly hits: number;
  readonly joined: number;
  readonly misses: number;
}

export class BlockCache {
  readonly #budget: Budget;
  readonly #contents: SecondChance<string, StoredContent>;
  readonly #resident: ResidentBlocks;
  readonly #inFlight: BlocksInFlight;
  readonly #ahead: ReadAhead;
  /** How often each pinned content was pinned. */
  readonly #pins = new Map<StoredContent, number>();
  #pinnedBytes = 0;
  readonly #free: (buffer: Uint8Array) => void;
  readonly #tier: BlockTier | undefined;

  #hits = 0;
  #joined = 0;
  #misses = 0;

  constructor(options: BlockCacheOptions) {
    const { budget, pool, clock } = options;
    const maxRequestBytes = powerOfTwoBelow(Math.max(options.maxRequestBytes ?? MAX_REQUEST, BLOCK_SIZE));
    const maxReadAhead = options.maxReadAhead ?? Math.min(MAX_READ_AHEAD, budget.total * READ_AHEAD_SHARE);
    this.#budget = budget;
    this.#contents = new SecondChance(options.versions ?? CONTENTS_REMEMBERED);
    this.#tier = options.tier;
    this.#free = buffer => {
      pool.give(buffer);
      budget.release(buffer.byteLength);
    };
    const resident = new ResidentBlocks(budget.total, this.#free, () => {
      // Nothing was released, but whoever waits can have this block's memory now.
      if (budget.waiting > 0) budget.release(0);
    });
    const inFlight = new BlocksInFlight({
      ...options,
      maxRequestBytes,
      resident,
      contentOf: info => this.contentOf(info),
      spoiled: content => {
        content.spoil();
        this.drop(content);
        this.#tier?.distrust(content);
      },
    });
    const ahead = new ReadAhead({ budget, resident, inFlight, clock, maxReadAhead, maxRequestBytes });
    budget.addReclaimer(bytes => resident.evict(bytes, ahead.asking));
    budget.onPressure(() => inFlight.cancelOnePrefetch());
    this.#tier?.attach((content, index) => {
      const block = resident.get(content.firstBlock + index);
      return block?.slice(0, block.length);
    });
    this.#resident = resident;
    this.#inFlight = inFlight;
    this.#ahead = ahead;
  }

  get stats(): BlockCacheStats {
    return {
      ...this.#resident.stats,
      ...this.#inFlight.stats,
      hits: this.#hits,
      joined: this.#joined,
      misses: this.#misses,
    };
  }

  /** Bytes that whole files may be ahead of who reads them one after the other: room is left for the scan that reads one. */
  get aheadShare(): number {
    return this.#budget.total * FILES_AHEAD_SHARE;
  }

  /** The content of a version: the same object for the same key and ETag as long as it is remembered. */
  contentOf(version: ObjectVersion): StoredContent {
    const name = nameOf(version);
    const known = this.#contents.get(name);
    if (known !== undefined && known.size === version.size) return known;
    const content = new StoredContent(version);
    this.#contents.set(name, content);
    return content;
  }

  /** The content of a version, if it is remembered. */
  remembered(version: Pick<ObjectVersion, 'key' | 'etag'>): StoredContent | undefined {
    return this.#contents.peek(nameOf(version));
  }

  /** Our own metadata change, copy or rename: the same bytes now have this version. */
  moved(content: StoredContent, successor: ObjectVersion): void {
    if (successor.size !== content.size) {
      throw new Error(`${successor.key} has ${successor.size} bytes: no successor of a content of ${content.size}`);
    }
    this.#tier?.moved(content, successor);
    const before = nameOf(content.version);
    if (this.#contents.peek(before) === content) this.#contents.delete(before);
    content.version = successor;
    this.#contents.set(nameOf(successor), content);
  }

  /**
   * `length` bytes at `offset` of `content`, at most to its end. Answers at once when all of them are in memory. Rejects
   * with a `StoreError`, of kind `aborted` when the signal of `waiter` aborts.
   */
  read(
    content: StoredContent,
    offset: number,
    length: number,
    cursor?: ReadCursor,
    waiter?: Waiter,
  ): Awaitable<ReadReply> {
    const end = Math.min(offset + length, content.size);
    if (offset >= end) return EMPTY;
    const plan = cursor === undefined ? undefined : planRead(cursor, offset, length, content.size, this.#ahead.limits);
    const first = Math.floor(offset / BLOCK_SIZE);
    const last = Math.floor((end - 1) / BLOCK_SIZE);
    const reply =
      this.#readResident(content, offset, end, first, last) ??
      this.#readMissing(content, offset, end, plan?.until ?? 0, waiter?.signal);
    if (plan !== undefined && plan.ahead.length > 0) this.#ahead.follow(content, cursor!, plan);
    return reply;
  }

  /**
   * Sends the first GET of an open: the first `bytes` bytes (the expected size, or a multiple of BLOCK_SIZE), without
   * If-Match. Resolves when the headers are in; the body goes on filling blocks, which later reads join.
   */
  openRead(key: string, bytes: number, signal?: AbortSignal): Promise<OpenedRead> {
    return this.#inFlight.openRead(key, bytes, signal);
  }

  /**
   * `openRead` for a file that will probably be opened next. Undefined, and nothing sent, where there is no memory to
   * spare.
   */
  openAhead(key: string, bytes: number): Promise<OpenedRead> | undefined {
    return this.#ahead.openAhead(key, bytes);
  }

  /** Fetches blocks before somebody asks, as far as there is memory to spare. */
  prefetch(content: StoredContent, offset: number, length: number): void {
    this.#ahead.prefetch(content, offset, length);
  }

  /** True if block `blockIndex` is in memory. */
  has(content: StoredContent, blockIndex: number): boolean {
    return blockIndex < content.blockCount && this.#resident.get(content.firstBlock + blockIndex) !== undefined;
  }

  /** True if block `blockIndex` is in memory, in the tier or on its way: a read of it sends no request. */
  expects(content: StoredContent, blockIndex: number): boolean {
    if (blockIndex >= content.blockCount) return false;
    return !this.#inFlight.isMissing(content, blockIndex) || this.#inTier(content, blockIndex);
  }

  /** True if block `blockIndex` is in memory or in the tier. */
  isLocal(content: StoredContent, blockIndex: number): boolean {
    return this.has(content, blockIndex) || (blockIndex < content.blockCount && this.#inTier(content, blockIndex));
  }

  #inTier(content: StoredContent, blockIndex: number): boolean {
    return this.#tier?.has(content, blockIndex) ?? false;
  }

  /**
   * Takes over the buffer of a finished block: it must come from the pool, and its `byteLength` bytes of the budget pass
   * to the cache with it.
   */
  adopt(content: StoredContent, blockIndex: number, buffer: Uint8Array): void {
    // The next number is another content's first block.
    if (blockIndex >= content.blockCount) throw new RangeError(`${content.version.key} has no block ${blockIndex}`);
    const key = content.firstBlock + blockIndex;
    if (this.#resident.get(key) !== undefined) {
      this.#free(buffer);
      return;
    }
    const block = new Block(key, buffer, content.blockLength(blockIndex));
    this.#tier?.put(content, blockIndex, block.slice(0, block.length));
    this.#resident.add(block, 'fresh');
  }

  /** After a save: blocks of `from` for which `unchanged(blockIndex)` holds become blocks of `to`, where they fit. */
  inherit(from: StoredContent, to: StoredContent, unchanged: (blockIndex: number) => boolean): void {
    if (from === to) return;
    for (const block of this.#blocksOf(from)) {
      const index = block.key - from.firstBlock;
      if (index >= to.blockCount || to.blockLength(index) !== block.length || !unchanged(index)) continue;
      const key = to.firstBlock + index;
      if (this.#resident.get(key) !== undefined || block.place === 'pinned') continue;
      this.#resident.rename(block, key);
    }
  }

  /** The end: what the tier has not written yet is written. Never rejects. */
  async close(): Promise<void> {
    await this.#tier?.close();
  }

  /** Gives up all blocks of a content but pinned ones. */
  drop(content: StoredContent): void {
    for (const block of this.#blocksOf(content)) {
      if (block.place !== 'pinned') this.#resident.remove(block);
    }
    this.#inFlight.cancelPrefetches(content);
  }

  /**
   * Fetches what is missing of `content` and keeps all of it in memory until `unpin`. False if the budget has no room for
   * it. Rejects like `read`.
   */
  async pin(content: StoredContent, signal?: AbortSignal): Promise<boolean> {
    const { size } = content;
    if (!this.#pins.has(content)) {
      if (this.#pinnedBytes + size > this.#budget.total * PIN_SHARE) return false;
      this.#pinnedBytes += size;
      // Nothing is pinned before all of it is there: a pin that waited for memory while holding some could wait for ever.
      let reply: ReadReply;
      try {
        reply = await this.read(content, 0, size, undefined, signal && { signal });
      } catch (error) {
        this.#pinnedBytes -= size;
        throw error;
      }
      const blocks = this.#blocksOf(content);
      const whole = blocks.length === content.blockCount;
      if (whole && !this.#pins.has(content)) for (const block of blocks) this.#resident.move(block, 'pinned');
      else this.#pinnedBytes -= size;
      reply.release?.();
      if (!whole) return false;
    }
    this.#pins.set(content, (this.#pins.get(content) ?? 0) + 1);
    return true;
  }

  unpin(content: StoredContent): void {
    const pins = this.#pins.get(content);
    if (pins === undefined) return;
    if (pins > 1) {
      this.#pins.set(content, pins - 1);
      return;
    }
    this.#pins.delete(content);
    this.#pinnedBytes -= content.size;
    for (const block of this.#blocksOf(content)) if (block.place === 'pinned') this.#resident.move(block, 'fresh');
  }

  #readResident(
    content: StoredContent,
    offset: number,
    end: number,
    first: number,
    last: number,
  ): ReadReply | undefined {
    const resident = this.#resident;
    const from = offset - first * BLOCK_SIZE;
    const to = end - last * BLOCK_SIZE;
    const block = resident.get(content.firstBlock + first);
    if (block === undefined) return undefined;
    if (first === last) {
      this.#hits++;
      resident.touch(block, from, to);
      return new OneBlockReply(resident, block, from, to);
    }
    const held = [block];
    for (let index = first + 1; index <= last; index++) {
      const next = resident.get(content.firstBlock + index);
      if (next === undefined) return undefined;
      held.push(next);
    }
    this.#hits += held.length;
    for (let i = 0; i < held.length; i++) {
      const each = held[i]!;
      each.uses++;
      resident.touch(each, i === 0 ? from : 0, i === held.length - 1 ? to : each.length);
    }
    return new BlocksReply(resident, held, from, to);
  }

  /** `until`: the GET may go on to this offset if one is sent at all. */
  #readMissing(
    content: StoredContent,
    offset: number,
    end: number,
    until: number,
    signal: AbortSignal | undefined,
  ): Promise<ReadReply> {
    const first = Math.floor(offset / BLOCK_SIZE);
    const last = Math.floor((end - 1) / BLOCK_SIZE);
    const furthest = Math.max(last, Math.ceil(until / BLOCK_SIZE) - 1);
    const granted = this.#inFlight.missingBytes(content, first, last);
    const waiting = granted === 0 ? undefined : this.#budget.acquire(granted, 0, signal);
    if (waiting === undefined) {
      // To take memory others' blocks were given up, perhaps some that this read counted on.
      if (this.#inFlight.missingBytes(content, first, last) <= granted) {
        return this.#begin(content, offset, end, furthest, granted, signal);
      }
      this.#budget.release(granted);
      return this.#readWithWholeMemory(content, offset, end, signal);
    }
    return waiting.then(() => {
      if (this.#inFlight.missingBytes(content, first, last) <= granted) {
        return this.#begin(content, offset, end, last, granted, signal);
      }
      this.#budget.release(granted);
      return this.#readWithWholeMemory(content, offset, end, signal);
    });
  }

  /** With memory for every block of the read nothing that happens meanwhile can make it wait for more. */
  async #readWithWholeMemory(
    content: StoredContent,
    offset: number,
    end: number,
    signal: AbortSignal | undefined,
  ): Promise<ReadReply> {
    const first = Math.floor(offset / BLOCK_SIZE);
    const last = Math.floor((end - 1) / BLOCK_SIZE);
    let whole = 0;
    for (let index = first; index <= last; index++) whole += BlockPool.sizeOf(content.blockLength(index));
    await this.#budget.acquire(whole, 0, signal);
    return this.#begin(content, offset, end, last, whole, signal);
  }

  /** Holds what is there, joins what is on its way, fetches the rest with the `granted` bytes of memory. */
  #begin(
    content: StoredContent,
    offset: number,
    end: number,
    furthest: number,
    granted: number,
    signal: AbortSignal | undefined,
  ): Promise<ReadReply> {
    if (signal?.aborted) {
      this.#budget.release(granted);
      return Promise.reject(new StoreError('aborted', 'the read was interrupted'));
    }
    const first = Math.floor(offset / BLOCK_SIZE);
    const last = Math.floor((end - 1) / BLOCK_SIZE);
    const read = new PendingRead(
      this.#resident,
      first,
      last - first + 1,
      offset - first * BLOCK_SIZE,
      end - last * BLOCK_SIZE,
      signal,
      fetch => this.#inFlight.cancelIfUnwanted(fetch),
    );
    let unused = granted;
    let ours = first;
    for (let index = first; index <= last; index++) {
      const block = this.#resident.get(content.firstBlock + index);
      if (block !== undefined) {
        this.#hits++;
        read.have(index, block);
        continue;
      }
      if (this.#inFlight.isMissing(content, index)) {
        ours = index + 1;
        while (ours <= last && this.#inFlight.isMissing(content, ours)) ours++;
        this.#misses += ours - index;
        unused -= this.#inFlight.missingBytes(content, index, ours - 1);
        if (ours > last) ours = this.#extend(content, ours, furthest);
        this.#inFlight.fetch(content, index, ours, 'demand');
      } else if (index >= ours) {
        this.#joined++;
      }
      read.await(index, this.#inFlight.get(content.firstBlock + index)!);
    }
    if (unused > 0) this.#budget.release(unused);
    read.completeIfWhole();
    return read.promise;
  }

  /** A GET that is sent anyway brings the blocks from `index` up to `furthest` too, as far as there is memory to spare. */
  #extend(content: StoredContent, index: number, furthest: number): number {
    let next = index;
    while (next <= furthest && this.#inFlight.isMissing(content, next)) {
      if (!this.#ahead.spareMemory(BlockPool.sizeOf(content.blockLength(next)))) break;
      next++;
    }
    return next;
  }

  #blocksOf(content: StoredContent): readonly Block[] {
    const resident = this.#resident;
    const { firstBlock, blockCount } = content;
    const found: Block[] = [];
    if (blockCount <= resident.size) {
      for (let index = 0; index < blockCount; index++) {
        const block = resident.get(firstBlock + index);
        if (block !== undefined) found.push(block);
      }
    } else {
      for (const key of resident.keys()) {
        if (key >= firstBlock && key < firstBlock + blockCount) found.push(resident.get(key)!);
      }
    }
    return found;
  }
}

function nameOf(version: Pick<ObjectVersion, 'key' | 'etag'>): string {
  return `${version.key}\0${version.etag}`;
}

function powerOfTwoBelow(bytes: number): number {
  return 2 ** Math.floor(Math.log2(bytes));
}
