/**
 * AWS Signature Version 4 as S3 wants it: the path encoded once and never normalised, the payload's hash in a header.
 *
 * Written anew because the SDK's signer costs four times as much, and because one block of signed headers can serve many
 * requests: Range and If-Match need no signature, so all ranged GETs of a key share a block for as long as S3 takes its date.
 */
import type { KeyObject } from 'node:crypto';
import { createHash, createHmac, createSecretKey, hash } from 'node:crypto';

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

/** Signs. One for each set of credentials and scope: it keeps the day's derived key. */
export class Signer {
  readonly credentials: Credentials;
  readonly scope: SigningScope;
  #day = '';
  #key: KeyObject | undefined;

  constructor(credentials: Credentials, scope: SigningScope) {
    this.credentials = credentials;
    this.scope = scope;
  }

  /**
   * The headers that make `request` a signed one, those of `request.headers` included, as lines that end in CRLF. `host`
   * is signed but not among them. `time`: ms since the epoch by the server's clock.
   */
  sign(request: SignedRequest, time: number): string {
    const { accessKeyId, sessionToken, tokenHeader = 'x-amz-security-token' } = this.credentials;
    const date = amzDate(time);
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
    const scope = `${date.slice(0, 8)}/${region}/${service}/aws4_request`;
    const summary = `${request.method}\n${request.path}\n${request.query}\n${canonical}\n${names}\n${request.payloadHash}`;
    const toSign = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash('sha256', Buffer.from(summary, 'latin1'))}`;
    const signature = createHmac('sha256', this.#keyOf(date.slice(0, 8)))
      .update(toSign)
      .digest('hex');
    return `${lines}authorization: AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}\r\n`;
  }

  #keyOf(day: string): KeyObject {
    if (this.#key && this.#day === day) return this.#key;
    const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();
    const { region, service } = this.scope;
    let key = hmac(`AWS4${this.credentials.secretAccessKey}`, day);
    for (const part of [region, service, 'aws4_request']) key = hmac(key, part);
    this.#day = day;
    this.#key = createSecretKey(key);
    return this.#key;
  }
}

/** S3 takes a request's date within 15 minutes of its own clock; a block is used for a third of that. */
const BLOCK_LIVES_MS = 5 * 60_000;
/** Blocks kept: files that are read in many ranges at the same time. */
const MAX_BLOCKS = 512;

/** Signed header blocks for GETs, by host and path. */
export class SignedBlocks {
  readonly #signer: Signer;
  readonly #payloadHash: string;
  readonly #headers: readonly (readonly [string, string])[];
  readonly #blocks = new Map<string, { readonly lines: string; readonly time: number }>();

  /** `headers` are signed with every block. */
  constructor(signer: Signer, payloadHash: string, headers: readonly (readonly [string, string])[]) {
    this.#signer = signer;
    this.#payloadHash = payloadHash;
    this.#headers = headers;
  }

  /** Header lines for a GET of `path` without query. `time` as for `Signer.sign`. */
  get(host: string, path: string, time: number): string {
    const id = `${host}${path}`;
    const known = this.#blocks.get(id);
    if (known && Math.abs(time - known.time) < BLOCK_LIVES_MS) return known.lines;
    const lines = this.#signer.sign(
      { method: 'GET', host, path, query: '', headers: this.#headers, payloadHash: this.#payloadHash },
      time,
    );
    this.#blocks.delete(id);
    if (this.#blocks.size >= MAX_BLOCKS) {
      for (const oldest of this.#blocks.keys()) {
        this.#blocks.delete(oldest);
        break;
      }
    }
    this.#blocks.set(id, { lines, time });
    return lines;
  }
}
