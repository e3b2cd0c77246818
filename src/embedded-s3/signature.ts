/**
 * Signature Version 4 as S3 verifies it: in headers and in the URL ("Authenticating Requests", Amazon S3 API Reference).
 * S3's canonical path is the decoded path encoded once, never normalised: `//`, `.` and `..` stay.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { percentEncode } from './byte-string.ts';
import { S3Failure } from './s3-error.ts';

export interface Credential {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Temporary credentials: requests must carry it. */
  readonly sessionToken?: string;
  /** Where they carry it; default `x-amz-security-token`. */
  readonly tokenHeader?: string;
  /** An IAM-like policy document; without it the credential may do everything. */
  readonly policy?: string;
}

/** What is left to verify once headers are: the signatures of the pieces of an `aws-chunked` body go on from here. */
export interface Signed {
  readonly credential: Credential;
  readonly signingKey: Buffer;
  readonly signature: string;
  readonly timestamp: string;
  readonly scope: string;
}

export interface SignedRequest {
  readonly method: string;
  /** Decoded. */
  readonly path: string;
  /** Decoded, in the URL's order. */
  readonly pairs: readonly (readonly [string, string])[];
  /** The same by name. */
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: readonly string[];
}

export interface Verifier {
  readonly credentials: { get(accessKeyId: string): Credential | undefined };
  /** What the scope must name. */
  readonly region: string;
  /** `s3`, or `s3express` for a directory bucket. */
  readonly service: string;
  /** ms since the epoch. */
  readonly now: number;
}

const MAX_SKEW = 15 * 60 * 1000;
const MAX_EXPIRY_SECONDS = 7 * 24 * 3600;
const EMPTY_SHA256 = createHash('sha256').digest('hex');

const sha256 = (text: string): string => createHash('sha256').update(text, 'latin1').digest('hex');
const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text, 'latin1').digest();

/** Derived keys hold for a day and a region; deriving costs four HMACs. */
const signingKeys = new Map<string, Buffer>();

function signingKey(secret: string, date: string, region: string, service: string): Buffer {
  const id = `${date}/${region}/${service}/${secret}`;
  let key = signingKeys.get(id);
  if (key === undefined) {
    key = hmac(hmac(hmac(hmac(`AWS4${secret}`, date), region), service), 'aws4_request');
    if (signingKeys.size > 100) signingKeys.clear();
    signingKeys.set(id, key);
  }
  return key;
}

interface Claim {
  readonly accessKeyId: string;
  readonly date: string;
  readonly region: string;
  readonly service: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  readonly timestamp: string;
  readonly presigned: boolean;
}

/** `YYYYMMDDTHHMMSSZ` in ms since the epoch. */
function parseTimestamp(timestamp: string): number {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(timestamp);
  if (!match) return Number.NaN;
  const [, year, month, day, hour, minute, second] = match.map(Number) as [number, ...number[]];
  return Date.UTC(year!, month! - 1, day, hour, minute, second);
}

function malformed(message: string): S3Failure {
  return new S3Failure('AuthorizationHeaderMalformed', {
    message: `The authorization header is malformed; ${message}`,
  });
}

function parseCredential(credential: string): { accessKeyId: string; date: string; region: string; service: string } {
  const [accessKeyId, date, region, service, terminator, ...rest] = credential.split('/');
  if (
    !accessKeyId ||
    !date ||
    region === undefined ||
    service === undefined ||
    terminator !== 'aws4_request' ||
    rest.length > 0
  ) {
    throw malformed('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".');
  }
  return { accessKeyId, date, region, service };
}

function headerTimestamp(headers: IncomingHttpHeaders): string {
  const amzDate = headers['x-amz-date'];
  if (typeof amzDate === 'string') return amzDate;
  const date = Date.parse(headers['date'] ?? '');
  if (Number.isNaN(date)) {
    throw new S3Failure('AccessDenied', { message: 'AWS authentication requires a valid Date or x-amz-date header' });
  }
  return new Date(date).toISOString().replace(/[-:]|\.\d+/g, '');
}

/** The claim of the request's headers or URL; `undefined` for an anonymous request. */
function readClaim(request: SignedRequest): Claim | undefined {
  const authorization = request.headers.authorization;
  const { query } = request;
  if (query.has('X-Amz-Algorithm')) {
    if (query.get('X-Amz-Algorithm') !== 'AWS4-HMAC-SHA256') {
      throw new S3Failure('AuthorizationQueryParametersError', {
        message: 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"',
      });
    }
    const need = (name: string): string => {
      const value = query.get(name);
      if (value !== undefined) return value;
      throw new S3Failure('AuthorizationQueryParametersError', {
        message:
          'Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.',
      });
    };
    need('X-Amz-Expires');
    return {
      ...parseCredential(need('X-Amz-Credential')),
      signedHeaders: need('X-Amz-SignedHeaders').split(';'),
      signature: need('X-Amz-Signature'),
      timestamp: need('X-Amz-Date'),
      presigned: true,
    };
  }
  if (query.has('AWSAccessKeyId') || authorization?.startsWith('AWS ')) {
    throw new S3Failure('InvalidRequest', {
      message: 'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.',
    });
  }
  if (authorization === undefined) return undefined;
  const match = /^AWS4-HMAC-SHA256\s+(.*)$/.exec(authorization);
  if (!match) throw new S3Failure('InvalidArgument', { message: 'Unsupported Authorization Type' });
  const fields = new Map<string, string>();
  for (const field of match[1]!.split(',')) {
    const equals = field.indexOf('=');
    fields.set(field.slice(0, equals).trim(), field.slice(equals + 1).trim());
  }
  const need = (name: string): string => {
    const value = fields.get(name);
    if (!value) throw malformed(`Authorization header requires '${name}' parameter.`);
    return value;
  };
  return {
    ...parseCredential(need('Credential')),
    signedHeaders: need('SignedHeaders').split(';'),
    signature: need('Signature'),
    timestamp: headerTimestamp(request.headers),
    presigned: false,
  };
}

function headerValue(request: SignedRequest, name: string, repeated: boolean): string {
  let value: string | undefined;
  if (repeated) {
    // Node joins repeated headers with ', ' or drops all but the first; the signature has them joined with ','.
    const values: string[] = [];
    for (let i = 0; i < request.rawHeaders.length; i += 2) {
      if (request.rawHeaders[i]!.toLowerCase() === name) values.push(request.rawHeaders[i + 1]!.trim());
    }
    value = values.join(',');
  } else {
    const single = request.headers[name];
    value = Array.isArray(single) ? single.join(',') : (single ?? '');
  }
  return value.trim().replace(/ {2,}/g, ' ');
}

export function canonicalQuery(query: readonly (readonly [string, string])[]): string {
  if (query.length === 0) return '';
  return query
    .filter(([name]) => name !== 'X-Amz-Signature')
    .map(([name, value]) => [percentEncode(name, false), percentEncode(value, false)] as const)
    .sort((a, b) => (a[0] === b[0] ? (a[1] < b[1] ? -1 : 1) : a[0] < b[0] ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

function canonicalRequest(request: SignedRequest, signedHeaders: readonly string[], payloadHash: string): string {
  const repeated = request.rawHeaders.length / 2 !== Object.keys(request.headers).length;
  let lines = '';
  for (const name of signedHeaders) lines += `${name}:${headerValue(request, name, repeated)}\n`;
  return `${request.method}\n${percentEncode(request.path, true)}\n${canonicalQuery(request.pairs)}\n${lines}\n${signedHeaders.join(';')}\n${payloadHash}`;
}

function checkTime(claim: Claim, request: SignedRequest, now: number): void {
  const time = parseTimestamp(claim.timestamp);
  if (Number.isNaN(time) || claim.timestamp.slice(0, 8) !== claim.date) {
    throw claim.presigned
      ? new S3Failure('AuthorizationQueryParametersError', {
          message: 'X-Amz-Date must be formatted via ISO8601 Long format and lie in the day of the credential scope',
        })
      : malformed(`Invalid credential date "${claim.date}". This date is not the same as X-Amz-Date.`);
  }
  if (!claim.presigned) {
    if (Math.abs(now - time) <= MAX_SKEW) return;
    throw new S3Failure('RequestTimeTooSkewed', {
      fields: {
        RequestTime: claim.timestamp,
        ServerTime: new Date(now).toISOString(),
        MaxAllowedSkewMilliseconds: MAX_SKEW,
      },
    });
  }
  const expires = Number(request.query.get('X-Amz-Expires'));
  if (!Number.isInteger(expires) || expires < 0 || expires > MAX_EXPIRY_SECONDS) {
    throw new S3Failure('AuthorizationQueryParametersError', {
      message: 'X-Amz-Expires must be a number of seconds, at most a week (604800)',
    });
  }
  if (time - now > MAX_SKEW) throw new S3Failure('AccessDenied', { message: 'Request is not valid yet' });
  if (now > time + expires * 1000) {
    throw new S3Failure('AccessDenied', {
      message: 'Request has expired',
      fields: {
        'X-Amz-Expires': expires,
        Expires: new Date(time + expires * 1000).toISOString(),
        ServerTime: new Date(now).toISOString(),
      },
    });
  }
}

function checkToken(credential: Credential, request: SignedRequest): void {
  const name = credential.tokenHeader ?? 'x-amz-security-token';
  const header = request.headers[name];
  const given = typeof header === 'string' ? header : request.query.get('X-Amz-Security-Token');
  if (given === credential.sessionToken) return;
  // A temporary key without its token is unknown to S3; any other token is a bad token.
  if (given === undefined) {
    throw new S3Failure('InvalidAccessKeyId', { fields: { AWSAccessKeyId: credential.accessKeyId } });
  }
  throw new S3Failure('InvalidToken');
}

/** What a request says its payload hashes to: hex, `UNSIGNED-PAYLOAD` or one of the `STREAMING-…` words. */
export function payloadHash(headers: IncomingHttpHeaders, query: ReadonlyMap<string, string>): string | undefined {
  const header = headers['x-amz-content-sha256'];
  if (typeof header === 'string') return header;
  if (query.has('X-Amz-Algorithm')) return query.get('X-Amz-Content-Sha256') ?? 'UNSIGNED-PAYLOAD';
  return undefined;
}

/** Verifies the request's signature. `undefined`: it has none, it is anonymous. Throws as S3 answers. */
export function verifySignature(request: SignedRequest, verifier: Verifier): Signed | undefined {
  const claim = readClaim(request);
  if (claim === undefined) return undefined;
  if (claim.service !== verifier.service) {
    throw malformed(`incorrect service "${claim.service}". This endpoint belongs to "${verifier.service}".`);
  }
  if (claim.region !== verifier.region) {
    throw new S3Failure('AuthorizationHeaderMalformed', {
      message: `The authorization header is malformed; the region '${claim.region}' is wrong; expecting '${verifier.region}'`,
      fields: { Region: verifier.region },
      headers: { 'x-amz-bucket-region': verifier.region },
    });
  }
  const credential = verifier.credentials.get(claim.accessKeyId);
  if (credential === undefined) {
    throw new S3Failure('InvalidAccessKeyId', { fields: { AWSAccessKeyId: claim.accessKeyId } });
  }
  checkToken(credential, request);
  checkTime(claim, request, verifier.now);
  const hash = payloadHash(request.headers, request.query);
  if (hash === undefined) {
    throw new S3Failure('InvalidRequest', {
      message: 'Missing required header for this request: x-amz-content-sha256',
    });
  }
  const missing = Object.keys(request.headers).filter(
    name => (name === 'host' || name.startsWith('x-amz-')) && !claim.signedHeaders.includes(name),
  );
  if (missing.length > 0) {
    throw new S3Failure('AccessDenied', {
      message: 'There were headers present in the request which were not signed',
      fields: { HeadersNotSigned: missing.join(', ') },
    });
  }
  const scope = `${claim.date}/${claim.region}/${claim.service}/aws4_request`;
  const canonical = canonicalRequest(request, claim.signedHeaders, hash);
  const stringToSign = `AWS4-HMAC-SHA256\n${claim.timestamp}\n${scope}\n${sha256(canonical)}`;
  const key = signingKey(credential.secretAccessKey, claim.date, claim.region, claim.service);
  const expected = hmac(key, stringToSign);
  const given = Buffer.from(claim.signature, 'hex');
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw new S3Failure('SignatureDoesNotMatch', {
      fields: {
        AWSAccessKeyId: claim.accessKeyId,
        StringToSign: stringToSign,
        SignatureProvided: claim.signature,
        CanonicalRequest: canonical,
      },
    });
  }
  return { credential, signingKey: key, signature: claim.signature, timestamp: claim.timestamp, scope };
}

/** The chain of signatures over the pieces of an `aws-chunked` body and its trailer. */
export class PieceSignatures {
  readonly #signed: Signed;
  #previous: string;

  constructor(signed: Signed) {
    this.#signed = signed;
    this.#previous = signed.signature;
  }

  /** `hash`: hex SHA-256 of the piece. Throws SignatureDoesNotMatch. */
  piece(hash: string, signature: string | undefined): void {
    this.#check('AWS4-HMAC-SHA256-PAYLOAD', `${EMPTY_SHA256}\n${hash}`, signature);
  }

  trailer(lines: string, signature: string | undefined): void {
    this.#check('AWS4-HMAC-SHA256-TRAILER', sha256(lines), signature);
  }

  #check(algorithm: string, rest: string, signature: string | undefined): void {
    const { timestamp, scope, signingKey: key } = this.#signed;
    const expected = hmac(key, `${algorithm}\n${timestamp}\n${scope}\n${this.#previous}\n${rest}`).toString('hex');
    if (signature !== expected) throw new S3Failure('SignatureDoesNotMatch');
    this.#previous = expected;
  }
}
