/**
 * One decorator around all operations: counts, times, logs, and maps errors.
 *
 * An answer that is given at once costs one count and nothing else: it takes microseconds, so its time is not worth
 * taking, and no promise is made for it. Answers that come later are timed.
 */
import { type ErrnoCode, type FsError, StoreError, storeErrorFields, toFsError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import type { FileSystemOps, RequestContext } from './ops.ts';

/** Operations by name but for those that are not answered (`forget`, `destroy`). */
export type OperationName = Exclude<keyof FileSystemOps, 'forget' | 'destroy'>;

const OPERATION_NAMES: Readonly<Record<OperationName, true>> = {
  lookup: true,
  getattr: true,
  setattr: true,
  readlink: true,
  symlink: true,
  mknod: true,
  mkdir: true,
  unlink: true,
  rmdir: true,
  rename: true,
  link: true,
  open: true,
  create: true,
  read: true,
  write: true,
  flush: true,
  fsync: true,
  release: true,
  opendir: true,
  readdir: true,
  releasedir: true,
  fsyncdir: true,
  statfs: true,
  getxattr: true,
  setxattr: true,
  listxattr: true,
  removexattr: true,
  fallocate: true,
  copyFileRange: true,
  lseek: true,
  access: true,
};

/**
 * These mean that S3, the network or a disk failed somebody, or that a name cannot be kept: the log should have it. All
 * others are daily answers.
 */
const NOTEWORTHY: ReadonlySet<ErrnoCode> = new Set([
  'EIO',
  'ETIMEDOUT',
  'ENOSPC',
  'EFBIG',
  'ENOMEM',
  'ESTALE',
  'EILSEQ',
]);

/** An operation that failed: its name, its arguments as they came, and what it fails with. */
export interface FailedOperation {
  readonly name: OperationName;
  readonly args: readonly unknown[];
  readonly error: FsError;
}

export interface ObservedOptions {
  /** Logs each operation at debug: for finding faults, not for every day. */
  readonly trace?: boolean;
  /** Called for each operation with the thread that asks; on the path of every read. */
  readonly asked?: (thread: number) => void;
  /** Called for each operation that fails. */
  readonly failed?: (operation: FailedOperation) => void;
  /** ms, for `LOGGED_SELDOM`. */
  readonly now?: () => number;
}

/**
 * Refusals of S3 that a program may run into for one name after the other: the log has the first of a kind, and then one
 * a minute. Without S3 behind them they are ordinary answers, such as that of a mode.
 */
const LOGGED_SELDOM: ReadonlySet<ErrnoCode> = new Set(['EACCES', 'EPERM', 'EOPNOTSUPP', 'EINVAL', 'EBUSY']);
const SELDOM = 60_000;

/** `ops` with every call counted (`op.NAME`), timed and logged; fails only with `FsError`, or with a bug as it is. */
export function observed(ops: FileSystemOps, telemetry: Telemetry, options: ObservedOptions = {}): FileSystemOps {
  const { log } = telemetry;
  const { trace = false, asked, now = () => performance.now() } = options;
  const saidAt = new Map<string, number>();

  const isSaid = (name: OperationName, { code, cause }: FsError): boolean => {
    if (NOTEWORTHY.has(code)) return true;
    if (!LOGGED_SELDOM.has(code) || !(cause instanceof StoreError)) return false;
    const what = `${name} ${code} ${cause.details.s3Code ?? cause.kind}`;
    const before = saidAt.get(what);
    if (before !== undefined && now() - before < SELDOM) return false;
    saidAt.set(what, now());
    return true;
  };

  const failed = (name: OperationName, args: readonly unknown[], error: unknown): unknown => {
    const known = toFsError(error);
    // The session logs a bug with its stack.
    if (known === undefined) return error;
    telemetry.count(`op.${name}.${known.code}`);
    // That a file has no such attribute is an answer, not a failure: `ls -l` gets it for each file.
    if (known.code !== 'ENODATA') options.failed?.({ name, args, error: known });
    const fields = { op: name, nodeid: args[0], code: known.code, ...storeErrorFields(known.cause) };
    if (isSaid(name, known)) log.warn(fields, known.message);
    else if (trace) log.debug(fields, known.message);
    return known;
  };

  const wrap = (name: OperationName): ((...args: never[]) => unknown) => {
    const count = `op.${name}`;
    const inner = ops[name] as (...args: unknown[]) => unknown;
    return (...args: unknown[]) => {
      telemetry.count(count);
      if (asked !== undefined) asked((args[args.length - 1] as RequestContext).pid);
      let result: unknown;
      try {
        result = inner.apply(ops, args);
      } catch (error) {
        throw failed(name, args, error);
      }
      if (!(result instanceof Promise)) {
        if (trace) log.debug({ op: name, nodeid: args[0] }, 'done');
        return result;
      }
      const start = performance.now();
      return result.then(
        value => {
          const ms = performance.now() - start;
          telemetry.time(count, ms);
          if (trace) log.debug({ op: name, nodeid: args[0], ms }, 'done');
          return value;
        },
        error => {
          telemetry.time(count, performance.now() - start);
          throw failed(name, args, error);
        },
      );
    };
  };

  const wrapped: Partial<Record<OperationName, unknown>> = {};
  for (const name of Object.keys(OPERATION_NAMES) as OperationName[]) wrapped[name] = wrap(name);
  return {
    ...(wrapped as Pick<FileSystemOps, OperationName>),
    forget: (nodeid, count) => ops.forget(nodeid, count),
    destroy: () => ops.destroy(),
  };
}
