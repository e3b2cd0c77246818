/**
 * The CRC32 of unsaved blocks, taken soon after they were written.
 *
 * 1. A part's checksum goes before its bytes. Taken when the part goes out, it stops everything for 8 MiB, which have left the
 *    processor's cache by then; and the program that waits for its next write fills nothing meanwhile. So each block is summed
 *    as it becomes whole, in the turn after its write was answered: the program fills its next buffer while this runs.
 * 2. Whoever writes into a buffer forgets its sum (`DirtyBlocks.write`). One that is being sent does not change.
 */
import { crc32OfBoth } from '../crc.ts';
import { crc32 } from '../crc32.ts';
import type { Overlay } from './overlay.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { HeldBuffer } from './unsaved-memory.ts';

function sumOf(buffer: HeldBuffer): number {
  buffer.crc32 ??= crc32(buffer.bytes);
  return buffer.crc32;
}

/** The CRC32 of all `slices`; `wholes`: the buffers of those that are all of one, whose sum may be known. */
export function crc32OfSlices(slices: readonly Uint8Array[], wholes: ReadonlyMap<Uint8Array, HeldBuffer>): number {
  let crc = 0;
  for (const slice of slices) {
    const whole = wholes.get(slice);
    crc = whole ? crc32OfBoth(crc, sumOf(whole), slice.length) : crc32(slice, crc);
  }
  return crc;
}

export class BlockSums {
  readonly #waiting: HeldBuffer[] = [];

  /** `start` … `end` of `overlay` was written: sums the blocks that have become whole by it, when its caller is answered. */
  wrote(overlay: Overlay, start: number, end: number): void {
    const isIdle = this.#waiting.length === 0;
    // A block becomes whole with its last byte, where a program writes in sequence; others are summed when they are sent.
    for (let index = Math.floor(start / BLOCK_SIZE); (index + 1) * BLOCK_SIZE <= end; index++) {
      const block = overlay.blocks.get(index);
      if (block?.ranges.bytes === BLOCK_SIZE && block.buffer.crc32 === undefined) this.#waiting.push(block.buffer);
    }
    if (isIdle && this.#waiting.length > 0) void this.#later();
  }

  async #later(): Promise<void> {
    await undefined;
    // Without users its bytes are those of another block already.
    for (const buffer of this.#waiting.splice(0)) if (buffer.refs > 0) sumOf(buffer);
  }
}
