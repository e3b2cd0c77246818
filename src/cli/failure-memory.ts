/** The last failures, one for each path and operation: what `s3mount why` explains. Bounded; the oldest goes. */
import { type ErrnoCode, StoreError, type StoreErrorKind, toFsError } from '../errors.ts';

/** As sent over the control socket. Times in ms since the epoch. */
export interface Failed {
  /** Relative to the mount point; a directory's ends in `/`. */
  readonly path: string;
  /** The operation as a person knows it: `close`, `open`; or what this mount did by itself: `save`. */
  readonly operation: string;
  readonly code: ErrnoCode;
  /** The sentence that the log has. */
  readonly message: string;
  readonly first: number;
  readonly last: number;
  readonly times: number;
  /** Where S3, or the way to it, is behind it. */
  readonly store?: {
    readonly kind: StoreErrorKind;
    readonly request?: string;
    readonly key?: string;
    readonly status?: number;
    readonly s3Code?: string;
    readonly requestId?: string;
    readonly deniedAction?: string;
  };
}

/** Paths remembered: some hundred bytes each. */
const MAX_PATHS = 1000;
/** Characters of a message: keys may be long, and S3's sentences too. */
const MAX_MESSAGE = 2000;

/**
 * Answers that mean nothing to a person who asks why: names that are not there, attributes that are not set, a program
 * that was interrupted.
 */
const ORDINARY: ReadonlySet<ErrnoCode> = new Set(['ENOENT', 'ENODATA', 'EINTR', 'ERANGE', 'EAGAIN']);

export class FailureMemory {
  readonly #now: () => number;
  readonly #failures = new Map<string, Failed>();
  #count = 0;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** How many there were. */
  get count(): number {
    return this.#count;
  }

  /** `error` as it reached a program, or as a save in the background failed. */
  add(path: string, operation: string, error: unknown): void {
    const known = toFsError(error);
    if (known === undefined || ORDINARY.has(known.code)) return;
    this.#count++;
    const name = `${operation} ${path}`;
    const before = this.#failures.get(name);
    const last = this.#now();
    const store = known.cause instanceof StoreError ? known.cause : undefined;
    this.#failures.delete(name);
    this.#failures.set(name, {
      path,
      operation,
      code: known.code,
      message: known.message.slice(0, MAX_MESSAGE),
      first: before?.code === known.code ? before.first : last,
      last,
      times: before?.code === known.code ? before.times + 1 : 1,
      ...(store ? { store: storePart(store) } : {}),
    });
    if (this.#failures.size > MAX_PATHS) this.#failures.delete(this.#failures.keys().next().value!);
  }

  /** Of a path, a file's or a directory's; the newest first. */
  of(path: string): Failed[] {
    return [...this.#failures.values()]
      .filter(failed => failed.path === path || failed.path === `${path}/`)
      .sort((a, b) => b.last - a.last);
  }

  /** The newest of all, at most `count`. */
  latest(count: number): Failed[] {
    return [...this.#failures.values()].slice(-count).reverse();
  }
}

function storePart({ kind, details }: StoreError): NonNullable<Failed['store']> {
  const { operation, key, status, s3Code, requestId, deniedAction } = details;
  return {
    kind,
    ...(operation === undefined ? {} : { request: operation }),
    ...(key === undefined ? {} : { key }),
    ...(status === undefined ? {} : { status }),
    ...(s3Code === undefined ? {} : { s3Code }),
    ...(requestId === undefined ? {} : { requestId }),
    ...(deniedAction === undefined ? {} : { deniedAction }),
  };
}
