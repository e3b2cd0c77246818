/**
 * Makes room when memory is short, for one file: lets go of what the store has in parts of the upload in progress, and
 * moves what it has not to the spool.
 */
import type { DirtyBlock } from './dirty-blocks.ts';
import type { Overlay } from './overlay.ts';
import type { RangeSet } from './ranges.ts';
import type { Spool, SpoolFile } from './spool.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { HeldBuffer, Spillable } from './unsaved-memory.ts';
import type { FileUpload } from './upload.ts';

interface Spilling {
  readonly index: number;
  readonly buffer: HeldBuffer;
  readonly start: number;
  readonly ranges: RangeSet;
}

export class Spiller implements Spillable {
  readonly #spool: Spool;
  readonly #overlay: Overlay;
  readonly #upload: FileUpload;
  readonly #mayLetGo: () => boolean;
  #registered = false;
  #spilling: Promise<number> | undefined;

  /** `mayLetGo`: whether the upload will surely be completed under the name that it was begun for. */
  constructor(spool: Spool, overlay: Overlay, upload: FileUpload, mayLetGo: () => boolean) {
    this.#spool = spool;
    this.#overlay = overlay;
    this.#upload = upload;
    this.#mayLetGo = mayLetGo;
  }

  register(): void {
    if (this.#registered) return;
    this.#registered = true;
    this.#spool.memory.register(this);
  }

  unregister(): void {
    if (!this.#registered) return;
    this.#registered = false;
    this.#spool.memory.unregister(this);
  }

  get heldBytes(): number {
    return this.#overlay.blocks.bytes;
  }

  get spillableBytes(): number {
    return this.#spool.enabled ? this.#overlay.blocks.bytes : 0;
  }

  get comingBytes(): number {
    return this.#mayLetGo() ? this.#upload.comingBytes : 0;
  }

  letGo(bytes: number): number {
    if (!this.#mayLetGo()) return 0;
    this.#upload.hurry();
    const { memory } = this.#spool;
    const before = memory.held;
    while (before - memory.held < bytes && this.#upload.letGo());
    return before - memory.held;
  }

  spill(bytes: number): Promise<number> {
    const spilling = this.#spill(bytes).finally(() => {
      this.#spilling = undefined;
    });
    this.#spilling = spilling;
    return spilling;
  }

  /** Resolves when nothing is on its way to the disk. */
  async settled(): Promise<void> {
    await this.#spilling?.catch(() => {});
  }

  async #spill(bytes: number): Promise<number> {
    const overlay = this.#overlay;
    const chosen = this.#choose(bytes);
    if (chosen.length === 0) return 0;
    let file: SpoolFile | undefined;
    try {
      if (!overlay.spoolFile) {
        const opened = await this.#spool.open();
        // Spills of a file come one at a time, so nobody else has opened it.
        overlay.spoolFile = opened;
      }
      file = overlay.spoolFile.keep();
      for (const run of runs(chosen)) {
        await file.write(
          run.offset,
          run.pieces.map(piece => piece.bytes),
        );
      }
      if (overlay.spoolFile !== file) return 0;
      let moved = 0;
      for (const block of chosen) {
        overlay.spooledBlock(block.index, block.buffer, block.ranges);
        moved += block.buffer.cost;
      }
      return moved;
    } finally {
      for (const { buffer } of chosen) {
        buffer.frozen--;
        this.#spool.memory.drop(buffer);
      }
      file?.drop();
      // All of it may have been saved or given up meanwhile.
      if (overlay.spooled.isEmpty && overlay.blocks.bytes === 0) overlay.closeSpool();
    }
  }

  /** What the store has already is read back least likely; what is on its way to it is freed only when it has arrived. */
  #choose(bytes: number): Spilling[] {
    const sent: number[] = [];
    const idle: number[] = [];
    const busy: number[] = [];
    for (const [index, block] of this.#overlay.blocks.entries()) {
      if (!this.#overlay.maySpool(index, block)) continue;
      const start = index * BLOCK_SIZE;
      if (this.#upload.holds(start, start + BLOCK_SIZE)) sent.push(index);
      else if (block.buffer.frozen === 0) idle.push(index);
      else busy.push(index);
    }
    // The block written to last is about to be written to again.
    const last = idle.pop();
    if (last !== undefined) busy.push(last);
    const chosen: Spilling[] = [];
    let sum = 0;
    for (const index of [...sent, ...idle, ...busy]) {
      if (sum >= bytes) break;
      const block = this.#overlay.blocks.get(index)!;
      chosen.push(hold(index, block));
      sum += block.buffer.cost;
    }
    return chosen.sort((a, b) => a.index - b.index);
  }
}

function hold(index: number, { buffer, start, ranges }: DirtyBlock): Spilling {
  buffer.refs++;
  buffer.frozen++;
  return { index, buffer, start, ranges: ranges.copy() };
}

interface Run {
  readonly offset: number;
  readonly pieces: { readonly bytes: Uint8Array; readonly end: number }[];
}

/** What lies side by side in the file is written by one call. */
function runs(blocks: readonly Spilling[]): Run[] {
  const all: Run[] = [];
  for (const { index, buffer, start, ranges } of blocks) {
    const base = index * BLOCK_SIZE;
    ranges.visit(0, BLOCK_SIZE, (from, to) => {
      const piece = { bytes: buffer.bytes.subarray(from - start, to - start), end: base + to };
      const run = all.at(-1);
      if (run && run.pieces.at(-1)!.end === base + from && run.pieces.length < 512) run.pieces.push(piece);
      else all.push({ offset: base + from, pieces: [piece] });
    });
  }
  return all;
}
