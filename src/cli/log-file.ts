/** Opens the log without loading a logger: the command that only starts the daemon needs no more. */
import { openSync } from 'node:fs';
import { CliError, EXIT } from './exit-codes.ts';

/** For its owner only: names of files stand in it. */
export function openLogFile(path: string): number {
  try {
    return openSync(path, 'a', 0o600);
  } catch (error) {
    throw new CliError(
      EXIT.state,
      `the log file cannot be opened (${(error as Error).message}); give another as logfile=.`,
    );
  }
}
