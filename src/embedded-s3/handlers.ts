/** Which function answers which operation. */
import * as buckets from './bucket-operations.ts';
import type { BucketCall, Call, Reply } from './call.ts';
import { copyObject } from './copy.ts';
import { createSession } from './directory-bucket.ts';
import * as listing from './listing.ts';
import * as multipart from './multipart.ts';
import * as subresources from './object-subresources.ts';
import * as objects from './objects.ts';
import type { Operation } from './route.ts';

export type Handler<C extends Call> = (call: C) => Reply | Promise<Reply>;

/** Those that need no bucket to exist. */
export const SERVICE_HANDLERS: Partial<Readonly<Record<Operation, Handler<Call>>>> = {
  ListBuckets: buckets.listBuckets,
  CreateBucket: buckets.createBucket,
};

export const BUCKET_HANDLERS: Readonly<
  Record<Exclude<Operation, 'ListBuckets' | 'CreateBucket'>, Handler<BucketCall>>
> = {
  HeadBucket: buckets.headBucket,
  DeleteBucket: buckets.deleteBucket,
  CreateSession: createSession,
  GetBucketLocation: buckets.getBucketLocation,
  GetBucketVersioning: buckets.getBucketVersioning,
  PutBucketVersioning: buckets.putBucketVersioning,
  GetBucketLifecycleConfiguration: buckets.getBucketLifecycle,
  PutBucketLifecycleConfiguration: buckets.putBucketLifecycle,
  GetObjectLockConfiguration: buckets.getObjectLock,
  GetBucketPolicy: buckets.getBucketPolicy,
  PutBucketPolicy: buckets.putBucketPolicy,
  DeleteBucketPolicy: buckets.deleteBucketPolicy,
  GetBucketAcl: subresources.getBucketAcl,
  PutBucketAcl: subresources.putBucketAcl,
  ListObjects: listing.listObjects,
  ListObjectsV2: listing.listObjects,
  ListObjectVersions: listing.listObjectVersions,
  ListMultipartUploads: listing.listMultipartUploads,
  DeleteObjects: objects.deleteObjects,
  GetObject: objects.getObject,
  HeadObject: objects.getObject,
  PutObject: objects.putObject,
  CopyObject: copyObject,
  DeleteObject: objects.deleteObject,
  GetObjectAttributes: subresources.getObjectAttributes,
  GetObjectTagging: subresources.getObjectTagging,
  PutObjectTagging: subresources.putObjectTagging,
  DeleteObjectTagging: subresources.deleteObjectTagging,
  GetObjectAcl: subresources.getObjectAcl,
  PutObjectAcl: subresources.putObjectAcl,
  RestoreObject: subresources.restoreObject,
  CreateMultipartUpload: multipart.createMultipartUpload,
  UploadPart: multipart.uploadPart,
  UploadPartCopy: multipart.uploadPartCopy,
  CompleteMultipartUpload: multipart.completeMultipartUpload,
  AbortMultipartUpload: multipart.abortMultipartUpload,
  ListParts: multipart.listParts,
};
