/**
 * AWS Signature Version 4 as S3 wants it: the path encoded once and never normalised, the payload's hash in a header.
 *
 * Written anew because the SDK's signer costs four times as much, and because one block of signed headers can serve many
 * requests: Range and If-Match need no signature, so all ranged GETs of a key share a block for as long as S3 takes its date.
 */
import { createHash, createHmac, hash } from 'node:crypto';

/** Access keys. `expiration` in ms since the epoch. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** The header that carries it; default `x-amz-security-token`. */
  readonly tokenHeader?: string;
  readonly expiration?: number;
  /** Where they came from, in words for people: `/etc/passwd-s3fs`. */
  readonly source?: string;
  /** They stand in a file that may be replaced while they still hold. */
  readonly inFile?: boolean;
}

/** What is signed for. `service` is `s3` but for special endpoints. */
export interface SigningScope {
  readonly region: string;
  readonly service: string;
}

export interface SignedRequest {
  readonly method: string;
  readonly host: string;
  /** Encoded by `encodePath`, with its leading slash. */
  readonly path: string;
  /** Encoded and sorted by name, without the question mark: `canonicalQuery`. */
  readonly query: string;
  /** Further headers to sign: names in lower case, values as sent. */
  readonly headers: readonly (readonly [string, string])[];
  /** Hex SHA-256 of the body, or `UNSIGNED_PAYLOAD` (over TLS). */
  readonly payloadHash: string;
}

export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';
export const EMPTY_PAYLOAD_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

const UNRESERVED_PATH = /^[A-Za-z0-9\-._~/]*$/;
const LEFT_BY_COMPONENT = /[!'()*]/g;
const percent = (character: string): string => `%${character.charCodeAt(0).toString(16).toUpperCase()}`;

/** Percent-encodes all but RFC 3986's unreserved characters, as UTF-8. Throws `URIError` for a lone surrogate. */
export function encodeComponent(text: string): string {
  return encodeURIComponent(text).replace(LEFT_BY_COMPONENT, percent);
}

/** The same, but slashes stay: `a//b` and `.` are names like any other in S3. */
export function encodePath(path: string): string {
  if (UNRESERVED_PATH.test(path)) return path;
  return encodeComponent(path).replaceAll('%2F', '/');
}

/** Query parameters in the order that the signature wants, encoded. A parameter without value gets an empty one. */
export function canonicalQuery(parameters: readonly (readonly [string, string])[]): string {
  return (
    parameters
      .map(([name, value]) => [encodeComponent(name), encodeComponent(value)] as const)
      // All is ASCII by now, where JavaScript's order is that of bytes.
      .sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] < b[1] ? -1 : a[1] > b[1] ? 1 : 0))
      .map(([name, value]) => `${name}=${value}`)
      .join('&')
  );
}

/** Hex SHA-256 of a body. */
export function sha256Hex(slices: readonly Uint8Array[]): string {
  const sum = createHash('sha256');
  for (const slice of slices) sum.update(slice);
  return sum.digest('hex');
}

let lastSecond = Number.NaN;
let lastDate = '';

/** `20261121T110102Z` for a time in ms since the epoch. Most requests are of the same second as the one before. */
export function amzDate(time: number): string {
  const second = Math.floor(time / 1000);
  if (second !== lastSecond) {
    lastDate = new Date(second * 1000).toISOString().replace(/[-:]|\.\d{3}/g, '');
    lastSecond = second;
  }
  return lastDate;
}

/** HMAC-SHA256 by one key, of short ASCII texts. Half of what `createHmac` takes, which makes a stream for each. */
class HmacKey {
  /** The key's block, and room for a text that is not too long. */
  #inner = Buffer.alloc(HMAC_BLOCK + 256);
  /** The key's other block and a digest. */
  readonly #outer = Buffer.alloc(HMAC_BLOCK + 32);

  /** `key`: 32 bytes. */
  constructor(key: Uint8Array) {
    for (let i = 0; i < HMAC_BLOCK; i++) {
      const byte = key[i] ?? 0;
      this.#inner[i] = byte ^ 0x36;
      this.#outer[i] = byte ^ 0x5c;
    }
  }

  hexOf(text: string): string {
    const end = HMAC_BLOCK + text.length;
    if (end > this.#inner.length) this.#inner = Buffer.concat([this.#inner.subarray(0, HMAC_BLOCK)], end);
    this.#inner.write(text, HMAC_BLOCK, 'latin1');
    this.#outer.set(hash('sha256', this.#inner.subarray(0, end), 'buffer'), HMAC_BLOCK);
    return hash('sha256', this.#outer);
  }
}

/** SHA-256 takes its input in blocks of so many bytes. */
const HMAC_BLOCK = 64;

/** What is signed of a request but for method, path and query: the same for all that are sent in one second. */
export interface SignedFrame {
  /** Of what is hashed: all that follows the query. */
  readonly rest: string;
  /** Of what is signed: all before that hash. */
  readonly before: string;
  /** Header lines, up to the signature. */
  readonly lines: string;
  readonly day: string;
}

/** Signs. One for each set of credentials and scope: it keeps the day's derived key. */
export class Signer {
  readonly credentials: Credentials;
  readonly scope: SigningScope;
  #day = '';
  #key: HmacKey | undefined;

  constructor(credentials: Credentials, scope: SigningScope) {
    this.credentials = credentials;
    this.scope = scope;
  }

  /**
   * The headers that make `request` a signed one, those of `request.headers` included, as lines that end in CRLF. `host`
   * is signed but not among them. `time`: ms since the epoch by the server's clock.
   */
  sign(request: SignedRequest, time: number): string {
    return this.signIn(this.frame(request, amzDate(time)), request.method, request.path, request.query);
  }

  /** `date` by `amzDate`. */
  frame(request: Pick<SignedRequest, 'host' | 'headers' | 'payloadHash'>, date: string): SignedFrame {
    const { accessKeyId, sessionToken, tokenHeader = 'x-amz-security-token' } = this.credentials;
    const headers: (readonly [string, string])[] = [
      ...request.headers,
      ['host', request.host],
      ['x-amz-content-sha256', request.payloadHash],
      ['x-amz-date', date],
    ];
    if (sessionToken !== undefined) headers.push([tokenHeader, sessionToken]);
    headers.sort((a, b) => (a[0] < b[0] ? -1 : 1));
    let canonical = '';
    let names = '';
    let lines = '';
    for (const [name, value] of headers) {
      canonical += `${name}:${value.trim().replace(/ {2,}/g, ' ')}\n`;
      names += names === '' ? name : `;${name}`;
      if (name !== 'host') lines += `${name}: ${value}\r\n`;
    }
    const { region, service } = this.scope;
    const day = date.slice(0, 8);
    const scope = `${day}/${region}/${service}/aws4_request`;
    return {
      rest: `${canonical}\n${names}\n${request.payloadHash}`,
      before: `AWS4-HMAC-SHA256\n${date}\n${scope}\n`,
      lines: `${lines}authorization: AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=`,
      day,
    };
  }

  /** The header lines of a request within `frame`. */
  signIn({ rest, before, lines, day }: SignedFrame, method: string, path: string, query: string): string {
    const summary = hash('sha256', Buffer.from(`${method}\n${path}\n${query}\n${rest}`, 'latin1'));
    return `${lines}${this.#keyOf(day).hexOf(before + summary)}\r\n`;
  }

  #keyOf(day: string): HmacKey {
    if (this.#key && this.#day === day) return this.#key;
    const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();
    const { region, service } = this.scope;
    let key = hmac(`AWS4${this.credentials.secretAccessKey}`, day);
    for (const part of [region, service, 'aws4_request']) key = hmac(key, part);
    this.#day = day;
    this.#key = new HmacKey(key);
    return this.#key;
  }
}

/** S3 takes a request's date within 15 minutes of its own clock; a block is used for a third of that. */
const BLOCK_LIVES_MS = 5 * 60_000;
/** Blocks kept, of those used last at least: files that are read in many ranges at the same time. */
const MAX_BLOCKS = 512;

interface SignedBlock {
  readonly lines: string;
  readonly time: number;
}

/** Signed header blocks for GETs, by host and path. */
export class SignedBlocks {
  readonly #signer: Signer;
  readonly #payloadHash: string;
  readonly #headers: readonly (readonly [string, string])[];
  /** Two halves: where thousands of paths are asked for once each, taking out one for each costs more than the signature. */
  #blocks = new Map<string, SignedBlock>();
  #older = new Map<string, SignedBlock>();
  #frame: { readonly host: string; readonly date: string; readonly signed: SignedFrame } | undefined;

  /** `headers` are signed with every block. */
  constructor(signer: Signer, payloadHash: string, headers: readonly (readonly [string, string])[]) {
    this.#signer = signer;
    this.#payloadHash = payloadHash;
    this.#headers = headers;
  }

  /** Header lines for a GET of `path` without query. `time` as for `Signer.sign`. */
  get(host: string, path: string, time: number): string {
    const id = host + path;
    let block = this.#blocks.get(id);
    if (block && Math.abs(time - block.time) < BLOCK_LIVES_MS) return block.lines;
    block = this.#older.get(id);
    if (!block || Math.abs(time - block.time) >= BLOCK_LIVES_MS) {
      block = { lines: this.#signer.signIn(this.#frameOf(host, amzDate(time)), 'GET', path, ''), time };
    }
    if (this.#blocks.size >= MAX_BLOCKS / 2) {
      this.#older = this.#blocks;
      this.#blocks = new Map();
    }
    this.#blocks.set(id, block);
    return block.lines;
  }

  #frameOf(host: string, date: string): SignedFrame {
    if (this.#frame?.host !== host || this.#frame.date !== date) {
      const signed = this.#signer.frame({ host, headers: this.#headers, payloadHash: this.#payloadHash }, date);
      this.#frame = { host, date, signed };
    }
    return this.#frame.signed;
  }
}
