/** Another client of the same bucket: what it does, the mount learns only by looking. Works with any S3 server. */
import { Agent } from 'node:http';
import type { LookupFunction } from 'node:net';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

/** What resolves each name to this machine. */
export const toLoopback: LookupFunction = (_name, { all }, done) => {
  if (all) done(null, [{ address: '127.0.0.1', family: 4 }]);
  else done(null, '127.0.0.1', 4);
};

/** Where an S3 server answers, and how to get in. */
export interface S3Access {
  readonly url: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  /** PEM file of the CA to trust. */
  readonly caFile?: string;
}

export interface PutOptions {
  readonly contentType?: string;
  readonly metadata?: Record<string, string>;
}

export interface Head {
  readonly size: number;
  readonly etag: string;
  readonly contentType: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

export class ForeignClient {
  readonly bucket: string;
  readonly #s3: S3Client;

  /** `checksums`: with what is put, as Object Lock demands them. */
  constructor(access: S3Access, bucket: string, { checksums = false }: { readonly checksums?: boolean } = {}) {
    this.bucket = bucket;
    // A directory bucket has no path style: its name goes in front of a host name, which leads to this machine.
    const express = bucket.endsWith('--x-s3');
    this.#s3 = new S3Client({
      endpoint: express ? access.url.replace('127.0.0.1', 'localhost') : access.url,
      ...(express && { requestHandler: { httpAgent: new Agent({ lookup: toLoopback, keepAlive: true }) } }),
      region: access.region,
      credentials: { accessKeyId: access.accessKeyId, secretAccessKey: access.secretAccessKey },
      forcePathStyle: !express,
      // Old stores refuse the trailers that the SDK sends by default.
      requestChecksumCalculation: checksums ? 'WHEN_SUPPORTED' : 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  async createBucket(): Promise<void> {
    await this.#s3.send(new CreateBucketCommand({ Bucket: this.bucket }));
  }

  async put(key: string, body: string | Uint8Array = '', { contentType, metadata }: PutOptions = {}): Promise<void> {
    await this.#s3.send(
      new PutObjectCommand({
        Bucket: this.bucket,
        Key: key,
        // The SDK takes an empty string for a stream of unknown length, and says so each time.
        Body: typeof body === 'string' ? Buffer.from(body) : body,
        ...(contentType && { ContentType: contentType }),
        ...(metadata && { Metadata: metadata }),
      }),
    );
  }

  /** Bytes, or undefined where there is no such object. */
  async get(key: string, VersionId?: string): Promise<Buffer | undefined> {
    try {
      const { Body } = await this.#s3.send(
        new GetObjectCommand({ Bucket: this.bucket, Key: key, ...(VersionId !== undefined && { VersionId }) }),
      );
      return Buffer.from(await Body!.transformToByteArray());
    } catch (error) {
      if ((error as Error).name === 'NoSuchKey') return undefined;
      throw error;
    }
  }

  async text(key: string, versionId?: string): Promise<string | undefined> {
    return (await this.get(key, versionId))?.toString();
  }

  async head(key: string): Promise<Head | undefined> {
    try {
      const head = await this.#s3.send(new HeadObjectCommand({ Bucket: this.bucket, Key: key }));
      return {
        size: head.ContentLength!,
        etag: head.ETag!,
        contentType: head.ContentType,
        metadata: head.Metadata ?? {},
      };
    } catch (error) {
      if ((error as Error).name === 'NotFound') return undefined;
      throw error;
    }
  }

  async delete(key: string): Promise<void> {
    await this.#s3.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: key }));
  }

  /** In the server's order. */
  async keys(prefix = ''): Promise<string[]> {
    const keys: string[] = [];
    let token: string | undefined;
    do {
      const page = await this.#s3.send(
        new ListObjectsV2Command({ Bucket: this.bucket, Prefix: prefix, ...(token && { ContinuationToken: token }) }),
      );
      for (const { Key } of page.Contents ?? []) keys.push(Key!);
      token = page.NextContinuationToken;
    } while (token);
    return keys;
  }

  async openUploads(): Promise<number> {
    return (await this.#s3.send(new ListMultipartUploadsCommand({ Bucket: this.bucket }))).Uploads?.length ?? 0;
  }

  close(): void {
    this.#s3.destroy();
  }
}
