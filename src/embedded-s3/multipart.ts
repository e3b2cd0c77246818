/** Multipart uploads. */
import { createHash, randomBytes } from 'node:crypto';
import { attributesOf, customerKey, etagIsMd5 } from './attributes.ts';
import { type BucketCall, emptyReply, headerOf, type Reply, versionHeader, xmlReply } from './call.ts';
import { type Checksum, type ChecksumType, checksumHeader, combineChecksums, parseAlgorithm } from './checksums.ts';
import { commit, contentChecksum, contentMd5, etagOf } from './commit.ts';
import { checkWrite } from './conditions.ts';
import { Content } from './content.ts';
import { copySource } from './copy.ts';
import { isDirectoryBucket } from './directory-bucket.ts';
import { parseCopyRange } from './ranges.ts';
import { receiveBody, receiveText } from './request-body.ts';
import { S3Failure } from './s3-error.ts';
import type { StoredObject, Upload, UploadedPart } from './state.ts';
import { childText, document, element, parseXml, type XmlNode } from './xml.ts';

const MAX_PART_NUMBER = 10_000;

/** Completed uploads whose completion is repeated, for the mode `repeatableComplete`. */
const completed = new WeakMap<object, Map<string, StoredObject>>();

function findUpload(call: BucketCall): Upload {
  const upload = call.bucket.uploads.get(call.query.get('uploadId') ?? '');
  if (!upload || upload.key !== call.key) {
    throw new S3Failure('NoSuchUpload', { fields: { UploadId: call.query.get('uploadId') ?? '' } });
  }
  return upload;
}

function partNumberOf(call: BucketCall): number {
  const text = call.query.get('partNumber') ?? '';
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= 1 && number <= MAX_PART_NUMBER) return number;
  throw new S3Failure('InvalidArgument', {
    message: `Part number must be an integer between 1 and ${MAX_PART_NUMBER}, inclusive`,
    fields: { ArgumentName: 'partNumber', ArgumentValue: text },
  });
}

export function createMultipartUpload(call: BucketCall): Reply {
  const algorithm = parseAlgorithm(headerOf(call, 'x-amz-checksum-algorithm'));
  const typeText = headerOf(call, 'x-amz-checksum-type')?.toUpperCase();
  if (typeText !== undefined && typeText !== 'COMPOSITE' && typeText !== 'FULL_OBJECT') {
    throw new S3Failure('InvalidRequest', { message: 'Value for x-amz-checksum-type header is invalid.' });
  }
  const type: ChecksumType | undefined =
    algorithm &&
    (call.world.modes.compositeChecksums
      ? 'COMPOSITE'
      : (typeText ?? (algorithm === 'CRC64NVME' ? 'FULL_OBJECT' : 'COMPOSITE')));
  if ((type === 'FULL_OBJECT' && algorithm?.startsWith('SHA')) || (type === 'COMPOSITE' && algorithm === 'CRC64NVME')) {
    throw new S3Failure('InvalidRequest', {
      message: `The ${type} checksum type cannot be used with the ${algorithm!.toLowerCase()} checksum algorithm.`,
    });
  }
  const upload: Upload = {
    key: call.key,
    id: randomBytes(24).toString('base64url'),
    initiated: call.world.nowInSeconds(),
    attributes: attributesOf(call),
    checksumAlgorithm: algorithm,
    checksumType: type,
    parts: new Map(),
  };
  call.bucket.uploads.set(upload.id, upload);
  const headers: string[] = [];
  for (const [name, value] of upload.attributes.encryption) headers.push(name, value);
  if (algorithm && type) headers.push('x-amz-checksum-algorithm', algorithm, 'x-amz-checksum-type', type);
  const inner = element('Bucket', call.bucket.name) + element('Key', call.key) + element('UploadId', upload.id);
  return xmlReply(document('InitiateMultipartUploadResult', inner), headers);
}

function checkAlgorithm(upload: Upload, checksum: Checksum | undefined, asBegun: boolean): void {
  if (upload.checksumAlgorithm === checksum?.algorithm || (upload.checksumAlgorithm === undefined && !asBegun)) return;
  throw new S3Failure('InvalidRequest', {
    message: `Checksum Type mismatch occurred, expected checksum Type: ${upload.checksumAlgorithm?.toLowerCase() ?? 'null'}, actual checksum Type: ${checksum?.algorithm.toLowerCase() ?? 'null'}`,
  });
}

/** SSE-C: each part brings the key with which the upload was begun. */
function checkPartKey(call: BucketCall, upload: Upload): void {
  if (customerKey(call) === upload.attributes.customerKeyMd5) return;
  throw new S3Failure('InvalidRequest', {
    message: 'The provided encryption parameters did not match the ones used originally.',
  });
}

export async function uploadPart(call: BucketCall): Promise<Reply> {
  const { world } = call;
  const upload = findUpload(call);
  checkPartKey(call, upload);
  const number = partNumberOf(call);
  const body = await receiveBody(call, world.limits.maxPutSize, world.etags === 'md5');
  checkAlgorithm(upload, body.checksum, world.modes.partChecksumsAsBegun === true);
  // It may have been aborted or completed while the body came.
  findUpload(call);
  const etag = etagOf(world, upload.attributes, body.content.size, body.md5);
  const { content, checksum } = body;
  upload.parts.set(number, { number, content, etag, lastModified: world.nowInSeconds(), checksum });
  const headers = ['ETag', `"${etag}"`];
  if (body.checksum) headers.push(checksumHeader(body.checksum.algorithm), body.checksum.value);
  for (const [name, value] of upload.attributes.encryption) headers.push(name, value);
  return emptyReply(200, headers);
}

export async function uploadPartCopy(call: BucketCall): Promise<Reply> {
  const { world } = call;
  const upload = findUpload(call);
  checkPartKey(call, upload);
  const number = partNumberOf(call);
  const { object: source } = copySource(call);
  const range = parseCopyRange(headerOf(call, 'x-amz-copy-source-range'), source.content.size);
  if (range.length > world.limits.maxPutSize) {
    throw new S3Failure('InvalidRequest', {
      message: `The specified copy source is larger than the maximum allowable size for a copy source: ${world.limits.maxPutSize}`,
    });
  }
  const content = source.content.slice(range.offset, range.length);
  const md5 = world.etags === 'md5' ? await contentMd5(content) : undefined;
  const etag = etagOf(world, upload.attributes, content.size, md5);
  const algorithm = upload.checksumAlgorithm;
  // Terabytes that are made only when they are read have none here: then the object has none either.
  const checksum = algorithm && !content.isGenerated ? await contentChecksum(algorithm, content) : undefined;
  findUpload(call);
  const lastModified = world.nowInSeconds();
  upload.parts.set(number, { number, content, etag, lastModified, checksum });
  const inner =
    element('LastModified', new Date(lastModified).toISOString()) +
    element('ETag', `"${etag}"`) +
    (checksum ? element(`Checksum${checksum.algorithm}`, checksum.value) : '');
  const headers = source.versionId === undefined ? [] : ['x-amz-copy-source-version-id', source.versionId];
  return { ...xmlReply(document('CopyPartResult', inner), headers), copied: content.size };
}

/** The uploaded parts that the request lists, in its order, each as it says. */
function listedParts(call: BucketCall, upload: Upload, root: XmlNode | undefined): UploadedPart[] {
  const listed = root?.children.filter(child => child.name === 'Part') ?? [];
  if (root?.name !== 'CompleteMultipartUpload' || listed.length === 0) throw new S3Failure('MalformedXML');
  const parts: UploadedPart[] = [];
  let before = 0;
  for (const item of listed) {
    const number = Number(childText(item, 'PartNumber'));
    const etag = (childText(item, 'ETag') ?? '').replace(/^"(.*)"$/, '$1');
    if (!Number.isInteger(number) || number < 1 || number > MAX_PART_NUMBER) throw new S3Failure('MalformedXML');
    const gap = (isDirectoryBucket(call.bucket.name) || upload.checksumAlgorithm) && number !== before + 1;
    if (number <= before || gap) throw new S3Failure('InvalidPartOrder', { fields: { UploadId: upload.id } });
    before = number;
    const part = upload.parts.get(number);
    const invalid = new S3Failure('InvalidPart', { fields: { UploadId: upload.id, PartNumber: number, ETag: etag } });
    if (!part || part.etag !== etag) throw invalid;
    if (part.checksum) {
      const given = childText(item, `Checksum${part.checksum.algorithm}`);
      if (given !== undefined && given !== part.checksum.value) throw invalid;
      if (given === undefined && upload.checksumType === 'COMPOSITE') {
        throw new S3Failure('InvalidRequest', {
          message: `The upload was created using a ${part.checksum.algorithm.toLowerCase()} checksum. The complete request must include the checksum for each part. It was missing for part ${number} in the request.`,
        });
      }
    }
    parts.push(part);
  }
  const { minPartSize } = call.world.limits;
  for (const part of parts.slice(0, -1)) {
    if (part.content.size < minPartSize) {
      throw new S3Failure('EntityTooSmall', {
        fields: {
          ETag: part.etag,
          MinSizeAllowed: minPartSize,
          ProposedSize: part.content.size,
          PartNumber: part.number,
        },
      });
    }
  }
  return parts;
}

function completeReply(call: BucketCall, stored: StoredObject): Reply {
  const inner =
    element('Location', `http://${call.request.headers.host ?? ''}/${call.bucket.name}/${call.key}`) +
    element('Bucket', call.bucket.name) +
    element('Key', call.key) +
    element('ETag', `"${stored.etag}"`) +
    (stored.checksum
      ? element(`Checksum${stored.checksum.algorithm}`, stored.checksum.value) +
        element('ChecksumType', stored.checksum.type)
      : '');
  return xmlReply(document('CompleteMultipartUploadResult', inner), versionHeader(stored));
}

export async function completeMultipartUpload(call: BucketCall): Promise<Reply> {
  const { world, bucket } = call;
  const root = parseXml(await receiveText(call));
  const earlier = completed.get(bucket)?.get(call.query.get('uploadId') ?? '');
  if (world.modes.repeatableComplete && earlier?.key === call.key) return completeReply(call, earlier);
  const upload = findUpload(call);
  const parts = listedParts(call, upload, root);
  checkWrite(call.headers, bucket.current(call.key), world.modes, world.modes.noConditionalComplete);
  const content = new Content(parts.flatMap(part => part.content.extents));
  const announced = headerOf(call, 'x-amz-mp-object-size');
  if (announced !== undefined && Number(announced) !== content.size) {
    throw new S3Failure('InvalidRequest', {
      message: `The provided 'x-amz-mp-object-size' header value ${announced} does not match what was computed: ${content.size}`,
    });
  }
  if (content.size > world.limits.maxObjectSize) throw new S3Failure('EntityTooLarge');

  const { checksumAlgorithm: algorithm, checksumType: type } = upload;
  const checksum =
    algorithm && type && parts.every(part => part.checksum)
      ? combineChecksums(
          algorithm,
          type,
          parts.map(part => ({ checksum: part.checksum?.value ?? '', size: part.content.size })),
        )
      : undefined;
  const expected = algorithm && headerOf(call, checksumHeader(algorithm));
  if (expected !== undefined && expected !== checksum?.value) throw new S3Failure('BadDigest');

  const md5s = etagIsMd5(upload.attributes) && world.etags === 'md5';
  const hash = createHash('md5');
  for (const part of parts) hash.update(Buffer.from(part.etag.slice(0, 32), 'hex'));
  const digest = md5s ? hash.digest('hex') : randomBytes(16).toString('hex');
  // The upload ends in the same turn as the object appears: a repeated Complete meets NoSuchUpload, not a second object.
  const storing = commit(call, {
    content,
    etag: isDirectoryBucket(bucket.name) ? digest : `${digest}-${parts.length}`,
    attributes: upload.attributes,
    checksum,
    parts: parts.map(part => ({ number: part.number, size: part.content.size, checksum: part.checksum?.value })),
  });
  bucket.uploads.delete(upload.id);
  let stored: StoredObject;
  try {
    stored = await storing;
  } catch (error) {
    bucket.uploads.set(upload.id, upload);
    throw error;
  }
  if (world.modes.repeatableComplete) {
    const remembered = completed.get(bucket) ?? new Map<string, StoredObject>();
    completed.set(bucket, remembered.set(upload.id, stored));
  }
  return completeReply(call, stored);
}

export function abortMultipartUpload(call: BucketCall): Reply {
  call.bucket.uploads.delete(findUpload(call).id);
  return emptyReply(204);
}

export function listParts(call: BucketCall): Reply {
  const upload = findUpload(call);
  const after = Number(call.query.get('part-number-marker') ?? 0);
  const max = Math.min(Number(call.query.get('max-parts') ?? 1000), 1000);
  const all = [...upload.parts.values()].sort((a, b) => a.number - b.number).filter(part => part.number > after);
  const shown = all.slice(0, max);
  const owner = '<ID>embedded</ID><DisplayName>embedded</DisplayName>';
  let inner =
    element('Bucket', call.bucket.name) +
    element('Key', call.key) +
    element('UploadId', upload.id) +
    `<Initiator>${owner}</Initiator><Owner>${owner}</Owner>` +
    element('StorageClass', upload.attributes.storageClass) +
    element('PartNumberMarker', after) +
    element('NextPartNumberMarker', shown.at(-1)?.number ?? 0) +
    element('MaxParts', max) +
    element('IsTruncated', all.length > shown.length) +
    element('ChecksumAlgorithm', upload.checksumAlgorithm) +
    element('ChecksumType', upload.checksumType);
  for (const part of shown) {
    inner += `<Part>${element('PartNumber', part.number)}${element('LastModified', new Date(part.lastModified).toISOString())}${element('ETag', `"${part.etag}"`)}${element('Size', part.content.size)}${part.checksum ? element(`Checksum${part.checksum.algorithm}`, part.checksum.value) : ''}</Part>`;
  }
  return xmlReply(document('ListPartsResult', inner));
}
