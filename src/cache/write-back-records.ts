/**
 * What the journal says of changes that are to be sent, and what is left of it for the next daemon. Pure.
 *
 * `body` {id} with bytes · `put` {id, key, body, …} · `delete` {id, key, …} · `done` {ids}. A put or delete may replace
 * earlier ones of its key that were not sent (`instead`): where it is there, those are done. Numbers are never used twice in
 * a journal, so the order in which records are met does not matter.
 */
import type { ObjectDescription, WriteCondition } from '../s3/store.ts';
import type { RecordMeta } from './journal-record.ts';

export interface PutRecord extends RecordMeta {
  readonly t: 'put';
  readonly id: number;
  readonly key: string;
  /** What stands for its ETag until S3 has given it one. */
  readonly etag: string;
  readonly size: number;
  /** Number of the record with the bytes; absent where there are none. */
  readonly body?: number;
  readonly description: ObjectDescription;
  readonly condition?: WriteCondition;
  /** ms since the epoch. */
  readonly at: number;
  readonly instead?: readonly number[];
}

export interface DeleteRecord extends RecordMeta {
  readonly t: 'delete';
  readonly id: number;
  readonly key: string;
  /** The version that is to go, where it was known. */
  readonly ifMatch?: string;
  readonly at: number;
  readonly instead?: readonly number[];
}

export interface DoneRecord extends RecordMeta {
  readonly t: 'done';
  readonly ids: readonly number[];
  /** What stood for an ETag, and what it became. */
  readonly etag?: readonly [string, string];
}

export interface BodyRecord extends RecordMeta {
  readonly t: 'body';
  readonly id: number;
}

interface Found<Entry> {
  readonly meta: RecordMeta;
  readonly entry: Entry;
}

/** What the last daemon did not get done, oldest first. */
export interface Unfinished<Entry> {
  readonly changes: readonly { readonly record: PutRecord | DeleteRecord; readonly entry: Entry }[];
  readonly bodies: ReadonlyMap<number, Entry>;
  /** By what stood for an ETag: what it became. */
  readonly etags: ReadonlyMap<string, string>;
  readonly nextId: number;
  /** Entries that nobody needs. */
  readonly spare: readonly Entry[];
  /** Changes whose bytes are lost. */
  readonly lost: readonly PutRecord[];
}

export function unfinished<Entry>(found: readonly Found<Entry>[]): Unfinished<Entry> {
  const done = new Set<number>();
  const etags = new Map<string, string>();
  const bodies = new Map<number, Entry>();
  const changes = new Map<number, { readonly record: PutRecord | DeleteRecord; readonly entry: Entry }>();
  const spare: Entry[] = [];
  let greatest = 0;
  const take = <T>(map: Map<number, T>, id: number, value: T, entry: Entry): void => {
    greatest = Math.max(greatest, id);
    // Written once more to make room: the first is as good.
    if (map.has(id)) spare.push(entry);
    else map.set(id, value);
  };
  for (const { meta, entry } of found) {
    if (isBody(meta)) take(bodies, meta.id, entry, entry);
    else if (isPut(meta) || isDelete(meta)) {
      for (const id of meta.instead ?? []) done.add(id);
      take(changes, meta.id, { record: meta, entry }, entry);
    } else {
      if (isDone(meta)) {
        for (const id of meta.ids) done.add(id);
        if (meta.etag) etags.set(meta.etag[0], meta.etag[1]);
      }
      spare.push(entry);
    }
  }
  const needed = new Set<number>();
  const left: { readonly record: PutRecord | DeleteRecord; readonly entry: Entry }[] = [];
  const lost: PutRecord[] = [];
  for (const [id, change] of [...changes].sort(([a], [b]) => a - b)) {
    const { record } = change;
    if (done.has(id)) spare.push(change.entry);
    else if (record.t === 'put' && record.body !== undefined && !bodies.has(record.body)) {
      lost.push(record);
      spare.push(change.entry);
    } else {
      left.push(change);
      if (record.t === 'put' && record.body !== undefined) needed.add(record.body);
    }
  }
  for (const [id, entry] of bodies) {
    if (needed.has(id)) continue;
    bodies.delete(id);
    spare.push(entry);
  }
  for (const id of done) greatest = Math.max(greatest, id);
  return { changes: left, bodies, etags, nextId: greatest + 1, spare, lost };
}

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const isNumbers = (value: unknown): boolean => value === undefined || (Array.isArray(value) && value.every(isNumber));

function isBody(meta: RecordMeta): meta is BodyRecord {
  return meta.t === 'body' && isNumber(meta['id']);
}

function isPut(meta: RecordMeta): meta is PutRecord {
  return (
    meta.t === 'put' &&
    isNumber(meta['id']) &&
    isText(meta['key']) &&
    isText(meta['etag']) &&
    isNumber(meta['size']) &&
    (meta['body'] === undefined || isNumber(meta['body'])) &&
    typeof meta['description'] === 'object' &&
    isNumbers(meta['instead'])
  );
}

function isDelete(meta: RecordMeta): meta is DeleteRecord {
  return meta.t === 'delete' && isNumber(meta['id']) && isText(meta['key']) && isNumbers(meta['instead']);
}

function isDone(meta: RecordMeta): meta is DoneRecord {
  return meta.t === 'done' && Array.isArray(meta['ids']) && isNumbers(meta['ids']);
}
