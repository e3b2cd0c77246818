/** `s3mount why PATH`: the last failures of a path; and where there were none, what else stands in the way. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import type { CommandOutput } from './commands.ts';
import type { WhyAnswer } from './control-answers.ts';
import { askDaemon, NoAnswer } from './control-client.ts';
import { placeInMount } from './run-places.ts';
import { noAnswer } from './status.ts';
import { shown } from './status-text.ts';
import { whyText } from './why-text.ts';

/** ms, as for `status`. */
const SILENCE = 5_000;

export async function whyCommand(path: string, output: CommandOutput): Promise<void> {
  const place = await placeInMount(path);
  let answer: WhyAnswer;
  try {
    answer = (await askDaemon(place.file.socket, { do: 'why', path: place.path }, { silence: SILENCE })) as WhyAnswer;
  } catch (error) {
    throw error instanceof NoAnswer ? noAnswer(place) : error;
  }
  output.print(whyText(path, answer));
  if (answer.failures.length === 0 && answer.attempts.length === 0)
    for (const line of await otherReasons(path, answer)) output.print(`  ${line}`);
}

/** What the kernel decides by itself never comes to the daemon: modes and owners, and what a program may not see at all. */
async function otherReasons(path: string, { readOnly }: WhyAnswer): Promise<string[]> {
  const reasons = readOnly ? ['The mount is read only: every change is refused with EROFS.'] : [];
  try {
    const { mode, uid, gid } = await stat(path);
    const permissions = (mode & 0o7777).toString(8).padStart(4, '0');
    const able = await Promise.all(
      (
        [
          ['read', constants.R_OK],
          ['write', constants.W_OK],
        ] as const
      ).map(async ([word, bit]) => {
        const may = await access(path, bit).then(
          () => true,
          () => false,
        );
        return `${may ? 'may' : 'may not'} ${word} it`;
      }),
    );
    reasons.push(
      `Its mode is ${permissions}, its owner ${uid}:${gid}; you (${process.getuid!()}) ${able.join(' and ')}. The kernel decides by that alone, and S3 is not asked.`,
    );
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') reasons.push('There is no such file: S3 has no object and no prefix of that name.');
    else if (code === 'EACCES')
      reasons.push(
        'You may not look at it: a directory above it is closed to you by its mode, or the mount has no allow_other.',
      );
    else reasons.push(`Looking at it fails: ${shown(message)}.`);
  }
  return reasons;
}
