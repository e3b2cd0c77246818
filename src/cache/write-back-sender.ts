/**
 * Sends one change, and finds out first whether that was done before.
 *
 * The daemon that wrote it down may have died after S3 had it: what S3 has now tells. Its ETag and metadata are compared
 * with what would have been sent: the time of the last change, to the nanosecond, is among them.
 */
import { isStoreError } from '../errors.ts';
import type { ObjectInfo, ObjectStore, WriteCondition } from '../s3/store.ts';
import { etagOfBody, isUncertain } from './doubt.ts';
import type { Change, DeleteChange, PutChange } from './write-back-change.ts';
import type { WriteBackEnvironment } from './write-back-queue.ts';

/** Where the bytes go that lost their name to another client; another key for each `attempt`. */
export type ConflictKeys = (key: string, attempt: number) => string;

/** Names beside one name within one second. */
const CONFLICT_NAMES = 20;

/** S3's times have whole seconds. */
const TIME_RESOLUTION = 1000;

export class ChangeSender {
  readonly #environment: WriteBackEnvironment;
  readonly #store: ObjectStore;
  readonly #etagOf: (etag: string) => string;

  constructor(environment: WriteBackEnvironment, etagOf: (etag: string) => string) {
    this.#environment = environment;
    this.#store = environment.store;
    this.#etagOf = etagOf;
  }

  /** Returns the ETag. @throws {StoreError} `precondition-failed` where another client has the name. */
  async put(change: PutChange): Promise<string> {
    return this.#withBytes(change, async bytes => {
      if (change.mayBeDone) {
        const info = await this.#look(change.key);
        if (info && isOurs(info, change, bytes)) return info.etag;
      }
      const condition = this.#condition(change);
      try {
        return await this.#send(change, bytes, condition);
      } catch (error) {
        if (isStoreError(error, 'not-found') && condition && 'ifMatch' in condition) {
          this.#environment.telemetry.log.warn(
            { key: change.key },
            'deleted by another client while changed here; saved again',
          );
          return this.#send(change, bytes, { ifAbsent: true });
        }
        // A directory is a directory, whoever has made it.
        if (!isStoreError(error, 'precondition-failed') || !isMarker(change)) throw error;
        const info = await this.#look(change.key);
        if (!info) throw error;
        return info.etag;
      }
    });
  }

  async #send(change: PutChange, bytes: readonly Uint8Array[], condition: WriteCondition | undefined): Promise<string> {
    try {
      return (await this.#store.put(change.key, bytes, change.description, condition)).etag;
    } catch (error) {
      if (isUncertain(error)) change.mayBeDone = true;
      throw error;
    }
  }

  /** What stands for the ETag of a change that is not known any more is nobody's: then the name must be free. */
  #condition({ condition, key }: PutChange): WriteCondition | undefined {
    if (!condition || !('ifMatch' in condition)) return condition;
    const etag = this.#etagOf(condition.ifMatch);
    if (!isStandIn(etag)) return { ifMatch: etag };
    this.#environment.telemetry.log.debug({ key }, 'the version that this is based on is not known');
    return { ifAbsent: true };
  }

  async #look(key: string): Promise<ObjectInfo | undefined> {
    try {
      return await this.#store.head(key);
    } catch (error) {
      if (isStoreError(error, 'not-found')) return undefined;
      throw error;
    }
  }

  async #withBytes<T>(change: PutChange, use: (bytes: readonly Uint8Array[]) => Promise<T>): Promise<T> {
    if (change.slices) return use(change.slices);
    if (!change.body) return use([]);
    const { journal, budget } = this.#environment;
    // What drains goes before what fills.
    await budget.acquire(change.size);
    try {
      return await use([await journal.body(change.body.entry)]);
    } finally {
      budget.release(change.size);
    }
  }

  /** Deletes all of them at once, or one with its condition. Returns what failed, by key. */
  async delete(changes: readonly DeleteChange[]): Promise<ReadonlyMap<string, Error>> {
    const [first] = changes;
    const errors = new Map<string, Error>();
    if (first!.found) {
      await this.#deleteFound(first!);
    } else if (changes.length === 1) {
      const { key, ifMatch } = first!;
      await this.#deleteOne(key, ifMatch === undefined ? undefined : this.#etagOf(ifMatch));
    } else {
      for (const { key, error } of await this.#store.deleteMany(changes.map(({ key }) => key))) errors.set(key, error);
    }
    return errors;
  }

  async #deleteOne(key: string, ifMatch: string | undefined): Promise<void> {
    try {
      await this.#store.delete(key, ifMatch === undefined || isStandIn(ifMatch) ? {} : { ifMatch });
    } catch (error) {
      if (isStoreError(error, 'not-found')) return;
      if (!isStoreError(error, 'precondition-failed')) throw error;
      this.#environment.telemetry.log.warn({ key }, 'changed by another client before it was deleted: that stays');
    }
  }

  /** It may have been done long ago, and what is there now may be another client's. */
  async #deleteFound({ key, ifMatch, at }: DeleteChange): Promise<void> {
    const info = await this.#look(key);
    if (!info) return;
    const wanted = ifMatch === undefined ? undefined : this.#etagOf(ifMatch);
    const skew = info.serverDate - this.#environment.clock.now();
    const isNewer = info.lastModified - skew > at + 2 * TIME_RESOLUTION;
    const isTheirs = wanted === undefined || isStandIn(wanted) ? isNewer : info.etag !== wanted;
    if (isTheirs) {
      this.#environment.telemetry.log.warn(
        { key },
        'was deleted here before the daemon ended, and is newer in S3 now: it stays',
      );
      return;
    }
    await this.#deleteOne(key, info.etag);
  }

  /**
   * Saves what `last` tells, as long as it tells of something newer, under a name of its own. Undefined where nothing is to
   * be saved.
   */
  async saveBeside(
    last: () => Change | undefined,
  ): Promise<{ readonly key: string; readonly etag: string; readonly size: number } | undefined> {
    let saved: { key: string; etag: string; size: number } | undefined;
    let done: Change | undefined;
    for (let attempt = 0; ; ) {
      const change = last();
      if (!change || change === done) return saved;
      if (change.kind === 'delete') {
        if (saved) await this.#deleteOne(saved.key, saved.etag);
        saved = undefined;
      } else {
        const key: string = saved?.key ?? this.#environment.conflictKeys(change.key, attempt);
        const condition: WriteCondition = saved ? { ifMatch: saved.etag } : { ifAbsent: true };
        try {
          const etag = await this.#withBytes(change, async bytes => {
            return (await this.#store.put(key, bytes, change.description, condition)).etag;
          });
          saved = { key, etag, size: change.size };
        } catch (error) {
          if (saved || !isStoreError(error, 'precondition-failed') || ++attempt === CONFLICT_NAMES) throw error;
          continue;
        }
      }
      done = change;
    }
  }
}

/** Longer than any ETag of S3, and as hexadecimal as those are. */
const STAND_IN = /^"f5{7}[0-9a-f]{32}"$/;

/** What stands for the ETag of change `id` of the mount with this `nonce` (16 hex digits), until S3 has given one. */
export function standIn(nonce: string, id: number): string {
  return `"f5555555${nonce}${id.toString(16).padStart(16, '0')}"`;
}

export function isStandIn(etag: string): boolean {
  return STAND_IN.test(etag);
}

function isMarker({ key, size }: PutChange): boolean {
  return size === 0 && key.endsWith('/');
}

/** Whether S3 has what this change would send. Where KMS encrypts, size and metadata (with the time to the ns) must do. */
function isOurs(info: ObjectInfo, change: PutChange, bytes: readonly Uint8Array[]): boolean {
  if (info.size !== change.size) return false;
  const { metadata } = change.description;
  const names = Object.keys(metadata);
  const isSame =
    names.length === Object.keys(info.description.metadata).length &&
    names.every(name => metadata[name] === info.description.metadata[name]);
  if (!isSame) return false;
  const isOpaque = info.description.encryption?.algorithm.startsWith('aws:kms') ?? false;
  return isOpaque ? names.length > 0 : info.etag === etagOfBody(bytes);
}
