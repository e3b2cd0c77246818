/** What the server can tell about itself: counts since the last reset, and the most recent requests. */
import type { IncomingHttpHeaders } from 'node:http';

export interface LoggedRequest {
  /** S3's name of the operation; empty where the request was none. */
  readonly op: string;
  readonly method: string;
  readonly bucket: string;
  /** JavaScript text. */
  readonly key: string;
  /** As it was sent. */
  readonly query: string;
  readonly status: number;
  readonly range: string | undefined;
  /** ms since the epoch of its arrival. */
  readonly time: number;
  /** From its arrival to the last byte of the answer handed to the kernel. */
  readonly ms: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Host, Content-Type, what begins with `x-amz-` (but tokens and keys), and whether it was signed, as `authorization`. */
  readonly headers: Readonly<Record<string, string>>;
  /** The fault that struck it. */
  readonly fault: string | undefined;
}

export interface Stats {
  /** Requests by operation. */
  readonly requests: Readonly<Record<string, number>>;
  /** Requests by `operation status`, such as `GetObject 206`. */
  readonly answers: Readonly<Record<string, number>>;
  readonly total: number;
  /** Bytes of bodies. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Connections made. */
  readonly connections: number;
  readonly requestsNow: number;
  readonly requestsMost: number;
}

/** How many requests the log remembers. */
const LOG_SIZE = 10_000;

export class Watch {
  #requests: Record<string, number> = {};
  #answers: Record<string, number> = {};
  #total = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  #connections = 0;
  #now = 0;
  #most = 0;
  #log: LoggedRequest[] = [];
  #next = 0;

  connected(): void {
    this.#connections++;
  }

  began(): void {
    this.#now++;
    if (this.#now > this.#most) this.#most = this.#now;
  }

  ended(request: LoggedRequest): void {
    this.#now--;
    this.#total++;
    const op = request.op || request.method;
    this.#requests[op] = (this.#requests[op] ?? 0) + 1;
    const answer = `${op} ${request.status}`;
    this.#answers[answer] = (this.#answers[answer] ?? 0) + 1;
    this.#bytesIn += request.bytesIn;
    this.#bytesOut += request.bytesOut;
    this.#log[this.#next] = request;
    this.#next = (this.#next + 1) % LOG_SIZE;
  }

  get stats(): Stats {
    return {
      requests: { ...this.#requests },
      answers: { ...this.#answers },
      total: this.#total,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      connections: this.#connections,
      requestsNow: this.#now,
      requestsMost: this.#most,
    };
  }

  /** Oldest first. */
  get log(): readonly LoggedRequest[] {
    return [...this.#log.slice(this.#next), ...this.#log.slice(0, this.#next)];
  }

  reset(): void {
    this.#requests = {};
    this.#answers = {};
    this.#total = 0;
    this.#bytesIn = 0;
    this.#bytesOut = 0;
    this.#connections = 0;
    this.#most = this.#now;
    this.#log = [];
    this.#next = 0;
  }
}

const SECRET = /token|customer-key$|x-amz-date|x-amz-content-sha256/;

/** What the log may keep of a request's headers. */
export function loggedHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (name === 'authorization') kept[name] = 'signed';
    else if (name !== 'host' && name !== 'content-type' && !name.startsWith('x-amz-')) continue;
    else if (typeof value === 'string' && !SECRET.test(name)) kept[name] = value;
  }
  return kept;
}
