/**
 * What is said over a mount's control socket: one request, a line of JSON, and lines of JSON in answer; the last one is a
 * result or an error. Pure. Whoever can connect is the mount's owner or root; what they send is checked all the same.
 */
import type { RestoreTier } from '../s3/store.ts';
import type { ExitCode } from './exit-codes.ts';

/** Paths are relative to the mount point, without a slash in front; empty for the mount itself. */
export type ControlRequest =
  | { readonly do: 'status' }
  | { readonly do: 'unsaved' }
  | { readonly do: 'why'; readonly path: string }
  | { readonly do: 'flush'; readonly path: string }
  /** Without `days` nothing is restored: it only tells how it stands. */
  | { readonly do: 'restore'; readonly path: string; readonly days?: number; readonly tier: RestoreTier };

export type ControlReply =
  | { readonly progress: unknown }
  | { readonly result: unknown }
  | { readonly error: { readonly message: string; readonly exitCode: ExitCode } };

/** Bytes of a request, its newline included: a path has at most 4 KiB, and JSON may write each byte as six. */
export const MAX_REQUEST = 32 * 1024;
/** PATH_MAX of limits.h. */
const MAX_PATH = 4096;

/** S3 takes any number; ten years is a slip of the keyboard. */
const MAX_DAYS = 3650;

const TIERS: ReadonlySet<unknown> = new Set<RestoreTier>(['Standard', 'Bulk', 'Expedited']);

/** What was sent is no request; the message is one sentence. */
export class BadRequest extends Error {
  override readonly name = 'BadRequest';
}

/** Throws `BadRequest`. */
export function parseRequest(line: string): ControlRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new BadRequest('not a line of JSON.');
  }
  if (typeof value !== 'object' || value === null) throw new BadRequest('not an object.');
  const given = value as Readonly<Record<string, unknown>>;
  switch (given['do']) {
    case 'status':
    case 'unsaved':
      return { do: given['do'] };
    case 'why':
    case 'flush':
      return { do: given['do'], path: pathIn(given) };
    case 'restore': {
      const { days, tier } = given;
      if (!TIERS.has(tier)) throw new BadRequest('tier is Standard, Bulk or Expedited.');
      const wish = { do: 'restore', path: pathIn(given), tier: tier as RestoreTier } as const;
      if (days === undefined) return wish;
      if (typeof days !== 'number' || !Number.isInteger(days) || days < 1 || days > MAX_DAYS) {
        throw new BadRequest(`days is a number from 1 to ${MAX_DAYS}.`);
      }
      return { ...wish, days };
    }
    default:
      throw new BadRequest('this version does not know what is asked for.');
  }
}

function pathIn({ path }: Readonly<Record<string, unknown>>): string {
  if (typeof path !== 'string' || path.length > MAX_PATH || path.includes('\0'))
    throw new BadRequest('path is no path.');
  const parts = path.split('/').filter(part => part !== '' && part !== '.');
  if (parts.includes('..')) throw new BadRequest('path leads out of the mount.');
  return parts.join('/');
}

/** Throws a `SyntaxError` for what no daemon says. */
export function parseReply(line: string): ControlReply {
  const value = JSON.parse(line) as unknown;
  if (typeof value !== 'object' || value === null) throw new SyntaxError('not an object');
  if (!('progress' in value) && !('result' in value) && !('error' in value)) throw new SyntaxError('not an answer');
  return value as ControlReply;
}
