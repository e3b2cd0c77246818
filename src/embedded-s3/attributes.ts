/** What a write says to keep beside the bytes, and how it is told again. Header values are byte strings. */
import { createHash } from 'node:crypto';
import { isAscii, percentDecode, toByteString } from './byte-string.ts';
import { type Call, headerOf } from './call.ts';
import { checksumHeader } from './checksums.ts';
import { isDirectoryBucket } from './directory-bucket.ts';
import { S3Failure } from './s3-error.ts';
import type { ObjectAttributes, Pairs, StoredObject } from './state.ts';

const CONTENT_HEADERS = [
  'content-type',
  'content-encoding',
  'content-disposition',
  'content-language',
  'cache-control',
  'expires',
  'x-amz-website-redirect-location',
] as const;

/** Amazon S3 User Guide, "Working with object metadata": names and values together. */
const MAX_METADATA = 2048;

const STORAGE_CLASSES = new Set([
  'STANDARD',
  'REDUCED_REDUNDANCY',
  'STANDARD_IA',
  'ONEZONE_IA',
  'INTELLIGENT_TIERING',
  'GLACIER',
  'DEEP_ARCHIVE',
  'GLACIER_IR',
  'OUTPOSTS',
  'SNOW',
  'EXPRESS_ONEZONE',
]);
const ARCHIVED = new Set(['GLACIER', 'DEEP_ARCHIVE']);

export function contentHeaders(call: Call): Pairs {
  const headers: [string, string][] = [];
  for (const name of CONTENT_HEADERS) {
    let value = headerOf(call, name);
    // `aws-chunked` is how the body came, not what it is.
    if (name === 'content-encoding') {
      value = value
        ?.split(',')
        .map(coding => coding.trim())
        .filter(coding => coding.toLowerCase() !== 'aws-chunked')
        .join(',');
    }
    if (value) headers.push([name, value]);
  }
  return headers;
}

export function userMetadata(call: Call): Pairs {
  const metadata: [string, string][] = [];
  let size = 0;
  for (const [header, value] of Object.entries(call.headers)) {
    if (!header.startsWith('x-amz-meta-') || typeof value !== 'string') continue;
    const name = header.slice('x-amz-meta-'.length);
    metadata.push([name, value]);
    size += name.length + value.length;
  }
  if (size > MAX_METADATA) {
    throw new S3Failure('MetadataTooLarge', { fields: { Size: size, MaxSizeAllowed: MAX_METADATA } });
  }
  return metadata;
}

export function storageClass(call: Call): string {
  const usual = isDirectoryBucket(call.address.bucket) ? 'EXPRESS_ONEZONE' : 'STANDARD';
  const name = headerOf(call, 'x-amz-storage-class') ?? usual;
  if (!STORAGE_CLASSES.has(name)) {
    throw new S3Failure('InvalidStorageClass', { fields: { StorageClassRequested: name } });
  }
  return name;
}

/** `a=1&b=2`, percent-encoded. */
export function parseTagHeader(text: string | undefined): Pairs {
  if (!text) return [];
  const tags = text.split('&').map((item): [string, string] => {
    const equals = item.indexOf('=');
    const decode = (raw: string): string => percentDecode(raw.replaceAll('+', ' ')) ?? '';
    return equals < 0 ? [decode(item), ''] : [decode(item.slice(0, equals)), decode(item.slice(equals + 1))];
  });
  checkTags(tags);
  return tags;
}

export function checkTags(tags: Pairs): void {
  const names = new Set(tags.map(([name]) => name));
  if (tags.length > 10) throw new S3Failure('InvalidTag', { message: 'Object tags cannot be greater than 10' });
  if (names.size !== tags.length) {
    throw new S3Failure('InvalidTag', { message: 'Cannot provide multiple Tags with the same key' });
  }
  if (names.has('')) throw new S3Failure('InvalidTag');
}

/** SSE-C: the base64 MD5 of the key that came with the request, checked. `prefix`: for a copy's source. */
export function customerKey(call: Call, prefix = 'x-amz-'): string | undefined {
  const name = `${prefix}server-side-encryption-customer-`;
  const algorithm = headerOf(call, `${name}algorithm`);
  if (algorithm === undefined) return undefined;
  const key = Buffer.from(headerOf(call, `${name}key`) ?? '', 'base64');
  const md5 = headerOf(call, `${name}key-md5`);
  if (algorithm !== 'AES256' || key.length !== 32) {
    throw new S3Failure('InvalidArgument', { message: 'The secret key was invalid for the specified algorithm.' });
  }
  if (createHash('md5').update(key).digest('base64') !== md5) {
    throw new S3Failure('InvalidArgument', {
      message: 'The calculated MD5 hash of the key did not match the hash that was provided.',
    });
  }
  return md5;
}

const AES256: Pairs = [['x-amz-server-side-encryption', 'AES256']];

const encryptsByKms = ({ world: { modes } }: Call): boolean => (modes.kms ?? false) || (modes.kmsDenied ?? false);

function encryption(call: Call, customerKeyMd5: string | undefined): Pairs {
  if (customerKeyMd5 !== undefined) {
    if (headerOf(call, 'x-amz-server-side-encryption') !== undefined) {
      throw new S3Failure('InvalidArgument', {
        message:
          'Server Side Encryption with Customer provided key is incompatible with the encryption method specified',
      });
    }
    return [
      ['x-amz-server-side-encryption-customer-algorithm', 'AES256'],
      ['x-amz-server-side-encryption-customer-key-md5', customerKeyMd5],
    ];
  }
  const algorithm = headerOf(call, 'x-amz-server-side-encryption') ?? (encryptsByKms(call) ? 'aws:kms' : 'AES256');
  if (algorithm === 'AES256') return AES256;
  if (algorithm !== 'aws:kms' && algorithm !== 'aws:kms:dsse') {
    throw new S3Failure('InvalidArgument', { message: 'The encryption method specified is not supported' });
  }
  const keyId =
    headerOf(call, 'x-amz-server-side-encryption-aws-kms-key-id') ??
    `arn:aws:kms:${call.world.region}:000000000000:alias/aws/s3`;
  const pairs: [string, string][] = [
    ['x-amz-server-side-encryption', algorithm],
    ['x-amz-server-side-encryption-aws-kms-key-id', keyId],
  ];
  if (headerOf(call, 'x-amz-server-side-encryption-bucket-key-enabled') === 'true') {
    pairs.push(['x-amz-server-side-encryption-bucket-key-enabled', 'true']);
  }
  return pairs;
}

/** True where the ETag is the MD5 of the bytes: neither KMS nor SSE-C, nor in a directory bucket. */
export function etagIsMd5(attributes: ObjectAttributes): boolean {
  return (
    attributes.storageClass !== 'EXPRESS_ONEZONE' &&
    attributes.customerKeyMd5 === undefined &&
    !attributes.encryption.some(([, value]) => value.startsWith('aws:kms'))
  );
}

/** All attributes that the request states; what it does not state has S3's default. */
export function attributesOf(call: Call): ObjectAttributes {
  const customerKeyMd5 = customerKey(call);
  return {
    headers: contentHeaders(call),
    metadata: userMetadata(call),
    storageClass: storageClass(call),
    encryption: encryption(call, customerKeyMd5),
    customerKeyMd5,
    acl: headerOf(call, 'x-amz-acl') ?? 'private',
    tags: parseTagHeader(headerOf(call, 'x-amz-tagging')),
  };
}

/** Throws unless the request brings the customer's key that the object was written with. */
export function checkCustomerKey(object: StoredObject, given: string | undefined): void {
  const wanted = object.attributes.customerKeyMd5;
  if (wanted === given) return;
  if (wanted === undefined) {
    throw new S3Failure('InvalidRequest', {
      message: 'The encryption parameters are not applicable to this object.',
    });
  }
  if (given === undefined) {
    throw new S3Failure('InvalidRequest', {
      message:
        'The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.',
    });
  }
  throw new S3Failure('AccessDenied');
}

export function isArchived(object: StoredObject, now: number): boolean {
  const { storageClass: name, archiveStatus, restoredUntil } = object.attributes;
  const isReadable = restoredUntil !== undefined && restoredUntil > now && !isRestoring(object, now);
  return (ARCHIVED.has(name) || archiveStatus !== undefined) && !isReadable;
}

export function isRestoring({ attributes: { restoringUntil } }: StoredObject, now: number): boolean {
  return restoringUntil !== undefined && restoringUntil > now;
}

/** S3 answers metadata that is not ASCII in the form of RFC 2047. */
function metadataValue(bytes: string): string {
  return isAscii(bytes) ? bytes : `=?UTF-8?B?${Buffer.from(bytes, 'latin1').toString('base64')}?=`;
}

/** The headers of a HEAD or GET, names and values in turn. `overrides`: the `response-…` parameters of the query. */
export function objectHeaders(
  object: StoredObject,
  overrides: ReadonlyMap<string, string>,
  withChecksum: boolean,
  now: number,
): string[] {
  const { attributes } = object;
  const headers = [
    'Last-Modified',
    new Date(object.lastModified).toUTCString(),
    'ETag',
    `"${object.etag}"`,
    'Accept-Ranges',
    'bytes',
  ];
  let typed = false;
  for (const [name, value] of attributes.headers) {
    const override = overrides.get(`response-${name}`);
    if (name === 'content-type') typed = true;
    if (override === undefined) headers.push(name, value);
  }
  for (const [name, value] of overrides) {
    if (!name.startsWith('response-')) continue;
    if (name === 'response-content-type') typed = true;
    headers.push(name.slice('response-'.length), value);
  }
  if (!typed) headers.push('Content-Type', 'binary/octet-stream');
  for (const [name, value] of attributes.metadata) headers.push(`x-amz-meta-${name}`, metadataValue(value));
  if (attributes.storageClass !== 'STANDARD') headers.push('x-amz-storage-class', attributes.storageClass);
  for (const [name, value] of attributes.encryption) headers.push(name, value);
  if (attributes.tags.length > 0) headers.push('x-amz-tagging-count', String(attributes.tags.length));
  if (object.versionId !== undefined) headers.push('x-amz-version-id', object.versionId);
  if (attributes.archiveStatus !== undefined) headers.push('x-amz-archive-status', attributes.archiveStatus);
  if (isRestoring(object, now)) headers.push('x-amz-restore', 'ongoing-request="true"');
  else if (attributes.restoredUntil !== undefined && attributes.restoredUntil > now) {
    headers.push(
      'x-amz-restore',
      `ongoing-request="false", expiry-date="${new Date(attributes.restoredUntil).toUTCString()}"`,
    );
  }
  if (withChecksum && object.checksum) {
    headers.push(checksumHeader(object.checksum.algorithm), object.checksum.value);
    headers.push('x-amz-checksum-type', object.checksum.type);
  }
  return headers;
}

/** Metadata given as JavaScript text, for direct access. */
export function metadataOf(metadata: Readonly<Record<string, string>>): Pairs {
  return Object.entries(metadata).map(([name, value]) => [name.toLowerCase(), toByteString(value)] as const);
}
