/**
 * A lean HTTP/1.1 client: what S3's requests need and nothing else.
 *
 * It exists because the SDK's own stack costs 4 to 15 times libcurl's CPU per byte. Bodies go straight into the caller's
 * buffers, uploads straight out of them. It knows neither S3 nor retries, but for the repeat on a stale connection that
 * `http-pool.ts` tells of. All failures are `HttpError`, or what `answer` threw.
 */
import type { CancelSignal, Clock } from '../concurrency.ts';
import { systemClock } from '../concurrency.ts';
import type { Lookup } from './http-addresses.ts';
import { lookupBySystem } from './http-addresses.ts';
import type { Connection, ConnectionTimeouts, Origin } from './http-connection.ts';
import type { ResponseHead } from './http-message.ts';
import { HttpError } from './http-message.ts';
import type { PooledExchange, TlsSettings, Tunnel } from './http-pool.ts';
import { HttpPool } from './http-pool.ts';

export interface HttpRequest {
  readonly origin: Origin;
  readonly method: string;
  /** Request line and headers, with the empty line at the end; Latin-1. */
  readonly head: string;
  readonly body?: readonly Uint8Array[];
  readonly signal?: CancelSignal | undefined;
  /** Instead of the transport's, in ms: for what the server takes long to do. */
  readonly firstByteTimeout?: number;
  /** Where the body of this answer goes; undefined (or no function) to have it collected. */
  answer?(head: ResponseHead): readonly Uint8Array[] | undefined;
  progress?(bytes: number): void;
}

export interface HttpAnswer {
  readonly head: ResponseHead;
  /** What was collected; empty where the body went to buffers. */
  readonly body: Uint8Array;
  /** Bytes of the body, wherever they went. */
  readonly bytes: number;
  /** The request went out twice: the server may have carried it out before. */
  readonly repeated: boolean;
}

export interface HttpTransportOptions {
  /** ms. Default: connect 10 s, first byte 30 s, stall 20 s. */
  readonly timeouts?: Partial<ConnectionTimeouts>;
  /** To each origin. Default 256: at 90 MB/s each, more than any link of an instance. */
  readonly maxConnections?: number;
  /** Default 20 s; S3 itself closes a little earlier or later. */
  readonly idleTimeout?: number;
  /** Bytes of an answer that is collected (listings, errors). Default 32 MiB: 1,000 keys of 1 KiB, encoded, are 6 MiB. */
  readonly maxCollected?: number;
  readonly tls?: TlsSettings;
  readonly lookup?: Lookup;
  readonly tunnel?: Tunnel;
  /** Changes the head of a request on its way to a proxy; given together with the tunnel. */
  readonly headFor?: (origin: Origin, head: string) => string;
  readonly clock?: Clock;
}

export const DEFAULT_TIMEOUTS: ConnectionTimeouts = { connect: 10_000, firstByte: 30_000, stall: 20_000 };

export class HttpTransport {
  readonly #options: HttpTransportOptions;
  readonly #pools = new Map<string, HttpPool>();
  #closed = false;

  constructor(options: HttpTransportOptions = {}) {
    this.#options = options;
  }

  /** Settles with the whole answer, of whatever status. */
  request(request: HttpRequest): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      if (request.signal?.aborted || this.#closed) {
        reject(new HttpError('aborted', this.#closed ? 'the store is closed' : 'interrupted', false));
        return;
      }
      const pool = this.#pool(request.origin);
      const head = this.#options.headFor?.(request.origin, request.head) ?? request.head;
      pool.request(new Sending(request, head, pool, resolve, reject));
    });
  }

  /** Connections to `origin` now, and requests waiting for one. */
  state(origin: Origin): { readonly connections: number; readonly idle: number; readonly waiting: number } {
    return this.#pools.get(origin.id)?.state ?? { connections: 0, idle: 0, waiting: 0 };
  }

  /** True if more of the bodies of requests under way has arrived since this was asked last. */
  sentMore(): boolean {
    return [...this.#pools.values()].some(pool => pool.sentMore());
  }

  /** Ends all connections; requests under way fail. */
  close(): void {
    this.#closed = true;
    for (const pool of this.#pools.values()) pool.close();
    this.#pools.clear();
  }

  #pool(origin: Origin): HttpPool {
    let pool = this.#pools.get(origin.id);
    if (!pool) {
      const { timeouts, maxConnections, idleTimeout, maxCollected, tls, lookup, tunnel, clock } = this.#options;
      pool = new HttpPool(origin, {
        timeouts: { ...DEFAULT_TIMEOUTS, ...timeouts },
        maxConnections: maxConnections ?? 256,
        idleTimeout: idleTimeout ?? 20_000,
        maxCollected: maxCollected ?? 32 * 1024 * 1024,
        lookup: lookup ?? lookupBySystem,
        clock: clock ?? systemClock,
        ...(tls ? { tls } : {}),
        ...(tunnel ? { tunnel } : {}),
      });
      this.#pools.set(origin.id, pool);
    }
    return pool;
  }
}

const NOTHING: readonly Uint8Array[] = [];

/** One request under way. A class, not closures: there are many thousands a second. */
class Sending implements PooledExchange {
  readonly method: string;
  readonly head: string;
  readonly body: readonly Uint8Array[];
  readonly firstByteTimeout: number | undefined;
  repeated = false;
  connection: Connection | undefined = undefined;
  readonly #request: HttpRequest;
  readonly #resolve: (answer: HttpAnswer) => void;
  readonly #reject: (error: unknown) => void;
  readonly #abort: (() => void) | undefined;

  constructor(
    request: HttpRequest,
    head: string,
    pool: HttpPool,
    resolve: (answer: HttpAnswer) => void,
    reject: (error: unknown) => void,
  ) {
    this.#request = request;
    this.method = request.method;
    this.head = head;
    this.body = request.body ?? NOTHING;
    this.firstByteTimeout = request.firstByteTimeout;
    this.#resolve = resolve;
    this.#reject = reject;
    if (request.signal) {
      this.#abort = () => pool.cancel(this, new HttpError('aborted', 'interrupted', true));
      request.signal.addEventListener('abort', this.#abort, { once: true });
    }
  }

  answer(head: ResponseHead): readonly Uint8Array[] | undefined {
    return this.#request.answer?.(head);
  }

  progress(bytes: number): void {
    this.#request.progress?.(bytes);
  }

  done(head: ResponseHead, body: Uint8Array, bytes: number): void {
    if (this.#abort) this.#request.signal!.removeEventListener('abort', this.#abort);
    this.#resolve({ head, body, bytes, repeated: this.repeated });
  }

  failed(error: unknown): void {
    if (this.#abort) this.#request.signal!.removeEventListener('abort', this.#abort);
    // The second sending may not even have found a connection: the first went out all the same, and may have been carried
    // out. An unlink was told ESTALE, for its own copy was taken for another client's.
    const unsent = this.repeated && error instanceof HttpError && !error.sent;
    this.#reject(unsent ? new HttpError(error.code, error.message, true, error.cause) : error);
  }
}
