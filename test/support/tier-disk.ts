/** The disk of a tier, in memory: it can be shared, slow, full or broken as a test wants it. */
import type { TierDisk, TierPair, TierSlot } from '../../src/cache/tier-disk.ts';

interface Files {
  blocks: Buffer;
  list: Buffer;
  present: boolean;
  modifiedMs: number;
}

export class MemoryTierDisk implements TierDisk {
  readonly files = new Map<number, Files>();
  total = 2 ** 40;
  /** Bytes that others take. */
  foreign = 0;
  /** Reads wait for this. */
  hold: Promise<void> | undefined;
  failWrites = false;
  writes = 0;
  reads = 0;
  /** The most bytes that were there at once. */
  peak = 0;

  get used(): number {
    let bytes = 0;
    for (const { blocks, list } of this.files.values()) bytes += blocks.length + list.length;
    return bytes;
  }

  async slots(): Promise<TierSlot[]> {
    return [...this.files].map(([number, { list, modifiedMs }]) => ({ number, listBytes: list.length, modifiedMs }));
  }

  async claim(number: number, head: Uint8Array): Promise<TierPair | undefined> {
    if (this.files.has(number)) return undefined;
    const files = { blocks: Buffer.from(head), list: Buffer.from(head), present: true, modifiedMs: 0 };
    this.files.set(number, files);
    return this.#pair(files);
  }

  async open(number: number): Promise<TierPair> {
    await this.hold;
    const files = this.files.get(number);
    if (files === undefined) throw new Error('ENOENT');
    return this.#pair(files);
  }

  async remove(number: number): Promise<void> {
    const files = this.files.get(number);
    if (files !== undefined) files.present = false;
    this.files.delete(number);
  }

  async space(): Promise<{ free: number; total: number }> {
    return { free: this.total - this.foreign - this.used, total: this.total };
  }

  #pair(files: Files): TierPair {
    const put = (before: Buffer, bytes: Uint8Array, at: number): Buffer => {
      if (this.failWrites) throw new Error('ENOSPC');
      this.writes++;
      const grown = Buffer.alloc(Math.max(before.length, at + bytes.length));
      before.copy(grown);
      grown.set(bytes, at);
      return grown;
    };
    return {
      read: async (buffer, length, at) => {
        this.reads++;
        await this.hold;
        const from = files.blocks.subarray(at, at + length);
        buffer.set(from);
        return from.length;
      },
      readList: async at => Buffer.from(files.list.subarray(at)),
      write: async (bytes, at) => {
        files.blocks = put(files.blocks, bytes, at);
        this.peak = Math.max(this.peak, this.used);
      },
      writeList: async (bytes, at) => {
        files.list = put(files.list, bytes, at);
        this.peak = Math.max(this.peak, this.used);
      },
      present: async () => files.present,
      close: async () => {},
    };
  }
}
