/** Reads of a file with unsaved bytes: each range from where it is, put together in order. */
import type { Waiter } from '../concurrency.ts';
import type { Awaitable, ReadReply } from '../fuse/ops.ts';
import type { BlockCache } from './block-cache.ts';
import { type Overlay, visitSources } from './overlay.ts';
import { pushZeros } from './part-body.ts';
import type { ReadCursor } from './read-plan.ts';
import type { SpoolFile } from './spool.ts';
import { BLOCK_SIZE, type StoredContent } from './stored-content.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';

interface ReadContext {
  readonly blocks: BlockCache;
  readonly memory: UnsavedMemory;
  readonly cursor: ReadCursor | undefined;
  readonly waiter: Waiter | undefined;
}

/**
 * Bytes `start` … `end` of `overlay` over `stored`. What is in memory is not copied: until `release` its buffers are not
 * used for anything else, though a write in the meantime may show in them, as it may in any read that it overtakes.
 */
export function readOverlay(
  overlay: Overlay,
  stored: StoredContent | undefined,
  start: number,
  end: number,
  context: ReadContext,
): Awaitable<ReadReply> {
  const { blocks, memory, cursor, waiter } = context;
  const replies: Awaitable<ReadReply>[] = [];
  let waits = false;
  const add = (reply: Awaitable<ReadReply>): void => {
    if (reply instanceof Promise) waits = true;
    replies.push(reply);
  };
  const pieces: { source: 'spool' | 'zero' | 'stored'; start: number; end: number }[] = [];
  const flush = (): void => {
    const piece = pieces.pop();
    if (!piece) return;
    if (piece.source === 'zero') {
      const slices: Uint8Array[] = [];
      pushZeros(slices, piece.end - piece.start);
      add({ slices });
    } else if (piece.source === 'stored') {
      add(blocks.read(stored!, piece.start, piece.end - piece.start, cursor, waiter));
    } else add(readSpooled(overlay.spoolFile!, piece.start, piece.end, memory, waiter?.signal));
  };
  visitSources(overlay, start, end, (source, from, to, block) => {
    const last = pieces[0];
    if (source !== 'memory' && last?.source === source) {
      last.end = to;
      return;
    }
    flush();
    // It would have been read as zeros or as what was there before.
    if (source === 'sent') throw new Error(`bytes ${from} to ${to} are not at hand`);
    if (source !== 'memory') {
      pieces.push({ source, start: from, end: to });
      return;
    }
    const { buffer } = block!;
    buffer.refs++;
    const at = (from % BLOCK_SIZE) - block!.start;
    add({ slices: [buffer.bytes.subarray(at, at + to - from)], release: () => memory.drop(buffer) });
  });
  flush();
  return waits ? whenAll(replies) : joined(replies as ReadReply[]);
}

function joined(replies: readonly ReadReply[]): ReadReply {
  if (replies.length === 1) return once(replies[0]!);
  return once({
    slices: replies.flatMap(reply => reply.slices as Uint8Array[]),
    release: () => {
      for (const reply of replies) reply.release?.();
    },
  });
}

/** Releasing twice would free a buffer under its next user. */
function once({ slices, release }: ReadReply): ReadReply {
  if (!release) return { slices };
  let released = false;
  return {
    slices,
    release: () => {
      if (released) return;
      released = true;
      release();
    },
  };
}

async function whenAll(replies: readonly Awaitable<ReadReply>[]): Promise<ReadReply> {
  const settled = await Promise.allSettled(replies);
  const failed = settled.find(result => result.status === 'rejected');
  const arrived = settled.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
  if (!failed) return joined(arrived);
  for (const reply of arrived) reply.release?.();
  throw failed.reason;
}

/** Reads back from disk, into buffers that count in the budget until they are released. */
async function readSpooled(
  file: SpoolFile,
  start: number,
  end: number,
  memory: UnsavedMemory,
  signal: AbortSignal | undefined,
): Promise<ReadReply> {
  const whole = Math.floor((end - start) / BLOCK_SIZE) * BLOCK_SIZE;
  const cost = whole + (end - start > whole ? memory.costOf(end - start - whole) : 0);
  const buffers: Uint8Array[] = [];
  const release = (): void => {
    for (const buffer of buffers) memory.pool.give(buffer);
    memory.budget.release(cost);
  };
  file.keep();
  try {
    await memory.budget.acquire(cost, 0, signal);
    const slices: Uint8Array[] = [];
    try {
      for (let at = start; at < end; at += BLOCK_SIZE) {
        const length = Math.min(BLOCK_SIZE, end - at);
        const buffer = memory.pool.take(length);
        buffers.push(buffer);
        slices.push(buffer.subarray(0, length));
        await file.read(at, slices.at(-1)!);
      }
    } catch (error) {
      release();
      throw error;
    }
    return { slices, release };
  } finally {
    file.drop();
  }
}
