/** HEAD, ranged GET and LIST: what tells of objects, and brings their bytes. */
import type { CancelSignal } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { ConditionalWriter } from './conditional-write.ts';
import { printable } from './error-kinds.ts';
import type { KeptAttributes } from './kept-attributes.ts';
import { parseListing } from './listing.ts';
import type { ListingOrder } from './listing-order.ts';
import type { HeaderList } from './object-headers.ts';
import { objectInfo, serverDate } from './object-headers.ts';
import { RangedGet } from './ranged-get.ts';
import type { ReadChecksums } from './read-checksums.ts';
import type { S3Answer, S3Request, S3Requests } from './requests.ts';
import { isFailure, storeErrorOf } from './requests.ts';
import { refuseErrorIn200 } from './result-document.ts';
import type { AttemptContext, RetryPolicy } from './retry.ts';
import { canonicalQuery } from './sigv4.ts';
import type { GetRequest, GetResult, GetSink, ListPage, ListRequest, ObjectInfo, RequestOptions } from './store.ts';
import { wholeKey } from './store-context.ts';
import type { Verification } from './verification.ts';
import { XmlError } from './xml.ts';

export interface ObjectReadsParts {
  readonly requests: S3Requests;
  readonly writer: ConditionalWriter;
  readonly attributes: KeptAttributes;
  readonly verification: Verification;
  readonly sums: ReadChecksums;
  readonly order: ListingOrder;
}

/** Has a HEAD tell the checksum that is kept with an object. */
const TELL_CHECKSUM: HeaderList = [['x-amz-checksum-mode', 'ENABLED']];

/** Forbidden HEADs after which none asks for checksums any more: it is not told apart whether that was the reason. */
const MAX_REFUSALS = 8;

export class ObjectReads {
  readonly #with: ObjectReadsParts;
  #checksumsTold = true;
  /** HEADs with checksums that were forbidden. */
  #refusals = 0;

  constructor(parts: ObjectReadsParts) {
    this.#with = parts;
  }

  async head(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<ObjectInfo> {
    const { ifMatch, signal } = options;
    for (;;) {
      const sent = ifMatch === undefined ? '' : this.#with.writer.spelled('read', ifMatch);
      try {
        const unsigned = ifMatch === undefined ? '' : `if-match: ${sent}\r\n`;
        const info = await this.#headSent({ operation: 'HeadObject', method: 'HEAD', key, unsigned }, key, signal);
        if (ifMatch === undefined || info.etag === ifMatch) return this.#noted(info);
        throw new StoreError(
          'precondition-failed',
          `HeadObject of "${printable(key)}": it is now version ${info.etag}`,
          {
            operation: 'HeadObject',
            key,
          },
        );
      } catch (error) {
        if (await this.#misread(error, key, ifMatch, sent)) continue;
        throw storeErrorOf(error);
      }
    }
  }

  async get(key: string, request: GetRequest, sink: GetSink, options: RequestOptions = {}): Promise<GetResult> {
    const { signal } = options;
    const { ifMatch } = request;
    for (;;) {
      const { requests, writer, verification, sums } = this.#with;
      let sent = '';
      const spelled = (etag: string): string => {
        sent = writer.spelled('read', etag);
        return sent;
      };
      const get = new RangedGet(requests, key, request, sink, spelled, verification, sums);
      try {
        const result = await get.run(signal);
        if (ifMatch !== undefined) this.#with.writer.worked('read');
        this.#noted(result.info);
        return result;
      } catch (error) {
        if (get.info === undefined) {
          if (isFailure(error, 'range') && request.offset === 0)
            return this.#emptyObject(key, request, sink, error, signal);
          if (await this.#misread(error, key, ifMatch, sent)) continue;
        }
        throw storeErrorOf(error);
      }
    }
  }

  async list(request: ListRequest, options: RequestOptions = {}, policy?: RetryPolicy): Promise<ListPage> {
    const { requests } = this.#with;
    const wanted = this.#listRequest(request);
    const attempt = async (context: AttemptContext): Promise<ListPage> =>
      this.#parseList(await requests.once(wanted, context, options.signal));
    const { order } = this.#with;
    try {
      return order.page(await requests.run(wanted, options.signal, attempt, policy));
    } catch (error) {
      if (request.startAfter !== undefined && isFailure(error, 'not-implemented')) order.lost('start-after refused');
      throw storeErrorOf(error);
    }
  }

  /** The object as it is; undefined if there is none. Rejects with `Failure`. */
  async look(key: string): Promise<ObjectInfo | undefined> {
    try {
      return await this.#headSent({ operation: 'HeadObject', method: 'HEAD', key }, key, undefined);
    } catch (error) {
      if (isFailure(error, 'not-found')) return undefined;
      throw error;
    }
  }

  /**
   * Asks for the checksum too. Of what a KMS key encrypts S3 tells it only to those who may decrypt: a HEAD that is forbidden
   * is sent again without, and if that helps none asks any more. Rejects with `Failure`.
   */
  async #headSent(request: S3Request, key: string, signal: CancelSignal | undefined): Promise<ObjectInfo> {
    if (!this.#with.sums.on || !this.#checksumsTold) return this.#headOnce(request, key, signal);
    try {
      return await this.#headOnce({ ...request, signed: TELL_CHECKSUM }, key, signal);
    } catch (error) {
      if (!isFailure(error, 'forbidden')) throw error;
      // Where much is forbidden the checksums are given up rather than that each HEAD is sent twice.
      if (++this.#refusals >= MAX_REFUSALS) this.#checksumsTold = false;
      const info = await this.#headOnce(request, key, signal);
      this.#checksumsTold = false;
      return info;
    }
  }

  /** An answer that tells nothing of an object is a failed attempt. */
  #headOnce(request: S3Request, key: string, signal: CancelSignal | undefined): Promise<ObjectInfo> {
    const { requests } = this.#with;
    return requests.run(request, signal, async context =>
      this.#infoOf(key, await requests.once(request, context, signal)),
    );
  }

  #infoOf(key: string, answer: S3Answer): ObjectInfo {
    const { headers } = answer.head;
    const size = headers.get('content-length') ?? '';
    if (!/^\d{1,15}$/.test(size)) {
      throw new StoreError('corrupt', `HeadObject of "${printable(key)}": the answer has no length`, { key });
    }
    const info = objectInfo(key, Number(size), headers, answer.arrived);
    this.#with.sums.told(info, headers);
    return info;
  }

  #noted(info: ObjectInfo): ObjectInfo {
    this.#with.attributes.remember(info.key, info.etag, info.description);
    return info;
  }

  /** A read was refused because of how its `If-Match` was spelled: it is to be sent again. */
  async #misread(error: unknown, key: string, ifMatch: string | undefined, sent: string): Promise<boolean> {
    if (ifMatch === undefined || !isFailure(error, 'precondition-failed')) return false;
    return (await this.#with.writer.afterRefusal('read', key, ifMatch, sent)) === 'again';
  }

  /** No range of an empty object can be had (416): a HEAD tells of it what a GET would have. */
  async #emptyObject(
    key: string,
    request: GetRequest,
    sink: GetSink,
    refusal: unknown,
    signal: CancelSignal | undefined,
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
      ['prefix', wholeKey(this.#with.requests, prefix)],
    ];
    if (delimiter !== undefined) query.push(['delimiter', delimiter]);
    if (startAfter !== undefined) query.push(['start-after', wholeKey(this.#with.requests, startAfter)]);
    if (continuation !== undefined) query.push(['continuation-token', continuation]);
    if (maxKeys !== undefined) query.push(['max-keys', String(maxKeys)]);
    return { operation: 'ListObjectsV2', method: 'GET', key: undefined, query: canonicalQuery(query) };
  }

  #parseList(answer: S3Answer): ListPage {
    const { bucket, prefix, telemetry } = this.#with.requests.options;
    const { head, body, arrived } = answer;
    refuseErrorIn200({ operation: 'ListObjectsV2', key: undefined, bucket }, answer);
    try {
      const { objects, prefixes, next, unreadable } = parseListing(body, prefix);
      telemetry.count('s3.listed', objects.length);
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
}
