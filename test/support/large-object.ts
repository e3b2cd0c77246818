/**
 * What a file of any size should hold, kept as extents over the embedded server's generator: a reference for files that
 * nobody can keep a copy of.
 */
import { Content } from '../../src/embedded-s3/content.ts';

export class ExpectedFile {
  #content: Content;

  /** As `fill` of the embedded server makes it. */
  constructor(seed: number, size: number) {
    this.#content = Content.generated(seed, size);
  }

  get size(): number {
    return this.#content.size;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (offset > this.size) this.truncate(offset);
    const end = offset + bytes.length;
    const after = end < this.size ? [this.#content.slice(end, this.size - end)] : [];
    this.#content = Content.concat([this.#content.slice(0, offset), Content.of(bytes), ...after]);
  }

  truncate(size: number): void {
    const more = size - this.size;
    this.#content =
      more > 0 ? Content.concat([this.#content, Content.of(Buffer.alloc(more))]) : this.#content.slice(0, size);
  }

  /** Fewer at the end. */
  bytes(offset: number, length: number): Buffer {
    const end = Math.min(this.size, offset + length);
    return end > offset ? this.#content.slice(offset, end - offset).toBuffer() : Buffer.alloc(0);
  }
}
