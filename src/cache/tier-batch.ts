/** Blocks that are written to the disk tier by one write: their records one after another, and what the list will say. */
import { encodeRecord, recordBytes, type TierEntry } from './tier-format.ts';

export class TierBatch {
  readonly #buffer: Buffer;
  readonly #blocks = new Set<string>();
  readonly entries: TierEntry[] = [];
  /** Bytes of records. Places in `entries` count from the start of the batch, in bytes. */
  used = 0;

  constructor(capacity: number) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.used);
  }

  takes(bytes: number): boolean {
    return this.used + recordBytes(bytes) <= this.#buffer.length;
  }

  add(name: Buffer, index: number, bytes: Uint8Array): void {
    const block = `${name.toString('latin1')}${index}`;
    if (this.#blocks.has(block)) return;
    this.#blocks.add(block);
    const at = this.used;
    this.used = encodeRecord(this.#buffer, at, name, index, bytes);
    this.entries.push({ kind: 'block', name, index, length: bytes.length, at });
  }

  clear(): void {
    this.#blocks.clear();
    this.entries.length = 0;
    this.used = 0;
  }
}
