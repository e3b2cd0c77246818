/** A page of a listing, as S3 cuts it: of keys in order, with a delimiter, from a key or a token on. Pure. */
import { createHash } from 'node:crypto';
import type { ListedObject, ListPage, ListRequest } from '../../src/s3/store.ts';
import { compareKeys } from './utf8-order.ts';

/** Continuation tokens are the last key or prefix of a page; a prefix ends in the delimiter and is skipped as a whole. */
export function pageOf(
  request: ListRequest,
  keys: readonly string[],
  listed: (key: string) => ListedObject,
  serverDate: number,
): ListPage {
  const { prefix, delimiter, continuation } = request;
  const limit = Math.min(request.maxKeys ?? 1000, 1000);
  const objects: ListedObject[] = [];
  const prefixes: string[] = [];
  const after = continuation === undefined ? request.startAfter : continuation.slice(1);
  const afterPrefix = continuation?.[0] === 'p' ? after : undefined;
  let token: string | undefined;
  let truncated = false;
  for (let i = firstFrom(keys, prefix); i < keys.length; i++) {
    const key = keys[i]!;
    if (!key.startsWith(prefix)) break;
    if (after !== undefined && compareKeys(key, after) <= 0) continue;
    if (afterPrefix !== undefined && key.startsWith(afterPrefix)) continue;
    const cut = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
    const common = cut < 0 ? undefined : key.slice(0, cut + 1);
    if (common !== undefined && prefixes[prefixes.length - 1] === common) continue;
    if (objects.length + prefixes.length === limit) {
      truncated = true;
      break;
    }
    if (common !== undefined) {
      prefixes.push(common);
      token = `p${common}`;
    } else {
      objects.push(listed(key));
      token = `k${key}`;
    }
  }
  return { objects, prefixes, ...(truncated && token !== undefined ? { next: token } : {}), serverDate };
}

/** Index of the first key that is not before `prefix`. */
function firstFrom(keys: readonly string[], prefix: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareKeys(keys[middle]!, prefix) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A page as a store gives it that knows no order (S3 Express): by a hash of each name, the token being that of the last. */
export function unorderedPageOf(
  request: ListRequest,
  keys: readonly string[],
  listed: (key: string) => ListedObject,
  serverDate: number,
  most: number,
): ListPage {
  const { prefix, delimiter, continuation = '' } = request;
  const names = new Map<string, boolean>();
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue;
    const cut = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
    names.set(cut < 0 ? key : key.slice(0, cut + 1), cut >= 0);
  }
  const left = [...names]
    .map(([name, isPrefix]) => ({ name, isPrefix, rank: rankOf(name) }))
    .filter(({ rank }) => rank > continuation)
    .sort((a, b) => (a.rank < b.rank ? -1 : 1));
  const shown = left.slice(0, Math.min(request.maxKeys ?? most, most));
  return {
    objects: shown.filter(({ isPrefix }) => !isPrefix).map(({ name }) => listed(name)),
    prefixes: shown.filter(({ isPrefix }) => isPrefix).map(({ name }) => name),
    ...(shown.length < left.length && shown.length > 0 ? { next: shown.at(-1)!.rank } : {}),
    serverDate,
    unordered: true,
  };
}

/** In another order than the names, and different for each. */
function rankOf(name: string): string {
  return createHash('md5').update(name).digest('hex');
}
