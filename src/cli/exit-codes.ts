/**
 * How the program ends, in one place: scripts and units act on these numbers, so they never change their meaning.
 *
 * 1, 4 and 32 mean what mount(8) means by them; the others tell apart what a person mends in different places.
 */
import { visible } from '../errors.ts';
export const EXIT = {
  /** Mounted and answering; or unmounted with everything saved. */
  ok: 0,
  /** The command line, the environment or an option is wrong. */
  usage: 1,
  /** A bug of ours: the log has the stack. */
  bug: 4,
  /** There is no such bucket, or it lies in another region than the one that was given. */
  bucket: 10,
  /** No credentials were found, or S3 does not know them. */
  credentials: 11,
  /** The credentials are good, but may not do this. */
  forbidden: 12,
  /** The endpoint cannot be reached, or does not answer as S3 does. */
  network: 13,
  /** The mount point is missing, no directory, not empty, not ours, or mounted already. */
  mountPoint: 14,
  /** /dev/fuse, fusermount3 or fuse.conf stand in the way. */
  fuse: 15,
  /** The state directory or the log file cannot be used. */
  state: 16,
  /** Ended with unsaved bytes; what became of them is on stderr and in the log. */
  unsaved: 20,
  /** Any other failure to mount. */
  mount: 32,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An end that is told in one sentence for people and one exit code for scripts; no stack is shown. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: ExitCode;
  constructor(exitCode: ExitCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** The command line is wrong. */
export function usageError(message: string): CliError {
  return new CliError(EXIT.usage, message);
}

/** The line on stderr, with the program's name in front as every Unix program has it. */
export function errorLine(error: unknown): string {
  if (error instanceof CliError) return `s3mount: ${visible(error.message)}`;
  if (error instanceof Error) return `s3mount: internal error: ${error.stack ?? error.message}`;
  return `s3mount: internal error: ${String(error)}`;
}

export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof CliError ? error.exitCode : EXIT.bug;
}
