/**
 * Command lines and fstab lines of s3fs, goofys and mountpoint-s3 (`mount-s3`), in our words. Read off the manuals of s3fs 1.97,
 * goofys 0.24 and mountpoint-s3 1.2x.
 *
 * What has no counterpart is said, not dropped in silence; what the others do by default and we do not is added.
 */
import { usageError } from './exit-codes.ts';
import { legacyWord } from './legacy-options.ts';
import { OPTION_OF_WORD, specOf } from './option-table.ts';
import { formatOptionList, type OptionWord, parseOptionList, splitOptionWords } from './option-words.ts';

export interface Translation {
  /** A command, or a line of fstab, as it was given. */
  readonly line: string;
  /** Sentences about what is different. */
  readonly notes: readonly string[];
}

/** Throws a `CliError` for what is none of them. */
export function translate(text: string): Translation {
  const words = shellWords(text.trim());
  const asFstab = fstabLine(words);
  if (asFstab) return asFstab;
  let at = 0;
  while (at < words.length && isInFront(words, at)) at++;
  const before = words.slice(0, at).map(quoted);
  const program = words[at]?.replace(/^.*\//, '');
  const args = words.slice(at + 1);
  const found =
    program === 's3fs'
      ? fromS3fs(args)
      : program === 'goofys'
        ? fromFlags(args, GOOFYS, ['file_mode=0644', 'dir_mode=0755'])
        : program === 'mount-s3'
          ? fromFlags(args, MOUNT_S3, ['file_mode=0644', 'dir_mode=0755'])
          : undefined;
  if (!found) {
    throw usageError(
      'this is no command of s3fs, goofys or mount-s3 and no line of fstab; put it in quotes as one word.',
    );
  }
  const { places, options, notes } = found;
  const list = formatOptionList(options);
  const line = [...before, 's3mount', ...places.map(quoted), ...(list === '' ? [] : ['-o', quoted(list)])].join(' ');
  return { line, notes };
}

/** What people write before a program: variables, `sudo -u NAME -E`, `env`, `exec`. */
function isInFront(words: readonly string[], at: number): boolean {
  const word = words[at]!;
  if (/^[A-Za-z_]\w*=/.test(word) || /^(?:\/\S*\/)?(?:sudo|env|exec)$/.test(word)) return true;
  const before = words.slice(0, at);
  if (!before.some(each => /(?:^|\/)sudo$/.test(each))) return false;
  // The one after -u and the like is its value.
  return word.startsWith('-') || /^-[a-zA-Z]*[ugp]$/.test(before.at(-1) ?? '');
}

interface Found {
  readonly places: readonly string[];
  readonly options: readonly OptionWord[];
  readonly notes: readonly string[];
}

/** Fields of fstab(5): what, where, type, options, and two numbers. */
function fstabLine(words: readonly string[]): Translation | undefined {
  const [source, mountPoint, type = '', list = '', dump = '0', pass = '0'] = words;
  const [, subtype] = /^fuse(?:\.(.+))?$/.exec(type) ?? [];
  const program = subtype ?? /^([a-z0-9-]+)#/.exec(source ?? '')?.[1];
  if (type === '' || !mountPoint?.startsWith('/') || (!type.startsWith('fuse') && type !== 'mount-s3'))
    return undefined;
  const bucket = source!.replace(/^[^#]*#/, '');
  const isGoofys = program === 'goofys' || /goofys$/.test(program ?? '');
  const isMountS3 = program === 'mount-s3' || type === 'mount-s3';
  const given = parseOptionList(list);
  const kept = given.filter(({ name }) => isFstabWord(name));
  const others = given.filter(({ name }) => !isFstabWord(name));
  const flags = others.map(
    ({ name, value }) => `--${name.replace(/^--?/, '')}${value === undefined ? '' : `=${value}`}`,
  );
  const found = isGoofys
    ? fromFlags([...flags, bucket, mountPoint], GOOFYS, ['file_mode=0644', 'dir_mode=0755'])
    : isMountS3
      ? fromFlags([...flags, bucket, mountPoint], MOUNT_S3, ['file_mode=0644', 'dir_mode=0755'])
      : fromS3fs([bucket, mountPoint, '-o', formatOptionList(others)]);
  const [place = bucket] = found.places;
  const options = formatOptionList([...kept, ...found.options]);
  const line = [place, mountPoint, 'fuse.s3mount', options === '' ? 'defaults' : options, dump, pass].join('  ');
  return { line, notes: found.notes };
}

const isFstabWord = (name: string): boolean =>
  legacyWord(name)?.kind === 'silent' || legacyWord(name)?.kind === 'kernel';

/** s3fs's words are ours; those that do nothing here are left out, each with its reason. */
function fromS3fs(args: readonly string[]): Found {
  const { words, rest } = splitOptionWords(args, name => OPTION_OF_WORD.has(name));
  const notes: string[] = [];
  const options: OptionWord[] = [];
  const places: string[] = [];
  for (const word of rest) {
    if (word === '-f') options.push({ name: 'foreground' });
    else if (word === '-d') options.push({ name: 'debug' });
    else if (word === '-s') notes.push('-s is left out: the daemon always serves from one thread.');
    else if (word.startsWith('-')) notes.push(`${word} is not known and left out.`);
    else places.push(word);
  }
  let bucket: string | undefined;
  for (const word of words) {
    const legacy = legacyWord(word.name);
    if (word.name === 'bucket') bucket = word.value;
    else if (OPTION_OF_WORD.has(word.name)) {
      const { noEffect } = specOf(OPTION_OF_WORD.get(word.name)!);
      if (noEffect === undefined) options.push(word);
      else notes.push(`${word.name} is left out: it ${noEffect}`);
    } else if (legacy === undefined) notes.push(`${word.name} is not known and left out.`);
    else if (legacy.kind === 'warning' || legacy.kind === 'refused') notes.push(`Left out: ${legacy.message}`);
    else options.push(word);
  }
  if (bucket !== undefined) places.unshift(bucket);
  return { places, options, notes };
}

/** What becomes of a flag: words of ours (`VALUE` is its value), or a sentence. */
interface FlagMeaning {
  readonly takesValue?: boolean;
  /** By the value, where it has one. Undefined: nothing is needed. */
  readonly words?: (value: string) => string | undefined;
  readonly note?: string;
}

const same = (name: string): FlagMeaning => ({ takesValue: true, words: value => `${name}=${value}` });
const switchTo = (word: string): FlagMeaning => ({ words: () => word });
const dropped = (note: string, takesValue = false): FlagMeaning => ({ note, takesValue });

/** `1m0s`, `30s`, `60`, `500ms` as seconds. */
function secondsOf(text: string): string {
  if (/^\d+(\.\d+)?$/.test(text)) return text;
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  let sum = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)) sum += Number(number) * units[unit!]!;
  return String(sum);
}

const storageClass: FlagMeaning = { takesValue: true, words: value => `storage_class=${value.toLowerCase()}` };

const GOOFYS: Readonly<Record<string, FlagMeaning>> = {
  region: same('region'),
  profile: same('profile'),
  endpoint: same('url'),
  uid: same('uid'),
  gid: same('gid'),
  'file-mode': same('file_mode'),
  'dir-mode': same('dir_mode'),
  'storage-class': storageClass,
  acl: same('default_acl'),
  sse: switchTo('use_sse'),
  'sse-kms': { takesValue: true, words: value => `use_sse=kmsid:${value}` },
  'sse-c': dropped('--sse-c held the key itself, which everybody sees: put it into a file, use_sse=custom:FILE.', true),
  'requester-pays': switchTo('requester_pays'),
  subdomain: switchTo('use_path_request_style=0'),
  'stat-cache-ttl': { takesValue: true, words: value => `stat_cache_expire=${secondsOf(value)}` },
  'type-cache-ttl': dropped('--type-cache-ttl is left out: stat_cache_expire rules it.', true),
  'http-timeout': { takesValue: true, words: value => `readwrite_timeout=${secondsOf(value)}` },
  'no-implicit-dir': dropped('--no-implicit-dir is left out: prefixes are always directories.'),
  'use-content-type': dropped('--use-content-type is left out: it is always so.'),
  cheap: dropped('--cheap is left out: stat=list and a larger stat_cache_expire save requests.'),
  cache: dropped('--cache is left out; use_cache=DIR keeps blocks on disk.', true),
  debug_fuse: switchTo('debug'),
  debug_s3: switchTo('debug'),
  f: switchTo('foreground'),
  'allow-other': switchTo('allow_other'),
};

const MOUNT_S3: Readonly<Record<string, FlagMeaning>> = {
  region: same('region'),
  profile: same('profile'),
  'endpoint-url': same('url'),
  'force-path-style': switchTo('use_path_request_style'),
  'no-sign-request': switchTo('public_bucket'),
  'requester-pays': switchTo('requester_pays'),
  'read-only': switchTo('ro'),
  'allow-other': switchTo('allow_other'),
  'allow-root': dropped('--allow-root is left out: allow_other lets root and everybody in.'),
  'allow-delete': dropped('--allow-delete is always so here; ro, or the policy of iam-policy --read-only, forbids it.'),
  'allow-overwrite': dropped('--allow-overwrite is always so here.'),
  'incremental-upload': dropped('--incremental-upload is left out: appending always works.'),
  'auto-unmount': dropped('--auto-unmount is left out: a mount left by a killed daemon is cleaned at the next start.'),
  uid: same('uid'),
  gid: same('gid'),
  'file-mode': same('file_mode'),
  'dir-mode': same('dir_mode'),
  'storage-class': storageClass,
  sse: { takesValue: true, words: value => (value === 'AES256' ? 'use_sse' : undefined) },
  'sse-kms-key-id': { takesValue: true, words: value => `use_sse=kmsid:${value}` },
  'dual-stack': switchTo('dual_stack'),
  'transfer-acceleration': switchTo('transfer_acceleration'),
  'metadata-ttl': {
    takesValue: true,
    words: value =>
      `stat_cache_expire=${value === 'indefinite' ? 365 * 86_400 : value === 'minimal' ? 1 : secondsOf(value)}`,
  },
  'negative-metadata-ttl': dropped('--negative-metadata-ttl is left out: stat_cache_expire rules it.', true),
  cache: same('use_cache'),
  'max-cache-size': { takesValue: true, words: value => `cache_size=${value}MiB` },
  'write-part-size': { takesValue: true, words: value => `multipart_size=${Math.ceil(Number(value) / 1024 ** 2)}` },
  'read-part-size': dropped('--read-part-size is left out: it is chosen as the file is read.', true),
  'part-size': { takesValue: true, words: value => `multipart_size=${Math.ceil(Number(value) / 1024 ** 2)}` },
  'maximum-throughput-gbps': dropped('--maximum-throughput-gbps is left out: connections follow the load.', true),
  'max-threads': dropped('--max-threads is left out: the daemon serves from one thread.', true),
  'upload-checksums': dropped('--upload-checksums is left out.', true),
  'expected-bucket-owner': dropped('--expected-bucket-owner is not offered.', true),
  'bucket-type': dropped('--bucket-type is left out: it is known by the name.', true),
  'log-directory': dropped('--log-directory is left out; logfile= names a file.', true),
  'log-metrics': dropped('--log-metrics is left out; s3mount status shows them.'),
  debug: switchTo('debug'),
  foreground: switchTo('foreground'),
  f: switchTo('foreground'),
};

function fromFlags(
  args: readonly string[],
  meanings: Readonly<Record<string, FlagMeaning>>,
  defaults: readonly string[],
): Found {
  const places: string[] = [];
  const texts: string[] = [];
  const notes: string[] = [];
  let prefix = '';
  for (let index = 0; index < args.length; index++) {
    const word = args[index]!;
    const flag = /^--?([A-Za-z][\w-]*)(?:=(.*))?$/s.exec(word);
    if (!flag) {
      places.push(word);
      continue;
    }
    const [, name = '', stated] = flag;
    if (name === 'o') {
      texts.push(...(stated ?? args[++index] ?? '').split(',').filter(Boolean));
      continue;
    }
    if (name === 'prefix') {
      prefix = stated ?? args[++index] ?? '';
      continue;
    }
    const meaning = Object.hasOwn(meanings, name) ? meanings[name]! : undefined;
    if (!meaning) {
      // Words of mount stand among the flags in fstab.
      if (OPTION_OF_WORD.has(name) || isFstabWord(name)) texts.push(stated === undefined ? name : `${name}=${stated}`);
      else notes.push(`${word} is not known and left out.`);
      continue;
    }
    const value = meaning.takesValue ? (stated ?? args[++index] ?? '') : '';
    const text = meaning.words?.(value);
    if (text !== undefined) texts.push(text);
    if (meaning.note) notes.push(meaning.note);
  }
  for (const text of defaults) {
    const name = text.slice(0, text.indexOf('='));
    if (!texts.some(given => given.startsWith(`${name}=`))) texts.push(text);
  }
  if (prefix !== '' && places[0] !== undefined) places[0] = `${places[0]}:/${prefix.replace(/^\/+|\/+$/g, '')}`;
  const options = [...new Set(texts)].map(text => {
    const equals = text.indexOf('=');
    return equals < 0 ? { name: text } : { name: text.slice(0, equals), value: text.slice(equals + 1) };
  });
  return { places, options, notes };
}

/** The words of a command as a shell has them: quotes, backslashes, no expansion. */
export function shellWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let index = 0; index < text.length; index++) {
    const letter = text[index]!;
    if (quote !== '') {
      if (letter === quote) quote = '';
      else if (letter === '\\' && quote === '"' && index + 1 < text.length) word += text[++index]!;
      else word += letter;
    } else if (letter === '"' || letter === "'") {
      quote = letter;
      word ??= '';
    } else if (/\s/.test(letter)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (letter === '\\' && /[\s"'\\$]/.test(text[index + 1] ?? '')) {
      word = (word ?? '') + (text[index + 1] === '\n' ? '' : text[index + 1]);
      index++;
    } else word = (word ?? '') + letter;
  }
  if (word !== undefined) words.push(word);
  return words;
}

function quoted(word: string): string {
  return /^[\w@%+=:,./~$#{}-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}
