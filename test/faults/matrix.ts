/**
 * The fault matrix: every S3 operation that a file operation sends × every fault that makes sense for it.
 *
 * Each cell is a mount of its own. The file operation runs while the fault strikes its first such request (`once`) or all of
 * them (`lasting`); then the fault ends and what waits is saved. Whatever the operation said: no byte of what it had written
 * is lost, no object and no read is a mix, other clients' bytes are where they were, and it took no longer than it may.
 */
import { forEachLimit } from '../../src/concurrency.ts';
import type { FaultRule } from '../../src/embedded-s3/faults.ts';
import { toFsError } from '../../src/errors.ts';
import { isConflictName } from '../../src/fs/conflict-name.ts';
import { type Contents, type FileOperation, OPERATIONS, THEIRS, WrongBytes } from './operations.ts';
import { BOUND_MS, BUCKET, FaultyWorld, TOO_LONG_MS } from './world.ts';

/** How long a fault lasts. */
export type Span = 'once' | 'lasting';

export interface Fault {
  readonly name: string;
  readonly title: string;
  readonly spans: readonly Span[];
  /** S3 operations for which it makes sense; absent: all. */
  readonly only?: RegExp;
  /** Another client has a hand in it: only for operations with a contested key. */
  readonly foreign?: 'replaced' | 'deleted';
  /** Once is enough to fail an operation. */
  readonly fatal?: boolean;
  /** What a program may be told. */
  readonly errors?: readonly string[];
  rule(world: FaultyWorld, operation: FileOperation, span: Span): Omit<FaultRule, 'operation' | 'count' | 'after'>;
}

const BOTH: readonly Span[] = ['once', 'lasting'];
const WITH_BODY = /^GetObject$/;
const TARGETS_KEY = /^(Head|Get|Put|Copy|Delete)Object$|^UploadPart|^CompleteMultipart/;

export const FAULTS: readonly Fault[] = [
  { name: '500', errors: ['EIO'], title: 'InternalError', spans: BOTH, rule: () => ({ kind: 'status', status: 500 }) },
  {
    name: '503',
    errors: ['EIO'],
    title: 'SlowDown',
    spans: ['once'],
    rule: () => ({ kind: 'status', status: 503, code: 'SlowDown' }),
  },
  {
    name: '403',
    errors: ['EACCES'],
    title: 'AccessDenied in mid-life',
    spans: ['lasting'],
    rule: () => ({ kind: 'status', status: 403 }),
  },
  {
    name: 'expired',
    errors: ['EACCES'],
    title: 'ExpiredToken; once: new credentials are at hand',
    spans: BOTH,
    rule: (world, _operation, span) => ({
      kind: 'status',
      status: 400,
      code: 'ExpiredToken',
      run: () => {
        world.switches.renewed = span === 'once';
      },
    }),
  },
  {
    name: 'skew',
    title: "RequestTimeTooSkewed from here on: this machine's clock has jumped by 20 minutes",
    spans: ['once'],
    rule: world => ({
      kind: 'event',
      run: () => {
        world.storeClock.skew = -20 * 60_000;
      },
    }),
  },
  {
    name: 'lost',
    errors: ['EIO'],
    title: 'the work is done, the reply is lost',
    spans: BOTH,
    rule: () => ({ kind: 'lost' }),
  },
  {
    name: 'reset',
    errors: ['EIO'],
    title: 'connection reset in mid-body',
    spans: ['once'],
    only: WITH_BODY,
    rule: () => ({ kind: 'reset' }),
  },
  {
    name: 'truncated',
    errors: ['EIO'],
    title: 'the body ends early',
    spans: ['once'],
    only: WITH_BODY,
    rule: () => ({ kind: 'truncate' }),
  },
  {
    name: 'stall',
    errors: ['ETIMEDOUT'],
    title: 'no more bytes in mid-body',
    spans: BOTH,
    only: /^(GetObject|PutObject|UploadPart)$/,
    rule: () => ({ kind: 'stall', ms: TOO_LONG_MS }),
  },
  {
    name: 'corrupt',
    errors: ['EIO'],
    title: 'a bit flipped in the body',
    spans: BOTH,
    only: /^(GetObject|PutObject|UploadPart)$/,
    rule: () => ({ kind: 'corrupt' }),
  },
  {
    name: 'slow',
    errors: ['ETIMEDOUT'],
    title: 'no first byte of an answer',
    spans: BOTH,
    rule: () => ({ kind: 'slow', ms: TOO_LONG_MS }),
  },
  {
    name: 'DNS',
    errors: ['EIO'],
    title: 'the connection breaks and the name no longer resolves; once: it does again',
    spans: BOTH,
    rule: (world, _operation, span) => ({
      kind: 'lost',
      run: () => {
        world.switches.dns = span === 'once';
      },
    }),
  },
  {
    name: 'no bucket',
    // Answers to HEAD have no body that could tell.
    errors: ['EIO', 'ENOENT'],
    title: 'the bucket was deleted',
    spans: ['lasting'],
    rule: () => ({ kind: 'status', status: 404, code: 'NoSuchBucket' }),
  },
  {
    name: 'replaced',
    title: 'another client replaces the object right before the request',
    spans: ['once'],
    only: TARGETS_KEY,
    foreign: 'replaced',
    rule: (world, operation) => ({
      kind: 'event',
      run: () => void world.s3.putObject(BUCKET, operation.contested!, THEIRS),
    }),
  },
  {
    name: 'deleted',
    title: 'another client deletes the object right before the request',
    spans: ['once'],
    only: TARGETS_KEY,
    foreign: 'deleted',
    rule: (world, operation) => ({
      kind: 'event',
      run: () => void world.s3.deleteObject(BUCKET, operation.contested!),
    }),
  },
  {
    name: 'upload gone',
    title: 'NoSuchUpload: somebody aborts the upload',
    fatal: true,
    spans: ['once'],
    only: /^(UploadPart|UploadPartCopy|CompleteMultipartUpload|AbortMultipartUpload)$/,
    rule: world => ({ kind: 'event', run: () => world.s3.abortUploads(BUCKET) }),
  },
  { name: 'page', errors: ['EIO'], title: 'a web page with status 200', spans: BOTH, rule: () => ({ kind: 'page' }) },
  {
    name: 'cut XML',
    errors: ['EIO'],
    title: 'the work is done, the XML ends in the middle',
    spans: ['once'],
    only: /^(ListObjectsV2|CopyObject|UploadPartCopy|CreateMultipartUpload|CompleteMultipartUpload|DeleteObjects|GetObjectTagging)$/,
    rule: () => ({ kind: 'cut' }),
  },
  {
    name: 'error in 200',
    errors: ['EIO'],
    title: 'status 200, and then an error',
    spans: ['once'],
    only: /^(CopyObject|UploadPartCopy|CompleteMultipartUpload)$/,
    rule: () => ({ kind: 'error200' }),
  },
];

export interface Cell {
  readonly operation: FileOperation;
  /** S3's name, and which request of it: 1 is the first. */
  readonly request: string;
  readonly nth: number;
  readonly fault: Fault;
  readonly span: Span;
}

export interface Verdict {
  readonly cell: Cell;
  /** `ok` or an errno; `+copy` where a conflict copy was made, `+local` where bytes ended on the local disk. */
  readonly outcome: string;
  /** What must not be; empty if all is well. */
  readonly wrongs: readonly string[];
  readonly ms: number;
}

/** Which requests the operation sends when nothing is wrong: S3's names, with how often. */
export async function requestsOf(operation: FileOperation): Promise<ReadonlyMap<string, number>> {
  const world = await prepared(operation);
  try {
    world.s3.resetStats();
    await operation.run(world);
    await world.filesystem.drain();
    // Those sent side by side come in any order.
    return new Map(Object.entries(world.s3.stats.requests).sort(([a], [b]) => (a < b ? -1 : 1)));
  } finally {
    await world.close();
  }
}

/** Which of `times` requests are struck. Of copies the third as well: an exchange is three, each over what the last has saved. */
function struck(request: string, times: number): readonly number[] {
  if (times === 1 || !/^(GetObject|UploadPart|UploadPartCopy|CopyObject)$/.test(request)) return [1];
  return request === 'CopyObject' && times > 2 ? [1, 2, 3] : [1, 2];
}

export async function allCells(): Promise<Cell[]> {
  const cells: Cell[] = [];
  for (const operation of OPERATIONS) {
    for (const [request, times] of await requestsOf(operation)) {
      for (const nth of struck(request, times)) {
        for (const fault of FAULTS) {
          if (fault.only && !fault.only.test(request)) continue;
          if (fault.foreign && operation.contested === undefined) continue;
          for (const span of fault.spans) cells.push({ operation, request, nth, fault, span });
        }
      }
    }
  }
  return cells;
}

/** Runs all cells, some side by side: most of their time they wait for time-outs. */
export async function runMatrix(
  cells: readonly Cell[],
  atOnce = 12,
  told: (verdict: Verdict) => void = () => {},
): Promise<Verdict[]> {
  const verdicts: Verdict[] = new Array(cells.length);
  await forEachLimit(cells, atOnce, async (cell, index) => {
    const verdict = await runCell(cell);
    verdicts[index] = verdict;
    told(verdict);
  });
  return verdicts;
}

async function prepared(operation: FileOperation): Promise<FaultyWorld> {
  const world = await FaultyWorld.make(operation.unlearned ? 'unknown' : 'aws');
  for (const [key, bytes] of Object.entries(operation.before)) world.s3.putObject(BUCKET, key, bytes);
  await operation.prepare?.(world);
  return world;
}

export async function runCell(cell: Cell): Promise<Verdict> {
  const { operation, request, nth, fault, span } = cell;
  const world = await prepared(operation);
  const before = new Map(Object.entries(operation.before));
  for (const [key, bytes] of world.contents()) before.set(key, bytes);
  const wrongs: string[] = [];
  let outcome = 'ok';
  let ms = 0;
  try {
    world.s3.faults.add({
      ...fault.rule(world, operation, span),
      operation: request,
      after: nth - 1,
      ...(span === 'once' ? { count: 1 } : {}),
    });
    const began = performance.now();
    try {
      await operation.run(world);
    } catch (error) {
      if (error instanceof WrongBytes) wrongs.push(error.message);
      const known = toFsError(error);
      outcome = known?.code ?? 'bug';
      if (!known) wrongs.push(`not an error of ours: ${String(error)}`);
    }
    ms = performance.now() - began;
    if (ms > BOUND_MS) wrongs.push(`took ${Math.round(ms)} ms`);
    if (world.s3.faults.active[0]!.hits === 0) outcome = '–';
    await world.recover();
    const after = world.contents();
    if ([...after.keys()].some(key => key.endsWith('(conflict)'))) outcome += '+copy';
    const { names } = world.filesystem.unsaved();
    const local = names.length > 0 ? await world.recovered() : [];
    if (local.length > 0) outcome += '+local';
    if (names.length > 0 && !fault.foreign && !fault.fatal) wrongs.push(`still unsaved: ${names.join()}`);
    wrongs.push(...wrongsOf(cell, outcome, before, after, world.accepted, local));
  } finally {
    await world.close();
  }
  return { cell, outcome, wrongs, ms };
}

function wrongsOf(
  { operation, fault, span }: Cell,
  outcome: string,
  before: ReadonlyMap<string, Buffer>,
  after: ReadonlyMap<string, Buffer>,
  accepted: boolean,
  local: readonly Buffer[],
): string[] {
  const wrongs: string[] = [];
  const known = [...before.values(), ...Object.values(operation.after), THEIRS];
  if (operation.written) known.push(operation.written);
  for (const [key, bytes] of after) {
    const isBeside = isConflictName(key.slice(key.lastIndexOf('/') + 1));
    const hasHoles = fault.foreign !== undefined && isBeside && operation.written && bytes.includes(operation.written);
    if (hasHoles && Object.values(operation.after).some(version => isWithHoles(version, bytes))) continue;
    if (!known.some(version => version.equals(bytes))) wrongs.push(`${key} has ${bytes.length} bytes of no version`);
  }
  const kept = (bytes: Buffer): boolean =>
    [...after.values(), ...local].some(each => each.equals(bytes) || each.includes(bytes));
  if (operation.written && accepted && !kept(operation.written)) wrongs.push('what was written is lost');
  if (fault.foreign === 'replaced' && outcome !== '–' && !operation.unconditional && !kept(THEIRS)) {
    // A request that is the last to see the object has done its work before they came, or right over it.
    wrongs.push("the other client's bytes are lost");
  }
  if (fault.foreign) return wrongs;
  if (span === 'once' && !fault.fatal && outcome !== 'ok' && outcome !== '–') wrongs.push('a passing fault was felt');
  const right = [...(fault.errors ?? [outcome]), ...(operation.errors ?? []), 'ok', '–'];
  if (!right.includes(outcome)) wrongs.push('a wrong errno');
  const states: Contents[] =
    outcome === 'ok' || outcome === '–'
      ? [operation.after]
      : [Object.fromEntries(before), operation.after, ...(operation.between ?? [])];
  if (!states.some(state => sameContents(state, after))) {
    wrongs.push(
      `after "${outcome}" the bucket has ${[...after].map(([key, { length }]) => `${key} (${length})`).join() || 'nothing'}`,
    );
  }
  return wrongs;
}

function sameContents(state: Contents, contents: ReadonlyMap<string, Buffer>): boolean {
  const keys = Object.keys(state);
  return keys.length === contents.size && keys.every(key => contents.get(key)?.equals(state[key]!) === true);
}

/** Of a version that is gone a conflict copy may have zeros where nothing was written here (SEMANTICS, C10). */
function isWithHoles(version: Buffer, bytes: Buffer): boolean {
  return version.length === bytes.length && bytes.every((byte, i) => byte === 0 || byte === version[i]);
}
