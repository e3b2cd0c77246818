/**
 * The grid by which parts go out before it is known how long a file will be: each place in it has one part number.
 */
import type { StoreLimits } from '../s3/store.ts';
import type { SentRange, UploadSizes } from './upload-plan.ts';

/** Of the ten sizes of cells, those kept small enough for memory; the others take a file to terabytes. */
const HELD_TIERS = 6;

/** The grid by which parts are sent while the program is still writing: cell `i` becomes part `i + 1`. */
export class PartGrid {
  readonly #part: number;
  readonly #maxPart: number;
  readonly #mostHeld: number;
  readonly #perSize: number;
  readonly cells: number;

  /** `most`: bytes of a cell that memory can hold beside those on their way. */
  constructor(sizes: UploadSizes, limits: StoreLimits, most = Number.POSITIVE_INFINITY) {
    this.#part = Math.max(Math.min(sizes.part, most), limits.minPartSize);
    this.#maxPart = limits.maxPartSize;
    this.#mostHeld = Math.max(most, this.#part);
    // Ten sizes, each twice the one before: 8 MiB for the first 7.8 GiB, 4 GiB at the end, 7.8 TiB in all. A file that is
    // larger still goes on in order at its save. What memory cannot hold whole has to be spooled before it is sent, so the
    // first sizes stop growing there: with 32 MiB a file goes out from memory up to 150 GiB.
    this.#perSize = Math.max(1, Math.floor(limits.maxParts / 10));
    this.cells = limits.maxParts;
  }

  /** What makes two grids the same on one store: bytes of the smallest cell, and of the largest that is held. */
  get shape(): readonly [part: number, most: number] {
    return [this.#part, this.#mostHeld];
  }

  sizeOf(cell: number): number {
    const tier = Math.floor(cell / this.#perSize);
    return Math.min(this.#part * 2 ** tier, tier < HELD_TIERS ? this.#mostHeld : this.#maxPart, this.#maxPart);
  }

  startOf(cell: number): number {
    const tier = Math.floor(cell / this.#perSize);
    let start = 0;
    for (let i = 0; i < tier; i++) start += this.#perSize * this.sizeOf(i * this.#perSize);
    return start + (cell - tier * this.#perSize) * this.sizeOf(cell);
  }

  /** True where enough numbers are left behind a cell for whatever follows: parts of 5 GiB, should it come to that. */
  leavesRoom(cell: number): boolean {
    return cell < this.cells * 0.9;
  }

  /** The cell that `offset` lies in; `cells` or more where the grid has ended. */
  cellOf(offset: number): number {
    let start = 0;
    for (let first = 0; first < this.cells; first += this.#perSize) {
      const size = this.sizeOf(first);
      const end = start + this.#perSize * size;
      if (offset < end) return first + Math.floor((offset - start) / size);
      start = end;
    }
    return this.cells;
  }
}

const MIB = 1024 * 1024;

/**
 * Which parts of an upload can be copies on the server, where `start` … `end` of the file is to be as somewhere in an
 * object: whole cells, several of them as one part under the number of the first. What lies outside is too little for a part.
 */
export function planCellCopies(
  start: number,
  end: number,
  grid: PartGrid,
  limits: StoreLimits,
  sizes: UploadSizes,
): SentRange[] {
  const most = Math.min(limits.maxCopySize, limits.maxPartSize);
  const share = Math.ceil((end - start) / sizes.copies / MIB) * MIB;
  const target = Math.min(Math.max(share, sizes.copyPart), sizes.maxCopyPart, most);
  const parts: SentRange[] = [];
  let cell = grid.cellOf(start);
  if (cell < grid.cells && grid.startOf(cell) < start) cell++;
  const fits = (): boolean => grid.leavesRoom(cell) && grid.startOf(cell) + grid.sizeOf(cell) <= end;
  while (fits() && grid.sizeOf(cell) <= most) {
    const number = cell + 1;
    const offset = grid.startOf(cell);
    let size = grid.sizeOf(cell++);
    // Where numbers may have no gaps each cell is a part of its own.
    while (!limits.consecutiveParts && fits() && size + grid.sizeOf(cell) <= target) size += grid.sizeOf(cell++);
    parts.push({ number, offset, size });
  }
  return parts;
}
