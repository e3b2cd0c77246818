/** A multipart upload in progress. Parts go over the lean path; completing and aborting are worded by the SDK. */
import { createHash } from 'node:crypto';
import { isStoreError, StoreError } from '../errors.ts';
import { printable } from './error-kinds.ts';
import { quotedEtag } from './listing.ts';
import type { HeaderList } from './object-headers.ts';
import { httpDate } from './object-headers.ts';
import type { S3Request } from './requests.ts';
import { atTheDoor, isFailure, sizeOf, storeErrorOf } from './requests.ts';
import { optionalTextIn, sentWithResult, textIn } from './result-document.ts';
import { canonicalQuery } from './sigv4.ts';
import type {
  ObjectInfo,
  ObjectVersion,
  PartOptions,
  RequestOptions,
  Upload,
  UploadedPart,
  WriteCondition,
  Written,
} from './store.ts';
import type { StoreContext } from './store-context.ts';
import { etagIsDigest, requestPayer, sourcePath, wholeKey } from './store-context.ts';
import type { SentChecksum } from './write-checksums.ts';
import { CRC32_HEADER, crc32Of, crc32OfParts, crc32Text, toldCrc32 } from './write-checksums.ts';

/**
 * With which checksums an upload was begun: of the whole object, of parts only (or the store did not say), none; unknown of
 * one that an earlier daemon began.
 */
export type UploadChecksums = 'whole' | 'parts' | 'none' | 'unknown';

export class S3Upload implements Upload {
  readonly key: string;
  readonly uploadId: string;
  readonly #with: StoreContext;
  readonly #wholeKey: string;
  #checksums: UploadChecksums;

  constructor(key: string, uploadId: string, context: StoreContext, checksums: UploadChecksums) {
    this.key = key;
    this.uploadId = uploadId;
    this.#with = context;
    this.#wholeKey = wholeKey(context.requests, key);
    this.#checksums = checksums;
  }

  async putPart(number: number, body: readonly Uint8Array[], options: PartOptions = {}): Promise<UploadedPart> {
    const size = sizeOf(body);
    this.#checkPart('UploadPart', number, size);
    const { checksums } = this.#with;
    const { crc32 = () => crc32Of(body) } = options;
    const send = (sent: SentChecksum | undefined): Promise<UploadedPart> => {
      const request: S3Request = {
        operation: 'UploadPart',
        method: 'PUT',
        key: this.key,
        query: this.#query(number),
        body,
        compared: sent?.compared ?? false,
        ...(sent ? { signed: [[CRC32_HEADER, sent.text]] } : {}),
      };
      return sentWithResult(this.#with.requests, request, options.signal, answer => {
        const { headers } = answer.head;
        const crc32 = checksums.answered('UploadPart', this.key, sent, toldCrc32(headers));
        const etag = headers.get('etag');
        if (!etag) throw this.#error('corrupt', 'UploadPart', 'the answer has no ETag');
        return { number, etag: quotedEtag(etag), size, ...(crc32 === undefined ? {} : { crc32 }) };
      });
    };
    // S3 takes no part without a checksum for an upload that was begun with them.
    const begunWith = this.#checksums === 'whole' || this.#checksums === 'parts';
    if (this.#checksums === 'none') return atTheDoor(send(undefined));
    if (this.#checksums === 'unknown') return atTheDoor(this.#putUnknown(crc32, send));
    return atTheDoor(checksums.send('UploadPart', () => crc32Text(crc32()), send, begunWith));
  }

  /** S3 takes parts as the upload was begun: with checksums or without. What the first one shows holds for all. */
  async #putUnknown(
    crc32: () => number,
    send: (sent: SentChecksum | undefined) => Promise<UploadedPart>,
  ): Promise<UploadedPart> {
    const sum = (): SentChecksum => ({ text: crc32Text(crc32()), compared: false });
    const withSum = this.#with.checksums.sends('UploadPart');
    try {
      const part = await send(withSum ? sum() : undefined);
      this.#checksums = withSum ? 'parts' : 'none';
      return part;
    } catch (error) {
      if (!isFailure(error, 'invalid', 'not-implemented')) throw error;
      const part = await send(withSum ? undefined : sum());
      this.#checksums = withSum ? 'none' : 'parts';
      return part;
    }
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
      return sentWithResult(this.#with.requests, request, options.signal, answer => {
        const crc32 = optionalTextIn(answer, 'CopyPartResult', 'ChecksumCRC32');
        return {
          number,
          etag: quotedEtag(textIn(answer, request, 'CopyPartResult', 'ETag')),
          size: length,
          ...(crc32 === undefined ? {} : { crc32 }),
        };
      });
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
    const { checksums } = this.#with;
    const whole = (): string | undefined => (this.#checksums === 'whole' ? crc32OfParts(parts) : undefined);
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
          const { output, date } = await checksums.send('CompleteMultipartUpload', whole, async sent => {
            const result = await this.#with.control.run(
              'CompleteMultipartUpload',
              this.key,
              options.signal,
              (sdk, client, bucket, sendOptions) =>
                client.send(
                  new sdk.CompleteMultipartUploadCommand({
                    Bucket: bucket,
                    Key: this.#wholeKey,
                    UploadId: this.uploadId,
                    MultipartUpload: {
                      Parts: parts.map(part => ({
                        PartNumber: part.number,
                        ETag: part.etag,
                        ...(part.crc32 === undefined ? {} : { ChecksumCRC32: part.crc32 }),
                      })),
                    },
                    ...(sent ? { ChecksumCRC32: sent.text, ChecksumType: 'FULL_OBJECT' as const } : {}),
                    ...(conditions.ifMatch === undefined ? {} : { IfMatch: conditions.ifMatch }),
                    ...(conditions.ifNoneMatch === undefined ? {} : { IfNoneMatch: conditions.ifNoneMatch }),
                    ...requestPayer(this.#with.requests),
                  }),
                  sendOptions,
                ),
            );
            const { ChecksumCRC32, ETag } = result.output;
            const crc32 = checksums.answered('CompleteMultipartUpload', this.key, sent, ChecksumCRC32);
            if (ETag) this.#with.sums.note(this.key, quotedEtag(ETag), size, crc32);
            return result;
          });
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
    const telling = expected !== undefined && etagIsDigest(this.#with, info.description);
    const counted = this.#with.requests.endpoint.express || info.etag.endsWith(`-${count}"`);
    return !telling && counted && (await this.#gone());
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
