/**
 * Writing to the disk tier, so that nobody waits for it.
 *
 * What is offered is collected in two buffers. While both are busy it is only noted what is to be written, and it is if it is in
 * memory still when its turn comes: no memory is held for a write. Before each write there must be as much free on the
 * disk as was asked for; while there is not, the oldest files go.
 */
import type { Clock } from '../concurrency.ts';
import type { Telemetry } from '../telemetry.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import { TierBatch } from './tier-batch.ts';
import type { TierDisk } from './tier-disk.ts';
import type { TierFile, TierFiles } from './tier-files.ts';
import {
  decodeEntries,
  decodeRecord,
  ENTRY_BYTES,
  encodeEntry,
  HEAD_BYTES,
  RECORD_BYTES,
  recordBytes,
  type TierEntry,
  UNIT,
} from './tier-format.ts';
import type { TierIndex } from './tier-index.ts';

const MIB = 1024 * 1024;

/** After something failed nothing is written for this many ms. */
const PAUSE = 10_000;

/** Blocks that wait for the disk are remembered up to this many: 1 GiB, more than is in memory by default. */
const MOST_WAITING = 8192;

/** What was put is written after this many ms at the latest. */
const WRITE_AFTER = 200;

/** How often the free space is looked at while nothing is written, in ms. */
const WATCH_SPACE = 10_000;

/** Of a file that goes, what was read since it was written is carried over, up to this share. */
const CARRIED = 1 / 2;

export interface TierWritesParts {
  readonly disk: TierDisk;
  readonly files: TierFiles;
  readonly index: TierIndex;
  readonly fileBytes: number;
  readonly minFreeBytes: number;
  readonly minFreeShare: number;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  nameOf(content: StoredContent): Buffer;
  /** Learns what other mounts have done. */
  refresh(): Promise<void>;
}

export class TierWrites {
  readonly #with: TierWritesParts;
  #batch: TierBatch | undefined;
  readonly #emptyBatches: TierBatch[] = [];
  #batches = 0;
  /** Offered while both batches were busy. */
  readonly #waiting: { readonly content: StoredContent; readonly index: number }[] = [];
  /** Not written yet: they go along with the next batch. */
  readonly #newAliases: TierEntry[] = [];
  #inMemory: (content: StoredContent, index: number) => Uint8Array | undefined = () => undefined;
  #writing: Promise<void> = Promise.resolve();
  #cancelWrite: (() => void) | undefined;
  #cancelWatch: (() => void) | undefined;
  #writeAgainAt = 0;
  #closed = false;
  writtenBytes = 0;
  droppedBytes = 0;

  constructor(parts: TierWritesParts) {
    this.#with = parts;
  }

  /** Offers a block that is not there yet. */
  put(content: StoredContent, index: number, bytes: Uint8Array): void {
    if (this.#with.clock.monotonic() < this.#writeAgainAt) {
      this.#dropped(bytes.length);
      return;
    }
    const batch = this.#waiting.length > 0 ? undefined : this.#room(bytes.length);
    if (batch !== undefined) batch.add(this.#with.nameOf(content), index, bytes);
    else if (this.#waiting.length < MOST_WAITING) this.#waiting.push({ content, index });
    else this.#dropped(bytes.length);
  }

  attach(inMemory: (content: StoredContent, index: number) => Uint8Array | undefined): void {
    this.#inMemory = inMemory;
  }

  /** Content `name` is the same bytes as `of`. */
  putAlias(name: Buffer, of: Buffer): void {
    this.#newAliases.push({ kind: 'alias', name, of });
    // So that something will be written.
    this.#room(0);
  }

  /** Writes all that is left. */
  async finish(): Promise<void> {
    this.#closed = true;
    this.#cancelWatch?.();
    this.#send();
    for (let before: Promise<void> | undefined; before !== this.#writing; ) {
      before = this.#writing;
      await before;
      this.#send();
    }
  }

  /** The batch that takes `bytes` more; undefined while both are being written. */
  #room(bytes: number): TierBatch | undefined {
    if (this.#batch !== undefined && !this.#batch.takes(bytes)) this.#send();
    if (this.#batch === undefined) {
      this.#batch = this.#emptyBatches.pop();
      if (this.#batch === undefined && this.#batches < 2) {
        this.#batches++;
        this.#batch = new TierBatch(Math.min(2 * MIB, this.#with.fileBytes / 2));
      }
      if (this.#batch === undefined) return undefined;
      this.#cancelWrite = this.#with.clock.after(WRITE_AFTER, () => this.#send());
    }
    return this.#batch.takes(bytes) ? this.#batch : undefined;
  }

  #send(): void {
    this.#cancelWrite?.();
    this.#cancelWrite = undefined;
    const batch = this.#batch;
    this.#batch = undefined;
    if (batch === undefined) return;
    this.#writing = this.#writing.then(async () => {
      try {
        await this.#write(batch);
      } catch (error) {
        this.#dropped(batch.used);
        this.failed('written', error);
      }
      batch.clear();
      this.#emptyBatches.push(batch);
      this.#takeWaiting();
    });
  }

  /** A batch is free: what waits and is in memory still goes into it. */
  #takeWaiting(): void {
    let taken = 0;
    while (taken < this.#waiting.length) {
      const { content, index } = this.#waiting[taken]!;
      const bytes = this.#inMemory(content, index);
      if (bytes === undefined) this.#dropped(content.blockLength(index));
      else {
        const batch = this.#room(bytes.length);
        if (batch === undefined) break;
        batch.add(this.#with.nameOf(content), index, bytes);
      }
      taken++;
    }
    this.#waiting.splice(0, taken);
    if (this.#newAliases.length > 0) this.#room(0);
  }

  async #write(batch: TierBatch): Promise<void> {
    batch.entries.push(...this.#newAliases.splice(0));
    if (batch.entries.length === 0) return;
    const file = await this.#fileFor(batch.used, batch.entries.length);
    if (file === undefined) {
      this.#dropped(batch.used);
      return;
    }
    await this.#append(file, batch);
    this.writtenBytes += batch.used;
    this.#with.telemetry.count('tier.written_bytes', batch.used);
  }

  async #append(file: TierFile, batch: TierBatch): Promise<void> {
    const pair = file.pair!;
    const list = batch.entries.map(entry =>
      encodeEntry(entry.kind === 'block' ? { ...entry, at: (file.end + entry.at) / UNIT } : entry),
    );
    try {
      if (batch.used > 0) await pair.write(batch.bytes, file.end);
      await pair.writeList(Buffer.concat(list), file.listEnd);
    } catch (error) {
      // Half of it may be there: the next record must not begin in its midst.
      if (this.#with.files.current === file) this.#with.files.current = undefined;
      throw error;
    }
    for (const entry of batch.entries) {
      if (entry.kind !== 'block') continue;
      this.#with.index.set(entry.name, entry.index, { file: file.id, at: (file.end + entry.at) / UNIT });
    }
    file.end += batch.used;
    file.listEnd += list.length * ENTRY_BYTES;
  }

  /** A file with room for that, on a disk with room for that. */
  async #fileFor(bytes: number, entries: number): Promise<TierFile | undefined> {
    const needed = bytes + entries * ENTRY_BYTES;
    if (!(await this.#hasSpace(needed))) {
      this.#writeAgainAt = this.#with.clock.monotonic() + PAUSE;
      return undefined;
    }
    const current = this.#with.files.current;
    if (current !== undefined) {
      const fits = current.end + current.listEnd + needed <= this.#with.fileBytes;
      if (fits && (await current.pair!.present())) return current;
      // Full, or removed by another mount.
      if (fits) this.#with.files.forget(current);
      else this.#with.files.current = undefined;
    }
    for (let tries = 0; tries < 3; tries++) {
      const begun = await this.#with.files.begin();
      if (begun !== undefined) return begun;
      await this.#with.refresh();
      const oldest = this.#with.files.oldest();
      if (oldest === undefined) break;
      const fresh = await this.#replace(oldest);
      if (fresh !== undefined) return fresh;
    }
    this.#writeAgainAt = this.#with.clock.monotonic() + PAUSE;
    return undefined;
  }

  /** True if `bytes` may be written; gives up old files while there is too little free. */
  async #hasSpace(bytes: number): Promise<boolean> {
    const { disk, minFreeBytes, minFreeShare } = this.#with;
    for (;;) {
      const { free, total } = await disk.space();
      if (free - bytes >= Math.max(minFreeBytes, total * minFreeShare)) return true;
      const oldest = this.#with.files.oldest();
      if (oldest === undefined) return false;
      await this.#with.files.remove(oldest);
    }
  }

  /** A new file for an old one, with what was read of it. Undefined if another mount was faster to claim its number. */
  async #replace(old: TierFile): Promise<TierFile | undefined> {
    const used: { name: Buffer; index: number; length: number; at: number }[] = [];
    let bytes = 0;
    old.users++;
    try {
      await this.#with.files
        .using(old, async pair => {
          decodeEntries(await pair.readList(HEAD_BYTES), 0, entry => {
            if (entry.kind !== 'block' || bytes > this.#with.fileBytes * CARRIED) return;
            if (!this.#with.index.isUsed(entry.name, entry.index, { file: old.id, at: entry.at })) return;
            used.push({ name: entry.name, index: entry.index, length: entry.length, at: entry.at * UNIT });
            bytes += recordBytes(entry.length);
          });
        })
        .catch(() => {});
      const { pair } = old;
      await this.#with.files.remove(old);
      const fresh = await this.#with.files.begin();
      if (fresh === undefined || pair === undefined) return fresh;
      const batch = new TierBatch(BLOCK_SIZE + RECORD_BYTES);
      const buffer = Buffer.alloc(BLOCK_SIZE + RECORD_BYTES);
      for (const { name, index, length, at } of used) {
        const read = await pair.read(buffer, recordBytes(length), at);
        const found = decodeRecord(buffer.subarray(0, read), 0, name, index, length);
        if (found === undefined) continue;
        batch.add(name, index, found);
        await this.#append(fresh, batch);
        batch.clear();
      }
      return fresh;
    } finally {
      old.users--;
      this.#with.files.forget(old);
    }
  }

  #dropped(bytes: number): void {
    this.droppedBytes += bytes;
    this.#with.telemetry.count('tier.dropped_bytes', bytes);
  }

  /** The disk fills up by others: what is cached makes room before they meet its end. */
  watchSpace(): void {
    if (this.#closed) return;
    this.#cancelWatch = this.#with.clock.after(WATCH_SPACE, () => {
      this.#writing = this.#writing
        .then(async () => void (await this.#hasSpace(0)))
        .catch((error: unknown) => this.failed('measured', error))
        .then(() => this.watchSpace());
    });
  }

  /** Something about the disk failed: it is told, and nothing is written for a while. */
  failed(what: string, error: unknown): void {
    this.#writeAgainAt = this.#with.clock.monotonic() + PAUSE;
    this.#with.telemetry.count('tier.failed');
    this.#with.telemetry.log.warn({ err: error }, `the disk cache could not be ${what}; reads go to S3`);
  }
}
