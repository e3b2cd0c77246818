/** CopyObject, and the source of any copy. Bytes are shared, never copied. */
import { authorize } from './access.ts';
import { parseCopySource } from './address.ts';
import {
  attributesOf,
  checkCustomerKey,
  contentHeaders,
  customerKey,
  etagIsMd5,
  isArchived,
  parseTagHeader,
  userMetadata,
} from './attributes.ts';
import { type BucketCall, headerOf, type Reply, versionHeader, xmlReply } from './call.ts';
import { parseAlgorithm } from './checksums.ts';
import { commit, contentChecksum, contentMd5 } from './commit.ts';
import { checkRead, checkWrite } from './conditions.ts';
import { isDirectoryBucket } from './directory-bucket.ts';
import { findObject } from './objects.ts';
import { S3Failure } from './s3-error.ts';
import type { ObjectAttributes, StoredObject } from './state.ts';
import { document, element } from './xml.ts';

export interface CopySource {
  readonly bucketName: string;
  readonly object: StoredObject;
}

/** The object that `x-amz-copy-source` names, if the request may read it and its conditions hold. */
export function copySource(call: BucketCall): CopySource {
  const header = headerOf(call, 'x-amz-copy-source') ?? '';
  const [path = '', version] = header.split('?versionId=', 2);
  const named = parseCopySource(path);
  if (!named) {
    throw new S3Failure('InvalidArgument', {
      message: 'Copy Source must mention the source bucket and key: sourcebucket/sourcekey',
      fields: { ArgumentName: 'x-amz-copy-source', ArgumentValue: header },
    });
  }
  const { bucket: bucketName, key } = named;
  const bucket = call.world.buckets.get(bucketName);
  if (!bucket) throw new S3Failure('NoSuchBucket', { fields: { BucketName: bucketName } });
  const identity = call.verify ? call.signed?.credential : {};
  if (!isDirectoryBucket(bucketName)) authorize(identity, 'GetObject', bucket, key, bucket.current(key), '');
  const object = findObject(bucket, key, version);
  checkCustomerKey(object, customerKey(call, 'x-amz-copy-source-'));
  checkRead(call.headers, object, call.world.modes, 'x-amz-copy-source-');
  if (isArchived(object, call.world.clock.now())) {
    throw new S3Failure('InvalidObjectState', {
      message: 'Operation is not valid for the source object’s storage class',
      fields: { StorageClass: object.attributes.storageClass },
    });
  }
  return { bucketName, object };
}

/** What the copy is written with: the source's own or the request's, as the directives say. */
function targetAttributes(call: BucketCall, source: StoredObject): ObjectAttributes {
  const stated = attributesOf(call);
  const replace = headerOf(call, 'x-amz-metadata-directive')?.toUpperCase() === 'REPLACE';
  const replaceTags = headerOf(call, 'x-amz-tagging-directive')?.toUpperCase() === 'REPLACE';
  return {
    ...stated,
    headers: replace ? contentHeaders(call) : source.attributes.headers,
    metadata: replace ? userMetadata(call) : source.attributes.metadata,
    tags: replaceTags ? parseTagHeader(headerOf(call, 'x-amz-tagging')) : source.attributes.tags,
  };
}

/** The ETag of a copy: that of the source unless the source came in parts, for a copy has none. */
async function copyEtag(call: BucketCall, source: StoredObject, attributes: ObjectAttributes): Promise<string> {
  if (!etagIsMd5(attributes)) return call.world.newEtag().slice(0, 32);
  if (etagIsMd5(source.attributes) && source.parts === undefined && !source.etag.includes('-')) return source.etag;
  return call.world.etags === 'fast' ? call.world.newEtag() : await contentMd5(source.content);
}

export async function copyObject(call: BucketCall): Promise<Reply> {
  const { world, bucket, key } = call;
  const { bucketName, object: source } = copySource(call);
  const replaces = headerOf(call, 'x-amz-metadata-directive')?.toUpperCase() === 'REPLACE';
  const changes =
    replaces ||
    ['x-amz-storage-class', 'x-amz-server-side-encryption', 'x-amz-website-redirect-location'].some(
      name => call.headers[name] !== undefined,
    ) ||
    source.versionId !== bucket.current(key)?.versionId;
  if (bucketName === bucket.name && source.key === key && !changes) {
    throw new S3Failure('InvalidRequest', {
      message:
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    });
  }
  const maxCopySize = world.limits.maxPutSize;
  if (source.content.size > maxCopySize) {
    throw new S3Failure('InvalidRequest', {
      message: `The specified copy source is larger than the maximum allowable size for a copy source: ${maxCopySize}`,
    });
  }
  checkWrite(call.headers, bucket.current(key), world.modes, world.modes.noConditionalPut);
  const attributes = targetAttributes(call, source);
  const etag = await copyEtag(call, source, attributes);
  const algorithm = parseAlgorithm(headerOf(call, 'x-amz-checksum-algorithm'));
  const checksum =
    algorithm && algorithm !== source.checksum?.algorithm
      ? await contentChecksum(algorithm, source.content)
      : source.checksum?.type === 'FULL_OBJECT'
        ? source.checksum
        : undefined;
  if (call.fault?.kind === 'undone') world.undone.add(`${bucketName}/${source.key}`);
  const stored = await commit(call, { content: source.content, etag, attributes, checksum });
  const headers = versionHeader(stored);
  for (const [name, value] of attributes.encryption) headers.push(name, value);
  if (source.versionId !== undefined) headers.push('x-amz-copy-source-version-id', source.versionId);
  const inner =
    element('LastModified', new Date(stored.lastModified).toISOString()) +
    element('ETag', `"${etag}"`) +
    (checksum ? element(`Checksum${checksum.algorithm}`, checksum.value) + element('ChecksumType', checksum.type) : '');
  return { ...xmlReply(document('CopyObjectResult', inner), headers), copied: source.content.size };
}
