/**
 * What HEAD, GET and our own PUTs told of each key: one HEAD per object version ever, as long as it is remembered.
 *
 * An entry holds for exactly one (ETag, Last-Modified, size). Last-Modified belongs to it because a copy onto itself with
 * new metadata keeps the ETag. S3's times have whole seconds: an entry learned less than two seconds after Last-Modified
 * is *racy*, a later change may carry the same time, and it holds only for as long as the TTL.
 */
import { LRUCache } from 'lru-cache';
import type { ObjectDescription, ObjectInfo } from '../s3/store.ts';

/** About 600 bytes each: 50,000 stay below 30 MB and cover a directory that people list by hand. */
const MAX_ENTRIES = 50_000;

/** Twice the resolution of S3's times. */
const RACY_WINDOW = 2000;

export interface IndexedMetadata {
  readonly etag: string;
  readonly size: number;
  /** ms; undefined for what we wrote ourselves: the next listing tells. */
  readonly lastModified: number | undefined;
  readonly description: ObjectDescription;
  readonly tagCount: number;
  readonly archived: boolean;
  readonly racy: boolean;
  /** ms of the monotonic clock. */
  readonly checkedAt: number;
}

export class MetadataIndex {
  readonly #entries = new LRUCache<string, IndexedMetadata>({ max: MAX_ENTRIES });

  /** From a HEAD or GET answered at `checkedAt`. */
  record(info: ObjectInfo, checkedAt: number): IndexedMetadata {
    const entry: IndexedMetadata = {
      etag: info.etag,
      size: info.size,
      lastModified: info.lastModified,
      description: info.description,
      tagCount: info.tagCount,
      archived: info.archived,
      racy: info.serverDate - info.lastModified < RACY_WINDOW,
      checkedAt,
    };
    this.#entries.set(info.key, entry);
    return entry;
  }

  /** From a write of our own: what we sent is what is there. */
  wrote(key: string, etag: string, size: number, description: ObjectDescription, checkedAt: number): void {
    this.#entries.set(key, {
      etag,
      size,
      lastModified: undefined,
      description,
      tagCount: description.tags?.length ?? 0,
      archived: false,
      racy: false,
      checkedAt,
    });
  }

  /** What is known of the version that a listing (asked at `at`) shows. */
  match(key: string, listed: { etag: string; size: number; lastModified: number }): IndexedMetadata | undefined {
    const entry = this.#entries.get(key);
    if (!entry || entry.etag !== listed.etag || entry.size !== listed.size) return undefined;
    if (entry.lastModified === undefined) {
      const adopted = { ...entry, lastModified: listed.lastModified };
      this.#entries.set(key, adopted);
      return adopted;
    }
    return entry.lastModified === listed.lastModified ? entry : undefined;
  }

  get(key: string): IndexedMetadata | undefined {
    return this.#entries.get(key);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}
