/**
 * A mount written as nearly all are: BUCKET MOUNTPOINT, -o lists, -f, -d, -s, and `--NAME=VALUE`. Read without the flag
 * parser, which takes 60 ms of CPU to load, in the command and once more in the daemon.
 */
import type { CommandLine } from './command-line.ts';
import { findCommand } from './commands.ts';
import { READY_FD_FLAG } from './daemon.ts';
import type { Invocation } from './invocation.ts';
import { OPTION_NAMES, OPTION_OF_WORD, type OptionName, specOf } from './option-table.ts';
import { splitOptionWords } from './option-words.ts';

const LETTERS: ReadonlyMap<string, OptionName> = new Map(
  OPTION_NAMES.flatMap(name => {
    const { letter } = specOf(name);
    return letter === undefined ? [] : [[letter, name] as const];
  }),
);

/** Undefined for all else, right or wrong: the flag parser is to say what it means. */
export function readPlainMount(
  args: readonly string[],
  { subcommands = true, pretend = false, sloppy = false }: Partial<Invocation> = {},
): CommandLine | undefined {
  if (subcommands && findCommand(args[0]) !== undefined) return undefined;
  const { words, rest } = splitOptionWords(args, name => OPTION_OF_WORD.has(name));
  const positional: string[] = [];
  const flags = new Set<OptionName>();
  let readyFd: number | undefined;
  for (const [place, word] of rest.entries()) {
    if (word === '--') {
      positional.push(...rest.slice(place + 1));
      break;
    }
    const ready = /^--(.+)=(\d+)$/.exec(word);
    if (ready?.[1] === READY_FD_FLAG && readyFd === undefined) readyFd = Number(ready[2]);
    else if (/^[^-]/.test(word)) positional.push(word);
    else {
      const names = /^-[a-z]+$/.test(word) ? [...word.slice(1)].map(letter => LETTERS.get(letter)) : [undefined];
      for (const name of names) {
        if (name === undefined) return undefined;
        flags.add(name);
      }
    }
  }
  if (positional.length === 0) return undefined;
  const given = OPTION_NAMES.filter(name => flags.has(name)).map(name => ({ name }));
  return {
    kind: 'mount',
    given: { positional, words: [...words, ...given], ...(sloppy ? { sloppy } : {}) },
    ...(pretend ? { pretend } : {}),
    ...(readyFd === undefined ? {} : { readyFd }),
  };
}
