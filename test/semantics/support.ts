/** What the tests of statements share: open flags, and the log of a filesystem in process. */
import { toFsError } from '../../src/errors.ts';
import type { Counters, Log } from '../../src/telemetry.ts';

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;

/** The errno that a program would see of `work`; undefined where it succeeds. */
export async function errnoOf(work: Promise<unknown> | (() => unknown)): Promise<string | undefined> {
  try {
    await (typeof work === 'function' ? work() : work);
    return undefined;
  } catch (error) {
    return toFsError(error)?.code ?? String(error);
  }
}

/** From now on every line above debug is kept here. */
export function withLog(counters: Counters): readonly string[] {
  const lines: string[] = [];
  const keep: Log['warn'] = (_fields, message) => void lines.push(message);
  const log: Log = { debug: () => {}, info: keep, warn: keep, error: keep };
  Object.assign(counters, { log });
  return lines;
}
