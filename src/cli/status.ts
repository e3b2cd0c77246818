/** `s3mount status`: asks the daemons of one mount or of all. */

import type { CommandOutput } from './commands.ts';
import { askDaemon, NoAnswer } from './control-client.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { jsonLine } from './json-line.ts';
import type { MountReport } from './mount-report.ts';
import { placeInMount, type RunningMount, runningMounts } from './run-places.ts';
import { shown, statusText } from './status-text.ts';
import { VERSION } from './version.ts';

/** ms: a daemon answers in one turn of its loop; under full load a turn takes some tens. */
const SILENCE = 5_000;
/** ms between two looks of the live view. */
const WATCH_EVERY = 2_000;
/** Puts the cursor in the corner, and clears what is below it. */
const TO_TOP = '\u001b[H\u001b[J';

export interface StatusOptions {
  readonly json: boolean;
  readonly watch: boolean;
}

export async function statusCommand(
  path: string | undefined,
  options: StatusOptions,
  output: CommandOutput,
  pause: (ms: number) => Promise<void> = ms => new Promise(resolve => void setTimeout(resolve, ms)),
): Promise<void> {
  let before = new Map<string, { readonly report: MountReport; readonly at: number }>();
  for (;;) {
    const mounts = path === undefined ? runningMounts() : [await placeInMount(path)];
    const reports = await Promise.all(mounts.map(reportOf));
    const at = performance.now();
    if (options.watch && process.stdout.isTTY && !options.json) process.stdout.write(TO_TOP);
    if (options.json) {
      const known = reports.filter(report => !(report instanceof Error));
      output.print(jsonLine(path === undefined ? known : known[0]));
    } else {
      const texts = reports.map((report, i) => {
        if (report instanceof Error) return silentText(mounts[i]!);
        const then = before.get(report.mountPoint);
        const rates = then && { seconds: (at - then.at) / 1000, before: then.report };
        return statusText(report, VERSION, rates);
      });
      output.print(texts.length === 0 ? noneText() : texts.join('\n\n'));
    }
    const silent = mounts.filter((_, i) => reports[i] instanceof Error);
    if (!options.watch) {
      if (silent.length > 0) throw noAnswer(silent[0]!);
      return;
    }
    before = new Map(reports.flatMap(report => (report instanceof Error ? [] : [[report.mountPoint, { report, at }]])));
    await pause(WATCH_EVERY);
  }
}

async function reportOf({ file }: RunningMount): Promise<MountReport | NoAnswer> {
  try {
    return (await askDaemon(file.socket, { do: 'status' }, { silence: SILENCE })) as MountReport;
  } catch (error) {
    if (error instanceof NoAnswer) return error;
    throw error;
  }
}

function noneText(): string {
  const whose = process.getuid!() === 0 ? '' : ' by you';
  return `Nothing is mounted by s3mount${whose}.`;
}

function silentText({ record }: RunningMount): string {
  return `${shown(record.mountPoint)}: its daemon (pid ${record.pid}) does not answer.`;
}

/** It runs, but says nothing: of an older version, or stuck. */
export function noAnswer({ record }: RunningMount): CliError {
  return new CliError(
    EXIT.mount,
    `the daemon of ${record.mountPoint} (pid ${record.pid}) does not answer; it may be of an older version, or be stuck: its log may say more.`,
  );
}
