/** All that S3 keeps beside an object's bytes, asked for as another client. */
import { GetObjectTaggingCommand, HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Access } from './s3-client.ts';

export interface StoredWith {
  readonly contentType: string | undefined;
  readonly contentEncoding: string | undefined;
  readonly contentDisposition: string | undefined;
  readonly contentLanguage: string | undefined;
  readonly cacheControl: string | undefined;
  readonly expires: string | undefined;
  readonly redirect: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly storageClass: string | undefined;
  readonly encryption: string | undefined;
  readonly kmsKeyId: string | undefined;
  readonly bucketKey: boolean | undefined;
  /** `name=value`, sorted. */
  readonly tags: readonly string[];
  readonly size: number;
  readonly etag: string;
}

/** Fails with the SDK's error where there is no such object. */
export async function storedWith(access: S3Access, bucket: string, key: string): Promise<StoredWith> {
  const { accessKeyId, secretAccessKey } = access;
  const s3 = new S3Client({
    endpoint: access.url,
    region: access.region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
  });
  try {
    const head = await s3.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
    const { TagSet = [] } = await s3.send(new GetObjectTaggingCommand({ Bucket: bucket, Key: key }));
    return {
      contentType: head.ContentType,
      contentEncoding: head.ContentEncoding,
      contentDisposition: head.ContentDisposition,
      contentLanguage: head.ContentLanguage,
      cacheControl: head.CacheControl,
      expires: head.ExpiresString,
      redirect: head.WebsiteRedirectLocation,
      metadata: head.Metadata ?? {},
      storageClass: head.StorageClass,
      encryption: head.ServerSideEncryption,
      kmsKeyId: head.SSEKMSKeyId,
      bucketKey: head.BucketKeyEnabled,
      tags: TagSet.map(({ Key, Value }) => `${Key}=${Value}`).sort(),
      size: head.ContentLength!,
      etag: head.ETag!,
    };
  } finally {
    s3.destroy();
  }
}
