/** yargs as a plain parser: it prints nothing, ends nothing, guesses no types, and fails as all of the command line does. */
import yargs from 'yargs';
import { usageError } from './exit-codes.ts';

export function argumentParser(args: readonly string[]): ReturnType<typeof yargs> {
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
