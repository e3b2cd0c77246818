/**
 * The cheapest HTTP client that still counts and checks: plain sockets, one reused buffer each, no header objects. It says
 * what the server and the machine could give if a mount cost nothing, so it does less than any real client: it signs nothing
 * and understands only answers with a `Content-Length`.
 */
import { connect, type Socket } from 'node:net';

export interface RawRequest {
  readonly method: string;
  /** Path and query, encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | number>>;
  /** Sent as they are, one after the other. */
  readonly body?: readonly Uint8Array[];
  /** The answer's body is wanted; otherwise it is only counted. */
  readonly collect?: boolean;
}

export interface RawAnswer {
  readonly status: number;
  /** The whole head, as it came. */
  readonly head: string;
  /** Empty unless `collect`. */
  readonly body: Buffer;
  /** Length of the body. */
  readonly bytes: number;
}

/** One `recv` at most: large enough for few wake-ups, small enough for the CPU's second-level cache. */
const RECEIVE_BUFFER = 256 * 1024;
const HEAD_END = Buffer.from('\r\n\r\n');

class RawConnection {
  readonly #socket: Socket;
  readonly #host: string;
  #head: Buffer = Buffer.alloc(0);
  /** Bytes of the body still to come; `undefined` while in the head. */
  #left: number | undefined;
  #answer: { status: number; head: string; bytes: number } | undefined;
  #pieces: Buffer[] = [];
  #current: { request: RawRequest; resolve(answer: RawAnswer): void; reject(error: Error): void } | undefined;
  #failure: Error | undefined;

  constructor(host: string, port: number) {
    this.#host = `${host}:${port}`;
    this.#socket = connect({
      host,
      port,
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(RECEIVE_BUFFER),
        callback: (count, buffer) => {
          this.#receive(Buffer.from(buffer.buffer, buffer.byteOffset, count));
          return true;
        },
      },
    });
    this.#socket.on('error', error => this.#fail(error));
    this.#socket.on('close', () => this.#fail(new Error('the server closed the connection')));
  }

  send(request: RawRequest): Promise<RawAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#failure) {
        reject(this.#failure);
        return;
      }
      this.#current = { request, resolve, reject };
      const { body = [] } = request;
      const length = body.reduce((sum, piece) => sum + piece.length, 0);
      let head = `${request.method} ${request.path} HTTP/1.1\r\nHost: ${this.#host}\r\n`;
      for (const [name, value] of Object.entries(request.headers ?? {})) head += `${name}: ${value}\r\n`;
      if (length > 0 || request.method === 'PUT' || request.method === 'POST') head += `Content-Length: ${length}\r\n`;
      this.#socket.cork();
      this.#socket.write(`${head}\r\n`, 'latin1');
      for (const piece of body) this.#socket.write(piece);
      this.#socket.uncork();
    });
  }

  close(): void {
    this.#failure = new Error('closed');
    this.#socket.destroy();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#current?.reject(error);
    this.#current = undefined;
  }

  #receive(bytes: Buffer): void {
    let rest = bytes;
    if (this.#left === undefined) {
      this.#head = this.#head.length === 0 ? Buffer.from(rest) : Buffer.concat([this.#head, rest]);
      const end = this.#head.indexOf(HEAD_END);
      if (end < 0) return;
      const head = this.#head.toString('latin1', 0, end);
      rest = this.#head.subarray(end + HEAD_END.length);
      this.#head = Buffer.alloc(0);
      const silent = this.#current?.request.method === 'HEAD';
      const bytes = silent ? 0 : Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      this.#answer = { status: Number(head.slice(9, 12)), head, bytes };
      this.#left = bytes;
    }
    if (rest.length > this.#left) {
      this.#fail(new Error('the server sent more than it announced'));
      this.#socket.destroy();
      return;
    }
    this.#left -= rest.length;
    if (this.#current?.request.collect && rest.length > 0) this.#pieces.push(Buffer.from(rest));
    if (this.#left > 0) return;
    const answer = { ...this.#answer!, body: Buffer.concat(this.#pieces) };
    const current = this.#current;
    this.#left = undefined;
    this.#answer = undefined;
    this.#pieces = [];
    this.#current = undefined;
    current?.resolve(answer);
  }
}

/** Requests over a fixed number of connections, in order of arrival. */
export class RawHttp {
  readonly #connections: RawConnection[];
  readonly #idle: RawConnection[];
  readonly #waiting: ((connection: RawConnection) => void)[] = [];

  constructor(url: string, connections: number) {
    const { hostname, port } = new URL(url);
    this.#connections = Array.from({ length: connections }, () => new RawConnection(hostname, Number(port)));
    this.#idle = [...this.#connections];
  }

  /** Rejects where the connection breaks or the status is none of 2xx. */
  async request(request: RawRequest): Promise<RawAnswer> {
    const connection = this.#idle.pop() ?? (await new Promise<RawConnection>(resolve => this.#waiting.push(resolve)));
    try {
      const answer = await connection.send(request);
      if (answer.status < 200 || answer.status > 299) {
        throw new Error(`${request.method} ${request.path}: the server said ${answer.status}`);
      }
      return answer;
    } finally {
      const next = this.#waiting.shift();
      if (next) next(connection);
      else this.#idle.push(connection);
    }
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }
}
