/**
 * The file seam of the journal: everything that it asks of a disk, and nothing else of the program asks it this way.
 *
 * What a disk promises is written here, so that a test double can promise no more: bytes are safe once `sync` has resolved
 * after they were written; a name that was made or removed is safe once `syncDirectory` has; until then any of it may be
 * there after a power cut, in any order, a write also in part.
 */
import { type FileHandle, mkdir, open, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskSpace, diskSpace } from './disk-space.ts';

/** One file of the journal, open. Offsets and lengths in bytes. */
export interface JournalFile {
  /** Writes all of `buffers`, one after another, at `offset`. */
  write(offset: number, buffers: readonly Uint8Array[]): Promise<void>;
  /** Fills `into` from `offset` on; how much there was. */
  read(offset: number, into: Uint8Array): Promise<number>;
  /** Resolves when all that was written before the call would survive a power cut (fdatasync). */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** One directory of the disk. Names are plain file names. Rejects with Node's system errors. */
export interface JournalDirectory {
  /** For messages. */
  readonly path: string;
  list(): Promise<readonly string[]>;
  /** A file that is not there yet, for reading and writing; for its owner only. */
  create(name: string): Promise<JournalFile>;
  open(name: string): Promise<JournalFile>;
  /** The whole file. */
  readAll(name: string): Promise<Uint8Array>;
  remove(name: string): Promise<void>;
  /** Resolves when names made and removed before the call would survive a power cut. */
  sync(): Promise<void>;
  /** Bytes free on the disk for us, and in all. */
  space(): Promise<{ readonly free: number; readonly total: number }>;
}

class NodeJournalFile implements JournalFile {
  readonly #file: FileHandle;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(offset: number, buffers: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    let rest = buffers.filter(buffer => buffer.length > 0);
    while (rest.length > 0) {
      // IOV_MAX is 1024: what is beyond comes in the next round.
      const { bytesWritten } = await this.#file.writev(rest.slice(0, 1024) as Uint8Array[], at);
      at += bytesWritten;
      let skip = bytesWritten;
      let whole = 0;
      while (whole < rest.length && skip >= rest[whole]!.length) skip -= rest[whole++]!.length;
      rest = rest.slice(whole);
      if (skip > 0) rest[0] = rest[0]!.subarray(skip);
    }
  }

  async read(offset: number, into: Uint8Array): Promise<number> {
    let done = 0;
    while (done < into.length) {
      const { bytesRead } = await this.#file.read(into, done, into.length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  sync(): Promise<void> {
    return this.#file.datasync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** A directory of the local disk, made if need be (0700: names and bytes of files lie there). */
export class NodeJournalDirectory implements JournalDirectory {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  async list(): Promise<readonly string[]> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    return readdir(this.path);
  }

  async create(name: string): Promise<JournalFile> {
    // Exclusive: a name that somebody has put there, a symlink say, is never opened.
    return new NodeJournalFile(await open(join(this.path, name), 'wx+', 0o600));
  }

  async open(name: string): Promise<JournalFile> {
    return new NodeJournalFile(await open(join(this.path, name), 'r+'));
  }

  readAll(name: string): Promise<Uint8Array> {
    return readFile(join(this.path, name));
  }

  remove(name: string): Promise<void> {
    return unlink(join(this.path, name));
  }

  async sync(): Promise<void> {
    const directory = await open(this.path, 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }

  space(): Promise<DiskSpace> {
    return diskSpace(this.path);
  }
}
