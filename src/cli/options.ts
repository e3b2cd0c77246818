/**
 * From a command line and an environment to a checked `Config`. Nothing else of s3mount reads either of them.
 *
 * Precedence: the command line, then S3MOUNT_ variables, then the configuration file, then what the table says. Of two spellings of one option on the
 * command line the later wins, as with mount(8).
 */
import { resolve } from 'node:path';
import { type BucketPlace, parseBucket } from './bucket.ts';
import { type ConfigFile, findConfigFile, readConfigFile } from './config-file.ts';
import { usageError } from './exit-codes.ts';
import { LEGACY_NAMES, legacyWord } from './legacy-options.ts';
import { nearest } from './nearest.ts';
import {
  environmentName,
  flagName,
  OPTION_NAMES,
  OPTION_OF_WORD,
  type OptionName,
  type OptionValues,
  specOf,
} from './option-table.ts';
import { type AccountLookup, accountLine, type ReadContext } from './option-values.ts';
import { formatOptionList, type OptionWord, toOptionWord } from './option-words.ts';

export interface Config extends BucketPlace {
  /** The bucket as it was written, for messages. */
  readonly source: string;
  /** Absolute. */
  readonly mountPoint: string;
  readonly values: OptionValues;
  /** AWS_CA_BUNDLE: certificates to trust instead of the system's, as for the AWS CLI. Absolute. */
  readonly caBundle?: string;
  /** NOTIFY_SOCKET: where the service manager that started us listens, sd_notify(3). */
  readonly serviceSocket?: string;
  /** JOURNAL_STREAM: which file the journal of systemd is, systemd.exec(5). */
  readonly journalStream?: string;
  /** Words for the kernel: noexec, nosuid … */
  readonly kernelOptions: readonly string[];
  /** Sentences for the person who mounts. */
  readonly warnings: readonly string[];
}

/** What the process was started with. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Default: as the machine knows them. */
  readonly account?: AccountLookup;
  /** Where NAME.toml is looked for; default: nowhere. */
  readonly configDirectories?: readonly string[];
}

export interface MountArguments {
  /** BUCKET and MOUNTPOINT, or MOUNTPOINT alone beside `-o bucket=`. */
  readonly positional: readonly string[];
  /** The words of `-o` and the `--flags` as words, in the order of the command line. */
  readonly words: readonly OptionWord[];
  /** What is unknown is told, not refused: `mount -s`. */
  readonly sloppy?: boolean;
}

/** Throws a `CliError` with exit code 1 for the first thing that is wrong. */
export function readConfig(given: MountArguments, surroundings: Surroundings): Config {
  const words = new WordReader(surroundings, given.sloppy ?? false);
  const file = configFileFor(given, surroundings);
  if (file) {
    for (const word of file.words) words.take(word, `${word.name} (in ${file.path})`);
    // The daemon reads the same one, whatever its bucket is called.
    words.take({ name: 'config', value: file.path }, 'config');
  }
  for (const name of OPTION_NAMES) {
    const value = surroundings.env[environmentName(name)];
    if (value !== undefined) words.take({ name, value }, environmentName(name));
  }
  words.warnUnknownEnvironment();
  let bucketWord: string | undefined;
  for (const word of given.words) {
    if (word.name === 'bucket') bucketWord = word.value ?? '';
    else words.take(word, word.name);
  }
  const [source, mountPoint] = file
    ? placesWithFile(given.positional, bucketWord, file)
    : bucketAndMountPoint(given.positional, bucketWord);
  checkTogether(words.values);
  return {
    ...parseBucket(source),
    source,
    mountPoint: resolve(surroundings.cwd, mountPoint),
    values: words.values,
    ...(surroundings.env['AWS_CA_BUNDLE']
      ? { caBundle: resolve(surroundings.cwd, surroundings.env['AWS_CA_BUNDLE']) }
      : {}),
    ...(surroundings.env['NOTIFY_SOCKET'] ? { serviceSocket: surroundings.env['NOTIFY_SOCKET'] } : {}),
    ...(surroundings.env['JOURNAL_STREAM'] ? { journalStream: surroundings.env['JOURNAL_STREAM'] } : {}),
    kernelOptions: [...words.kernelOptions],
    warnings: [...words.warnings],
  };
}

class WordReader {
  readonly values: Partial<Record<OptionName, unknown>> & OptionValues = {};
  readonly kernelOptions = new Set<string>();
  readonly warnings = new Set<string>();
  readonly #surroundings: Surroundings;
  readonly #sloppy: boolean;

  constructor(surroundings: Surroundings, sloppy: boolean) {
    this.#sloppy = sloppy;
    this.#surroundings = surroundings;
  }

  /** `spelling` is how the user wrote it, for messages. */
  take(word: OptionWord, spelling: string): void {
    const name = OPTION_OF_WORD.get(word.name);
    if (name === undefined) {
      this.#takeLegacy(word, spelling);
      return;
    }
    const context: ReadContext = {
      name: spelling,
      cwd: this.#surroundings.cwd,
      account: this.#surroundings.account ?? accountLine,
    };
    const spec = specOf(name);
    const values: Partial<Record<OptionName, unknown>> = this.values;
    values[name] = spec.kind.read(word.value, context);
    if (spec.noEffect) this.warnings.add(`${spelling} ${spec.noEffect}`);
  }

  #takeLegacy(word: OptionWord, spelling: string): void {
    // `rw` undoes an `ro` before it, as with mount(8).
    if (word.name === 'rw') {
      this.take({ name: 'ro', value: '0' }, 'ro');
      return;
    }
    const legacy = legacyWord(word.name);
    switch (legacy?.kind) {
      case 'kernel':
        this.kernelOptions.add(word.name);
        return;
      case 'silent':
        return;
      case 'means':
        if (word.value !== '0') this.take(toOptionWord(legacy.word), spelling);
        return;
      case 'warning':
        this.warnings.add(legacy.message);
        return;
      case 'refused':
        throw usageError(legacy.message);
      case undefined: {
        const unknown = unknownOption(spelling, word.name);
        if (!this.#sloppy) throw unknown;
        this.warnings.add(unknown.message);
      }
    }
  }

  warnUnknownEnvironment(): void {
    const known = new Set(OPTION_NAMES.map(environmentName));
    for (const variable of Object.keys(this.#surroundings.env)) {
      if (!variable.startsWith('S3MOUNT_') || known.has(variable)) continue;
      const near = nearest(variable, known);
      this.warnings.add(
        `${variable} is no variable of s3mount and is ignored${near ? `; did you mean ${near}?` : '.'}`,
      );
    }
  }
}

/** `spelling` as it was written, and where; `word` the name alone. */
export function unknownOption(spelling: string, word = spelling): Error {
  const asFlag = spelling.startsWith('-');
  const known = [...OPTION_OF_WORD.keys(), 'bucket'];
  const near = asFlag
    ? nearest(spelling.replace(/^-+/, ''), known.map(flagName))
    : nearest(word, [...known, ...LEGACY_NAMES]);
  const meant = near === undefined ? 's3mount options lists all.' : `did you mean ${asFlag ? '--' : ''}${near}?`;
  return usageError(`unknown option ${spelling}; ${meant}`);
}

/** The one that was named, or that has the name of what is to be mounted. */
function configFileFor(given: MountArguments, surroundings: Surroundings): ConfigFile | undefined {
  const { env, cwd, configDirectories = [] } = surroundings;
  const named = given.words.findLast(word => word.name === 'config')?.value ?? env['S3MOUNT_CONFIG'];
  if (named !== undefined && named !== '') {
    return readConfigFile(resolve(cwd, named.replace(/^~(?=\/|$)/, env['HOME'] ?? '~')));
  }
  const [first] = given.positional;
  return first === undefined ? undefined : findConfigFile(first, configDirectories);
}

/** `s3mount NAME`, `s3mount NAME DIR`, `s3mount BUCKET DIR`, `s3mount`: what the file says stands for what is missing. */
function placesWithFile(
  positional: readonly string[],
  bucketWord: string | undefined,
  file: ConfigFile,
): [string, string] {
  const [first, ...others] = positional;
  const byName = first !== undefined && first === file.name && bucketWord === undefined;
  const bucket = bucketWord ?? (byName ? (file.bucket ?? first) : undefined);
  if (bucket !== undefined) {
    const rest = byName ? others : positional;
    return bucketAndMountPoint(rest.length === 0 && file.mountPoint ? [file.mountPoint] : rest, bucket);
  }
  const places = [...positional];
  if (places.length < 2 && file.bucket !== undefined) places.unshift(file.bucket);
  if (places.length < 2 && file.mountPoint !== undefined) places.push(file.mountPoint);
  return bucketAndMountPoint(places, undefined);
}

function bucketAndMountPoint(positional: readonly string[], bucketWord: string | undefined): [string, string] {
  const places = bucketWord === undefined ? positional : [bucketWord, ...positional];
  if (places.length > 2) {
    throw usageError(
      `there are too many arguments: after the bucket '${places[0]}' and the mount point '${places[1]}' comes '${places[2]}'.`,
    );
  }
  const [bucket, mountPoint] = places;
  if (!bucket) throw usageError('which bucket? Write s3mount BUCKET MOUNTPOINT, such as s3mount my-bucket ~/works.');
  if (!mountPoint) throw usageError(`where to mount '${bucket}'? Write s3mount ${bucket} MOUNTPOINT, such as ~/works.`);
  return [bucket, mountPoint];
}

/** Each names the keys that are meant: two of them would leave open which. */
const NAMING_KEYS = ['public_bucket', 'passwd_file', 'profile', 'iam_role', 'ecs'] as const;

function checkTogether(values: OptionValues): void {
  const naming = NAMING_KEYS.filter(name => values[name] !== undefined && values[name] !== false);
  if (naming[0] === 'public_bucket' && naming.length > 1) {
    throw usageError(
      `public_bucket sends no credentials: leave out ${naming.slice(1).join(' and ')}, or public_bucket.`,
    );
  }
  if (naming.length > 1) throw usageError(`${naming.join(' and ')} all name credentials: give one of them.`);
  if (values.use_sse !== undefined && !/^(0|1|(kmsid|k|custom|c)(:.+)?)$/.test(values.use_sse)) {
    throw usageError(
      `use_sse=${values.use_sse} is not known; write use_sse, use_sse=kmsid, use_sse=kmsid:ID or use_sse=custom:FILE.`,
    );
  }
}

/**
 * The arguments with which the daemon is started for a `Config`: every path absolute, since its working directory is `/`.
 * Other values that came by the environment it has from there.
 */
export function daemonArguments(given: MountArguments, config: Config): string[] {
  // `use_sse=custom:FILE` names a file too.
  const isPath = (name: OptionName): boolean => specOf(name).kind.placeholder === 'PATH' || name === 'use_sse';
  const words = given.words.filter(word => {
    const name = OPTION_OF_WORD.get(word.name);
    if (given.sloppy && name === undefined && legacyWord(word.name) === undefined) return false;
    return word.name !== 'bucket' && (name === undefined || !isPath(name));
  });
  for (const name of OPTION_NAMES.filter(isPath)) {
    const value = config.values[name];
    if (typeof value === 'string') words.push({ name, value });
  }
  const list = formatOptionList(words);
  // `--` last: a bucket or a directory may begin with a hyphen.
  return [...(list === '' ? [] : ['-o', list]), '--', config.source, config.mountPoint];
}
