/** PutObject and CopyObject: writes in one request. */
import { createHash } from 'node:crypto';
import type { CancelSignal } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { ConditionHeaders } from './conditional-write.ts';
import { IMPOSSIBLE_ETAG } from './conditional-write.ts';
import { printable } from './error-kinds.ts';
import { attributesToRestate } from './kept-attributes.ts';
import { quotedEtag } from './listing.ts';
import type { HeaderList } from './object-headers.ts';
import { httpDate, taggingHeader } from './object-headers.ts';
import { RangedGet } from './ranged-get.ts';
import type { S3Answer, S3Request } from './requests.ts';
import { atTheDoor, sizeOf } from './requests.ts';
import { sentWithResult, textIn } from './result-document.ts';
import type { ObjectDescription, ObjectInfo, ObjectVersion, RequestOptions, WriteCondition, Written } from './store.ts';
import type { StoreContext } from './store-context.ts';
import { describing, etagIsDigest, sourcePath } from './store-context.ts';
import { CRC32_HEADER, crc32Of, crc32Text, toldCrc32 } from './write-checksums.ts';

/** A body up to this size may be sent twice, once in a store's life, to find out whether it keeps conditions. */
const PROBE_BODY_BYTES = 8 * 1024 * 1024;
/** Bytes compared at a time, where only the content tells whether an object is ours. */
const COMPARE_BYTES = 1024 * 1024;
/** S3 serves clients whose clock is wrong by up to this. */
const CLOCKS_APART_MS = 15 * 60_000;

/** What S3 answers for an object that was written without one. */
const DEFAULT_CONTENT_TYPE = 'binary/octet-stream';

const MD5_ETAG = /^"[0-9a-f]{32}"$/;

export class ObjectWrites {
  readonly #with: StoreContext;

  constructor(context: StoreContext) {
    this.#with = context;
  }

  async put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const size = sizeOf(body);
    if (size > this.#with.limits.maxPutSize) {
      throw new StoreError(
        'too-large',
        `PutObject of "${printable(key)}": ${size} bytes are too many for one request`,
        {
          operation: 'PutObject',
          key,
        },
      );
    }
    const headers = describing(this.#with, description);
    const { checksums } = this.#with;
    let crc: string | undefined;
    const checksum = (): string => {
      crc ??= crc32Text(crc32Of(body));
      return crc;
    };
    let digest: string | undefined;
    const etag = (): string => {
      digest ??= md5Etag(body);
      return digest;
    };
    return atTheDoor(
      this.#with.writer.write({
        operation: 'PutObject',
        key,
        condition,
        small: size <= PROBE_BODY_BYTES,
        etag,
        made: async info => {
          if (info.size !== size) return false;
          if (info.etag === etag()) return true;
          // An encrypted object's ETag is no MD5: then the bytes themselves tell.
          const telling = MD5_ETAG.test(info.etag) && etagIsDigest(this.#with, info.description);
          return !telling && this.#holds(info, body);
        },
        send: async conditions => {
          const written = await checksums.send('PutObject', checksum, sent => {
            const signed = [...headers, ...conditionList(conditions)];
            if (sent) signed.push([CRC32_HEADER, sent.text]);
            const compared = sent?.compared ?? false;
            const request: S3Request = { operation: 'PutObject', method: 'PUT', key, body, signed, compared };
            return sentWithResult(this.#with.requests, request, options.signal, answer => {
              const crc32 = checksums.answered('PutObject', key, sent, toldCrc32(answer.head.headers));
              const written = writtenOf(answer.head.headers.get('etag'), answer, key, 'PutObject');
              this.#with.sums.note(key, written.etag, size, crc32);
              return written;
            });
          });
          this.#with.verification.stored(body, written.etag);
          this.#with.attributes.remember(key, written.etag, { ...this.#with.writeDefaults, ...description });
          return written;
        },
      }),
    );
  }

  async copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const directives: (readonly [string, string])[] = [
      ['x-amz-copy-source', sourcePath(this.#with.requests, source.key)],
    ];
    if (description) {
      directives.push(['x-amz-metadata-directive', 'REPLACE'], ...describing(this.#with, { ...description, tags: [] }));
      if (description.tags) directives.push(['x-amz-tagging-directive', 'REPLACE'], taggingHeader(description.tags));
    } else {
      directives.push(...(await atTheDoor(this.#restated(source))));
      // S3 never copies an ACL.
      const { acl } = this.#with.writeDefaults;
      if (acl !== undefined) directives.push(['x-amz-acl', acl]);
    }
    const earliest = this.#with.requests.now() - CLOCKS_APART_MS;
    const send = (conditions: ConditionHeaders): Promise<Written> =>
      this.#copySent(source, key, conditions, directives, options.signal);
    return atTheDoor(
      this.#with.writer.write({
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
      }),
    );
  }

  /** The headers without which a copy would lose what its source has. Rejects with `Failure`. */
  async #restated(source: ObjectVersion): Promise<HeaderList> {
    const known = this.#with.attributes.of(source);
    if (known) return known;
    const info = await this.#with.look(source.key);
    // What is gone or has changed is refused by the copy itself.
    return info ? attributesToRestate(info.description) : [];
  }

  #copySent(
    source: ObjectVersion,
    key: string,
    conditions: ConditionHeaders,
    headers: HeaderList,
    signal: CancelSignal | undefined,
  ): Promise<Written> {
    return this.#with.sources.copy({
      operation: 'CopyObject',
      source,
      trial: conditions.ifMatch === IMPOSSIBLE_ETAG,
      targetHolds: async () => {
        if (conditions.ifMatch === undefined) return !conditions.ifNoneMatch || !(await this.#with.look(key));
        return (await this.#with.look(key))?.etag === quotedEtag(conditions.ifMatch);
      },
      send: async ifMatch => {
        const guard: HeaderList = ifMatch === undefined ? [] : [['x-amz-copy-source-if-match', ifMatch]];
        const request: S3Request = {
          operation: 'CopyObject',
          method: 'PUT',
          key,
          source: source.key,
          signed: [...headers, ...guard, ...conditionList(conditions)],
          firstByteTimeout: this.#with.requests.options.workTimeout,
        };
        return sentWithResult(this.#with.requests, request, signal, answer => {
          const written = writtenOf(textIn(answer, request, 'CopyObjectResult', 'ETag'), answer, key, 'CopyObject');
          this.#with.sums.copied(source, key, written.etag);
          return written;
        });
      },
    });
  }

  /** Has the object what a copy was to give it? Content headers and metadata, against a description or those of a source. */
  async #describedAs(info: ObjectInfo, meant: ObjectDescription | ObjectVersion): Promise<boolean> {
    const wanted = 'metadata' in meant ? meant : (await this.#with.look(meant.key))?.description;
    if (!wanted) return false;
    const flat = (description: ObjectDescription): string =>
      JSON.stringify([
        Object.entries(description.metadata).sort(([a], [b]) => (a < b ? -1 : 1)),
        description.headers.contentType ?? DEFAULT_CONTENT_TYPE,
      ]);
    return flat(info.description) === flat(wanted);
  }

  /** Are the object's bytes these? Read and compared a piece at a time. */
  async #holds(info: ObjectInfo, body: readonly Uint8Array[]): Promise<boolean> {
    const buffer = new Uint8Array(COMPARE_BYTES);
    const { requests, writer, verification, sums } = this.#with;
    let offset = 0;
    for (const slice of body) {
      for (let at = 0; at < slice.length; at += COMPARE_BYTES) {
        const piece = slice.subarray(at, at + COMPARE_BYTES);
        const target = buffer.subarray(0, piece.length);
        const range = { offset, length: piece.length, ifMatch: info.etag };
        const spelled = (etag: string): string => writer.spelled('read', etag);
        const get = new RangedGet(requests, info.key, range, { buffers: [target] }, spelled, verification, sums);
        const { bytes } = await get.run(undefined);
        if (bytes !== piece.length || Buffer.compare(piece, target) !== 0) return false;
        offset += piece.length;
      }
    }
    return true;
  }
}

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
