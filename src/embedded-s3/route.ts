/** Which operation of the S3 API a request is, by method, target and query. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Address } from './address.ts';
import { S3Failure } from './s3-error.ts';

export const OPERATIONS = {
  ListBuckets: 'bucket',
  CreateBucket: 'bucket',
  HeadBucket: 'bucket',
  DeleteBucket: 'bucket',
  CreateSession: 'bucket',
  GetBucketLocation: 'bucket',
  GetBucketVersioning: 'bucket',
  PutBucketVersioning: 'bucket',
  GetBucketLifecycleConfiguration: 'bucket',
  PutBucketLifecycleConfiguration: 'bucket',
  GetObjectLockConfiguration: 'bucket',
  GetBucketPolicy: 'bucket',
  PutBucketPolicy: 'bucket',
  DeleteBucketPolicy: 'bucket',
  GetBucketAcl: 'bucket',
  PutBucketAcl: 'bucket',
  ListObjects: 'list',
  ListObjectsV2: 'list',
  ListObjectVersions: 'list',
  ListMultipartUploads: 'list',
  DeleteObjects: 'delete',
  GetObject: 'get',
  HeadObject: 'head',
  PutObject: 'put',
  CopyObject: 'copy',
  DeleteObject: 'delete',
  GetObjectAttributes: 'head',
  GetObjectTagging: 'tagging',
  PutObjectTagging: 'tagging',
  DeleteObjectTagging: 'tagging',
  GetObjectAcl: 'other',
  PutObjectAcl: 'other',
  RestoreObject: 'other',
  CreateMultipartUpload: 'mpu',
  UploadPart: 'put',
  UploadPartCopy: 'copy',
  CompleteMultipartUpload: 'mpu',
  AbortMultipartUpload: 'mpu',
  ListParts: 'mpu',
} as const satisfies Record<string, string>;

export type Operation = keyof typeof OPERATIONS;

type ByMethod = Readonly<Record<string, Operation>>;

const BUCKET_SUBRESOURCES: Readonly<Record<string, ByMethod>> = {
  session: { GET: 'CreateSession' },
  location: { GET: 'GetBucketLocation' },
  versioning: { GET: 'GetBucketVersioning', PUT: 'PutBucketVersioning' },
  lifecycle: { GET: 'GetBucketLifecycleConfiguration', PUT: 'PutBucketLifecycleConfiguration' },
  'object-lock': { GET: 'GetObjectLockConfiguration' },
  policy: { GET: 'GetBucketPolicy', PUT: 'PutBucketPolicy', DELETE: 'DeleteBucketPolicy' },
  acl: { GET: 'GetBucketAcl', PUT: 'PutBucketAcl' },
  versions: { GET: 'ListObjectVersions' },
  uploads: { GET: 'ListMultipartUploads' },
  delete: { POST: 'DeleteObjects' },
};

const OBJECT_SUBRESOURCES: Readonly<Record<string, ByMethod>> = {
  uploads: { POST: 'CreateMultipartUpload' },
  uploadId: {
    GET: 'ListParts',
    PUT: 'UploadPart',
    POST: 'CompleteMultipartUpload',
    DELETE: 'AbortMultipartUpload',
  },
  acl: { GET: 'GetObjectAcl', PUT: 'PutObjectAcl' },
  tagging: { GET: 'GetObjectTagging', PUT: 'PutObjectTagging', DELETE: 'DeleteObjectTagging' },
  attributes: { GET: 'GetObjectAttributes' },
  restore: { POST: 'RestoreObject' },
};

/** Subresources of S3 that this server does not know: to take them as plain GETs and PUTs would destroy objects. */
const UNKNOWN_SUBRESOURCES = new Set(
  (
    'accelerate analytics cors encryption intelligent-tiering inventory legal-hold logging metadataTable metrics ' +
    'notification ownershipControls policyStatus publicAccessBlock renameObject replication requestPayment ' +
    'retention select tagging torrent website append'
  ).split(' '),
);

const BUCKET_METHODS: ByMethod = {
  GET: 'ListObjects',
  HEAD: 'HeadBucket',
  PUT: 'CreateBucket',
  DELETE: 'DeleteBucket',
};
const OBJECT_METHODS: ByMethod = {
  GET: 'GetObject',
  HEAD: 'HeadObject',
  PUT: 'PutObject',
  DELETE: 'DeleteObject',
};

/** Throws MethodNotAllowed or NotImplemented. */
export function route(
  method: string,
  address: Address,
  query: ReadonlyMap<string, string>,
  headers: IncomingHttpHeaders,
): Operation {
  if (address.bucket === '') {
    if (method === 'GET') return 'ListBuckets';
    throw new S3Failure('MethodNotAllowed');
  }
  const onBucket = address.key === '';
  const known = onBucket ? BUCKET_SUBRESOURCES : OBJECT_SUBRESOURCES;
  let operations = onBucket ? BUCKET_METHODS : OBJECT_METHODS;
  for (const name of query.keys()) {
    if (Object.hasOwn(known, name)) {
      operations = known[name]!;
      break;
    }
    if (UNKNOWN_SUBRESOURCES.has(name)) throw new S3Failure('NotImplemented', { fields: { Query: name } });
  }
  const operation = operations[method];
  if (operation === undefined) throw new S3Failure('MethodNotAllowed', { fields: { Method: method } });
  if (operation === 'ListObjects' && query.get('list-type') === '2') return 'ListObjectsV2';
  if (headers['x-amz-copy-source'] !== undefined) {
    if (operation === 'PutObject') return 'CopyObject';
    if (operation === 'UploadPart') return 'UploadPartCopy';
  }
  if (headers['x-amz-write-offset-bytes'] !== undefined) throw new S3Failure('NotImplemented');
  return operation;
}
