/** Operations on buckets themselves. */
import { parsePolicy } from './access.ts';
import { fromByteString, toByteString } from './byte-string.ts';
import { type BucketCall, type Call, emptyReply, headerOf, type Reply, xmlReply } from './call.ts';
import { receiveText } from './request-body.ts';
import { S3Failure } from './s3-error.ts';
import { childText, document, element, parseXml } from './xml.ts';

export function listBuckets(call: Call): Reply {
  const prefix = call.query.get('prefix') ?? '';
  const names = [...call.world.buckets.keys()].filter(name => name.startsWith(prefix)).sort();
  const buckets = names.map(name => {
    const bucket = call.world.buckets.get(name)!;
    const created = new Date(bucket.created).toISOString();
    return `<Bucket>${element('Name', name)}${element('CreationDate', created)}${element('BucketRegion', bucket.region)}</Bucket>`;
  });
  const owner = '<Owner><ID>embedded</ID><DisplayName>embedded</DisplayName></Owner>';
  return xmlReply(document('ListAllMyBucketsResult', `${owner}<Buckets>${buckets.join('')}</Buckets>`));
}

/** Amazon S3 User Guide, "General purpose bucket naming rules". */
const BUCKET_NAME = /^(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]$/;

export async function createBucket(call: Call): Promise<Reply> {
  const { world } = call;
  const name = call.address.bucket;
  const text = await receiveText(call);
  if (!BUCKET_NAME.test(name)) throw new S3Failure('InvalidBucketName', { fields: { BucketName: name } });
  if (world.buckets.has(name)) throw new S3Failure('BucketAlreadyOwnedByYou', { fields: { BucketName: name } });
  let region = world.region;
  if (text.trim() !== '') {
    const root = parseXml(text);
    if (root?.name !== 'CreateBucketConfiguration') throw new S3Failure('MalformedXML');
    region = childText(root, 'LocationConstraint') || region;
  }
  const bucket = world.addBucket(name, region);
  bucket.acl = headerOf(call, 'x-amz-acl') ?? 'private';
  await world.keeper?.bucketChanged(bucket);
  return emptyReply(200, ['Location', `/${name}`]);
}

export function headBucket(call: BucketCall): Reply {
  const headers = ['x-amz-bucket-region', call.bucket.region, 'x-amz-access-point-alias', 'false'];
  return emptyReply(200, [...headers, 'Content-Type', 'application/xml']);
}

export async function deleteBucket(call: BucketCall): Promise<Reply> {
  if (call.bucket.objects.size > 0) throw new S3Failure('BucketNotEmpty', { fields: { BucketName: call.bucket.name } });
  call.world.buckets.delete(call.bucket.name);
  await call.world.keeper?.bucketDeleted(call.bucket.name);
  return emptyReply(204);
}

export function getBucketLocation(call: BucketCall): Reply {
  const { region } = call.bucket;
  // us-east-1 is told by an empty element.
  const text = region === 'us-east-1' ? '' : region;
  return xmlReply(
    `<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${text}</LocationConstraint>`,
  );
}

export function getBucketVersioning(call: BucketCall): Reply {
  return xmlReply(document('VersioningConfiguration', element('Status', call.bucket.versioning)));
}

export async function putBucketVersioning(call: BucketCall): Promise<Reply> {
  const root = parseXml(await receiveText(call));
  const status = root && childText(root, 'Status');
  if (status !== 'Enabled' && status !== 'Suspended') throw new S3Failure('MalformedXML');
  call.bucket.versioning = status;
  await call.world.keeper?.bucketChanged(call.bucket);
  return emptyReply(200);
}

export function getBucketLifecycle(call: BucketCall): Reply {
  const { lifecycle, name } = call.bucket;
  if (lifecycle === undefined) throw new S3Failure('NoSuchLifecycleConfiguration', { fields: { BucketName: name } });
  return xmlReply(lifecycle);
}

export async function putBucketLifecycle(call: BucketCall): Promise<Reply> {
  const text = await receiveText(call);
  if (parseXml(text)?.name !== 'LifecycleConfiguration') throw new S3Failure('MalformedXML');
  call.bucket.lifecycle = text;
  await call.world.keeper?.bucketChanged(call.bucket);
  return emptyReply(200);
}

export function getObjectLock(call: BucketCall): Reply {
  if (!call.world.modes.objectLock) {
    throw new S3Failure('ObjectLockConfigurationNotFoundError', { fields: { BucketName: call.bucket.name } });
  }
  return xmlReply(document('ObjectLockConfiguration', element('ObjectLockEnabled', 'Enabled')));
}

export function getBucketPolicy(call: BucketCall): Reply {
  const { policy } = call.bucket;
  if (policy === undefined) throw new S3Failure('NoSuchBucketPolicy', { fields: { BucketName: call.bucket.name } });
  return { status: 200, headers: ['Content-Type', 'application/json'], body: toByteString(policy) };
}

export async function putBucketPolicy(call: BucketCall): Promise<Reply> {
  const policy = fromByteString(await receiveText(call));
  parsePolicy(policy);
  call.bucket.policy = policy;
  await call.world.keeper?.bucketChanged(call.bucket);
  return emptyReply(204);
}

export async function deleteBucketPolicy(call: BucketCall): Promise<Reply> {
  call.bucket.policy = undefined;
  await call.world.keeper?.bucketChanged(call.bucket);
  return emptyReply(204);
}
