/**
 * From what S3 (or something that stands in its place) answered to what a caller can act on: the one table from S3's codes
 * and HTTP's statuses to `StoreErrorKind`, what may be done about it here, and the sentence for people.
 */
import type { StoreErrorKind } from '../errors.ts';
import { StoreError, visible } from '../errors.ts';
import type { BucketEndpoint } from './endpoint.ts';
import { HttpError } from './http-message.ts';
import type { Headers } from './object-headers.ts';
import { httpDate } from './object-headers.ts';
import type { Credentials } from './sigv4.ts';
import { textsIn, xmlText } from './xml.ts';

/** What could be set right before trying once more. */
export type Remedy =
  | { readonly what: 'clock'; readonly serverDate: number }
  | { readonly what: 'credentials'; readonly used: Credentials | undefined }
  | { readonly what: 'region'; readonly region: string };

/** One attempt that failed. */
export class Failure extends Error {
  override readonly name = 'Failure';
  readonly error: StoreError;
  /** Worth trying again after a while. */
  readonly retry: boolean;
  /** S3 may have carried the request out. */
  readonly unknown: boolean;
  /** The store asks for fewer requests. */
  readonly throttled: boolean;
  readonly remedy: Remedy | undefined;
  /** Set by the retries: this attempt or one before it had an unknown outcome. */
  unknownBefore = false;
  constructor(
    error: StoreError,
    traits: {
      readonly retry?: boolean;
      readonly unknown?: boolean;
      readonly throttled?: boolean;
      readonly remedy?: Remedy | undefined;
    } = {},
  ) {
    super(error.message, { cause: error });
    this.error = error;
    this.retry = traits.retry ?? false;
    this.unknown = traits.unknown ?? false;
    this.throttled = traits.throttled ?? false;
    this.remedy = traits.remedy;
  }
}

/** The request an error is about. */
export interface Subject {
  /** By its S3 API name. */
  readonly operation: string;
  readonly bucket: string;
  /** As the caller knows it; undefined for requests on the bucket. */
  readonly key: string | undefined;
}

const KIND_OF_CODE: Readonly<Record<string, StoreErrorKind>> = {
  NoSuchKey: 'not-found',
  NoSuchVersion: 'not-found',
  NotFound: 'not-found',
  NoSuchBucket: 'no-such-bucket',
  NoSuchUpload: 'no-such-upload',
  PreconditionFailed: 'precondition-failed',
  ConditionalRequestConflict: 'conflict',
  OperationAborted: 'conflict',
  InvalidObjectState: 'archived',
  ObjectNotInActiveTierError: 'archived',
  InvalidRange: 'range',
  EntityTooLarge: 'too-large',
  MaxMessageLengthExceeded: 'too-large',
  NotImplemented: 'not-implemented',
  MethodNotAllowed: 'not-implemented',
  QuotaExceeded: 'no-space',
  StorageFull: 'no-space',
  XMinioStorageFull: 'no-space',
  InsufficientStorage: 'no-space',
  RequestTimeout: 'timeout',
  BadDigest: 'corrupt',
  InvalidDigest: 'corrupt',
  IncompleteBody: 'corrupt',
  XAmzContentChecksumMismatch: 'corrupt',
  XAmzContentSHA256Mismatch: 'corrupt',
  ExpiredToken: 'forbidden',
  ExpiredTokenException: 'forbidden',
  TokenRefreshRequired: 'forbidden',
  InvalidToken: 'forbidden',
  InvalidAccessKeyId: 'forbidden',
  SignatureDoesNotMatch: 'forbidden',
  AccessDenied: 'forbidden',
  AllAccessDisabled: 'forbidden',
  AccountProblem: 'forbidden',
  RequestTimeTooSkewed: 'forbidden',
};

/** Codes by which a store says: not now. Some come with status 400. */
const THROTTLE_CODES =
  /^(SlowDown|SlowDownRead|SlowDownWrite|ServiceUnavailable|Throttl|TooManyRequests|RequestLimitExceeded|BandwidthLimitExceeded|KMS\.Throttl|Busy)/;
/** Bytes damaged on their way: sending them again mends it. */
const DAMAGE_CODES = new Set([
  'BadDigest',
  'IncompleteBody',
  'XAmzContentSHA256Mismatch',
  'XAmzContentChecksumMismatch',
]);
/** Codes that newer keys might cure. */
const CREDENTIAL_CODES = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'TokenRefreshRequired',
  'InvalidToken',
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
]);

function kindOfStatus(status: number): StoreErrorKind {
  switch (status) {
    case 401:
    case 403:
      return 'forbidden';
    case 404:
    case 410:
      return 'not-found';
    case 405:
    case 501:
      return 'not-implemented';
    case 408:
      return 'timeout';
    case 409:
      return 'conflict';
    case 412:
      return 'precondition-failed';
    case 413:
      return 'too-large';
    case 416:
      return 'range';
    case 507:
      return 'no-space';
    default:
      return status >= 500 || status === 429 ? 'unavailable' : 'invalid';
  }
}

/** Which right an operation needs (Service Authorization Reference, "Actions defined by Amazon S3"). */
export const RIGHT_OF: Readonly<Record<string, string>> = {
  ListObjectsV2: 's3:ListBucket',
  HeadObject: 's3:GetObject (and s3:ListBucket, to be told of missing keys)',
  GetObject: 's3:GetObject',
  GetObjectTagging: 's3:GetObjectTagging',
  PutObject: 's3:PutObject',
  CopyObject: 's3:GetObject and s3:PutObject',
  UploadPart: 's3:PutObject',
  UploadPartCopy: 's3:GetObject and s3:PutObject',
  CreateMultipartUpload: 's3:PutObject',
  CompleteMultipartUpload: 's3:PutObject',
  AbortMultipartUpload: 's3:AbortMultipartUpload',
  DeleteObject: 's3:DeleteObject',
  DeleteObjects: 's3:DeleteObject',
  RestoreObject: 's3:RestoreObject',
};

/** What a person can do, by S3's code; then by kind. */
function advice(kind: StoreErrorKind, code: string | undefined, subject: Subject): string | undefined {
  switch (code) {
    case 'InvalidAccessKeyId':
      return 'S3 does not know this access key: check which credentials are in use';
    case 'SignatureDoesNotMatch':
      return 'the secret key does not belong to the access key, or a proxy changes requests';
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
    case 'InvalidToken':
      return 'the session has ended: sign in again or renew the credentials';
    case 'RequestTimeTooSkewed':
      return "this machine's clock is wrong: set it (timedatectl set-ntp true)";
  }
  if (code?.startsWith('KMS.')) return 'check that the KMS key is enabled and that the credentials may use it';
  switch (kind) {
    case 'forbidden':
      return `the credentials need ${RIGHT_OF[subject.operation] ?? `the right for ${subject.operation}`} on bucket ${subject.bucket}`;
    case 'archived':
      return 'restore the object from its archive first (s3mount restore FILE)';
    case 'no-such-bucket':
      return 'check the name and, for a provider other than AWS, url=';
    default:
      return undefined;
  }
}

/** Text from outside, made fit for a log line or a terminal. */
export function printable(text: string, limit = 200): string {
  const clean = visible(text);
  return clean.length > limit ? `${clean.slice(0, limit)}…` : clean;
}

function about(subject: Subject): string {
  if (subject.key === undefined) return `${subject.operation} on bucket ${subject.bucket}`;
  return `${subject.operation} of "${printable(subject.key, 1024)}"`;
}

interface ErrorBody {
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  readonly region?: string | undefined;
  readonly requestId?: string | undefined;
}

/** The `<Error>` document in `body`; undefined if it is none. */
export function readErrorBody(body: Uint8Array): ErrorBody | undefined {
  if (body.length === 0 || body.length > 1024 * 1024) return undefined;
  try {
    const texts = textsIn(xmlText(body).trim(), 'Error');
    return {
      code: texts.get('Code'),
      message: texts.get('Message'),
      region: texts.get('Region'),
      requestId: texts.get('RequestId'),
    };
  } catch {
    return undefined;
  }
}

/** True for a web page: a proxy, a sign-in portal or a web server answered in the place of S3. */
export function isWebPage(headers: Headers, body: Uint8Array): boolean {
  if (/^text\/html\b/i.test(headers.get('content-type') ?? '')) return true;
  const start = Buffer.from(body.buffer, body.byteOffset, Math.min(body.length, 64)).toString('latin1');
  return /^\s*<(!doctype html|html)\b/i.test(start);
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

/** S3 takes requests within 15 minutes of its clock. Nearer than this, a 403 has another reason. */
const SKEW_MS = 10 * 60_000;

/** How a request went out: others may have changed the settings by the time that its answer comes. */
export interface Sent {
  /** ms since the epoch, by the clock that signed it. */
  readonly at: number;
  readonly endpoint: BucketEndpoint;
  readonly credentials: Credentials | undefined;
}

/** An answer that is no success. */
export function failureOfAnswer(subject: Subject, answer: Answer, sent: Sent): Failure {
  const { status, headers, body } = answer;
  const said = readErrorBody(body);
  const requestId = said?.requestId ?? headers.get('x-amz-request-id');
  const code = said?.code === undefined ? undefined : printable(said.code, 64);
  // "User: arn:… is not authorized to perform: s3:PutObject on resource: … because …"
  const denied = /not authorized to perform: ([a-z0-9-]{1,32}:[A-Za-z*]{1,64})/.exec(said?.message ?? '')?.[1];
  const details = {
    operation: subject.operation,
    status,
    ...(subject.key === undefined ? {} : { key: subject.key }),
    ...(code === undefined ? {} : { s3Code: code }),
    ...(requestId === undefined ? {} : { requestId: printable(requestId, 64) }),
    ...(denied === undefined ? {} : { deniedAction: denied }),
  };
  if (!said && isWebPage(headers, body)) {
    return new Failure(
      new StoreError(
        'unavailable',
        `${about(subject)} failed: a web page came (status ${status}) instead of an answer of S3; check url= and the proxy`,
        details,
      ),
      { retry: true, unknown: true },
    );
  }
  // A 200 that turned into an error while the work went on means what its code says; without one, nothing is known.
  const knownKind = code === undefined ? undefined : Object.hasOwn(KIND_OF_CODE, code) ? KIND_OF_CODE[code] : undefined;
  const throttled = status === 429 || status === 503 || THROTTLE_CODES.test(code ?? '');
  let kind = knownKind ?? (throttled || status < 300 ? 'unavailable' : kindOfStatus(status));
  if (code?.startsWith('KMS.') && !throttled) kind = 'forbidden';
  // Answers to HEAD have no code; a session that has ended is a 400 there.
  if (status === 400 && code === undefined && sent.credentials?.sessionToken !== undefined) kind = 'forbidden';
  if (kind === 'not-found' && subject.key === undefined) kind = 'no-such-bucket';
  // Of a completion the bytes are there already: only other parts would mend it.
  const damaged = code !== undefined && DAMAGE_CODES.has(code) && subject.operation !== 'CompleteMultipartUpload';
  const retry = throttled || damaged || kind === 'timeout' || (kind === 'unavailable' && status !== 505);
  const spoken = said ? `${code ?? ''}${said.message ? ` ("${printable(said.message)}")` : ''}` : '';
  const hint = advice(kind, code, subject);
  const message = `${about(subject)} failed: S3 answered ${status}${spoken === '' ? '' : ` ${spoken.trim()}`}${hint ? `; ${hint}` : ''}`;
  const named = headers.get('x-amz-bucket-region') ?? said?.region;
  return new Failure(new StoreError(kind, message, details), {
    retry,
    throttled,
    unknown: status >= 500 || kind === 'timeout' || status < 300,
    remedy: remedyOf(status, code, named, headers, sent),
  });
}

function remedyOf(
  status: number,
  code: string | undefined,
  named: string | undefined,
  headers: Headers,
  sent: Sent,
): Remedy | undefined {
  const used = sent.credentials;
  const refused = status === 301 || status === 307 || status === 400 || status === 403;
  if (refused && named !== undefined && named !== sent.endpoint.scope.region && /^[a-z0-9-]{2,40}$/.test(named)) {
    return { what: 'region', region: named };
  }
  const date = httpDate(headers.get('date'));
  if (status === 403 && date !== undefined && (code === undefined || code === 'RequestTimeTooSkewed')) {
    if (code !== undefined || Math.abs(date - sent.at) > SKEW_MS) return { what: 'clock', serverDate: date };
  }
  if (code !== undefined && CREDENTIAL_CODES.has(code)) return { what: 'credentials', used };
  // Answers to HEAD have no code. Expired session tokens give 400 there, keys that were taken away 403.
  if (code === undefined && (status === 403 || (status === 400 && used?.sessionToken !== undefined))) {
    return { what: 'credentials', used };
  }
  return undefined;
}

/** A request that came to no answer. */
export function failureOfTransport(subject: Subject, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const details = {
    operation: subject.operation,
    cause: error,
    ...(subject.key === undefined ? {} : { key: subject.key }),
  };
  if (error instanceof StoreError) {
    // Thrown while the answer was looked at: what came was not what was asked for.
    return new Failure(error, { retry: error.kind === 'corrupt', unknown: error.kind === 'corrupt' });
  }
  if (!(error instanceof HttpError)) throw error;
  const message = `${about(subject)} failed: ${printable(error.message)}`;
  const unknown = error.sent;
  switch (error.code) {
    case 'aborted':
      return new Failure(new StoreError('aborted', `${about(subject)} was interrupted`, details), { unknown });
    case 'connect-timeout':
    case 'first-byte-timeout':
    case 'stall':
      return new Failure(new StoreError('timeout', `${message}; check the network and url=`, details), {
        retry: true,
        unknown,
      });
    case 'tls':
      return new Failure(
        new StoreError(
          'unavailable',
          `${message}; check url=, the clock, and the certificates that are trusted`,
          details,
        ),
      );
    case 'bad-answer':
      return new Failure(new StoreError('corrupt', message, details), { retry: true, unknown: true });
    default:
      return new Failure(new StoreError('unavailable', `${message}; check the network and url=`, details), {
        retry: true,
        unknown,
      });
  }
}
