/** yargs as a plain parser: it prints nothing, ends nothing, guesses no types, and fails as all of the command line does. */
import yargs from 'yargs';
import { usageError } from './exit-codes.ts';
import { unknownOption } from './options.ts';

/**
 * `--_` or a `_` among letters: yargs would put its value where it keeps what is no flag, and fall over it or take it for a
 * bucket.
 */
const OVERWRITES_THE_REST = /^(?:--_(?==|$)|-\w*_)/;

export function argumentParser(args: readonly string[]): ReturnType<typeof yargs> {
  const end = args.indexOf('--');
  const flag = (end < 0 ? args : args.slice(0, end)).find(each => OVERWRITES_THE_REST.test(each));
  if (flag !== undefined) throw unknownOption(flag.startsWith('--') ? '--_' : '-_');
  return yargs([...args])
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
    });
}
