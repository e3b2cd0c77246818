/** What `--help` and `s3mount options` print, from the table. The first fits a screen of 80 columns and 45 lines. */
import { COMMANDS } from './commands.ts';
import { environmentName, OPTION_NAMES, type OptionName, SECTIONS, specOf } from './option-table.ts';

const WIDTH = 80;
const NAME_WIDTH = 24;

export function helpScreen(): string {
  return [
    'Usage: s3mount BUCKET[:/path] MOUNTPOINT [-f] [-o option,option=value]...',
    '       s3mount COMMAND [...]',
    '',
    'Mounts an S3 bucket as a directory; every file stays one plain object.',
    '  s3mount my-bucket ~/works -o allow_other,umask=0022',
    '  s3mount s3://my-bucket/some/prefix/ ~/works -o ro,profile=work',
    '',
    'Commands (s3mount COMMAND --help tells more):',
    ...COMMANDS.map(({ name, summary }) => `  ${name.padEnd(12)}${summary}`),
    '',
    'Options, after -o or as --flags (umask=0022 is --umask=0022):',
    ...OPTION_NAMES.filter(name => specOf(name).basic).flatMap(name => entry(name)),
    '',
    'Credentials and region are found as the AWS CLI finds them.',
  ].join('\n');
}

export function optionList(): string {
  const lines: string[] = ['Options, after -o or as --flags with hyphens; or the variable in the environment.'];
  for (const section of SECTIONS) {
    lines.push('', section);
    for (const name of OPTION_NAMES.filter(candidate => specOf(candidate).section === section)) {
      const { aliases = [] } = specOf(name);
      const also = aliases.length === 0 ? '' : `, also ${aliases.join(', ')}`;
      lines.push(...entry(name), `${' '.repeat(NAME_WIDTH + 2)}${environmentName(name)}${also}`);
    }
  }
  lines.push('', 'Words of mount(8), libfuse and s3fs are accepted too; those that do nothing here say so.');
  return lines.join('\n');
}

function entry(name: OptionName): string[] {
  const { kind, letter, help, noEffect } = specOf(name);
  const value = kind.placeholder === '' || kind.placeholder.length > 16 ? '' : `=${kind.placeholder}`;
  const left = `${letter ? `-${letter}, --` : ''}${name}${kind.optional && value ? `[${value}]` : value}`;
  const choices = kind.placeholder.length > 16 ? `: ${kind.placeholder.replaceAll('|', ', ')}` : '';
  const note = noEffect && !help.includes('accepted') ? ' (no effect yet)' : '';
  const texts = wrapped(`${help}${note}${choices}`, WIDTH - NAME_WIDTH - 2);
  const indent = ' '.repeat(NAME_WIDTH + 2);
  const first = `  ${left.padEnd(NAME_WIDTH)}`;
  if (left.length >= NAME_WIDTH) return [`  ${left}`, ...texts.map(line => indent + line)];
  return [first + texts[0]!, ...texts.slice(1).map(line => indent + line)];
}

function wrapped(sentence: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of sentence.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
