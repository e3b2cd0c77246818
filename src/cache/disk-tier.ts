/**
 * Blocks on a local disk: bounded, shared by the mounts of a user, there after a restart.
 *
 * 1. The disk may be slower than S3, full, or hung. Reads go into buffers of the tier's own and are copied out, so that one
 *    that comes too late harms nobody: the block is fetched, and the tier is left alone for a while. Writes are collected in
 *    two buffers; while both are busy, it is only noted what is to be written, and it is if it is in memory still when its
 *    turn comes. So nobody waits for a write, and no memory is held for one.
 * 2. The disk is others' too: before each write there must be as much free as was asked for, and while there is not, the
 *    oldest files go.
 * 3. A block is what its record says, checksum included, or it is missing (`tier-format.ts`).
 * 4. Bound, sharing and order of removal: `tier-files.ts`. What lies where: `tier-index.ts`.
 */
import type { Clock } from '../concurrency.ts';
import type { ObjectVersion } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { BlockTier, TierStats } from './block-tier.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import { TierBatch } from './tier-batch.ts';
import type { TierDisk } from './tier-disk.ts';
import type { TierFile } from './tier-files.ts';
import { TierFiles } from './tier-files.ts';
import {
  contentName,
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
import { TierIndex } from './tier-index.ts';

const MIB = 1024 * 1024;

/** Few enough that one that goes takes little along; large enough that 100 GiB are 3,200 of them. */
export const TIER_FILE_BYTES = 32 * MIB;

/** Read at a time, and how many of that at once: more do not make a disk faster, and hold threads of the pool. */
const READ_BLOCKS = 8;
const READS_AT_ONCE = 4;

/** ms until a read is late. A disk that seeks takes 10 ms, S3 20 to 100 ms: later than this, S3 is asked instead. */
const LATE = 200;

/** A disk that is late so often, and never in time in between, is no cache: it is not asked for a while. */
const LATES_TOLERATED = 3;

/** After something failed or was late the tier is left alone for this many ms. */
const PAUSE = 10_000;

/** Blocks that wait for the disk are remembered up to this many: 1 GiB, more than is in memory by default. */
const MOST_WAITING = 8192;

/** What was put is written after this many ms at the latest. */
const WRITE_AFTER = 200;

/** Files of other mounts are looked for this many ms after something was missing. */
const REFRESH_AFTER = 2000;

/** How often the free space is looked at while nothing is written, in ms. */
const WATCH_SPACE = 10_000;

/** What is not written so many ms after the end is not kept. */
const CLOSE_PATIENCE = 5000;

/** Of a file that goes, what was read since it was written is carried over, up to this share. */
const CARRIED = 1 / 2;

export interface DiskTierOptions {
  readonly disk: TierDisk;
  /** Names the bucket: the same keys of another are other objects. */
  readonly scope: string;
  readonly limitBytes: number;
  /** What stays free on the file system: so many bytes, and this share of it. */
  readonly minFreeBytes: number;
  readonly minFreeShare: number;
  /** Nothing is left when it is closed. */
  readonly clearAtEnd?: boolean;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  /** Default 32 MiB. */
  readonly fileBytes?: number;
}

interface Run {
  readonly file: TierFile;
  /** Byte offset in the file. */
  readonly at: number;
  readonly count: number;
  readonly bytes: number;
}

export class DiskTier implements BlockTier {
  readonly #options: DiskTierOptions;
  readonly #fileBytes: number;
  readonly #files: TierFiles;
  readonly #index: TierIndex;
  readonly #names = new WeakMap<StoredContent, Buffer>();
  /** Contents that are the same bytes as another: its name by theirs, in hex. */
  readonly #aliases = new Map<string, Buffer>();
  readonly #scratch: Buffer[] = [];
  #scratches = 0;
  readonly #readers: (() => void)[] = [];
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
  #cancelRefresh: (() => void) | undefined;
  #cancelWatch: (() => void) | undefined;
  #refreshing: Promise<void> | undefined;
  #readAgainAt = 0;
  #lateInARow = 0;
  #writeAgainAt = 0;
  #closed = false;
  #hitBytes = 0;
  #writtenBytes = 0;
  #droppedBytes = 0;
  #failedBlocks = 0;

  constructor(options: DiskTierOptions) {
    this.#options = options;
    this.#fileBytes = options.fileBytes ?? TIER_FILE_BYTES;
    const most = Math.max(1, Math.floor(options.limitBytes / this.#fileBytes) - 1);
    this.#files = new TierFiles(options.disk, most, () => options.clock.now());
    this.#index = new TierIndex(id => this.#files.isLive(id));
  }

  /** Learns what is there; until it has resolved blocks of former mounts are not found. Never rejects. */
  async start(): Promise<void> {
    await this.#refresh();
    try {
      await this.#files.removeStrangers();
    } catch (error) {
      this.#failed('cleaned', error);
    }
    this.#watchSpace();
  }

  /** Removes everything, also what other mounts have put there. Never rejects. */
  async clear(): Promise<void> {
    await this.#removeAll().catch((error: unknown) => this.#failed('emptied', error));
  }

  async #removeAll(): Promise<void> {
    await this.#refresh();
    for (const file of [...this.#files.all]) await this.#files.remove(file);
  }

  get stats(): TierStats {
    let bytes = 0;
    for (const file of this.#files.all) bytes += file.end + file.listEnd;
    return {
      bytes,
      limitBytes: this.#options.limitBytes,
      hitBytes: this.#hitBytes,
      writtenBytes: this.#writtenBytes,
      droppedBytes: this.#droppedBytes,
      failedBlocks: this.#failedBlocks,
    };
  }

  has(content: StoredContent, index: number): boolean {
    if (this.#closed || this.#options.clock.monotonic() < this.#readAgainAt) return false;
    if (this.#index.has(this.#nameOf(content), index)) return true;
    this.#cancelRefresh ??= this.#options.clock.after(REFRESH_AFTER, () => {
      this.#cancelRefresh = undefined;
      void this.#refresh();
    });
    return false;
  }

  async read(
    content: StoredContent,
    first: number,
    count: number,
    take: (position: number, bytes: Uint8Array) => boolean,
  ): Promise<void> {
    const name = this.#nameOf(content);
    for (let position = 0; position < count; ) {
      const run = this.#runAt(content, name, first + position, Math.min(count - position, READ_BLOCKS));
      if (run === undefined) return;
      const buffer = await this.#fill(run);
      if (buffer === undefined) return;
      try {
        let at = 0;
        for (let i = 0; i < run.count; i++) {
          const index = first + position;
          const length = content.blockLength(index);
          const bytes = decodeRecord(buffer, at, name, index, length);
          if (bytes === undefined) {
            this.#corrupt(name, index, run.file);
            return;
          }
          this.#index.use(name, index);
          this.#hitBytes += length;
          this.#options.telemetry.count('tier.hit_bytes', length);
          if (!take(position, bytes)) return;
          at += recordBytes(length);
          position++;
        }
      } finally {
        this.#giveBack(buffer);
      }
    }
  }

  put(content: StoredContent, index: number, bytes: Uint8Array): void {
    if (this.#closed) return;
    const name = this.#nameOf(content);
    if (this.#index.has(name, index)) return;
    if (this.#options.clock.monotonic() < this.#writeAgainAt) {
      this.#dropped(bytes.length);
      return;
    }
    const batch = this.#waiting.length > 0 ? undefined : this.#room(bytes.length);
    if (batch !== undefined) batch.add(name, index, bytes);
    else if (this.#waiting.length < MOST_WAITING) this.#waiting.push({ content, index });
    else this.#dropped(bytes.length);
  }

  attach(inMemory: (content: StoredContent, index: number) => Uint8Array | undefined): void {
    this.#inMemory = inMemory;
  }

  moved(content: StoredContent, successor: ObjectVersion): void {
    const isUsed = this.#names.has(content);
    const name = this.#nameOf(content);
    const next = contentName(this.#options.scope, successor);
    if (next.equals(name) || !(isUsed || this.#index.has(name, 0))) return;
    this.#aliases.set(next.toString('hex'), name);
    this.#newAliases.push({ kind: 'alias', name: next, of: name });
    // So that something will be written.
    this.#room(0);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRefresh?.();
    this.#cancelWatch?.();
    this.#send();
    const done = (async () => {
      for (let before: Promise<void> | undefined; before !== this.#writing; ) {
        before = this.#writing;
        await before;
        this.#send();
      }
      await this.#refreshing;
      if (this.#options.clearAtEnd) await this.#removeAll().catch((error: unknown) => this.#failed('removed', error));
      await this.#files.close();
    })();
    // A disk that hangs must not keep a mount from ending.
    let cancel = (): void => {};
    const patience = new Promise<void>(resolve => {
      cancel = this.#options.clock.after(CLOSE_PATIENCE, resolve);
    });
    await Promise.race([done, patience]);
    cancel();
  }

  #nameOf(content: StoredContent): Buffer {
    let name = this.#names.get(content);
    if (name === undefined) {
      name = contentName(this.#options.scope, content.version);
      name = this.#aliases.get(name.toString('hex')) ?? name;
      this.#names.set(content, name);
    }
    return name;
  }

  // ---- reading

  /** Blocks from `index` on that lie one after another in one file. */
  #runAt(content: StoredContent, name: Buffer, index: number, most: number): Run | undefined {
    const place = this.#index.get(name, index);
    const file = place && this.#files.get(place.file);
    if (file === undefined) return undefined;
    const at = place!.at * UNIT;
    let bytes = recordBytes(content.blockLength(index));
    let count = 1;
    while (count < most) {
      const next = this.#index.get(name, index + count);
      if (next === undefined || next.file !== file.id || next.at * UNIT !== at + bytes) break;
      bytes += recordBytes(content.blockLength(index + count));
      count++;
    }
    return { file, at, count, bytes };
  }

  /** The bytes of a run in a buffer that is to be given back; undefined if they do not come, or not in time. */
  async #fill(run: Run): Promise<Buffer | undefined> {
    const { clock } = this.#options;
    const buffer = await this.#takeScratch();
    // The disk hung while this one waited for its turn.
    if (clock.monotonic() < this.#readAgainAt) {
      this.#giveBack(buffer);
      return undefined;
    }
    let late = false;
    let cancel = (): void => {};
    const deadline = new Promise<undefined>(resolve => {
      cancel = clock.after(LATE, () => {
        // Where this thread was busy for as long, the answer has come and is only waiting to be seen.
        setImmediate(() => {
          late = true;
          resolve(undefined);
        });
      });
    });
    const reading = this.#readInto(buffer, run).then(isThere => {
      if (isThere && !late) return buffer;
      this.#giveBack(buffer);
      return undefined;
    });
    const filled = await Promise.race([reading, deadline]);
    cancel();
    if (filled !== undefined) this.#lateInARow = 0;
    else if (late) this.#late(run);
    return filled;
  }

  async #readInto(buffer: Buffer, run: Run): Promise<boolean> {
    try {
      const length = await this.#files.using(run.file, pair => pair.read(buffer, run.bytes, run.at));
      // What it says of a block that is cut off must not be what was in the buffer before.
      buffer.fill(0, length, run.bytes);
      return true;
    } catch (error) {
      if (this.#files.isLive(run.file.id)) this.#files.forget(run.file);
      this.#options.telemetry.log.debug({ err: error }, 'a file of the disk cache could not be read');
      return false;
    }
  }

  #late(run: Run): void {
    const { clock, telemetry } = this.#options;
    this.#failedBlocks += run.count;
    telemetry.count('tier.late');
    this.#lateInARow++;
    if (this.#lateInARow < LATES_TOLERATED || clock.monotonic() < this.#readAgainAt) return;
    this.#readAgainAt = clock.monotonic() + PAUSE;
    telemetry.log.warn(
      { late: LATE, pause: PAUSE },
      'the disk of the cache is slower than S3; it is left alone for a while',
    );
  }

  #takeScratch(): Promise<Buffer> | Buffer {
    const free = this.#scratch.pop();
    if (free !== undefined) return free;
    if (this.#scratches < READS_AT_ONCE) {
      this.#scratches++;
      return Buffer.allocUnsafeSlow(READ_BLOCKS * (BLOCK_SIZE + RECORD_BYTES));
    }
    return new Promise(resolve => this.#readers.push(() => resolve(this.#scratch.pop()!)));
  }

  #giveBack(buffer: Buffer): void {
    this.#scratch.push(buffer);
    this.#readers.shift()?.();
  }

  #corrupt(name: Buffer, index: number, file: TierFile): void {
    this.#index.remove(name, index, file.id);
    this.#failedBlocks++;
    this.#options.telemetry.count('tier.corrupt');
  }

  // ---- writing

  /** The batch that takes `bytes` more; undefined while both are being written. */
  #room(bytes: number): TierBatch | undefined {
    if (this.#batch !== undefined && !this.#batch.takes(bytes)) this.#send();
    if (this.#batch === undefined) {
      this.#batch = this.#emptyBatches.pop();
      if (this.#batch === undefined && this.#batches < 2) {
        this.#batches++;
        this.#batch = new TierBatch(Math.min(2 * MIB, this.#fileBytes / 2));
      }
      if (this.#batch === undefined) return undefined;
      this.#cancelWrite = this.#options.clock.after(WRITE_AFTER, () => this.#send());
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
        this.#failed('written', error);
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
        batch.add(this.#nameOf(content), index, bytes);
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
    this.#writtenBytes += batch.used;
    this.#options.telemetry.count('tier.written_bytes', batch.used);
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
      if (this.#files.current === file) this.#files.current = undefined;
      throw error;
    }
    for (const entry of batch.entries) {
      if (entry.kind !== 'block') continue;
      this.#index.set(entry.name, entry.index, { file: file.id, at: (file.end + entry.at) / UNIT });
    }
    file.end += batch.used;
    file.listEnd += list.length * ENTRY_BYTES;
  }

  /** A file with room for that, on a disk with room for that. */
  async #fileFor(bytes: number, entries: number): Promise<TierFile | undefined> {
    const needed = bytes + entries * ENTRY_BYTES;
    if (!(await this.#hasSpace(needed))) {
      this.#writeAgainAt = this.#options.clock.monotonic() + PAUSE;
      return undefined;
    }
    const current = this.#files.current;
    if (current !== undefined) {
      const fits = current.end + current.listEnd + needed <= this.#fileBytes;
      if (fits && (await current.pair!.present())) return current;
      // Full, or removed by another mount.
      if (fits) this.#files.forget(current);
      else this.#files.current = undefined;
    }
    for (let tries = 0; tries < 3; tries++) {
      const begun = await this.#files.begin();
      if (begun !== undefined) return begun;
      await this.#refresh();
      const oldest = this.#files.oldest();
      if (oldest === undefined) break;
      const fresh = await this.#replace(oldest);
      if (fresh !== undefined) return fresh;
    }
    this.#writeAgainAt = this.#options.clock.monotonic() + PAUSE;
    return undefined;
  }

  /** True if `bytes` may be written; gives up old files while there is too little free. */
  async #hasSpace(bytes: number): Promise<boolean> {
    const { disk, minFreeBytes, minFreeShare } = this.#options;
    for (;;) {
      const { free, total } = await disk.space();
      if (free - bytes >= Math.max(minFreeBytes, total * minFreeShare)) return true;
      const oldest = this.#files.oldest();
      if (oldest === undefined) return false;
      await this.#files.remove(oldest);
    }
  }

  /** A new file for an old one, with what was read of it. Undefined if another mount was faster to claim its number. */
  async #replace(old: TierFile): Promise<TierFile | undefined> {
    const used: { name: Buffer; index: number; length: number; at: number }[] = [];
    let bytes = 0;
    old.users++;
    try {
      await this.#files
        .using(old, async pair => {
          decodeEntries(await pair.readList(HEAD_BYTES), 0, entry => {
            if (entry.kind !== 'block' || bytes > this.#fileBytes * CARRIED) return;
            if (!this.#index.isUsed(entry.name, entry.index, { file: old.id, at: entry.at })) return;
            used.push({ name: entry.name, index: entry.index, length: entry.length, at: entry.at * UNIT });
            bytes += recordBytes(entry.length);
          });
        })
        .catch(() => {});
      const { pair } = old;
      await this.#files.remove(old);
      const fresh = await this.#files.begin();
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
      this.#files.forget(old);
    }
  }

  #dropped(bytes: number): void {
    this.#droppedBytes += bytes;
    this.#options.telemetry.count('tier.dropped_bytes', bytes);
  }

  // ---- what others do

  #refresh(): Promise<void> {
    this.#refreshing ??= this.#learn().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #learn(): Promise<void> {
    try {
      for (const file of await this.#files.refresh()) {
        if (this.#closed) return;
        await this.#files
          .using(file, async pair => {
            const from = file.listEnd;
            const list = await pair.readList(from);
            const length = decodeEntries(list, 0, entry => {
              if (entry.kind === 'alias') {
                this.#aliases.set(entry.name.toString('hex'), Buffer.from(entry.of));
                return;
              }
              this.#index.set(entry.name, entry.index, { file: file.id, at: entry.at });
              file.end = Math.max(file.end, entry.at * UNIT + recordBytes(entry.length));
            });
            file.listEnd = from + length;
          })
          .catch(() => this.#files.forget(file));
      }
    } catch (error) {
      this.#failed('read', error);
    }
  }

  /** The disk fills up by others: what is cached makes room before they meet its end. */
  #watchSpace(): void {
    if (this.#closed) return;
    this.#cancelWatch = this.#options.clock.after(WATCH_SPACE, () => {
      this.#writing = this.#writing
        .then(async () => void (await this.#hasSpace(0)))
        .catch((error: unknown) => this.#failed('measured', error))
        .then(() => this.#watchSpace());
    });
  }

  #failed(what: string, error: unknown): void {
    this.#writeAgainAt = this.#options.clock.monotonic() + PAUSE;
    this.#options.telemetry.count('tier.failed');
    this.#options.telemetry.log.warn({ err: error }, `the disk cache could not be ${what}; reads go to S3`);
  }
}
