/**
 * The store seam over S3: each method of `ObjectStore` in S3's terms.
 *
 * What carries an object's bytes or description goes over the lean path; the SDK words the rest (`sdk-control.ts`). Retries
 * are the business of `requests.ts`, conditions and lost replies that of `conditional-write.ts`.
 */
import { createHash } from 'node:crypto';
import { delay, forEachLimit } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import type { ConditionalWrite, ConditionHeaders } from './conditional-write.ts';
import { ConditionalWriter, IMPOSSIBLE_ETAG } from './conditional-write.ts';
import { CopySources } from './copy-source.ts';
import { Failure, printable } from './error-kinds.ts';
import { parseListing, quotedEtag } from './listing.ts';
import type { HeaderList, WriteDefaults } from './object-headers.ts';
import { describingHeaders, httpDate, objectInfo, serverDate, taggingHeader } from './object-headers.ts';
import { RangedGet } from './ranged-get.ts';
import type { S3Answer, S3Request, S3Requests } from './requests.ts';
import { atTheDoor, isFailure, sizeOf, storeErrorOf } from './requests.ts';
import { refuseErrorIn200, sentWithResult, textIn } from './result-document.ts';
import type { RetryPolicy } from './retry.ts';
import { backoff } from './retry.ts';
import { S3Upload } from './s3-upload.ts';
import { SdkControl } from './sdk-control.ts';
import { canonicalQuery, encodePath } from './sigv4.ts';
import type {
  GetRequest,
  GetResult,
  GetSink,
  ListPage,
  ListRequest,
  ObjectDescription,
  ObjectInfo,
  ObjectStore,
  ObjectVersion,
  RequestOptions,
  StoreFeatures,
  StoreLimits,
  Upload,
  WriteCondition,
  Written,
} from './store.ts';
import { XmlError } from './xml.ts';

export interface S3StoreParts {
  readonly requests: S3Requests;
  readonly writeDefaults: WriteDefaults;
  readonly limits: StoreLimits;
  readonly orderedListing: boolean;
  /** Kept for the probe: what goes wrong then should be said in seconds. */
  readonly probeRetry: RetryPolicy;
}

/** Server-side copies of some GiB take minutes before a store that sends no signs of life answers. */
const COPY_FIRST_BYTE_MS = 300_000;
/** A body up to this size may be sent twice, once in a store's life, to find out whether it keeps conditions. */
const PROBE_BODY_BYTES = 8 * 1024 * 1024;
/** Bytes compared at a time, where only the content tells whether an object is ours. */
const COMPARE_BYTES = 1024 * 1024;
/** Single deletes at a time, where a store has no batches. */
const SINGLE_DELETES = 16;
/** Batches of deletes at a time. */
const BATCH_DELETES = 4;
const BATCH_KEYS = 1000;
/** XML 1.0 cannot carry these; such keys are deleted one by one. */
const NOT_IN_XML = /[^\t\n\r\x20-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]|[\n\r]/u;

/** S3 serves clients whose clock is wrong by up to this. */
const CLOCKS_APART_MS = 15 * 60_000;

const MD5_ETAG = /^"[0-9a-f]{32}"$/;

export class S3Store implements ObjectStore {
  readonly limits: StoreLimits;
  readonly prefixBytes: number;
  readonly #requests: S3Requests;
  readonly #control: SdkControl;
  readonly #writer: ConditionalWriter;
  readonly #sources: CopySources;
  readonly #parts: S3StoreParts;

  constructor(parts: S3StoreParts) {
    this.#parts = parts;
    this.limits = parts.limits;
    this.#requests = parts.requests;
    this.#control = new SdkControl(parts.requests);
    const { clock, random, retry, telemetry, prefix } = parts.requests.options;
    this.prefixBytes = Buffer.byteLength(prefix);
    this.#writer = new ConditionalWriter({
      telemetry,
      known: parts.requests.endpoint.aws,
      head: key => this.#look(key),
      pause: attempt => delay(clock, backoff(retry, attempt, false, random)),
    });
    this.#sources = new CopySources({
      writer: this.#writer,
      telemetry,
      known: parts.requests.endpoint.aws,
      head: key => this.#look(key),
    });
  }

  get features(): StoreFeatures {
    return {
      conditionalPut: this.#writer.kept('PutObject'),
      conditionalComplete: this.#writer.kept('CompleteMultipartUpload'),
      orderedListing: this.#parts.orderedListing,
    };
  }

  /** Where the bucket is, for `status`: without secrets. */
  get place(): {
    readonly endpoint: string;
    readonly region: string;
    readonly bucket: string;
    readonly prefix: string;
  } {
    const { endpoint, options } = this.#requests;
    const origin = endpoint.origin;
    const name = `${origin.secure ? 'https' : 'http'}://${endpoint.host}`;
    return { endpoint: name, region: endpoint.scope.region, bucket: options.bucket, prefix: options.prefix };
  }

  /**
   * Looks whether the bucket can be listed with these credentials. Throws a `StoreError` whose message tells a person what
   * to do; gives up within `timeout` ms.
   */
  async probe(timeout = 10_000): Promise<void> {
    const signal = AbortSignal.timeout(timeout);
    const request = this.#listRequest({ prefix: '', maxKeys: 1 });
    try {
      const answer = await this.#requests.run(
        request,
        signal,
        context => this.#requests.once(request, context, signal),
        this.#parts.probeRetry,
      );
      this.#parseList(answer);
    } catch (error) {
      const seen = storeErrorOf(error);
      if (!isStoreError(seen, 'aborted')) throw seen;
      const cause = seen.details.cause instanceof StoreError ? `: ${seen.details.cause.message}` : '';
      throw new StoreError(
        'timeout',
        `${this.place.endpoint} did not answer in ${timeout / 1000} s${cause}; check the network and url=`,
        { operation: 'ListObjectsV2', cause: seen },
      );
    }
  }

  /** Loads what is loaded on first use otherwise: once the mount answers, nothing is read from the installation any more. */
  async warm(): Promise<void> {
    await this.#control.load();
  }

  async head(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<ObjectInfo> {
    const { ifMatch, signal } = options;
    for (;;) {
      try {
        const unsigned = ifMatch === undefined ? '' : `if-match: ${this.#writer.spelled('read', ifMatch)}\r\n`;
        const answer = await this.#requests.send({ operation: 'HeadObject', method: 'HEAD', key, unsigned }, signal);
        const info = this.#infoOf(key, answer);
        if (ifMatch === undefined || info.etag === ifMatch) return info;
        throw new StoreError(
          'precondition-failed',
          `HeadObject of "${printable(key)}": it is now version ${info.etag}`,
          {
            operation: 'HeadObject',
            key,
          },
        );
      } catch (error) {
        if (await this.#misread(error, key, ifMatch)) continue;
        throw storeErrorOf(error);
      }
    }
  }

  async get(key: string, request: GetRequest, sink: GetSink, options: RequestOptions = {}): Promise<GetResult> {
    const { signal } = options;
    const { ifMatch } = request;
    for (;;) {
      const get = new RangedGet(this.#requests, key, request, sink, etag => this.#writer.spelled('read', etag));
      try {
        const result = await get.run(signal);
        if (ifMatch !== undefined) this.#writer.worked('read');
        return result;
      } catch (error) {
        if (get.info === undefined) {
          if (isFailure(error, 'range') && request.offset === 0)
            return this.#emptyObject(key, request, sink, error, signal);
          if (await this.#misread(error, key, ifMatch)) continue;
        }
        throw storeErrorOf(error);
      }
    }
  }

  async list(request: ListRequest, options: RequestOptions = {}): Promise<ListPage> {
    const wanted = this.#listRequest(request);
    return atTheDoor(
      this.#requests.run(wanted, options.signal, async context =>
        this.#parseList(await this.#requests.once(wanted, context, options.signal)),
      ),
    );
  }

  async put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const size = sizeOf(body);
    if (size > this.limits.maxPutSize) {
      throw new StoreError(
        'too-large',
        `PutObject of "${printable(key)}": ${size} bytes are too many for one request`,
        {
          operation: 'PutObject',
          key,
        },
      );
    }
    const headers = this.#describing(description);
    let digest: string | undefined;
    const etag = (): string => {
      digest ??= md5Etag(body);
      return digest;
    };
    return this.#write({
      operation: 'PutObject',
      key,
      condition,
      small: size <= PROBE_BODY_BYTES,
      etag,
      made: async info => {
        if (info.size !== size) return false;
        if (info.etag === etag()) return true;
        // An encrypted object's ETag is no MD5: then the bytes themselves tell.
        const telling = MD5_ETAG.test(info.etag) && !info.description.encryption?.algorithm.startsWith('aws:kms');
        return !telling && this.#holds(info, body);
      },
      send: async conditions => {
        const answer = await this.#requests.send(
          { operation: 'PutObject', method: 'PUT', key, body, signed: [...headers, ...conditionList(conditions)] },
          options.signal,
        );
        return writtenOf(answer.head.headers.get('etag'), answer, key, 'PutObject');
      },
    });
  }

  async copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const directives: (readonly [string, string])[] = [['x-amz-copy-source', this.#sourcePath(source.key)]];
    const { acl } = this.#parts.writeDefaults;
    if (description) {
      directives.push(['x-amz-metadata-directive', 'REPLACE'], ...this.#describing({ ...description, tags: [] }));
      if (description.tags) directives.push(['x-amz-tagging-directive', 'REPLACE'], taggingHeader(description.tags));
    } else if (acl !== undefined) {
      // S3 never copies an ACL.
      directives.push(['x-amz-acl', acl]);
    }
    const earliest = this.#requests.now() - CLOCKS_APART_MS;
    const send = (conditions: ConditionHeaders): Promise<Written> =>
      this.#copySent(source, key, conditions, directives, options.signal);
    return this.#write({
      operation: 'CopyObject',
      key,
      condition,
      small: true,
      send,
      // A copy of a multipart object has another ETag than its source, which cannot be told beforehand.
      made: async info =>
        info.size === source.size &&
        info.lastModified >= earliest &&
        (info.etag === source.etag || (await this.#describedAs(info, description ?? source))),
    });
  }

  async tags(key: string, options: RequestOptions = {}): Promise<readonly (readonly [string, string])[]> {
    const { output } = await atTheDoor(
      this.#control.run('GetObjectTagging', key, options.signal, (sdk, client, bucket, sendOptions) =>
        client.send(
          new sdk.GetObjectTaggingCommand({ Bucket: bucket, Key: this.#whole(key), ...this.#payer() }),
          sendOptions,
        ),
      ),
    );
    return (output.TagSet ?? []).map(tag => [tag.Key ?? '', tag.Value ?? ''] as const);
  }

  async delete(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<void> {
    const { ifMatch, signal } = options;
    const request: S3Request = { operation: 'DeleteObject', method: 'DELETE', key };
    try {
      if (ifMatch === undefined) {
        await this.#requests.send(request, signal);
        return;
      }
      if (!this.#writer.kept('DeleteObject')) {
        const info = await this.#look(key);
        if (!info) return;
        if (info.etag !== ifMatch) {
          throw new StoreError(
            'precondition-failed',
            `DeleteObject of "${printable(key)}": it is now version ${info.etag}`,
            {
              operation: 'DeleteObject',
              key,
            },
          );
        }
      }
      await this.#deleteVersion(request, key, ifMatch, signal);
    } catch (error) {
      if (isFailure(error, 'not-found')) return;
      throw storeErrorOf(error);
    }
  }

  async deleteMany(
    keys: readonly string[],
    options: RequestOptions = {},
  ): Promise<readonly { key: string; error: StoreError }[]> {
    const failed: { key: string; error: StoreError }[] = [];
    const single: string[] = [];
    const batched: string[] = [];
    for (const key of keys) (NOT_IN_XML.test(key) ? single : batched).push(key);
    const batches: string[][] = [];
    for (let from = 0; from < batched.length; from += BATCH_KEYS) batches.push(batched.slice(from, from + BATCH_KEYS));
    await forEachLimit(batches, BATCH_DELETES, async batch => {
      try {
        single.push(...(await this.#deleteBatch(batch, options.signal)));
      } catch (error) {
        const seen = storeErrorOf(error);
        if (isStoreError(seen, 'not-implemented')) single.push(...batch);
        else if (isStoreError(seen)) failed.push(...batch.map(key => ({ key, error: seen })));
        else throw error;
      }
    });
    // What a batch refused is asked for by itself: that retries, and tells the true reason.
    await forEachLimit(single, SINGLE_DELETES, async key => {
      try {
        await this.delete(key, options);
      } catch (error) {
        if (!isStoreError(error)) throw error;
        failed.push({ key, error });
      }
    });
    return failed;
  }

  async beginUpload(key: string, description: ObjectDescription, options: RequestOptions = {}): Promise<Upload> {
    const request: S3Request = {
      operation: 'CreateMultipartUpload',
      method: 'POST',
      key,
      query: 'uploads=',
      signed: this.#describing(description),
    };
    const uploadId = await atTheDoor(
      this.#requests
        .send(request, options.signal)
        .then(answer => textIn(answer, request, 'InitiateMultipartUploadResult', 'UploadId')),
    );
    return new S3Upload(key, uploadId, {
      requests: this.#requests,
      control: this.#control,
      writer: this.#writer,
      sources: this.#sources,
      limits: this.limits,
      wholeKey: this.#whole(key),
      sourcePath: source => this.#sourcePath(source),
      look: wanted => this.#look(wanted),
      payer: this.#payer(),
    });
  }

  async close(): Promise<void> {
    this.#control.close();
    this.#requests.options.transport.close();
  }

  #whole(key: string): string {
    return this.#requests.options.prefix + key;
  }

  #payer(): { readonly RequestPayer?: 'requester' } {
    return this.#requests.options.requesterPays ? { RequestPayer: 'requester' } : {};
  }

  /** As `x-amz-copy-source` wants it: bucket and key, encoded. */
  #sourcePath(key: string): string {
    return `/${encodePath(`${this.#requests.options.bucket}/${this.#whole(key)}`)}`;
  }

  #describing(description: ObjectDescription): HeaderList {
    const list = describingHeaders(description, this.#parts.writeDefaults);
    if (description.tags && description.tags.length > 0) list.push(taggingHeader(description.tags));
    return list;
  }

  async #write(write: ConditionalWrite): Promise<Written> {
    return atTheDoor(this.#writer.write(write));
  }

  #infoOf(key: string, answer: S3Answer): ObjectInfo {
    const { headers } = answer.head;
    const size = headers.get('content-length') ?? '';
    if (!/^\d{1,15}$/.test(size)) {
      throw new StoreError('corrupt', `HeadObject of "${printable(key)}": the answer has no length`, { key });
    }
    return objectInfo(key, Number(size), headers, answer.arrived);
  }

  /** The object as it is; undefined if there is none. Rejects with `Failure`. */
  async #look(key: string): Promise<ObjectInfo | undefined> {
    try {
      return this.#infoOf(key, await this.#requests.send({ operation: 'HeadObject', method: 'HEAD', key }));
    } catch (error) {
      if (isFailure(error, 'not-found')) return undefined;
      throw error;
    }
  }

  /** A read was refused because of how its `If-Match` was spelled: it is to be sent again. */
  async #misread(error: unknown, key: string, ifMatch: string | undefined): Promise<boolean> {
    if (ifMatch === undefined || !isFailure(error, 'precondition-failed')) return false;
    return (await this.#writer.afterRefusal('read', key, ifMatch)) === 'again';
  }

  /** No range of an empty object can be had (416): a HEAD tells of it what a GET would have. */
  async #emptyObject(
    key: string,
    request: GetRequest,
    sink: GetSink,
    refusal: unknown,
    signal: AbortSignal | undefined,
  ): Promise<GetResult> {
    const { ifMatch } = request;
    const info = await this.head(key, { ...(signal ? { signal } : {}), ...(ifMatch === undefined ? {} : { ifMatch }) });
    // Something was written in between: what was asked for is there now.
    if (info.size > 0) {
      if (ifMatch === undefined)
        return this.get(key, { ...request, ifMatch: info.etag }, sink, signal ? { signal } : {});
      throw storeErrorOf(refusal);
    }
    sink.started?.(info);
    return { info, bytes: 0 };
  }

  #listRequest(request: ListRequest): S3Request {
    const { prefix, delimiter, startAfter, continuation, maxKeys } = request;
    const query: (readonly [string, string])[] = [
      ['list-type', '2'],
      ['encoding-type', 'url'],
      ['prefix', this.#whole(prefix)],
    ];
    if (delimiter !== undefined) query.push(['delimiter', delimiter]);
    if (startAfter !== undefined) query.push(['start-after', this.#whole(startAfter)]);
    if (continuation !== undefined) query.push(['continuation-token', continuation]);
    if (maxKeys !== undefined) query.push(['max-keys', String(maxKeys)]);
    return { operation: 'ListObjectsV2', method: 'GET', key: undefined, query: canonicalQuery(query) };
  }

  #parseList(answer: S3Answer): ListPage {
    const { bucket, prefix, telemetry } = this.#requests.options;
    const { head, body, arrived } = answer;
    refuseErrorIn200(
      { operation: 'ListObjectsV2', key: undefined, bucket },
      head.status,
      head.headers,
      // Only a short answer can be an error or a page: a listing need not be looked at twice.
      body.length < 4096 || head.headers.get('content-type')?.startsWith('text/html') ? body : NO_BYTES,
      arrived,
      this.#requests.endpoint,
      undefined,
    );
    try {
      const { objects, prefixes, next, unreadable } = parseListing(body, prefix);
      if (unreadable > 0) {
        telemetry.count('s3.unreadable_keys', unreadable);
        telemetry.log.warn({ bucket, unreadable }, 'keys that are no UTF-8 are left out of a listing');
      }
      const date = serverDate(head.headers, arrived);
      return { objects, prefixes, serverDate: date, ...(next === undefined ? {} : { next }) };
    } catch (error) {
      if (!(error instanceof XmlError)) throw error;
      throw new StoreError(
        'corrupt',
        `ListObjectsV2 on bucket ${bucket} came back unreadable: ${printable(error.message)}`,
        {
          operation: 'ListObjectsV2',
          cause: error,
        },
      );
    }
  }

  #copySent(
    source: ObjectVersion,
    key: string,
    conditions: ConditionHeaders,
    headers: HeaderList,
    signal: AbortSignal | undefined,
  ): Promise<Written> {
    return this.#sources.copy({
      operation: 'CopyObject',
      source,
      trial: conditions.ifMatch === IMPOSSIBLE_ETAG,
      targetHolds: async () => {
        if (conditions.ifMatch === undefined) return !conditions.ifNoneMatch || !(await this.#look(key));
        return (await this.#look(key))?.etag === quotedEtag(conditions.ifMatch);
      },
      send: async ifMatch => {
        const guard: HeaderList = ifMatch === undefined ? [] : [['x-amz-copy-source-if-match', ifMatch]];
        const request: S3Request = {
          operation: 'CopyObject',
          method: 'PUT',
          key,
          signed: [...headers, ...guard, ...conditionList(conditions)],
          firstByteTimeout: COPY_FIRST_BYTE_MS,
        };
        const answer = await sentWithResult(this.#requests, request, signal);
        return writtenOf(textIn(answer, request, 'CopyObjectResult', 'ETag'), answer, key, 'CopyObject');
      },
    });
  }

  /** Has the object what a copy was to give it? Content headers and metadata, against a description or those of a source. */
  async #describedAs(info: ObjectInfo, meant: ObjectDescription | ObjectVersion): Promise<boolean> {
    const wanted = 'metadata' in meant ? meant : (await this.#look(meant.key))?.description;
    if (!wanted) return false;
    const flat = (description: ObjectDescription): string =>
      JSON.stringify([
        Object.entries(description.metadata).sort(([a], [b]) => (a < b ? -1 : 1)),
        description.headers.contentType ?? '',
      ]);
    return flat(info.description) === flat(wanted);
  }

  /** Are the object's bytes these? Read and compared a piece at a time. */
  async #holds(info: ObjectInfo, body: readonly Uint8Array[]): Promise<boolean> {
    const buffer = new Uint8Array(COMPARE_BYTES);
    let offset = 0;
    for (const slice of body) {
      for (let at = 0; at < slice.length; at += COMPARE_BYTES) {
        const piece = slice.subarray(at, at + COMPARE_BYTES);
        const target = buffer.subarray(0, piece.length);
        const { bytes } = await this.get(
          info.key,
          { offset, length: piece.length, ifMatch: info.etag },
          { buffers: [target] },
        );
        if (bytes !== piece.length || Buffer.compare(piece, target) !== 0) return false;
        offset += piece.length;
      }
    }
    return true;
  }

  async #deleteVersion(
    request: S3Request,
    key: string,
    ifMatch: string,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    for (;;) {
      try {
        const condition = conditionList({ ifMatch: this.#writer.spelled('DeleteObject', ifMatch) });
        await this.#requests.send({ ...request, signed: condition }, signal);
        return;
      } catch (error) {
        if (isFailure(error, 'not-implemented')) {
          // The version was looked at a moment ago: that is all such a store allows.
          await this.#requests.send(request, signal);
          return;
        }
        const refused = isFailure(error, 'precondition-failed');
        if (refused && (await this.#writer.afterRefusal('DeleteObject', key, ifMatch)) === 'again') continue;
        // Our own first attempt may have deleted it: gone is what was asked for.
        if (refused && error instanceof Failure && error.unknownBefore && !(await this.#look(key))) return;
        throw error;
      }
    }
  }

  /** Returns the keys that were not deleted. Rejects with `Failure`. */
  async #deleteBatch(keys: readonly string[], signal: AbortSignal | undefined): Promise<string[]> {
    const { prefix } = this.#requests.options;
    const { output } = await this.#control.run('DeleteObjects', undefined, signal, (sdk, client, bucket, sendOptions) =>
      client.send(
        new sdk.DeleteObjectsCommand({
          Bucket: bucket,
          Delete: { Quiet: true, Objects: keys.map(key => ({ Key: this.#whole(key) })) },
          ...this.#payer(),
        }),
        sendOptions,
      ),
    );
    return (output.Errors ?? []).flatMap(error => {
      const gone = error.Code === 'NoSuchKey' || !error.Key?.startsWith(prefix);
      return gone ? [] : [error.Key!.slice(prefix.length)];
    });
  }
}

const NO_BYTES = new Uint8Array(0);

function md5Etag(body: readonly Uint8Array[]): string {
  const hash = createHash('md5');
  for (const slice of body) hash.update(slice);
  return `"${hash.digest('hex')}"`;
}

export function conditionList(conditions: ConditionHeaders): HeaderList {
  if (conditions.ifMatch !== undefined) return [['if-match', conditions.ifMatch]];
  return conditions.ifNoneMatch === undefined ? [] : [['if-none-match', conditions.ifNoneMatch]];
}

/** Throws `StoreError` ('corrupt') if the answer names no ETag: then nobody knows what was written. */
function writtenOf(etag: string | undefined, answer: S3Answer, key: string, operation: string): Written {
  if (!etag) {
    throw new StoreError('corrupt', `${operation} of "${printable(key)}": the answer has no ETag`, { operation, key });
  }
  const versionId = answer.head.headers.get('x-amz-version-id');
  return {
    etag: quotedEtag(etag),
    serverDate: httpDate(answer.head.headers.get('date')) ?? answer.arrived,
    ...(versionId === undefined ? {} : { versionId }),
  };
}
