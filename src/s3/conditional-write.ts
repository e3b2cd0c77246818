/**
 * Writes that must hit the right version, on stores of every kind.
 *
 * 1. A store may ignore conditions, for PUT, for completing an upload or for copies, each by itself. AWS is known by its
 *    endpoint. Elsewhere the first change of an object goes out with an `If-Match` that cannot hold: 412 or 404 proves that
 *    conditions are kept (then it is sent again with the right one), success that they are not (and has stored the very
 *    bytes that were meant). Where they are not kept, a HEAD right before the write narrows the window.
 * 2. A store may want ETags without their quotes (Ceph RGW 16). A 412 while a HEAD shows the very ETag tells.
 * 3. The reply to a write may get lost, and its repetition then meets our own work: 412, 404 or NoSuchUpload. If the object
 *    there is what we sent, that is success. This holds over calls: what a failed call may have stored is remembered by key,
 *    and a later write that meets it takes it for our own earlier version.
 */
import type { StoreErrorKind } from '../errors.ts';
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { Failure, printable } from './error-kinds.ts';
import { isFailure } from './requests.ts';
import type { ObjectInfo, WriteCondition, Written } from './store.ts';

export type ConditionalOperation = 'PutObject' | 'CompleteMultipartUpload' | 'CopyObject' | 'DeleteObject';

/** What a condition says on the wire. */
export interface ConditionHeaders {
  readonly ifMatch?: string;
  readonly ifNoneMatch?: '*';
}

export interface ConditionalWrite {
  readonly operation: ConditionalOperation;
  readonly key: string;
  readonly condition: WriteCondition | undefined;
  /** Small enough to be sent twice for finding out what the store can do. */
  readonly small: boolean;
  /** Rejects with `Failure`. */
  send(headers: ConditionHeaders): Promise<Written>;
  /** Is this object what `send` was to make? Asked after an unknown outcome only. */
  made(info: ObjectInfo): boolean | Promise<boolean>;
  /** The ETag that the object will have, where that can be told; computed when it is needed. */
  etag?(): string | undefined;
}

/** An MD5 that no object has: none hashes to zero as far as anybody knows. */
export const IMPOSSIBLE_ETAG = '"00000000000000000000000000000000"';
/** Conflicts with other writers in progress that are waited out, for a PUT. */
const CONFLICT_ATTEMPTS = 4;
/** Keys remembered whose last write had no known outcome. */
const MAX_DOUBTFUL = 10_000;

/** Where ETags in conditions differ in spelling: RGW 16 reads the quotes away from one header and not from the other. */
export type EtagUse = 'read' | 'copy-source' | ConditionalOperation;

/** Over all sendings of one write: an attempt may have been carried out. */
interface History {
  unknown: boolean;
}

export interface ConditionalWriterOptions {
  readonly telemetry: Telemetry;
  /** The store is known to keep all conditions, with quoted ETags. */
  readonly known: boolean;
  /** The object as it is; undefined if there is none. Rejects with `Failure`. */
  head(key: string): Promise<ObjectInfo | undefined>;
  /** Waits before a write that met another one in progress is sent again. */
  pause(attempt: number): Promise<void>;
}

export class ConditionalWriter {
  readonly #options: ConditionalWriterOptions;
  readonly #kept = new Map<ConditionalOperation, boolean>();
  /** The change under way that finds it out. */
  readonly #probing = new Map<ConditionalOperation, Promise<unknown>>();
  readonly #unquoted = new Map<EtagUse, boolean>();
  /** ETags that writes of unknown outcome would have made, by key. */
  readonly #doubtful = new Map<string, string>();

  constructor(options: ConditionalWriterOptions) {
    this.#options = options;
  }

  /** Whether the store keeps conditions on `operation`; undefined while that is not known. */
  kept(operation: ConditionalOperation): boolean | undefined {
    return this.#options.known || this.#kept.get(operation);
  }

  /** `etag` as the store wants it in a condition. */
  spelled(use: EtagUse, etag: string): string {
    return this.#unquoted.get(use) ? etag.replace(/^"|"$/g, '') : etag;
  }

  /**
   * After a 412 to `use` with `etag`, spelled as `sent`: `again` if it was the spelling (the object still has that ETag, and the other spelling
   * has not been tried yet; the next `spelled` gives it), `gone` if there is no object (where AWS says 404, Ceph says 412),
   * else `changed`.
   */
  async afterRefusal(use: EtagUse, key: string, etag: string, sent: string): Promise<'again' | 'gone' | 'changed'> {
    if (this.#options.known) return 'changed';
    const info = await this.#options.head(key);
    if (!info) return 'gone';
    if (info.etag !== etag) return 'changed';
    // Another one that was under way has found it out meanwhile: of 30 copies at once one did, and 29 had failed.
    if (this.spelled(use, etag) !== sent) return 'again';
    if (this.#unquoted.has(use)) return 'changed';
    this.#unquoted.set(use, true);
    this.#options.telemetry.log.info({ use }, 'this store wants ETags without quotes in conditions');
    return 'again';
  }

  /** A condition with the spelling that `spelled` gave held. */
  worked(use: EtagUse): void {
    if (!this.#unquoted.has(use)) this.#unquoted.set(use, false);
  }

  /** Rejects with `Failure`. */
  async write(write: ConditionalWrite): Promise<Written> {
    const { operation, key, condition } = write;
    if (condition && this.kept(operation) === false) {
      await this.#lookBefore(write, condition);
      return this.#settled(write, {}, undefined);
    }
    if (condition && this.kept(operation) === undefined && write.small) {
      // For a copy a new name will do as well: If-Match on a name that is free is a 404.
      if ('ifMatch' in condition || operation === 'CopyObject') {
        const other = this.#probing.get(operation);
        if (other) {
          // Of many changes at once the first finds out for all.
          await other.catch(() => {});
          return this.write(write);
        }
        const probing = this.#probe(write, condition).finally(() => this.#probing.delete(operation));
        this.#probing.set(operation, probing);
        const written = await probing;
        if (written) return written;
      }
    }
    const history: History = { unknown: false };
    for (let attempt = 1; ; attempt++) {
      const headers = this.#headers(operation, condition);
      try {
        const written = await this.#settled(write, headers, condition, history);
        if (condition && 'ifMatch' in condition && this.kept(operation)) this.worked(operation);
        return written;
      } catch (error) {
        // Some stores refuse a request for the mere sight of a condition.
        if (condition && isFailure(error, 'not-implemented') && this.kept(operation) !== true) {
          this.#proven(operation, false);
          return this.write(write);
        }
        if (!isFailure(error, 'precondition-failed', 'conflict', 'not-found')) throw error;
        if (condition && !isFailure(error, 'not-found')) this.#proven(operation, true);
        // A completion cannot simply be sent again: S3 wants a new upload then.
        if (isFailure(error, 'conflict') && operation !== 'CompleteMultipartUpload' && attempt < CONFLICT_ATTEMPTS) {
          await this.#options.pause(attempt);
          continue;
        }
        const missed = isFailure(error, 'precondition-failed') && condition && 'ifMatch' in condition;
        if (!missed) throw error;
        const verdict = await this.afterRefusal(operation, key, condition.ifMatch, headers.ifMatch ?? '');
        if (verdict === 'again') continue;
        throw verdict === 'gone' ? this.#refusal(write, 'not-found', 'it is gone') : error;
      }
    }
  }

  #headers(operation: ConditionalOperation, condition: WriteCondition | undefined): ConditionHeaders {
    if (!condition) return {};
    return 'ifMatch' in condition ? { ifMatch: this.spelled(operation, condition.ifMatch) } : { ifNoneMatch: '*' };
  }

  /** Sends once (with the retries below), and settles what a lost reply left open. */
  async #settled(
    write: ConditionalWrite,
    headers: ConditionHeaders,
    condition: WriteCondition | undefined,
    history: History = { unknown: false },
  ): Promise<Written> {
    const { key } = write;
    try {
      const written = await write.send(headers);
      this.#doubtful.delete(key);
      return written;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      history.unknown ||= error.unknownBefore;
      const refused = isFailure(error, 'precondition-failed', 'conflict', 'not-found', 'no-such-upload');
      if (!refused) {
        if (history.unknown) this.#remember(write);
        throw error;
      }
      const earlier = this.#doubtful.get(key);
      if (!history.unknown && earlier === undefined) throw error;
      const info = await this.#options.head(key);
      if (info && (await write.made(info))) {
        this.#options.telemetry.count('s3.settled');
        this.#options.telemetry.log.info({ key }, 'the reply to a write was lost; it had been carried out');
        this.#doubtful.delete(key);
        return {
          etag: info.etag,
          serverDate: info.serverDate,
          ...(info.versionId === undefined ? {} : { versionId: info.versionId }),
        };
      }
      if (info && condition && earlier !== undefined && info.etag === earlier) {
        // Not this write, but the one before it, which we had to report as failed: ours all the same.
        this.#doubtful.delete(key);
        const headers = { ifMatch: this.spelled(write.operation, earlier) };
        return this.#settled(write, headers, { ifMatch: earlier }, history);
      }
      throw error;
    }
  }

  #remember(write: ConditionalWrite): void {
    const etag = write.etag?.();
    if (etag === undefined) return;
    if (this.#doubtful.size >= MAX_DOUBTFUL) {
      for (const oldest of this.#doubtful.keys()) {
        this.#doubtful.delete(oldest);
        break;
      }
    }
    this.#doubtful.set(write.key, etag);
  }

  /** Finds out by `write` itself whether conditions are kept; its result if they are not. */
  async #probe(write: ConditionalWrite, condition: WriteCondition): Promise<Written | undefined> {
    const { operation } = write;
    await this.#lookBefore(write, condition);
    try {
      const written = await this.#settled(write, { ifMatch: IMPOSSIBLE_ETAG }, undefined);
      this.#proven(operation, false);
      return written;
    } catch (error) {
      if (isFailure(error, 'not-implemented')) {
        this.#proven(operation, false);
        return this.#settled(write, {}, undefined);
      }
      if (!isFailure(error, 'precondition-failed', 'not-found')) throw error;
      // A copy answers 404 for a missing source too.
      if (operation !== 'CopyObject' || isFailure(error, 'precondition-failed') || 'ifAbsent' in condition) {
        this.#proven(operation, true);
      }
      return undefined;
    }
  }

  #proven(operation: ConditionalOperation, kept: boolean): void {
    if (this.#options.known || this.#kept.get(operation) === kept) return;
    this.#kept.set(operation, kept);
    if (!kept) {
      this.#options.telemetry.log.warn(
        { operation },
        'this store does not keep conditions on writes: two clients that save the same file within moments may overwrite each other',
      );
    }
  }

  async #lookBefore(write: ConditionalWrite, condition: WriteCondition): Promise<void> {
    const info = await this.#options.head(write.key);
    const holds = 'ifMatch' in condition ? info?.etag === condition.ifMatch : info === undefined;
    if (holds) return;
    if ('ifMatch' in condition && info === undefined) throw this.#refusal(write, 'not-found', 'it is gone');
    // Our own earlier write, whose reply was lost, is no foreign one.
    if (info && this.#doubtful.get(write.key) === info.etag) return;
    throw this.#refusal(write, 'precondition-failed', info ? `it is now version ${info.etag}` : 'it exists');
  }

  #refusal(write: ConditionalWrite, kind: StoreErrorKind, what: string): Failure {
    const { operation, key } = write;
    return new Failure(
      new StoreError(kind, `${operation} of "${printable(key)}" was not done: ${what}`, { operation, key }),
    );
  }
}
