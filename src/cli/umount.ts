/** `s3mount umount`: asks the daemon to save and leave, waits until it has, and tells how that went. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Clock } from '../concurrency.ts';
import { detach, mountPointPath } from '../fuse/mount-state.ts';
import { findMount } from '../fuse/mount-table.ts';
import { CliError, EXIT, type ExitCode } from './exit-codes.ts';
import { findHolders, holdersText } from './holders.ts';
import { isRunning, RunFile, type RunRecord } from './run-file.ts';
import { defaultStateDirectory } from './state-directory.ts';

/** ms between two looks at whether the daemon has gone. */
const LOOK_EVERY = 50;
/** ms after which somebody who waits is told why. */
const TELL_AFTER = 2_000;

export async function umountCommand(
  path: string,
  lazy: boolean,
  clock: Clock,
  say: (line: string) => void,
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
  await untilGone(record, clock, () => say(`s3mount: saving what is unsaved in ${path} ...`));
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

async function untilGone(record: RunRecord, clock: Clock, tell: () => void): Promise<void> {
  const start = clock.monotonic();
  let told = false;
  while (isRunning(record)) {
    await new Promise<void>(done => void setTimeout(done, LOOK_EVERY));
    if (told || clock.monotonic() - start < TELL_AFTER) continue;
    told = true;
    tell();
  }
}

/** The daemon of a user's mount keeps its file in that user's home: root looks into all of them. */
function findRunFile(mountPoint: string): RunFile | undefined {
  const places = [defaultStateDirectory()];
  if (process.getuid!() === 0) {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [, , uid, , , home] = line.split(':');
      if (home && Number(uid) > 0) places.push(defaultStateDirectory(Number(uid), home));
    }
  }
  return places.map(place => new RunFile(place, mountPoint)).find(file => file.read() !== undefined);
}
