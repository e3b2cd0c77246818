/**
 * Takes `-o` in all its spellings out of a command line, before the flag parser sees it.
 *
 * mount(8), libfuse and s3fs write `-o a,b=c`, `-oumask=0022`, `-fo ro`; a flag parser reads the second as the letters
 * o, u, m, a, s, k. A comma inside a value is written `\,`, a backslash `\\`, any byte `\ooo`, as libfuse does.
 */
import { usageError } from './exit-codes.ts';

/** One word of a mount option list, unescaped: `name` or `name=value`. */
export interface OptionWord {
  readonly name: string;
  /** Absent: the word had no `=`. */
  readonly value?: string;
}

export interface SplitArguments {
  readonly words: readonly OptionWord[];
  /** Everything else, in its order. */
  readonly rest: readonly string[];
}

/** `--umask=0022`: taken here too, because a flag parser reads `--allow-other=1` in its own way. */
const LONG_WITH_VALUE = /^--([^=]+)=(.*)$/s;

/** Short flags without a value, which may stand in one cluster with `o`: `-fo ro`. */
const CLUSTER = /^-([dfsh]*)o(.*)$/s;

/** `isOption` tells whether `--NAME=VALUE` is a word of the table, written with underscores. */
export function splitOptionWords(args: readonly string[], isOption: (name: string) => boolean): SplitArguments {
  const words: OptionWord[] = [];
  const rest: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const argument = args[index]!;
    if (argument === '--') {
      rest.push(...args.slice(index));
      break;
    }
    const long = LONG_WITH_VALUE.exec(argument);
    const name = long?.[1]?.replaceAll('-', '_');
    if (name !== undefined && isOption(name)) {
      words.push({ name, value: long![2]! });
      continue;
    }
    const cluster = CLUSTER.exec(argument);
    if (!cluster) {
      rest.push(argument);
      continue;
    }
    if (cluster[1]) rest.push(`-${cluster[1]}`);
    let list = cluster[2]!;
    if (list === '') {
      const next = args[++index];
      if (next === undefined)
        throw usageError('-o needs a list of options after it, such as -o allow_other,umask=0022.');
      list = next;
    } else if (list.startsWith('=')) {
      list = list.slice(1);
    }
    words.push(...parseOptionList(list));
  }
  return { words, rest };
}

/** The words of `a,b=c\,d`. Empty words (`a,,b`) are nothing. */
export function parseOptionList(list: string): OptionWord[] {
  const words: OptionWord[] = [];
  let word = '';
  const finish = (): void => {
    if (word !== '') words.push(toOptionWord(word));
    word = '';
  };
  for (let index = 0; index < list.length; index++) {
    const letter = list[index]!;
    if (letter === ',') {
      finish();
    } else if (letter === '\\' && index + 1 < list.length) {
      const octal = /^[0-3][0-7]{2}/.exec(list.slice(index + 1, index + 4))?.[0];
      word += octal ? String.fromCharCode(Number.parseInt(octal, 8)) : list[index + 1]!;
      index += octal ? 3 : 1;
    } else {
      word += letter;
    }
  }
  finish();
  return words;
}

export function toOptionWord(word: string): OptionWord {
  const equals = word.indexOf('=');
  return equals < 0 ? { name: word } : { name: word.slice(0, equals), value: word.slice(equals + 1) };
}

/** The opposite of `parseOptionList`. */
export function formatOptionList(words: readonly OptionWord[]): string {
  const escaped = (text: string): string => text.replace(/[\\,]/g, letter => `\\${letter}`);
  return words.map(({ name, value }) => escaped(value === undefined ? name : `${name}=${value}`)).join(',');
}
