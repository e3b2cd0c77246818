/**
 * The bytes of an object as a list of extents: stored buffers, or ranges of a generator. Extents are never copied: a copy
 * of an object, a part copied from another object and a range of a GET all point to the same bytes.
 */
import { generatedViews } from './generator.ts';

export interface StoredExtent {
  readonly length: number;
  readonly bytes: Uint8Array;
}

export interface GeneratedExtent {
  readonly length: number;
  readonly seed: number;
  readonly offset: number;
}

export type Extent = StoredExtent | GeneratedExtent;

function part(extent: Extent, from: number, length: number): Extent {
  if (from === 0 && length === extent.length) return extent;
  if ('bytes' in extent) return { length, bytes: extent.bytes.subarray(from, from + length) };
  return { length, seed: extent.seed, offset: extent.offset + from };
}

export class Content {
  static readonly empty = new Content([]);

  readonly extents: readonly Extent[];
  /** In bytes. */
  readonly size: number;
  /** Where each extent begins. */
  readonly #starts: readonly number[];

  constructor(extents: readonly Extent[]) {
    const starts: number[] = [];
    let size = 0;
    for (const extent of extents) {
      starts.push(size);
      size += extent.length;
    }
    this.extents = extents;
    this.size = size;
    this.#starts = starts;
  }

  static of(bytes: Uint8Array): Content {
    return bytes.length === 0 ? Content.empty : new Content([{ length: bytes.length, bytes }]);
  }

  static generated(seed: number, length: number, offset = 0): Content {
    return length === 0 ? Content.empty : new Content([{ length, seed, offset }]);
  }

  static concat(contents: readonly Content[]): Content {
    return contents.length === 1 ? contents[0]! : new Content(contents.flatMap(content => content.extents));
  }

  get isGenerated(): boolean {
    return this.extents.some(extent => 'seed' in extent);
  }

  /** Bytes `offset` … `offset + length - 1`, sharing what is stored. */
  slice(offset: number, length: number): Content {
    if (offset === 0 && length === this.size) return this;
    return new Content([...this.#parts(offset, length)]);
  }

  /** The bytes as buffers in order; stored ones as they lie, generated ones as views of their table. Nobody may write to them. */
  *read(offset = 0, length = this.size - offset): Generator<Uint8Array> {
    for (const extent of this.#parts(offset, length)) {
      if ('bytes' in extent) yield extent.bytes;
      else yield* generatedViews(extent.seed, extent.offset, extent.length);
    }
  }

  /** All of it in one buffer: for small objects and tests. */
  toBuffer(): Buffer {
    return Buffer.concat([...this.read()], this.size);
  }

  /** The same with one byte changed, sharing the rest. */
  withAlteredByte(position: number): Content {
    const at = Math.min(Math.max(0, position), this.size - 1);
    if (this.size === 0) return this;
    const altered = Buffer.concat([...this.read(at, 1)]);
    altered[0] = altered[0]! ^ 0x01;
    return Content.concat([this.slice(0, at), Content.of(altered), this.slice(at + 1, this.size - at - 1)]);
  }

  *#parts(offset: number, length: number): Generator<Extent> {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    let left = Math.min(length, this.size - offset);
    for (let i = low; left > 0; i++) {
      const extent = this.extents[i]!;
      const from = Math.max(0, offset - this.#starts[i]!);
      const take = Math.min(left, extent.length - from);
      if (take > 0) yield part(extent, from, take);
      left -= take;
    }
  }
}
