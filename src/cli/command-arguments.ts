/** The words of a subcommand, read as its entry in the table of commands says. */
import { argumentParser } from './arguments.ts';
import { type Command, type CommandArguments, type FlagSpec, usageOf } from './commands.ts';
import { usageError } from './exit-codes.ts';
import { nearest } from './nearest.ts';
import { OPTION_OF_WORD, specOf } from './option-table.ts';
import { type OptionWord, splitOptionWords } from './option-words.ts';

/** The words after a command's name. `undefined`: its help was asked for. Throws a `CliError` for what makes no sense. */
export function readCommandArguments(command: Command, args: readonly string[]): CommandArguments | undefined {
  const specs = command.flags ?? {};
  const known = [...Object.keys(specs), 'help'];
  const letters = Object.values(specs).flatMap(({ letter }) => letter ?? []);
  const { words, rest } = command.mountOptions ? mountWords(args, specs) : { words: [], rest: args };
  const parsed = argumentParser(rest)
    .options({
      help: { type: 'boolean', alias: ['h'] },
      ...Object.fromEntries(
        Object.entries(specs).map(([name, { letter, value }]) => [
          name,
          {
            type: value === undefined ? ('boolean' as const) : ('string' as const),
            alias: letter === undefined ? [] : [letter],
            requiresArg: value !== undefined,
          },
        ]),
      ),
    })
    .parseSync();
  for (const key of Object.keys(parsed)) {
    if (key === '_' || key === '$0' || key === 'h' || known.includes(key) || letters.includes(key)) continue;
    const near = nearest(key, known);
    const spelling = key.length === 1 ? `-${key}` : `--${key}`;
    throw usageError(
      `unknown option ${spelling} of s3mount ${command.name}; ${near ? `did you mean --${near}?` : `write ${usageOf(command)}.`}`,
    );
  }
  if (parsed['help']) return undefined;
  const positional = parsed._.map(String);
  const [least, most] = command.words;
  if (positional.length < least || positional.length > most) {
    const wrong = positional.length < least ? 'needs more words' : `does not take '${positional[most]}'`;
    throw usageError(`s3mount ${command.name} ${wrong}; write ${usageOf(command)}.`);
  }
  return {
    positional,
    flags: Object.fromEntries(Object.keys(specs).map(name => [name, parsed[name] as string | boolean | undefined])),
    options: words,
  };
}

/** Takes the mount's options out: `-o a,b=c`, `--umask=0022`, `--allow-other`. The command's own flags go before. */
function mountWords(
  args: readonly string[],
  own: Readonly<Record<string, FlagSpec>>,
): { words: readonly OptionWord[]; rest: readonly string[] } {
  const isOption = (name: string): boolean => OPTION_OF_WORD.has(name) && !(name in own);
  const { words, rest } = splitOptionWords(args, isOption);
  const isBare = (arg: string): boolean => {
    const name = arg.replace(/^--/, '').replaceAll('-', '_');
    return arg.startsWith('--') && isOption(name) && specOf(OPTION_OF_WORD.get(name)!).kind.optional;
  };
  const bare = rest.filter(isBare).map(arg => ({ name: arg.slice(2).replaceAll('-', '_') }));
  return { words: [...words, ...bare], rest: rest.filter(arg => !isBare(arg)) };
}
