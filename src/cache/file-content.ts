import { eitherSignal, Mutex, type Waiter } from '../concurrency.ts';
import { FsError, isStoreError } from '../errors.ts';
import type { Awaitable, ReadReply } from '../fuse/ops.ts';
import type { ObjectVersion, WriteCondition } from '../s3/store.ts';
import { CloseRoom } from './close-room.ts';
import { commitBlocks } from './commit.ts';
import type { ContentEnvironment, Saved } from './content-environment.ts';
import { type Doubt, wasDone } from './doubt.ts';
import { loseBase } from './lost-base.ts';
import { Overlay, visitSources } from './overlay.ts';
import { readOverlay } from './overlay-read.ts';
import { type CopySource, copyRange, expectUnchanged, takeOver } from './range-copy.ts';
import type { ReadCursor } from './read-plan.ts';
import type { SaveTarget } from './save-requests.ts';
import { type ContentOwner, SentRanges } from './sent-ranges.ts';
import { Spiller } from './spiller.ts';
import type { Borrower, StoredContent } from './stored-content.ts';
import type { FileLog } from './unsaved-log.ts';
import type { JournaledPart, SaveIntent, UnsavedBase } from './unsaved-records.ts';
import { FileUpload } from './upload.ts';
import { UPLOAD_SIZES } from './upload-plan.ts';
import { appendWaiting, changeLogged, type WriteTarget, writeLogged, writeWaiting } from './waiting-writes.ts';

export type { ContentEnvironment, Saved } from './content-environment.ts';
export type { SaveTarget } from './save-requests.ts';
export type { ContentOwner } from './sent-ranges.ts';

const EMPTY: ReadReply = { slices: [] };

export class FileContent implements Borrower {
  readonly #environment: ContentEnvironment;
  readonly #overlay: Overlay;
  readonly #upload: FileUpload;
  readonly #spiller: Spiller;
  readonly #sent: SentRanges;
  readonly #saves = new Mutex();
  readonly #owner: ContentOwner | undefined;
  readonly #log: FileLog | undefined;
  readonly #closeRoom: CloseRoom | undefined;
  /** A change of its size, or of bytes to zeros, that is on its way into the log. Never rejects. */
  #changing: Promise<void> | undefined;
  /** What the save in progress ends with, in the log. */
  #upTo = 0;
  /** For whoever writes into it bit by bit. */
  readonly #written: WriteTarget;
  #stored: StoredContent | undefined;
  /** What is beneath the overlay instead of what is stored: bytes of another file, until the next save. */
  #borrowed: StoredContent | undefined;
  /** Where the bytes of what is stored are too, while its key may get others. */
  #copied: { readonly of: StoredContent; readonly at: ObjectVersion } | undefined;
  /** `overlay.generation` of what is stored. */
  #savedGeneration = 0;
  #isLocal = false;
  /** A save that failed and may have been done all the same. */
  #doubt: (Doubt & { readonly size: number; readonly generation: number; readonly upTo: number }) | undefined;
  /** What such a save has stored, until a `save` has told of it. */
  #settled: Saved | undefined;
  /** Ends the save in progress. */
  #stop = new AbortController();

  /** `owner`: who saves it when bytes are wanted back that were sent and let go; without one none are let go. */
  constructor(
    environment: ContentEnvironment,
    stored: StoredContent | undefined,
    target: () => SaveTarget,
    owner?: ContentOwner,
  ) {
    const { memory } = environment.spool;
    this.#environment = environment;
    this.#stored = stored;
    this.#overlay = new Overlay(memory, stored?.size ?? 0);
    const { store, blocks, telemetry, clock, sizes = UPLOAD_SIZES, cellLimit } = environment;
    const log = owner && environment.unsavedLog?.of(() => this.#unsavedBase(target));
    this.#log = log;
    this.#closeRoom = owner && environment.closeRooms && new CloseRoom(environment.closeRooms);
    const logIntent = log && ((about: Omit<SaveIntent, 'n'>) => log.intent({ ...about, n: this.#upTo }));
    const intent = logIntent ?? environment.saveIntent;
    const uploading = { store, blocks, memory, telemetry, clock, sizes, cellLimit, log, intent };
    this.#upload = new FileUpload(uploading, this.#overlay, target, () => {
      owner?.save().catch(() => {});
    });
    this.#owner = owner;
    this.#sent = new SentRanges(this.#overlay, this.#upload, environment.keepSent ? undefined : owner);
    this.#spiller = new Spiller(environment.spool, this.#overlay, this.#upload, () => this.#maySend);
    this.#written = {
      memory,
      overlay: this.#overlay,
      upload: this.#upload,
      sent: this.#sent,
      put: (offset, data) => this.#put(offset, data),
      maySend: () => this.#maySend,
      betweenSaves: work => this.#saves.run(work),
      checkSize: size => this.#checkSize(size),
      ...(log && {
        logged: async (offset, slices, waiter) => {
          if (this.#isLocal) return () => {};
          const n = await log.bytes(offset, slices, waiter);
          return isPut => (isPut ? log.applied(n) : log.undo(n));
        },
      }),
    };
  }

  /** For the journal: what the next daemon needs beside the changes. */
  #unsavedBase(target: () => SaveTarget): UnsavedBase | undefined {
    try {
      const { key, condition, describe } = target();
      const stored = this.#stored?.version;
      return {
        key,
        condition: stored ? { ifMatch: stored.etag } : condition,
        description: describe(),
        stored,
        grid: this.#upload.grid,
        ...(this.#copied && this.#copied.of === this.#stored && { elsewhere: this.#copied.at }),
      };
    } catch {
      // Another client's version has its name just now, and its bytes have none: only a save finds one.
      return undefined;
    }
  }

  /** In bytes, with what is unsaved. */
  get size(): number {
    return this.#overlay.size;
  }

  /** What S3 has under the name. */
  get stored(): StoredContent | undefined {
    return this.#stored;
  }

  /** What is beneath the overlay. */
  get #base(): StoredContent | undefined {
    return this.#borrowed ?? this.#stored;
  }

  /** Anything that S3 does not have; so also a new file without a byte. */
  get unsaved(): boolean {
    return this.#hasUnsaved || this.#settled !== undefined;
  }

  get #hasUnsaved(): boolean {
    return this.#stored === undefined || this.#overlay.generation !== this.#savedGeneration;
  }

  /** Grows with each change: a place to compare with, see `isSavedUpTo`. */
  get generation(): number {
    return this.#overlay.generation;
  }

  /** Whether S3 has all changes up to `generation`, whatever was written after them. */
  isSavedUpTo(generation: number): boolean {
    return this.#stored !== undefined && this.#settled === undefined && this.#savedGeneration >= generation;
  }

  /** Bytes written and not yet saved. */
  get unsavedBytes(): number {
    return this.#overlay.unsavedBytes;
  }

  /** Some of them are only in parts of an upload in progress: it must be completed, under the name that it has. */
  get hasSentRanges(): boolean {
    return !this.#sent.isEmpty;
  }

  /** Some of them are only in another object, which others may change. */
  get isBorrowing(): boolean {
    return this.#borrowed !== undefined;
  }

  /** Bytes that are not holes, for st_blocks. */
  get allocatedBytes(): number {
    return this.#overlay.allocatedBytes;
  }

  get saving(): boolean {
    return this.#saves.locked;
  }

  /**
   * Up to `length` bytes at `offset`, less at the end of the file. Rejects with the StoreError of reading the base, kind
   * `aborted` when the signal of `waiter` aborts.
   */
  read(offset: number, length: number, cursor?: ReadCursor, waiter?: Waiter): Awaitable<ReadReply> {
    const end = Math.min(offset + length, this.#overlay.size);
    if (offset >= end) return EMPTY;
    if (this.#sent.intersects(offset, end)) {
      return this.#sent.recall(offset, end, waiter?.signal).then(() => this.read(offset, length, cursor, waiter));
    }
    const base = this.#base;
    const { blocks, spool } = this.#environment;
    const reply =
      base && this.#overlay.isStored(offset, end)
        ? blocks.read(base, offset, end - offset, cursor, waiter)
        : readOverlay(this.#overlay, base, offset, end, { blocks, memory: spool.memory, cursor, waiter });
    if (!(reply instanceof Promise)) return reply;
    return reply.catch(async (error: unknown) => {
      // A save of our own may have replaced the object under this read.
      if (!isStoreError(error, 'precondition-failed', 'not-found')) throw error;
      if (this.#doubt && this.#base === base) await this.#saves.run(() => this.#settleDoubt(waiter?.signal));
      if (this.#base === base) throw error;
      return this.read(offset, length, cursor, waiter);
    });
  }

  /** Ranges below the size whose bytes are at hand whatever the store says, in order: unsaved ones and zeros. */
  ownRanges(): (readonly [start: number, end: number])[] {
    const ranges: [number, number][] = [];
    visitSources(this.#overlay, 0, this.#overlay.size, (source, start, end) => {
      if (source === 'stored' || source === 'sent') return;
      const last = ranges.at(-1);
      if (last && last[1] === start) last[1] = end;
      else ranges.push([start, end]);
    });
    return ranges;
  }

  /**
   * Writes all of `data` at `offset`; a hole before it is zeros. Waits where memory is short. `data` may be used again
   * when it settles.
   * @throws {FsError} EFBIG; ENOSPC where neither memory nor the spool has room. {StoreError} `aborted`; that of the save
   * where what it changes was let go.
   */
  write(offset: number, data: Uint8Array, waiter?: Waiter): Awaitable<void> {
    this.#checkSize(offset + data.length);
    if (data.length === 0) return;
    const size = Math.max(this.size, offset + data.length);
    if (!this.#isLocal && this.#closeRoom?.tryCover(size) === false) {
      return this.#closeRoom.cover(size, waiter).then(() => this.write(offset, data, waiter));
    }
    const written = this.#write(offset, data, waiter);
    return this.#closeRoom && written ? this.#uncoveredIfFailed(written) : written;
  }

  #write(offset: number, data: Uint8Array, waiter: Waiter | undefined): Promise<void> | undefined {
    if (this.#written.logged && !this.#isLocal) return writeLogged(this.#written, offset, data, waiter);
    if (this.#sent.intersects(offset, offset + data.length))
      return writeWaiting(this.#written, offset, data, waiter?.signal);
    const { memory } = this.#environment.spool;
    const cost = this.#overlay.blocks.cost(offset, data.length);
    if (!memory.tryAdmit(cost)) return writeWaiting(this.#written, offset, data, waiter?.signal);
    memory.letGo(cost - this.#put(offset, data));
    return undefined;
  }

  /** What was not written after all needs no room for its close. */
  async #uncoveredIfFailed(written: Promise<void>): Promise<void> {
    try {
      await written;
    } catch (error) {
      if (!this.#hasUnsaved) this.#closeRoom?.letGo();
      throw error;
    }
  }

  /** Writes at the end, wherever that is when the bytes go in. Returns the offset that they got. */
  append(data: Uint8Array, waiter?: Waiter): Awaitable<number> {
    const offset = this.#overlay.size;
    this.#checkSize(offset + data.length);
    if (data.length === 0) return offset;
    if (this.#written.logged && !this.#isLocal) {
      return writeLogged(this.#written, offset, data, waiter).then(() => offset);
    }
    const { memory } = this.#environment.spool;
    const cost = this.#overlay.blocks.cost(offset, data.length);
    if (!memory.tryAdmit(cost)) return appendWaiting(this.#written, data, waiter?.signal);
    memory.letGo(cost - this.#put(offset, data));
    return offset;
  }

  /** @throws {FsError} EFBIG; {StoreError} that of the save where it cuts through what was let go. */
  truncate(size: number): Awaitable<void> {
    this.#checkSize(size);
    if (this.#changing) return this.#changing.then(() => this.truncate(size));
    if (size === this.#overlay.size) return;
    if (!this.#isLocal && this.#closeRoom?.tryCover(size) === false) {
      return this.#closeRoom.cover(size, undefined).then(() => this.truncate(size));
    }
    if (size > 0 && this.#sent.intersects(size, size + 1)) {
      return this.#sent.recall(size, size + 1).then(() => this.truncate(size));
    }
    return this.#change(
      log => log.truncated(size),
      size > 0 ? [size, size + 1] : undefined,
      () => this.#cut(size),
    );
  }

  #cut(size: number): void {
    this.#upload.touched(Math.min(size, this.#overlay.size), Number.POSITIVE_INFINITY);
    this.#overlay.truncate(size);
    if (size === 0) this.#lendBack();
  }

  /** O_TRUNC: nothing is left, and that is unsaved even if there was nothing before. The base stays for the condition. */
  reset(): Awaitable<void> {
    if (this.#changing) return this.#changing.then(() => this.reset());
    return this.#change(
      log => log.truncated(0),
      undefined,
      () => this.#cut(0),
    );
  }

  /** Makes `length` bytes at `offset` zeros, as far as the file reaches. @throws {StoreError} as `write`. */
  zero(offset: number, length: number): Awaitable<void> {
    if (this.#changing) return this.#changing.then(() => this.zero(offset, length));
    const end = Math.min(offset + length, this.#overlay.size);
    if (offset >= end) return;
    if (this.#sent.intersects(offset, end)) {
      return this.#sent.recall(offset, end).then(() => this.zero(offset, length));
    }
    return this.#change(
      log => log.zeroed(offset, end - offset),
      [offset, end],
      () => {
        this.#upload.touched(offset, end);
        this.#overlay.clear(offset, Math.min(end, this.#overlay.size));
      },
    );
  }

  /** `apply`, which needs `range` at hand, when the journal has it. What the disk did not take has not happened. */
  #change(
    record: (log: FileLog) => Promise<number>,
    range: readonly [start: number, end: number] | undefined,
    apply: () => void,
  ): Awaitable<void> {
    if (!this.#log || this.#isLocal) return apply();
    const changed = changeLogged(this.#written, this.#log, record(this.#log), range, apply);
    const over = (): void => {
      this.#changing = undefined;
    };
    this.#changing = changed.then(over, over);
    return this.#closeRoom ? this.#uncoveredIfFailed(changed) : changed;
  }

  /** The next offset from `offset` on with data, or in a hole (the end of the file is one); undefined: ENXIO. */
  seek(offset: number, what: 'data' | 'hole'): number | undefined {
    const size = this.#overlay.size;
    if (offset < 0 || offset >= size) return undefined;
    const data = this.#overlay.data();
    if (data.has(offset) === (what === 'data')) return offset;
    const next = Math.min(data.nextEdge(offset), size);
    return what === 'data' && next >= size ? undefined : next;
  }

  /**
   * Copies up to `length` bytes of `from` (which may be this file, if the ranges do not overlap). Returns how many it
   * copied: fewer at the end of `from`, or when interrupted after the first.
   */
  async copyRange(
    from: FileContent,
    fromOffset: number,
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<number> {
    // A copy within one file may make it longer: only what there was at the start is copied.
    const wanted = Math.min(length, from.size - fromOffset);
    if (wanted <= 0) return 0;
    this.#checkSize(offset + wanted);
    await from.#sent.recall(fromOffset, fromOffset + wanted, signal);
    if (this.#borrow(from, fromOffset, offset, wanted)) return wanted;
    const source: CopySource = {
      size: () => from.size,
      storedAt: (start, end) => (from.#overlay.isStored(start, end) ? from.#base : undefined),
      prepare: (at, bytes) => from.#sent.recall(at, at + bytes, signal),
      read: (at, bytes) => from.read(at, bytes, undefined, signal && { signal }),
    };
    return copyRange(this.#written, source, fromOffset, offset, wanted, signal);
  }

  /**
   * What begins as another file begins, and has nothing beyond that, only refers to it: its save is a copy on the server, of
   * the whole or with the changes that come until then. False if it is not so, and nothing is done.
   */
  #borrow(from: FileContent, fromOffset: number, offset: number, length: number): boolean {
    const source = from.#base;
    // The next daemon could not have the bytes of what has been changed or deleted meanwhile.
    if (this.#log) return false;
    const { size, limit } = this.#overlay;
    if (!source || source.leaving > 0 || from === this || from.#isLocal || this.#isLocal || this.#doubt) return false;
    if (this.#saves.locked || fromOffset !== offset || offset !== size || size !== limit) return false;
    if (size > 0 && this.#borrowed !== source) return false;
    if (!from.#overlay.isStored(offset, offset + length)) return false;
    this.#upload.touched(offset, offset + length);
    this.#overlay.extendBase(offset + length);
    this.#borrowed = source;
    source.borrowers.add(this);
    this.#owner?.borrowed?.();
    return true;
  }

  /** What it refers to is about to change or go: its bytes become this file's own. @throws {StoreError} of reading them. */
  async makeIndependent(): Promise<void> {
    await this.#saves.run(async () => {
      if (this.#doubt) await this.#settleDoubt(undefined);
      if (!this.#borrowed) return;
      await takeOver(this.#written, this.#borrowed, this.#environment.blocks);
      this.#overlay.endBase();
      this.#lendBack();
    });
  }

  /** Nothing is borrowed any more. */
  #lendBack(): void {
    this.#borrowed?.borrowers.delete(this);
    this.#borrowed = undefined;
  }

  /** Bytes may be in parts of the upload only. */
  get #maySend(): boolean {
    // Nobody knows of an upload in doubt whether it still is one.
    return !this.#isLocal && this.#doubt === undefined && this.#sent.mayGrow;
  }

  /**
   * Stores what is unsaved; undefined if nothing was. Writes go on meanwhile and are left for the next save. When it fails
   * everything stays as it was, and another save may succeed. `condition` stands for that of the target.
   * @throws {StoreError} as the store said, `aborted` when `signal` aborts; `no-such-upload` where somebody else has aborted
   * an upload with bytes that are nowhere else: then none will succeed.
   */
  save(signal?: AbortSignal, condition?: WriteCondition): Promise<Saved | undefined> {
    if (!this.unsaved && !this.#saves.locked) return Promise.resolve(undefined);
    return this.#saves.run(() => this.#saveNow(signal, condition));
  }

  /** Before anything is written: goes on with an upload of an earlier daemon, of which parts `numbers` will be adopted. */
  resume(uploadId: string, numbers: readonly number[]): void {
    this.#upload.resume(uploadId, numbers);
  }

  /** That upload has `part`, which is the place of its bytes from now on. */
  adopt(part: JournaledPart): void {
    this.#overlay.sentElsewhere(part.offset, part.offset + part.size);
    this.#upload.adopt(part);
  }

  /** What was sent and is nowhere else is lost: zeros take its place. Returns how many bytes those are. */
  loseSent(): number {
    this.#upload.giveUp();
    return this.#overlay.loseSent();
  }

  /** Nobody will save it any more. What an earlier daemon has sent is left to whoever tries again. */
  abandon(): void {
    this.#upload.abandon();
    this.#forget();
  }

  /** The target has another key: parts sent for the old one are of no use. What is nowhere else must be saved before. */
  renamed(): void {
    if (this.#sent.isEmpty) this.#upload.renamed();
    this.#clearDoubt();
    this.#copied = undefined;
    void this.#log?.moved();
  }

  /** What is stored is about to be replaced under its key, and has a copy until then: a next daemon finds it there. */
  copiedTo(at: ObjectVersion | undefined): void {
    this.#copied = at && this.#stored && { of: this.#stored, at };
    void this.#log?.moved();
  }

  /** What is noted of it in the journal, its name, its base or its description, is another. Resolves when that is noted. */
  async restated(): Promise<void> {
    await this.#log?.moved();
  }

  /** The file has lost its name while open: what is written from now on is for its handles only, and is never sent. */
  keepLocal(): void {
    this.#isLocal = true;
    this.#upload.giveUp();
    this.#closeRoom?.end();
    void this.#log?.over();
  }

  /**
   * The object that the base was is nowhere any more: what of it is in memory becomes as if it had been written, all else
   * zeros, so that a save needs nothing of it. Returns how many bytes have become zeros.
   */
  loseBase(): number {
    return this.#stored ? loseBase(this.#written, this.#stored, this.#environment.blocks) : 0;
  }

  /** Gives up all that is unsaved, and the save in progress. Resolves when nothing is under way any more. */
  async discard(): Promise<void> {
    const stop = this.#stop;
    this.#stop = new AbortController();
    stop.abort();
    this.#forget();
    await this.#saves.run(async () => {
      this.#forget();
      await Promise.all([this.#upload.settled(), this.#spiller.settled()]);
    });
  }

  #clearDoubt(): void {
    if (!this.#doubt) return;
    this.#doubt = undefined;
    this.#overlay.abandonSave();
  }

  /** Finds out whether the last save was done after all. If so it is committed. */
  async #settleDoubt(signal: AbortSignal | undefined): Promise<void> {
    const doubt = this.#doubt;
    if (!doubt) return;
    const { store, blocks } = this.#environment;
    const info = await store.head(doubt.key, signal === undefined ? {} : { signal }).catch((error: unknown) => {
      if (isStoreError(error, 'not-found')) return undefined;
      throw error;
    });
    if (this.#doubt !== doubt) return;
    this.#doubt = undefined;
    // Where bytes are only in the upload, and it was completed, nothing but the object could tell.
    if (!info || !wasDone(doubt, info, this.hasSentRanges)) {
      this.#overlay.abandonSave();
      return;
    }
    const base = this.#stored;
    const content = blocks.contentOf({ key: doubt.key, etag: info.etag, size: info.size });
    this.#overlay.commitSave();
    this.#lendBack();
    this.#stored = content;
    this.#savedGeneration = doubt.generation;
    if (base && base !== content) blocks.drop(base);
    // It may have been a PUT, with parts of an earlier upload still there.
    this.#upload.giveUp();
    this.#upload.committed();
    this.#log?.saved(doubt.upTo);
    if (!this.#hasUnsaved) this.#closeRoom?.letGo();
    const { description } = doubt;
    this.#settled = { written: { etag: info.etag, serverDate: info.serverDate }, description, content };
  }

  #forget(): void {
    this.#clearDoubt();
    this.#upload.giveUp();
    this.#lendBack();
    this.#overlay.reset(this.#stored?.size ?? 0);
    this.#savedGeneration = this.#overlay.generation;
    this.#settled = undefined;
    this.#spiller.unregister();
    this.#closeRoom?.letGo();
    void this.#log?.over();
  }

  #checkSize(size: number): void {
    const { maxObjectSize } = this.#environment.store.limits;
    if (size > maxObjectSize) {
      throw new FsError('EFBIG', `a file of ${size} bytes is larger than S3 takes (${maxObjectSize} bytes)`);
    }
  }

  /** Copies `data` in; its memory has been admitted. Returns how much of that it used. */
  #put(offset: number, data: Uint8Array): number {
    const end = offset + data.length;
    this.#upload.touched(offset, end);
    const used = this.#overlay.write(offset, data);
    this.#spiller.register();
    if (!this.#isLocal) this.#upload.wrote(offset, end);
    return used;
  }

  /** What it borrows may get another ETag by a copy of ours meanwhile: then once more. */
  async #saveNow(signal: AbortSignal | undefined, instead?: WriteCondition): Promise<Saved | undefined> {
    for (;;) {
      const borrowed = this.#base === this.#stored ? undefined : this.#base;
      const version = borrowed?.version;
      try {
        return await this.#saveOnce(signal, instead);
      } catch (error) {
        if (!borrowed) throw error;
        await borrowed.moved();
        const hasMoved = borrowed.version !== version && isStoreError(error, 'precondition-failed', 'not-found');
        if (hasMoved && this.#base === borrowed) continue;
        await expectUnchanged(this.#environment.store, borrowed, error);
        throw error;
      }
    }
  }

  async #saveOnce(signal: AbortSignal | undefined, instead?: WriteCondition): Promise<Saved | undefined> {
    if (!this.unsaved) return undefined;
    const { blocks, spool } = this.#environment;
    const stop = this.#stop.signal;
    const signals = eitherSignal(signal, stop);
    if (this.#doubt) await this.#settleDoubt(signals);
    const settled = this.#settled;
    if (!this.#hasUnsaved) {
      this.#settled = undefined;
      return settled;
    }
    const stored = this.#stored;
    const base = this.#base;
    const isOther = base !== stored;
    this.#upTo = this.#log?.cut() ?? 0;
    const upTo = this.#upTo;
    const capture = this.#overlay.beginSave();
    spool.memory.began();
    let committed = false;
    try {
      // Who calls knows the base before that one still.
      const condition = settled ? { ifMatch: settled.written.etag } : instead;
      const { key, written, description } = await this.#upload.save(capture, base, isOther, condition, signals);
      const content = blocks.contentOf({ key, etag: written.etag, size: capture.size });
      if (stop.aborted) {
        // Discarded, but the store was faster: the base is what it has.
        this.#lendBack();
        this.#overlay.reset(content.size);
        this.#stored = content;
        this.#savedGeneration = this.#overlay.generation;
        return { written, description, content };
      }
      // All in one turn, so that no read sees one without the other.
      commitBlocks(capture, base, content, { blocks, memory: spool.memory }, () => this.#overlay.commitSave(), isOther);
      if (isOther && stored && stored !== content) blocks.drop(stored);
      this.#lendBack();
      this.#stored = content;
      this.#savedGeneration = capture.generation;
      this.#settled = undefined;
      this.#log?.saved(upTo);
      if (!this.#hasUnsaved) this.#closeRoom?.letGo();
      committed = true;
      if (this.#overlay.blocks.count === 0) this.#spiller.unregister();
      return { written, description, content };
    } catch (error) {
      const { doubt } = this.#upload;
      if (doubt && !stop.aborted) {
        this.#doubt = { ...doubt, size: capture.size, generation: capture.generation, upTo };
        this.#overlay.doubtSave();
      }
      throw error;
    } finally {
      if (!committed && !this.#doubt) this.#overlay.abandonSave();
      capture.release();
      spool.memory.ended();
      if (committed) this.#upload.committed();
    }
  }
}
