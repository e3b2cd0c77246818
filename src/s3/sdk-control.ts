/**
 * The operations that the AWS SDK words: those that control multipart uploads, delete in batches and read tags. They are a
 * few for each large file, so the SDK's price (half a millisecond each) does not show, and their XML is its business.
 *
 * Its client sends through our transport: proxy, certificates, time-outs, counts and retries hold for it like for the rest.
 * Answers that are no success become our failures before the SDK sees them. The SDK is loaded on first use, or by `load`:
 * some 170 ms that a mount must not wait for.
 */
import type { S3Client } from '@aws-sdk/client-s3';
import type { CancelSignal } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { BucketEndpoint } from './endpoint.ts';
import { Failure } from './error-kinds.ts';
import type { HeaderList } from './object-headers.ts';
import type { S3Requests } from './requests.ts';
import { refuseErrorIn200 } from './result-document.ts';
import type { AttemptContext } from './retry.ts';
import { bodyOf, queryOf, responseOf, type SdkRequest } from './sdk-messages.ts';
import type { Credentials } from './sigv4.ts';

type Sdk = typeof import('./sdk-operations.ts');

interface Attempt {
  readonly operation: string;
  readonly key: string | undefined;
  readonly context: AttemptContext;
  readonly credentials: Credentials | undefined;
  readonly signal: CancelSignal | undefined;
  /** Date of the answer, filled in. */
  date?: string | undefined;
}

/** What the server may work on for minutes before it answers. */
const WORK: ReadonlySet<string> = new Set(['CompleteMultipartUpload', 'DeleteObjects']);

const UNSIGNED = { sign: async (request: never) => request };

export interface SdkResult<T> {
  readonly output: T;
  /** The answer's `Date` header. */
  readonly date: string | undefined;
}

export class SdkControl {
  readonly #requests: S3Requests;
  #sdk: Promise<Sdk> | undefined;
  #client: { readonly client: S3Client; readonly endpoint: BucketEndpoint } | undefined;

  constructor(requests: S3Requests) {
    this.#requests = requests;
  }

  /** Loads the SDK's code, so that nothing needs to be read from disk later. */
  load(): Promise<Sdk> {
    this.#sdk ??= import('./sdk-operations.ts');
    return this.#sdk;
  }

  /**
   * Runs `call` with the client, with retries. `call` gets what it must give as `Bucket`, and the options for `send`, which
   * carry the attempt. Rejects with `Failure`.
   */
  async run<T>(
    operation: string,
    key: string | undefined,
    signal: CancelSignal | undefined,
    call: (sdk: Sdk, client: S3Client, bucket: string, sendOptions: object) => Promise<T>,
  ): Promise<SdkResult<T>> {
    const sdk = await this.load();
    return this.#requests.run({ operation, key }, signal, async context => {
      const ready = this.#requests.keysFor(operation);
      const credentials = ready instanceof Promise ? await ready : ready;
      const attempt: Attempt = { operation, key, context, credentials, signal };
      const client = this.#clientOf(sdk);
      // The SDK reads the machine's clock; S3's, as far as it is known, is what must be signed.
      client.config.systemClockOffset = this.#requests.now() - Date.now();
      try {
        const { origin, host, basePath, express } = this.#requests.endpoint;
        // An address that ends like a directory bucket's name is taken for such a name: then the path is ours to complete.
        const bucket = `${origin.secure ? 'https' : 'http'}://${host}${express ? '' : basePath}`;
        return { output: await call(sdk, client, bucket, { attempt }), date: attempt.date };
      } catch (error) {
        throw failureWithin(error) ?? this.#unreadable(error, operation, key);
      }
    });
  }

  close(): void {
    this.#client?.client.destroy();
  }

  #clientOf(sdk: Sdk): S3Client {
    const { endpoint, options } = this.#requests;
    if (this.#client?.endpoint === endpoint) return this.#client.client;
    // One client for one bucket: a client whose middleware is cached has sent requests to another bucket.
    const client = new sdk.S3Client({
      region: endpoint.scope.region,
      // Host and path style are decided already: the bucket is named by its address (see `run`).
      bucketEndpoint: true,
      maxAttempts: 1,
      // The SDK's defaults add checksums that other stores refuse, and `Expect`, which costs a round trip.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      expectContinueHeader: false,
      credentials: async () => {
        const current = await options.credentials.current();
        if (!current) return { accessKeyId: '', secretAccessKey: '' };
        // Dated so that the SDK asks each time: what is fresh is decided in one place only.
        return { ...current, expiration: new Date(0) };
      },
      ...(options.credentials.anonymous || endpoint.express ? { signer: UNSIGNED } : {}),
      requestHandler: {
        handle: (request: unknown, handlerOptions: unknown) =>
          this.#send(request as SdkRequest, (handlerOptions as { attempt: Attempt }).attempt, endpoint),
        metadata: { handlerProtocol: 'http/1.1' },
        destroy: () => {},
        httpHandlerConfigs: () => ({}),
        updateHttpClientConfig: () => {},
      } as never,
    });
    this.#client = { client, endpoint };
    return client;
  }

  async #send(request: SdkRequest, attempt: Attempt, endpoint: BucketEndpoint): Promise<{ response: object }> {
    const { transport, workTimeout } = this.#requests.options;
    const body = bodyOf(request.body);
    const query = queryOf(request.query);
    const path = endpoint.express ? endpoint.basePath + request.path : request.path;
    const lines = this.#headerLines({ ...request, path }, query.slice(1), body, attempt, endpoint);
    const sentAt = this.#requests.now();
    this.#requests.sending(attempt.operation, body && [body]);
    const { clock, telemetry } = this.#requests.options;
    const start = clock.monotonic();
    const sent = transport.request({
      origin: endpoint.origin,
      method: request.method,
      head: `${request.method} ${path}${query} HTTP/1.1\r\n${lines}\r\n`,
      signal: attempt.signal,
      ...(WORK.has(attempt.operation) ? { firstByteTimeout: workTimeout } : {}),
      ...(body ? { body: [body] } : {}),
    });
    const answer = await sent.finally(() => telemetry.time(`s3.${attempt.operation}`, clock.monotonic() - start));
    const subject = { operation: attempt.operation, key: attempt.key, bucket: this.#requests.options.bucket };
    const accepted = this.#requests.accept(subject, answer, attempt.context, {
      at: sentAt,
      endpoint,
      credentials: attempt.credentials,
    });
    refuseErrorIn200(subject, accepted);
    attempt.date = accepted.head.headers.get('date');
    return { response: responseOf(accepted) };
  }

  /** The SDK knows nothing of the zone's keys where the bucket is named by its address: then we sign. */
  #headerLines(
    request: SdkRequest,
    query: string,
    body: Uint8Array | undefined,
    { credentials }: Attempt,
    endpoint: BucketEndpoint,
  ): string {
    const all = Object.entries(request.headers);
    const asLines = (headers: HeaderList): string => headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    if (!endpoint.express || !credentials) return asLines(all);
    const { method, path } = request;
    const isOurs = ([name]: readonly [string, string]): boolean => /^x-amz-(content-sha256|date)$/i.test(name);
    const headers = all
      .filter(([name]) => /^x-amz-/i.test(name))
      .filter(header => !isOurs(header))
      .map(([name, value]) => [name.toLowerCase(), value] as const);
    const plain = all.filter(([name]) => !/^x-amz-/i.test(name));
    return asLines(plain) + this.#requests.signedFor({ method, path, query, headers, body }, endpoint, credentials);
  }

  #unreadable(error: unknown, operation: string, key: string | undefined): unknown {
    // The SDK's parser found something that is no answer of S3's. Other errors (of the transport) pass.
    const transport = findCause(error, cause => cause.name === 'HttpError');
    if (transport) return transport;
    if (error instanceof StoreError) return error;
    return new StoreError('corrupt', `${operation} failed: the answer could not be read`, {
      operation,
      cause: error,
      ...(key === undefined ? {} : { key }),
    });
  }
}

function failureWithin(error: unknown): Failure | undefined {
  return findCause(error, cause => cause instanceof Failure) as Failure | undefined;
}

function findCause(error: unknown, test: (cause: Error) => boolean): Error | undefined {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth++) {
    if (test(cause)) return cause;
  }
  return undefined;
}
