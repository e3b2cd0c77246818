/**
 * What was saved becomes cached blocks of the new content: nobody fetches again what this mount has just sent.
 *
 * A block that was written whole changes hands without a copy. One written in part is completed from the old content, if
 * that is in memory. All others, untouched, are inherited.
 */
import type { BlockCache } from './block-cache.ts';
import type { DirtyBlock } from './dirty-blocks.ts';
import { type Capture, changedRanges, visitSources } from './overlay.ts';
import { BLOCK_SIZE, type StoredContent } from './stored-content.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';

/** Blocks of one save that are completed by copying (8 MiB, about a millisecond): the rest is fetched if it is read. */
const MAX_COMPLETED = 64;

/** `forget` ends the overlay's hold on what was saved, so that buffers may change hands. `isOther`: `base` lives on. */
export function commitBlocks(
  capture: Capture,
  base: StoredContent | undefined,
  content: StoredContent,
  environment: { readonly blocks: BlockCache; readonly memory: UnsavedMemory },
  forget: () => void,
  isOther = false,
): void {
  const { blocks, memory } = environment;
  const completed: [number, Uint8Array][] = [];
  const whole: [number, DirtyBlock][] = [];
  for (const [index, block] of capture.blocks) {
    const length = content.blockLength(index);
    if (block.start === 0 && block.ranges.covers(0, length)) whole.push([index, block]);
    else if (completed.length < MAX_COMPLETED) {
      const bytes = complete(capture, base, index, length, environment);
      if (bytes) completed.push([index, bytes]);
    }
  }
  if (base && base !== content && !isOther) {
    const changed = changedRanges(capture);
    blocks.inherit(
      base,
      content,
      index => !changed.intersects(index * BLOCK_SIZE, index * BLOCK_SIZE + content.blockLength(index)),
    );
    blocks.drop(base);
  }
  forget();
  for (const [index, bytes] of completed) blocks.adopt(content, index, bytes);
  for (const [index, block] of whole) {
    // One reference is the capture's: whoever else holds the buffer would see it reused.
    if (block.buffer.refs > 1) {
      const bytes = copyOf(block.buffer.bytes, content.blockLength(index), memory);
      if (bytes) blocks.adopt(content, index, bytes);
      continue;
    }
    capture.blocks.delete(index);
    memory.passOn(block.buffer);
    blocks.adopt(content, index, block.buffer.bytes);
  }
}

function copyOf(bytes: Uint8Array, length: number, memory: UnsavedMemory): Uint8Array | undefined {
  if (!memory.budget.tryAcquire(memory.costOf(length))) return undefined;
  const copy = memory.pool.take(length);
  copy.set(bytes.subarray(0, length));
  return copy;
}

/** The whole of a block written in part, if the rest is at hand without waiting; the budget is taken for it. */
function complete(
  capture: Capture,
  base: StoredContent | undefined,
  index: number,
  length: number,
  { blocks, memory }: { readonly blocks: BlockCache; readonly memory: UnsavedMemory },
): Uint8Array | undefined {
  const start = index * BLOCK_SIZE;
  let atHand = true;
  visitSources(capture, start, start + length, source => {
    if (source === 'spool' || source === 'sent' || (source === 'stored' && !(base && blocks.has(base, index))))
      atHand = false;
  });
  if (!atHand || !memory.budget.tryAcquire(memory.costOf(length))) return undefined;
  const bytes = memory.pool.take(length);
  visitSources(capture, start, start + length, (source, from, to, block) => {
    if (source === 'memory') {
      const at = from - start - block!.start;
      bytes.set(block!.buffer.bytes.subarray(at, at + to - from), from - start);
    } else if (source === 'zero') bytes.fill(0, from - start, to - start);
    else if (!fill(bytes, from - start, blocks, base!, from, to)) atHand = false;
  });
  if (atHand) return bytes;
  memory.pool.give(bytes);
  memory.budget.release(memory.costOf(length));
  return undefined;
}

/** False if the bytes were not in memory after all: taking memory may have pushed them out. */
function fill(
  bytes: Uint8Array,
  at: number,
  blocks: BlockCache,
  base: StoredContent,
  from: number,
  to: number,
): boolean {
  if (!blocks.has(base, Math.floor(from / BLOCK_SIZE))) return false;
  const reply = blocks.read(base, from, to - from);
  if (reply instanceof Promise) {
    reply.then(
      late => late.release?.(),
      () => {},
    );
    return false;
  }
  let place = at;
  for (const slice of reply.slices) {
    bytes.set(slice, place);
    place += slice.length;
  }
  reply.release?.();
  return true;
}
