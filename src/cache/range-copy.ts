/**
 * Copies between files: on the server where whole parts allow, the rest through memory.
 *
 * 1. A copy on the server needs bytes that an object has, and cells of the target's grid that lie wholly in the range. Its
 *    parts belong to the upload that the next save completes; until then their bytes are nowhere else, as of parts that were
 *    sent and let go, and the same rules hold.
 * 2. A store that cannot, or an object that has changed meanwhile, costs nothing but the attempt: those ranges go through
 *    memory, and that fails like every read.
 */
import { FsError, isStoreError } from '../errors.ts';
import type { ReadReply } from '../fuse/ops.ts';
import type { ObjectStore } from '../s3/store.ts';
import type { BlockCache } from './block-cache.ts';
import type { Overlay } from './overlay.ts';
import { visitSources } from './overlay.ts';
import { RangeSet } from './ranges.ts';
import { BLOCK_SIZE, type StoredContent } from './stored-content.ts';
import type { WriteTarget } from './waiting-writes.ts';

/** Of a copy through memory: what one read fetches. */
const COPY_STEP = 1024 * 1024;

/** The file that is read from. */
export interface CopySource extends Bytes {
  /** In bytes, now. */
  size(): number;
  /** What has `start` … `end` as the file has them; undefined if no object has. */
  storedAt(start: number, end: number): StoredContent | undefined;
}

interface Bytes {
  /** Called before memory is taken for these bytes: what it does may need memory itself. */
  prepare?(offset: number, length: number): Promise<void>;
  read(offset: number, length: number): ReadReply | Promise<ReadReply>;
}

/**
 * Copies `wanted` bytes at `fromOffset` of `source` to `offset`. Returns how many: fewer at the end of what there is by then,
 * or when it failed or was interrupted after the first.
 */
export async function copyRange(
  target: WriteTarget,
  source: CopySource,
  fromOffset: number,
  offset: number,
  wanted: number,
  signal?: AbortSignal,
): Promise<number> {
  const shift = fromOffset - offset;
  const end = offset + wanted;
  let at = offset;
  /** Copies up to `to` through memory; false if not all of it was. */
  const through = async (to: number): Promise<boolean> => {
    while (at < to) {
      // Others may have cut off what is read from.
      const bytes = Math.min(to - at, source.size() - at - shift);
      const copied = bytes > 0 ? await copyThroughMemory(target, source, shift, at, bytes, undefined, signal) : 0;
      if (copied === 0) return false;
      at += copied;
    }
    return true;
  };
  try {
    const [first] = target.upload.planCopies(offset, end);
    if (!first) {
      await through(end);
      return at - offset;
    }
    // In order, so that nothing lies behind where it fails.
    if (!(await through(first.offset))) return at - offset;
    await target.sent.recall(at, end, signal);
    const done = await target.betweenSaves(() => {
      const stored = target.maySend() ? source.storedAt(at + shift, end + shift) : undefined;
      return stored ? copyOnServer(target, stored, shift, at, end, signal) : new RangeSet();
    });
    for (const [start, to] of remainder(at, end, done)) {
      at = start;
      if (!(await through(to))) return at - offset;
    }
    return wanted;
  } catch (error) {
    if (at === offset) throw error;
    return at - offset;
  }
}

/** Makes all that lies in `content`, beneath the target, bytes of its own: it is about to go. While no save is under way. */
export async function takeOver(target: WriteTarget, content: StoredContent, blocks: BlockCache): Promise<void> {
  const { overlay } = target;
  const source: Bytes = { read: (at, length) => blocks.read(content, at, length) };
  for (const [start, end] of storedWithin(overlay, 0, overlay.limit)) {
    const done = target.maySend() ? await copyOnServer(target, content, 0, start, end) : new RangeSet();
    for (const [from, to] of remainder(start, end, done)) {
      await copyThroughMemory(target, source, 0, from, to - from, 'stored');
    }
  }
}

/** @throws {FsError} ESTALE if a save failed because `borrowed` is not there any more: nobody can have its bytes back. */
export async function expectUnchanged(store: ObjectStore, borrowed: StoredContent, error: unknown): Promise<void> {
  if (!isStoreError(error, 'precondition-failed', 'not-found')) return;
  const { key, etag } = borrowed.version;
  const now = await store.head(key).catch((failure: unknown) => {
    if (isStoreError(failure, 'not-found')) return undefined;
    throw failure;
  });
  if (now?.etag === etag || borrowed.version.key !== key) return;
  const message = `${key} was changed by another client before a copy of it was saved: nothing is left to make it of`;
  throw new FsError('ESTALE', message, { cause: error });
}

/**
 * Copies `length` bytes at `shift + start` of `source` to `start`, through memory. Returns how many: fewer at the
 * end of what there is, or when interrupted after the first. `only`: of what has no newer bytes in the target.
 */
async function copyThroughMemory(
  target: WriteTarget,
  source: Bytes,
  shift: number,
  start: number,
  length: number,
  only?: 'stored',
  signal?: AbortSignal,
): Promise<number> {
  const { memory, overlay, sent } = target;
  const most = Math.max(BLOCK_SIZE, Math.min(COPY_STEP, Math.floor(memory.limit / 4)));
  let copied = 0;
  while (copied < length) {
    const step = Math.min(most, length - copied);
    const at = start + copied;
    try {
      target.checkSize(at + step);
      // Before memory is taken: a save may need it.
      if (!only) await sent.recall(at, at + step, signal);
      await source.prepare?.(at + shift, step);
      const admitted = overlay.blocks.worstCost(at, step);
      await memory.admit(admitted, signal);
      let used = 0;
      try {
        const reply = await source.read(at + shift, step);
        let logged: ((isPut: boolean) => void) | undefined;
        let isPut = false;
        try {
          if (!only && reply.slices.length > 0) logged = await target.logged?.(at, reply.slices, signal && { signal });
          // It was sent meanwhile, and let go: once more.
          if (!only && sent.intersects(at, at + step)) continue;
          const bytes = reply.slices.reduce((sum, slice) => sum + slice.length, 0);
          isPut = true;
          for (const [from, to] of only ? storedWithin(overlay, at, at + bytes) : [[at, at + bytes] as const]) {
            used += putPiece(target, reply.slices, from - at, to - at, at);
          }
          if (bytes === 0) return copied;
          copied += bytes;
        } finally {
          logged?.(isPut);
          reply.release?.();
        }
      } finally {
        memory.settle(admitted - used);
      }
    } catch (error) {
      if (copied > 0 && !only) return copied;
      throw error;
    }
  }
  return copied;
}

/** Bytes `from` … `to` of `slices` go to `at + from`. */
function putPiece(target: WriteTarget, slices: readonly Uint8Array[], from: number, to: number, at: number): number {
  let used = 0;
  let place = 0;
  for (const slice of slices) {
    const begin = Math.max(from, place);
    const end = Math.min(to, place + slice.length);
    if (begin < end) used += target.put(at + begin, slice.subarray(begin - place, end - place));
    place += slice.length;
  }
  return used;
}

/** What of `start` … `end` is as in the content beneath, in order. */
function storedWithin(overlay: Overlay, start: number, end: number): (readonly [number, number])[] {
  const ranges: (readonly [number, number])[] = [];
  visitSources(overlay, start, Math.min(end, overlay.size), (source, from, to) => {
    if (source === 'stored') ranges.push([from, to]);
  });
  return ranges;
}

/**
 * Makes parts of `start` … `end` by copies of `source`, where the bytes lie `shift` further on; while no save is under way.
 * Resolves to what is done: the rest is left to the caller.
 */
async function copyOnServer(
  target: WriteTarget,
  source: StoredContent,
  shift: number,
  start: number,
  end: number,
  signal?: AbortSignal,
): Promise<RangeSet> {
  const { overlay, upload, sent } = target;
  const done = new RangeSet();
  const planned = upload.planCopies(start, end);
  // What was sent and let go there meanwhile is still needed, should the copy fail.
  if (planned.length === 0 || sent.intersects(start, end)) return done;
  for (const { offset, size } of await upload.copyCells(planned, source, shift, signal)) {
    overlay.sentElsewhere(offset, offset + size);
    done.add(offset, offset + size);
  }
  return done;
}

/** What of `start` … `end` is not in `done`, in order. */
function remainder(start: number, end: number, done: RangeSet): (readonly [number, number])[] {
  const left: (readonly [number, number])[] = [];
  let at = start;
  done.visit(start, end, (from, to) => {
    if (at < from) left.push([at, from]);
    at = to;
  });
  if (at < end) left.push([at, end]);
  return left;
}
