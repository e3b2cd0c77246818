/**
 * Directory buckets (S3 Express One Zone): `NAME--ZONE--x-s3`. What they demand, and what they do not know ("Differences for
 * directory buckets", Amazon S3 User Guide): keys of a session, listings by directory and in no order, ETags that are no MD5s,
 * part numbers without gaps; no versions, tags, ACLs.
 */
import { authorizeSession } from './access.ts';
import { type BucketCall, headerOf, type Reply, xmlReply } from './call.ts';
import type { Operation } from './route.ts';
import { S3Failure } from './s3-error.ts';
import { document, element } from './xml.ts';

export function isDirectoryBucket(name: string): boolean {
  return /--[a-z0-9-]+--xa?-s3$/.test(name);
}

/** What is asked for with the keys of the account, not with those of a session. */
const WITH_ACCOUNT_KEYS: ReadonlySet<Operation> = new Set([
  'CreateSession',
  'CopyObject',
  'UploadPartCopy',
  'HeadBucket',
  'CreateBucket',
  'DeleteBucket',
]);

const UNKNOWN: ReadonlySet<Operation> = new Set([
  'ListObjects',
  'ListObjectVersions',
  'GetBucketVersioning',
  'PutBucketVersioning',
  'GetBucketAcl',
  'PutBucketAcl',
  'GetObjectAcl',
  'PutObjectAcl',
  'GetObjectTagging',
  'PutObjectTagging',
  'DeleteObjectTagging',
  'RestoreObject',
]);

/** Headers of features that there are not: the request fails. */
const UNKNOWN_HEADERS = [
  'x-amz-acl',
  'x-amz-tagging',
  'x-amz-request-payer',
  'x-amz-server-side-encryption-customer-algorithm',
  'x-amz-website-redirect-location',
];

const READS: ReadonlySet<Operation> = new Set([
  'GetObject',
  'HeadObject',
  'ListObjectsV2',
  'GetObjectAttributes',
  'ListParts',
  'ListMultipartUploads',
]);

/** Throws what a directory bucket answers to a request that it does not take. */
export function checkDirectoryBucket(call: BucketCall): void {
  const { operation, headers, query, world, signed } = call;
  const session = signed && world.sessions.get(signed.credential.accessKeyId);
  const wantsSession = !WITH_ACCOUNT_KEYS.has(operation);
  if (call.verify && wantsSession !== (session !== undefined)) {
    throw new S3Failure('AccessDenied', {
      message: wantsSession
        ? 'This operation wants the credentials of a session (CreateSession).'
        : `${operation} cannot be asked for with the credentials of a session.`,
    });
  }
  if (session) {
    if (session.bucket !== call.bucket.name) throw new S3Failure('AccessDenied');
    if (session.until <= world.clock.now()) throw new S3Failure('ExpiredToken');
    if (session.readOnly && !READS.has(operation)) throw new S3Failure('AccessDenied');
  }
  // Copies are not asked for with a session's keys, but with the right to one that writes.
  if (operation === 'CopyObject' || operation === 'UploadPartCopy') {
    authorizeSession(call.verify ? signed?.credential : {}, call.bucket, 'ReadWrite');
  }
  const refuse = (what: string): never => {
    throw new S3Failure('NotImplemented', { fields: { Header: what } });
  };
  if (UNKNOWN.has(operation)) refuse(operation);
  for (const name of UNKNOWN_HEADERS) if (headers[name] !== undefined) refuse(name);
  if (headers['content-md5'] !== undefined) refuse('Content-MD5');
  const storageClass = headerOf(call, 'x-amz-storage-class');
  if (storageClass !== undefined && storageClass !== 'EXPRESS_ONEZONE') throw new S3Failure('InvalidStorageClass');
  if (operation === 'CopyObject') {
    for (const name of ['if-match', 'if-none-match']) if (headers[name] !== undefined) refuse(name);
  }
  if (operation !== 'ListObjectsV2') return;
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') ?? '/';
  if (prefix !== '' && !prefix.endsWith('/')) {
    throw new S3Failure('InvalidArgument', {
      message: 'Prefixes must end in the delimiter',
      fields: { ArgumentName: 'prefix' },
    });
  }
  if (delimiter !== '/') throw new S3Failure('InvalidArgument', { fields: { ArgumentName: 'delimiter' } });
  if (query.has('start-after')) refuse('start-after');
}

export function createSession(call: BucketCall): Reply {
  const { world, bucket } = call;
  if (!isDirectoryBucket(bucket.name)) throw new S3Failure('MethodNotAllowed');
  const identity = call.verify ? call.signed?.credential : {};
  const mode = headerOf(call, 'x-amz-create-session-mode');
  if (mode !== undefined && mode !== 'ReadOnly' && mode !== 'ReadWrite') throw new S3Failure('InvalidArgument');
  const readOnly = authorizeSession(identity, bucket, mode) === 'ReadOnly';
  const { accessKeyId, secretAccessKey, sessionToken, until } = world.sessions.begin(
    bucket.name,
    readOnly,
    world.clock.now(),
  );
  const inner =
    element('SessionToken', sessionToken) +
    element('SecretAccessKey', secretAccessKey) +
    element('AccessKeyId', accessKeyId) +
    element('Expiration', new Date(until).toISOString());
  return xmlReply(document('CreateSessionResult', `<Credentials>${inner}</Credentials>`));
}
