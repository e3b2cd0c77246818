/** The names of conflict copies. */
import { byteLength, NAME_MAX } from './keys.ts';

const PREFIX = '_conflict.';

export const isConflictName = (name: string): boolean => name.startsWith(PREFIX);

/**
 * The name beside `name` for what lost it to another client at `time` (ms since the epoch); another one for each `attempt`.
 * Athena, Glue and Spark skip names that begin with an underscore.
 */
export function conflictName(host: string, time: number, name: string, attempt: number): string {
  const stamp = new Date(time).toISOString().replace(/[-:]|\.\d+/g, '');
  const prefix = `${PREFIX}${host}.${stamp}.${attempt === 0 ? '' : `${attempt + 1}.`}`;
  let rest = name;
  while (byteLength(prefix + rest) > NAME_MAX) rest = rest.slice(1);
  return prefix + rest;
}
