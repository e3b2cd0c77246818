/**
 * Starts the daemon in the background and returns when the mount answers.
 *
 * Node cannot fork: the command starts itself once more, detached, with `--ready-fd 3` and every path absolute, and reads
 * from that descriptor how it went. This side loads neither the SDK nor the filesystem.
 */
import { spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { CliError, EXIT } from './exit-codes.ts';
import { openLogFile } from './log-file.ts';
import { type Config, daemonArguments, type MountArguments } from './options.ts';
import { isAwaited } from './own-session.ts';
import { diedSilently, waitForDaemon } from './ready-pipe.ts';
import { logFileOf } from './state-directory.ts';

export const READY_FD_FLAG = 'ready-fd';

/**
 * ms until a start is given up. Above what the slowest honest start takes: a name server that does not answer, then
 * `retries` attempts to connect.
 */
const START_LIMIT = 90_000;

export async function startInBackground(
  given: MountArguments,
  config: Config,
  note: (line: string) => void,
): Promise<void> {
  const logFile = logFileOf(config);
  const log = openLogFile(logFile);
  const withLog: Config = { ...config, values: { ...config.values, logfile: logFile } };
  const script = process.argv[1]!;
  const child = spawn(
    process.execPath,
    [...process.execArgv, script, `--${READY_FD_FLAG}=3`, ...daemonArguments(given, withLog)],
    { cwd: '/', detached: !(await isAwaited(config.mountPoint)), stdio: ['ignore', log, log, 'pipe'] },
  );
  closeSync(log);
  let failure = (): CliError => diedSilently(logFile);
  const give = (error: CliError): void => {
    failure = () => error;
    child.kill('SIGTERM');
  };
  child.once('error', error => {
    failure = () => new CliError(EXIT.bug, `the daemon could not be started: ${error.message}.`);
  });
  const interrupted = (): void => give(new CliError(EXIT.mount, 'interrupted before the mount answered.'));
  process.once('SIGINT', interrupted);
  const timer = setTimeout(() => {
    give(new CliError(EXIT.network, `the mount did not answer within ${START_LIMIT / 1000} s; see ${logFile}.`));
  }, START_LIMIT);
  try {
    await waitForDaemon(child.stdio[3] as Readable, note, () => failure());
    child.unref();
  } finally {
    clearTimeout(timer);
    process.removeListener('SIGINT', interrupted);
  }
}
