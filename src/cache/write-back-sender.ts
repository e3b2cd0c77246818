/**
 * Sends one change, and finds out first whether that was done before.
 *
 * The daemon that wrote it down may have died after S3 had it: what S3 has now tells. Its ETag and metadata are compared
 * with what would have been sent: the time of the last change, to the nanosecond, is among them.
 */
import { isStoreError, StoreError } from '../errors.ts';
import type { ObjectInfo, ObjectStore, WriteCondition, Written } from '../s3/store.ts';
import { etagOfBody, isUncertain } from './doubt.ts';
import type { Change, DeleteChange, FoundBefore, PutChange } from './write-back-change.ts';
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

  /** @throws {StoreError} `precondition-failed` where another client has the name. */
  async put(change: PutChange): Promise<Written> {
    return this.#withBytes(change, async bytes => {
      if (change.found) return this.#putFound(change, change.found, bytes);
      if (change.mayBeDone) {
        const info = await this.#look(change.key);
        if (info && isOurs(info, change, bytes)) return writtenOf(info);
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
        return writtenOf(info);
      }
    });
  }

  /** S3 has this already, or what there was before it, or another client's. */
  async #putFound(change: PutChange, found: FoundBefore, bytes: readonly Uint8Array[]): Promise<Written> {
    const info = await this.#look(change.key);
    if (!info) return this.#send(change, bytes, { ifAbsent: true });
    if (isOurs(info, change, bytes)) return writtenOf(info);
    if (found.unconditional) return this.#send(change, bytes, { ifMatch: info.etag });
    if (!(await this.#wasBefore(info, found))) {
      if (isMarker(change)) return writtenOf(info);
      throw new StoreError('precondition-failed', `${change.key} was changed by another client`, { key: change.key });
    }
    return this.#send(change, bytes, { ifMatch: info.etag });
  }

  /** Whether `info` is what the change was made on. */
  async #wasBefore(info: ObjectInfo, { changes, bases }: FoundBefore): Promise<boolean> {
    if (bases.some(etag => this.#etagOf(etag) === info.etag)) return true;
    const skew = info.serverDate - this.#environment.clock.now();
    for (const change of changes) {
      if (change.kind === 'delete') {
        // Without a version to go by: what was there before the unlink is what was unlinked.
        if (change.ifMatch === undefined && info.lastModified - skew <= change.at + 2 * TIME_RESOLUTION) return true;
        continue;
      }
      if (!hasMetadataOf(info, change)) continue;
      if (await this.#withBytes(change, async bytes => isOurs(info, change, bytes))) return true;
    }
    return false;
  }

  async #send(
    change: PutChange,
    bytes: readonly Uint8Array[],
    condition: WriteCondition | undefined,
  ): Promise<Written> {
    try {
      return await this.#store.put(change.key, bytes, change.description, condition);
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
      await this.#deleteFound(first!, first!.found);
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
  async #deleteFound(change: DeleteChange, found: FoundBefore): Promise<void> {
    const { key } = change;
    const info = await this.#look(key);
    if (!info) return;
    if (await this.#wasBefore(info, { ...found, changes: [...found.changes, change] })) {
      return this.#deleteOne(key, info.etag);
    }
    this.#environment.telemetry.log.warn(
      { key },
      'was deleted here before the daemon ended, and another client has written it since: it stays',
    );
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

function writtenOf({ etag, lastModified }: ObjectInfo): Written {
  return { etag, serverDate: lastModified };
}

function isMarker({ key, size }: PutChange): boolean {
  return size === 0 && key.endsWith('/');
}

function hasMetadataOf(info: ObjectInfo, { description, size }: PutChange): boolean {
  const names = Object.keys(description.metadata);
  return (
    info.size === size &&
    names.length === Object.keys(info.description.metadata).length &&
    names.every(name => description.metadata[name] === info.description.metadata[name])
  );
}

/** Whether S3 has what this change would send. Of ETags that are no MD5s (KMS, some stores) the metadata must do. */
function isOurs(info: ObjectInfo, change: PutChange, bytes: readonly Uint8Array[]): boolean {
  if (!hasMetadataOf(info, change)) return false;
  const isKms = info.description.encryption?.algorithm.startsWith('aws:kms') ?? false;
  const isDigest = /^"[0-9a-f]{32}"$/.test(info.etag) && !isKms;
  return isDigest ? info.etag === etagOfBody(bytes) : Object.keys(change.description.metadata).length > 0;
}
