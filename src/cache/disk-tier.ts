/**
 * Blocks on a local disk: bounded, shared by the mounts of a user, there after a restart.
 *
 * 1. The disk may be slower than S3, full, or hung: `tier-reads.ts` goes without it, `tier-writes.ts` makes nobody wait.
 * 2. The disk is others' too: so much stays free, and the bound holds before a byte is written (`tier-files.ts`).
 * 3. A block is what its record says, checksum included, or it is missing (`tier-format.ts`).
 * 4. Other mounts write to the same directory: what they have added is learned when something was missing.
 *
 * What lies where: `tier-index.ts`. Here: which content has which name.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../concurrency.ts';
import type { ObjectVersion } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { BlockTier, TierStats } from './block-tier.ts';
import type { StoredContent } from './stored-content.ts';
import type { TierDisk } from './tier-disk.ts';
import { TierFiles } from './tier-files.ts';
import { contentName, decodeEntries, recordBytes, UNIT } from './tier-format.ts';
import { TierIndex } from './tier-index.ts';
import { TierReads } from './tier-reads.ts';
import { TierWrites } from './tier-writes.ts';

const MIB = 1024 * 1024;

/** Few enough that one that goes takes little along; large enough that 100 GiB are 3,200 of them. */
export const TIER_FILE_BYTES = 32 * MIB;

/** Files of other mounts are looked for this many ms after something was missing. */
const REFRESH_AFTER = 2000;

/** What is not written so many ms after the end is not kept. */
const CLOSE_PATIENCE = 5000;

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

export class DiskTier implements BlockTier {
  readonly #options: DiskTierOptions;
  readonly #files: TierFiles;
  readonly #index: TierIndex;
  readonly #reads: TierReads;
  readonly #writes: TierWrites;
  readonly #names = new WeakMap<StoredContent, Buffer>();
  /** Contents that are the same bytes as another: its name by theirs, in hex. */
  readonly #aliases = new Map<string, Buffer>();
  #cancelRefresh: (() => void) | undefined;
  #refreshing: Promise<void> | undefined;
  #closed = false;

  constructor(options: DiskTierOptions) {
    const { telemetry, clock, limitBytes, fileBytes = TIER_FILE_BYTES } = options;
    this.#options = options;
    const most = Math.max(1, Math.floor(limitBytes / fileBytes) - 1);
    this.#files = new TierFiles(options.disk, most, () => clock.now());
    this.#index = new TierIndex(id => this.#files.isLive(id));
    this.#reads = new TierReads(this.#files, this.#index, telemetry, clock);
    this.#writes = new TierWrites({
      ...options,
      fileBytes,
      files: this.#files,
      index: this.#index,
      nameOf: content => this.#nameOf(content),
      refresh: () => this.#refresh(),
    });
  }

  /** Learns what is there; until it has resolved blocks of former mounts are not found. Never rejects. */
  async start(): Promise<void> {
    await this.#refresh();
    try {
      await this.#files.removeStrangers();
    } catch (error) {
      this.#writes.failed('cleaned', error);
    }
    this.#writes.watchSpace();
  }

  /** Removes everything, also what other mounts have put there. Never rejects. */
  async clear(): Promise<void> {
    await this.#removeAll().catch((error: unknown) => this.#writes.failed('emptied', error));
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
      hitBytes: this.#reads.hitBytes,
      writtenBytes: this.#writes.writtenBytes,
      droppedBytes: this.#writes.droppedBytes,
      failedBlocks: this.#reads.failedBlocks,
    };
  }

  has(content: StoredContent, index: number): boolean {
    if (this.#closed || this.#reads.resting) return false;
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
    await this.#reads.read(content, this.#nameOf(content), first, count, take);
  }

  put(content: StoredContent, index: number, bytes: Uint8Array): void {
    if (this.#closed || this.#index.has(this.#nameOf(content), index)) return;
    this.#writes.put(content, index, bytes);
  }

  attach(inMemory: (content: StoredContent, index: number) => Uint8Array | undefined): void {
    this.#writes.attach(inMemory);
  }

  moved(content: StoredContent, successor: ObjectVersion): void {
    const isUsed = this.#names.has(content);
    const name = this.#nameOf(content);
    const next = contentName(this.#options.scope, successor);
    if (next.equals(name) || !(isUsed || this.#index.has(name, 0))) return;
    this.#aliases.set(next.toString('hex'), name);
    this.#writes.putAlias(next, name);
  }

  distrust(content: StoredContent): void {
    const name = contentName(this.#options.scope, content.version);
    // Its blocks are looked for under another name from now on, under which nothing was put.
    const next = randomBytes(name.length);
    this.#aliases.set(name.toString('hex'), next);
    this.#names.delete(content);
    this.#writes.putAlias(name, next);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRefresh?.();
    const done = (async () => {
      await this.#writes.finish();
      await this.#refreshing;
      if (this.#options.clearAtEnd)
        await this.#removeAll().catch((error: unknown) => this.#writes.failed('removed', error));
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
      this.#writes.failed('read', error);
    }
  }
}
