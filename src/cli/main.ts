/** The command line: which command, with which words; and how an error becomes a line on stderr and an exit code. */
import { argumentParser } from './arguments.ts';
import { type Command, type CommandArguments, commandHelp, findCommand, readCommandArguments } from './commands.ts';
import { configDirectories } from './config-file.ts';
import { READY_FD_FLAG, startInBackground } from './daemon.ts';
import { errorLine, exitCodeOf } from './exit-codes.ts';
import { helpScreen } from './help.ts';
import { type Invocation, invocationOf } from './invocation.ts';
import { flagName, OPTION_NAMES, OPTION_OF_WORD, type OptionName, specOf } from './option-table.ts';
import { type OptionWord, splitOptionWords } from './option-words.ts';
import { type MountArguments, readConfig, unknownOption } from './options.ts';
import { terminalListener } from './ready-pipe.ts';
import { VERSION } from './version.ts';

export type CommandLine =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'command'; readonly command: Command; readonly given: CommandArguments }
  | { readonly kind: 'mount'; readonly given: MountArguments; readonly readyFd?: number; readonly pretend?: true };

const print = (line: string): void => void process.stdout.write(`${line}\n`);
const say = (line: string): void => void process.stderr.write(`${line}\n`);
const note = (message: string): void => say(`s3mount: ${message}`);

/** Runs one command line. The process's exit code is set; a daemon in the foreground ends the process itself. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    const invocation = invocationOf(process.argv[1] ?? 's3mount', args);
    await run(readCommandLine(invocation.args, invocation));
  } catch (error) {
    say(errorLine(error));
    process.exitCode = exitCodeOf(error);
  }
}

async function run(line: CommandLine): Promise<void> {
  switch (line.kind) {
    case 'text':
      print(line.text);
      return;
    case 'command':
      await line.command.run(line.given, { print, say, env: process.env });
      return;
    case 'mount':
      await mount(line.given, line.readyFd, line.pretend ?? false);
  }
}

async function mount(given: MountArguments, readyFd: number | undefined, pretend: boolean): Promise<void> {
  const config = readConfig(given, { env: process.env, cwd: process.cwd(), configDirectories: configDirectories() });
  const isDaemon = readyFd !== undefined;
  if (!isDaemon) for (const warning of config.warnings) note(warning);
  if (pretend) return;
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
export function readCommandLine(
  args: readonly string[],
  { subcommands = true, pretend = false, sloppy = false }: Partial<Invocation> = {},
): CommandLine {
  const command = subcommands ? findCommand(args[0]) : undefined;
  if (command !== undefined) {
    const given = readCommandArguments(command, args.slice(1));
    return given === undefined ? { kind: 'text', text: commandHelp(command) } : { kind: 'command', command, given };
  }
  const { words, rest } = splitOptionWords(args, name => OPTION_OF_WORD.has(name));
  const parsed = argumentParser(rest).options(flagDeclarations()).parseSync();
  for (const key of Object.keys(parsed)) {
    if (key === '_' || key === '$0' || KNOWN_FLAGS.has(key)) continue;
    throw unknownOption(key.length === 1 ? `-${key}` : `--${key}`);
  }
  const positional = parsed._.map(String);
  if (parsed['help'] || args.length === 0) return { kind: 'text', text: helpScreen() };
  if (parsed['version']) return { kind: 'text', text: `s3mount ${VERSION}` };
  const readyFd = parsed[READY_FD_FLAG];
  return {
    kind: 'mount',
    given: { positional, words: [...words, ...flagWords(parsed)], ...(sloppy ? { sloppy } : {}) },
    ...(pretend ? { pretend } : {}),
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
  READY_FD_FLAG,
]);

function takesValue(name: OptionName): boolean {
  return !specOf(name).kind.optional;
}

function flagDeclarations(): Record<string, { type: 'boolean' | 'string'; alias?: string[]; requiresArg?: boolean }> {
  const declarations: ReturnType<typeof flagDeclarations> = {
    help: { type: 'boolean', alias: ['h'] },
    version: { type: 'boolean', alias: ['V'] },
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
