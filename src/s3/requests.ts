/**
 * Signed requests to one bucket over the lean transport: the one way out, for the store's own operations and for those that
 * the SDK words (`sdk-control.ts`). Counts every request sent, turns answers into failures, retries, and sets right what
 * can be: the clock, stale credentials, the wrong region.
 */
import type { CancelSignal, Clock } from '../concurrency.ts';
import type { StoreErrorKind } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { CredentialCache } from './credentials.ts';
import { type CustomerKeys, mayBeTheKey } from './customer-keys.ts';
import type { BucketEndpoint } from './endpoint.ts';
import { pathOf } from './endpoint.ts';
import type { Remedy, Sent } from './error-kinds.ts';
import { Failure, failureOfAnswer, failureOfTransport } from './error-kinds.ts';
import { createSession, SESSION_REFRESH_MS, WITH_ACCOUNT_KEYS } from './express-session.ts';
import { Hedge } from './hedge.ts';
import type { ResponseHead } from './http-message.ts';
import type { HttpAnswer, HttpTransport } from './http-transport.ts';
import type { HeaderList } from './object-headers.ts';
import type { AttemptContext, RetryEnvironment, RetryPolicy } from './retry.ts';
import { withRetries } from './retry.ts';
import type { Credentials } from './sigv4.ts';
import { EMPTY_PAYLOAD_HASH, SignedBlocks, Signer, sha256Hex, UNSIGNED_PAYLOAD } from './sigv4.ts';

export interface RequestsOptions {
  readonly bucket: string;
  /** The store's own prefix: stands before every key. */
  readonly prefix: string;
  readonly transport: HttpTransport;
  readonly credentials: CredentialCache;
  readonly retry: RetryPolicy;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly random: () => number;
  /** ms to the first byte of an answer that the server works for, such as a copy's. */
  readonly workTimeout: number;
  readonly requesterPays: boolean;
  readonly customerKeys?: CustomerKeys | undefined;
  /**
   * Hash bodies for the signature: `http` only where TLS does not protect them, `unchecked` of those only where the store
   * does not compare a checksum that is signed itself.
   */
  readonly signPayload: 'unchecked' | 'http' | 'always' | 'never';
  /** Finds the endpoint again when S3 says that the bucket is in `region`. */
  readonly relocate: (region: string) => BucketEndpoint;
}

/** A request in S3's terms. */
export interface S3Request {
  readonly operation: string;
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Relative to the store's prefix; undefined for the bucket. */
  readonly key: string | undefined;
  /** Of a copy: the key that it reads, relative likewise. */
  readonly source?: string;
  /** By `canonicalQuery`; empty for none. */
  readonly query?: string;
  readonly signed?: HeaderList;
  /** Header lines that need no signature, each ending in CRLF. */
  readonly unsigned?: string;
  readonly body?: readonly Uint8Array[];
  /** Among `signed` is a checksum of the body, and the store is known to compare it. */
  readonly compared?: boolean;
  /** ms, instead of the transport's. */
  readonly firstByteTimeout?: number;
  /** Sees the head of an answer with a status below 300, and may name buffers for the body. */
  answer?(head: ResponseHead): readonly Uint8Array[] | undefined;
  progress?(bytes: number): void;
}

export interface S3Answer extends HttpAnswer {
  /** When it was complete, ms since the epoch by our clock. */
  readonly arrived: number;
  readonly sent: Sent;
}

/** What a request is about. */
interface What {
  readonly operation: string;
  readonly key: string | undefined;
}

/** What signs for one set of keys in one region. */
interface Signing {
  readonly credentials: Credentials;
  readonly endpoint: BucketEndpoint;
  readonly signer: Signer;
  readonly blocks: SignedBlocks;
}

const NO_HEADERS: HeaderList = [];
/** Where a checksum is kept with an object, its GET shall tell it. */
const TELL_CHECKSUM: HeaderList = [['x-amz-checksum-mode', 'ENABLED']];

export class S3Requests {
  readonly options: RequestsOptions;
  /** For requests that may be sent twice. */
  readonly hedge: Hedge;
  readonly #environment: RetryEnvironment<What>;
  #endpoint: BucketEndpoint;
  /** One for the keys of the account, one for those of a session with a directory bucket. */
  readonly #signings = new Map<string, Signing>();
  readonly #sessions: CredentialCache | undefined;
  /** Server's clock minus ours, in ms; 0 until S3 complains. */
  #clockOffset = 0;

  constructor(endpoint: BucketEndpoint, options: RequestsOptions) {
    this.#endpoint = endpoint;
    this.options = options;
    const { clock, telemetry, bucket } = options;
    this.hedge = new Hedge(clock, telemetry);
    if (endpoint.express) {
      const rules = { refreshBefore: SESSION_REFRESH_MS };
      this.#sessions = new CredentialCache(() => createSession(this), clock, telemetry, rules);
    }
    this.#environment = {
      policy: options.retry,
      clock,
      random: options.random,
      failure: (error, { operation, key }) => failureOfTransport({ operation, key, bucket }, error),
      remedy: remedy => this.#remedy(remedy),
      retrying: (failure, wait) => {
        telemetry.count('s3.retries');
        if (failure.throttled) telemetry.count('s3.throttled');
        telemetry.retrying?.(failure.error);
        telemetry.log.debug({ reason: failure.message, wait: Math.round(wait) }, 'request to S3 is tried again');
      },
    };
  }

  get endpoint(): BucketEndpoint {
    return this.#endpoint;
  }

  /** False while requests wait for a connection: then what is late is late because of ourselves. */
  get hasRoom(): boolean {
    return this.options.transport.state(this.#endpoint.origin).waiting === 0;
  }

  /** Sends `request` with retries. Rejects with `Failure`. */
  send(request: S3Request, signal?: CancelSignal): Promise<S3Answer> {
    return this.run(request, signal, context => this.once(request, context, signal));
  }

  /** Runs `attempt`, which may be called several times. Rejects with `Failure`. */
  run<T>(
    what: What,
    signal: CancelSignal | undefined,
    attempt: (context: AttemptContext) => Promise<T>,
    policy: RetryPolicy = this.options.retry,
  ): Promise<T> {
    const environment = policy === this.options.retry ? this.#environment : { ...this.#environment, policy };
    return withRetries(environment, what, signal, attempt);
  }

  /** One attempt. Rejects with `Failure` or what `failureOfTransport` makes one. */
  once(request: S3Request, context: AttemptContext, signal?: CancelSignal): Promise<S3Answer> {
    const { customerKeys } = this.options;
    if (!customerKeys || customerKeys.useOf(request.operation) === 'none') return this.#once(request, context, signal);
    return this.#withCustomerKey(customerKeys, request, context, signal);
  }

  /** With the key of the object that it reads, which may have to be found out, and that of those we write. */
  async #withCustomerKey(
    keys: CustomerKeys,
    request: S3Request,
    context: AttemptContext,
    signal: CancelSignal | undefined,
  ): Promise<S3Answer> {
    const use = keys.useOf(request.operation);
    const { key = '', source = key, operation } = request;
    const stated = (request.signed ?? NO_HEADERS).filter(
      ([name]) => !(use !== 'read' && keys.writes && name.startsWith('x-amz-server-side-encryption')),
    );
    const attempt = async (more: HeaderList): Promise<S3Answer> => {
      const answer = await this.#once({ ...request, signed: [...stated, ...more] }, context, signal);
      if (operation === 'PutObject' || operation === 'CopyObject') keys.written(key);
      return answer;
    };
    if (use === 'write') return await attempt(keys.writing);
    let first: unknown;
    for (const choice of keys.choices(source)) {
      try {
        const answer = await attempt(
          use === 'read' ? keys.reading(choice, 'own') : [...keys.writing, ...keys.reading(choice, 'source')],
        );
        if (source !== key || use === 'read') keys.learned(source, choice);
        return answer;
      } catch (error) {
        if (!(error instanceof Failure) || !mayBeTheKey(error.error.details.status)) throw error;
        first ??= error;
      }
    }
    throw first;
  }

  async #once(request: S3Request, context: AttemptContext, signal?: CancelSignal): Promise<S3Answer> {
    const { transport } = this.options;
    const ready = this.keysFor(request.operation);
    const credentials = ready instanceof Promise ? await ready : ready;
    const endpoint = this.#endpoint;
    const now = this.now();
    const head = this.#head(request, endpoint, credentials, now);
    this.sending(request.operation, request.body);
    const { clock, telemetry } = this.options;
    const start = clock.monotonic();
    // The body of a refusal is none of the caller's business.
    let welcome = false;
    const sent = transport.request({
      origin: endpoint.origin,
      method: request.method,
      head,
      signal,
      ...(request.body ? { body: request.body } : {}),
      ...(request.firstByteTimeout === undefined ? {} : { firstByteTimeout: request.firstByteTimeout }),
      answer: head => {
        welcome = head.status < 300;
        return welcome ? request.answer?.(head) : undefined;
      },
      ...(request.progress
        ? {
            progress: bytes => {
              if (!welcome) return;
              context.progress(bytes);
              request.progress!(bytes);
            },
          }
        : {}),
    });
    const answer = await sent.finally(() => telemetry.time(`s3.${request.operation}`, clock.monotonic() - start));
    return this.accept(request, answer, context, { at: now, endpoint, credentials });
  }

  /** What an operation is signed with. Rejects with `StoreError`. */
  keysFor(operation: string): Credentials | undefined | Promise<Credentials> {
    const { credentials } = this.options;
    if (!this.#sessions || WITH_ACCOUNT_KEYS.has(operation)) return credentials.current();
    return this.#sessions.current();
  }

  /** Counts a request that goes out. */
  sending(operation: string, body: readonly Uint8Array[] | undefined): void {
    const { telemetry } = this.options;
    telemetry.count(`s3.${operation}`);
    if (body) telemetry.count('s3.bytes_out', sizeOf(body));
  }

  /** Counts and checks an answer; shared with what the SDK words. Throws `Failure`. */
  accept(request: What, answer: HttpAnswer, context: AttemptContext, sent: Sent): S3Answer {
    const { telemetry, bucket, clock } = this.options;
    telemetry.count('s3.bytes_in', answer.bytes);
    if (answer.repeated) {
      telemetry.count(`s3.${request.operation}`);
      context.repeated();
    }
    const { status, headers } = answer.head;
    if (status >= 300) {
      throw failureOfAnswer(
        { operation: request.operation, key: request.key, bucket },
        { status, headers, body: answer.body },
        sent,
      );
    }
    telemetry.count('s3.answered');
    const { head, body, bytes, repeated } = answer;
    return { head, body, bytes, repeated, sent, arrived: clock.now() };
  }

  /** ms since the epoch, by S3's clock as far as it is known. */
  now(): number {
    return this.options.clock.now() + this.#clockOffset;
  }

  #head(request: S3Request, endpoint: BucketEndpoint, credentials: Credentials | undefined, now: number): string {
    const { prefix, requesterPays } = this.options;
    const path = pathOf(endpoint, request.key === undefined ? undefined : prefix + request.key);
    const { method, query = '', body } = request;
    const length =
      body || method === 'PUT' || method === 'POST' ? `content-length: ${body ? sizeOf(body) : 0}\r\n` : '';
    const start = `${method} ${path}${query === '' ? '' : `?${query}`} HTTP/1.1\r\nhost: ${endpoint.host}\r\n`;
    const rest = `${length}${request.unsigned ?? ''}\r\n`;
    const payer: HeaderList = requesterPays ? [['x-amz-request-payer', 'requester']] : NO_HEADERS;
    const isPlainGet = method === 'GET' && query === '' && !request.signed;
    if (!credentials) {
      let plain = '';
      if (isPlainGet) for (const [name, value] of TELL_CHECKSUM) plain += `${name}: ${value}\r\n`;
      for (const [name, value] of payer) plain += `${name}: ${value}\r\n`;
      for (const [name, value] of request.signed ?? NO_HEADERS) plain += `${name}: ${value}\r\n`;
      return start + plain + rest;
    }
    const signing = this.#signingFor(credentials, endpoint, payer);
    if (isPlainGet) return start + signing.blocks.get(endpoint.host, path, now) + rest;
    const lines = signing.signer.sign(
      {
        method,
        host: endpoint.host,
        path,
        query,
        headers: request.signed ? (payer.length > 0 ? [...payer, ...request.signed] : request.signed) : payer,
        payloadHash: this.#payloadHash(endpoint, body, request.compared),
      },
      now,
    );
    return start + lines + rest;
  }

  /** Header lines that sign what the SDK worded for a directory bucket: `headers` are those that begin with `x-amz-`. */
  signedFor(
    request: { method: string; path: string; query: string; headers: HeaderList; body: Uint8Array | undefined },
    endpoint: BucketEndpoint,
    credentials: Credentials,
  ): string {
    const { method, path, query, headers, body } = request;
    const payloadHash = this.#payloadHash(endpoint, body && [body]);
    const { signer } = this.#signingFor(credentials, endpoint, NO_HEADERS);
    return signer.sign({ method, host: endpoint.host, path, query, headers, payloadHash }, this.now());
  }

  #payloadHash(endpoint: BucketEndpoint, body: readonly Uint8Array[] | undefined, compared = false): string {
    const { signPayload } = this.options;
    const guarded = endpoint.origin.secure || (compared && signPayload === 'unchecked');
    if (signPayload === 'never' || (signPayload !== 'always' && guarded)) return UNSIGNED_PAYLOAD;
    return body && body.length > 0 ? sha256Hex(body) : EMPTY_PAYLOAD_HASH;
  }

  #signingFor(credentials: Credentials, endpoint: BucketEndpoint, payer: HeaderList): Signing {
    const { tokenHeader = '' } = credentials;
    const known = this.#signings.get(tokenHeader);
    if (known && known.credentials === credentials && known.endpoint === endpoint) return known;
    const signer = new Signer(credentials, endpoint.scope);
    const blocks = new SignedBlocks(signer, this.#payloadHash(endpoint, undefined), [...TELL_CHECKSUM, ...payer]);
    const signing = { credentials, endpoint, signer, blocks };
    this.#signings.set(tokenHeader, signing);
    return signing;
  }

  async #remedy(remedy: Remedy): Promise<boolean> {
    const { clock, credentials, relocate, telemetry, bucket } = this.options;
    switch (remedy.what) {
      case 'clock': {
        const offset = remedy.serverDate - clock.now();
        // Corrected by another request in the meantime, or it was not the clock after all.
        if (Math.abs(offset - this.#clockOffset) < 60_000) return Math.abs(offset) > 60_000;
        telemetry.log.warn(
          { seconds: Math.round(offset / 1000) },
          "this machine's clock is wrong; S3's is used to sign",
        );
        this.#clockOffset = offset;
        this.#signings.clear();
        return true;
      }
      case 'credentials':
        return (remedy.used?.tokenHeader && this.#sessions ? this.#sessions : credentials).replaced(remedy.used);
      case 'region': {
        const endpoint = relocate(remedy.region);
        if (endpoint.origin.id === this.#endpoint.origin.id && endpoint.scope.region === this.#endpoint.scope.region) {
          return true;
        }
        telemetry.log.info({ bucket, region: remedy.region }, 'S3 says that the bucket is in another region');
        this.#endpoint = endpoint;
        return true;
      }
    }
  }
}

export function sizeOf(slices: readonly Uint8Array[]): number {
  let size = 0;
  for (const slice of slices) size += slice.length;
  return size;
}

/** What callers of the store get to see of a failed request. */
export function storeErrorOf(error: unknown): unknown {
  return error instanceof Failure ? error.error : error;
}

/** Runs `work`; its failures leave as `StoreError`. */
export async function atTheDoor<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw storeErrorOf(error);
  }
}

/** True for a failed request of one of `kinds`. */
export function isFailure(error: unknown, ...kinds: StoreErrorKind[]): boolean {
  return error instanceof Failure && kinds.includes(error.error.kind);
}
