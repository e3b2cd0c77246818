/** Objects one at a time: PUT, GET, HEAD, DELETE, and DeleteObjects. */

import { authorize } from './access.ts';
import { attributesOf, checkCustomerKey, customerKey, isArchived, objectHeaders } from './attributes.ts';
import { fromByteString } from './byte-string.ts';
import { type BucketCall, emptyReply, headerOf, type Reply, versionHeader, xmlReply } from './call.ts';
import { checksumHeader } from './checksums.ts';
import { commit, etagOf } from './commit.ts';
import { checkDelete, checkRead, checkWrite } from './conditions.ts';
import { Content } from './content.ts';
import { type ByteRange, parseRange, partRange } from './ranges.ts';
import { receiveBody, receiveText } from './request-body.ts';
import { S3Failure } from './s3-error.ts';
import { type Bucket, PLAIN_ATTRIBUTES, type StoredObject } from './state.ts';
import { childText, document, element, parseXml } from './xml.ts';

/** The version of the key that the request means. Throws NoSuchKey, NoSuchVersion or, for a delete marker, 405. */
export function findObject(bucket: Bucket, key: string, versionId: string | undefined): StoredObject {
  if (versionId === undefined) {
    const newest = bucket.objects.get(key);
    if (newest && !newest.deleteMarker) return newest;
    throw new S3Failure('NoSuchKey', {
      fields: { Key: key },
      headers: newest ? { 'x-amz-delete-marker': 'true', 'x-amz-version-id': newest.versionId ?? 'null' } : {},
    });
  }
  const version = bucket.version(key, versionId);
  if (!version) throw new S3Failure('NoSuchVersion', { fields: { Key: key, VersionId: versionId } });
  if (version.deleteMarker) {
    throw new S3Failure('MethodNotAllowed', {
      headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': versionId, Allow: 'DELETE' },
    });
  }
  return version;
}

export async function putObject(call: BucketCall): Promise<Reply> {
  const { world, bucket, key } = call;
  const attributes = attributesOf(call);
  // What fails anyway fails before the body is sent, to whoever waits for "100 Continue".
  checkWrite(call.headers, bucket.current(key), world.modes, world.modes.noConditionalPut);
  const body = await receiveBody(call, world.limits.maxPutSize, world.etags === 'md5');
  const etag = etagOf(world, attributes, body.content.size, body.md5);
  const stored = await commit(call, { content: body.content, etag, attributes, checksum: body.checksum });
  const headers = ['ETag', `"${etag}"`];
  for (const [name, value] of attributes.encryption) headers.push(name, value);
  if (body.checksum) {
    headers.push(checksumHeader(body.checksum.algorithm), body.checksum.value);
    headers.push('x-amz-checksum-type', body.checksum.type);
  }
  return emptyReply(200, [...headers, ...versionHeader(stored)]);
}

const NO_OVERRIDES: ReadonlyMap<string, string> = new Map();

/** GET and HEAD. */
export function getObject(call: BucketCall): Reply {
  const { world, query } = call;
  const object = findObject(call.bucket, call.key, query.get('versionId'));
  checkCustomerKey(object, customerKey(call));
  checkRead(call.headers, object, world.modes);
  const head = call.operation === 'HeadObject';
  if (!head && isArchived(object, world.clock.now())) {
    throw new S3Failure('InvalidObjectState', { fields: { StorageClass: object.attributes.storageClass } });
  }
  const { size } = object.content;
  const rangeHeader = headerOf(call, 'range');
  const partNumber = query.get('partNumber');
  let range: ByteRange | undefined;
  if (partNumber !== undefined) {
    if (rangeHeader !== undefined) {
      throw new S3Failure('InvalidRequest', {
        message: 'Cannot specify both Range header and partNumber query parameter',
      });
    }
    range = partRange(partNumber, object);
  } else range = parseRange(rangeHeader, size);

  const wantsChecksum = headerOf(call, 'x-amz-checksum-mode')?.toUpperCase() === 'ENABLED';
  const ofWhole = wantsChecksum && range === undefined;
  const headers = objectHeaders(object, query.size > 0 ? query : NO_OVERRIDES, ofWhole, world.clock.now());
  const part = wantsChecksum && range ? partAt(object, range) : undefined;
  if (part?.checksum) headers.push(checksumHeader(object.checksum!.algorithm), part.checksum);
  if (partNumber !== undefined && object.parts) headers.push('x-amz-mp-parts-count', String(object.parts.length));
  if (range === undefined) return { status: 200, headers, body: { content: object.content, offset: 0, length: size } };
  // The one part of an empty object is no range.
  if (range.length > 0)
    headers.push('Content-Range', `bytes ${range.offset}-${range.offset + range.length - 1}/${size}`);
  return { status: 206, headers, body: { content: object.content, ...range } };
}

/** The part that is exactly this range: of it S3 tells the checksum. */
function partAt(
  { parts, checksum }: StoredObject,
  range: ByteRange,
): NonNullable<StoredObject['parts']>[number] | undefined {
  if (!parts || !checksum) return undefined;
  let offset = 0;
  for (const part of parts) {
    if (offset === range.offset && part.size === range.length) return part;
    offset += part.size;
  }
  return undefined;
}

interface Deletion {
  readonly versionId: string | undefined;
  readonly deleteMarker: boolean;
}

/** Deletes the object, or one version of it, or puts a delete marker over it. */
async function remove(
  call: BucketCall,
  key: string,
  versionId: string | undefined,
  ifMatch: string | undefined,
): Promise<Deletion> {
  const { bucket, world } = call;
  // The source of a copy that the fault `undone` swallowed stays, too.
  if (world.undone.delete(`${bucket.name}/${key}`)) return { versionId: undefined, deleteMarker: false };
  checkDelete(ifMatch, bucket.objects.get(key), world.modes);
  let result: Deletion = { versionId: undefined, deleteMarker: false };
  if (versionId !== undefined) {
    const version = bucket.version(key, versionId);
    bucket.removeVersion(key, versionId);
    result = { versionId, deleteMarker: version?.deleteMarker ?? false };
  } else if (bucket.versioning !== undefined) {
    const marker = bucket.store(
      {
        key,
        content: Content.empty,
        etag: '',
        lastModified: world.nowInSeconds(),
        attributes: PLAIN_ATTRIBUTES,
        checksum: undefined,
        parts: undefined,
        versionId: undefined,
        deleteMarker: true,
        previous: undefined,
      },
      () => world.newVersionId(),
    );
    result = { versionId: marker.versionId, deleteMarker: true };
  } else bucket.objects.delete(key);
  await world.keeper?.changed(bucket, fromByteString(key));
  return result;
}

export async function deleteObject(call: BucketCall): Promise<Reply> {
  const { versionId, deleteMarker } = await remove(
    call,
    call.key,
    call.query.get('versionId'),
    headerOf(call, 'if-match'),
  );
  const headers: string[] = [];
  if (versionId !== undefined) headers.push('x-amz-version-id', versionId);
  if (deleteMarker) headers.push('x-amz-delete-marker', 'true');
  return emptyReply(204, headers);
}

/** S3's limit for one request. */
const MAX_DELETIONS = 1000;

export async function deleteObjects(call: BucketCall): Promise<Reply> {
  if (call.world.modes.noDeleteObjects) throw new S3Failure('NotImplemented');
  const root = parseXml(await receiveText(call));
  const objects = root?.children.filter(child => child.name === 'Object') ?? [];
  if (root?.name !== 'Delete' || objects.length === 0 || objects.length > MAX_DELETIONS)
    throw new S3Failure('MalformedXML');
  const sent = [
    'content-md5',
    'x-amz-trailer',
    ...Object.keys(call.headers).filter(name => name.startsWith('x-amz-checksum-')),
  ];
  if (!sent.some(name => call.headers[name] !== undefined)) {
    throw new S3Failure('InvalidRequest', { message: 'Missing required header for this request: Content-MD5' });
  }
  const quiet = childText(root, 'Quiet') === 'true';
  let inner = '';
  for (const object of objects) {
    const key = childText(object, 'Key');
    if (key === undefined || key === '') throw new S3Failure('MalformedXML');
    const version = childText(object, 'VersionId') || undefined;
    try {
      authorize(
        call.signed?.credential ?? (call.verify ? undefined : {}),
        'DeleteObject',
        call.bucket,
        key,
        undefined,
        '',
      );
      const { versionId, deleteMarker } = await remove(call, key, version, childText(object, 'ETag'));
      if (quiet) continue;
      inner += `<Deleted>${element('Key', key)}${element('VersionId', version)}`;
      if (deleteMarker) inner += element('DeleteMarker', true) + element('DeleteMarkerVersionId', versionId);
      inner += '</Deleted>';
    } catch (error) {
      if (!(error instanceof S3Failure)) throw error;
      inner += `<Error>${element('Key', key)}${element('VersionId', version)}${element('Code', error.code)}${element('Message', error.message)}</Error>`;
    }
  }
  return xmlReply(document('DeleteResult', inner));
}
