/**
 * HTTP/1.1 answers as text and framing (RFC 9112), without a socket: status line, headers, how the body ends, the chunked
 * coding. Everything here is fed by a server that may be hostile: what is not plainly right is an `HttpError`.
 */

/** What went wrong below HTTP's status codes. */
export type HttpErrorCode =
  /** The name does not resolve. */
  | 'dns'
  /** No connection: refused, unreachable. */
  | 'connect'
  | 'connect-timeout'
  /** The TLS handshake or the certificate. Not worth a retry. */
  | 'tls'
  /** The request was sent and nothing came back in time. */
  | 'first-byte-timeout'
  /** No byte moved for too long in the midst of a body. */
  | 'stall'
  /** The connection broke. */
  | 'reset'
  /** What came is not HTTP, or not framed as it should be. */
  | 'bad-answer'
  | 'aborted';

export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly code: HttpErrorCode;
  /** True where the server may have seen the request, and so may have carried it out. */
  readonly sent: boolean;
  constructor(code: HttpErrorCode, message: string, sent: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.sent = sent;
  }
}

/** Where a body ends: after so many bytes, by the chunked coding, or where the connection does. */
export type BodyFraming = number | 'chunked' | 'close';

export interface ResponseHead {
  readonly status: number;
  /** Names in lower case; values as Latin-1, one character a byte. */
  readonly headers: ReadonlyMap<string, string>;
  readonly framing: BodyFraming;
  readonly keepAlive: boolean;
}

/** Bytes of status line and headers that an answer may have. S3's are below 8 KiB: 2 KiB of user metadata included. */
export const MAX_HEAD_BYTES = 32 * 1024;
/** Interim (1xx) answers before the real one. S3 sends none that we did not ask for. */
export const MAX_INTERIM_ANSWERS = 8;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: |$)/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function bad(message: string): HttpError {
  return new HttpError('bad-answer', message, true);
}

/** Reads a head, without the empty line at its end. Throws `HttpError` ('bad-answer'). */
export function parseResponseHead(text: string, method: string): ResponseHead {
  let end = text.indexOf('\r\n');
  if (end < 0) end = text.length;
  const line = STATUS_LINE.exec(text.slice(0, Math.min(end, 256)));
  if (!line) throw bad('the answer does not begin with an HTTP/1.1 status line');
  const status = Number(line[2]);
  const headers = new Map<string, string>();
  for (let at = end + 2; at < text.length; at = end + 2) {
    end = text.indexOf('\r\n', at);
    if (end < 0) end = text.length;
    const colon = text.indexOf(':', at);
    const name = colon < 0 || colon > end ? '' : text.slice(at, colon).toLowerCase();
    if (!TOKEN.test(name)) throw bad('the answer has a malformed header line');
    const value = text.slice(colon + 1, end).trim();
    if (/[\r\n\0]/.test(value)) throw bad(`the answer's header ${name} has control characters`);
    const before = headers.get(name);
    if (before === undefined) headers.set(name, value);
    else if (name !== 'content-length') headers.set(name, `${before}, ${value}`);
    else if (before !== value) throw bad('the answer has two different lengths');
  }
  const coding = headers.get('transfer-encoding');
  const connection = headers.get('connection')?.toLowerCase();
  // A length beside a transfer coding is how answers are smuggled (RFC 9112, 6.3): that connection is not used again.
  const ambiguous = coding !== undefined && headers.has('content-length');
  const keepAlive = !ambiguous && (line[1] === '1' ? connection !== 'close' : connection === 'keep-alive');
  return { status, headers, keepAlive, framing: framingOf(status, method, coding, headers.get('content-length')) };
}

function framingOf(
  status: number,
  method: string,
  coding: string | undefined,
  length: string | undefined,
): BodyFraming {
  if (method === 'HEAD' || status < 200 || status === 204 || status === 304) return 0;
  if (coding !== undefined) {
    if (coding.toLowerCase() !== 'chunked') throw bad(`the answer has an unknown transfer coding`);
    return 'chunked';
  }
  if (length === undefined) return 'close';
  // 15 digits are below 2^53.
  if (!/^\d{1,15}$/.test(length)) throw bad('the answer has a malformed length');
  return Number(length);
}

/** Bytes of a size line with its extensions, and of all trailers. No server needs as much. */
const MAX_CHUNK_LINE = 4096;

/** Takes the chunked coding off a body that arrives in pieces of any size. */
export class ChunkedDecoder {
  #state: 'size' | 'data' | 'data-end' | 'trailer' | 'done' = 'size';
  #line = '';
  #left = 0;
  #trailerBytes = 0;

  get done(): boolean {
    return this.#state === 'done';
  }

  /** Hands the data in `bytes` to `emit`, as views; returns how many bytes belonged to this body. Throws `HttpError`. */
  push(bytes: Uint8Array, emit: (data: Uint8Array) => void): number {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') {
      if (this.#state === 'data') {
        const size = Math.min(this.#left, bytes.length - at);
        emit(bytes.subarray(at, at + size));
        at += size;
        this.#left -= size;
        if (this.#left === 0) this.#state = 'data-end';
        continue;
      }
      const newline = bytes.indexOf(10, at);
      const end = newline < 0 ? bytes.length : newline;
      this.#line += latin1(bytes, at, end);
      at = newline < 0 ? end : newline + 1;
      if (this.#line.length > MAX_CHUNK_LINE) throw bad('the chunked answer has a line that is too long');
      if (newline >= 0) this.#endOfLine();
    }
    return at;
  }

  #endOfLine(): void {
    if (!this.#line.endsWith('\r')) throw bad('the chunked answer has a line without CR');
    const line = this.#line.slice(0, -1);
    this.#line = '';
    switch (this.#state) {
      case 'size': {
        const size = /^([0-9A-Fa-f]{1,13})[ \t]*(?:;|$)/.exec(line);
        if (!size) throw bad('the chunked answer has a malformed size');
        this.#left = Number.parseInt(size[1]!, 16);
        this.#state = this.#left === 0 ? 'trailer' : 'data';
        break;
      }
      case 'data-end':
        if (line !== '') throw bad('the chunked answer has a piece longer than it says');
        this.#state = 'size';
        break;
      default:
        this.#trailerBytes += line.length;
        if (this.#trailerBytes > MAX_CHUNK_LINE) throw bad('the chunked answer has too many trailers');
        if (line === '') this.#state = 'done';
    }
  }
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1');
}
