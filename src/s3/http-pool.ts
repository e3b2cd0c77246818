/**
 * The connections to one origin: kept alive, at most so many, used last-in first-out so that those not needed fall idle and
 * are closed.
 *
 * An exchange that finds no idle connection waits in a queue and a new connection is begun; whichever is ready first takes
 * the oldest in the queue. A connection that had rested and breaks before one byte of an answer was most likely closed by
 * the server while the request was under way: its exchange goes out once more at once, on a fresh connection, and is marked
 * as repeated, since the server may have carried it out after all.
 */
import type net from 'node:net';
import tls from 'node:tls';
import type { Clock } from '../concurrency.ts';
import type { Lookup } from './http-addresses.ts';
import { Addresses } from './http-addresses.ts';
import type { ConnectionOwner, ConnectionTimeouts, Exchange, Origin } from './http-connection.ts';
import { Connection } from './http-connection.ts';
import { HttpError } from './http-message.ts';

/** Makes a connected socket through something (a proxy). Undefined: go straight. Rejects with `HttpError`. */
export type Tunnel = (origin: Origin) => Promise<net.Socket> | undefined;

/** What is asked of TLS beyond Node's defaults. */
export interface TlsSettings {
  /** PEM certificates to trust instead of the system's. */
  readonly ca?: string;
  /** How the server's certificate is checked; default `all`. */
  readonly check?: 'all' | 'chain' | 'none';
  /** Our own certificate and its key, PEM. */
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
  /** In OpenSSL's words. */
  readonly ciphers?: string;
}

export interface PoolOptions {
  readonly timeouts: ConnectionTimeouts;
  /** Connections at once, those being made included. */
  readonly maxConnections: number;
  /** An idle connection is closed after so long, in ms. */
  readonly idleTimeout: number;
  readonly maxCollected: number;
  readonly tls?: TlsSettings;
  readonly lookup: Lookup;
  readonly tunnel?: Tunnel;
  readonly clock: Clock;
}

/** An exchange as the pool keeps it. */
export interface PooledExchange extends Exchange {
  /** It was sent before, on a connection that broke without an answer. */
  repeated: boolean;
  /** What carries it now. */
  connection: Connection | undefined;
}

/** With several addresses to try, one that does not answer is given up after this many ms: the next may be alive. */
const TRY_ADDRESS_MS = 3_000;

export class HttpPool implements ConnectionOwner {
  readonly #origin: Origin;
  readonly #options: PoolOptions;
  readonly #addresses: Addresses;
  readonly #secureContext: tls.SecureContext | undefined;
  readonly #connections = new Set<Connection>();
  readonly #idle: Connection[] = [];
  readonly #queue: PooledExchange[] = [];
  /** Attempts to connect, by the connection being made. */
  readonly #attempts = new Map<Connection, (error: HttpError | undefined) => void>();
  #opening = 0;
  #session: Buffer | undefined;
  #cancelWatch: (() => void) | undefined;
  #closed = false;

  constructor(origin: Origin, options: PoolOptions) {
    this.#origin = origin;
    this.#options = options;
    this.#addresses = new Addresses(origin.host, options.lookup, options.clock);
    // One context for all: making one parses every root certificate.
    this.#secureContext = origin.secure ? secureContext(options.tls) : undefined;
  }

  /** Connections now, and exchanges waiting for one. */
  get state(): { readonly connections: number; readonly idle: number; readonly waiting: number } {
    return { connections: this.#connections.size, idle: this.#idle.length, waiting: this.#queue.length };
  }

  request(exchange: PooledExchange): void {
    if (this.#closed) {
      exchange.failed(new HttpError('aborted', 'the store is closed', false));
      return;
    }
    const connection = this.#idle.pop();
    if (connection) {
      this.#start(connection, exchange);
      return;
    }
    this.#queue.push(exchange);
    this.#openAsNeeded();
  }

  /** Takes `exchange` back: it fails with `error` at once, and neither its sink nor its body is touched any more. */
  cancel(exchange: PooledExchange, error: HttpError): void {
    const at = this.#queue.indexOf(exchange);
    if (at >= 0) {
      this.#queue.splice(at, 1);
      exchange.failed(error);
      return;
    }
    exchange.connection?.destroy(error);
  }

  /** True if more of the bodies under way has arrived at the other side since this was asked last. */
  sentMore(): boolean {
    // Those behind the first that does are looked at when it no longer does: each look reads a table of the kernel.
    return [...this.#connections].some(connection => connection.sentMore());
  }

  /** Ends all connections; what runs or waits fails. */
  close(): void {
    this.#closed = true;
    this.#cancelWatch?.();
    const error = new HttpError('aborted', 'the store is closed', true);
    for (const exchange of this.#queue.splice(0)) exchange.failed(error);
    for (const connection of [...this.#connections]) connection.destroy(error);
  }

  ready(connection: Connection): void {
    const connected = this.#attempts.get(connection);
    if (connected) {
      this.#attempts.delete(connection);
      this.#addresses.worked(connection.address);
      connected(undefined);
    }
    const next = this.#queue.shift();
    if (next) {
      this.#start(connection, next);
      return;
    }
    connection.moved = true;
    this.#idle.push(connection);
  }

  gone(connection: Connection, error: HttpError, exchange: Exchange | undefined): void {
    this.#connections.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    const attempt = this.#attempts.get(connection);
    if (attempt) {
      this.#attempts.delete(connection);
      attempt(error);
      return;
    }
    if (exchange) {
      const again = exchange as PooledExchange;
      again.connection = undefined;
      if (again.repeated || this.#closed) {
        again.failed(error);
      } else {
        again.repeated = true;
        // Ahead of all others. Other idle connections may be as dead as this one was, so none of them is tried.
        this.#queue.unshift(again);
      }
    }
    this.#openAsNeeded();
  }

  #start(connection: Connection, exchange: PooledExchange): void {
    exchange.connection = connection;
    connection.start(exchange);
    // Its patience now is that of a request, whatever was left of another's.
    connection.deadline = this.#options.clock.monotonic() + connection.patience;
  }

  #openAsNeeded(): void {
    while (
      !this.#closed &&
      this.#opening < this.#queue.length &&
      this.#connections.size + this.#opening - this.#attempts.size < this.#options.maxConnections
    ) {
      this.#opening++;
      void this.#open();
    }
  }

  /** Makes one connection, at whichever address takes it; if none does, the oldest waiting exchange learns of it. */
  async #open(): Promise<void> {
    let failure: unknown;
    try {
      const tunnel = this.#options.tunnel?.(this.#origin);
      if (tunnel) {
        failure = await this.#connect(this.#origin.host, this.#options.timeouts, await tunnel);
      } else {
        const addresses = await this.#addresses.inTurn();
        const { timeouts } = this.#options;
        for (const [index, address] of addresses.entries()) {
          const last = index === addresses.length - 1;
          const connect = last ? timeouts.connect : Math.min(timeouts.connect, TRY_ADDRESS_MS);
          failure = await this.#connect(address, { ...timeouts, connect });
          if (failure === undefined || this.#closed || this.#queue.length === 0) break;
          this.#addresses.failed(address);
        }
      }
    } catch (error) {
      failure = error;
    }
    this.#opening--;
    if (failure !== undefined) this.#queue.shift()?.failed(failure);
    this.#openAsNeeded();
  }

  #connect(address: string, timeouts: ConnectionTimeouts, tunnel?: net.Socket): Promise<HttpError | undefined> {
    return new Promise(resolve => {
      const connection = new Connection(
        {
          origin: this.#origin,
          address,
          timeouts,
          maxCollected: this.#options.maxCollected,
          saveSession: session => {
            this.#session = session;
          },
          ...(this.#secureContext ? { secureContext: this.#secureContext } : {}),
          ...(this.#options.tls?.check ? { check: this.#options.tls.check } : {}),
          ...(this.#session ? { session: this.#session } : {}),
          ...(tunnel ? { tunnel } : {}),
        },
        this,
      );
      this.#connections.add(connection);
      this.#attempts.set(connection, resolve);
      connection.deadline = this.#options.clock.monotonic() + timeouts.connect;
      this.#watch();
    });
  }

  /** One timer for all: a timer for each request would cost more than the request. */
  #watch(): void {
    if (this.#cancelWatch || this.#closed) return;
    const { timeouts, idleTimeout, clock } = this.#options;
    // A tenth of what is watched for is exact enough, and twice a second is seldom enough.
    const every = Math.max(
      5,
      Math.min(500, Math.min(timeouts.connect, timeouts.firstByte, timeouts.stall, idleTimeout) / 10),
    );
    this.#cancelWatch = clock.after(every, () => {
      this.#cancelWatch = undefined;
      const now = clock.monotonic();
      for (const connection of [...this.#connections]) this.#look(connection, now);
      if (this.#connections.size > 0) this.#watch();
    });
  }

  #look(connection: Connection, now: number): void {
    if (connection.moved) {
      connection.moved = false;
      connection.deadline = now + (connection.idle ? this.#options.idleTimeout : connection.patience);
    } else if (now >= connection.deadline) {
      if (connection.keepsSending()) {
        connection.deadline = now + connection.patience;
        return;
      }
      connection.destroy(
        connection.idle ? new HttpError('reset', 'the connection was idle', false) : connection.overdue(),
      );
    } else if (now >= connection.deadline - connection.patience / 2) {
      connection.watchSending();
    }
  }
}

function secureContext({ check: _, ...rest }: TlsSettings = {}): tls.SecureContext {
  return tls.createSecureContext({ minVersion: 'TLSv1.2', ...rest });
}
