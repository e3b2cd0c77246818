/**
 * What a LIST shows of a bucket to which some changes have not been sent yet. Pure.
 *
 * A page covers the keys from where the one before ended to its own last one: what was changed in that range goes in, or
 * comes out. What a common prefix stands for is not seen here: whether a deleted key was its last one only S3 knows, so
 * who asks waits for such deletes first (`hidesDeletes`).
 */

import { compareKeys } from '../key-order.ts';
import type { ListedObject, ListPage, ListRequest } from '../s3/store.ts';

/** Entries of a page where nobody asks for fewer: S3's. */
const MAX_KEYS = 1000;

/** A key and what it will be: an object, or (undefined) nothing. */
export interface PendingChange {
  readonly key: string;
  readonly object: ListedObject | undefined;
}

/** True if a page could be wrong about more than the key itself: it must not be asked for before the delete is done. */
export function hidesDeletes(request: ListRequest, change: PendingChange): boolean {
  if (change.object || !change.key.startsWith(request.prefix)) return false;
  if (request.maxKeys !== undefined) return true;
  return request.delimiter !== undefined && change.key.includes(request.delimiter, request.prefix.length);
}

/** How the page after one is asked for: where that ended, and the token of S3 if it ended where S3's page did. */
export interface Continuation {
  readonly after: string;
  readonly token: string | undefined;
}

export function splitContinuation(text: string): Continuation {
  const [after, token] = JSON.parse(text) as [string, string | null];
  return { after, token: token ?? undefined };
}

/** What S3 is asked for in place of `request`. */
export function innerRequest(request: ListRequest, from: Continuation | undefined): ListRequest {
  if (!from) return request;
  const { continuation, startAfter, ...rest } = request;
  if (from.token !== undefined) return { ...rest, continuation: from.token };
  // Behind all keys that a common prefix stands for: U+10FFFF is the last character there is.
  const isPrefix = request.delimiter !== undefined && from.after.endsWith(request.delimiter);
  return { ...rest, startAfter: isPrefix ? `${from.after}\u{10FFFF}` : from.after };
}

function lastOf(page: ListPage): string | undefined {
  const object = page.objects.at(-1)?.key;
  const prefix = page.prefixes.at(-1);
  if (object === undefined || prefix === undefined) return object ?? prefix;
  return compareKeys(object, prefix) > 0 ? object : prefix;
}

/** `page` of S3 for `request`, with `changes`; `from`: where the page before ended. Unordered stores: `ordered` false. */
export function withChanges(
  page: ListPage,
  request: ListRequest,
  changes: Iterable<PendingChange>,
  ordered: boolean,
  from?: Continuation,
): ListPage {
  const after = from ? from.after : request.startAfter;
  const { prefix, delimiter } = request;
  const isLast = page.next === undefined;
  const last = lastOf(page);
  const isCovered = (end: string | undefined, key: string): boolean =>
    end !== undefined && (compareKeys(key, end) <= 0 || (delimiter !== undefined && isPrefixOf(end, key)));
  // A prefix given by the page before is complete; one that a caller names as its start is not.
  const isPrefixOf = (end: string, key: string): boolean => end.endsWith(delimiter!) && key.startsWith(end);
  const isHere = (key: string): boolean => {
    if (!ordered) return isLast;
    if (
      after !== undefined &&
      (request.continuation === undefined ? compareKeys(key, after) <= 0 : isCovered(after, key))
    )
      return false;
    return isLast || isCovered(last, key);
  };
  const added = new Map<string, ListedObject>();
  const gone = new Set<string>();
  const prefixes = new Set(page.prefixes);
  for (const { key, object } of changes) {
    if (!key.startsWith(prefix)) continue;
    const slash = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length);
    if (slash >= 0) {
      if (object && isHere(key)) prefixes.add(key.slice(0, slash + delimiter!.length));
      continue;
    }
    gone.add(key);
    if (object && isHere(key)) added.set(key, object);
  }
  const objects = [...page.objects.filter(({ key }) => !gone.has(key)), ...added.values()];
  if (from) prefixes.delete(from.after);
  const merged = {
    objects: objects.sort((a, b) => compareKeys(a.key, b.key)),
    prefixes: [...prefixes].sort(compareKeys),
    serverDate: page.serverDate,
  };
  const most = request.maxKeys ?? MAX_KEYS;
  if (ordered && merged.objects.length + merged.prefixes.length > most) return cut(merged, most);
  if (page.next === undefined) return merged;
  return { ...merged, next: JSON.stringify([last ?? after ?? '', page.next]) };
}

/** The first entries of a page that has become too long; the rest is for the next one. */
function cut(page: ListPage, most: number): ListPage {
  const keys = [...page.objects.map(({ key }) => key), ...page.prefixes].sort(compareKeys);
  const last = keys[most - 1]!;
  const isIn = (key: string): boolean => compareKeys(key, last) <= 0;
  return {
    ...page,
    objects: page.objects.filter(({ key }) => isIn(key)),
    prefixes: page.prefixes.filter(isIn),
    next: JSON.stringify([last, null]),
  };
}
