/**
 * An append-only log on the local disk of what S3 does not have yet: what a program was told is saved survives the daemon.
 *
 * Difficulties: (1) A reply may be sent when the record is in the file (safe against a kill), or when it is synced (safe
 * against a power cut): who appends waits for the one that was promised, and many share one write and one sync. (2) The log
 * is a row of files; only the oldest may go, when nothing in it is needed: a mark that something is done outlives what it
 * is about. What still is needed and stands in the way is written once more at the end. (3) It is bounded. Who finds no
 * room does without: nobody waits here for S3. (4) A disk that fails to sync has perhaps lost what it was given: from then
 * on nothing is promised any more.
 */
import { createHash } from 'node:crypto';
import type { Clock } from '../concurrency.ts';
import { FsError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { type Entry, LiveEntry, LogFile, type NewRecord, nameOf } from './journal-entry.ts';
import type { JournalDirectory } from './journal-files.ts';
import { FoundFiles, type FoundRecord } from './journal-found.ts';
import {
  bodyChecksum,
  decodeRecord,
  encodeRecord,
  fileHeader,
  type RecordMeta,
  type ScannedRecord,
  SYNCED,
} from './journal-record.ts';
import { JournalRoom } from './journal-room.ts';

export type { Entry, NewRecord } from './journal-entry.ts';
export type { FoundRecord } from './journal-found.ts';

const MIB = 1024 * 1024;

/** Half of the second that a power cut may cost: a sync takes time itself. */
const SYNC_AFTER = 500;
/** One file of the row: small enough that what is done gives its room back soon, large enough that few are made. */
const FILE_SHARE = 1 / 8;
const MAX_FILE = 64 * MIB;
/** Left to marks of what is done: they make room. */
const RESERVE_SHARE = 1 / 16;
/** From here on the oldest file is cleared where less than half of it is needed. */
const CROWDED = 3 / 4;
/** The free space of the disk is asked for once for so many bytes written. */
const SPACE_STEP = 64 * MIB;

export interface JournalOptions {
  readonly directory: JournalDirectory;
  /** Which bucket it belongs to: another one's journal is never read. */
  readonly owner: string;
  /** Bytes that all files together may take. */
  readonly limit: number;
  /** Bytes that stay free on the disk: others live on it too. */
  readonly minFree?: number;
  /** `close`: an append resolves when it is synced. `group`: when it is in the file; it is synced within a second. */
  readonly sync: 'group' | 'close';
  readonly clock: Clock;
  readonly log: Log;
}

/** How a record is appended. */
export interface AppendOptions {
  /** Resolves when it is in the file, whatever was promised of others. */
  readonly unsynced?: boolean;
  /** An entry of the same owner: it becomes one with it where both lie in one file. */
  readonly join?: Entry | undefined;
  /** Small, and about what is there already: it goes in even where there is no room. */
  readonly must?: boolean;
}

interface Waiting extends AppendOptions {
  readonly records: readonly NewRecord[];
  /** Records that are written once more. */
  readonly moved?: LiveEntry;
  readonly bytes: number;
  resolve(entries: LiveEntry[]): void;
  reject(error: unknown): void;
}

export class Journal {
  readonly #options: JournalOptions;
  readonly #owner: Uint8Array;
  /** Who waits for room. */
  readonly room: JournalRoom;
  readonly #files: LogFile[] = [];
  #nextNumber = 1;
  /** Files of earlier daemons are read only: what a power cut left behind their last whole record is unknown. */
  #firstOwn = Number.POSITIVE_INFINITY;
  /** What the first file of ours has to say of the last one before. */
  #ended: RecordMeta | undefined;
  #used = 0;
  /** Asked for and not written yet. */
  #coming = 0;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  /** What was asked for last. */
  #last: Promise<unknown> | undefined;
  #reclaiming: Promise<void> | undefined;
  #isMoving = false;
  #unsynced = false;
  #syncedTo = 0;
  #toldSynced = 0;
  #syncing: Promise<void> | undefined;
  #syncsBegun = 0;
  #syncsEnded = 0;
  #cancelSync: (() => void) | undefined;
  #failed: Error | undefined;
  #free = Number.POSITIVE_INFINITY;
  #sinceSpace = 0;
  #closed = false;

  /** A log in a directory where none is; see `open`. */
  constructor(options: JournalOptions) {
    this.#options = options;
    this.#owner = createHash('sha256').update(options.owner).digest();
    this.room = new JournalRoom(
      options.clock,
      (bytes, isForDisk) => this.#failed !== undefined || this.#fits(bytes, isForDisk),
      () => `the journal in ${options.directory.path} holds ${this.#used} of ${options.limit} bytes`,
    );
    // Others may have made room on the disk.
    this.room.pressed.add(() => void this.#askSpace().then(() => this.room.serve()));
  }

  /**
   * Opens the log in `directory`, which nobody else uses, with all that earlier daemons left in it: each with an entry of
   * its own, to be released where it is not needed. @throws {Error} where the disk fails, or it is another bucket's.
   */
  static async open(options: JournalOptions): Promise<{ journal: Journal; found: FoundRecord<Entry>[] }> {
    const journal = new Journal(options);
    const { directory, log } = options;
    const files = await FoundFiles.read(directory, journal.#owner, log);
    const found: FoundRecord<Entry>[] = [];
    for (const { number, seed, size, records } of files.files) {
      const file = new LogFile(number, await directory.open(nameOf(number)), seed, size);
      journal.#files.push(file);
      journal.#used += size;
      for (const record of records) found.push({ meta: record.meta, entry: journal.#live(file, record) });
    }
    journal.#nextNumber = files.nextNumber;
    journal.#ended = files.ended;
    await journal.#askSpace();
    return { journal, found };
  }

  /** The directory, for people. */
  get path(): string {
    return this.#options.directory.path;
  }

  /** Bytes on disk. */
  get used(): number {
    return this.#used;
  }

  get limit(): number {
    return this.#options.limit;
  }

  /** Bytes that stay free on its disk. */
  get minFree(): number {
    return this.#options.minFree ?? 0;
  }

  /** Why nothing is promised any more: the disk has failed. */
  get failed(): Error | undefined {
    return this.#failed;
  }

  /** Whether records of `bytes` in all may be appended now. */
  hasRoom(bytes: number): boolean {
    return !this.#failed && !this.#closed && this.#fits(bytes, true);
  }

  #fits(bytes: number, isForDisk: boolean): boolean {
    const { limit, minFree = 0 } = this.#options;
    const whole = this.#used + this.#coming + bytes;
    if (whole > limit * (1 - RESERVE_SHARE)) return false;
    return !isForDisk || this.#free - this.#sinceSpace - bytes >= minFree;
  }

  /**
   * Appends `records`, in order, with nothing between them. Resolves when they are as safe as was promised.
   * @throws {FsError} ENOSPC where there is no room; EIO where the disk fails.
   */
  append(records: readonly NewRecord[], options: AppendOptions = {}): Promise<Entry[]> {
    const bytes = records.reduce((sum, { body }) => sum + 512 + lengthOf(body), 0);
    if (this.#failed || this.#closed || !(options.must || this.hasRoom(bytes))) {
      const why = this.#failed ? this.#failed.message : `it holds ${this.#used} of ${this.limit} bytes`;
      return Promise.reject(
        new FsError(
          this.#failed ? 'EIO' : 'ENOSPC',
          `no room in the journal in ${this.#options.directory.path}: ${why}`,
        ),
      );
    }
    return this.#enqueue(records, bytes, options);
  }

  /**
   * Appends what makes room, even where there is none, without an entry: it lives as long as all that it may be about.
   * @throws {FsError} EIO where the disk fails.
   */
  async mark(meta: RecordMeta): Promise<void> {
    if (this.#failed) throw this.#failed;
    if (this.#closed) return;
    const [entry] = await this.#enqueue([{ meta }], 512);
    this.release(entry!);
  }

  /** The same where nobody waits for it, and it may be lost. */
  note(meta: RecordMeta): void {
    this.mark(meta).catch(() => {});
  }

  /** One more who will `release` it. */
  keep(entry: Entry): void {
    (entry as LiveEntry).refs++;
  }

  /** It is not needed any longer. */
  release(entry: Entry): void {
    const live = entry as LiveEntry;
    if (--live.refs > 0) return;
    this.#forget(live);
    this.room.progressed();
    this.#reclaim();
  }

  /**
   * Bytes `from` … `from + length` of the body of a record; all of it is compared with its checksum.
   * @throws {FsError} EIO where the disk has not got it any more.
   */
  async body(entry: Entry, from = 0, length = entry.bodyLength - from): Promise<Uint8Array> {
    const live = entry as LiveEntry;
    const into = new Uint8Array(length);
    const { file, bodyOffset, bodyCrc } = live;
    file.readers++;
    try {
      const read = await file.file.read(bodyOffset + from, into);
      const isWhole = read === length && (length < live.bodyLength || bodyChecksum(file.seed, into) === bodyCrc);
      if (!isWhole) throw new FsError('EIO', `the journal ${file.name} has lost bytes at ${bodyOffset + from}`);
      return into;
    } finally {
      file.readers--;
      this.#letGo(file);
    }
  }

  /** Resolves when all that was appended before is safe against a power cut. */
  async sync(): Promise<void> {
    // `#writing` ends only in a turn in which nobody waits: with two programs that write there is none for minutes.
    await this.#last?.catch(() => {});
    await this.#sync();
  }

  /** Ends it. With nothing left in it that is needed, its files go. */
  async close(): Promise<void> {
    while (this.#writing || this.#reclaiming) await (this.#writing ?? this.#reclaiming);
    this.#closed = true;
    this.#cancelSync?.();
    const isEmpty = this.#files.every(({ live }) => live.size === 0);
    if (!isEmpty) await this.#sync().catch(() => {});
    for (const { file, name } of this.#files) {
      await file.close().catch(() => {});
      if (isEmpty) await this.#options.directory.remove(name).catch(() => {});
    }
    this.#files.length = 0;
  }

  // --- writing --------------------------------------------------------------------------------------------------------

  #enqueue(
    records: readonly NewRecord[],
    bytes: number,
    options: AppendOptions & { readonly moved?: LiveEntry } = {},
  ): Promise<LiveEntry[]> {
    const asked = new Promise<LiveEntry[]>((resolve, reject) => {
      this.#waiting.push({ ...options, records, bytes, resolve, reject });
      this.#coming += bytes;
      this.#writing ??= this.#writeAll();
    });
    this.#last = asked;
    return asked;
  }

  async #writeAll(): Promise<void> {
    // One turn later all that is closed in this turn is here.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        if (this.#failed) throw this.#failed;
        const entries = await this.#write(batch);
        const isSynced = this.#options.sync === 'close' && batch.some(({ unsynced }) => !unsynced);
        batch.forEach(({ unsynced, resolve }, i) => void (unsynced && resolve(entries[i]!)));
        if (isSynced) await this.#sync();
        else this.#syncSoon();
        batch.forEach(({ unsynced, resolve }, i) => void (unsynced || resolve(entries[i]!)));
      } catch (error) {
        for (const each of batch) each.reject(journalError(error, this.#options.directory.path));
      } finally {
        for (const { bytes } of batch) this.#coming -= bytes;
        this.room.serve();
      }
    }
    // In the turn in which nobody waits any more: who comes next begins anew.
    this.#writing = undefined;
    this.#reclaim();
  }

  async #write(batch: readonly Waiting[]): Promise<LiveEntry[][]> {
    const file = await this.#current();
    const buffers: Uint8Array[] = [];
    let at = file.size;
    const add = ({ meta, body = [] }: NewRecord): ScannedRecord => {
      const record = encodeRecord(file.seed, meta, body);
      for (const buffer of record.buffers) buffers.push(buffer);
      const offset = at;
      at += record.length;
      return { meta, offset, length: record.length, bodyLength: lengthOf(body), bodyCrc: record.bodyCrc };
    };
    if (this.#syncedTo > this.#toldSynced) add({ meta: { t: SYNCED, to: this.#syncedTo } });
    const places = batch.map(({ records }) => records.map(add));
    this.#unsynced = true;
    await file.file.write(file.size, buffers);
    // A sync that began meanwhile was without them.
    this.#unsynced = true;
    this.#toldSynced = this.#syncedTo;
    this.#sinceSpace += at - file.size;
    this.#used += at - file.size;
    file.size = at;
    if (this.#sinceSpace > SPACE_STEP) void this.#askSpace();
    return batch.map(({ moved, join }, i) => {
      if (moved) {
        this.#moveTo(moved, file, places[i]!);
        return [moved];
      }
      return places[i]!.map(
        place => this.#joined(join as LiveEntry | undefined, file, place) ?? this.#live(file, place),
      );
    });
  }

  /** `join` with one record more, where it lies in this file and is needed still. */
  #joined(join: LiveEntry | undefined, file: LogFile, place: ScannedRecord): LiveEntry | undefined {
    if (join?.file !== file || join.refs <= 0) return undefined;
    join.join(place);
    file.liveBytes += place.length;
    return join;
  }

  /** The file that is written to; a new one when that is full. All of the last one is safe before. */
  async #current(): Promise<LogFile> {
    const { directory, limit } = this.#options;
    const last = this.#files.at(-1);
    const isOurs = last !== undefined && last.number >= this.#firstOwn;
    if (isOurs && last.size < Math.min(MAX_FILE, limit * FILE_SHARE)) return last;
    if (last) await this.#sync();
    const number = this.#nextNumber;
    const { seed, bytes } = fileHeader(this.#owner);
    const begin = this.#ended ? [bytes, ...encodeRecord(seed, this.#ended, []).buffers] : [bytes];
    const file = await directory.create(nameOf(number));
    this.#nextNumber = number + 1;
    try {
      await file.write(0, begin);
      await file.sync();
      await directory.sync();
    } catch (error) {
      await file.close().catch(() => {});
      await directory.remove(nameOf(number)).catch(() => {});
      throw error;
    }
    if (this.#firstOwn === Number.POSITIVE_INFINITY) this.#firstOwn = number;
    this.#ended = undefined;
    const made = new LogFile(number, file, seed, lengthOf(begin));
    this.#files.push(made);
    this.#used += made.size;
    this.#syncedTo = 0;
    this.#toldSynced = 0;
    return made;
  }

  #syncSoon(): void {
    this.#cancelSync ??= this.#options.clock.after(SYNC_AFTER, () => {
      this.#cancelSync = undefined;
      this.#sync().catch(() => {});
    });
  }

  /** Resolves when what is written now is safe. */
  async #sync(): Promise<void> {
    // One that is under way may have begun before the last write. The next one is enough, whoever begins it.
    const enough = this.#syncsBegun + 1;
    while (this.#syncing && this.#syncsEnded < enough) await this.#syncing.catch(() => {});
    if (this.#failed) throw this.#failed;
    const file = this.#files.at(-1);
    if (!file || !this.#unsynced || this.#syncsEnded >= enough) return;
    this.#unsynced = false;
    this.#syncsBegun++;
    const to = file.size;
    this.#syncing = file.file
      .sync()
      // In this turn: nobody is to find it ended and not failed.
      .catch((error: unknown) => {
        this.#fail(error);
        throw error;
      })
      .finally(() => {
        this.#syncing = undefined;
        this.#syncsEnded++;
      });
    await this.#syncing;
    if (this.#files.at(-1) === file) this.#syncedTo = to;
  }

  #fail(error: unknown): void {
    if (this.#failed) return;
    const { directory, log } = this.#options;
    this.#failed = journalError(error, directory.path);
    log.error({ err: error, directory: directory.path }, `${this.#failed.message}; close waits for S3 from now on`);
    this.room.serve();
  }

  async #askSpace(): Promise<void> {
    this.#sinceSpace = 0;
    try {
      this.#free = (await this.#options.directory.space()).free;
    } catch {
      // As it was: a disk that cannot tell will say so when it is written to.
    }
  }

  // --- making room ----------------------------------------------------------------------------------------------------

  #live(file: LogFile, record: ScannedRecord): LiveEntry {
    const entry = new LiveEntry(file, record);
    file.live.add(entry);
    file.liveBytes += entry.length;
    return entry;
  }

  #forget(entry: LiveEntry): void {
    const { file } = entry;
    if (file.live.delete(entry)) file.liveBytes -= entry.length;
  }

  #moveTo(entry: LiveEntry, file: LogFile, records: readonly ScannedRecord[]): void {
    this.#forget(entry);
    if (entry.refs <= 0) return;
    entry.moveTo(file, records);
    file.live.add(entry);
    file.liveBytes += entry.length;
  }

  #reclaim(): void {
    if (this.#reclaiming || this.#closed || !this.#mayReclaim()) return;
    this.#reclaiming = this.#reclaimAll()
      .catch(error => this.#options.log.warn({ err: error }, 'a journal file that is done could not be removed'))
      .finally(() => {
        this.#reclaiming = undefined;
      });
  }

  #mayReclaim(): boolean {
    const [oldest] = this.#files;
    if (!oldest || this.#files.length < 2) return false;
    return oldest.live.size === 0 || this.#shouldMove(oldest);
  }

  #shouldMove(oldest: LogFile): boolean {
    if (this.#isMoving || this.#failed || this.#used < this.limit * CROWDED) return false;
    return oldest.liveBytes * 2 < oldest.size;
  }

  async #reclaimAll(): Promise<void> {
    const { directory } = this.#options;
    while (this.#mayReclaim()) {
      const oldest = this.#files[0]!;
      if (oldest.live.size > 0) {
        await this.#moveLive(oldest);
        if (oldest.live.size > 0) return;
      }
      // What was moved, and the marks of what is done, must be there before the only other copy goes.
      await this.#sync();
      await directory.remove(oldest.name);
      // Before the next one: an older file that came back would tell of things whose end was in a younger one.
      await directory.sync();
      this.#files.shift();
      this.#used -= oldest.size;
      this.#sinceSpace -= oldest.size;
      this.room.freed();
      oldest.isGone = true;
      this.#letGo(oldest);
    }
  }

  async #moveLive(oldest: LogFile): Promise<void> {
    this.#isMoving = true;
    try {
      for (const entry of [...oldest.live]) {
        const records = await this.#recordsOf(entry);
        if (entry.refs > 0) await this.#enqueue(records, entry.length, { moved: entry });
      }
    } finally {
      this.#isMoving = false;
    }
  }

  /** @throws {FsError} EIO where the disk has not got them any more. */
  async #recordsOf(entry: LiveEntry): Promise<NewRecord[]> {
    const { file, places } = entry;
    const records: NewRecord[] = [];
    file.readers++;
    try {
      for (const { offset, length } of places) {
        const bytes = Buffer.allocUnsafeSlow(length);
        const read = await file.file.read(offset, bytes);
        const record = read === length ? decodeRecord(bytes, 0, file.seed) : undefined;
        if (!record) throw new FsError('EIO', `the journal ${file.name} has lost bytes at ${offset}`);
        records.push({ meta: record.meta, body: [bytes.subarray(length - record.bodyLength)] });
      }
      return records;
    } finally {
      file.readers--;
      this.#letGo(file);
    }
  }

  /** Closing a file under a read would let another one get its descriptor's number, and the read that one's bytes. */
  #letGo(file: LogFile): void {
    if (file.isGone && file.readers === 0) void file.file.close().catch(() => {});
  }
}

function lengthOf(body: readonly Uint8Array[] = []): number {
  return body.reduce((sum, slice) => sum + slice.length, 0);
}

function journalError(error: unknown, path: string): FsError {
  if (error instanceof FsError) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  return new FsError(isFull ? 'ENOSPC' : 'EIO', `the journal in ${path} cannot be written: ${message}`, {
    cause: error,
  });
}
