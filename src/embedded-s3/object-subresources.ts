/** What hangs on an object or bucket beside its bytes: tags, ACL, attributes, a restored copy. */
import { checkTags, isRestoring } from './attributes.ts';
import { fromByteString } from './byte-string.ts';
import { type BucketCall, emptyReply, headerOf, type Reply, versionHeader, xmlReply } from './call.ts';
import { findObject } from './objects.ts';
import { receiveText } from './request-body.ts';
import { S3Failure } from './s3-error.ts';
import type { ObjectAttributes, StoredObject } from './state.ts';
import { childText, document, element, parseXml } from './xml.ts';

async function change(call: BucketCall, object: StoredObject, changed: Partial<ObjectAttributes>): Promise<void> {
  call.bucket.replace({ ...object, attributes: { ...object.attributes, ...changed } });
  await call.world.keeper?.changed(call.bucket, fromByteString(call.key));
}

const target = (call: BucketCall): StoredObject => findObject(call.bucket, call.key, call.query.get('versionId'));

export function getObjectTagging(call: BucketCall): Reply {
  const object = target(call);
  const tags = object.attributes.tags.map(
    ([name, value]) => `<Tag>${element('Key', name)}${element('Value', value)}</Tag>`,
  );
  return xmlReply(document('Tagging', `<TagSet>${tags.join('')}</TagSet>`), versionHeader(object));
}

export async function putObjectTagging(call: BucketCall): Promise<Reply> {
  const root = parseXml(await receiveText(call));
  const set = root?.children.find(child => child.name === 'TagSet');
  if (root?.name !== 'Tagging' || !set) throw new S3Failure('MalformedXML');
  const tags = set.children.map(tag => [childText(tag, 'Key') ?? '', childText(tag, 'Value') ?? ''] as const);
  checkTags(tags);
  const object = target(call);
  await change(call, object, { tags });
  return emptyReply(200, versionHeader(object));
}

export async function deleteObjectTagging(call: BucketCall): Promise<Reply> {
  const object = target(call);
  await change(call, object, { tags: [] });
  return emptyReply(204, versionHeader(object));
}

function aclXml(acl: string): string {
  const owner = '<ID>embedded</ID><DisplayName>embedded</DisplayName>';
  const schema = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';
  const everyone = (permission: string): string =>
    `<Grant><Grantee ${schema} xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>${element('Permission', permission)}</Grant>`;
  const grants =
    `<Grant><Grantee ${schema} xsi:type="CanonicalUser">${owner}</Grantee><Permission>FULL_CONTROL</Permission></Grant>` +
    (acl.startsWith('public-read') ? everyone('READ') : '') +
    (acl === 'public-read-write' ? everyone('WRITE') : '');
  return document('AccessControlPolicy', `<Owner>${owner}</Owner><AccessControlList>${grants}</AccessControlList>`);
}

/** Canned ACLs only; a grant list says public or not. */
async function statedAcl(call: BucketCall): Promise<string> {
  const text = await receiveText(call);
  return headerOf(call, 'x-amz-acl') ?? (text.includes('groups/global/AllUsers') ? 'public-read' : 'private');
}

export function getBucketAcl(call: BucketCall): Reply {
  return xmlReply(aclXml(call.bucket.acl));
}

export async function putBucketAcl(call: BucketCall): Promise<Reply> {
  call.bucket.acl = await statedAcl(call);
  await call.world.keeper?.bucketChanged(call.bucket);
  return emptyReply(200);
}

export function getObjectAcl(call: BucketCall): Reply {
  return xmlReply(aclXml(target(call).attributes.acl));
}

export async function putObjectAcl(call: BucketCall): Promise<Reply> {
  const acl = await statedAcl(call);
  await change(call, target(call), { acl });
  return emptyReply(200);
}

export function getObjectAttributes(call: BucketCall): Reply {
  const object = target(call);
  const wanted = new Set((headerOf(call, 'x-amz-object-attributes') ?? '').split(',').map(name => name.trim()));
  if (wanted.has('')) {
    throw new S3Failure('InvalidArgument', { message: 'Invalid attribute name specified.' });
  }
  const { checksum, parts } = object;
  let inner = '';
  if (wanted.has('ETag')) inner += element('ETag', object.etag);
  if (wanted.has('Checksum') && checksum) {
    inner += `<Checksum>${element(`Checksum${checksum.algorithm}`, checksum.value)}${element('ChecksumType', checksum.type)}</Checksum>`;
  }
  if (wanted.has('ObjectParts') && parts) {
    const list = checksum
      ? parts.map(
          part =>
            `<Part>${element(`Checksum${checksum.algorithm}`, part.checksum)}${element('PartNumber', part.number)}${element('Size', part.size)}</Part>`,
        )
      : [];
    inner += `<ObjectParts>${element('PartsCount', parts.length)}${element('IsTruncated', false)}${list.join('')}</ObjectParts>`;
  }
  if (wanted.has('StorageClass')) inner += element('StorageClass', object.attributes.storageClass);
  if (wanted.has('ObjectSize')) inner += element('ObjectSize', object.content.size);
  const modified = new Date(object.lastModified).toUTCString();
  return xmlReply(document('GetObjectAttributesResponse', inner), [
    'Last-Modified',
    modified,
    ...versionHeader(object),
  ]);
}

const DAY = 24 * 3600 * 1000;

/** The restored copy is there at once, or after the time that the mode `restoreTakes` says. */
export async function restoreObject(call: BucketCall): Promise<Reply> {
  const root = parseXml(await receiveText(call));
  const days = Number((root && childText(root, 'Days')) ?? 1);
  const object = target(call);
  const { storageClass, archiveStatus, restoredUntil } = object.attributes;
  if (storageClass !== 'GLACIER' && storageClass !== 'DEEP_ARCHIVE' && archiveStatus === undefined) {
    throw new S3Failure('InvalidObjectState', {
      message: "Restore is not allowed for the object's current storage class",
      fields: { StorageClass: storageClass },
    });
  }
  const now = call.world.clock.now();
  if (isRestoring(object, now)) throw new S3Failure('RestoreAlreadyInProgress');
  const again = restoredUntil !== undefined && restoredUntil > now;
  const takes = again ? 0 : (call.world.modes.restoreTakes ?? 0);
  await change(call, object, { restoredUntil: now + takes + days * DAY, restoringUntil: now + takes });
  return emptyReply(again ? 200 : 202);
}
