/**
 * What the journal says of files that were written and not yet saved, and what the next daemon makes of it. Pure.
 *
 * `file` {f, order, from, key, …}: what the changes of file `f` with a number above `from` are made on; the last one counts ·
 * `bytes` {f, n, o} with bytes for offset `o` · `size` and `zero` {f, n} · `part` {f, after, …}: S3 has this range, as it was
 * after change `after`, as a part of an upload in progress · `intent` {f, n, …}: a save of all up to `n` is about to be sent ·
 * `undo` {f, n}: that change was refused after all · `over` {f}: S3 has it, or it was given up. Records are met in any order:
 * what makes room may have written an old one once more.
 */
import type { ObjectDescription, ObjectVersion, WriteCondition } from '../s3/store.ts';
import type { RecordMeta } from './journal-record.ts';
import { RangeSet } from './ranges.ts';

/** Where a file goes, and what its changes are made on. */
export interface UnsavedBase {
  readonly key: string;
  readonly condition: WriteCondition | undefined;
  readonly description: ObjectDescription;
  /** What lies beneath. */
  readonly stored: ObjectVersion | undefined;
  /** Another object with the same bytes, where the first may have been replaced by the dead daemon itself. */
  readonly elsewhere?: ObjectVersion | undefined;
  /** Of its parts; see `PartGrid.shape`. */
  readonly grid: readonly [part: number, most: number];
}

/** A part of an upload in progress. Bytes. */
export interface JournaledPart {
  readonly uploadId: string;
  readonly number: number;
  readonly etag: string;
  /** See `UploadedPart`. */
  readonly crc32?: string | undefined;
  readonly offset: number;
  readonly size: number;
}

/** What a save was about to store. */
export interface SaveIntent {
  /** The changes up to this number. */
  readonly n: number;
  readonly size: number;
  /** Of an object in parts, where it can be told. */
  readonly etag: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

export type UnsavedStep<Entry> =
  | { readonly kind: 'bytes'; readonly n: number; readonly offset: number; readonly entry: Entry }
  | { readonly kind: 'size'; readonly n: number; readonly size: number }
  | { readonly kind: 'zero'; readonly n: number; readonly offset: number; readonly length: number }
  /** `only`: its bytes are nowhere else. */
  | { readonly kind: 'part'; readonly n: number; readonly part: JournaledPart; readonly only: boolean };

/** One file of an earlier daemon. */
export interface UnsavedFile<Entry> extends UnsavedBase {
  readonly id: number;
  /** In the order in which they happened. */
  readonly steps: readonly UnsavedStep<Entry>[];
  /** Of saves by whoever recovers it too. */
  readonly intents: SaveIntent[];
  /** ms since the epoch; of the last change that the description does not know. */
  readonly changedAt: number | undefined;
  /** All that is to be released when it is done. */
  readonly entries: Entry[];
}

export interface FoundUnsaved<Entry> {
  readonly files: readonly UnsavedFile<Entry>[];
  /** Entries that nobody needs. */
  readonly spare: readonly Entry[];
  /** Files of which the journal has lost what they are. */
  readonly lost: number;
  readonly nextId: number;
}

const TYPES = new Set(['file', 'bytes', 'size', 'zero', 'part', 'intent', 'undo', 'over']);

export function isUnsavedRecord({ meta }: { readonly meta: RecordMeta }): boolean {
  return TYPES.has(meta.t);
}

interface Gathered<Entry> {
  base: { readonly meta: RecordMeta; readonly from: number; readonly n: number; readonly order: number } | undefined;
  readonly steps: { readonly step: UnsavedStep<Entry>; readonly at: number }[];
  readonly intents: SaveIntent[];
  readonly undone: Set<number>;
  readonly entries: Entry[];
  isOver: boolean;
}

export function unsavedFiles<Entry>(
  found: readonly { readonly meta: RecordMeta; readonly entry: Entry }[],
): FoundUnsaved<Entry> {
  const gathered = new Map<number, Gathered<Entry>>();
  const spare: Entry[] = [];
  let nextId = 1;
  for (const { meta, entry } of found) {
    const id = meta['f'];
    if (!isNumber(id)) {
      spare.push(entry);
      continue;
    }
    nextId = Math.max(nextId, id + 1);
    let file = gathered.get(id);
    if (!file) {
      file = { base: undefined, steps: [], intents: [], undone: new Set(), entries: [], isOver: false };
      gathered.set(id, file);
    }
    file.entries.push(entry);
    gather(file, meta, entry);
  }
  const files: UnsavedFile<Entry>[] = [];
  let lost = 0;
  for (const [id, file] of [...gathered].sort(([a], [b]) => a - b)) {
    const made = file.isOver ? undefined : fileOf(id, file);
    if (made) files.push(made);
    else {
      if (!file.isOver && file.steps.length > 0) lost++;
      spare.push(...file.entries);
    }
  }
  return { files, spare, lost, nextId };
}

function gather<Entry>(file: Gathered<Entry>, meta: RecordMeta, entry: Entry): void {
  const { n, o, l, s, at = 0 } = meta;
  const add = (step: UnsavedStep<Entry>): void => {
    file.steps.push({ step, at: isNumber(at) ? at : 0 });
  };
  if (meta.t === 'over') file.isOver = true;
  else if (meta.t === 'file' && isBase(meta)) {
    const from = meta['from'] as number;
    const order = isNumber(meta['order']) ? meta['order'] : 0;
    // Not that which is met last: an old one may have been written once more behind it.
    if (!file.base || order >= file.base.order) file.base = { meta, from, n: Number(n), order };
  } else if (!isNumber(n)) return;
  else if (meta.t === 'bytes' && isNumber(o)) add({ kind: 'bytes', n, offset: o, entry });
  else if (meta.t === 'size' && isNumber(s)) add({ kind: 'size', n, size: s });
  else if (meta.t === 'zero' && isNumber(o) && isNumber(l)) add({ kind: 'zero', n, offset: o, length: l });
  else if (meta.t === 'part') {
    const part = partOf(meta);
    if (part) add({ kind: 'part', n, part, only: meta['only'] === true });
  } else if (meta.t === 'intent' && isNumber(s)) {
    const etag = typeof meta['etag'] === 'string' ? meta['etag'] : undefined;
    file.intents.push({ n, size: s, etag, metadata: (meta['metadata'] ?? {}) as Record<string, string> });
  } else if (meta.t === 'undo') file.undone.add(n);
}

function fileOf<Entry>(id: number, file: Gathered<Entry>): UnsavedFile<Entry> | undefined {
  if (!file.base) return undefined;
  const { meta, from, n: described } = file.base;
  const latest = new Map<string, number>();
  for (const { step } of file.steps) {
    if (step.kind === 'part') latest.set(nameOf(step.part), Math.max(latest.get(nameOf(step.part)) ?? 0, step.n));
  }
  const kept = file.steps.filter(({ step }) => {
    if (step.n <= from || (step.kind !== 'part' && file.undone.has(step.n))) return false;
    return step.kind !== 'part' || latest.get(nameOf(step.part)) === step.n;
  });
  // A part tells of all up to its number; written once more, a record may be there twice.
  kept.sort((a, b) => a.step.n - b.step.n || Number(a.step.kind === 'part') - Number(b.step.kind === 'part'));
  const seen = new Set<string>();
  const steps = kept.filter(({ step }) => {
    const name = step.kind === 'part' ? nameOf(step.part) : `${step.n}`;
    return !seen.has(name) && seen.add(name);
  });
  const last = steps.reduce((most, { step, at }) => (step.n > described ? Math.max(most, at) : most), 0);
  return {
    id,
    key: meta['key'] as string,
    condition: meta['condition'] as WriteCondition | undefined,
    description: meta['description'] as ObjectDescription,
    stored: meta['stored'] as ObjectVersion | undefined,
    elsewhere: isVersion(meta['elsewhere']) ? meta['elsewhere'] : undefined,
    grid: meta['grid'] as [number, number],
    steps: steps.map(({ step }) => step),
    intents: file.intents.filter(intent => intent.n > from),
    changedAt: last > 0 ? last : undefined,
    entries: file.entries,
  };
}

function nameOf({ uploadId, number }: JournaledPart): string {
  return `${number} ${uploadId}`;
}

/** What is to be done to have the file again; of bytes only what no part has. */
export type ReplayStep<Entry> =
  | Exclude<UnsavedStep<Entry>, { readonly kind: 'bytes' }>
  | {
      readonly kind: 'bytes';
      readonly offset: number;
      readonly entry: Entry;
      /** Of its bytes. */
      readonly pieces: readonly (readonly [from: number, to: number])[];
    };

/**
 * How `steps` are done again on top of an upload in progress. Its parts are used where nothing was changed in them later; what
 * they hold need not be read. With `onlyNeeded`, only those that are the only place of their bytes. Parts of other uploads
 * are nothing any more.
 */
export function planReplay<Entry extends { readonly bodyLength: number }>(
  steps: readonly UnsavedStep<Entry>[],
  uploadId: string | undefined,
  onlyNeeded: boolean,
): ReplayStep<Entry>[] {
  const used = new Map<UnsavedStep<Entry>, { readonly n: number; readonly start: number; readonly end: number }>();
  const later = new RangeSet();
  for (const step of steps.toReversed()) {
    if (step.kind === 'bytes') later.add(step.offset, step.offset + step.entry.bodyLength);
    else if (step.kind === 'size') later.add(step.size, Number.MAX_SAFE_INTEGER);
    else if (step.kind === 'zero') later.add(step.offset, step.offset + step.length);
    else {
      const { offset: start, size } = step.part;
      const isUsable = step.part.uploadId === uploadId && (step.only || !onlyNeeded);
      if (isUsable && !later.intersects(start, start + size)) used.set(step, { n: step.n, start, end: start + size });
    }
  }
  const parts = [...used.values()];
  return steps.flatMap((step): ReplayStep<Entry>[] => {
    if (step.kind === 'part') return used.has(step) ? [step] : [];
    if (step.kind !== 'bytes') return [step];
    const { offset, entry, n } = step;
    const left = RangeSet.of([0, entry.bodyLength]);
    for (const part of parts) if (part.n >= n) left.remove(part.start - offset, part.end - offset);
    const pieces: [number, number][] = [];
    left.visit(0, entry.bodyLength, (from, to) => pieces.push([from, to]));
    return pieces.length > 0 ? [{ kind: 'bytes', offset, entry, pieces }] : [];
  });
}

const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown): value is string => typeof value === 'string';

function isVersion(value: unknown): value is ObjectVersion {
  const { key, etag, size } = (value ?? {}) as Partial<Record<string, unknown>>;
  return isText(key) && isText(etag) && isNumber(size);
}

function isBase(meta: RecordMeta): boolean {
  const { description, stored } = meta as { description?: unknown; stored?: { key?: unknown; etag?: unknown } };
  return (
    isNumber(meta['from']) &&
    isNumber(meta['n']) &&
    isText(meta['key']) &&
    Array.isArray(meta['grid']) &&
    meta['grid'].length === 2 &&
    meta['grid'].every(isNumber) &&
    typeof description === 'object' &&
    description !== null &&
    (stored === undefined || (isText(stored.key) && isText(stored.etag)))
  );
}

function partOf(meta: RecordMeta): JournaledPart | undefined {
  const { upload: uploadId, number, etag, o: offset, l: size, crc32 } = meta;
  if (!isText(uploadId) || !isText(etag) || !isNumber(number) || !isNumber(offset) || !isNumber(size)) return undefined;
  return { uploadId, number, etag, offset, size, ...(isText(crc32) && { crc32 }) };
}
