/** The command line: which command, with which words; and how an error becomes a line on stderr and an exit code. */
import yargs from 'yargs';
import { systemClock } from '../concurrency.ts';
import { READY_FD_FLAG, startInBackground } from './daemon.ts';
import { errorLine, exitCodeOf, usageError } from './exit-codes.ts';
import { helpScreen, optionList } from './help.ts';
import { flagName, OPTION_NAMES, OPTION_OF_WORD, type OptionName, specOf } from './option-table.ts';
import { type OptionWord, splitOptionWords } from './option-words.ts';
import { type MountArguments, readConfig, unknownOption } from './options.ts';
import { terminalListener } from './ready-pipe.ts';
import { umountCommand } from './umount.ts';

declare const S3MOUNT_VERSION: string;

/** Set by the bundler from package.json. */
export const VERSION: string = typeof S3MOUNT_VERSION === 'string' ? S3MOUNT_VERSION : 'development';

type Command =
  | { readonly kind: 'help' | 'version' | 'options' }
  | { readonly kind: 'umount'; readonly mountPoint: string; readonly lazy: boolean }
  | { readonly kind: 'mount'; readonly given: MountArguments; readonly readyFd?: number };

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const note = (message: string): void => say(`s3mount: ${message}`);

/** Runs one command line. The process's exit code is set; a daemon in the foreground ends the process itself. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    await run(readCommand(args));
  } catch (error) {
    say(errorLine(error));
    process.exitCode = exitCodeOf(error);
  }
}

async function run(command: Command): Promise<void> {
  switch (command.kind) {
    case 'help':
      process.stdout.write(`${helpScreen()}\n`);
      return;
    case 'options':
      process.stdout.write(`${optionList()}\n`);
      return;
    case 'version':
      process.stdout.write(`s3mount ${VERSION}\n`);
      return;
    case 'umount':
      await umountCommand(command.mountPoint, command.lazy, systemClock, say);
      return;
    case 'mount':
      await mount(command.given, command.readyFd);
  }
}

async function mount(given: MountArguments, readyFd: number | undefined): Promise<void> {
  const config = readConfig(given, { env: process.env, cwd: process.cwd() });
  const isDaemon = readyFd !== undefined;
  if (!isDaemon) for (const warning of config.warnings) note(warning);
  if (isDaemon || config.values.foreground) {
    const [{ runDaemon }, { pipeToParent }] = await Promise.all([import('./run-daemon.ts'), import('./ready-pipe.ts')]);
    await runDaemon(config, isDaemon ? pipeToParent(readyFd) : terminalListener(say), isDaemon);
    return;
  }
  await startInBackground(given, config, note);
  if (standsIn(config.mountPoint)) {
    note(`this shell still stands beneath the mount; 'cd .' brings it in.`);
  }
}

function standsIn(mountPoint: string): boolean {
  const cwd = process.cwd();
  return cwd === mountPoint || cwd.startsWith(`${mountPoint}/`);
}

/** Throws a `CliError` for what makes no sense. */
export function readCommand(args: readonly string[]): Command {
  const { words, rest } = splitOptionWords(args, name => OPTION_OF_WORD.has(name));
  const parsed = yargs([...rest])
    .help(false)
    .version(false)
    .exitProcess(false)
    .fail(message => {
      throw usageError(`${message.replace(/\.?$/, '.')} s3mount --help shows how it is used.`);
    })
    .parserConfiguration({
      'camel-case-expansion': false,
      'dot-notation': false,
      'boolean-negation': false,
      'duplicate-arguments-array': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
    })
    .options(flagDeclarations())
    .parseSync();
  for (const key of Object.keys(parsed)) {
    if (key === '_' || key === '$0' || KNOWN_FLAGS.has(key)) continue;
    throw unknownOption(key.length === 1 ? `-${key}` : `--${key}`);
  }
  const positional = parsed._.map(String);
  if (parsed['help']) return { kind: 'help' };
  if (parsed['version']) return { kind: 'version' };
  const [first, ...others] = positional;
  const readyFd = parsed[READY_FD_FLAG];
  if (readyFd === undefined && first === 'options' && others.length === 0) return { kind: 'options' };
  if (readyFd === undefined && (first === 'umount' || first === 'unmount')) {
    if (others.length !== 1) throw usageError('unmount what? Write s3mount umount [-l] MOUNTPOINT.');
    return { kind: 'umount', mountPoint: others[0]!, lazy: parsed['lazy'] === true };
  }
  if (parsed['lazy']) throw unknownOption('-l');
  if (first === undefined && words.length === 0 && args.length === 0) return { kind: 'help' };
  return {
    kind: 'mount',
    given: { positional, words: [...words, ...flagWords(parsed)] },
    ...(readyFd === undefined ? {} : { readyFd: Number(readyFd) }),
  };
}

const LETTERS: readonly string[] = OPTION_NAMES.flatMap(name => specOf(name).letter ?? []);

const KNOWN_FLAGS: ReadonlySet<string> = new Set([
  ...[...OPTION_OF_WORD.keys()].map(flagName),
  ...LETTERS,
  'help',
  'h',
  'version',
  'V',
  'lazy',
  'l',
  READY_FD_FLAG,
]);

function takesValue(name: OptionName): boolean {
  return !specOf(name).kind.optional;
}

function flagDeclarations(): Record<string, { type: 'boolean' | 'string'; alias?: string[]; requiresArg?: boolean }> {
  const declarations: ReturnType<typeof flagDeclarations> = {
    help: { type: 'boolean', alias: ['h'] },
    version: { type: 'boolean', alias: ['V'] },
    lazy: { type: 'boolean', alias: ['l'] },
    [READY_FD_FLAG]: { type: 'string', requiresArg: true },
  };
  for (const name of OPTION_NAMES) {
    const { aliases = [], letter } = specOf(name);
    const value = takesValue(name);
    declarations[flagName(name)] = {
      type: value ? 'string' : 'boolean',
      alias: [...aliases.map(flagName), ...(letter ? [letter] : [])],
      ...(value ? { requiresArg: true } : {}),
    };
  }
  return declarations;
}

/** The flags that were given, as words of `-o`: from there on there is one kind of option. */
function flagWords(parsed: Readonly<Record<string, unknown>>): OptionWord[] {
  const words: OptionWord[] = [];
  for (const name of OPTION_NAMES) {
    const value = parsed[flagName(name)];
    if (typeof value === 'string') words.push({ name, value });
    else if (value === true) words.push({ name });
  }
  return words;
}
