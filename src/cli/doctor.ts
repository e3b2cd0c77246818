/** `s3mount doctor [BUCKET]`: looks at the machine and tries the bucket, and says of each finding what to do. */
import { Counters } from '../telemetry.ts';
import type { CommandOutput } from './commands.ts';
import { configDirectories } from './config-file.ts';
import { examineBucket } from './doctor-bucket.ts';
import { examineMachine, thisMachine } from './doctor-machine.ts';
import { CliError } from './exit-codes.ts';
import { explainFailure } from './failures.ts';
import { exitCodeOfFindings, type Finding, finding, findingLine } from './findings.ts';
import { networkOptions } from './network-options.ts';
import { openUnprobed } from './open-store.ts';
import type { OptionValues } from './option-table.ts';
import type { OptionWord } from './option-words.ts';
import { readConfig } from './options.ts';

/** Sets the process's exit code to that of the first finding that would keep a mount from working. */
export async function doctorCommand(
  positional: readonly string[],
  options: readonly OptionWord[],
  { print, env }: CommandOutput,
): Promise<void> {
  const findings: Finding[] = [];
  const tell = (found: Finding): void => {
    findings.push(found);
    print(findingLine(found));
  };
  // Without a bucket there is the machine to look at, by the same options.
  const places =
    positional.length === 0 ? ['no-bucket', '/'] : positional.length === 1 ? [positional[0]!, '/'] : positional;
  const config = readConfig(
    { positional: places, words: options },
    { env, cwd: process.cwd(), configDirectories: configDirectories() },
  );
  for (const warning of config.warnings)
    tell(finding.warn('options', warning.replace(/\.$/, ''), 'it can be left out'));
  for (const found of examineMachine(thisMachine, config.values)) tell(found);
  tell(modes(config.values));
  if (positional.length > 0) {
    try {
      for (const found of await proxies(config.values, env)) tell(found);
      const store = await openUnprobed(config, new Counters());
      try {
        const { ro = false, public_bucket: anonymous = false } = config.values;
        await examineBucket({ store, readOnly: ro, anonymous, tell });
      } finally {
        await store.close();
      }
    } catch (error) {
      const explained = explainFailure(error);
      if (!(explained instanceof CliError)) throw explained;
      tell(
        finding.fail('bucket', explained.message.replace(/\.$/, ''), 'nothing more could be tried', explained.exitCode),
      );
    }
  }
  process.exitCode = exitCodeOfFindings(findings);
}

/** By which proxies requests go: a forgotten variable is the commonest reason of a bucket that cannot be reached. */
async function proxies(values: OptionValues, env: CommandOutput['env']): Promise<Finding[]> {
  const { proxy } = await networkOptions(values, env, undefined);
  if (!proxy) return [];
  const shown = [...new Set([proxy.secure, proxy.plain])].flatMap(text => text?.replace(/\/\/[^@/]*@/, '//') ?? []);
  return [finding.ok('proxy', `${shown.join(', ')}${proxy.except ? `, but not for ${proxy.except}` : ''}`)];
}

const octal = (mode: number): string => `0${mode.toString(8).padStart(3, '0')}`;

/** What `ls -l` will show, and who can therefore read: the commonest surprise. */
export function modes(values: OptionValues, uid = process.getuid!()): Finding {
  const { umask, fmask = umask, dmask = umask, file_mode = 0o640, dir_mode = 0o750, allow_other: others } = values;
  const file = fmask === undefined ? file_mode : 0o777 & ~fmask;
  const directory = dmask === undefined ? dir_mode : 0o777 & ~dmask;
  const owner = values.uid ?? uid;
  const text = `${fmask === undefined ? 'objects without a mode show ' : 'files show '}${octal(file)}, directories ${octal(directory)}, owner ${owner}`;
  if (others && (file & 0o004) === 0) {
    return finding.warn('modes', `${text}; other users can look but not read`, 'add umask=0022');
  }
  return finding.ok(
    'modes',
    `${text}; ${others ? 'other users can read' : 'for this user and root only (no allow_other)'}`,
  );
}
