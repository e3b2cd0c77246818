/** `s3mount umount`: asks the daemon to save and leave, waits until it has, and tells how that went. */
import { readFileSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Clock } from '../concurrency.ts';
import { CliError, EXIT, type ExitCode } from './exit-codes.ts';
import { findHolders, holdersText } from './holders.ts';
import { type MountTableEntry, mountAt } from './mount-table.ts';
import { isRunning, RunFile, type RunRecord } from './run-file.ts';
import { defaultStateDirectory } from './state-directory.ts';
import { detachByCommand } from './unmount-command.ts';

/** ms between two looks at whether the daemon has gone. */
const LOOK_EVERY = 50;
/** ms for umount(8) itself, which only detaches. */
const DETACH_LIMIT = 10_000;

export async function umountCommand(
  path: string,
  lazy: boolean,
  clock: Clock,
  say: (line: string) => void,
): Promise<void> {
  const mountPoint = withoutLinks(resolve(path));
  const mounted = mountAt(mountPoint);
  if (!mounted?.type.startsWith('fuse')) {
    throw new CliError(EXIT.mountPoint, `${path} is no mount of s3mount; mount shows what is mounted.`);
  }
  const file = new RunFile(stateDirectoryOfOwner(mounted), mountPoint);
  const record = file.read();
  if (record === undefined || record.ended) {
    // Killed, or of an older version: nobody to ask, and nothing that asking would save.
    if (!(await detachByCommand(mountPoint, DETACH_LIMIT))) {
      throw new CliError(EXIT.mountPoint, `${path} cannot be unmounted; try: sudo umount -l ${path}.`);
    }
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
  await askToLeave(record, path);
  await untilGone(record, clock, say, path);
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

async function untilGone(record: RunRecord, clock: Clock, say: (line: string) => void, path: string): Promise<void> {
  const start = clock.monotonic();
  let told = false;
  while (isRunning(record)) {
    await new Promise<void>(done => setTimeout(done, LOOK_EVERY));
    if (told || clock.monotonic() - start < 2_000) continue;
    told = true;
    say(`s3mount: saving what is unsaved in ${path} ...`);
  }
}

/** The daemon of a user's mount keeps its file in that user's home, also when root unmounts it. */
function stateDirectoryOfOwner(mounted: MountTableEntry): string {
  const uid = mounted.uid ?? process.getuid!();
  if (uid === process.getuid!() || uid === 0) return defaultStateDirectory(uid);
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find(entry => entry.split(':')[2] === String(uid));
  return defaultStateDirectory(uid, line?.split(':')[5] ?? '/nonexistent');
}

/** Only the parents are resolved: looking at a dead mount itself fails. */
function withoutLinks(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path;
  }
}
