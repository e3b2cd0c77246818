/** A command line, read in full: subcommands, flags, help. It loads the flag parser; a plain mount does without (`plain-mount.ts`). */
import { argumentParser } from './arguments.ts';
import { readCommandArguments } from './command-arguments.ts';
import { type Command, type CommandArguments, commandHelp, findCommand } from './commands.ts';
import { READY_FD_FLAG } from './daemon.ts';
import { helpScreen } from './help.ts';
import type { Invocation } from './invocation.ts';
import { flagName, OPTION_NAMES, OPTION_OF_WORD, type OptionName, specOf } from './option-table.ts';
import { type OptionWord, splitOptionWords } from './option-words.ts';
import { type MountArguments, unknownOption } from './options.ts';
import { VERSION } from './version.ts';

export type CommandLine =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'command'; readonly command: Command; readonly given: CommandArguments }
  | { readonly kind: 'mount'; readonly given: MountArguments; readonly readyFd?: number; readonly pretend?: true };

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
