/** Opens the log without loading a logger: the command that only starts the daemon needs no more. */
import { CliError, EXIT } from './exit-codes.ts';
import { openToAppend } from './private-files.ts';

/** For its owner only: names of files stand in it. */
export function openLogFile(path: string): number {
  try {
    return openToAppend(path);
  } catch (error) {
    throw new CliError(
      EXIT.state,
      `the log file cannot be opened (${(error as Error).message}); give another as logfile=.`,
    );
  }
}
