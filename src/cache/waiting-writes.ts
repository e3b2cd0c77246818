/** Writes that find no memory at once, and what whoever writes into a file bit by bit needs of it. */
import type { Waiter } from '../concurrency.ts';
import type { Overlay } from './overlay.ts';
import type { SentRanges } from './sent-ranges.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { FileLog } from './unsaved-log.ts';
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
  /** Brings bytes that are about to be `put` into the journal; to be told then whether they were. */
  logged?(offset: number, slices: readonly Uint8Array[], waiter?: Waiter): Promise<(isPut: boolean) => void>;
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

/**
 * Writes what the journal has first: all of it is there before anybody is answered. Rejects as `FileContent.write`, and with
 * ENOSPC where the journal has no room.
 */
export async function writeLogged(
  target: WriteTarget,
  offset: number,
  data: Uint8Array,
  waiter: Waiter | undefined,
): Promise<void> {
  const { memory, overlay, sent, put } = target;
  const end = offset + data.length;
  if (sent.intersects(offset, end)) await sent.recall(offset, end, waiter?.signal);
  // Before the journal: whoever finds no memory has not written anything.
  const admitted = overlay.blocks.worstCost(offset, data.length);
  const isAdmitted = memory.tryAdmit(admitted);
  const done = await target.logged!(offset, [data], waiter).catch((error: unknown) => {
    if (isAdmitted) memory.letGo(admitted);
    throw error;
  });
  if (isAdmitted && !sent.intersects(offset, end)) {
    // First, in the same turn: a part that begins with this write is noted as one that has it.
    done(true);
    memory.letGo(admitted - put(offset, data));
    return;
  }
  if (isAdmitted) memory.letGo(admitted);
  let isPut = false;
  try {
    await writeWaiting(target, offset, data, waiter?.signal);
    isPut = true;
  } finally {
    done(isPut);
  }
}

/**
 * Does `apply`, which needs the bytes of `range` at hand, when the journal has `record` of it. Where that fails nothing has
 * changed: O_TRUNC on a full disk once told ENOSPC and had emptied the file.
 */
export async function changeLogged(
  { sent }: WriteTarget,
  log: FileLog,
  record: Promise<number>,
  range: readonly [start: number, end: number] | undefined,
  apply: () => void,
): Promise<void> {
  const n = await record;
  try {
    // Perhaps let go of meanwhile.
    while (range && sent.intersects(...range)) await sent.recall(...range);
  } catch (error) {
    log.undo(n);
    throw error;
  }
  log.applied(n);
  apply();
}
