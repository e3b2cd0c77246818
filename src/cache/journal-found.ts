/**
 * The journal files that an earlier daemon left: what can be believed of them, and what cannot is set aside.
 *
 * Nothing that a program was told is saved may be thrown away unread: a file with damage is copied beside the journal
 * before its records are used, so that a person can look for the rest.
 */
import type { Log } from '../telemetry.ts';
import type { JournalDirectory } from './journal-files.ts';
import { ENDED, type FileSeed, type RecordMeta, type ScannedRecord, scanFile } from './journal-record.ts';

export interface FoundRecord<Entry> {
  readonly meta: RecordMeta;
  readonly entry: Entry;
}

interface FoundFile {
  readonly number: number;
  readonly seed: FileSeed;
  readonly size: number;
  readonly records: readonly ScannedRecord[];
}

const NAME = /^(\d{8})\.journal$/;

export class FoundFiles {
  /** In the order in which they were written. */
  readonly files: readonly FoundFile[];
  readonly nextNumber: number;
  /** What the next file has to say of the last one, for whoever reads them both: it had no end of its own. */
  readonly ended: RecordMeta | undefined;

  private constructor(files: readonly FoundFile[], nextNumber: number, ended: RecordMeta | undefined) {
    this.files = files;
    this.nextNumber = nextNumber;
    this.ended = ended;
  }

  /** @throws {Error} where the directory cannot be read, or a file of it belongs to another bucket. */
  static async read(directory: JournalDirectory, owner: Uint8Array, log: Log): Promise<FoundFiles> {
    const names = await directory.list();
    const numbers = names.flatMap(name => (NAME.test(name) ? [Number(NAME.exec(name)![1])] : [])).sort((a, b) => a - b);
    const last = numbers.at(-1);
    const files: FoundFile[] = [];
    const ends = new Map<number, number>();
    // The youngest first: it tells how far the one before was believed.
    for (const number of numbers.reverse()) {
      const name = `${String(number).padStart(8, '0')}.journal`;
      const bytes = await directory.readAll(name);
      const { seed, records, damaged, end } = scanFile(bytes, number === last);
      if (seed && Buffer.compare(seed.owner, owner) !== 0) {
        throw new Error(`the journal ${name} in ${directory.path} belongs to another bucket or prefix`);
      }
      for (const { meta } of records) {
        if (meta.t === ENDED && typeof meta['file'] === 'number' && typeof meta['to'] === 'number') {
          ends.set(meta['file'], meta['to']);
        }
      }
      const to = ends.get(number) ?? end;
      const believed = records.filter(({ offset }) => offset < to);
      const isTorn = seed !== undefined && believed.length === records.length && damaged.every(([from]) => from >= to);
      if (!isTorn && damaged.some(([from, until]) => bytes.subarray(from, until).some(byte => byte !== 0))) {
        await setAside(directory, name, bytes, names);
        log.warn(
          { file: name, directory: directory.path, damaged, records: believed.length },
          'a journal file has records that are not whole: it was copied aside, the whole ones are used',
        );
      }
      if (number === last && to < bytes.length) ends.set(number, to);
      if (seed) files.unshift({ number, seed, size: bytes.length, records: believed });
      else await directory.remove(name);
    }
    const to = last === undefined ? undefined : ends.get(last);
    return new FoundFiles(files, (last ?? 0) + 1, to === undefined ? undefined : { t: ENDED, file: last, to });
  }
}

/** Once per file: a daemon that is restarted again and again must not fill the disk with copies. */
async function setAside(
  directory: JournalDirectory,
  name: string,
  bytes: Uint8Array,
  names: readonly string[],
): Promise<void> {
  const aside = `${name}.damaged`;
  if (names.includes(aside)) return;
  const copy = await directory.create(aside);
  try {
    await copy.write(0, [bytes]);
    await copy.sync();
  } finally {
    await copy.close();
  }
  await directory.sync();
}
