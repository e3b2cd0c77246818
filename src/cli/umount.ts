/** `s3mount umount`: asks the daemon to save and leave, waits until it has, and tells how that went. */
import { resolve } from 'node:path';
import type { Clock } from '../concurrency.ts';
import { detach, mountPointPath } from '../fuse/mount-state.ts';
import { findMount } from '../fuse/mount-table.ts';
import type { UnsavedAnswer } from './control-answers.ts';
import { askDaemon, NoAnswer } from './control-client.ts';
import { CliError, EXIT, type ExitCode } from './exit-codes.ts';
import { leftText } from './flush.ts';
import { findHolders, holdersText } from './holders.ts';
import { ProgressLine } from './progress.ts';
import { isRunning, type RunFile, type RunRecord } from './run-file.ts';
import { findRunFile } from './run-places.ts';

/** ms between two looks at whether the daemon has gone. */
const LOOK_EVERY = 50;
/** ms between two questions to the daemon how much is left. */
const ASK_EVERY = 500;
/** ms for its answer, while it saves. */
const SILENCE = 5_000;

export async function umountCommand(
  path: string,
  lazy: boolean,
  clock: Clock,
  line: ProgressLine = new ProgressLine(),
): Promise<void> {
  const mountPoint = await mountPointPath(resolve(path)).catch(() => resolve(path));
  const mounted = await findMount(mountPoint);
  if (!mounted?.type.startsWith('fuse')) {
    throw new CliError(EXIT.mountPoint, `nothing is mounted by s3mount at ${path}; mount(8) shows what is mounted.`);
  }
  const file = findRunFile(mountPoint);
  const record = file?.read();
  if (file === undefined || record === undefined || record.ended) {
    // Killed, or of an older version: nobody to ask, and nothing that asking would save.
    const { code, stderr } = await detach(mountPoint, { lazy });
    if (code !== 0) throw new CliError(EXIT.mountPoint, `${path} cannot be unmounted: ${stderr}.`);
    return;
  }
  if (!lazy) {
    const holders = await findHolders(mountPoint);
    if (holders.length > 0) {
      throw new CliError(
        EXIT.mountPoint,
        `${path} is busy: ${holdersText(holders)}; end that, or detach anyway: s3mount umount -l ${path}.`,
      );
    }
  }
  askToLeave(record, path);
  await untilGone(record, clock, () => showLeft(file, path, line));
  line.end();
  const end = file.read()?.ended;
  file.remove();
  if (end) throw new CliError(end.exitCode as ExitCode, end.message);
}

function askToLeave(record: RunRecord, path: string): void {
  try {
    process.kill(record.pid, 'SIGTERM');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return;
    throw new CliError(EXIT.mountPoint, `${path} was mounted by another user; try: sudo s3mount umount ${path}.`);
  }
}

async function untilGone(record: RunRecord, clock: Clock, tell: () => Promise<void>): Promise<void> {
  let askedAt = clock.monotonic();
  let telling: Promise<void> | undefined;
  while (isRunning(record)) {
    await new Promise<void>(done => void setTimeout(done, LOOK_EVERY));
    if (telling !== undefined || clock.monotonic() - askedAt < ASK_EVERY) continue;
    askedAt = clock.monotonic();
    telling = tell().finally(() => {
      telling = undefined;
    });
  }
}

/** How much the daemon still has to save; nothing where it no longer answers, for then it is about to end. */
async function showLeft(file: RunFile, path: string, line: ProgressLine): Promise<void> {
  try {
    const left = (await askDaemon(file.socket, { do: 'unsaved' }, { silence: SILENCE })) as UnsavedAnswer;
    if (left.files > 0) line.show(leftText(path, left));
  } catch (error) {
    if (!(error instanceof NoAnswer || error instanceof CliError)) throw error;
    line.show(`waiting for the daemon of ${path} to end`);
  }
}
