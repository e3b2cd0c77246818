/** Writes that find no memory at once, and what whoever writes into a file bit by bit needs of it. */
import type { Overlay } from './overlay.ts';
import type { SentRanges } from './sent-ranges.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';
import type { FileUpload } from './upload.ts';

/** The file that is written to. */
export interface WriteTarget {
  readonly memory: UnsavedMemory;
  readonly overlay: Overlay;
  readonly upload: FileUpload;
  readonly sent: SentRanges;
  /** Copies bytes in, whose memory has been admitted; returns how much of that it used. */
  put(offset: number, data: Uint8Array): number;
  /** @throws {FsError} EFBIG */
  checkSize(size: number): void;
  /** Whether bytes may be in parts of the upload only. */
  maySend(): boolean;
  /** Runs `work` while no save is under way. */
  betweenSaves<T>(work: () => Promise<T> | T): Promise<T>;
}

/** Writes all of `data` at `offset`. Rejects as `FileContent.write`. */
export async function writeWaiting(
  { memory, overlay, sent, put }: WriteTarget,
  offset: number,
  data: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<void> {
  // All or nothing where the share can ever hold it: nobody is to see half of a write, nor is it to fail half-way.
  const whole = overlay.blocks.worstCost(offset, data.length) <= memory.limit;
  const most = whole ? data.length : Math.max(BLOCK_SIZE, Math.floor(memory.limit / 2));
  for (let done = 0; done < data.length; ) {
    const piece = data.subarray(done, done + most);
    const at = offset + done;
    // Before memory is taken: a save may need it.
    await sent.recall(at, at + piece.length, signal);
    const admitted = overlay.blocks.worstCost(at, piece.length);
    await memory.admit(admitted, signal);
    let used = 0;
    if (!sent.intersects(at, at + piece.length)) {
      used = put(at, piece);
      done += piece.length;
    }
    memory.settle(admitted - used);
  }
}

/** Writes at the end, wherever that is when there is memory. Returns the offset that the bytes got. */
export async function appendWaiting(
  { memory, overlay, put, checkSize }: WriteTarget,
  data: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<number> {
  // Wherever the end will be: one block more than the length alone needs.
  const admitted = overlay.blocks.worstCost(BLOCK_SIZE - 1, data.length);
  await memory.admit(admitted, signal);
  let used = 0;
  try {
    const offset = overlay.size;
    checkSize(offset + data.length);
    used = put(offset, data);
    return offset;
  } finally {
    memory.settle(admitted - used);
  }
}
