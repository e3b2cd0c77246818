/**
 * Buffers for blocks, used again and again.
 *
 * Fresh 128 KiB buffers at 1 GB/s outrun the garbage collector: a cache of 128 MiB peaked at 266 MiB of resident memory,
 * with reused buffers at 180 MiB. Blocks are cut from slabs, so that the allocator is asked once for 32 of them; slabs
 * whose blocks are all back are let go, but for a few, when nobody has wanted one for a while: parts of an upload come back
 * many at once, and a write of 1 GiB that let go at once asked for 212 slabs and spent 1.4 s collecting garbage. What fits in half a block gets a buffer of its own size: thousands
 * of small files must not fill the budget with air.
 */
import type { Clock } from '../concurrency.ts';
import { BLOCK_SIZE } from './stored-content.ts';

/** 4 MiB: large enough that the allocator maps it afresh (no heap fragmentation), small enough to become empty again. */
const SLAB_BLOCKS = 32;

/** Small buffers come in multiples of this: few sizes, so that a returned one fits the next file. */
const SMALL_UNIT = 4096;

const LARGEST_SMALL = BLOCK_SIZE / 2;

/** Empty slabs are let go after this many ms in which no slab was asked for. */
const LET_GO_AFTER = 2000;

/** Empty slabs kept (8 MiB), so that a reader who takes and gives one block at a time does not allocate each time. */
const EMPTY_SLABS_KEPT = 2;

/** Bytes of returned small buffers that are kept. */
const SMALL_KEPT = 1024 * 1024;

export class BlockPool {
  /** Slabs by the memory that their blocks lie in, with the blocks that are free. */
  readonly #slabs = new Map<ArrayBufferLike, Uint8Array[]>();
  /** Free lists that have something. */
  readonly #open: Uint8Array[][] = [];
  #emptySlabs = 0;
  readonly #clock: Clock | undefined;
  #waiting = false;
  /** When a slab was wanted last. */
  #wantedAt = 0;
  /** Free small buffers by size in units. */
  readonly #small: Uint8Array[][] = Array.from({ length: LARGEST_SMALL / SMALL_UNIT + 1 }, () => []);
  #smallKept = 0;
  #taken = 0;

  /** Without a clock empty slabs are let go at once. */
  constructor(clock?: Clock) {
    this.#clock = clock;
  }

  /** Bytes taken and not yet given back. */
  get taken(): number {
    return this.#taken;
  }

  /** The length of the buffer that `take(bytes)` gives: what counts in the budget. */
  static sizeOf(bytes: number): number {
    if (bytes > LARGEST_SMALL) return BLOCK_SIZE;
    return Math.max(1, Math.ceil(bytes / SMALL_UNIT)) * SMALL_UNIT;
  }

  /** A buffer of `BlockPool.sizeOf(bytes)` bytes with anything in it. `bytes` up to BLOCK_SIZE. */
  take(bytes: number): Uint8Array {
    if (bytes > BLOCK_SIZE) throw new RangeError(`a block has at most ${BLOCK_SIZE} bytes, not ${bytes}`);
    const size = BlockPool.sizeOf(bytes);
    this.#taken += size;
    return size === BLOCK_SIZE ? this.#takeBlock() : this.#takeSmall(size);
  }

  /** Takes back what `take` gave. Nobody may use it any longer. */
  give(buffer: Uint8Array): void {
    if (buffer.byteLength === BLOCK_SIZE) this.#giveBlock(buffer);
    else this.#giveSmall(buffer);
    this.#taken -= buffer.byteLength;
  }

  #takeBlock(): Uint8Array {
    let free = this.#open.at(-1);
    if (free === undefined) {
      const memory = new ArrayBuffer(SLAB_BLOCKS * BLOCK_SIZE);
      free = Array.from({ length: SLAB_BLOCKS }, (_, i) => new Uint8Array(memory, i * BLOCK_SIZE, BLOCK_SIZE));
      this.#slabs.set(memory, free);
      this.#open.push(free);
      this.#emptySlabs++;
    }
    if (free.length === SLAB_BLOCKS) {
      // From the front to the back: the socket reads into neighbours at once.
      free.sort((a, b) => b.byteOffset - a.byteOffset);
      this.#emptySlabs--;
      if (this.#clock) this.#wantedAt = this.#clock.monotonic();
    }
    const buffer = free.pop()!;
    if (free.length === 0) this.#open.pop();
    return buffer;
  }

  #giveBlock(buffer: Uint8Array): void {
    const free = this.#slabs.get(buffer.buffer);
    if (free === undefined) throw new Error('a buffer was given back that is not of this pool');
    if (free.length === SLAB_BLOCKS) throw new Error('a buffer was given back twice');
    free.push(buffer);
    if (free.length === 1) this.#open.push(free);
    if (free.length < SLAB_BLOCKS) return;
    this.#emptySlabs++;
    if (this.#emptySlabs <= EMPTY_SLABS_KEPT) return;
    if (this.#clock === undefined) this.#letGo();
    else if (!this.#waiting) this.#letGoLater(this.#clock, LET_GO_AFTER);
  }

  #letGoLater(clock: Clock, ms: number): void {
    this.#waiting = true;
    clock.after(ms, () => {
      this.#waiting = false;
      const left = this.#wantedAt + LET_GO_AFTER - clock.monotonic();
      if (left > 0) this.#letGoLater(clock, left);
      else this.#letGo();
    });
  }

  /** Gives up empty slabs above the few that are kept. */
  #letGo(): void {
    for (let i = this.#open.length - 1; i >= 0 && this.#emptySlabs > EMPTY_SLABS_KEPT; i--) {
      const free = this.#open[i]!;
      if (free.length < SLAB_BLOCKS) continue;
      this.#slabs.delete(free[0]!.buffer);
      this.#open.splice(i, 1);
      this.#emptySlabs--;
    }
  }

  #takeSmall(size: number): Uint8Array {
    const kept = this.#small[size / SMALL_UNIT]!.pop();
    if (kept === undefined) return new Uint8Array(size);
    this.#smallKept -= size;
    return kept;
  }

  #giveSmall(buffer: Uint8Array): void {
    const size = buffer.byteLength;
    if (this.#smallKept + size > SMALL_KEPT) return;
    this.#small[size / SMALL_UNIT]!.push(buffer);
    this.#smallKept += size;
  }
}
