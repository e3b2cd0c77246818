/**
 * What HEAD, GET and our own PUTs told of each key: one HEAD per object version ever, as long as it is remembered.
 *
 * An entry holds for exactly one (ETag, Last-Modified, size). Last-Modified belongs to it because a copy onto itself with
 * new metadata keeps the ETag. S3's times have whole seconds: an entry learned less than two seconds after Last-Modified
 * is *racy*, a later change may carry the same time, and it holds only for as long as the TTL.
 */
import type { ListedObject, ObjectDescription, ObjectInfo, Written } from '../s3/store.ts';
import { SecondChance } from '../second-chance.ts';
import type { PersistentIndex } from './persistent-index.ts';

/** Twice the resolution of S3's times. */
const RACY_WINDOW = 2000;

export const UNKNOWN_TAGS = -1;

export interface IndexedMetadata {
  readonly etag: string;
  readonly size: number;
  /** ms; undefined for what we wrote ourselves: the next listing tells. */
  readonly lastModified: number | undefined;
  readonly description: ObjectDescription;
  /** `UNKNOWN_TAGS`: kept since an earlier mount; tags change without a trace in what a listing shows. */
  readonly tagCount: number;
  readonly racy: boolean;
  /** ms of the monotonic clock. */
  readonly checkedAt: number;
  /** For what we wrote: the server's clock then, ms. A later Last-Modified is somebody else's. */
  readonly writtenAt?: number;
}

export class MetadataIndex {
  readonly #entries: SecondChance<string, IndexedMetadata>;
  readonly #persistent: PersistentIndex | undefined;

  /** `max`: how many objects are remembered, some 600 bytes each. */
  constructor(max: number, persistent?: PersistentIndex) {
    this.#entries = new SecondChance(max);
    this.#persistent = persistent;
  }

  /** Before a listing's objects, all of one directory, are looked up: what was kept of them. No promise where nothing is kept. */
  recall(directory: string, objects: readonly ListedObject[]): Promise<void> | undefined {
    if (!this.#persistent) return undefined;
    return this.#persistent.of(directory, objects).then(found => {
      for (const [key, { etag, size, lastModified, description }] of found) {
        if (this.#entries.has(key)) continue;
        this.#entries.set(key, {
          etag,
          size,
          lastModified,
          description,
          tagCount: UNKNOWN_TAGS,
          racy: false,
          checkedAt: Number.NEGATIVE_INFINITY,
        });
      }
    });
  }

  /** From a HEAD or GET answered at `checkedAt`. */
  record(info: ObjectInfo, checkedAt: number): IndexedMetadata {
    const entry: IndexedMetadata = {
      etag: info.etag,
      size: info.size,
      lastModified: info.lastModified,
      description: info.description,
      tagCount: info.tagCount,
      racy: info.serverDate - info.lastModified < RACY_WINDOW,
      checkedAt,
    };
    this.#entries.set(info.key, entry);
    if (!entry.racy) {
      const { etag, size, description } = entry;
      this.#persistent?.keep(info.key, { etag, size, lastModified: info.lastModified, description });
    }
    return entry;
  }

  /** From a write of our own: what we sent is what is there. */
  wrote(key: string, written: Written, size: number, description: ObjectDescription, checkedAt: number): void {
    this.#entries.set(key, {
      etag: written.etag,
      size,
      lastModified: undefined,
      writtenAt: written.serverDate,
      description,
      tagCount: description.tags?.length ?? 0,
      racy: false,
      checkedAt,
    });
  }

  /** What is known of the version that a listing shows; `entry`: what `get` has just told of the key. */
  match(
    key: string,
    listed: { etag: string; size: number; lastModified: number },
    entry = this.#entries.get(key),
  ): IndexedMetadata | undefined {
    if (!entry || entry.etag !== listed.etag || entry.size !== listed.size) return undefined;
    if (entry.lastModified === undefined) {
      // The same bytes, but a later time: another client has given them other metadata since.
      const { writtenAt } = entry;
      if (writtenAt !== undefined && Math.floor(listed.lastModified / 1000) > Math.floor(writtenAt / 1000))
        return undefined;
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
    this.#persistent?.forget(key);
  }
}
