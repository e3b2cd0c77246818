/**
 * Options in a file: `~/.config/s3mount/NAME.toml` or `/etc/s3mount/NAME.toml` for what is mounted under NAME, or whichever `config=`
 * names. The words are those of the option table, with `bucket` and `mountpoint` beside them.
 *
 * No secrets stand in it: it is readable by all, and is copied into tickets. Nor may others write it: whoever can, chooses where
 * the keys are sent.
 */
import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join, parse as parsePath } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { CliError, EXIT, usageError } from './exit-codes.ts';
import { OPTION_OF_WORD, specOf } from './option-table.ts';
import type { OptionWord } from './option-words.ts';

export interface ConfigFile {
  readonly path: string;
  /** The file's name without `.toml`. */
  readonly name: string;
  readonly bucket: string | undefined;
  readonly mountPoint: string | undefined;
  readonly words: readonly OptionWord[];
}

/** Words that are, or hold, secrets in one program or another. */
const SECRET = /^(?:access_?key(?:_?id)?|secret(?:_?access)?(?:_?key)?|aws_.*|session_?token|pass(?:word|wd)|token)$/i;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export function configDirectories(home = homedir()): string[] {
  return [join(home, '.config/s3mount'), '/etc/s3mount'];
}

/** Undefined where there is none of that name. Throws a `CliError` for one that cannot be used. */
export function findConfigFile(name: string, directories: readonly string[]): ConfigFile | undefined {
  if (!NAME.test(name)) return undefined;
  for (const directory of directories) {
    const path = join(directory, `${name}.toml`);
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return readConfigFile(path);
  }
  return undefined;
}

/** Throws a `CliError`. */
export function readConfigFile(path: string): ConfigFile {
  const text = checkedText(path);
  let table: Record<string, unknown>;
  try {
    table = parse(text) as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    // Its message shows the line, and below it where: the first line is the sentence.
    const [sentence = ''] = error.message.replace('Invalid TOML document: ', '').split('\n');
    throw usageError(`${path}, line ${error.line}: ${sentence}.`);
  }
  const words: OptionWord[] = [];
  let bucket: string | undefined;
  let mountPoint: string | undefined;
  for (const [key, value] of Object.entries(table)) {
    const name = key.replaceAll('-', '_');
    if (SECRET.test(name)) {
      throw new CliError(
        EXIT.credentials,
        `${path} holds '${key}': secrets do not belong here; put keys into ~/.aws/credentials or a file that passwd_file= names.`,
      );
    }
    if (name === 'config') throw usageError(`${path}: a configuration file names no other.`);
    const option = OPTION_OF_WORD.get(name);
    if (typeof value === 'number' && option !== undefined && specOf(option).kind.placeholder === 'OCTAL') {
      // 0o022 and 18 are the same here, and whoever writes 22 means neither.
      throw usageError(`${path}: write ${key} as a text, such as ${key} = "0022".`);
    }
    const word = textOf(value);
    if (word === undefined) {
      throw usageError(`${path}: ${key} should be a string, a number, true or false.`);
    }
    if (name === 'bucket') bucket = word;
    else if (name === 'mountpoint' || name === 'mount_point') mountPoint = word.replace(/^~(?=\/|$)/, homedir());
    else words.push({ name, value: word });
  }
  return { path, name: parsePath(path).name, bucket, mountPoint, words };
}

function checkedText(path: string): string {
  try {
    const { mode, uid } = statSync(path);
    if (mode & 0o022) throw usageError(`${path} may be written by others than its owner; run: chmod go-w ${path}.`);
    if (uid !== 0 && uid !== process.getuid!()) {
      throw usageError(`${path} belongs to another user; it must be yours or root's.`);
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw usageError(`the configuration file ${path} cannot be read: ${(error as Error).message}.`);
  }
}

/** As it would be written after `-o NAME=`. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? '1' : '0';
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : undefined;
}
