/**
 * What a file holds beyond its stored content: unsaved bytes in memory, in the spool, or sent and let go, zeros, the size.
 *
 * 1. Each byte below `size` has one source, the first that has it: memory, spool, sent, zero, stored. Stored bytes count
 *    only below `limit`, the smallest size that the file has had since: what was cut off must not come back when it grows.
 * 2. A save takes time, and writes go on during it. So a save works on a *capture* of one moment, whose buffers are frozen,
 *    and `since` collects what is touched after that moment. If the save succeeds, what lies outside `since` is saved and
 *    forgotten; if it fails, nothing has changed and there is nothing to put back.
 * 3. The spool has one place for each byte. Bytes that a capture reads there must not be overwritten by later ones:
 *    `maySpool` tells which blocks have to stay in memory until the save has ended.
 * 4. What is `sent` is in parts of an upload that is not completed, and nowhere else: it can be neither read nor changed
 *    before a save has made it stored. Whoever reads or writes has to see to that first.
 */
import { type DirtyBlock, DirtyBlocks } from './dirty-blocks.ts';
import { RangeSet } from './ranges.ts';
import type { SpoolFile } from './spool.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';

export type ByteSource = 'memory' | 'spool' | 'sent' | 'zero' | 'stored';

/** What tells of each byte where it is: the overlay as it is now, or a capture of it. */
export interface Layered {
  readonly blocks: { get(index: number): DirtyBlock | undefined };
  readonly spooled: RangeSet;
  readonly sent: RangeSet;
  readonly zero: RangeSet;
  readonly limit: number;
}

/** For `covers`: no other place. */
const NOTHING = new RangeSet();

/** Calls `each` with what lies in `start` … `end`, in order, each range of one source and, from memory, of one block. */
export function visitSources(
  layered: Layered,
  start: number,
  end: number,
  each: (source: ByteSource, start: number, end: number, block: DirtyBlock | undefined) => void,
): void {
  const beneath = (from: number, to: number): void => {
    for (let at = from; at < to; ) {
      let next: number;
      let source: ByteSource;
      if (layered.spooled.has(at)) {
        source = 'spool';
        next = layered.spooled.nextEdge(at);
      } else {
        next = Math.min(layered.spooled.nextEdge(at), layered.sent.nextEdge(at));
        if (layered.sent.has(at)) source = 'sent';
        else if (at >= layered.limit) source = 'zero';
        else {
          source = layered.zero.has(at) ? 'zero' : 'stored';
          next = Math.min(next, layered.zero.nextEdge(at), layered.limit);
        }
      }
      next = Math.min(next, to);
      each(source, at, next, undefined);
      at = next;
    }
  };
  for (let at = start; at < end; ) {
    const index = Math.floor(at / BLOCK_SIZE);
    const base = index * BLOCK_SIZE;
    const blockEnd = Math.min(end, base + BLOCK_SIZE);
    const block = layered.blocks.get(index);
    if (!block) beneath(at, blockEnd);
    else {
      block.ranges.visit(at - base, blockEnd - base, (from, to) => {
        if (at < from + base) beneath(at, from + base);
        each('memory', from + base, to + base, block);
        at = to + base;
      });
      if (at < blockEnd) beneath(at, blockEnd);
    }
    at = blockEnd;
  }
}

/** The overlay of one moment. Its buffers stay as they were until `release`. */
export interface Capture extends Layered {
  readonly size: number;
  readonly generation: number;
  readonly blocks: Map<number, DirtyBlock>;
  spoolFile: SpoolFile | undefined;
  release(): void;
}

export class Overlay {
  readonly blocks: DirtyBlocks;
  readonly spooled = new RangeSet();
  readonly sent = new RangeSet();
  readonly zero = new RangeSet();
  spoolFile: SpoolFile | undefined;
  #memory: UnsavedMemory;
  #size: number;
  #limit: number;
  #generation = 0;
  /** What was touched since the capture of the save in progress, and the smallest size since then. */
  #since: { readonly touched: RangeSet; capture: Capture | undefined; limit: number } | undefined;

  constructor(memory: UnsavedMemory, size: number) {
    this.#memory = memory;
    this.blocks = new DirtyBlocks(memory);
    this.#size = size;
    this.#limit = size;
  }

  get size(): number {
    return this.#size;
  }

  get limit(): number {
    return this.#limit;
  }

  /** Goes up with each change. */
  get generation(): number {
    return this.#generation;
  }

  /** Bytes written and not stored, wherever they are. */
  get unsavedBytes(): number {
    return this.blocks.bytes + this.spooled.bytes + this.sent.bytes;
  }

  /** True where all bytes are those of the stored content. */
  get isEmpty(): boolean {
    return this.#size === this.#limit && this.zero.isEmpty && this.unsavedBytes === 0;
  }

  /** Returns how many of the admitted bytes were used. */
  write(offset: number, data: Uint8Array): number {
    if (data.length === 0) return 0;
    const end = offset + data.length;
    this.#expectAtHand(offset, end);
    const used = this.blocks.write(offset, data);
    this.spooled.remove(offset, end);
    this.zero.remove(offset, end);
    if (end > this.#size) this.#size = end;
    this.#touched(offset, end);
    return used;
  }

  truncate(size: number): void {
    if (size < this.#size) {
      this.blocks.remove(size, this.#size);
      this.spooled.remove(size, Number.POSITIVE_INFINITY);
      this.sent.remove(size, Number.POSITIVE_INFINITY);
      this.zero.remove(size, Number.POSITIVE_INFINITY);
      this.#limit = Math.min(this.#limit, size);
      if (this.#since) this.#since.limit = Math.min(this.#since.limit, size);
    }
    this.#size = size;
    this.#generation++;
  }

  /** Makes `start` … `end`, below the size, zeros. */
  clear(start: number, end: number): void {
    if (start >= end) return;
    this.#expectAtHand(start, end);
    this.blocks.remove(start, end);
    this.spooled.remove(start, end);
    // Beyond the limit it is zero anyway, but after a save in progress the limit will be higher.
    this.zero.add(start, Math.min(end, this.#since ? this.#since.limit : this.#limit));
    this.#touched(start, end);
  }

  /** A part of which a byte changes can no longer be used, and the others in it would be lost. */
  #expectAtHand(start: number, end: number): void {
    if (this.sent.intersects(start, end)) throw new Error(`bytes ${start} to ${end} are not at hand`);
  }

  #touched(start: number, end: number): void {
    this.#generation++;
    this.#since?.touched.add(start, end);
  }

  /** Freezes what is in `start` … `end`. Whoever captures must `release`. */
  capture(start = 0, end = this.#size): Capture {
    const held = new Map<number, DirtyBlock>();
    const take = (index: number, block: DirtyBlock): void => {
      block.buffer.refs++;
      block.buffer.frozen++;
      held.set(index, { buffer: block.buffer, start: block.start, ranges: block.ranges.copy() });
    };
    const first = Math.floor(start / BLOCK_SIZE);
    const last = Math.ceil(end / BLOCK_SIZE) - 1;
    if (last - first < this.blocks.count) {
      for (let index = first; index <= last; index++) {
        const block = this.blocks.get(index);
        if (block) take(index, block);
      }
    } else {
      for (const [index, block] of this.blocks.entries()) if (index >= first && index <= last) take(index, block);
    }
    const spooled = new RangeSet();
    this.spooled.visit(start, end, (a, b) => spooled.add(a, b));
    const sent = new RangeSet();
    this.sent.visit(start, end, (a, b) => sent.add(a, b));
    const zero = new RangeSet();
    this.zero.visit(start, end, (a, b) => zero.add(a, b));
    const capture: Capture = {
      size: this.#size,
      limit: this.#limit,
      generation: this.#generation,
      blocks: held,
      spooled,
      sent,
      zero,
      spoolFile: this.spoolFile?.keep(),
      release: () => {
        for (const block of held.values()) this.#drop(block);
        held.clear();
        capture.spoolFile?.drop();
        capture.spoolFile = undefined;
      },
    };
    return capture;
  }

  /** Ends a capture's hold on one block. */
  #drop(block: DirtyBlock): void {
    block.buffer.frozen--;
    this.#memory.drop(block.buffer);
  }

  /** Captures everything for a save: what is touched from now on is not part of it. */
  beginSave(): Capture {
    const capture = this.capture();
    this.#since = { touched: new RangeSet(), capture, limit: this.#size };
    return capture;
  }

  /** True if `start` … `end` is still as it was at `beginSave`. */
  isIntactSince(start: number, end: number): boolean {
    return this.#since !== undefined && end <= this.#since.limit && !this.#since.touched.intersects(start, end);
  }

  /** Nobody knows whether it was saved: what is touched goes on being collected, for `commitSave` or `abandonSave`. */
  doubtSave(): void {
    if (this.#since) this.#since.capture = undefined;
  }

  /** Nothing was saved: all stays unsaved. */
  abandonSave(): void {
    this.#since = undefined;
  }

  /** The capture is what is stored now: forgets all that was not touched since. */
  commitSave(): void {
    const since = this.#since!;
    this.#since = undefined;
    this.blocks.keepOnly(since.touched);
    this.spooled.keepOnly(since.touched);
    this.sent.keepOnly(since.touched);
    this.zero.keepOnly(since.touched);
    this.#limit = since.limit;
    if (this.spooled.isEmpty) this.closeSpool();
  }

  /** Makes all of it the stored content of `size` bytes. */
  reset(size: number): void {
    this.blocks.clear();
    this.spooled.clear();
    this.sent.clear();
    this.zero.clear();
    this.closeSpool();
    this.#size = size;
    this.#limit = size;
    this.#generation++;
  }

  closeSpool(): void {
    this.spoolFile?.drop();
    this.spoolFile = undefined;
  }

  /** True if spooling what `block` has overwrites nothing that the save in progress reads from the spool. */
  maySpool(index: number, block: DirtyBlock): boolean {
    const capture = this.#since?.capture;
    if (!capture || capture.spooled.isEmpty) return true;
    let free = true;
    block.ranges.visit(0, BLOCK_SIZE, (a, b) => {
      if (capture.spooled.intersects(a + index * BLOCK_SIZE, b + index * BLOCK_SIZE)) free = false;
    });
    return free;
  }

  /** `ranges` of block `index`, in `buffer`, have been written to the spool: memory need not keep what is still the same. */
  spooledBlock(index: number, buffer: DirtyBlock['buffer'], ranges: RangeSet): void {
    const base = index * BLOCK_SIZE;
    const block = this.blocks.get(index);
    // A write since then has put another buffer in its place: what was spooled is old.
    if (block?.buffer !== buffer) return;
    const moved = ranges.copy();
    moved.keepOnly(block.ranges);
    const capture = this.#since?.capture;
    const captured = capture?.blocks.get(index);
    if (capture && captured?.buffer === buffer && captured.ranges.bytes === moved.bytes) {
      capture.spoolFile ??= this.spoolFile!.keep();
      // A file that was cut to nothing since then has begun another spool.
      if (capture.spoolFile !== this.spoolFile) return;
      // The save reads these bytes from the spool too: else its hold would keep them in memory until its end.
      captured.ranges.visit(0, BLOCK_SIZE, (a, b) => capture.spooled.add(a + base, b + base));
      capture.blocks.delete(index);
      this.#drop(captured);
    }
    moved.visit(0, BLOCK_SIZE, (a, b) => this.spooled.add(a + base, b + base));
    this.blocks.removeRanges(index, moved);
  }

  /** True if all of `start` … `end` is in memory. */
  inMemory(start: number, end: number): boolean {
    return this.blocks.covers(start, end, NOTHING);
  }

  /** `start` … `end`, all in memory, is in a part that the store has: from now on it is there only. */
  letGo(start: number, end: number): void {
    const capture = this.#since?.capture;
    for (let index = Math.floor(start / BLOCK_SIZE); index * BLOCK_SIZE < end; index++) {
      const base = index * BLOCK_SIZE;
      const from = Math.max(start - base, 0);
      const to = Math.min(end - base, BLOCK_SIZE);
      const captured = capture?.blocks.get(index);
      // The save in progress uses this part as it is: its hold would keep the bytes in memory until its end.
      if (capture && captured && captured.buffer === this.blocks.get(index)?.buffer) {
        captured.ranges.visit(from, to, (a, b) => capture.sent.add(a + base, b + base));
        captured.ranges.remove(from, to);
        if (captured.ranges.isEmpty) {
          capture.blocks.delete(index);
          this.#drop(captured);
        }
      }
    }
    this.blocks.remove(start, end);
    this.sent.add(start, end);
  }

  /** What is sent is lost: zeros take its place. Returns how many bytes those are. */
  loseSent(): number {
    const { bytes } = this.sent;
    const lost = this.sent.copy();
    this.sent.clear();
    lost.visit(0, Number.POSITIVE_INFINITY, (start, end) => this.clear(start, end));
    return bytes;
  }

  /** `start` … `end` came to be in a part that the store has, without passing here: it is there only. */
  sentElsewhere(start: number, end: number): void {
    this.#expectAtHand(start, end);
    this.blocks.remove(start, end);
    this.spooled.remove(start, end);
    this.zero.remove(start, end);
    this.sent.add(start, end);
    if (end > this.#size) this.#size = end;
    this.#touched(start, end);
  }

  /** All up to `size` is as in the content beneath, which is another one now, or a longer one. Nothing lay beyond it before. */
  extendBase(size: number): void {
    if (this.#limit !== this.#size || this.#since)
      throw new Error('only what ends with stored bytes can go on with them');
    this.#size = size;
    this.#limit = size;
    this.#generation++;
  }

  /** Nothing beneath counts any longer: each byte is here, or a zero. */
  endBase(): void {
    this.zero.clear();
    this.#limit = 0;
  }

  /** True if `start` … `end` is as in the stored content. */
  isStored(start: number, end: number): boolean {
    if (end > this.#limit || this.zero.intersects(start, end) || this.spooled.intersects(start, end)) return false;
    if (this.sent.intersects(start, end)) return false;
    if (this.blocks.bytes === 0) return true;
    for (let index = Math.floor(start / BLOCK_SIZE); index * BLOCK_SIZE < end; index++) {
      const base = index * BLOCK_SIZE;
      if (this.blocks.get(index)?.ranges.intersects(Math.max(0, start - base), end - base)) return false;
    }
    return true;
  }

  #allocated = { generation: -1, bytes: 0 };

  /** Bytes of `data()`. */
  get allocatedBytes(): number {
    if (this.#limit === this.#size && this.zero.isEmpty) return this.#size;
    if (this.#allocated.generation !== this.#generation) {
      this.#allocated = { generation: this.#generation, bytes: this.data().bytes };
    }
    return this.#allocated.bytes;
  }

  /** Where there is data: what a program has written or S3 has, but not holes. */
  data(): RangeSet {
    const data = RangeSet.of([0, this.#limit]);
    data.removeAll(this.zero);
    data.addAll(this.spooled);
    data.addAll(this.sent);
    for (const [index, block] of this.blocks.entries()) {
      block.ranges.visit(0, BLOCK_SIZE, (a, b) => data.add(a + index * BLOCK_SIZE, b + index * BLOCK_SIZE));
    }
    return data;
  }
}

/** What of a capture is not as it is stored: everything that a save has to send. */
export function changedRanges(capture: Capture): RangeSet {
  const changed = capture.spooled.copy();
  changed.addAll(capture.sent);
  for (const index of [...capture.blocks.keys()].sort((a, b) => a - b)) {
    const base = index * BLOCK_SIZE;
    capture.blocks.get(index)!.ranges.visit(0, BLOCK_SIZE, (a, b) => changed.add(a + base, b + base));
  }
  changed.addAll(capture.zero);
  changed.add(capture.limit, capture.size);
  return changed;
}

/** What of a capture is zeros that are nowhere stored: holes, and what was punched. */
export function zeroRanges(capture: Capture): RangeSet {
  const zeros = capture.zero.copy();
  zeros.add(capture.limit, capture.size);
  zeros.removeAll(capture.spooled);
  zeros.removeAll(capture.sent);
  if (zeros.isEmpty) return zeros;
  for (const [index, block] of capture.blocks) {
    const base = index * BLOCK_SIZE;
    block.ranges.visit(0, BLOCK_SIZE, (a, b) => zeros.remove(a + base, b + base));
  }
  return zeros;
}
