/**
 * Gets the unsaved bytes of one file into the store: parts while the program is still writing, and the rest at its save.
 *
 * 1. Which parts, is decided by `upload-plan.ts`; where their bytes come from, by the capture; this carries it out.
 * 2. Parts go out ahead only where it pays: two whole ones at least, and more to come. A small file is one PUT.
 * 3. Nothing ahead of the save may fail it: what went wrong on the way is sent again, and only the save reports errors.
 * 4. Under pressure memory lets go of parts that the store has. From then on the upload is the only place of their bytes:
 *    it is never aborted but by who gives the bytes up, and every attempt completes this one.
 */
import { type Clock, delay, forEachLimit } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import type { ObjectStore, ObjectVersion, WriteCondition } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { BlockCache } from './block-cache.ts';
import { BlockSums } from './block-sums.ts';
import { CellsBehind } from './cells-behind.ts';
import type { Doubt } from './doubt.ts';
import { type Capture, changedRanges, type Overlay, zeroRanges } from './overlay.ts';
import { PartGrid, planCellCopies } from './part-grid.ts';
import { PartUpload, type SentPart } from './part-upload.ts';
import { RangeSet } from './ranges.ts';
import { type SaveEnvironment, SaveRequests, type SaveTarget, type Stored } from './save-requests.ts';
import { BLOCK_SIZE, type StoredContent } from './stored-content.ts';
import type { FileLog } from './unsaved-log.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';
import type { JournaledPart } from './unsaved-records.ts';
import { planUpload, type SentRange, type UploadSizes } from './upload-plan.ts';
import { dropZeros, zerosFor } from './zero-object.ts';

export interface UploadEnvironment {
  readonly store: ObjectStore;
  readonly blocks: BlockCache;
  readonly memory: UnsavedMemory;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly sizes: UploadSizes;
  /** Bytes of the largest cell that is held in memory. Default: by the limit of memory. */
  readonly cellLimit?: number | undefined;
  /** Where parts are noted. */
  readonly log?: FileLog | undefined;
  readonly intent?: SaveEnvironment['intent'];
}

/** Parts sent at once: one connection carries about 90 MB/s, and twelve of 8 MiB fit in the share of a 256 MiB budget. */
const PARALLEL_PARTS = 12;
/** Copies at once: no bytes pass here, but S3 counts requests per prefix. */
const PARALLEL_COPIES = 16;
/** Of the share of memory, for one cell: some are on their way while the next one is filled. */
const CELL_SHARE = 0.25;
/** A save begins again after a conflict with another write in progress, or when the upload has vanished. */
const ATTEMPTS = 4;
const CONFLICT_DELAY_MS = 100;

export class FileUpload {
  readonly #environment: UploadEnvironment;
  readonly #overlay: Overlay;
  readonly #target: () => SaveTarget;
  readonly #grid: PartGrid;
  readonly #behind: CellsBehind;
  readonly #parallel: number;
  #parts: PartUpload | undefined;
  /** It was begun by an earlier daemon. */
  #isResumed = false;
  /** Whole cells not sent yet. */
  readonly #ready = new Set<number>();
  /** Cells sent ahead since the last save: one that is rewritten waits for the save, or it would be sent each time. */
  readonly #sentAhead = new Set<number>();
  #inFlight = 0;
  /** Something failed on the way: the save is to find out, nothing more is sent ahead. */
  #failed = false;
  #saving = false;
  /** Within a write: times that go out with what it fills are those of now. */
  #isWriting = false;
  /** Memory is short: an upload begins with the first whole cell. */
  #isHurried = false;
  /** Parts being sent ahead, and uploads being given up. */
  readonly #running = new Set<Promise<void>>();
  readonly #requests: SaveRequests;
  readonly #sums = new BlockSums();

  readonly #tooOld: () => void;

  /** `tooOld`: called when an upload has held bytes for so long that a save should complete it. */
  constructor(environment: UploadEnvironment, overlay: Overlay, target: () => SaveTarget, tooOld: () => void) {
    this.#environment = environment;
    this.#tooOld = tooOld;
    this.#overlay = overlay;
    this.#target = target;
    const held = Math.floor((environment.memory.limit * CELL_SHARE) / BLOCK_SIZE) * BLOCK_SIZE;
    this.#grid = new PartGrid(environment.sizes, environment.store.limits, environment.cellLimit ?? held);
    this.#behind = new CellsBehind(this.#grid);
    const fitting = Math.floor((environment.memory.limit * 0.75) / this.#grid.sizeOf(0));
    this.#parallel = Math.max(1, Math.min(PARALLEL_PARTS, fitting));
    this.#requests = new SaveRequests(environment, overlay, this.#parallel);
  }

  /** What makes its parts fit those of another daemon. */
  get grid(): readonly [part: number, most: number] {
    return this.#grid.shape;
  }

  /** Goes on with an upload of an earlier daemon. Its parts `numbers` are to be adopted, and not sent before. */
  resume(uploadId: string, numbers: readonly number[]): void {
    const { store, clock } = this.#environment;
    const { key, describe } = this.#target();
    this.#parts = new PartUpload(store, clock, key, describe(), store.resumeUpload(key, uploadId));
    this.#isResumed = true;
    for (const number of numbers) this.#sentAhead.add(number - 1);
  }

  /** The upload that was resumed has `part`. */
  adopt({ number, etag, crc32, offset, size }: JournaledPart): void {
    this.#parts?.adopt({ number, etag, size, ...(crc32 !== undefined && { crc32 }) }, offset);
    this.#parts?.watchAge(this.#tooOld);
  }

  /** Set when `save` has rejected though the store may have done what it was asked to. */
  get doubt(): Doubt | undefined {
    return this.#requests.doubt;
  }

  /** Bytes in `start` … `end` are about to change. */
  touched(start: number, end: number): void {
    this.#parts?.touch(start, end);
  }

  /** Bytes in `start` … `end` were written: sends ahead what has become whole. */
  wrote(start: number, end: number): void {
    const grid = this.#grid;
    if (this.#parts?.vanished !== undefined && this.#overlay.sent.isEmpty) {
      // What it held has been thrown away since: nothing is lost by beginning another.
      this.giveUp();
      this.#failed = false;
    }
    for (let cell = grid.cellOf(start); cell < grid.cells && grid.startOf(cell) < end; cell++) {
      this.#behind.wrote(cell, start, end);
      if (!this.#sentAhead.has(cell) && !this.#ready.has(cell) && this.#isWhole(cell)) this.#ready.add(cell);
    }
    if (this.#parts && this.#carriesSums) this.#sums.wrote(this.#overlay, start, end);
    if (this.#ready.size === 0) return;
    this.#isWriting = true;
    this.#sendAhead();
    this.#isWriting = false;
  }

  /** True if the store has `start` … `end` as they are now, though not completed. */
  holds(start: number, end: number): boolean {
    return this.#parts?.holds(start, end) ?? false;
  }

  /** Bytes on their way that memory can let go of as soon as the store has them. */
  get comingBytes(): number {
    return this.#parts?.vanished === undefined ? this.#behind.comingBytes(this.#saving) : 0;
  }

  /** Begins to send what a writer in sequence has left behind, though it may turn out to be too little for an upload. */
  hurry(): void {
    if (this.#isHurried || ![...this.#ready].some(cell => this.#behind.has(cell))) return;
    this.#isHurried = true;
    this.#sendAhead();
  }

  /** Lets go of one part that the store has, the one left behind longest. False if there is none. */
  letGo(): boolean {
    const parts = this.#parts;
    if (!parts || parts.vanished !== undefined) return false;
    for (let part = this.#behind.take(this.#saving); part; part = this.#behind.take(this.#saving)) {
      const end = part.offset + part.size;
      // What is in the spool already takes no memory.
      if (!this.#overlay.inMemory(part.offset, end)) continue;
      part.required = true;
      parts.watchAge(this.#tooOld);
      this.#overlay.letGo(part.offset, end);
      this.#note(parts, [part], journaled => this.#environment.log?.letGo(journaled));
      return true;
    }
    return false;
  }

  /** Which parts of `start` … `end` could be copies of another object. Empty where sending is as good. */
  planCopies(start: number, end: number): readonly SentRange[] {
    const { store, sizes } = this.#environment;
    if (end - start <= sizes.singlePut) return [];
    return planCellCopies(start, end, this.#grid, store.limits, sizes);
  }

  /**
   * Makes `ranges` parts by copies on the server, from bytes of `source` that lie `shift` further on there; only while no
   * save is under way. Resolves to those that the store has and that nothing has changed since: from now on their bytes are
   * nowhere else. Why others failed is of no interest: what is not copied has to be sent.
   */
  async copyCells(
    ranges: readonly SentRange[],
    source: StoredContent,
    shift: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly SentRange[]> {
    const parts = this.#begunAhead(true);
    if (!parts) return [];
    const cellsOf = ({ number, offset, size }: SentRange): number[] => {
      const cells = [];
      for (let cell = number - 1; this.#grid.startOf(cell) < offset + size; cell++) cells.push(cell);
      return cells;
    };
    for (const cell of ranges.flatMap(cellsOf)) {
      // A part sent from here under the same number would take the place of the copy.
      this.#ready.delete(cell);
      this.#sentAhead.add(cell);
    }
    // What was sent there before may not be let go of any more: it is about to be replaced.
    for (const { offset, size } of ranges) parts.touch(offset, offset + size);
    const { version } = source;
    let isFailed = false;
    const sent: SentPart[] = [];
    await forEachLimit(ranges, PARALLEL_COPIES, async range => {
      if (isFailed || parts.stopped) return;
      const { number, offset, size } = range;
      const part = parts.send(
        range,
        (upload, signals) => upload.copyPart(number, version, offset + shift, size, { signal: signals }),
        { live: true, captured: false },
        signal,
      );
      try {
        await part.done;
        sent.push(part);
      } catch (error) {
        isFailed = true;
        if (isStoreError(error, 'no-such-upload')) parts.vanished ??= error;
        this.#environment.telemetry.log.debug({ key: parts.key, part: number, error }, 'part not copied on the server');
      }
    });
    const isCurrent = this.#parts === parts && parts.vanished === undefined;
    const right = isCurrent ? sent.filter(part => part.live) : [];
    for (const part of right) part.required = true;
    await this.#note(parts, right, journaled => this.#environment.log?.copied(journaled));
    if (right.length > 0) parts.watchAge(this.#tooOld);
    for (const range of ranges) {
      if (right.some(({ number }) => number === range.number)) continue;
      for (const cell of cellsOf(range)) this.#sentAhead.delete(cell);
    }
    return right;
  }

  /** Tells the journal of parts that the store has. Never rejects: without a note they are sent again. */
  async #note(
    { uploadId }: PartUpload,
    parts: readonly SentPart[],
    how: (parts: readonly JournaledPart[]) => Promise<void> | undefined,
  ): Promise<void> {
    if (!this.#environment.log || uploadId === undefined || parts.length === 0) return;
    const journaled = parts.map(({ offset, uploaded }) => ({ uploadId, offset, ...uploaded! }));
    await how(journaled)?.catch((error: unknown) => {
      this.#environment.telemetry.log.debug({ error }, 'parts are not noted in the journal');
    });
  }

  /** What was sent and let go is lost: why. Undefined while it can still be completed. */
  get lost(): StoreError | undefined {
    if (this.#parts?.vanished === undefined || this.#overlay.sent.isEmpty) return undefined;
    const { key, vanished } = this.#parts;
    const kept = this.#overlay.unsavedBytes - this.#overlay.sent.bytes;
    return new StoreError(
      'no-such-upload',
      `S3 no longer has the upload in progress of ${key}: another client or a lifecycle rule of the bucket aborted it. ` +
        `${this.#overlay.sent.bytes} bytes that it held are lost (${kept} are kept); write the file again`,
      { operation: 'CompleteMultipartUpload', key, cause: vanished },
    );
  }

  /**
   * Stores `capture`, whose unchanged bytes are those of `stored`; `isOther`: an object under another name.
   * @throws {StoreError} as the store said; `too-large` if no object can be that large. All parts that arrived are kept for
   * another try, unless the store refused the condition. `condition` stands for the target's own where it has one.
   */
  async save(
    capture: Capture,
    stored: StoredContent | undefined,
    isOther: boolean,
    condition: WriteCondition | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    this.#saving = true;
    this.#requests.doubt = undefined;
    for (const part of this.#parts?.parts ?? []) part.captured = part.live;
    try {
      return await this.#attempts(capture, stored, isOther, condition, signal);
    } finally {
      this.#saving = false;
      this.#failed = false;
    }
  }

  /** What was captured is stored: nothing that was sent for it counts any longer. */
  committed(): void {
    this.#forgetParts();
    this.#sendAhead();
  }

  /** Gives up what was sent so far, if anything, and with it what is nowhere else. Does not wait for the store. */
  giveUp(): void {
    const parts = this.#parts;
    if (!parts) return;
    this.#forgetParts();
    this.#run(parts.abort());
  }

  /** The same, but for an upload that an earlier daemon had begun: somebody else will go on with that. */
  abandon(): void {
    if (this.#isResumed) this.#forgetParts();
    else this.giveUp();
  }

  /** The name is another: what was sent under the old one is given up, and sent once more. */
  renamed(): void {
    for (const { number, offset, size, live } of this.#parts?.parts ?? []) {
      const cell = number - 1;
      if (live && offset === this.#grid.startOf(cell) && size === this.#grid.sizeOf(cell)) this.#ready.add(cell);
    }
    this.giveUp();
    if (this.#ready.size > 0) this.#sendAhead();
  }

  #forgetParts(): void {
    this.#parts?.ended();
    this.#parts = undefined;
    this.#isResumed = false;
    this.#sentAhead.clear();
    this.#behind.clear();
    this.#isHurried = false;
  }

  /** Resolves when no request of this file is under way, but those of a save. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #run(task: Promise<void>): void {
    const running = task.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** A store that compares no checksums gets none: then nobody asks for those of blocks. */
  get #carriesSums(): boolean {
    return (this.#environment.store.features.checksums ?? 'compared') === 'compared';
  }

  #isWhole(cell: number): boolean {
    const start = this.#grid.startOf(cell);
    const end = start + this.#grid.sizeOf(cell);
    return end <= this.#overlay.size && this.#overlay.blocks.covers(start, end, this.#overlay.spooled);
  }

  #sendAhead(): void {
    while (!this.#saving && !this.#failed && this.#inFlight < this.#parallel && this.#ready.size > 0) {
      if (!this.#parts && !this.#isHurried && !this.#pays()) return;
      const [cell] = this.#ready;
      this.#ready.delete(cell!);
      if (this.#isWhole(cell!)) this.#sendCell(cell!);
    }
  }

  #pays(): boolean {
    return this.#ready.size >= 2 && this.#overlay.size > this.#environment.sizes.singlePut;
  }

  #sendCell(cell: number): void {
    const { memory } = this.#environment;
    const offset = this.#grid.startOf(cell);
    const size = this.#grid.sizeOf(cell);
    const parts = this.#begunAhead(this.#isWriting);
    if (!parts) return;
    this.#sentAhead.add(cell);
    this.#inFlight++;
    memory.began();
    const capture = this.#overlay.capture(offset, offset + size);
    const after = this.#environment.log?.position ?? 0;
    const part = this.#requests.send(parts, { number: cell + 1, offset, size }, capture, undefined, {
      live: true,
      captured: false,
    });
    this.#behind.sent(cell, part);
    const sending = part.done.then(
      () => {
        if (part.live && this.#parts === parts) {
          void this.#note(parts, [part], ([noted]) => this.#environment.log?.sent(noted!, after));
        }
      },
      (error: unknown) => {
        if (this.#parts !== parts) return;
        this.#failed = true;
        if (isStoreError(error, 'no-such-upload')) parts.vanished ??= error;
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

  #begunAhead(isWriting: boolean): PartUpload | undefined {
    try {
      return this.#begun(isWriting);
    } catch (error) {
      // It has no name just now (another client's version took it): the save is to find one.
      this.#failed = true;
      this.#environment.telemetry.log.debug({ error }, 'no upload ahead of the save');
      return undefined;
    }
  }

  #begun(isWriting = false): PartUpload {
    if (!this.#parts) {
      const { store, clock } = this.#environment;
      const target = this.#target();
      this.#parts = new PartUpload(store, clock, target.key, target.describe(isWriting));
    }
    return this.#parts;
  }

  async #attempts(
    capture: Capture,
    stored: StoredContent | undefined,
    isOther: boolean,
    instead: WriteCondition | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    const { store, sizes, clock } = this.#environment;
    const changed = changedRanges(capture);
    let maySkipZeros = true;
    for (let attempt = 1; ; attempt++) {
      const asked = this.#target();
      const target = asked.condition && instead ? withCondition(asked, instead) : asked;
      this.#expectUsable(target.key);
      if (stored && isOther && changed.isEmpty && capture.size === stored.size) {
        const copied = await this.#requests.copy(target, stored);
        if (copied) {
          this.giveUp();
          return copied;
        }
      }
      const sent = (this.#parts?.parts ?? []).filter(part => part.captured && !part.failed);
      const zeros = target.aside && maySkipZeros ? zeroRanges(capture) : new RangeSet();
      const plan = planUpload({ size: capture.size, changed, zeros, sent, limits: store.limits, sizes });
      if (!plan) {
        throw new StoreError('too-large', `${target.key} has ${capture.size} bytes: more than S3 takes in an object`, {
          key: target.key,
        });
      }
      // A part that the plan does without is sent anew, or another gets its number: it must not become the only one.
      const used = new Set(
        plan.kind === 'multipart' ? plan.parts.flatMap(p => (p.from === 'sent' ? [p.number] : [])) : [],
      );
      for (const part of sent) part.captured = used.has(part.number);
      let parts: PartUpload | undefined;
      let aside: ObjectVersion | undefined;
      try {
        if (plan.kind === 'put') {
          const put = await this.#requests.put(target, capture, stored, signal);
          // A file that was large once may have an upload in progress.
          this.giveUp();
          return put;
        }
        const hole = Math.max(...plan.parts.map(({ from, size }) => (from === 'zero' ? size : 0)));
        if (hole > 0) {
          aside = await zerosFor(this.#environment, target.aside!(), hole, signal);
          maySkipZeros = aside !== undefined;
          // Then they are sent, like anything else.
          if (!aside) continue;
        }
        parts = this.#begun();
        const beneath = { stored, zeros: aside };
        return await this.#requests.sendParts(parts, plan.parts, target, capture, beneath, signal);
      } catch (error) {
        // A rename meanwhile has given the upload up: what failed is of no interest.
        const overtaken = parts !== undefined && this.#parts !== parts && !signal?.aborted;
        const vanished = isStoreError(error, 'no-such-upload');
        const conflict = isStoreError(error, 'conflict');
        if (vanished && parts) parts.vanished ??= error;
        // What is nowhere else but in this upload can only be completed once more, or under another condition. The program
        // may have thrown it away meanwhile, and with it the upload: then there is no such content any more to be saved.
        const isNeeded = !capture.sent.isEmpty || !this.#overlay.sent.isEmpty;
        if (isNeeded && (vanished || overtaken)) throw this.lost ?? error;
        // S3 wants a new upload after a conflict; after a refused condition there is nothing to complete.
        const isEnded = vanished || conflict || isStoreError(error, 'precondition-failed', 'invalid');
        // A part of an attempt that was broken off came after the one that was sent in its place; or the parts together do not
        // have the checksum of what was sent.
        const isMixed = isStoreError(error) && hasOtherParts(error);
        if ((isEnded || isMixed) && !isNeeded) this.giveUp();
        if (attempt >= ATTEMPTS || !(overtaken || vanished || conflict || (isMixed && !isNeeded))) throw error;
        if (conflict) await delay(clock, CONFLICT_DELAY_MS * 2 ** (attempt - 1), signal);
      } finally {
        if (aside) await dropZeros(this.#environment, aside);
      }
    }
  }

  /** Gives up an upload that the next attempt has no use for. @throws {StoreError} if it holds what is nowhere else. */
  #expectUsable(key: string): void {
    const parts = this.#parts;
    if (!parts || (parts.key === key && !parts.broken && parts.vanished === undefined)) return;
    if (this.lost) throw this.lost;
    if (!this.#overlay.sent.isEmpty) {
      const message = `${key} cannot be saved: ${this.#overlay.sent.bytes} of its bytes are in an upload of ${parts.key}`;
      throw new StoreError('invalid', message, { key });
    }
    this.giveUp();
  }
}

function hasOtherParts({ details }: StoreError): boolean {
  const { operation, s3Code } = details;
  return s3Code === 'InvalidPart' || (operation === 'CompleteMultipartUpload' && s3Code === 'BadDigest');
}

function withCondition(target: SaveTarget, condition: WriteCondition): SaveTarget {
  return { ...target, condition, describe: writing => target.describe(writing) };
}
