/**
 * The bytes of one request that sends: gathered from memory without a copy, from the spool and from the stored object
 * into buffers taken for this request, and zeros from one shared buffer.
 */
import type { BlockCache } from './block-cache.ts';
import { crc32OfSlices } from './block-sums.ts';
import { type Capture, visitSources } from './overlay.ts';
import type { SpoolFile } from './spool.ts';
import { BLOCK_SIZE, type StoredContent } from './stored-content.ts';
import type { HeldBuffer, UnsavedMemory } from './unsaved-memory.ts';

/** Never written to. 1 MiB, so that a part of zeros is a few slices; untouched, it takes no memory. */
const ZEROS = new Uint8Array(1024 * 1024);

/** Adds `length` zeros to `slices`. */
export function pushZeros(slices: Uint8Array[], length: number): void {
  for (let left = length; left > 0; left -= ZEROS.length) {
    slices.push(left >= ZEROS.length ? ZEROS : ZEROS.subarray(0, left));
  }
}

export interface Body {
  readonly slices: readonly Uint8Array[];
  /** Of all of them. */
  crc32(): number;
  release(): void;
}

/** What a body must be read from before it can be sent. */
interface Fetched {
  readonly source: 'spool' | 'stored';
  readonly start: number;
  readonly slices: readonly Uint8Array[];
}

/** Stored bytes are read in requests of at most this: the size of a GET. */
const READ_STEP = 8 * 1024 * 1024;

/**
 * Bytes `start` … `end` of `capture` over `stored`. The buffers stay as they are until `release`.
 * @throws {StoreError} of the read of stored bytes; {FsError} EIO if the spool cannot be read.
 */
export async function assemble(
  capture: Capture,
  stored: StoredContent | undefined,
  start: number,
  end: number,
  environment: { readonly memory: UnsavedMemory; readonly blocks: BlockCache },
  signal: AbortSignal | undefined,
): Promise<Body> {
  const { memory, blocks } = environment;
  const held: HeldBuffer[] = [];
  let fetched = 0;
  const pieces: {
    source: 'memory' | 'spool' | 'zero' | 'stored';
    start: number;
    end: number;
    bytes?: Uint8Array;
    buffer?: HeldBuffer;
  }[] = [];
  visitSources(capture, start, end, (source, from, to, block) => {
    if (source === 'memory') {
      const { buffer } = block!;
      if (held.at(-1) !== buffer) {
        buffer.refs++;
        buffer.frozen++;
        held.push(buffer);
      }
      const at = (from % BLOCK_SIZE) - block!.start;
      pieces.push({ source, start: from, end: to, bytes: buffer.bytes.subarray(at, at + to - from), buffer });
      return;
    }
    // Never planned: what has left memory is used as the part that it is.
    if (source === 'sent') throw new Error(`bytes ${from} to ${to} are not at hand`);
    if (source !== 'zero') fetched += to - from;
    const last = pieces.at(-1);
    if (last?.source === source) last.end = to;
    else pieces.push({ source, start: from, end: to });
  });
  const spoolFile: SpoolFile | undefined = capture.spoolFile?.keep();
  const buffers: Uint8Array[] = [];
  let cost = 0;
  let allowed = 0;
  const release = (): void => {
    for (const buffer of held.splice(0)) {
      buffer.frozen--;
      memory.drop(buffer);
    }
    for (const buffer of buffers.splice(0)) memory.pool.give(buffer);
    memory.budget.release(cost);
    memory.assembly.release(allowed);
    cost = 0;
    allowed = 0;
  };
  try {
    if (fetched > 0) {
      const wanted = Math.floor(fetched / BLOCK_SIZE) * BLOCK_SIZE;
      const needed = wanted + (fetched > wanted ? memory.costOf(fetched - wanted) : 0);
      await memory.assembly.acquire(needed, 0, signal);
      allowed = needed;
      await memory.budget.acquire(needed, 0, signal);
      cost = needed;
      for (let left = fetched; left > 0; left -= BLOCK_SIZE) {
        buffers.push(memory.pool.take(Math.min(left, BLOCK_SIZE)));
      }
    }
    const slices: Uint8Array[] = [];
    const wholes = new Map<Uint8Array, HeldBuffer>();
    const reads: Fetched[] = [];
    let place = 0;
    for (const piece of pieces) {
      if (piece.bytes) {
        slices.push(piece.bytes);
        if (piece.bytes.length === piece.buffer!.bytes.length) wholes.set(piece.bytes, piece.buffer!);
      } else if (piece.source === 'zero') pushZeros(slices, piece.end - piece.start);
      else {
        const own = cut(buffers, place, piece.end - piece.start);
        place += piece.end - piece.start;
        slices.push(...own);
        reads.push({ source: piece.source as 'spool' | 'stored', start: piece.start, slices: own });
      }
    }
    for (const read of reads) {
      if (read.source === 'spool') await readSpool(spoolFile!, read);
      else await readStored(blocks, stored!, read, Math.min(READ_STEP, memory.budget.total / 8), signal);
    }
    return { slices, crc32: () => crc32OfSlices(slices, wholes), release };
  } catch (error) {
    release();
    throw error;
  } finally {
    spoolFile?.drop();
  }
}

/** `length` bytes from `place` on, of buffers that are whole blocks but for the last. */
function cut(buffers: readonly Uint8Array[], place: number, length: number): Uint8Array[] {
  const slices: Uint8Array[] = [];
  for (let at = place; at < place + length; ) {
    const from = at % BLOCK_SIZE;
    const take = Math.min(BLOCK_SIZE - from, place + length - at);
    slices.push(buffers[Math.floor(at / BLOCK_SIZE)]!.subarray(from, from + take));
    at += take;
  }
  return slices;
}

async function readSpool(file: SpoolFile, { start, slices }: Fetched): Promise<void> {
  let at = start;
  for (const slice of slices) {
    await file.read(at, slice);
    at += slice.length;
  }
}

async function readStored(
  blocks: BlockCache,
  stored: StoredContent,
  { start, slices }: Fetched,
  most: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const length = slices.reduce((sum, slice) => sum + slice.length, 0);
  const step = Math.max(BLOCK_SIZE, Math.floor(most / BLOCK_SIZE) * BLOCK_SIZE);
  let target = 0;
  let filled = 0;
  for (let at = start; at < start + length; ) {
    // Steps end where blocks end, so that no block is asked for twice.
    const to = Math.min(start + length, (Math.floor(at / BLOCK_SIZE) + step / BLOCK_SIZE) * BLOCK_SIZE);
    const reply = await blocks.read(stored, at, to - at, undefined, signal && { signal });
    try {
      for (const from of reply.slices) {
        for (let done = 0; done < from.length; ) {
          const into = slices[target]!;
          const take = Math.min(from.length - done, into.length - filled);
          into.set(from.subarray(done, done + take), filled);
          done += take;
          filled += take;
          at += take;
          if (filled === into.length) {
            target++;
            filled = 0;
          }
        }
      }
    } finally {
      reply.release?.();
    }
  }
}
