/**
 * The two error types that cross a seam, and the one table between them.
 *
 * Below the `ObjectStore` seam every failure is a `StoreError` with a kind; above it every failure is an `FsError` with a
 * code from errno(3). Anything else that reaches the kernel seam is a bug: it is logged with its stack and answered EIO.
 */

/** Linux errno values (asm-generic/errno-base.h, errno.h): the same on x64 and arm64. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EOVERFLOW: 75,
  EILSEQ: 84,
  EOPNOTSUPP: 95,
  ETIMEDOUT: 110,
  ESTALE: 116,
} as const;

export type ErrnoCode = keyof typeof ERRNO;

/** What a filesystem operation fails with: an errno name, and a sentence for the log. */
export class FsError extends Error {
  override readonly name = 'FsError';
  readonly code: ErrnoCode;
  constructor(code: ErrnoCode, message: string = code, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Why a request to the store failed, as far as a caller can act on it. */
export type StoreErrorKind =
  | 'not-found'
  | 'no-such-bucket'
  | 'no-such-upload'
  | 'precondition-failed'
  | 'conflict'
  | 'forbidden'
  | 'archived'
  | 'range'
  | 'too-large'
  | 'no-space'
  | 'invalid'
  | 'not-implemented'
  | 'unavailable'
  | 'corrupt'
  | 'aborted'
  | 'timeout';

export interface StoreErrorDetails {
  /** The operation by its S3 API name, such as `PutObject`. */
  readonly operation?: string;
  readonly key?: string;
  /** HTTP status, where an answer came. */
  readonly status?: number;
  /** S3's own code, such as `SlowDown`. */
  readonly s3Code?: string;
  readonly requestId?: string;
  /** What was to be read for it is gone, not what was to be replaced: of the base of a save. */
  readonly isOfBase?: boolean;
  /** All bytes that came of the object together are wrong: nobody knows which of them. */
  readonly isOfWhole?: boolean;
  /** The action that S3 says is not allowed, such as `kms:Decrypt`, where it says so. */
  readonly deniedAction?: string;
  readonly cause?: unknown;
}

/** What a request to the store fails with, after the retries behind the store's door. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly kind: StoreErrorKind;
  readonly details: StoreErrorDetails;
  constructor(kind: StoreErrorKind, message: string, details: StoreErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.details = details;
  }
}

/** The one table from what the store says to what a program sees. */
const ERRNO_OF_KIND: Readonly<Record<StoreErrorKind, ErrnoCode>> = {
  'not-found': 'ENOENT',
  'no-such-bucket': 'EIO',
  'no-such-upload': 'EIO',
  'precondition-failed': 'ESTALE',
  conflict: 'EBUSY',
  forbidden: 'EACCES',
  archived: 'EACCES',
  range: 'EIO',
  'too-large': 'EFBIG',
  'no-space': 'ENOSPC',
  invalid: 'EINVAL',
  'not-implemented': 'EOPNOTSUPP',
  unavailable: 'EIO',
  corrupt: 'EIO',
  aborted: 'EINTR',
  timeout: 'ETIMEDOUT',
};

/** Turns whatever was thrown into an `FsError`; `undefined` if it is neither of ours, i.e. a bug. */
export function toFsError(error: unknown): FsError | undefined {
  if (error instanceof FsError) return error;
  if (error instanceof StoreError) return new FsError(ERRNO_OF_KIND[error.kind], error.message, { cause: error });
  return undefined;
}

/** True where `error` is a `StoreError` of one of `kinds`. */
export function isStoreError(error: unknown, ...kinds: StoreErrorKind[]): error is StoreError {
  return error instanceof StoreError && (kinds.length === 0 || kinds.includes(error.kind));
}

/** What a log line should have of S3's part in a failure: for its people a request is known by its id. */
export function storeErrorFields(error: unknown): Readonly<Record<string, unknown>> {
  if (!(error instanceof StoreError)) return {};
  const { operation, key, status, s3Code, requestId } = error.details;
  const fields = { request: operation, key, status, s3Code, requestId };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Text from outside (a key, an answer), made fit for one line of a log or a terminal: nothing in it moves a cursor or breaks a line. */
export function visible(text: string): string {
  // All that is not a visible character or a space: control, format and direction marks, halves of pairs, unassigned.
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?');
}
