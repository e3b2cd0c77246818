/** Listings: of objects in both versions of the API, of versions, of open uploads. */
import { createHash } from 'node:crypto';
import { PAST_UTF8, percentEncode } from './byte-string.ts';
import { type BucketCall, type Reply, xmlReply } from './call.ts';
import { isDirectoryBucket } from './directory-bucket.ts';
import { S3Failure } from './s3-error.ts';
import type { Bucket, StoredObject, Upload } from './state.ts';
import { document, element } from './xml.ts';

export interface ListPage<T> {
  readonly entries: readonly T[];
  readonly prefixes: readonly string[];
  /** The last key or prefix of the page, where more follow. */
  readonly next: string | undefined;
}

/**
 * One page of what has `prefix` and lies after `after`, in the order of bytes. All that has a delimiter after the prefix is
 * rolled up into its common prefix and skipped by one search. An `after` within a common prefix skips that prefix.
 */
export function listPage(
  bucket: Bucket,
  prefix: string,
  delimiter: string,
  after: string | undefined,
  max: number,
): ListPage<StoredObject> {
  const entries: StoredObject[] = [];
  const prefixes: string[] = [];
  if (max === 0) return { entries, prefixes, next: undefined };
  const cursor = bucket.objects.cursor(prefix);
  if (after !== undefined && after >= prefix) {
    const common = after.startsWith(prefix) ? commonPrefix(after, prefix, delimiter) : undefined;
    cursor.seek(common === undefined ? `${after}\0` : common + PAST_UTF8);
  }
  let last: string | undefined;
  for (;;) {
    const object = cursor.next();
    if (object === undefined || !object.key.startsWith(prefix)) return { entries, prefixes, next: undefined };
    if (object.deleteMarker) continue;
    if (entries.length + prefixes.length === max) return { entries, prefixes, next: last };
    const common = commonPrefix(object.key, prefix, delimiter);
    if (common === undefined) {
      entries.push(object);
      last = object.key;
    } else {
      prefixes.push(common);
      last = common;
      cursor.seek(common + PAST_UTF8);
    }
  }
}

function commonPrefix(key: string, prefix: string, delimiter: string): string | undefined {
  if (delimiter === '') return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** A page in no order, as directory buckets give it: by a hash of the key, `after` being that of the last one before. */
function unorderedPage(
  bucket: Bucket,
  prefix: string,
  delimiter: string,
  after: string,
  max: number,
): ListPage<StoredObject> {
  const found = new Map<string, StoredObject | undefined>();
  for (const object of bucket.objects) {
    if (object.deleteMarker || !object.key.startsWith(prefix)) continue;
    const common = commonPrefix(object.key, prefix, delimiter);
    found.set(common ?? object.key, common === undefined ? object : undefined);
  }
  // A directory bucket shows the directories of uploads in progress too.
  if (delimiter !== '' && isDirectoryBucket(bucket.name)) {
    for (const { key } of bucket.uploads.values()) {
      const common = key.startsWith(prefix) ? commonPrefix(key, prefix, delimiter) : undefined;
      if (common !== undefined && !found.has(common)) found.set(common, undefined);
    }
  }
  const scrambled = [...found]
    .map(([name, object]) => ({ name, object, rank: createHash('md5').update(name, 'latin1').digest('hex') }))
    .filter(({ rank }) => rank > after)
    .sort((a, b) => (a.rank < b.rank ? -1 : 1));
  const shown = scrambled.slice(0, max);
  return {
    entries: shown.flatMap(one => one.object ?? []),
    prefixes: shown.filter(one => !one.object).map(one => one.name),
    next: scrambled.length > max ? shown.at(-1)?.rank : undefined,
  };
}

function maxKeysOf(call: BucketCall, name: string): number {
  const text = call.query.get(name);
  const limit = call.world.limits.maxKeysPerPage;
  if (text === undefined || text === '') return limit;
  if (!/^\d{1,10}$/.test(text)) {
    throw new S3Failure('InvalidArgument', {
      message: `Provided ${name} not an integer or within integer range`,
      fields: { ArgumentName: name, ArgumentValue: text },
    });
  }
  return Math.min(Number(text), limit);
}

interface Encoding {
  readonly name: string | undefined;
  readonly encode: (bytes: string) => string;
}

function encodingOf(call: BucketCall): Encoding {
  const wanted = call.query.get('encoding-type');
  if (wanted !== undefined && wanted !== 'url') {
    throw new S3Failure('InvalidArgument', {
      message: 'Invalid Encoding Method specified in Request',
      fields: { ArgumentName: 'encoding-type', ArgumentValue: wanted },
    });
  }
  return wanted === undefined || call.world.modes.noEncodingType
    ? { name: undefined, encode: bytes => bytes }
    : { name: 'url', encode: bytes => percentEncode(bytes, true) };
}

const OWNER = '<Owner><ID>embedded</ID><DisplayName>embedded</DisplayName></Owner>';

/** Times repeat within a page (all objects of a fill, most of a copy): the last one is kept. */
let timeText = { time: Number.NaN, text: '' };

function isoTime(time: number): string {
  if (time !== timeText.time) timeText = { time, text: new Date(time).toISOString() };
  return timeText.text;
}

function entryXml(object: StoredObject, encode: (bytes: string) => string, owner: boolean): string {
  const { checksum } = object;
  return (
    `<Contents>${element('Key', encode(object.key))}<LastModified>${isoTime(object.lastModified)}</LastModified>` +
    `<ETag>&quot;${object.etag}&quot;</ETag>` +
    (checksum ? `${element('ChecksumAlgorithm', checksum.algorithm)}${element('ChecksumType', checksum.type)}` : '') +
    `<Size>${object.content.size}</Size>${owner ? OWNER : ''}` +
    `<StorageClass>${object.attributes.storageClass}</StorageClass></Contents>`
  );
}

/** Continuation tokens are opaque: the last name of the page in base64, marked so that another server's are refused. */
function encodeToken(name: string): string {
  return `1${Buffer.from(name, 'latin1').toString('base64url')}`;
}

function decodeToken(token: string): string {
  if (!/^1[A-Za-z0-9_-]*$/.test(token)) {
    throw new S3Failure('InvalidArgument', {
      message: 'The continuation token provided is incorrect',
      fields: { ArgumentName: 'continuation-token' },
    });
  }
  return Buffer.from(token.slice(1), 'base64url').toString('latin1');
}

export function listObjects(call: BucketCall): Reply {
  const { query, bucket, world } = call;
  const v2 = call.operation === 'ListObjectsV2';
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const max = maxKeysOf(call, 'max-keys');
  const { name: encodingName, encode } = encodingOf(call);
  const token = v2 ? query.get('continuation-token') : undefined;
  const startAfter = query.get(v2 ? 'start-after' : 'marker');
  let page: ListPage<StoredObject>;
  if (world.modes.unorderedListing || isDirectoryBucket(bucket.name)) {
    if (startAfter !== undefined || !v2) throw new S3Failure('NotImplemented');
    page = unorderedPage(bucket, prefix, delimiter, token === undefined ? '' : decodeToken(token), max);
  } else {
    const after = token === undefined ? startAfter || undefined : decodeToken(token);
    page = listPage(bucket, prefix, delimiter, after, max);
  }
  const inner: string[] = [
    element('Name', bucket.name),
    element('Prefix', encode(prefix)),
    v2
      ? element('StartAfter', startAfter === undefined ? undefined : encode(startAfter))
      : element('Marker', encode(startAfter ?? '')),
    element('ContinuationToken', token),
    v2 ? element('KeyCount', page.entries.length + page.prefixes.length) : '',
    element('MaxKeys', max),
    delimiter === '' ? '' : element('Delimiter', encode(delimiter)),
    element('EncodingType', encodingName),
    element('IsTruncated', page.next !== undefined),
  ];
  if (page.next !== undefined) {
    if (v2) inner.push(element('NextContinuationToken', encodeToken(page.next)));
    // V1 names the next marker only where a delimiter may hide the last key.
    else if (delimiter !== '') inner.push(element('NextMarker', encode(page.next)));
  }
  const owner = !v2 || query.get('fetch-owner') === 'true';
  for (const object of page.entries) inner.push(entryXml(object, encode, owner));
  for (const common of page.prefixes)
    inner.push(`<CommonPrefixes>${element('Prefix', encode(common))}</CommonPrefixes>`);
  return xmlReply(document('ListBucketResult', inner.join('')));
}

export function listObjectVersions(call: BucketCall): Reply {
  const { query, bucket } = call;
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const max = maxKeysOf(call, 'max-keys');
  const { name: encodingName, encode } = encodingOf(call);
  const keyMarker = query.get('key-marker') ?? '';
  const versionMarker = query.get('version-id-marker');
  const inner: string[] = [];
  const prefixes: string[] = [];
  let count = 0;
  let last: { key: string; versionId: string | undefined } | undefined;
  let truncated = false;
  const cursor = bucket.objects.cursor(prefix);
  if (keyMarker >= prefix && keyMarker !== '') cursor.seek(versionMarker === undefined ? `${keyMarker}\0` : keyMarker);
  for (;;) {
    const newest = cursor.next();
    if (newest === undefined || !newest.key.startsWith(prefix) || truncated) break;
    const common = commonPrefix(newest.key, prefix, delimiter);
    if (common !== undefined) {
      if (common <= keyMarker) continue;
      if (count === max) truncated = true;
      else {
        prefixes.push(common);
        count++;
        last = { key: common, versionId: undefined };
        cursor.seek(common + PAST_UTF8);
      }
      continue;
    }
    let skipping = versionMarker !== undefined && newest.key === keyMarker;
    for (let version: StoredObject | undefined = newest; version !== undefined; version = version.previous) {
      const versionId = version.versionId ?? 'null';
      if (skipping) {
        if (versionId === versionMarker) skipping = false;
        continue;
      }
      if (count === max) {
        truncated = true;
        break;
      }
      count++;
      last = { key: version.key, versionId };
      const head =
        element('Key', encode(version.key)) +
        element('VersionId', versionId) +
        element('IsLatest', version === newest) +
        element('LastModified', isoTime(version.lastModified));
      inner.push(
        version.deleteMarker
          ? `<DeleteMarker>${head}${OWNER}</DeleteMarker>`
          : `<Version>${head}${element('ETag', `"${version.etag}"`)}${element('Size', version.content.size)}${OWNER}${element('StorageClass', version.attributes.storageClass)}</Version>`,
      );
    }
  }
  const head =
    element('Name', bucket.name) +
    element('Prefix', encode(prefix)) +
    element('KeyMarker', encode(keyMarker)) +
    element('VersionIdMarker', versionMarker ?? '') +
    (truncated && last
      ? element('NextKeyMarker', encode(last.key)) + element('NextVersionIdMarker', last.versionId)
      : '') +
    element('MaxKeys', max) +
    (delimiter === '' ? '' : element('Delimiter', encode(delimiter))) +
    element('EncodingType', encodingName) +
    element('IsTruncated', truncated);
  const tail = prefixes.map(common => `<CommonPrefixes>${element('Prefix', encode(common))}</CommonPrefixes>`).join('');
  return xmlReply(document('ListVersionsResult', head + inner.join('') + tail));
}

export function listMultipartUploads(call: BucketCall): Reply {
  const { query, bucket } = call;
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '';
  const keyMarker = query.get('key-marker') ?? '';
  const idMarker = query.get('upload-id-marker') ?? '';
  const max = maxKeysOf(call, 'max-uploads');
  const { name: encodingName, encode } = encodingOf(call);
  const all = [...bucket.uploads.values()]
    .filter(upload => upload.key.startsWith(prefix))
    .filter(
      upload =>
        keyMarker === '' ||
        upload.key > keyMarker ||
        (upload.key === keyMarker && idMarker !== '' && upload.id > idMarker),
    )
    .sort((a, b) => (a.key === b.key ? (a.id < b.id ? -1 : 1) : a.key < b.key ? -1 : 1));
  const shown: Upload[] = [];
  const prefixes: string[] = [];
  let next: Upload | undefined;
  let truncated = false;
  for (const upload of all) {
    const common = commonPrefix(upload.key, prefix, delimiter);
    if (common !== undefined && prefixes.at(-1) === common) continue;
    if (shown.length + prefixes.length === max) {
      truncated = true;
      break;
    }
    if (common === undefined) shown.push(upload);
    else prefixes.push(common);
    next = upload;
  }
  let inner =
    element('Bucket', bucket.name) +
    element('KeyMarker', encode(keyMarker)) +
    element('UploadIdMarker', idMarker) +
    element('Prefix', encode(prefix)) +
    (delimiter === '' ? '' : element('Delimiter', encode(delimiter))) +
    (truncated && next ? element('NextKeyMarker', encode(next.key)) + element('NextUploadIdMarker', next.id) : '') +
    element('MaxUploads', max) +
    element('EncodingType', encodingName) +
    element('IsTruncated', truncated);
  for (const upload of shown) {
    inner += `<Upload>${element('Key', encode(upload.key))}${element('UploadId', upload.id)}${OWNER.replaceAll('Owner', 'Initiator')}${OWNER}${element('StorageClass', upload.attributes.storageClass)}${element('Initiated', isoTime(upload.initiated))}${element('ChecksumAlgorithm', upload.checksumAlgorithm)}${element('ChecksumType', upload.checksumType)}</Upload>`;
  }
  for (const common of prefixes) inner += `<CommonPrefixes>${element('Prefix', encode(common))}</CommonPrefixes>`;
  return xmlReply(document('ListMultipartUploadsResult', inner));
}
