/**
 * The blocks that are in memory, whole, and which of them go first when memory is short.
 *
 * Three queues, each least recently used first. *ahead*: fetched before anybody asked. *fresh*: read once; a scan passes
 * through here, and here it stays, since blocks are taken from this queue first. *hot*: bytes of it were read again.
 * So a scan of any length costs the hot set nothing. Pinned blocks are in no queue.
 *
 * A block whose bytes are being written to the kernel is in use: it may leave its queue, but its buffer goes back to the
 * pool only when the last reply has been released.
 */
import { LRUCache } from 'lru-cache';
import type { ReadReply } from '../fuse/ops.ts';
import { BLOCK_SIZE } from './stored-content.ts';

/** Where a block is. */
export type Place = 'ahead' | 'fresh' | 'hot' | 'pinned' | 'gone';

/** A finished block: bytes that never change. */
export class Block {
  /** `content.firstBlock + index`. */
  key: number;
  readonly buffer: Uint8Array;
  /** Bytes of content in `buffer`, from its start. */
  readonly length: number;
  place: Place = 'gone';
  /** Replies and waiting reads that hold it. */
  uses = 0;
  /** What was read of it so far lies between these offsets. */
  readFrom = BLOCK_SIZE;
  readTo = 0;

  constructor(key: number, buffer: Uint8Array, length: number) {
    this.key = key;
    this.buffer = buffer;
    this.length = length;
  }

  slice(from: number, to: number): Uint8Array {
    return from === 0 && to === this.buffer.byteLength ? this.buffer : this.buffer.subarray(from, to);
  }
}

/** Shares of the budget. Hot blocks leave room for a scan's window, and what was fetched ahead for what is in use. */
const HOT_SHARE = 5 / 8;
const AHEAD_SHARE = 5 / 8;

/** Below this share blocks read once are left alone, or a new working set could never be noticed beside the others. */
const FRESH_FLOOR = 1 / 8;

export interface ResidentStats {
  readonly aheadBytes: number;
  readonly freshBytes: number;
  readonly hotBytes: number;
  readonly pinnedBytes: number;
  readonly evictedBlocks: number;
}

export class ResidentBlocks {
  readonly #index = new Map<number, Block>();
  readonly #ahead: LRUCache<number, Block>;
  readonly #fresh: LRUCache<number, Block>;
  readonly #hot: LRUCache<number, Block>;
  readonly #free: (buffer: Uint8Array) => void;
  readonly #idle: () => void;
  readonly #freshFloor: number;
  #pinnedBytes = 0;
  #evicted = 0;

  /**
   * `total`: the budget in bytes. `free` takes back a buffer that nobody uses, and its memory. `idle` is told when a block
   * could be evicted that could not before: somebody may be waiting for just that.
   */
  constructor(total: number, free: (buffer: Uint8Array) => void, idle: () => void) {
    this.#free = free;
    this.#idle = idle;
    this.#freshFloor = total * FRESH_FLOOR;
    // No `max`: it would allocate its arrays in full at the start.
    this.#fresh = new LRUCache({
      maxSize: Math.max(Math.floor(total), BLOCK_SIZE),
      dispose: (block, _key, reason) => {
        if (reason === 'evict') this.#leave(block);
      },
    });
    const toFresh = (block: Block, _key: number, reason: string): void => {
      if (reason === 'evict') this.#enter(block, 'fresh');
    };
    this.#hot = new LRUCache({ maxSize: Math.max(Math.floor(total * HOT_SHARE), BLOCK_SIZE), dispose: toFresh });
    this.#ahead = new LRUCache({ maxSize: Math.max(Math.floor(total * AHEAD_SHARE), BLOCK_SIZE), dispose: toFresh });
  }

  get stats(): ResidentStats {
    return {
      aheadBytes: this.#ahead.calculatedSize,
      freshBytes: this.#fresh.calculatedSize,
      hotBytes: this.#hot.calculatedSize,
      pinnedBytes: this.#pinnedBytes,
      evictedBlocks: this.#evicted,
    };
  }

  get size(): number {
    return this.#index.size;
  }

  /** Bytes that prefetch may take the place of. */
  get expendable(): number {
    return this.#fresh.calculatedSize;
  }

  get(key: number): Block | undefined {
    return this.#index.get(key);
  }

  keys(): Iterable<number> {
    return this.#index.keys();
  }

  /** A block becomes resident; its key must be free. */
  add(block: Block, place: Exclude<Place, 'gone'>): void {
    this.#index.set(block.key, block);
    this.#enter(block, place);
    if (block.uses === 0) this.#idle();
  }

  /** Bytes `from` … `to` of `block` are about to be read. */
  touch(block: Block, from: number, to: number): void {
    const again = from < block.readTo && to > block.readFrom;
    if (from < block.readFrom) block.readFrom = from;
    if (to > block.readTo) block.readTo = to;
    switch (block.place) {
      case 'hot':
        this.#hot.get(block.key);
        return;
      case 'ahead':
        this.move(block, 'fresh');
        return;
      case 'fresh':
        if (again) this.move(block, 'hot');
        else this.#fresh.get(block.key);
    }
  }

  move(block: Block, place: Exclude<Place, 'gone'>): void {
    const wasPinned = block.place === 'pinned';
    this.#unlist(block);
    this.#enter(block, place);
    if (wasPinned && block.uses === 0) this.#idle();
  }

  /** The same bytes are now those of block `key`, which must be free. */
  rename(block: Block, key: number): void {
    const place = block.place;
    if (place === 'gone') throw new Error('a block that is gone was renamed');
    this.#unlist(block);
    this.#index.delete(block.key);
    block.key = key;
    this.add(block, place);
  }

  /** Takes a block out, whatever its place. */
  remove(block: Block): void {
    this.#unlist(block);
    this.#leave(block);
  }

  release(block: Block): void {
    block.uses--;
    if (block.uses > 0) return;
    if (block.place === 'gone') this.#free(block.buffer);
    else this.#idle();
  }

  /**
   * Frees at least `bytes` if it can, least valuable first; returns how many it freed. `forPrefetch`: only blocks that were
   * read once.
   */
  evict(bytes: number, forPrefetch: boolean): number {
    let freed = 0;
    while (freed < bytes) {
      const block = this.#victim(forPrefetch);
      if (block === undefined) break;
      freed += block.buffer.byteLength;
      this.#evicted++;
      this.remove(block);
    }
    return freed;
  }

  #victim(forPrefetch: boolean): Block | undefined {
    if (forPrefetch) return oldestIdle(this.#fresh);
    const plenty = this.#fresh.calculatedSize > this.#freshFloor ? oldestIdle(this.#fresh) : undefined;
    return plenty ?? oldestIdle(this.#ahead) ?? oldestIdle(this.#hot) ?? oldestIdle(this.#fresh);
  }

  #enter(block: Block, place: Exclude<Place, 'gone'>): void {
    const size = block.buffer.byteLength;
    block.place = place;
    if (place === 'pinned') {
      this.#pinnedBytes += size;
      return;
    }
    const queue = place === 'ahead' ? this.#ahead : place === 'hot' ? this.#hot : this.#fresh;
    queue.set(block.key, block, { size });
  }

  /** Out of its queue, still in the index. */
  #unlist(block: Block): void {
    switch (block.place) {
      case 'pinned':
        this.#pinnedBytes -= block.buffer.byteLength;
        return;
      case 'ahead':
        this.#ahead.delete(block.key);
        return;
      case 'fresh':
        this.#fresh.delete(block.key);
        return;
      case 'hot':
        this.#hot.delete(block.key);
    }
  }

  #leave(block: Block): void {
    this.#index.delete(block.key);
    block.place = 'gone';
    if (block.uses === 0) this.#free(block.buffer);
  }
}

/** What is in use is passed over: it frees nothing now, and somebody reads it. */
function oldestIdle(queue: LRUCache<number, Block>): Block | undefined {
  for (const key of queue.rkeys()) {
    const block = queue.peek(key)!;
    if (block.uses === 0) return block;
  }
  return undefined;
}

/** Bytes of one block. */
export class OneBlockReply implements ReadReply {
  readonly slices: readonly Uint8Array[];
  readonly #blocks: ResidentBlocks;
  #block: Block | undefined;

  constructor(blocks: ResidentBlocks, block: Block, from: number, to: number) {
    block.uses++;
    this.#blocks = blocks;
    this.#block = block;
    this.slices = [block.slice(from, to)];
  }

  release(): void {
    const block = this.#block;
    if (block === undefined) return;
    this.#block = undefined;
    this.#blocks.release(block);
  }
}

/** Bytes of several blocks, which the caller holds already. */
export class BlocksReply implements ReadReply {
  readonly slices: readonly Uint8Array[];
  readonly #blocks: ResidentBlocks;
  #held: readonly Block[];

  /** From byte `from` of the first to byte `to` of the last. */
  constructor(blocks: ResidentBlocks, held: readonly Block[], from: number, to: number) {
    this.#blocks = blocks;
    this.#held = held;
    const last = held.length - 1;
    this.slices = held.map((block, i) => block.slice(i === 0 ? from : 0, i === last ? to : block.length));
  }

  release(): void {
    const held = this.#held;
    this.#held = [];
    for (const block of held) this.#blocks.release(block);
  }
}
