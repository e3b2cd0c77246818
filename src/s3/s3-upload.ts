/** A multipart upload in progress. Parts go over the lean path; completing and aborting are worded by the SDK. */
import { createHash } from 'node:crypto';
import { isStoreError, StoreError } from '../errors.ts';
import { printable } from './error-kinds.ts';
import { quotedEtag } from './listing.ts';
import type { HeaderList } from './object-headers.ts';
import { hasMd5Etag, httpDate } from './object-headers.ts';
import type { S3Request } from './requests.ts';
import { atTheDoor, isFailure, sizeOf, storeErrorOf } from './requests.ts';
import { sentWithResult, textIn } from './result-document.ts';
import { canonicalQuery } from './sigv4.ts';
import type {
  ObjectInfo,
  ObjectVersion,
  RequestOptions,
  Upload,
  UploadedPart,
  WriteCondition,
  Written,
} from './store.ts';
import type { StoreContext } from './store-context.ts';
import { requestPayer, sourcePath, wholeKey } from './store-context.ts';

export class S3Upload implements Upload {
  readonly key: string;
  readonly uploadId: string;
  readonly #with: StoreContext;
  readonly #wholeKey: string;

  constructor(key: string, uploadId: string, context: StoreContext) {
    this.key = key;
    this.uploadId = uploadId;
    this.#with = context;
    this.#wholeKey = wholeKey(context.requests, key);
  }

  async putPart(number: number, body: readonly Uint8Array[], options: RequestOptions = {}): Promise<UploadedPart> {
    const size = sizeOf(body);
    this.#checkPart('UploadPart', number, size);
    const request: S3Request = {
      operation: 'UploadPart',
      method: 'PUT',
      key: this.key,
      query: this.#query(number),
      body,
    };
    return atTheDoor(
      sentWithResult(this.#with.requests, request, options.signal, answer => {
        const etag = answer.head.headers.get('etag');
        if (!etag) throw this.#error('corrupt', 'UploadPart', 'the answer has no ETag');
        return { number, etag: quotedEtag(etag), size };
      }),
    );
  }

  async copyPart(
    number: number,
    source: ObjectVersion,
    offset: number,
    length: number,
    options: RequestOptions = {},
  ): Promise<UploadedPart> {
    this.#checkPart('UploadPartCopy', number, length);
    const send = async (ifMatch: string | undefined): Promise<UploadedPart> => {
      const guard: HeaderList = ifMatch === undefined ? [] : [['x-amz-copy-source-if-match', ifMatch]];
      const request: S3Request = {
        operation: 'UploadPartCopy',
        method: 'PUT',
        key: this.key,
        source: source.key,
        query: this.#query(number),
        signed: [
          ['x-amz-copy-source', sourcePath(this.#with.requests, source.key)],
          ['x-amz-copy-source-range', `bytes=${offset}-${offset + length - 1}`],
          ...guard,
        ],
        firstByteTimeout: this.#with.requests.options.workTimeout,
      };
      return sentWithResult(this.#with.requests, request, options.signal, answer => ({
        number,
        etag: quotedEtag(textIn(answer, request, 'CopyPartResult', 'ETag')),
        size: length,
      }));
    };
    return atTheDoor(
      this.#with.sources.copy({ operation: 'UploadPartCopy', source, trial: false, targetHolds: () => true, send }),
    );
  }

  async complete(
    parts: readonly UploadedPart[],
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    if (parts.length === 0) throw this.#error('invalid', 'CompleteMultipartUpload', 'an upload without parts');
    const expected = multipartEtag(parts);
    let size = 0;
    for (const part of parts) size += part.size;
    return atTheDoor(
      this.#with.writer.write({
        operation: 'CompleteMultipartUpload',
        key: this.key,
        condition,
        small: true,
        etag: () => expected,
        made: info => this.#made(info, size, parts.length, expected),
        send: async conditions => {
          const { output, date } = await this.#with.control.run(
            'CompleteMultipartUpload',
            this.key,
            options.signal,
            (sdk, client, bucket, sendOptions) =>
              client.send(
                new sdk.CompleteMultipartUploadCommand({
                  Bucket: bucket,
                  Key: this.#wholeKey,
                  UploadId: this.uploadId,
                  MultipartUpload: { Parts: parts.map(part => ({ PartNumber: part.number, ETag: part.etag })) },
                  ...(conditions.ifMatch === undefined ? {} : { IfMatch: conditions.ifMatch }),
                  ...(conditions.ifNoneMatch === undefined ? {} : { IfNoneMatch: conditions.ifNoneMatch }),
                  ...requestPayer(this.#with.requests),
                }),
                sendOptions,
              ),
          );
          // Ceph RGW 16 leaves it empty when it finds the upload completed already: then the object tells.
          const etag = output.ETag || (await this.#madeEtag(size, parts.length, expected));
          return {
            etag: quotedEtag(etag),
            serverDate: httpDate(date) ?? this.#with.requests.now(),
            ...(output.VersionId === undefined ? {} : { versionId: output.VersionId }),
          };
        },
      }),
    );
  }

  async abort(): Promise<void> {
    try {
      await this.#with.control.run('AbortMultipartUpload', this.key, undefined, (sdk, client, bucket, sendOptions) =>
        client.send(
          new sdk.AbortMultipartUploadCommand({
            Bucket: bucket,
            Key: this.#wholeKey,
            UploadId: this.uploadId,
            ...requestPayer(this.#with.requests),
          }),
          sendOptions,
        ),
      );
    } catch (error) {
      const seen = storeErrorOf(error);
      if (isStoreError(seen, 'no-such-upload', 'not-found')) return;
      throw seen;
    }
  }

  /** Is the object under our key what completing this upload makes? */
  async #made(info: ObjectInfo, size: number, count: number, expected: string | undefined): Promise<boolean> {
    if (info.size !== size) return false;
    if (expected !== undefined && info.etag === expected) return true;
    // Where parts are encrypted with KMS the ETag cannot be told beforehand. But an upload ends by completing or aborting
    // only, and we did not abort it: gone, with as many parts and bytes in the object, it was completed.
    const telling = expected !== undefined && hasMd5Etag(info.description);
    return !telling && info.etag.endsWith(`-${count}"`) && (await this.#gone());
  }

  async #madeEtag(size: number, count: number, expected: string | undefined): Promise<string> {
    const info = await this.#with.look(this.key);
    if (info && (await this.#made(info, size, count, expected))) return info.etag;
    throw this.#error('corrupt', 'CompleteMultipartUpload', 'the answer has no ETag');
  }

  async #gone(): Promise<boolean> {
    try {
      await this.#with.control.run('ListParts', this.key, undefined, (sdk, client, bucket, sendOptions) =>
        client.send(
          new sdk.ListPartsCommand({ Bucket: bucket, Key: this.#wholeKey, UploadId: this.uploadId, MaxParts: 1 }),
          sendOptions,
        ),
      );
      return false;
    } catch (error) {
      return isFailure(error, 'no-such-upload');
    }
  }

  #query(number: number): string {
    return canonicalQuery([
      ['partNumber', String(number)],
      ['uploadId', this.uploadId],
    ]);
  }

  #checkPart(operation: string, number: number, size: number): void {
    const { maxParts, maxPartSize } = this.#with.limits;
    if (!Number.isInteger(number) || number < 1 || number > maxParts) {
      throw this.#error('invalid', operation, `there is no part ${number}`);
    }
    if (size > maxPartSize) throw this.#error('too-large', operation, `${size} bytes are too many for one part`);
  }

  #error(kind: 'invalid' | 'too-large' | 'corrupt', operation: string, what: string): StoreError {
    return new StoreError(kind, `${operation} of "${printable(this.key)}": ${what}`, { operation, key: this.key });
  }
}

/** S3's ETag of a multipart object: the MD5 of its parts' MD5s, and their count. Undefined if a part's ETag is no MD5. */
function multipartEtag(parts: readonly UploadedPart[]): string | undefined {
  const hash = createHash('md5');
  for (const part of parts) {
    const digest = /^"([0-9a-f]{32})"$/.exec(part.etag);
    if (!digest) return undefined;
    hash.update(Buffer.from(digest[1]!, 'hex'));
  }
  return `"${hash.digest('hex')}-${parts.length}"`;
}
