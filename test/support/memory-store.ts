/**
 * An `ObjectStore` in memory, for tests of the layers above it: S3's conditions, multipart uploads, copies and listings in
 * the order of UTF-8 bytes. Every call is logged and may be held, delayed, failed before or after its work was done;
 * objects may be changed behind the caller's back.
 *
 * It is held to `test/contract/store.ts`, the same suite that the S3 store passes.
 */
import { createHash, randomUUID } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { CancelSignal, Clock } from '../../src/concurrency.ts';
import { delay, systemClock } from '../../src/concurrency.ts';
import type { StoreErrorKind } from '../../src/errors.ts';
import { StoreError } from '../../src/errors.ts';
import { describingHeaders } from '../../src/s3/object-headers.ts';
import type {
  GetRequest,
  GetResult,
  GetSink,
  ListedObject,
  ListPage,
  ListRequest,
  ObjectDescription,
  ObjectInfo,
  ObjectStore,
  ObjectVersion,
  RequestOptions,
  RestoreRequest,
  StoreFeatures,
  StoreLimits,
  Upload,
  UploadedPart,
  WriteCondition,
  Written,
} from '../../src/s3/store.ts';
import { S3_LIMITS } from '../../src/s3/store.ts';
import { pageOf, unorderedPageOf } from './memory-listing.ts';
import { compareKeys } from './utf8-order.ts';

export type StoreOperation =
  | 'HeadObject'
  | 'GetObject'
  | 'ListObjectsV2'
  | 'PutObject'
  | 'CopyObject'
  | 'GetObjectTagging'
  | 'RestoreObject'
  | 'DeleteObject'
  | 'DeleteObjects'
  | 'CreateMultipartUpload'
  | 'UploadPart'
  | 'UploadPartCopy'
  | 'CompleteMultipartUpload'
  | 'AbortMultipartUpload';

/** One call as it came through the seam. `key` is the prefix for a listing, the keys joined by a newline for DeleteObjects. */
export interface StoreCall {
  readonly operation: StoreOperation;
  readonly key: string;
  /** Bytes asked for (GetObject) or sent (PutObject, UploadPart). */
  readonly bytes?: number;
  readonly offset?: number;
  readonly partNumber?: number;
  readonly ifMatch?: string;
  readonly condition?: WriteCondition;
  readonly list?: ListRequest;
  readonly source?: ObjectVersion;
}

/** Stands before the store: may wait, throw instead of calling `proceed`, or throw after it (a lost reply). */
export type Interceptor = (call: StoreCall, proceed: () => Promise<unknown>) => Promise<unknown>;

export interface MemoryStoreOptions {
  readonly clock?: Clock;
  readonly limits?: Partial<StoreLimits>;
  readonly features?: Partial<StoreFeatures>;
  readonly prefixBytes?: number;
  /** Each call takes this long, in ms of `clock`. Default 0: it still settles in a later turn. */
  readonly latency?: number;
  /** Entries of a page where `features.orderedListing` is false; default 1,000. */
  readonly pageKeys?: number;
  /** A GET fills its sink in steps of this many bytes, each in a turn of its own. Default 64 KiB. */
  readonly bodyStep?: number;
}

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly lastModified: number;
  readonly description: ObjectDescription;
  readonly restored: boolean;
}

interface PartialUpload {
  readonly key: string;
  readonly description: ObjectDescription;
  readonly parts: Map<number, { readonly bytes: Uint8Array; readonly etag: string; readonly md5: Buffer }>;
}

/** What a foreign client gives with its object. */
export interface ForeignObject {
  readonly metadata?: Readonly<Record<string, string>>;
  readonly contentType?: string;
  readonly storageClass?: string;
  readonly tags?: readonly (readonly [string, string])[];
  /** ms since the epoch; default now. */
  readonly lastModified?: number;
}

export interface Hold {
  /** Resolves when the first matching call has arrived and waits. */
  readonly reached: Promise<void>;
  /** How many calls wait. */
  readonly waiting: number;
  /** Lets those that wait go on, and all later ones pass. */
  release(): void;
}

const encoder = new TextEncoder();

function joined(slices: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(slices.reduce((sum, slice) => sum + slice.length, 0));
  let at = 0;
  for (const slice of slices) {
    result.set(slice, at);
    at += slice.length;
  }
  return result;
}

const md5 = (bytes: Uint8Array): Buffer => createHash('md5').update(bytes).digest();

const ARCHIVE_CLASSES = new Set(['GLACIER', 'DEEP_ARCHIVE']);

export class MemoryStore implements ObjectStore {
  readonly limits: StoreLimits;
  readonly features: StoreFeatures;
  readonly #pageKeys: number;
  readonly prefixBytes: number;
  /** Every call so far, in order of arrival. */
  readonly calls: StoreCall[] = [];

  readonly #clock: Clock;
  readonly #latency: number;
  readonly #bodyStep: number;
  readonly #objects = new Map<string, StoredObject>();
  readonly #uploads = new Map<string, PartialUpload>();
  readonly #interceptors: Interceptor[] = [];
  #sorted: string[] | undefined;

  constructor(options: MemoryStoreOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#latency = options.latency ?? 0;
    this.#bodyStep = options.bodyStep ?? 64 * 1024;
    this.limits = { ...S3_LIMITS, ...options.limits };
    this.#pageKeys = options.pageKeys ?? 1000;
    this.features = {
      conditionalPut: true,
      conditionalComplete: true,
      checksums: undefined,
      orderedListing: true,
      ...options.features,
    };
    this.prefixBytes = options.prefixBytes ?? 0;
  }

  // For tests: what happened, and what shall.

  /** How many calls of `operation` came so far (of all, without). */
  count(operation?: StoreOperation): number {
    return operation ? this.calls.filter(call => call.operation === operation).length : this.calls.length;
  }

  /** Forgets the calls so far. */
  resetCalls(): void {
    this.calls.length = 0;
  }

  /** Puts `interceptor` before all calls, outside those set earlier; returns how to take it away. */
  intercept(interceptor: Interceptor): () => void {
    this.#interceptors.push(interceptor);
    return () => {
      const at = this.#interceptors.indexOf(interceptor);
      if (at >= 0) this.#interceptors.splice(at, 1);
    };
  }

  /** The next `times` (1) calls of `operation` fail with `error`; with `workDone` after they took effect. */
  failNext(
    operation: StoreOperation,
    error: StoreErrorKind | StoreError,
    options: { readonly times?: number; readonly key?: string; readonly workDone?: boolean } = {},
  ): () => void {
    let left = options.times ?? 1;
    const remove = this.intercept(async (call, proceed) => {
      if (left === 0 || call.operation !== operation || (options.key !== undefined && call.key !== options.key)) {
        return proceed();
      }
      if (--left === 0) remove();
      if (options.workDone) await proceed();
      throw typeof error === 'string'
        ? new StoreError(error, `${operation} of ${call.key}: injected ${error}`, { operation, key: call.key })
        : error;
    });
    return remove;
  }

  /** Calls of `operation` (on `key`) wait until released; they respect their abort signal. */
  hold(operation: StoreOperation, key?: string): Hold {
    let open!: () => void;
    const opened = new Promise<void>(resolve => {
      open = resolve;
    });
    let arrive!: () => void;
    const reached = new Promise<void>(resolve => {
      arrive = resolve;
    });
    let waiting = 0;
    const remove = this.intercept(async (call, proceed) => {
      if (call.operation !== operation || (key !== undefined && call.key !== key)) return proceed();
      waiting++;
      arrive();
      await opened;
      waiting--;
      return proceed();
    });
    return {
      reached,
      get waiting() {
        return waiting;
      },
      release() {
        remove();
        open();
      },
    };
  }

  /** Another client writes: no condition, no call in the log. Returns the new version. */
  putForeign(key: string, content: string | Uint8Array, object: ForeignObject = {}): ObjectVersion {
    const bytes = typeof content === 'string' ? encoder.encode(content) : content.slice();
    return this.#store(
      key,
      bytes,
      `"${md5(bytes).toString('hex')}"`,
      {
        headers: object.contentType === undefined ? {} : { contentType: object.contentType },
        metadata: object.metadata ?? {},
        ...(object.storageClass === undefined ? {} : { storageClass: object.storageClass }),
        ...(object.tags === undefined ? {} : { tags: object.tags }),
      },
      object.lastModified,
    );
  }

  /** Another client deletes. */
  deleteForeign(key: string): void {
    if (this.#objects.delete(key)) this.#sorted = undefined;
  }

  /** A restored copy of an archived object appears. */
  restoreForeign(key: string): void {
    const object = this.#objects.get(key);
    if (object) this.#objects.set(key, { ...object, restored: true });
  }

  /** All keys, in the order of UTF-8 bytes. */
  keys(): readonly string[] {
    this.#sorted ??= [...this.#objects.keys()].sort(compareKeys);
    return this.#sorted;
  }

  /** The bytes under `key` as they are now; undefined if there is no such object. */
  bytes(key: string): Uint8Array | undefined {
    return this.#objects.get(key)?.bytes;
  }

  /** The bytes under `key` as UTF-8 text. */
  text(key: string): string | undefined {
    const bytes = this.bytes(key);
    return bytes && new TextDecoder().decode(bytes);
  }

  /** What HEAD would tell of `key` now. */
  info(key: string): ObjectInfo | undefined {
    const object = this.#objects.get(key);
    return object && this.#info(key, object);
  }

  /** Multipart uploads begun and neither completed nor aborted. */
  get openUploads(): number {
    return this.#uploads.size;
  }

  /** What another client or a lifecycle rule does to uploads that take too long. */
  abortUploads(): void {
    this.#uploads.clear();
  }

  // The seam.

  head(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<ObjectInfo> {
    const condition = options.ifMatch === undefined ? {} : { ifMatch: options.ifMatch };
    return this.#call({ operation: 'HeadObject', key, ...condition }, options.signal, () =>
      this.#info(key, this.#current('HeadObject', key, options.ifMatch)),
    );
  }

  get(key: string, request: GetRequest, sink: GetSink, options: RequestOptions = {}): Promise<GetResult> {
    const { offset, length, ifMatch } = request;
    const call: StoreCall = {
      operation: 'GetObject',
      key,
      offset,
      bytes: length,
      ...(ifMatch === undefined ? {} : { ifMatch }),
    };
    return this.#call(call, options.signal, async () => {
      const object = this.#current('GetObject', key, ifMatch);
      const info = this.#info(key, object);
      if (info.archived) throw this.#error('archived', 'GetObject', key, 'is archived', 403);
      if (offset >= object.bytes.length && !(offset === 0 && object.bytes.length === 0)) {
        throw this.#error('range', 'GetObject', key, `has no byte ${offset}`, 416);
      }
      const body = object.bytes.subarray(offset, offset + length);
      sink.started?.(info);
      let done = 0;
      let buffer = 0;
      let at = 0;
      while (done < body.length) {
        await Promise.resolve();
        if (options.signal?.aborted) throw this.#error('aborted', 'GetObject', key, 'was interrupted');
        let step = Math.min(this.#bodyStep, body.length - done);
        while (step > 0) {
          const target = sink.buffers[buffer];
          if (!target) throw new RangeError(`the sink of GetObject ${key} is too small`);
          const bytes = Math.min(step, target.length - at);
          target.set(body.subarray(done, done + bytes), at);
          done += bytes;
          at += bytes;
          step -= bytes;
          if (at === target.length) {
            buffer++;
            at = 0;
          }
        }
        sink.filled?.(done);
      }
      return { info, bytes: body.length };
    });
  }

  list(request: ListRequest, options: RequestOptions = {}): Promise<ListPage> {
    return this.#call({ operation: 'ListObjectsV2', key: request.prefix, list: request }, options.signal, () =>
      this.features.orderedListing
        ? pageOf(request, this.keys(), key => this.#listed(key), this.#date())
        : unorderedPageOf(request, this.keys(), key => this.#listed(key), this.#date(), this.#pageKeys),
    );
  }

  put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const size = body.reduce((sum, slice) => sum + slice.length, 0);
    const call: StoreCall = { operation: 'PutObject', key, bytes: size, ...(condition ? { condition } : {}) };
    return this.#call(call, options.signal, () => {
      if (size > this.limits.maxPutSize) throw this.#error('too-large', 'PutObject', key, 'is too large', 400);
      this.#checkKey('PutObject', key);
      this.#checkDescription(description);
      this.#checkCondition('PutObject', key, condition, this.features.conditionalPut !== false);
      const bytes = joined(body);
      return this.#written(this.#store(key, bytes, `"${md5(bytes).toString('hex')}"`, description));
    });
  }

  copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const call: StoreCall = { operation: 'CopyObject', key, source, ...(condition ? { condition } : {}) };
    return this.#call(call, options.signal, () => {
      this.#checkKey('CopyObject', key);
      if (description) this.#checkDescription(description);
      const object = this.#current('CopyObject', source.key, source.etag);
      if (ARCHIVE_CLASSES.has(object.description.storageClass ?? '') && !object.restored) {
        throw this.#error('archived', 'CopyObject', source.key, 'is archived', 403);
      }
      if (object.bytes.length > this.limits.maxCopySize) {
        throw this.#error('too-large', 'CopyObject', source.key, 'is too large to copy at once', 400);
      }
      this.#checkCondition('CopyObject', key, condition, this.features.conditionalPut !== false);
      const kept = object.description;
      const tags = description?.tags ?? kept.tags;
      const after = description ? { ...description, ...(tags ? { tags } : {}) } : kept;
      return this.#written(this.#store(key, object.bytes, `"${md5(object.bytes).toString('hex')}"`, after));
    });
  }

  restore(key: string, _request: RestoreRequest, options: RequestOptions = {}): Promise<boolean> {
    return this.#call({ operation: 'RestoreObject', key }, options.signal, () => {
      const object = this.#current('RestoreObject', key, undefined);
      if (!ARCHIVE_CLASSES.has(object.description.storageClass ?? '')) {
        throw new StoreError('archived', `RestoreObject of "${key}": its storage class has no archive`);
      }
      this.restoreForeign(key);
      return !object.restored;
    });
  }

  tags(key: string, options: RequestOptions = {}): Promise<readonly (readonly [string, string])[]> {
    return this.#call({ operation: 'GetObjectTagging', key }, options.signal, () => [
      ...(this.#current('GetObjectTagging', key, undefined).description.tags ?? []),
    ]);
  }

  delete(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<void> {
    const condition = options.ifMatch === undefined ? {} : { ifMatch: options.ifMatch };
    return this.#call({ operation: 'DeleteObject', key, ...condition }, options.signal, () => {
      if (options.ifMatch !== undefined && this.#objects.has(key)) this.#current('DeleteObject', key, options.ifMatch);
      this.deleteForeign(key);
    });
  }

  async deleteMany(
    keys: readonly string[],
    options: RequestOptions = {},
  ): Promise<readonly { key: string; error: StoreError }[]> {
    for (let from = 0; from < keys.length; from += 1000) {
      const batch = keys.slice(from, from + 1000);
      await this.#call({ operation: 'DeleteObjects', key: batch.join('\n') }, options.signal, () => {
        for (const key of batch) this.deleteForeign(key);
      });
    }
    return [];
  }

  async beginUpload(key: string, description: ObjectDescription, options: RequestOptions = {}): Promise<Upload> {
    const uploadId = await this.#call({ operation: 'CreateMultipartUpload', key }, options.signal, () => {
      this.#checkKey('CreateMultipartUpload', key);
      this.#checkDescription(description);
      const id = randomUUID();
      this.#uploads.set(id, { key, description, parts: new Map() });
      return id;
    });
    return this.resumeUpload(key, uploadId);
  }

  resumeUpload(key: string, uploadId: string): Upload {
    return {
      key,
      uploadId,
      putPart: (number, body, partOptions = {}) => {
        const bytes = body.reduce((sum, slice) => sum + slice.length, 0);
        // Buffers do not change while they are sent: a checksum that was taken before still is theirs.
        const crc = partOptions.crc32?.();
        return this.#call({ operation: 'UploadPart', key, partNumber: number, bytes }, partOptions.signal, () => {
          const whole = joined(body);
          if (crc !== undefined && crc !== crc32(whole))
            throw new Error(`part ${number} of ${key} has another checksum`);
          return this.#part('UploadPart', uploadId, key, number, whole);
        });
      },
      copyPart: (number, source, offset, length, partOptions = {}) => {
        const call: StoreCall = {
          operation: 'UploadPartCopy',
          key,
          partNumber: number,
          source,
          offset,
          bytes: length,
        };
        return this.#call(call, partOptions.signal, () => {
          const object = this.#current('UploadPartCopy', source.key, source.etag);
          if (offset + length > object.bytes.length) {
            throw this.#error('range', 'UploadPartCopy', source.key, `has no bytes up to ${offset + length}`, 416);
          }
          return this.#part('UploadPartCopy', uploadId, key, number, object.bytes.slice(offset, offset + length));
        });
      },
      complete: (parts, condition, completeOptions = {}) => {
        const call: StoreCall = { operation: 'CompleteMultipartUpload', key, ...(condition ? { condition } : {}) };
        return this.#call(call, completeOptions.signal, () => this.#complete(uploadId, key, parts, condition));
      },
      abort: () =>
        this.#call({ operation: 'AbortMultipartUpload', key }, undefined, () => {
          this.#uploads.delete(uploadId);
        }),
    };
  }

  abortUpload(key: string, uploadId: string): Promise<void> {
    return this.#call({ operation: 'AbortMultipartUpload', key }, undefined, () => {
      this.#uploads.delete(uploadId);
    });
  }

  async close(): Promise<void> {}

  #error(
    kind: StoreErrorKind,
    operation: string,
    key: string,
    what: string,
    status?: number,
    s3Code?: string,
  ): StoreError {
    return new StoreError(kind, `${operation}: ${key} ${what}`, {
      operation,
      key,
      ...(status === undefined ? {} : { status }),
      ...(s3Code === undefined ? {} : { s3Code }),
    });
  }

  /** Logs, then lets the interceptors and the store at it; settles no earlier than in a later turn of the microtasks. */
  async #call<T>(call: StoreCall, signal: CancelSignal | undefined, work: () => Promise<T> | T): Promise<T> {
    this.calls.push(call);
    const aborted = (): StoreError => this.#error('aborted', call.operation, call.key, 'was interrupted');
    if (signal?.aborted) throw aborted();
    const run = async (): Promise<unknown> => {
      if (this.#latency > 0) await delay(this.#clock, this.#latency);
      else await Promise.resolve();
      if (signal?.aborted) throw aborted();
      let next = async (): Promise<unknown> => work();
      for (const interceptor of this.#interceptors) {
        const inner = next;
        next = () => interceptor(call, inner);
      }
      return next();
    };
    if (!signal) return (await run()) as T;
    let abort!: () => void;
    const interrupted = new Promise<never>((_, reject) => {
      abort = () => reject(aborted());
      signal.addEventListener('abort', abort, { once: true });
    });
    const running = run();
    running.catch(() => {});
    try {
      return (await Promise.race([running, interrupted])) as T;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** As the S3 store refuses what is no header. */
  #checkDescription(description: ObjectDescription): void {
    describingHeaders(description, {});
  }

  /** S3's times have whole seconds. */
  #listed(key: string): ListedObject {
    const { etag, bytes, lastModified, description } = this.#objects.get(key)!;
    const storageClass = description.storageClass ?? 'STANDARD';
    return { key, etag, size: bytes.length, lastModified, storageClass };
  }

  #date(): number {
    return Math.floor(this.#clock.now() / 1000) * 1000;
  }

  #current(operation: StoreOperation, key: string, ifMatch: string | undefined): StoredObject {
    const object = this.#objects.get(key);
    if (!object) throw this.#error('not-found', operation, key, 'does not exist', 404);
    if (ifMatch !== undefined && object.etag !== ifMatch) {
      throw this.#error('precondition-failed', operation, key, `is now version ${object.etag}`, 412);
    }
    return object;
  }

  #info(key: string, object: StoredObject): ObjectInfo {
    const { tags, ...description } = object.description;
    return {
      key,
      etag: object.etag,
      size: object.bytes.length,
      lastModified: object.lastModified,
      serverDate: this.#date(),
      description,
      tagCount: tags?.length ?? 0,
      ...(object.restored ? { restore: 'ongoing-request="false", expiry-date="Fri, 01 Jan 2100 00:00:00 GMT"' } : {}),
      archived: ARCHIVE_CLASSES.has(description.storageClass ?? '') && !object.restored,
    };
  }

  #store(
    key: string,
    bytes: Uint8Array,
    etag: string,
    description: ObjectDescription,
    lastModified?: number,
  ): ObjectVersion {
    if (!this.#objects.has(key)) this.#sorted = undefined;
    this.#objects.set(key, {
      bytes,
      etag,
      lastModified: lastModified ?? this.#date(),
      description: structuredClone(description) as ObjectDescription,
      restored: false,
    });
    return { key, etag, size: bytes.length };
  }

  #written(version: ObjectVersion): Written {
    return { etag: version.etag, serverDate: this.#date() };
  }

  #checkKey(operation: StoreOperation, key: string): void {
    const bytes = encoder.encode(key).length;
    if (bytes === 0 || bytes + this.prefixBytes > this.limits.maxKeyBytes) {
      throw this.#error('invalid', operation, key, `has ${bytes} bytes`, 400);
    }
  }

  #checkCondition(
    operation: StoreOperation,
    key: string,
    condition: WriteCondition | undefined,
    supported: boolean,
  ): void {
    if (!condition || !supported) return;
    if ('ifMatch' in condition) {
      this.#current(operation, key, condition.ifMatch);
    } else if (this.#objects.has(key)) {
      throw this.#error('precondition-failed', operation, key, 'exists already', 412);
    }
  }

  #part(operation: StoreOperation, uploadId: string, key: string, number: number, bytes: Uint8Array): UploadedPart {
    const upload = this.#uploads.get(uploadId);
    if (!upload) throw this.#error('no-such-upload', operation, key, 'has no such upload', 404);
    if (!Number.isInteger(number) || number < 1 || number > this.limits.maxParts) {
      throw this.#error('invalid', operation, key, `cannot have a part ${number}`, 400);
    }
    if (bytes.length > this.limits.maxPartSize) {
      throw this.#error('too-large', operation, key, `: part ${number} is too large`, 400);
    }
    const digest = md5(bytes);
    const etag = `"${digest.toString('hex')}"`;
    upload.parts.set(number, { bytes, etag, md5: digest });
    return { number, etag, size: bytes.length };
  }

  #complete(
    uploadId: string,
    key: string,
    parts: readonly UploadedPart[],
    condition: WriteCondition | undefined,
  ): Written {
    const operation = 'CompleteMultipartUpload';
    const upload = this.#uploads.get(uploadId);
    if (!upload) throw this.#error('no-such-upload', operation, key, 'has no such upload', 404);
    if (parts.length === 0) throw this.#error('invalid', operation, key, 'has no parts', 400);
    const bodies: Uint8Array[] = [];
    const digests: Uint8Array[] = [];
    let last = 0;
    for (const [index, part] of parts.entries()) {
      const sent = upload.parts.get(part.number);
      const isGap = this.limits.consecutiveParts && part.number !== last + 1;
      if (!sent || sent.etag !== part.etag || part.number <= last || isGap) {
        const what = `has no part ${part.number} ${part.etag} in this order`;
        throw this.#error('invalid', operation, key, what, 400, 'InvalidPart');
      }
      if (index < parts.length - 1 && sent.bytes.length < this.limits.minPartSize) {
        throw this.#error('invalid', operation, key, `: part ${part.number} is too small`, 400);
      }
      last = part.number;
      bodies.push(sent.bytes);
      digests.push(sent.md5);
    }
    this.#checkCondition(operation, key, condition, this.features.conditionalComplete !== false);
    const etag = `"${md5(joined(digests)).toString('hex')}-${parts.length}"`;
    this.#uploads.delete(uploadId);
    return this.#written(this.#store(key, joined(bodies), etag, upload.description));
  }
}
