/** What becomes of a file whose base is nowhere any more: what of it is in memory is kept as if it had been written. */
import type { ReadReply } from '../fuse/ops.ts';
import type { BlockCache } from './block-cache.ts';
import { visitSources } from './overlay.ts';
import { BLOCK_SIZE, type StoredContent } from './stored-content.ts';
import type { WriteTarget } from './waiting-writes.ts';

/** Leaves nothing of `file` to `base`. Returns how many bytes have become zeros. */
export function loseBase(file: WriteTarget, base: StoredContent, blocks: BlockCache): number {
  const { overlay, upload } = file;
  const left: [start: number, end: number][] = [];
  visitSources(overlay, 0, overlay.size, (source, start, end) => {
    if (source === 'stored') left.push([start, end]);
  });
  let lost = 0;
  // Each range lies in one block.
  for (const [start, end] of left) {
    const isThere = blocks.has(base, Math.floor(start / BLOCK_SIZE));
    const reply = isThere ? blocks.read(base, start, end - start) : undefined;
    if (reply && !(reply instanceof Promise) && adopt(file, start, reply)) continue;
    upload.touched(start, end);
    overlay.clear(start, end);
    lost += end - start;
  }
  return lost;
}

/** Takes over bytes of the base; false if there is no memory for them now: whoever saves must not wait for any. */
function adopt({ memory, overlay, put }: WriteTarget, offset: number, reply: ReadReply): boolean {
  const { slices } = reply;
  const length = slices.reduce((sum, slice) => sum + slice.length, 0);
  const cost = overlay.blocks.cost(offset, length);
  const isAdmitted = memory.tryAdmit(cost);
  let used = 0;
  let at = offset;
  for (const slice of isAdmitted ? slices : []) {
    used += put(at, slice);
    at += slice.length;
  }
  reply.release?.();
  if (isAdmitted) memory.letGo(cost - used);
  return isAdmitted;
}
