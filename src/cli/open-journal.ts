/**
 * The journal of a mount: which directory, and that nobody else uses it.
 *
 * It belongs to a bucket and prefix, not to a mount point: whoever mounts that next sends what the last daemon could not.
 * Two mounts of one bucket at the same time have two directories, `NAME` and `NAME-2`.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { LEAST_FREE } from '../cache/disk-space.ts';
import { type Entry, type FoundRecord, Journal } from '../cache/journal.ts';
import { NodeJournalDirectory } from '../cache/journal-files.ts';
import { systemClock } from '../concurrency.ts';
import { loadLibc } from '../fuse/libc.ts';
import type { Log } from '../telemetry.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Config } from './options.ts';
import { ensureStateDirectory, stateDirectoryOf } from './state-directory.ts';

/** Mounts of one bucket at the same time on one machine. */
const MAX_MOUNTS = 16;
const LOCK_EXCLUSIVE_NOW = 2 | 4;

export interface OpenedJournal {
  readonly journal: Journal;
  readonly found: FoundRecord<Entry>[];
}

/**
 * Opens the journal of this mount, the one in which an earlier mount has left something to be done before others. Undefined
 * where there is none to be had and nobody asked for one: a mount that cannot note its uploads is better than none. Throws a
 * `CliError` for what a person can mend.
 */
export async function openJournal(config: Config, share: number, log: Log): Promise<OpenedJournal | undefined> {
  const { values } = config;
  if (values.ro) return undefined;
  const base = values.journal ?? join(stateDirectoryOf(config), 'journal');
  const name = journalName(config);
  const leftovers = names(base).filter(each => isOf(each, name) && names(join(base, each)).some(isJournalFile));
  const candidates = Array.from({ length: MAX_MOUNTS }, (_, i) => (i === 0 ? name : `${name}-${i + 1}`));
  const isNeeded = values.write_back === true || values.journal !== undefined || leftovers.length > 0;
  try {
    for (const each of new Set([...leftovers, ...candidates])) {
      const path = ensureStateDirectory(base, each);
      if (await lock(path, log)) return await open(config, path, values.journal_size ?? share, log);
    }
    throw new CliError(
      EXIT.state,
      `all ${MAX_MOUNTS} journals of this bucket in ${base} are in use; unmount one of them.`,
    );
  } catch (error) {
    if (isNeeded) throw error;
    log.warn(
      { err: error },
      'no journal: uploads that a crash leaves in progress will not be aborted by the next mount',
    );
    return undefined;
  }
}

async function open(config: Config, path: string, limit: number, log: Log): Promise<OpenedJournal> {
  const { values, bucket, prefix } = config;
  const directory = new NodeJournalDirectory(path);
  try {
    return await Journal.open({
      directory,
      owner: ownerOf(config),
      limit,
      minFree: LEAST_FREE,
      sync: values.journal_sync ?? 'group',
      clock: systemClock,
      log,
    });
  } catch (error) {
    throw new CliError(
      EXIT.state,
      `the journal of ${bucket}${prefix && `:/${prefix}`} in ${path} cannot be used (${(error as Error).message}).`,
    );
  }
}

function ownerOf({ bucket, prefix, values }: Config): string {
  return `${values.url ?? ''}\0${bucket}\0${prefix}`;
}

function journalName(config: Config): string {
  const hash = createHash('sha256').update(ownerOf(config)).digest('hex').slice(0, 8);
  return `${config.bucket.replace(/[^A-Za-z0-9._-]/g, '_').slice(-100)}-${hash}`;
}

function isOf(found: string, name: string): boolean {
  return found === name || (found.startsWith(`${name}-`) && /^\d+$/.test(found.slice(name.length + 1)));
}

function isJournalFile(name: string): boolean {
  return name.endsWith('.journal');
}

function names(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Held until the process ends, however it ends. */
async function lock(path: string, log: Log): Promise<boolean> {
  const libc = await loadLibc(fields => log.debug(fields, 'koffi cannot be loaded'));
  if (!libc) throw new CliError(EXIT.state, 'the journal cannot be locked: koffi has no library for this machine.');
  const fd = openSync(join(path, 'lock'), 'a', 0o600);
  if (libc.flock(fd, LOCK_EXCLUSIVE_NOW) === 0) return true;
  closeSync(fd);
  return false;
}
