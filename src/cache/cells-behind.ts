/**
 * Which cells of an upload a program has left behind: written once, in order, and sent. Their bytes are the last that
 * anybody will ask for, so memory may let go of them as soon as the store has them.
 *
 * 1. A cell counts only if it was filled from its start to its end without a jump. Who writes here and there comes back:
 *    those bytes stay at hand.
 * 2. The first cell goes last, when nothing else is even on its way. Programs that know a length or an index only at the
 *    end go back to the header for it.
 */

import type { PartGrid } from './part-grid.ts';
import type { SentPart } from './part-upload.ts';

/** In `#next`: the cell was written out of order. */
const JUMPED = -1;

export class CellsBehind {
  readonly #grid: PartGrid;
  /** By cell: where a writer in sequence goes on. At most as many entries as the grid has cells. */
  readonly #next = new Map<number, number>();
  /** By cell, oldest first: sent ahead and still in memory. */
  readonly #parts = new Map<number, SentPart>();

  constructor(grid: PartGrid) {
    this.#grid = grid;
  }

  /** `start` … `end`, as far as it lies in `cell`, was written. */
  wrote(cell: number, start: number, end: number): void {
    const first = this.#grid.startOf(cell);
    const from = Math.max(start, first);
    const to = Math.min(end, first + this.#grid.sizeOf(cell));
    this.#next.set(cell, from === first || from === this.#next.get(cell) ? to : JUMPED);
  }

  /** True if `cell` was filled in order. */
  has(cell: number): boolean {
    return this.#next.get(cell) === this.#grid.startOf(cell) + this.#grid.sizeOf(cell);
  }

  /** `part` of `cell` is on its way. */
  sent(cell: number, part: SentPart): void {
    if (this.has(cell) && this.#grid.leavesRoom(cell)) this.#parts.set(cell, part);
  }

  /** The upload of these parts has ended. */
  clear(): void {
    this.#parts.clear();
  }

  /** Bytes on their way to the store: soon they can be let go of. */
  comingBytes(saving: boolean): number {
    let bytes = 0;
    for (const part of this.#parts.values()) if (isRight(part, saving) && !part.arrived) bytes += part.size;
    return bytes;
  }

  /**
   * The next part to let go of, which is not offered again; undefined if there is none now. While `saving` only of those
   * that the save uses.
   */
  take(saving: boolean): SentPart | undefined {
    let first: SentPart | undefined;
    let isComing = false;
    for (const [cell, part] of this.#parts) {
      if (!isRight(part, false)) this.#parts.delete(cell);
      else if (!isRight(part, saving)) continue;
      else if (!part.arrived) isComing = true;
      else if (cell === 0) first = part;
      else {
        this.#parts.delete(cell);
        return part;
      }
    }
    if (!first || isComing) return undefined;
    this.#parts.delete(0);
    return first;
  }
}

function isRight(part: SentPart, saving: boolean): boolean {
  return part.live && !part.failed && (part.captured || !saving);
}
