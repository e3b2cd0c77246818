/**
 * One decorator around all operations: counts, times, logs, and maps errors.
 *
 * An answer that is given at once costs one count and nothing else: it takes microseconds, so its time is not worth
 * taking, and no promise is made for it. Answers that come later are timed.
 */
import { type ErrnoCode, toFsError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import type { FileSystemOps } from './ops.ts';

/** Operations by name but for those that are not answered (`forget`, `destroy`). */
type OperationName = Exclude<keyof FileSystemOps, 'forget' | 'destroy'>;

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

export interface ObservedOptions {
  /** Logs each operation at debug: for finding faults, not for every day. */
  readonly trace?: boolean;
}

/** `ops` with every call counted (`op.NAME`), timed and logged; fails only with `FsError`, or with a bug as it is. */
export function observed(ops: FileSystemOps, telemetry: Telemetry, options: ObservedOptions = {}): FileSystemOps {
  const { log } = telemetry;
  const { trace = false } = options;

  const failed = (name: OperationName, nodeid: unknown, error: unknown): unknown => {
    const known = toFsError(error);
    // The session logs a bug with its stack.
    if (known === undefined) return error;
    telemetry.count(`op.${name}.${known.code}`);
    if (NOTEWORTHY.has(known.code)) log.warn({ op: name, nodeid, code: known.code }, known.message);
    else if (trace) log.debug({ op: name, nodeid, code: known.code }, known.message);
    return known;
  };

  const wrap = (name: OperationName): ((...args: never[]) => unknown) => {
    const count = `op.${name}`;
    const inner = ops[name] as (...args: unknown[]) => unknown;
    return (...args: unknown[]) => {
      telemetry.count(count);
      let result: unknown;
      try {
        result = inner.apply(ops, args);
      } catch (error) {
        throw failed(name, args[0], error);
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
          throw failed(name, args[0], error);
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
