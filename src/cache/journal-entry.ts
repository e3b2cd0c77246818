/** What of the journal's files somebody still needs: the file may go when nobody needs anything in it. */
import type { JournalFile } from './journal-files.ts';
import type { FileSeed, RecordMeta, ScannedRecord } from './journal-record.ts';

/** A record in the log that somebody still needs, or several of one owner. */
export interface Entry {
  /** Of the last record. */
  readonly bodyLength: number;
}

/** One file of the row. */
export class LogFile {
  readonly name: string;
  readonly number: number;
  readonly file: JournalFile;
  readonly seed: FileSeed;
  readonly live = new Set<LiveEntry>();
  liveBytes = 0;
  size: number;
  readers = 0;
  isGone = false;

  constructor(number: number, file: JournalFile, seed: FileSeed, size: number) {
    this.name = nameOf(number);
    this.number = number;
    this.file = file;
    this.seed = seed;
    this.size = size;
  }
}

/** Where a record lies in its file. */
export interface RecordPlace {
  readonly offset: number;
  readonly length: number;
}

export class LiveEntry implements Entry {
  file: LogFile;
  /** Of the last record. */
  offset: number;
  bodyLength: number;
  bodyCrc: number;
  #recordLength: number;
  /** Records before the last one, of an entry with several: thousands of small writes must not be an object each. */
  #earlier: RecordPlace[] = [];
  /** Bytes of all records. */
  length: number;
  refs = 1;

  constructor(file: LogFile, record: ScannedRecord) {
    this.file = file;
    this.offset = record.offset;
    this.length = record.length;
    this.#recordLength = record.length;
    this.bodyLength = record.bodyLength;
    this.bodyCrc = record.bodyCrc;
  }

  get bodyOffset(): number {
    return this.offset + this.#recordLength - this.bodyLength;
  }

  get places(): readonly RecordPlace[] {
    return [...this.#earlier, { offset: this.offset, length: this.#recordLength }];
  }

  /** One more record in the same file. */
  join({ offset, length, bodyLength, bodyCrc }: ScannedRecord): void {
    this.#earlier.push({ offset: this.offset, length: this.#recordLength });
    this.offset = offset;
    this.#recordLength = length;
    this.bodyLength = bodyLength;
    this.bodyCrc = bodyCrc;
    this.length += length;
  }

  /** All its records were written once more, to `file`. */
  moveTo(file: LogFile, records: readonly ScannedRecord[]): void {
    this.file = file;
    this.#earlier = records.slice(0, -1).map(({ offset, length }) => ({ offset, length }));
    const last = records.at(-1)!;
    this.offset = last.offset;
    this.#recordLength = last.length;
    this.bodyLength = last.bodyLength;
    this.bodyCrc = last.bodyCrc;
    this.length = records.reduce((sum, { length }) => sum + length, 0);
  }
}

/** What is to be appended. `body` must not change until the append has settled. */
export interface NewRecord {
  readonly meta: RecordMeta;
  readonly body?: readonly Uint8Array[];
}

export function nameOf(number: number): string {
  return `${String(number).padStart(8, '0')}.journal`;
}
