/** What the bytes of a file have to be: an array in memory, as long as the file can get. */
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE, SEEK_DATA } from '../../src/fuse/ops.ts';

export class ModelBytes {
  readonly #room: Buffer;
  size = 0;

  constructor(capacity: number) {
    this.#room = Buffer.alloc(capacity);
  }

  get capacity(): number {
    return this.#room.length;
  }

  /** All of it; no copy. */
  get all(): Buffer {
    return this.#room.subarray(0, this.size);
  }

  slice(offset: number, length: number): Buffer {
    return this.all.subarray(offset, offset + length);
  }

  write(offset: number, data: Uint8Array): void {
    this.#room.set(data, offset);
    this.size = Math.max(this.size, offset + data.length);
  }

  truncate(size: number): void {
    // Beyond the end the room is always zero.
    if (size < this.size) this.#room.fill(0, size, this.size);
    this.size = size;
  }

  allocate(mode: number, offset: number, length: number): void {
    const end = offset + length;
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && offset < this.size) {
      this.#room.fill(0, offset, Math.min(end, this.size));
    }
    if (!(mode & FALLOC_FL_KEEP_SIZE)) this.size = Math.max(this.size, end);
  }

  /** Whether lseek(2) may have found this; undefined if so. Data may be zeros, a hole is nothing else. */
  wrongPlace(offset: number, whence: number, found: number | 'ENXIO'): string | undefined {
    if (found === 'ENXIO') {
      const isZero = this.all.subarray(offset).every(byte => byte === 0);
      return offset >= this.size || (whence === SEEK_DATA && isZero) ? undefined : 'ENXIO before the end of data';
    }
    if (found < offset || found > this.size) return `${found} is out of range`;
    if (whence === SEEK_DATA) {
      return this.all.subarray(offset, found).every(byte => byte === 0) ? undefined : `there is data before ${found}`;
    }
    return found === this.size || this.all[found] === 0 ? undefined : `there is no hole at ${found}`;
  }
}

/** Where two arrays of bytes differ, or undefined. */
export function differenceOf(expected: Uint8Array, actual: Uint8Array): string | undefined {
  if (Buffer.compare(expected, actual) === 0) return undefined;
  if (expected.length !== actual.length) return `${actual.length} bytes instead of ${expected.length}`;
  const differs = (_: number, i: number): boolean => expected[i] !== actual[i];
  const first = expected.findIndex(differs);
  let last = expected.length - 1;
  while (expected[last] === actual[last]) last--;
  return `bytes ${first} to ${last} differ: ${actual[first]} instead of ${expected[first]} first`;
}
