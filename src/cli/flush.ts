/** `s3mount flush`: saves what is unsaved of a mount, a directory or a file, waits for S3, and tells. */
import type { FlushOutcome } from '../fs/filesystem-status.ts';
import type { CommandOutput } from './commands.ts';
import { askDaemon, NoAnswer } from './control-client.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { ProgressLine } from './progress.ts';
import { bytesText, countOf } from './quantities.ts';
import { placeInMount, runningMounts } from './run-places.ts';
import { noAnswer } from './status.ts';
import { shown } from './status-text.ts';

/** Failures that are named. */
const NAMED = 5;

/** `path` undefined: all mounts of this user. */
export async function flushCommand(
  path: string | undefined,
  output: CommandOutput,
  line: ProgressLine = new ProgressLine(),
): Promise<void> {
  const places =
    path === undefined ? runningMounts().map(mount => ({ ...mount, path: '' })) : [await placeInMount(path)];
  if (places.length === 0)
    throw new CliError(EXIT.mountPoint, 'nothing is mounted by s3mount: there is nothing to save.');
  const failed: FlushOutcome['failed'][number][] = [];
  let silent: CliError | undefined;
  for (const place of places) {
    const { mountPoint } = place.record;
    let outcome: FlushOutcome;
    try {
      outcome = (await askDaemon(
        place.file.socket,
        { do: 'flush', path: place.path },
        { progress: left => line.show(leftText(mountPoint, left as { bytes: number; files: number })) },
      )) as FlushOutcome;
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      // The other mounts are saved all the same.
      silent ??= noAnswer(place);
      continue;
    } finally {
      line.end();
    }
    failed.push(...outcome.failed.map(one => ({ ...one, path: `${mountPoint}/${one.path}` })));
    const what = shown(path ?? mountPoint);
    output.print(
      outcome.saved === 0 && outcome.failed.length === 0
        ? `${what}: nothing was unsaved.`
        : `${what}: ${countOf(outcome.saved, 'file')} saved.`,
    );
  }
  if (failed.length > 0) throw notSaved(failed);
  if (silent) throw silent;
}

function notSaved(failed: FlushOutcome['failed']): CliError {
  const named = failed.slice(0, NAMED).map(({ path, reason }) => `${shown(path)} (${shown(reason)})`);
  const more = failed.length > NAMED ? ` and ${failed.length - NAMED} more` : '';
  return new CliError(EXIT.unsaved, `not saved: ${named.join('; ')}${more}; the bytes are kept, see s3mount why PATH.`);
}

/** `saving /mnt: 12 MiB in 3 files left`. */
export function leftText(what: string, { bytes, files }: { readonly bytes: number; readonly files: number }): string {
  return `saving ${shown(what)}: ${bytesText(bytes)} in ${countOf(files, 'file')} left`;
}
