/** What every check of an S3 endpoint works with: two clients, a bucket of its own, plain HTTP. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import {
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  type HeadObjectCommandInput,
  type HeadObjectCommandOutput,
  ListObjectsV2Command,
  type ListObjectsV2CommandInput,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type PutObjectCommandInput,
  type PutObjectCommandOutput,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
} from '@aws-sdk/client-s3';

export interface Endpoint {
  readonly url: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** PEM, for https with a CA of its own. */
  readonly ca?: string | undefined;
}

/** A check fails by throwing. Checks of one table share a bucket, but no keys. */
export type Check = readonly [name: string, run: (scene: Scene) => Promise<void>];

export interface PlainAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export const MIB = 1024 * 1024;
/** S3's smallest part but for the last. */
export const PART = Buffer.alloc(5 * MIB, 'p');
/** An ETag that nothing has. */
export const NO_ETAG = '"00000000000000000000000000000000"';

export const md5 = (bytes: Uint8Array | string): string => createHash('md5').update(bytes).digest('hex');

type Extra<T> = Omit<Partial<T>, 'Bucket' | 'Key' | 'Body'>;

export class Scene {
  readonly endpoint: Endpoint;
  readonly bucket: string;
  /** The SDK as it comes: checksums on everything. */
  readonly client: S3Client;
  /** Checksums only where S3 demands them: what the mount uses. */
  readonly lean: S3Client;

  constructor(endpoint: Endpoint, bucket: string) {
    this.endpoint = endpoint;
    this.bucket = bucket;
    this.client = this.clientWith({});
    this.lean = this.clientWith({
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    });
  }

  clientWith(changes: S3ClientConfig): S3Client {
    const { url, region, accessKeyId, secretAccessKey, ca } = this.endpoint;
    return new S3Client({
      endpoint: url,
      region,
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
      maxAttempts: 1,
      ...(ca === undefined ? {} : { requestHandler: { httpsAgent: new https.Agent({ ca, keepAlive: true }) } }),
      ...changes,
    });
  }

  close(): void {
    this.client.destroy();
    this.lean.destroy();
  }

  put(
    key: string,
    body: PutObjectCommandInput['Body'] = 'x',
    extra: Extra<PutObjectCommandInput> = {},
    client = this.client,
  ): Promise<PutObjectCommandOutput> {
    return client.send(new PutObjectCommand({ Bucket: this.bucket, Key: key, Body: body, ...extra }));
  }

  async get(
    key: string,
    extra: Extra<GetObjectCommandInput> = {},
  ): Promise<{ bytes: Buffer; text: string; answer: GetObjectCommandOutput }> {
    const answer = await this.client.send(new GetObjectCommand({ Bucket: this.bucket, Key: key, ...extra }));
    const bytes = Buffer.from((await answer.Body?.transformToByteArray()) ?? []);
    return { bytes, text: bytes.toString(), answer };
  }

  head(key: string, extra: Extra<HeadObjectCommandInput> = {}): Promise<HeadObjectCommandOutput> {
    return this.client.send(new HeadObjectCommand({ Bucket: this.bucket, Key: key, ...extra }));
  }

  delete(key: string): Promise<unknown> {
    return this.client.send(new DeleteObjectCommand({ Bucket: this.bucket, Key: key }));
  }

  list(extra: Omit<ListObjectsV2CommandInput, 'Bucket'>): Promise<ListObjectsV2CommandOutput> {
    return this.client.send(new ListObjectsV2Command({ Bucket: this.bucket, ...extra }));
  }

  async keys(extra: Omit<ListObjectsV2CommandInput, 'Bucket'>): Promise<(string | undefined)[]> {
    return ((await this.list(extra)).Contents ?? []).map(object => object.Key);
  }

  async beginUpload(key: string, extra: Extra<CreateMultipartUploadCommandInput> = {}): Promise<string> {
    const answer = await this.client.send(
      new CreateMultipartUploadCommand({ Bucket: this.bucket, Key: key, ...extra }),
    );
    assert.ok(answer.UploadId, 'no upload id');
    return answer.UploadId;
  }

  async uploadPart(key: string, uploadId: string, number: number, body: Buffer | string): Promise<CompletedPart> {
    const answer = await this.client.send(
      new UploadPartCommand({ Bucket: this.bucket, Key: key, UploadId: uploadId, PartNumber: number, Body: body }),
    );
    return { PartNumber: number, ETag: answer.ETag };
  }

  async complete(
    key: string,
    uploadId: string,
    parts: CompletedPart[],
    condition: { IfMatch?: string; IfNoneMatch?: string } = {},
  ): Promise<string> {
    const answer = await this.client.send(
      new CompleteMultipartUploadCommand({
        Bucket: this.bucket,
        Key: key,
        UploadId: uploadId,
        MultipartUpload: { Parts: parts },
        ...condition,
      }),
    );
    return answer.ETag ?? '';
  }

  /** A request without the SDK: unsigned, or as a presigned URL says. */
  plain(method: string, path: string, headers: http.OutgoingHttpHeaders = {}, body?: string): Promise<PlainAnswer> {
    return new Promise((resolve, reject) => {
      const request = this.#open(method, path, headers);
      request.on('error', reject);
      request.on('response', response => {
        const pieces: Buffer[] = [];
        response.on('data', (piece: Buffer) => pieces.push(piece));
        response.on('end', () => {
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(pieces).toString(),
          });
          request.destroy();
        });
      });
      if (headers['expect'] === undefined) request.end(body);
      else {
        // The body is never sent: the answer must come first.
        request.flushHeaders();
        request.on('continue', () => {
          request.destroy();
          resolve({ status: 100, headers: {}, body: '' });
        });
      }
    });
  }

  #open(method: string, path: string, headers: http.OutgoingHttpHeaders): http.ClientRequest {
    const url = new URL(this.endpoint.url);
    const options = { hostname: url.hostname, port: url.port, method, path, headers, agent: false as const };
    return url.protocol === 'https:' ? https.request({ ...options, ca: this.endpoint.ca }) : http.request(options);
  }
}

/** Asserts that `attempt` fails with `status` and, where given, one of `codes`. */
export async function fails(attempt: Promise<unknown>, status: number, ...codes: string[]): Promise<void> {
  let failure: unknown;
  try {
    await attempt;
  } catch (error) {
    failure = error;
  }
  assert.ok(failure, `succeeded, ${codes[0] ?? ''} ${status} expected`);
  const { name, message, $metadata } = failure as {
    name: string;
    message: string;
    $metadata?: { httpStatusCode?: number };
  };
  const got = `${name} ${$metadata?.httpStatusCode}: ${message}`.slice(0, 200);
  assert.equal($metadata?.httpStatusCode, status, `answered ${got}`);
  if (codes.length > 0) assert.ok(codes.includes(name), `${codes.join(' or ')} expected, answered ${got}`);
}
