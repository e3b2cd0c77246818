/** What S3 keeps beside an object's bytes, as headers: written in full with each object, read from each HEAD and GET. */
import { StoreError, visible } from '../errors.ts';
import { quotedEtag } from './listing.ts';
import { ownText } from './own-text.ts';
import { encodeComponent } from './sigv4.ts';
import type { ContentHeaders, ObjectDescription, ObjectInfo } from './store.ts';

export type Headers = ReadonlyMap<string, string>;
/** Names in lower case. */
export type HeaderList = readonly (readonly [string, string])[];

/** What the store adds to each object that does not say otherwise. */
export interface WriteDefaults {
  readonly storageClass?: string;
  readonly encryption?: NonNullable<ObjectDescription['encryption']>;
  /** A canned ACL, such as `bucket-owner-full-control`. */
  readonly acl?: string;
}

const CONTENT_HEADERS: readonly (readonly [keyof ContentHeaders, string])[] = [
  ['contentType', 'content-type'],
  ['contentEncoding', 'content-encoding'],
  ['contentDisposition', 'content-disposition'],
  ['contentLanguage', 'content-language'],
  ['cacheControl', 'cache-control'],
  ['expires', 'expires'],
  ['websiteRedirectLocation', 'x-amz-website-redirect-location'],
];

const META = 'x-amz-meta-';

/** Throws `StoreError` ('invalid') for a value that would be another header, or has no byte for a character. */
function checked(name: string, value: string): readonly [string, string] {
  if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw new StoreError(
      'invalid',
      `S3 cannot keep the header ${JSON.stringify(name)}: its name or value is not plain text`,
    );
  }
  return [name, value];
}

/** The headers that make an object what `description` says; `tags` apart. Throws `StoreError` ('invalid'). */
export function describingHeaders(
  description: ObjectDescription,
  defaults: WriteDefaults,
): (readonly [string, string])[] {
  const list: (readonly [string, string])[] = [];
  for (const [field, name] of CONTENT_HEADERS) {
    const value = description.headers[field];
    if (value !== undefined && value !== '') list.push(checked(name, value));
  }
  for (const [name, value] of Object.entries(description.metadata)) list.push(checked(META + name, value));
  const storageClass = description.storageClass ?? defaults.storageClass;
  if (storageClass !== undefined) list.push(checked('x-amz-storage-class', storageClass));
  const encryption = description.encryption ?? defaults.encryption;
  // The customer's key comes with each request (`customer-keys.ts`).
  if (encryption && encryption.algorithm !== BY_CUSTOMER_KEY) {
    list.push(checked('x-amz-server-side-encryption', encryption.algorithm));
    if (encryption.kmsKeyId !== undefined) {
      list.push(checked('x-amz-server-side-encryption-aws-kms-key-id', encryption.kmsKeyId));
    }
    if (encryption.bucketKeyEnabled !== undefined) {
      list.push(['x-amz-server-side-encryption-bucket-key-enabled', String(encryption.bucketKeyEnabled)]);
    }
  }
  if (defaults.acl !== undefined) list.push(checked('x-amz-acl', defaults.acl));
  return list;
}

/** `algorithm` of what is encrypted by a key that the customer keeps (SSE-C): no word of S3's. */
const BY_CUSTOMER_KEY = 'SSE-C';

/** Whether the ETag of an object that was put in one piece is the MD5 of its bytes. */
export function hasMd5Etag({ encryption }: ObjectDescription): boolean {
  return encryption?.algorithm !== BY_CUSTOMER_KEY && !encryption?.algorithm.startsWith('aws:kms');
}

/** Tags as the `x-amz-tagging` header takes them. */
export function taggingHeader(tags: readonly (readonly [string, string])[]): readonly [string, string] {
  // A space as %20: Ceph RGW takes the plus sign of a form for itself.
  return ['x-amz-tagging', tags.map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`).join('&')];
}

/** What was parsed last of a header: the `Date` of one answer is mostly that of the one before. */
interface LastDate {
  text: string;
  time: number;
}

const lastServerDate: LastDate = { text: '', time: Number.NaN };
/** Of its own: `Date` comes between any two of them. */
const lastLastModified: LastDate = { text: '', time: Number.NaN };

/** ms since the epoch of a `Date` or `Last-Modified` header; undefined if there is none or it is no date. */
export function httpDate(text: string | undefined, last: LastDate = lastServerDate): number | undefined {
  if (text === undefined) return undefined;
  if (text !== last.text) {
    last.text = text;
    last.time = Date.parse(text);
  }
  return Number.isNaN(last.time) ? undefined : last.time;
}

/** The server's clock, ms since the epoch; `arrived` where the answer does not say. */
export function serverDate(headers: Headers, arrived: number): number {
  return httpDate(headers.get('date')) ?? arrived;
}

/** S3's classes whose bytes must be restored before they can be read. */
const ARCHIVED_CLASSES = new Set(['GLACIER', 'DEEP_ARCHIVE']);

/** What is remembered of an object is remembered for long, and the other headers of its answer are not: see `own-text.ts`. */
function ownValue(headers: Headers, name: string): string | undefined {
  const value = headers.get(name);
  return value === undefined ? undefined : ownText(value);
}

/** Reads the headers of a HEAD or GET. `size` is the object's. Throws `StoreError` ('corrupt'). */
export function objectInfo(key: string, size: number, headers: Headers, arrived: number): ObjectInfo {
  const etag = headers.get('etag');
  const lastModified = httpDate(headers.get('last-modified'), lastLastModified);
  if (!etag || lastModified === undefined) {
    throw new StoreError('corrupt', `the answer for "${visible(key)}" has no ETag or no Last-Modified: this is no S3`, {
      key,
    });
  }
  const contentHeaders: Partial<Record<keyof ContentHeaders, string>> = {};
  for (const [field, name] of CONTENT_HEADERS) {
    const value = ownValue(headers, name);
    if (value !== undefined) contentHeaders[field] = value;
  }
  const metadata: Record<string, string> = {};
  for (const [name, text] of headers) {
    // By assignment `__proto__`, which a bucket may hold like every other name, would not be kept.
    if (!name.startsWith(META)) continue;
    const own = ownText(name.slice(META.length));
    const value = ownText(text);
    if (own === '__proto__') {
      Object.defineProperty(metadata, own, { value, enumerable: true, writable: true, configurable: true });
    } else metadata[own] = value;
  }
  const storageClass = ownValue(headers, 'x-amz-storage-class');
  const algorithm = headers.has('x-amz-server-side-encryption-customer-algorithm')
    ? BY_CUSTOMER_KEY
    : ownValue(headers, 'x-amz-server-side-encryption');
  const kmsKeyId = ownValue(headers, 'x-amz-server-side-encryption-aws-kms-key-id');
  const bucketKey = headers.get('x-amz-server-side-encryption-bucket-key-enabled');
  const versionId = ownValue(headers, 'x-amz-version-id');
  const restore = ownValue(headers, 'x-amz-restore');
  const tags = Number(headers.get('x-amz-tagging-count') ?? 0);
  const sleeping =
    headers.has('x-amz-archive-status') || (storageClass !== undefined && ARCHIVED_CLASSES.has(storageClass));
  return {
    key,
    etag: quotedEtag(etag),
    size,
    lastModified,
    serverDate: serverDate(headers, arrived),
    description: {
      headers: contentHeaders,
      metadata,
      ...(storageClass === undefined ? {} : { storageClass }),
      ...(algorithm === undefined
        ? {}
        : {
            encryption: {
              algorithm,
              ...(kmsKeyId === undefined ? {} : { kmsKeyId }),
              ...(bucketKey === undefined ? {} : { bucketKeyEnabled: bucketKey === 'true' }),
            },
          }),
    },
    tagCount: Number.isSafeInteger(tags) && tags > 0 ? tags : 0,
    ...(versionId === undefined ? {} : { versionId }),
    ...(restore === undefined ? {} : { restore }),
    archived: sleeping && !restore?.includes('ongoing-request="false"'),
  };
}
