/**
 * Unsaved bytes in memory, by block: which bytes of the block are unsaved, and a buffer over them.
 *
 * 1. Small files and scattered small writes must not take a whole block each: a buffer begins small and grows.
 * 2. A part that is being sent must not change under the request: a write to a frozen buffer makes a copy first.
 * 3. The memory has to be admitted before: `cost` tells exactly what `write` will take, if nothing happens in between.
 */
import { RangeSet } from './ranges.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { HeldBuffer, UnsavedMemory } from './unsaved-memory.ts';

/** Buffers start and end at multiples of this within a block: the page size of those who write by pages. */
const STEP = 4096;

export interface DirtyBlock {
  readonly buffer: HeldBuffer;
  /** Where in the block the buffer begins. */
  readonly start: number;
  /** Which bytes of the block are unsaved and in the buffer; offsets from the block's start. */
  readonly ranges: RangeSet;
}

/** Where a buffer should lie in its block. */
interface Fit {
  readonly start: number;
  readonly capacity: number;
}

export class DirtyBlocks {
  readonly #memory: UnsavedMemory;
  readonly #blocks = new Map<number, DirtyBlock>();
  #bytes = 0;

  constructor(memory: UnsavedMemory) {
    this.#memory = memory;
  }

  /** Unsaved bytes in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#blocks.size;
  }

  get(index: number): DirtyBlock | undefined {
    return this.#blocks.get(index);
  }

  /** In order of first write. */
  entries(): IterableIterator<[number, DirtyBlock]> {
    return this.#blocks.entries();
  }

  /** True if all of `start` … `end` is unsaved and in memory, or `other` has it. */
  covers(start: number, end: number, other: RangeSet): boolean {
    const coversWithin = (index: number): boolean => {
      const from = Math.max(start, index * BLOCK_SIZE);
      const to = Math.min(end, (index + 1) * BLOCK_SIZE);
      const ranges = this.#blocks.get(index)?.ranges;
      const base = index * BLOCK_SIZE;
      if (ranges?.covers(from - base, to - base)) return true;
      if (other.isEmpty) return false;
      if (other.covers(from, to)) return true;
      if (!ranges?.intersects(from - base, to - base)) return false;
      const both = RangeSet.of();
      ranges.visit(from - base, to - base, (a, b) => both.add(a + base, b + base));
      other.visit(from, to, (a, b) => both.add(a, b));
      return both.covers(from, to);
    };
    const first = Math.floor(start / BLOCK_SIZE);
    const last = Math.ceil(end / BLOCK_SIZE) - 1;
    // From the end: a range that is being written in sequence lacks its last block until it is complete.
    for (let index = last; index >= first; index--) if (!coversWithin(index)) return false;
    return true;
  }

  /** Bytes of the budget that a write of `length` bytes at `offset` takes now. */
  cost(offset: number, length: number): number {
    let cost = 0;
    for (let at = offset; at < offset + length; ) {
      const index = Math.floor(at / BLOCK_SIZE);
      const end = Math.min(offset + length, (index + 1) * BLOCK_SIZE);
      const fit = this.#fit(index, at - index * BLOCK_SIZE, end - index * BLOCK_SIZE);
      if (fit) cost += this.#memory.costOf(fit.capacity);
      at = end;
    }
    return cost;
  }

  /** The most that a write of `length` bytes at `offset` can take, whatever happens before it. */
  worstCost(offset: number, length: number): number {
    if (length === 0) return 0;
    const blocks = Math.floor((offset + length - 1) / BLOCK_SIZE) - Math.floor(offset / BLOCK_SIZE) + 1;
    return blocks * this.#memory.costOf(BLOCK_SIZE);
  }

  /** Copies `data` in. Returns how many of the admitted bytes it used. */
  write(offset: number, data: Uint8Array): number {
    let used = 0;
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const index = Math.floor(at / BLOCK_SIZE);
      const from = at - index * BLOCK_SIZE;
      const take = Math.min(data.length - done, BLOCK_SIZE - from);
      let block = this.#blocks.get(index);
      const fit = this.#fit(index, from, from + take);
      if (fit) {
        const buffer = this.#memory.take(fit.capacity);
        used += buffer.cost;
        block = this.#refit(index, block, buffer, fit.start);
      }
      block!.buffer.crc32 = undefined;
      block!.buffer.bytes.set(
        done === 0 && take === data.length ? data : data.subarray(done, done + take),
        from - block!.start,
      );
      const before = block!.ranges.bytes;
      block!.ranges.add(from, from + take);
      this.#bytes += block!.ranges.bytes - before;
      done += take;
    }
    return used;
  }

  /** Forgets what is unsaved in `start` … `end`. */
  remove(start: number, end: number): void {
    if (this.#blocks.size === 0) return;
    const first = Math.floor(start / BLOCK_SIZE);
    const last = Math.ceil(end / BLOCK_SIZE) - 1;
    if (last - first < this.#blocks.size) {
      for (let index = first; index <= last; index++) this.#removeFrom(index, start, end);
    } else {
      for (const index of [...this.#blocks.keys()]) {
        if (index >= first && index <= last) this.#removeFrom(index, start, end);
      }
    }
  }

  /** Forgets all but what is in `kept`. */
  keepOnly(kept: RangeSet): void {
    for (const [index, block] of [...this.#blocks]) {
      const here = RangeSet.of();
      const base = index * BLOCK_SIZE;
      kept.visit(base, base + BLOCK_SIZE, (a, b) => here.add(a - base, b - base));
      const before = block.ranges.bytes;
      block.ranges.keepOnly(here);
      this.#bytes += block.ranges.bytes - before;
      if (block.ranges.isEmpty) this.#delete(index, block);
    }
  }

  /** Takes `ranges` (of the block) out, which are safe elsewhere now; frees the buffer when nothing is left. */
  removeRanges(index: number, ranges: RangeSet): void {
    const block = this.#blocks.get(index);
    if (!block) return;
    const before = block.ranges.bytes;
    block.ranges.removeAll(ranges);
    this.#bytes += block.ranges.bytes - before;
    if (block.ranges.isEmpty) this.#delete(index, block);
  }

  clear(): void {
    for (const [index, block] of [...this.#blocks]) this.#delete(index, block);
    this.#bytes = 0;
  }

  #removeFrom(index: number, start: number, end: number): void {
    const block = this.#blocks.get(index);
    if (!block) return;
    const base = index * BLOCK_SIZE;
    const before = block.ranges.bytes;
    block.ranges.remove(Math.max(0, start - base), Math.min(BLOCK_SIZE, end - base));
    this.#bytes += block.ranges.bytes - before;
    if (block.ranges.isEmpty) this.#delete(index, block);
  }

  #delete(index: number, block: DirtyBlock): void {
    this.#blocks.delete(index);
    this.#memory.drop(block.buffer);
  }

  /** Puts `buffer`, which begins at `start` of the block, in the place of the one that `block` has. */
  #refit(index: number, block: DirtyBlock | undefined, buffer: HeldBuffer, start: number): DirtyBlock {
    const next: DirtyBlock = { buffer, start, ranges: block?.ranges ?? new RangeSet() };
    if (block) {
      next.ranges.visit(0, BLOCK_SIZE, (a, b) => {
        buffer.bytes.set(block.buffer.bytes.subarray(a - block.start, b - block.start), a - start);
      });
      this.#memory.drop(block.buffer);
    }
    this.#blocks.set(index, next);
    return next;
  }

  /** The buffer that a write of `from` … `to` of block `index` needs; undefined if the one that is there will do. */
  #fit(index: number, from: number, to: number): Fit | undefined {
    const block = this.#blocks.get(index);
    if (!block) {
      if (from === 0 && to < BLOCK_SIZE && this.#endsFull(index - 1)) return { start: 0, capacity: BLOCK_SIZE };
      return fitOf(from, to, 0);
    }
    const capacity = Math.min(block.buffer.bytes.length, BLOCK_SIZE - block.start);
    const covered = from >= block.start && to <= block.start + capacity;
    if (covered && block.buffer.frozen === 0) return undefined;
    if (covered) return { start: block.start, capacity };
    // Twice as much each time, so that appending byte by byte copies each byte about twice.
    const grow = from >= block.start ? 2 * capacity : 0;
    return fitOf(Math.min(from, block.start), Math.max(to, block.start + capacity), grow);
  }

  /** True where the block is unsaved up to its end, as it is when a program writes in sequence. */
  #endsFull(index: number): boolean {
    return this.#blocks.get(index)?.ranges.has(BLOCK_SIZE - 1) ?? false;
  }
}

/** A buffer over `from` … `to` of a block, of `least` bytes if there is room for them. */
function fitOf(from: number, to: number, least: number): Fit {
  const start = Math.floor(from / STEP) * STEP;
  const capacity = Math.min(Math.ceil(Math.max(to - start, least) / STEP) * STEP, BLOCK_SIZE - start);
  // The pool has no sizes between a half block and a whole one.
  return capacity > BLOCK_SIZE / 2 ? { start: 0, capacity: BLOCK_SIZE } : { start, capacity };
}
