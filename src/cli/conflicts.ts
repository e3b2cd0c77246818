/**
 * `s3mount conflicts`: what other clients and this mount have both changed, and the command that keeps the one or the other.
 *
 * Conflict copies are plain files named `_conflict.HOST.TIME.NAME` beside NAME, so a mount is walked and a bucket is listed.
 * Names come from a bucket: they are quoted for the shell, and made harmless for the terminal.
 */
import { type Dirent, lstatSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isStoreError } from '../errors.ts';
import { printable } from '../s3/error-kinds.ts';
import type { ListedObject, ObjectStore } from '../s3/store.ts';
import { silentTelemetry } from '../telemetry.ts';
import type { CommandOutput } from './commands.ts';
import { configDirectories } from './config-file.ts';
import { explainFailure } from './failures.ts';
import { openUnprobed } from './open-store.ts';
import type { OptionWord } from './option-words.ts';
import { readConfig } from './options.ts';

/** What `_conflict.HOST.TIME.NAME` says; of two copies within a second the later has a number before NAME. */
export interface ConflictName {
  readonly host: string;
  /** ISO 8601. */
  readonly time: string;
  /** What the name beside it may be, the likelier first. NAME may itself begin with a number. */
  readonly names: readonly string[];
}

/** Undefined for a name that is none of ours. */
export function parseConflictName(name: string): ConflictName | undefined {
  const match = /^_conflict\.(.+?)\.(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z\.(.+)$/s.exec(name);
  if (!match) return undefined;
  const [, host = '', year, month, day, hour, minute, second, rest = ''] = match;
  const numbered = /^\d+\.(.+)$/s.exec(rest)?.[1];
  return {
    host,
    time: `${year}-${month}-${day}T${hour}:${minute}:${second}Z`,
    names: numbered === undefined ? [rest] : [rest, numbered],
  };
}

/** One word for sh: quoted where it must be, with what a terminal must not see as escapes ($'…'). */
export function shellWord(text: string): string {
  if (/^[A-Za-z0-9_./:=@%+,-]+$/.test(text)) return text;
  if (!/[\p{C}\p{Zl}\p{Zp}]/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  let quoted = '';
  for (const character of text) {
    if (/[\p{C}\p{Zl}\p{Zp}]/u.test(character)) {
      for (const byte of Buffer.from(character)) quoted += `\\x${byte.toString(16).padStart(2, '0')}`;
    } else quoted += character === "'" || character === '\\' ? `\\${character}` : character;
  }
  return `$'${quoted}'`;
}

export interface Side {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** ms since the epoch. */
  readonly modified: number;
}

export interface Conflict {
  readonly host: string;
  readonly ours: Side;
  /** Where the name beside it is: there or not any more. */
  readonly name: string;
  readonly theirs: Side | undefined;
}

/** `others` has what lies in the same directory, by name. */
function conflictOf(directory: string, name: string, others: ReadonlyMap<string, Side>): Conflict | undefined {
  const parsed = parseConflictName(name);
  const ours = others.get(name);
  if (!parsed || !ours) return undefined;
  const beside = parsed.names.find(each => others.has(each)) ?? parsed.names.at(-1)!;
  return { host: parsed.host, ours, name: directory + beside, theirs: others.get(beside) };
}

/** All below `top`, a directory of a mount. Directories that cannot be read are told to `say`. */
export function conflictsBelow(top: string, say: (line: string) => void): Conflict[] {
  const found: Conflict[] = [];
  const waiting = [top];
  for (let directory = waiting.pop(); directory !== undefined; directory = waiting.pop()) {
    let entries: Dirent[];
    try {
      entries = readdirSync(directory, { withFileTypes: true });
    } catch (error) {
      say(`s3mount: ${printable(directory)} cannot be read: ${printable((error as Error).message)}`);
      continue;
    }
    const copies = entries.filter(entry => !entry.isDirectory() && parseConflictName(entry.name));
    for (const entry of entries) if (entry.isDirectory()) waiting.push(join(directory, entry.name));
    if (copies.length === 0) continue;
    const names = new Set(entries.map(({ name }) => name));
    const sides = new Map<string, Side>();
    for (const { name } of copies) {
      for (const each of [name, ...parseConflictName(name)!.names]) {
        if (!names.has(each)) continue;
        const path = join(directory, each);
        const { size, mtimeMs } = lstatSync(path);
        sides.set(each, { path, size, modified: mtimeMs });
      }
    }
    const within = `${directory}/`;
    for (const { name } of copies) {
      const conflict = conflictOf(within, name, sides);
      if (conflict) found.push(conflict);
    }
  }
  return found;
}

/** All in a bucket, or below the prefix of `store`: one listing, and a HEAD for each. */
export async function conflictsIn(store: Pick<ObjectStore, 'list' | 'head'>): Promise<Conflict[]> {
  const copies: ListedObject[] = [];
  for (let continuation: string | undefined; ; ) {
    const page = await store.list({ prefix: '', ...(continuation === undefined ? {} : { continuation }) });
    copies.push(...page.objects.filter(({ key }) => parseConflictName(key.slice(key.lastIndexOf('/') + 1))));
    if (page.next === undefined) break;
    continuation = page.next;
  }
  const found: Conflict[] = [];
  for (const { key, size, lastModified } of copies) {
    const cut = key.lastIndexOf('/') + 1;
    const name = key.slice(cut);
    const sides = new Map([[name, { path: key, size, modified: lastModified }]]);
    for (const each of parseConflictName(name)!.names) {
      const path = key.slice(0, cut) + each;
      try {
        const info = await store.head(path);
        sides.set(each, { path, size: info.size, modified: info.lastModified });
      } catch (error) {
        if (!isStoreError(error, 'not-found')) throw error;
      }
    }
    const conflict = conflictOf(key.slice(0, cut), name, sides);
    if (conflict) found.push(conflict);
  }
  return found;
}

/** The lines for people. `move` and `remove` word the commands. */
export function conflictText(
  conflict: Conflict,
  move: (from: string, to: string) => string,
  remove: (path: string) => string,
): string[] {
  const { ours, theirs, name, host } = conflict;
  const told = ({ path, size, modified }: Side): string =>
    `${printable(path, 1024)} (${size} bytes, ${new Date(modified).toISOString().slice(0, 19)}Z)`;
  return [
    printable(name, 1024),
    `  of another client: ${theirs ? told(theirs) : 'not there any more'}`,
    `  written on ${printable(host)}: ${told(ours)}`,
    `  to keep what was written there: ${move(ours.path, name)}`,
    ...(theirs ? [`  to keep the other:              ${remove(ours.path)}`] : []),
  ];
}

/** Without words: the current directory. A directory is walked; anything else is a bucket, listed with the options given. */
export async function conflictsCommand(
  positional: readonly string[],
  options: readonly OptionWord[],
  { print, say, env }: CommandOutput,
): Promise<void> {
  const [place = '.'] = positional;
  let conflicts: readonly Conflict[];
  let move = (from: string, to: string): string => `mv -- ${shellWord(from)} ${shellWord(to)}`;
  let remove = (path: string): string => `rm -- ${shellWord(path)}`;
  if (statSync(place, { throwIfNoEntry: false })?.isDirectory()) {
    conflicts = conflictsBelow(resolve(place), say);
  } else {
    const config = readConfig(
      { positional: [place, '/'], words: options },
      { env, cwd: process.cwd(), configDirectories: configDirectories() },
    );
    const { bucket, prefix } = config;
    const url = (key: string): string => shellWord(`s3://${bucket}/${prefix}${key}`);
    move = (from, to) => `aws s3 mv ${url(from)} ${url(to)}`;
    remove = path => `aws s3 rm ${url(path)}`;
    try {
      const store = await openUnprobed(config, silentTelemetry);
      try {
        conflicts = await conflictsIn(store);
      } finally {
        await store.close();
      }
    } catch (error) {
      throw explainFailure(error);
    }
  }
  for (const conflict of conflicts) for (const line of conflictText(conflict, move, remove)) print(line);
  if (conflicts.length === 0) print('no conflict copies');
}
