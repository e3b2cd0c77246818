/**
 * `journal=DIR`: what programs have written into open files lies in the journal before write(2) is answered.
 *
 * Difficulties: (1) The log of a file must stay about as long as what is unsaved of it, however often a place is written:
 * what newer records cover, what S3 has as a part and memory has let go of, and what a save has stored is released.
 * (2) Small writes come by the hundred thousand: records of one file share an entry, a *run*. (3) A save stores what was
 * there at its beginning: each change has a number, and a save ends all up to one. (4) A kill between the answer of S3 and the
 * record of it must not look like another client's change: what a save is about to store is written down before.
 */
import type { Clock, Waiter } from '../concurrency.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Entry, Journal } from './journal.ts';
import type { RecordMeta } from './journal-record.ts';
import { RangeSet } from './ranges.ts';
import type { JournaledPart, SaveIntent, UnsavedBase } from './unsaved-records.ts';

/** Of one run: it is released only when all of it is needed no longer, and it is what one record costs to move. */
const RUN_BYTES = 1024 * 1024;
const RUN_RECORDS = 512;
/** What a record takes beside its bytes, at most. */
const RECORD_BYTES = 512;

/** Records of one file that lie in one file of the journal. */
interface Run {
  readonly entry: Entry;
  /** What of the file it still is needed for. */
  readonly ranges: RangeSet;
  last: number;
  bytes: number;
  records: number;
  /** Changes on their way into it that are not part of `ranges` yet. */
  coming: number;
}

interface Pending {
  readonly start: number;
  readonly end: number;
  readonly run: Run | undefined;
}

/** The logs of all files of a mount. */
export class UnsavedLog {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Saves up to this size are in the journal before S3 has them: nothing is to be synced for them. Bytes. */
  readonly journaledSaves: number;
  #nextId: number;
  readonly #notes = new Set<Promise<unknown>>();
  /** How many there were, and how many of them are surely synced. */
  #noted = 0;
  #safeTo = 0;

  constructor(options: {
    readonly journal: Journal;
    readonly clock: Clock;
    readonly telemetry: Telemetry;
    readonly nextId: number;
    readonly journaledSaves?: number;
  }) {
    this.journal = options.journal;
    this.clock = options.clock;
    this.telemetry = options.telemetry;
    this.journaledSaves = options.journaledSaves ?? 0;
    this.#nextId = options.nextId;
  }

  /** Resolves when the journal has what was told of names before. Never rejects. */
  async noted(): Promise<void> {
    await Promise.all(this.#notes);
  }

  /** The same for who is about to delete or replace what lay under the names before: a power cut must not undo them. Never rejects. */
  async safe(): Promise<void> {
    // Also of those that the journal has by now: the end of a save is noted, and nobody waits for that.
    const noted = this.#noted;
    if (this.#safeTo >= noted) return;
    await this.noted();
    await this.journal.sync().catch(() => {});
    this.#safeTo = Math.max(this.#safeTo, noted);
  }

  /** `note` is to be waited for by whoever asks `noted`. */
  note(note: Promise<unknown>): void {
    this.#noted++;
    const noted = note.catch(() => {}).finally(() => void this.#notes.delete(noted));
    this.#notes.add(noted);
  }

  takeId(): number {
    return this.#nextId++;
  }

  /** `base`: what the changes of a file are made on, asked for when the first comes. */
  of(base: () => UnsavedBase | undefined): FileLog {
    return new FileLog(this, base);
  }
}

export class FileLog {
  readonly #log: UnsavedLog;
  readonly #base: () => UnsavedBase | undefined;
  /** Absent while nothing is unsaved. */
  #id: number | undefined;
  /** The `file` record that counts, and the number that it has among them. */
  #begun: Entry | undefined;
  #begunOrder = 0;
  #order = 0;
  /** Appends with such a record that are under way. */
  #beginning = 0;
  /** Of the last change. */
  #n = 0;
  /** Changes up to this are saved. */
  #from = 0;
  readonly #pending = new Map<number, Pending>();
  #runs: Run[] = [];
  /** Next writes go into a run of their own. */
  #isCut = false;
  #others: { readonly n: number; readonly type: string; readonly entry: Entry }[] = [];

  constructor(log: UnsavedLog, base: () => UnsavedBase | undefined) {
    this.#log = log;
    this.#base = base;
  }

  /** Nothing of this file is in the journal. */
  get isEmpty(): boolean {
    return this.#id === undefined;
  }

  /** All up to this number is in the file as it is now. */
  get position(): number {
    let least = this.#n + 1;
    for (const n of this.#pending.keys()) least = Math.min(least, n);
    return least - 1;
  }

  /**
   * Brings bytes for `offset` into the journal. Who then has put them into the file calls `applied` with what this resolves
   * to, or `undo`. @throws {FsError} ENOSPC; {StoreError} `aborted`.
   */
  async bytes(offset: number, slices: readonly Uint8Array[], waiter?: Waiter): Promise<number> {
    const { journal } = this.#log;
    const length = slices.reduce((sum, slice) => sum + slice.length, 0);
    const wanted = length + 2 * RECORD_BYTES;
    if (!journal.room.tryPromise(wanted, true)) await journal.room.promise(wanted, true, waiter);
    const last = this.#runs.at(-1);
    const isJoining = last !== undefined && !this.#isCut && last.bytes < RUN_BYTES && last.records < RUN_RECORDS;
    const run = isJoining ? last : undefined;
    if (run) run.coming++;
    const n = this.#next();
    try {
      const at = this.#log.clock.now();
      const appended = this.#append({ t: 'bytes', n, o: offset, at }, slices, run?.entry);
      // From now on what is on its way counts.
      journal.room.giveBack(wanted);
      const entry = await appended;
      if (run) run.coming--;
      this.#pending.set(n, { start: offset, end: offset + length, run: entry && this.#runOf(entry, n, length) });
      return n;
    } catch (error) {
      if (run) run.coming--;
      this.#pending.delete(n);
      throw error;
    }
  }

  #runOf(entry: Entry, n: number, length: number): Run {
    let run = this.#runs.find(each => each.entry === entry);
    if (!run) {
      run = { entry, ranges: new RangeSet(), last: n, bytes: 0, records: 0, coming: 0 };
      this.#runs.push(run);
      this.#isCut = false;
    }
    run.last = Math.max(run.last, n);
    run.bytes += length;
    run.records++;
    run.coming++;
    return run;
  }

  /** Change `n` is in the file now. */
  applied(n: number): void {
    const pending = this.#pending.get(n);
    if (!pending) return;
    this.#pending.delete(n);
    const { start, end, run } = pending;
    if (run) {
      run.coming--;
      run.ranges.add(start, end);
    }
    this.#cover(start, end, run);
  }

  /** Change `n` did not get into the file: whoever asked for it was told so. */
  undo(n: number): void {
    const pending = this.#pending.get(n);
    if (!pending) return;
    this.#pending.delete(n);
    if (pending.run) pending.run.coming--;
    if (this.#id === undefined) return;
    this.#cover(0, 0, undefined);
    if (this.#isSpent) void this.over();
    else this.#put({ t: 'undo', n }, n).catch(() => {});
  }

  /** Nothing is left that would have to be done again. */
  get #isSpent(): boolean {
    return this.#runs.length === 0 && this.#pending.size === 0 && this.#others.every(({ type }) => type === 'undo');
  }

  /** What of `start` … `end` is in runs other than `but` is needed no longer. */
  #cover(start: number, end: number, but: Run | undefined): void {
    for (const run of this.#runs) if (run !== but) run.ranges.remove(start, end);
    this.#keepRuns(run => !run.ranges.isEmpty || run.coming > 0);
  }

  #keepRuns(isKept: (run: Run) => boolean): void {
    const gone = this.#runs.filter(run => !isKept(run));
    if (gone.length === 0) return;
    this.#runs = this.#runs.filter(isKept);
    for (const { entry } of gone) this.#log.journal.release(entry);
  }

  /** The file is about to be `size` bytes: as `bytes`. */
  truncated(size: number): Promise<number> {
    return this.#other({ t: 'size', s: size, at: this.#log.clock.now() }, size, Number.POSITIVE_INFINITY);
  }

  /** `length` bytes at `offset` are about to be zeros: as `bytes`. */
  zeroed(offset: number, length: number): Promise<number> {
    return this.#other({ t: 'zero', o: offset, l: length, at: this.#log.clock.now() }, offset, offset + length);
  }

  /** S3 has a part of the file as it was at `after` (a `position`). */
  async sent(part: JournaledPart, after: number): Promise<void> {
    if (this.#id === undefined || after <= this.#from) return;
    await this.#put(partRecord(part, after, false), after);
    // Who waits for room in the journal gets that of the part.
    const { room } = this.#log.journal;
    if (room.isPressed) for (const each of room.pressed) each();
  }

  /** The upload is the only place of `parts` from now on. */
  async letGo(parts: readonly JournaledPart[]): Promise<void> {
    const from = this.#from;
    const n = this.#n;
    await Promise.all(parts.map(part => this.#put(partRecord(part, n, true), n)));
    // Nobody writes there before a save has brought it back.
    if (this.#from === from) for (const { offset, size } of parts) this.#cover(offset, offset + size, undefined);
  }

  /** The same of parts that became the file's bytes without passing here: a change like others. */
  async copied(parts: readonly JournaledPart[]): Promise<void> {
    const n = this.#next();
    await Promise.all(parts.map(part => this.#put(partRecord(part, n, true), n)));
    this.#pending.delete(n);
    for (const { offset, size } of parts) this.#cover(offset, offset + size, undefined);
  }

  /** All that comes from now on is not part of the save that begins; returns what it ends with. */
  cut(): number {
    this.#isCut = true;
    return this.position;
  }

  /** A save is about to be sent. Resolves when the next daemon would recognise it. */
  async intent({ n, size, etag, metadata }: SaveIntent): Promise<void> {
    if (this.#id === undefined) return;
    await this.#put({ t: 'intent', n, s: size, metadata, ...(etag !== undefined && { etag }) }, n);
    // Else S3 could be ahead of the journal after a power cut, and its own bytes would look like another client's.
    const { journaledSaves } = this.#log;
    if (journaledSaves === 0 || size > journaledSaves) await this.#log.journal.sync().catch(() => {});
  }

  /** S3 has all up to `upTo`. */
  saved(upTo: number): void {
    if (this.#id === undefined) return;
    const { journal } = this.#log;
    this.#from = Math.max(this.#from, upTo);
    this.#keepRuns(run => run.last > upTo || run.coming > 0);
    // Parts have ended with their upload.
    const gone = this.#others.filter(({ n, type }) => n <= upTo || type === 'part');
    this.#others = this.#others.filter(({ n, type }) => n > upTo && type !== 'part');
    for (const { entry } of gone) journal.release(entry);
    if (this.#isSpent) void this.over();
    else void this.moved();
  }

  /** Its name, or what it is based on, or its description is another. Resolves when the journal knows. */
  async moved(): Promise<void> {
    if (this.#id === undefined) return;
    const base = this.#base();
    if (!base) return;
    const id = this.#id;
    const meta = this.#fileRecord(id, base);
    const order = this.#order;
    const appended = this.#log.journal.append([{ meta }], { unsynced: true, must: true });
    this.#log.note(appended);
    const [entry] = await appended.catch(() => []);
    if (entry) this.#began(id, entry, order);
  }

  /** The journal has a `file` record: the last one that was asked for is the one to keep. */
  #began(id: number, entry: Entry, order: number): void {
    const { journal } = this.#log;
    if (this.#id !== id || order < this.#begunOrder) {
      journal.release(entry);
      return;
    }
    if (this.#begun) journal.release(this.#begun);
    this.#begun = entry;
    this.#begunOrder = order;
  }

  /** Nothing of it is to be recovered. Resolves when the journal knows. */
  async over(): Promise<void> {
    const { journal } = this.#log;
    if (this.#id === undefined) return;
    const f = this.#id;
    this.#id = undefined;
    this.#from = this.#n;
    const entries = [...this.#runs, ...this.#others].map(({ entry }) => entry);
    this.#runs = [];
    this.#others = [];
    const begun = this.#begun;
    this.#begun = undefined;
    const marked = journal.mark({ t: 'over', f });
    this.#log.note(marked);
    await marked.catch(() => {});
    for (const entry of entries) journal.release(entry);
    if (begun) journal.release(begun);
  }

  // --- records ----------------------------------------------------------------------------------------------------------

  #next(): number {
    this.#pending.set(++this.#n, { start: 0, end: 0, run: undefined });
    return this.#n;
  }

  /** Of a change to `start` … `end`. */
  async #other(meta: Record<string, unknown> & { readonly t: string }, start: number, end: number): Promise<number> {
    const n = this.#next();
    try {
      await this.#put({ ...meta, n }, n);
      this.#pending.set(n, { start, end, run: undefined });
      return n;
    } catch (error) {
      this.#pending.delete(n);
      throw error;
    }
  }

  async #put(meta: Record<string, unknown> & { readonly t: string }, n: number): Promise<void> {
    const from = this.#from;
    const entry = await this.#append(meta, undefined, undefined);
    if (!entry) return;
    const type = meta.t;
    if (n > this.#from && !(type === 'part' && from !== this.#from)) this.#others.push({ n, type, entry });
    else this.#log.journal.release(entry);
  }

  /** Undefined where the journal has failed: it has said so, and the file goes on without. */
  async #append(
    meta: Record<string, unknown> & { readonly t: string },
    body: readonly Uint8Array[] | undefined,
    join: Entry | undefined,
  ): Promise<Entry | undefined> {
    const { journal } = this.#log;
    const base = this.#begun ? undefined : this.#base();
    if (this.#id === undefined) {
      if (!base) return undefined;
      this.#id = this.#log.takeId();
      this.#beginning = 0;
    }
    const f = this.#id;
    // Not only the first time: a disk that is full just then may refuse that one and take the next.
    const begin = base && this.#fileRecord(f, base);
    const order = this.#order;
    const records = [
      ...(begin ? [{ meta: begin }] : []),
      { meta: { ...meta, f } as RecordMeta, ...(body && { body }) },
    ];
    if (begin) this.#beginning++;
    let entries: Entry[];
    try {
      entries = await journal.append(records, { unsynced: true, must: true, join });
    } catch (error) {
      const isLast = begin && this.#id === f && --this.#beginning === 0;
      if (isLast && !this.#begun) this.#id = undefined;
      if (journal.failed) return undefined;
      throw error;
    }
    if (begin) {
      if (this.#id === f) this.#beginning--;
      this.#began(f, entries[0]!, order);
    }
    const entry = entries.at(-1)!;
    if (this.#id === f) return entry;
    // Given up meanwhile.
    if (entry !== join) journal.release(entry);
    return undefined;
  }

  #fileRecord(f: number, { key, condition, description, stored, elsewhere, grid }: UnsavedBase): RecordMeta {
    return {
      t: 'file',
      f,
      order: ++this.#order,
      n: this.position,
      from: this.#from,
      key,
      description,
      grid,
      ...(condition && { condition }),
      ...(stored && { stored }),
      ...(elsewhere && { elsewhere }),
    };
  }
}

function partRecord(
  { uploadId, number, etag, crc32, offset, size }: JournaledPart,
  n: number,
  only: boolean,
): Record<string, unknown> & { readonly t: string } {
  const optional = { ...(crc32 !== undefined && { crc32 }), ...(only && { only }) };
  return { t: 'part', n, upload: uploadId, number, etag, o: offset, l: size, ...optional };
}
