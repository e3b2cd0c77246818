/** The one directory for what outlives a moment: logs and spooled bytes. Never in /tmp, which others can write and reboots clear. */
import { createHash } from 'node:crypto';
import { accessSync, chmodSync, constants, lstatSync, mkdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CliError, EXIT } from './exit-codes.ts';
import type { Config } from './options.ts';

export function defaultStateDirectory(uid = process.getuid!(), home = homedir()): string {
  return uid === 0 ? '/var/lib/s3mount' : join(home, '.local/state/s3mount');
}

/**
 * Makes `path` and `parts` below it, for this user only (0700: unsaved bytes and names of files lie there).
 * Throws a `CliError` with the exit code for the state directory.
 */
export function ensureStateDirectory(path: string, ...parts: string[]): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    const { mode, uid } = statSync(path);
    // Root least of all: whoever owns it could put links where root will write.
    if (uid !== process.getuid!()) {
      throw new CliError(
        EXIT.state,
        `the state directory ${path} belongs to another user; give one of your own as state_dir=.`,
      );
    }
    if (mode & 0o077) chmodSync(path, 0o700);
    let below = path;
    for (const part of parts) {
      below = join(below, part);
      mkdirSync(below, { recursive: true, mode: 0o700 });
      expectOwnDirectory(below);
    }
    accessSync(below, constants.W_OK);
    return below;
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(
      EXIT.state,
      `the state directory ${path} cannot be used (${message(error)}); give another as state_dir=.`,
    );
  }
}

/** What was made while others could still write above it is not taken over. */
function expectOwnDirectory(path: string): void {
  const found = lstatSync(path);
  if (!found.isDirectory()) throw new CliError(EXIT.state, `${path} is not a directory; move it away.`);
  if (found.uid !== process.getuid!()) throw new CliError(EXIT.state, `${path} belongs to another user; move it away.`);
  if (found.mode & 0o077) chmodSync(path, 0o700);
}

/** Two mounts of one bucket have two names, one mount always the same: `my-bucket-1a2b3c4d`. */
export function mountName(config: Pick<Config, 'bucket' | 'prefix' | 'mountPoint'>): string {
  const place = createHash('sha256').update(`${config.bucket}\0${config.prefix}\0${config.mountPoint}`).digest('hex');
  return `${config.bucket.replace(/[^A-Za-z0-9._-]/g, '_').slice(-100)}-${place.slice(0, 8)}`;
}

export function stateDirectoryOf(config: Config): string {
  return config.values.state_dir ?? defaultStateDirectory();
}

/** One directory for each view of a bucket: what one identity may see another one may not. `place`: endpoint, bucket, prefix. */
export function indexName(place: readonly string[], identity: string): string {
  return createHash('sha256')
    .update([...place, identity].join('\0'))
    .digest('hex')
    .slice(0, 32);
}

/** Where a daemon in the background logs. */
export function logFileOf(config: Config): string {
  if (config.values.logfile !== undefined) return config.values.logfile;
  return join(ensureStateDirectory(stateDirectoryOf(config), 'log'), `${mountName(config)}.log`);
}

/** Where bytes are kept that could not be saved when this mount ended: one directory for each end. */
export function recoveryDirectoryOf(config: Config, when: Date): string {
  const name = `${mountName(config)}-${when.toISOString().replace(/[-:]|\.\d+/g, '')}`;
  return ensureStateDirectory(stateDirectoryOf(config), 'recovered', name);
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
