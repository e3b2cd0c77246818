/** `s3mount restore`: brings files back from their archive, or shows how it stands. */
import { type ArchiveState, archiveText } from '../fs/archives.ts';
import type { RestoreTier } from '../s3/store.ts';
import type { CommandArguments, CommandOutput } from './commands.ts';
import { askDaemon, NoAnswer } from './control-client.ts';
import { CliError, EXIT, usageError } from './exit-codes.ts';
import { placeInMount } from './run-places.ts';
import { noAnswer } from './status.ts';
import { shown } from './status-text.ts';

/** Days that a copy stays: a week's work; each day costs storage. */
const DEFAULT_DAYS = 7;

const TIERS: readonly RestoreTier[] = ['Standard', 'Bulk', 'Expedited'];

export async function restoreCommand(
  paths: readonly string[],
  flags: CommandArguments['flags'],
  output: CommandOutput,
): Promise<void> {
  const days = flags['show'] === true ? undefined : daysOf(flags['days']);
  const tier = tierOf(flags['tier']);
  const failed: string[] = [];
  for (const path of paths) {
    const place = await placeInMount(path);
    const request = { do: 'restore', path: place.path, tier, ...(days === undefined ? {} : { days }) } as const;
    try {
      const found = (await askDaemon(place.file.socket, request)) as ArchiveState;
      output.print(`${shown(path)}: ${stateText(found)}`);
    } catch (error) {
      if (error instanceof NoAnswer) throw noAnswer(place);
      if (!(error instanceof CliError)) throw error;
      failed.push(`${shown(path)}: ${error.message}`);
      output.say(`s3mount: ${shown(path)}: ${error.message}`);
    }
  }
  if (failed.length > 0)
    throw new CliError(EXIT.forbidden, `${failed.length} of ${paths.length} could not be restored.`);
}

function stateText(found: ArchiveState): string {
  switch (found.state) {
    case 'online':
      return 'not in an archive; it can be read.';
    case 'archived':
      return 'archived; s3mount restore FILE asks for a copy that can be read.';
    case 'restoring':
      return 'being restored; until that is done reading fails with EACCES.';
    case 'restored':
      return `${archiveText(found)}; it can be read.`;
  }
}

function daysOf(text: string | boolean | undefined): number {
  if (text === undefined) return DEFAULT_DAYS;
  const days = Number(/^(\d+)d?$/.exec(String(text))?.[1]);
  if (!(days >= 1)) throw usageError(`--days=${text}: write a number of days, such as --days=7.`);
  return days;
}

function tierOf(text: string | boolean | undefined): RestoreTier {
  if (text === undefined) return 'Standard';
  const tier = TIERS.find(each => each.toLowerCase() === String(text).toLowerCase());
  if (tier === undefined) throw usageError(`--tier=${text}: it is Standard, Bulk or Expedited.`);
  return tier;
}
