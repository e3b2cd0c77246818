/**
 * The rights that a request needs beside that of its own operation (Service Authorization Reference; User Guide, "Required
 * permissions for Amazon S3 API operations"): for tags, an ACL, and the keys of KMS.
 */
import { authorize, authorizeKms } from './access.ts';
import { parseCopySource } from './address.ts';
import { type BucketCall, headerOf } from './call.ts';
import type { Operation } from './route.ts';
import { S3Failure } from './s3-error.ts';
import type { StoredObject } from './state.ts';

type Identity = { readonly policy?: string } | undefined;

const WRITES: ReadonlySet<Operation> = new Set(['PutObject', 'CopyObject', 'CreateMultipartUpload']);
const COPIES: ReadonlySet<Operation> = new Set(['CopyObject', 'UploadPartCopy']);
const READS: ReadonlySet<Operation> = new Set(['GetObject']);
/** Of an upload in parts: S3 reads the data key of its start again. */
const PARTS: ReadonlySet<Operation> = new Set(['UploadPart', 'UploadPartCopy', 'CompleteMultipartUpload']);

/** AWS's own key for S3 is open to everybody of the account who may use S3. */
const isManaged = (key: string): boolean => key.endsWith('alias/aws/s3');

function kmsKeyOf(encryption: readonly (readonly [string, string])[]): string | undefined {
  return encryption.find(([name]) => name === 'x-amz-server-side-encryption-aws-kms-key-id')?.[1];
}

function authorizeKey(identity: Identity, action: string, key: string | undefined): void {
  if (key !== undefined && !isManaged(key)) authorizeKms(identity, action, key);
}

/** Throws AccessDenied. But for the mode `kmsDenied` only for identities with a policy: the owner may do all. */
export function authorizeFurther(call: BucketCall, identity: Identity): void {
  if (call.world.modes.kmsDenied) refuseKey(call);
  if (identity?.policy === undefined) return;
  const { operation, bucket, key } = call;
  const on = (action: string): void => authorize(identity, operation, bucket, key, undefined, '', `s3:${action}`);
  const source = COPIES.has(operation) ? sourceOf(call) : undefined;
  if (WRITES.has(operation)) {
    const keepsTags = headerOf(call, 'x-amz-tagging-directive')?.toUpperCase() !== 'REPLACE';
    const copiedTags =
      operation === 'CopyObject' && keepsTags && source !== undefined && source.object.attributes.tags.length > 0;
    if (copiedTags) {
      authorize(identity, 'GetObjectTagging', source.bucket, source.object.key, undefined, '');
    }
    if (headerOf(call, 'x-amz-tagging') !== undefined || copiedTags) on('PutObjectTagging');
    if (headerOf(call, 'x-amz-acl') !== undefined) on('PutObjectAcl');
    if (headerOf(call, 'x-amz-server-side-encryption')?.startsWith('aws:kms')) {
      authorizeKey(identity, 'GenerateDataKey', headerOf(call, 'x-amz-server-side-encryption-aws-kms-key-id'));
    }
  }
  if (source) authorizeKey(identity, 'Decrypt', kmsKeyOf(source.object.attributes.encryption));
  if (READS.has(operation) || tellsChecksum(call)) {
    authorizeKey(identity, 'Decrypt', kmsKeyOf(bucket.current(key)?.attributes.encryption ?? []));
  }
  if (PARTS.has(operation)) {
    const upload = bucket.uploads.get(call.query.get('uploadId') ?? '');
    authorizeKey(identity, 'Decrypt', kmsKeyOf(upload?.attributes.encryption ?? []));
  }
}

/** Of what a key encrypts S3 keeps the checksum under that key too (HeadObject, "ChecksumMode"). */
function tellsChecksum(call: BucketCall): boolean {
  const { bucket, key, operation } = call;
  if (operation !== 'HeadObject' || headerOf(call, 'x-amz-checksum-mode') === undefined) return false;
  const object = bucket.current(key);
  const byKms = object?.attributes.encryption.some(([, value]) => value.startsWith('aws:kms'));
  return object?.checksum !== undefined && byKms === true;
}

/** In AWS's words ("Troubleshooting AWS KMS permissions"). */
function refuseKey(call: BucketCall): void {
  const { operation, world } = call;
  const reads = READS.has(operation) || COPIES.has(operation) || tellsChecksum(call);
  const action = reads ? 'Decrypt' : 'GenerateDataKey';
  if (action === 'GenerateDataKey' && !WRITES.has(operation)) return;
  throw new S3Failure('AccessDenied', {
    message: `User: arn:aws:iam::000000000000:user/embedded is not authorized to perform: kms:${action} on resource: arn:aws:kms:${world.region}:000000000000:key/embedded because no identity-based policy allows the kms:${action} action`,
  });
}

function sourceOf(
  call: BucketCall,
): { readonly bucket: BucketCall['bucket']; readonly object: StoredObject } | undefined {
  const [path = ''] = (headerOf(call, 'x-amz-copy-source') ?? '').split('?', 1);
  const named = parseCopySource(path);
  const bucket = named && call.world.buckets.get(named.bucket);
  const object = named && bucket?.current(named.key);
  return bucket && object ? { bucket, object } : undefined;
}
