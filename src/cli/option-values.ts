/**
 * Readers of one option's value: text in, a checked value out, or a sentence that says what would be right.
 * A reader knows nothing of the option but its name, which stands in the message.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { usageError } from './exit-codes.ts';

export interface ReadContext {
  /** The option's name, for messages. */
  readonly name: string;
  /** Relative paths are meant from here. */
  readonly cwd: string;
  /** The line of `name` in a database of accounts, as /etc/passwd and /etc/group have them; undefined where there is none. */
  readonly account: AccountLookup;
}

/** `text` is undefined for a word without `=`. */
export interface ValueKind<T> {
  read(text: string | undefined, context: ReadContext): T;
  /** What stands for the value in help, such as `OCTAL`; empty where none is needed. */
  readonly placeholder: string;
  /** The value may be left out. */
  readonly optional: boolean;
}

export type AccountLookup = (database: 'passwd' | 'group', name: string) => string | undefined;

/** Looks into the files first: getent, which asks LDAP and the like too, takes a process. */
export const accountLine: AccountLookup = (database, name) => {
  const inFile = textOf(`/etc/${database}`)
    .split('\n')
    .find(line => line.startsWith(`${name}:`));
  if (inFile !== undefined) return inFile;
  const { status, stdout } = spawnSync('getent', [database, '--', name], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
};

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function required(text: string | undefined, context: ReadContext, example: string): string {
  if (text === undefined || text === '')
    throw usageError(`${context.name} needs a value, such as ${context.name}=${example}.`);
  return text;
}

const YES = new Set(['1', 'true', 'yes', 'on', '']);
const NO = new Set(['0', 'false', 'no', 'off']);

export const flag: ValueKind<boolean> = {
  placeholder: '',
  optional: true,
  read(text, { name }) {
    if (text === undefined || YES.has(text.toLowerCase())) return true;
    if (NO.has(text.toLowerCase())) return false;
    throw usageError(`${name}=${text}: ${name} is on or off; write ${name}, ${name}=1 or ${name}=0.`);
  },
};

/** Permission bits, 0 to 0777 (`most` for more), in octal as umask(1) has them. */
export function octal(most = 0o777): ValueKind<number> {
  return {
    placeholder: 'OCTAL',
    optional: false,
    read(text, context) {
      const digits = required(text, context, '0022');
      const value = /^0?o?[0-7]+$/.test(digits) ? Number.parseInt(digits.replace('o', ''), 8) : Number.NaN;
      if (!(value <= most)) {
        throw usageError(
          `${context.name}=${digits} is no octal number from 0 to 0${most.toString(8)}; a usual one is ${context.name}=0022.`,
        );
      }
      return value;
    },
  };
}

export function integer(least: number, most: number, example: number): ValueKind<number> {
  return {
    placeholder: 'N',
    optional: false,
    read(text, context) {
      const digits = required(text, context, String(example));
      const value = /^-?[0-9]+$/.test(digits) ? Number(digits) : Number.NaN;
      if (!(value >= least && value <= most)) {
        throw usageError(`${context.name}=${digits} is no whole number from ${least} to ${most}, such as ${example}.`);
      }
      return value;
    },
  };
}

/** Seconds in, ms out; decimals are allowed, for tests and short limits. */
export function seconds(least: number, most: number, example: number): ValueKind<number> {
  return {
    placeholder: 'SECONDS',
    optional: false,
    read(text, context) {
      const digits = required(text, context, String(example));
      const value = /^[0-9]+(\.[0-9]+)?s?$/.test(digits) ? Number.parseFloat(digits) : Number.NaN;
      if (!(value >= least && value <= most)) {
        throw usageError(
          `${context.name}=${digits} is no number of seconds from ${least} to ${most}, such as ${example}.`,
        );
      }
      return value * 1000;
    },
  };
}

const UNITS: Readonly<Record<string, number>> = { '': 0, K: 1, M: 2, G: 3, T: 4, P: 5 };

/**
 * A size in bytes. `10` counts in `bareUnit` bytes (s3fs counts some options in MB); `10K` and `10KiB` are 10 × 1024,
 * `10KB` is 10 × 1000.
 */
export function bytes(bareUnit: number, least: number, most: number, example: string): ValueKind<number> {
  return {
    placeholder: 'SIZE',
    optional: false,
    read(text, context) {
      const given = required(text, context, example);
      const parts = /^([0-9]+(?:\.[0-9]+)?)([KMGTP]?)(iB|B|)$/i.exec(given);
      let value = Number.NaN;
      if (parts) {
        const unit = parts[2]!.toUpperCase();
        const base = parts[3]!.toLowerCase() === 'b' && unit !== '' ? 1000 : 1024;
        const factor = unit === '' && parts[3] === '' ? bareUnit : base ** UNITS[unit]!;
        value = Math.floor(Number(parts[1]) * factor);
      }
      if (!(value >= least && value <= most)) {
        throw usageError(
          `${context.name}=${given} is no size from ${sizeText(least)} to ${sizeText(most)}, such as ${context.name}=${example}.`,
        );
      }
      return value;
    },
  };
}

function sizeText(value: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit++;
  }
  return `${Number(rest.toFixed(1))} ${units[unit]}`;
}

export function choice<const T extends string>(...values: T[]): ValueKind<T> {
  return words(Object.fromEntries(values.map(value => [value, value])) as Record<string, T>);
}

/** Several words for one thing: `word → value`. The help shows the values. */
export function words<const T extends string>(meaning: Readonly<Record<string, T>>): ValueKind<T> {
  const values = [...new Set(Object.values(meaning))];
  return {
    placeholder: values.join('|'),
    optional: false,
    read(text, context) {
      const word = required(text, context, values[0]!).toLowerCase();
      if (Object.hasOwn(meaning, word)) return meaning[word]!;
      throw usageError(`${context.name}=${text} is not known; it is one of ${values.join(', ')}.`);
    },
  };
}

export function text(placeholder: string, pattern?: RegExp, whatItIs?: string): ValueKind<string> {
  return {
    placeholder,
    optional: false,
    read(given, context) {
      const value = required(given, context, placeholder);
      if (pattern && !pattern.test(value)) throw usageError(`${context.name}=${value} is not ${whatItIs}.`);
      return value;
    },
  };
}

/** A text whose value may be left out: then it is `absent`. */
export function optionalText(placeholder: string, absent: string): ValueKind<string> {
  return { placeholder, optional: true, read: given => given ?? absent };
}

/** Made absolute at once: the daemon's working directory is `/`. `~/` is the home directory, as a shell has it. */
export function path(home: () => string): ValueKind<string> {
  return {
    placeholder: 'PATH',
    optional: false,
    read(given, context) {
      const value = required(given, context, '/some/where');
      return resolve(context.cwd, value.replace(/^~(?=\/|$)/, home));
    },
  };
}

/** `use_sse`: its file is made absolute as every path. */
export const sseKind: ValueKind<string> = {
  placeholder: '1|kmsid[:ID]|custom[:FILE]',
  optional: true,
  read(given, context) {
    const file = /^((?:custom|c):)(.+)$/.exec(given ?? '');
    return file ? file[1]! + resolve(context.cwd, file[2]!.replace(/^~(?=\/|$)/, homedir)) : (given ?? '1');
  },
};

/** An address of an S3 service: scheme and host, without path, query or user. The trailing `/` is cut. */
export const url: ValueKind<string> = {
  placeholder: 'URL',
  optional: false,
  read(given, context) {
    const value = required(given, context, 'https://s3.example.com');
    let address: URL;
    try {
      address = new URL(value);
    } catch {
      throw usageError(
        `${context.name}=${value} is no address; write it as https://s3.example.com or http://localhost:9000.`,
      );
    }
    if (address.username !== '' || address.password !== '') {
      throw usageError(
        `${context.name} must not hold a user or a password; credentials come from files or the environment.`,
      );
    }
    if (address.protocol !== 'https:' && address.protocol !== 'http:') {
      throw usageError(`${context.name}=${value} must start with https:// or http://, such as https://s3.example.com.`);
    }
    return address.href.replace(/\/+$/, '');
  },
};

/** `[scheme://]HOST[:PORT]`: no user or password, which everybody on the machine would see. */
export const proxyAddress: ValueKind<string> = {
  placeholder: 'URL',
  optional: false,
  read(given, context) {
    const value = required(given, context, 'http://proxy.example.com:3128');
    if (value.includes('@')) {
      throw usageError(`${context.name} must not hold a user or a password: put them into proxy_cred_file=.`);
    }
    if (/^(?!https?:)[a-z][a-z0-9+.-]*:\/\//i.test(value)) {
      throw usageError(`${context.name}=${value}: only HTTP proxies are known; write http://HOST:PORT.`);
    }
    return value;
  },
};

/** A number, or a name (field 2 of its line is the uid, or the gid). */
function owner(database: 'passwd' | 'group', what: string): ValueKind<number> {
  return {
    placeholder: `${what.toUpperCase()}`,
    optional: false,
    read(given, context) {
      const value = required(given, context, '1000');
      if (/^[0-9]+$/.test(value) && Number(value) < 0xffff_ffff) return Number(value);
      const id = context.account(database, value)?.split(':')[2] ?? '';
      if (/^[0-9]+$/.test(id)) return Number(id);
      throw usageError(`${context.name}=${value}: there is no ${what} '${value}' on this machine; a number works too.`);
    },
  };
}

export const user = owner('passwd', 'user');
export const group = owner('group', 'group');
