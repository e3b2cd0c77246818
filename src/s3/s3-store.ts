/**
 * The store seam over S3: each method of `ObjectStore` in S3's terms.
 *
 * What carries an object's bytes or description goes over the lean path; the SDK words the rest (`sdk-control.ts`). Retries
 * are the business of `requests.ts`, conditions and lost replies that of `conditional-write.ts`.
 */
import { delay } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import { ConditionalWriter } from './conditional-write.ts';
import { CopySources } from './copy-source.ts';
import { Failure } from './error-kinds.ts';
import { KeptAttributes } from './kept-attributes.ts';
import { ListingOrder } from './listing-order.ts';
import { ObjectDeletes } from './object-deletes.ts';
import type { HeaderList, WriteDefaults } from './object-headers.ts';
import { ObjectReads } from './object-reads.ts';
import { ObjectWrites } from './object-writes.ts';
import { ReadChecksums } from './read-checksums.ts';
import type { S3Request, S3Requests } from './requests.ts';
import { atTheDoor, isFailure, storeErrorOf } from './requests.ts';
import { sentWithResult, textIn } from './result-document.ts';
import type { RetryPolicy } from './retry.ts';
import { backoff } from './retry.ts';
import { S3Upload } from './s3-upload.ts';
import { SdkControl } from './sdk-control.ts';
import type {
  GetRequest,
  GetResult,
  GetSink,
  ListPage,
  ListRequest,
  ObjectDescription,
  ObjectInfo,
  ObjectStore,
  ObjectVersion,
  RequestOptions,
  RestoreRequest,
  StoreFeatures,
  StoreLimits,
  Upload,
  WriteCondition,
  Written,
} from './store.ts';
import type { StoreContext } from './store-context.ts';
import { describing, requestPayer, wholeKey } from './store-context.ts';
import { Verification } from './verification.ts';
import { BEGIN_WITH_CHECKSUMS, WriteChecksums } from './write-checksums.ts';

/** Of what checksums are taken: of what is written and what is read, of what is written, of nothing. */
export type ChecksumUse = 'all' | 'write' | 'none';

export interface S3StoreParts {
  readonly requests: S3Requests;
  readonly writeDefaults: WriteDefaults;
  readonly limits: StoreLimits;
  readonly orderedListing: boolean;
  readonly checksums: ChecksumUse;
  /** Kept for the probe: what goes wrong then should be said in seconds. */
  readonly probeRetry: RetryPolicy;
}

/** S3's codes for a setting of a bucket that nobody has made. */
const NEVER_SET = /^(?:NoSuchLifecycleConfiguration|ObjectLockConfigurationNotFoundError)$/;

export class S3Store implements ObjectStore {
  readonly limits: StoreLimits;
  readonly prefixBytes: number;
  readonly #parts: S3StoreParts;
  readonly #context: StoreContext;
  readonly #reads: ObjectReads;
  readonly #writes: ObjectWrites;
  readonly #deletes: ObjectDeletes;

  constructor(parts: S3StoreParts) {
    const { requests, limits, writeDefaults } = parts;
    const { clock, random, retry, telemetry, prefix } = requests.options;
    const { aws, express } = requests.endpoint;
    // What directory buckets keep is found out like that of other stores, and their ETags are no MD5s.
    const known = aws && !express;
    const look = (key: string): Promise<ObjectInfo | undefined> => this.#reads.look(key);
    const writer = new ConditionalWriter({
      telemetry,
      known,
      head: look,
      pause: attempt => delay(clock, backoff(retry, attempt, false, random)),
    });
    const attributes = new KeptAttributes();
    this.#parts = parts;
    this.limits = limits;
    this.prefixBytes = Buffer.byteLength(prefix);
    this.#context = {
      requests,
      control: new SdkControl(requests),
      writer,
      sources: new CopySources({ writer, telemetry, known, head: look }),
      attributes,
      verification: new Verification(telemetry, express ? false : known || undefined),
      checksums: new WriteChecksums(telemetry, parts.checksums !== 'none'),
      sums: new ReadChecksums(telemetry, parts.checksums === 'all', look),
      writeDefaults,
      limits,
      order: new ListingOrder(telemetry, parts.orderedListing),
      look,
    };
    this.#reads = new ObjectReads(this.#context);
    this.#writes = new ObjectWrites(this.#context);
    this.#deletes = new ObjectDeletes(this.#context);
  }

  get features(): StoreFeatures {
    return {
      conditionalPut: this.#context.writer.kept('PutObject'),
      conditionalComplete: this.#context.writer.kept('CompleteMultipartUpload'),
      checksums: this.#context.checksums.state,
      orderedListing: this.#context.order.ordered,
    };
  }

  /** Where the keys in use came from, in words for people; undefined for none. */
  get credentialSource(): string | undefined {
    return this.#context.requests.options.credentials.source;
  }

  /** Whose view of the bucket this is, as one text; without secrets. */
  get identity(): string {
    return this.#context.requests.options.credentials.identity ?? 'anonymous';
  }

  /** Where the bucket is, for `status`: without secrets. */
  get place(): {
    readonly endpoint: string;
    readonly region: string;
    readonly bucket: string;
    readonly prefix: string;
  } {
    const { endpoint, options } = this.#context.requests;
    const origin = endpoint.origin;
    const name = `${origin.secure ? 'https' : 'http'}://${endpoint.host}`;
    return { endpoint: name, region: endpoint.scope.region, bucket: options.bucket, prefix: options.prefix };
  }

  /**
   * Looks whether the bucket can be listed with these credentials. Throws a `StoreError` whose message tells a person what
   * to do; gives up within `timeout` ms.
   */
  async probe(timeout = 10_000): Promise<void> {
    const signal = AbortSignal.timeout(timeout);
    try {
      await this.#reads.list({ prefix: '', maxKeys: 1 }, { signal }, this.#parts.probeRetry);
    } catch (error) {
      if (!isStoreError(error, 'aborted')) throw error;
      const cause = error.details.cause instanceof StoreError ? `: ${error.details.cause.message}` : '';
      throw new StoreError(
        'timeout',
        `${this.place.endpoint} did not answer in ${timeout / 1000} s${cause}; check the network and url=`,
        { operation: 'ListObjectsV2', cause: error },
      );
    }
  }

  /** Loads what is loaded on first use otherwise: once the mount answers, nothing is read from the installation any more. */
  async warm(): Promise<void> {
    await this.#context.control.load();
  }

  /** True if more of what is being sent has arrived at S3 since this was asked last: a slow link is not a dead one. */
  sentMore(): boolean {
    return this.#context.requests.options.transport.sentMore();
  }

  head(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<ObjectInfo> {
    return this.#reads.head(key, options);
  }

  get(key: string, request: GetRequest, sink: GetSink, options?: RequestOptions): Promise<GetResult> {
    return this.#reads.get(key, request, sink, options);
  }

  list(request: ListRequest, options?: RequestOptions): Promise<ListPage> {
    return this.#reads.list(request, options);
  }

  put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written> {
    return this.#writes.put(key, body, description, condition, options);
  }

  copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written> {
    return this.#writes.copy(source, key, description, condition, options);
  }

  async restore(key: string, { days, tier }: RestoreRequest, options: RequestOptions = {}): Promise<boolean> {
    const { control, requests } = this.#context;
    const { output } = await atTheDoor(
      control.run('RestoreObject', key, options.signal, (sdk, client, bucket, sendOptions) =>
        client.send(
          new sdk.RestoreObjectCommand({
            Bucket: bucket,
            Key: wholeKey(requests, key),
            RestoreRequest: { ...(days === undefined ? {} : { Days: days }), GlacierJobParameters: { Tier: tier } },
            ...requestPayer(requests),
          }),
          sendOptions,
        ),
      ),
    );
    // 202: the work begins; 200: there was a copy already.
    return output.$metadata.httpStatusCode === 202;
  }

  async tags(key: string, options: RequestOptions = {}): Promise<readonly (readonly [string, string])[]> {
    const { control, requests } = this.#context;
    const { output } = await atTheDoor(
      control.run('GetObjectTagging', key, options.signal, (sdk, client, bucket, sendOptions) =>
        client.send(
          new sdk.GetObjectTaggingCommand({ Bucket: bucket, Key: wholeKey(requests, key), ...requestPayer(requests) }),
          sendOptions,
        ),
      ),
    );
    return (output.TagSet ?? []).map(tag => [tag.Key ?? '', tag.Value ?? ''] as const);
  }

  delete(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<void> {
    return this.#deletes.delete(key, options);
  }

  deleteMany(
    keys: readonly string[],
    options?: RequestOptions,
  ): Promise<readonly { key: string; error: StoreError }[]> {
    return this.#deletes.deleteMany(keys, options);
  }

  async beginUpload(key: string, description: ObjectDescription, options: RequestOptions = {}): Promise<Upload> {
    const { checksums, requests } = this.#context;
    const described = describing(this.#context, description);
    const begin = (more: HeaderList): Promise<S3Upload> => {
      const request: S3Request = {
        operation: 'CreateMultipartUpload',
        method: 'POST',
        key,
        query: 'uploads=',
        signed: [...described, ...more],
      };
      return sentWithResult(requests, request, options.signal, answer => {
        const uploadId = textIn(answer, request, 'InitiateMultipartUploadResult', 'UploadId');
        const { headers } = answer.head;
        const whole = headers.get('x-amz-checksum-type')?.toUpperCase() === 'FULL_OBJECT';
        return new S3Upload(key, uploadId, this.#context, more.length === 0 ? 'none' : whole ? 'whole' : 'parts');
      });
    };
    if (!checksums.sends('UploadPart')) return atTheDoor(begin([]));
    try {
      return await begin(BEGIN_WITH_CHECKSUMS);
    } catch (error) {
      // That it compares those of a PUT says nothing: some stores know no checksums of uploads, or none of the whole.
      const mayBeRefused = !checksums.compares('UploadPart') && isFailure(error, 'invalid', 'not-implemented');
      if (!mayBeRefused) throw storeErrorOf(error);
      const upload = await atTheDoor(begin([]));
      checksums.refusedUploads();
      return upload;
    }
  }

  resumeUpload(key: string, uploadId: string): Upload {
    return new S3Upload(key, uploadId, this.#context, 'unknown');
  }

  abortUpload(key: string, uploadId: string): Promise<void> {
    return this.resumeUpload(key, uploadId).abort();
  }

  /** A setting of the bucket, as XML; empty where nobody set it, undefined where it may not be asked or the store does not know it. */
  async bucketSetting(name: 'versioning' | 'object-lock' | 'lifecycle'): Promise<string | undefined> {
    const { requests } = this.#context;
    const operation = `GetBucket?${name}`;
    try {
      const answer = await requests.send({ operation, method: 'GET', key: undefined, query: `${name}=` });
      return Buffer.from(answer.body).toString('utf8');
    } catch (error) {
      if (error instanceof Failure && NEVER_SET.test(error.error.details.s3Code ?? '')) return '';
      if (isFailure(error, 'forbidden', 'not-implemented', 'not-found', 'no-such-bucket', 'invalid')) return undefined;
      throw storeErrorOf(error);
    }
  }

  async close(): Promise<void> {
    this.#context.control.close();
    this.#context.requests.options.transport.close();
  }
}
