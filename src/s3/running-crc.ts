/** The CRC32 of an object out of those of its ranges, which come in any order; pure. */
import { crc32OfBoth } from '../crc.ts';

interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly crc: number;
}

/**
 * Stretches that do not touch. Read-ahead has 20 requests under way for one reader; a reader that leaves more gaps than this
 * does not go through the object.
 */
const MAX_STRETCHES = 64;
/** How far ahead of what came in sequence a range may lie to be counted, in bytes: read-ahead is at most 160 MiB ahead. */
const REACH = 192 * 1024 * 1024;

export class RunningCrc {
  /** By offset; neighbours are put together. */
  #stretches: readonly Stretch[] = [];

  /** Too many gaps: it is no use to go on. */
  get scattered(): boolean {
    return this.#stretches.length > MAX_STRETCHES;
  }

  /** True if a range that begins at `offset` is worth counting: it begins the object, or follows what has come of it. */
  follows(offset: number): boolean {
    if (offset === 0) return true;
    const first = this.#stretches[0];
    return (
      !this.scattered && first !== undefined && first.start === 0 && offset >= first.end && offset <= first.end + REACH
    );
  }

  /** Counts a range. One that overlaps what was counted is passed over: its bytes came twice. */
  add(start: number, length: number, crc: number): void {
    if (length === 0) return;
    const end = start + length;
    const before = this.#stretches.filter(stretch => stretch.end <= start);
    const after = this.#stretches.filter(stretch => stretch.start >= end);
    if (before.length + after.length < this.#stretches.length) return;
    let added: Stretch = { start, end, crc };
    const left = before.at(-1);
    if (left?.end === start) {
      added = joined(left, added);
      before.pop();
    }
    const right = after[0];
    if (right?.start === end) {
      added = joined(added, right);
      after.shift();
    }
    this.#stretches = [...before, added, ...after];
  }

  /** The CRC32 of bytes 0 … `size - 1`, when all of them have come. */
  whole(size: number): number | undefined {
    const only = this.#stretches[0];
    return only?.start === 0 && only.end === size ? only.crc : undefined;
  }
}

function joined(left: Stretch, right: Stretch): Stretch {
  return { start: left.start, end: right.end, crc: crc32OfBoth(left.crc, right.crc, right.end - right.start) };
}
