/**
 * What HEADs told, kept over the end of a mount: after a restart `ls -l` asks for nothing but listings.
 *
 * Difficulties: (1) Others change objects while nothing is mounted: nothing here is believed by itself, only together with
 * a LIST that shows the very ETag, Last-Modified and size that it was kept with; and nothing is kept that was learned less
 * than two seconds after Last-Modified (see `MetadataIndex`). (2) A power cut, a full disk or a stray hand damage files: each
 * is checked by a checksum, replaced by rename, and a damaged one is one directory's HEADs again. No file is ever mapped
 * into memory or read by a native library, so that no damage ends the daemon. (3) Several mounts of one user share it:
 * the last one to write a segment wins, and what the other knew costs a HEAD. (4) A directory may have millions of names:
 * its rows lie in segments by ranges of names, split as they grow. (5) It never fills the disk: see `index-space.ts`.
 *
 * A directory `a/` lies in the file that its hash names, its further segments beside it as `HASH.NUMBER`.
 */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { type Clock, forEachLimit } from '../concurrency.ts';
import type { ListedObject } from '../s3/store.ts';
import type { Log } from '../telemetry.ts';
import { IndexFiles } from './index-files.ts';
import { decodeSegment, encodeSegment, type KeptMetadata, type Segment } from './index-segment.ts';
import { IndexSpace } from './index-space.ts';
import { compareKeys } from './keys.ts';

/** Rows of a segment, at most: some 3 ms to read or write, and a LIST page needs one or two. */
const MAX_ROWS = 2048;
/** Rows of segments kept in memory for the next page: some 8 MB. */
const MAX_LOADED_ROWS = 16_384;
/** What was learned is written after this time, ms: a kill loses that much, and it costs HEADs only. */
const FLUSH_AFTER = 2000;
/** Segments written at a time and per flush: those with most news go first, so that a random walk does not write all. */
const SEGMENTS_PER_FLUSH = 64;
const PARALLEL_WRITES = 4;
/** News that wait, at most, where nothing else is said; what is beyond is asked for again one day. About 60 MB. */
const MAX_WAITING = 100_000;

/** What is to be written into one segment. */
interface News {
  readonly directory: string;
  readonly number: number;
  readonly rows: ReadonlyMap<string, KeptMetadata>;
}

export interface PersistentIndexParts {
  /** Of the indexes of all buckets, which share the limit on disk space; 0700. */
  readonly root: string;
  /** Below `root`, for one endpoint, bucket, prefix and identity. */
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Bytes on disk, at most. */
  readonly maxBytes?: number;
  /** Objects that wait to be written, at most. */
  readonly maxWaiting?: number;
}

export class PersistentIndex {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  /** What it takes of the disk. */
  readonly space: IndexSpace;
  readonly #files: IndexFiles;
  readonly #maxWaiting: number;
  /** By file; also that there is none. */
  readonly #loaded = new LRUCache<string, { readonly segment: Segment | undefined }>({
    maxSize: MAX_LOADED_ROWS,
    sizeCalculation: ({ segment }) => 1 + (segment?.rows.size ?? 0),
  });
  /** What is to be written, by directory and name. */
  #waiting = new Map<string, Map<string, KeptMetadata>>();
  #count = 0;
  #cancelFlush: (() => void) | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #complained = false;

  constructor({ root, name, clock, log, maxBytes, maxWaiting = MAX_WAITING }: PersistentIndexParts) {
    this.#maxWaiting = maxWaiting;
    this.#path = join(root, name);
    this.#clock = clock;
    this.#log = log;
    this.space = new IndexSpace(root, maxBytes);
    this.#files = new IndexFiles(this.#path);
  }

  /** What is kept of exactly these versions, by key; they are objects of one directory, in order. Never fails. */
  async of(directory: string, objects: readonly ListedObject[]): Promise<ReadonlyMap<string, KeptMetadata>> {
    const found = new Map<string, KeptMetadata>();
    if (objects.length === 0) return found;
    const head = await this.#segment(directory, 0);
    const waiting = this.#waiting.get(directory);
    if (!head && !waiting) return found;
    let part = -1;
    let segment: Segment | undefined;
    for (const object of objects) {
      const name = object.key.slice(directory.length);
      const next = head ? numberOf(head, name) : 0;
      if (next !== part) {
        part = next;
        segment = part === 0 ? head : await this.#segment(directory, part);
      }
      const row = waiting?.get(name) ?? segment?.rows.get(name);
      if (row && row.etag === object.etag && row.size === object.size && row.lastModified === object.lastModified) {
        found.set(object.key, row);
      }
    }
    return found;
  }

  /** Keeps what was learned of a version. */
  keep(key: string, row: KeptMetadata): void {
    if (this.#count >= this.#maxWaiting) return;
    const directory = key.slice(0, key.lastIndexOf('/') + 1);
    let rows = this.#waiting.get(directory);
    if (!rows) {
      rows = new Map();
      this.#waiting.set(directory, rows);
    }
    if (!rows.has(key.slice(directory.length))) this.#count++;
    rows.set(key.slice(directory.length), row);
    this.#cancelFlush ??= this.#clock.after(FLUSH_AFTER, () => void this.flush(SEGMENTS_PER_FLUSH));
  }

  /** The object was deleted: what waits to be kept of it is not worth writing. */
  forget(key: string): void {
    const directory = key.slice(0, key.lastIndexOf('/') + 1);
    const rows = this.#waiting.get(directory);
    if (!rows?.delete(key.slice(directory.length))) return;
    this.#count--;
    if (rows.size === 0) this.#waiting.delete(directory);
  }

  /** Writes what waits: all of it, or the `limit` segments with most news. Never fails. */
  flush(limit = Number.POSITIVE_INFINITY): Promise<void> {
    this.#cancelFlush?.();
    this.#cancelFlush = undefined;
    this.#flushing = this.#flushing.then(() => this.#flush(limit));
    return this.#flushing;
  }

  async #flush(limit: number): Promise<void> {
    try {
      if (!(await this.space.allows())) {
        this.#waiting.clear();
        this.#count = 0;
        return;
      }
      const parts: News[] = [];
      for (const [directory, rows] of this.#waiting) {
        const head = await this.#segment(directory, 0);
        const byNumber = new Map<number, Map<string, KeptMetadata>>();
        for (const [name, row] of rows) {
          const number = head ? numberOf(head, name) : 0;
          const part = byNumber.get(number);
          if (part) part.set(name, row);
          else byNumber.set(number, new Map([[name, row]]));
        }
        for (const [number, part] of byNumber) parts.push({ directory, number, rows: part });
      }
      parts.sort((a, b) => b.rows.size - a.rows.size);
      const chosen = parts.slice(0, limit);
      for (const { directory, rows } of chosen) this.#taken(directory, rows);
      // Of one directory one after the other: a split changes its first segment.
      const byDirectory = new Map<string, News[]>();
      for (const news of chosen) byDirectory.set(news.directory, [...(byDirectory.get(news.directory) ?? []), news]);
      await forEachLimit(byDirectory.values(), PARALLEL_WRITES, async all => {
        for (const { directory, number, rows } of all) await this.#merge(directory, number, rows);
      });
    } catch (error) {
      if (!this.#complained)
        this.#log.warn({ err: error, path: this.#path }, 'the index of metadata cannot be written');
      this.#complained = true;
    }
    if (this.#count > 0)
      this.#cancelFlush ??= this.#clock.after(FLUSH_AFTER, () => void this.flush(SEGMENTS_PER_FLUSH));
  }

  /** These rows no longer wait, unless newer ones do. */
  #taken(directory: string, rows: ReadonlyMap<string, KeptMetadata>): void {
    const waiting = this.#waiting.get(directory);
    if (!waiting) return;
    for (const [name, row] of rows) {
      if (waiting.get(name) === row && waiting.delete(name)) this.#count--;
    }
    if (waiting.size === 0) this.#waiting.delete(directory);
  }

  async #merge(directory: string, number: number, news: ReadonlyMap<string, KeptMetadata>): Promise<void> {
    const before = await this.#segment(directory, number);
    const rows = new Map(before?.rows);
    for (const [name, row] of news) rows.set(name, row);
    const splits = before?.splits ?? [];
    if (rows.size <= MAX_ROWS) {
      await this.#write(number, { directory, splits, rows });
      return;
    }
    const names = [...rows.keys()].sort(compareKeys);
    const head = number === 0 ? { splits } : await this.#segment(directory, 0);
    if (!head) return;
    let next = 1 + Math.max(0, ...head.splits.map(([, each]) => each));
    const added: [string, number][] = [];
    // Half full each: the names of a large directory are mostly learned in order, and the last one grows.
    const half = MAX_ROWS / 2;
    for (let at = half; at < names.length; at += half) {
      const part = new Map(names.slice(at, at + half).map(name => [name, rows.get(name)!]));
      await this.#write(next, { directory, splits: [], rows: part });
      added.push([names[at]!, next++]);
    }
    const kept = new Map(names.slice(0, half).map(name => [name, rows.get(name)!]));
    const all = [...head.splits, ...added].sort(([a], [b]) => compareKeys(a, b));
    // The head last: until then the new segments are known to nobody.
    if (number === 0) return this.#write(0, { directory, splits: all, rows: kept });
    const first = await this.#segment(directory, 0);
    await this.#write(0, { directory, splits: all, rows: first?.rows ?? new Map() });
    await this.#write(number, { directory, splits: [], rows: kept });
  }

  async #segment(directory: string, number: number): Promise<Segment | undefined> {
    const { file, group, name } = this.#placeOf(directory, number);
    const loaded = this.#loaded.get(file);
    if (loaded) return loaded.segment;
    const mayBe = this.#files.mayBe(group, name);
    if (mayBe === false || (mayBe !== true && !(await mayBe))) return undefined;
    let segment: Segment | undefined;
    try {
      segment = await decodeSegment(await readFile(file), directory);
      // Eviction goes by the time of the file: what is used stays. Not worth waiting for.
      if (segment) utimes(file, this.#clock.now() / 1000, this.#clock.now() / 1000).catch(() => {});
    } catch {
      // None, or not to be read: as if nothing were kept.
    }
    if (!this.#loaded.has(file)) this.#loaded.set(file, { segment });
    return this.#loaded.get(file)?.segment;
  }

  async #write(number: number, segment: Segment): Promise<void> {
    const { file, group, name } = this.#placeOf(segment.directory, number);
    const bytes = await encodeSegment(segment);
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const aside = `${file}.${process.pid}.new`;
    try {
      // Neither this nor the rename is synced: a power cut may leave a file in part, which its checksum tells.
      await writeFile(aside, bytes, { mode: 0o600 });
      await rename(aside, file);
    } catch (error) {
      await rm(aside, { force: true }).catch(() => {});
      throw error;
    }
    this.#files.wrote(group, name);
    this.space.wrote(bytes.length);
    this.#loaded.set(file, { segment });
  }

  #placeOf(
    directory: string,
    number: number,
  ): { readonly file: string; readonly group: string; readonly name: string } {
    const hash = createHash('sha256').update(directory).digest('hex').slice(0, 32);
    const group = hash.slice(0, 2);
    const name = number === 0 ? hash.slice(2) : `${hash.slice(2)}.${number}`;
    return { file: join(this.#path, group, name), group, name };
  }
}

/** The number of the segment in which a name would be. */
function numberOf({ splits }: Segment, name: string): number {
  let [low, high] = [0, splits.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(splits[middle]![0], name) <= 0) low = middle + 1;
    else high = middle;
  }
  return low === 0 ? 0 : splits[low - 1]![1];
}
