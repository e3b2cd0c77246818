/**
 * Gets the unsaved bytes of one file into the store: parts while the program is still writing, and the rest at its save.
 *
 * 1. Which parts, is decided by `upload-plan.ts`; where their bytes come from, by the capture; this carries it out.
 * 2. Parts go out ahead only where it pays: two whole ones at least, and more to come. A small file is one PUT.
 * 3. Nothing ahead of the save may fail it: what went wrong on the way is sent again, and only the save reports errors.
 */
import { createHash } from 'node:crypto';
import { type Clock, delay, forEachLimit } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import type { ObjectDescription, ObjectStore, UploadedPart, WriteCondition, Written } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { BlockCache } from './block-cache.ts';
import { type Capture, changedRanges, type Overlay } from './overlay.ts';
import { assemble } from './part-body.ts';
import { PartUpload, type SentPart } from './part-upload.ts';
import type { StoredContent } from './stored-content.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';
import { PartGrid, type PlannedPart, planUpload, type UploadSizes } from './upload-plan.ts';

/** Where a save goes, asked for anew each time. */
export interface SaveTarget {
  readonly key: string;
  /** Asked when an upload begins and again at each PUT. `writing`: a write is just under way, and not a save. */
  describe(writing?: boolean): ObjectDescription;
  readonly condition: WriteCondition | undefined;
}

export interface UploadEnvironment {
  readonly store: ObjectStore;
  readonly blocks: BlockCache;
  readonly memory: UnsavedMemory;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly sizes: UploadSizes;
}

/** What a save has stored: with which description, and what the store said. */
export interface Stored {
  readonly key: string;
  readonly written: Written;
  readonly description: ObjectDescription;
}

/** A write whose answer never came: if the object has this ETag and size, it was done. */
export interface Doubt {
  readonly key: string;
  readonly etag: string;
  readonly description: ObjectDescription;
}

/** Parts sent at once: one connection carries about 90 MB/s, and twelve of 8 MiB fit in the share of a 256 MiB budget. */
const PARALLEL_PARTS = 12;
/** Copies at once: no bytes pass here, but S3 counts requests per prefix. */
const PARALLEL_COPIES = 16;
/** A save begins again after a conflict with another write in progress, or when the upload has vanished. */
const ATTEMPTS = 4;
const CONFLICT_DELAY_MS = 100;

export class FileUpload {
  readonly #environment: UploadEnvironment;
  readonly #overlay: Overlay;
  readonly #target: () => SaveTarget;
  readonly #grid: PartGrid;
  readonly #parallel: number;
  #parts: PartUpload | undefined;
  /** Whole cells not sent yet. */
  readonly #ready = new Set<number>();
  /** Cells sent ahead since the last save: one that is rewritten waits for the save, or it would be sent each time. */
  readonly #sentAhead = new Set<number>();
  #inFlight = 0;
  /** Something failed on the way: the save is to find out, nothing more is sent ahead. */
  #failed = false;
  #saving = false;
  /** Parts being sent ahead, and uploads being given up. */
  readonly #running = new Set<Promise<void>>();
  /** Set when `save` has rejected though the store may have done what it was asked to. */
  doubt: Doubt | undefined;

  constructor(environment: UploadEnvironment, overlay: Overlay, target: () => SaveTarget) {
    this.#environment = environment;
    this.#overlay = overlay;
    this.#target = target;
    this.#grid = new PartGrid(environment.sizes, environment.store.limits);
    const fitting = Math.floor((environment.memory.limit * 0.75) / environment.sizes.part);
    this.#parallel = Math.max(1, Math.min(PARALLEL_PARTS, fitting));
  }

  /** Bytes in `start` … `end` are about to change. */
  touched(start: number, end: number): void {
    this.#parts?.touch(start, end);
  }

  /** Bytes in `start` … `end` were written: sends ahead what has become whole. */
  wrote(start: number, end: number): void {
    const grid = this.#grid;
    for (let cell = grid.cellOf(start); cell < grid.cells && grid.startOf(cell) < end; cell++) {
      if (!this.#sentAhead.has(cell) && !this.#ready.has(cell) && this.#isWhole(cell)) this.#ready.add(cell);
    }
    if (this.#ready.size > 0) this.#sendAhead();
  }

  /** True if the store has `start` … `end` as they are now, though not completed. */
  holds(start: number, end: number): boolean {
    return this.#parts?.holds(start, end) ?? false;
  }

  /**
   * Stores `capture`, whose unchanged bytes are those of `stored`.
   * @throws {StoreError} as the store said; `too-large` if no object can be that large. All parts that arrived are kept for
   * another try, unless the store refused the condition. `condition` stands for the target's own where it has one.
   */
  async save(
    capture: Capture,
    stored: StoredContent | undefined,
    condition: WriteCondition | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    this.#saving = true;
    this.doubt = undefined;
    for (const part of this.#parts?.parts ?? []) part.captured = part.live;
    try {
      return await this.#attempts(capture, stored, condition, signal);
    } finally {
      this.#saving = false;
      this.#failed = false;
    }
  }

  /** What was captured is stored: nothing that was sent for it counts any longer. */
  committed(): void {
    this.#parts = undefined;
    this.#sentAhead.clear();
    this.#sendAhead();
  }

  /** Gives up what was sent so far, if anything. Does not wait for the store. */
  giveUp(): void {
    const parts = this.#parts;
    if (!parts) return;
    this.#parts = undefined;
    this.#sentAhead.clear();
    this.#run(parts.abort());
  }

  /** Resolves when no request of this file is under way, but those of a save. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #run(task: Promise<void>): void {
    const running = task.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  #isWhole(cell: number): boolean {
    const start = this.#grid.startOf(cell);
    const end = start + this.#grid.sizeOf(cell);
    return end <= this.#overlay.size && this.#overlay.blocks.covers(start, end, this.#overlay.spooled);
  }

  #sendAhead(): void {
    while (!this.#saving && !this.#failed && this.#inFlight < this.#parallel && this.#ready.size > 0) {
      if (!this.#parts && (this.#ready.size < 2 || this.#overlay.size <= this.#environment.sizes.singlePut)) return;
      const [cell] = this.#ready;
      this.#ready.delete(cell!);
      if (this.#isWhole(cell!)) this.#sendCell(cell!);
    }
  }

  #sendCell(cell: number): void {
    const { memory } = this.#environment;
    const offset = this.#grid.startOf(cell);
    const size = this.#grid.sizeOf(cell);
    const parts = this.#begun();
    this.#sentAhead.add(cell);
    this.#inFlight++;
    memory.began();
    const capture = this.#overlay.capture(offset, offset + size);
    const part = this.#send(parts, { number: cell + 1, offset, size }, capture, undefined, {
      live: true,
      captured: false,
    });
    const sending = part.done.then(
      () => {},
      (error: unknown) => {
        if (this.#parts !== parts) return;
        this.#failed = true;
        this.#environment.telemetry.log.debug({ key: parts.key, part: part.number, error }, 'part sent ahead failed');
      },
    );
    this.#run(
      sending.then(() => {
        capture.release();
        this.#inFlight--;
        memory.ended();
        this.#sendAhead();
      }),
    );
  }

  #begun(): PartUpload {
    if (!this.#parts) {
      const target = this.#target();
      this.#parts = new PartUpload(this.#environment.store, target.key, target.describe(!this.#saving));
    }
    return this.#parts;
  }

  #send(
    parts: PartUpload,
    range: { readonly number: number; readonly offset: number; readonly size: number },
    capture: Capture,
    stored: StoredContent | undefined,
    marks: { readonly live: boolean; readonly captured: boolean },
    signal?: AbortSignal,
  ): SentPart {
    const { number, offset, size } = range;
    return parts.send(
      { number, offset, size },
      async (upload, signals) => {
        const body = await assemble(capture, stored, offset, offset + size, this.#environment, signals);
        try {
          return await upload.putPart(number, body.slices, { signal: signals });
        } finally {
          body.release();
        }
      },
      marks,
      signal,
    );
  }

  async #attempts(
    capture: Capture,
    stored: StoredContent | undefined,
    instead: WriteCondition | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    const { store, sizes, clock } = this.#environment;
    const changed = changedRanges(capture);
    for (let attempt = 1; ; attempt++) {
      const asked = this.#target();
      const target = asked.condition && instead ? withCondition(asked, instead) : asked;
      if (this.#parts && (this.#parts.key !== target.key || this.#parts.broken)) this.giveUp();
      const sent = (this.#parts?.parts ?? []).filter(part => part.captured && !part.failed);
      const plan = planUpload({ size: capture.size, changed, sent, limits: store.limits, sizes });
      if (!plan) {
        throw new StoreError('too-large', `${target.key} has ${capture.size} bytes: more than S3 takes in an object`, {
          key: target.key,
        });
      }
      let parts: PartUpload | undefined;
      try {
        if (plan.kind === 'put') return await this.#put(target, capture, stored, signal);
        parts = this.#begun();
        return await this.#sendParts(parts, plan.parts, target, capture, stored, signal);
      } catch (error) {
        // A rename meanwhile has given the upload up: what failed is of no interest.
        const overtaken = parts !== undefined && this.#parts !== parts && !signal?.aborted;
        const vanished = isStoreError(error, 'no-such-upload');
        const conflict = isStoreError(error, 'conflict');
        // S3 wants a new upload after a conflict; after a refused condition there is nothing to complete.
        if (vanished || conflict || isStoreError(error, 'precondition-failed', 'invalid')) this.giveUp();
        if (attempt >= ATTEMPTS || !(overtaken || vanished || conflict)) throw error;
        if (conflict) await delay(clock, CONFLICT_DELAY_MS * 2 ** (attempt - 1), signal);
      }
    }
  }

  async #put(
    target: SaveTarget,
    capture: Capture,
    stored: StoredContent | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    const { store } = this.#environment;
    const body = await assemble(capture, stored, 0, capture.size, this.#environment, signal);
    try {
      const description = target.describe();
      const options = signal === undefined ? {} : { signal };
      const written = await store.put(target.key, body.slices, description, target.condition, options).catch(error => {
        if (isUncertain(error)) this.doubt = { key: target.key, etag: etagOfBody(body.slices), description };
        throw error;
      });
      // A file that was large once may have an upload in progress.
      this.giveUp();
      return { key: target.key, written, description };
    } finally {
      body.release();
    }
  }

  async #sendParts(
    parts: PartUpload,
    planned: readonly PlannedPart[],
    target: SaveTarget,
    capture: Capture,
    stored: StoredContent | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    const uploaded = new Array<UploadedPart>(planned.length);
    const stop = new AbortController();
    const signals = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
    let first: { readonly error: unknown } | undefined;
    const run = (indexes: readonly number[], limit: number): Promise<void> =>
      forEachLimit(indexes, limit, async index => {
        try {
          uploaded[index] = await this.#sendPart(parts, planned[index]!, capture, stored, signals);
        } catch (error) {
          first ??= { error };
          stop.abort();
          throw error;
        }
      });
    const indexes = (from: PlannedPart['from']): number[] =>
      planned.flatMap((part, index) => (part.from === from ? [index] : []));
    await Promise.allSettled([
      run(indexes('copy'), PARALLEL_COPIES),
      run([...indexes('send'), ...indexes('sent')], this.#parallel),
    ]);
    if (first) throw first.error;
    const written = await parts.complete(uploaded, target.condition, signal).catch(error => {
      const { key, description } = parts;
      if (isUncertain(error)) this.doubt = { key, etag: etagOfParts(uploaded), description };
      throw error;
    });
    return { key: parts.key, written, description: parts.description };
  }

  async #sendPart(
    parts: PartUpload,
    planned: PlannedPart,
    capture: Capture,
    stored: StoredContent | undefined,
    signal: AbortSignal,
  ): Promise<UploadedPart> {
    const { number, offset, size, from } = planned;
    if (from === 'sent') {
      const part = parts.parts.find(other => other.number === number && other.captured);
      try {
        if (part) return await part.done;
      } catch (error) {
        if (parts.stopped || signal.aborted || isStoreError(error, 'no-such-upload')) throw error;
      }
    }
    const marks = { live: this.#overlay.isIntactSince(offset, offset + size), captured: true };
    if (from === 'copy') {
      return parts.send(
        { number, offset, size },
        (upload, signals) => upload.copyPart(number, stored!.version, offset, size, { signal: signals }),
        marks,
        signal,
      ).done;
    }
    return this.#send(parts, { number, offset, size }, capture, stored, marks, signal).done;
  }
}

function withCondition(target: SaveTarget, condition: WriteCondition): SaveTarget {
  return { key: target.key, condition, describe: writing => target.describe(writing) };
}

/** The request may have reached the store. */
function isUncertain(error: unknown): boolean {
  return isStoreError(error, 'unavailable', 'timeout', 'aborted', 'corrupt');
}

/** What S3 gives a PUT as its ETag, unless it encrypts with a KMS key: then no doubt can be settled by it. */
function etagOfBody(slices: readonly Uint8Array[]): string {
  const hash = createHash('md5');
  for (const slice of slices) hash.update(slice);
  return `"${hash.digest('hex')}"`;
}

/** Likewise of a multipart upload: the MD5 of the parts' MD5s, and their number. */
function etagOfParts(parts: readonly UploadedPart[]): string {
  const hash = createHash('md5');
  for (const part of parts) hash.update(Buffer.from(part.etag.replaceAll('"', ''), 'hex'));
  return `"${hash.digest('hex')}-${parts.length}"`;
}
