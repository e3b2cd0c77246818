/**
 * The file seam of the journal: everything that it asks of a disk, and nothing else of the program asks it this way.
 *
 * What a disk promises is written here, so that a test double can promise no more: bytes are safe once `sync` has resolved
 * after they were written; a name that was made or removed is safe once `syncDirectory` has; until then any of it may be
 * there after a power cut, in any order, a write also in part.
 */
import { readSync, writevSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskSpace, diskSpace, isLocalDisk } from './disk-space.ts';

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

/**
 * Up to so many bytes are written and read by the calling thread: into the page cache that takes some 10 µs, and by way of
 * the thread pool two sleeping threads have to wake up for it (a file of 4 KiB under `write_back` makes six such calls).
 */
const AT_ONCE = 64 * 1024;
/** ms that such a call may take: a disk that makes writers wait is given a thread, for everybody else's sake. */
const SLOW = 5;
/**
 * ms that a sync may be under way before the disk is taken for one that hangs: it takes 5 on most, and writes beside it do not
 * wait for it.
 */
const SLOW_SYNC = 20;
/** ms for which it keeps the thread. */
const SLOW_FOR = 10_000;

/**
 * Tells what the calling thread may do itself: by how long that took lately, and while no sync takes long, for a disk that
 * hangs is met by a sync soon. On a filesystem of the network nothing: that may hang at any time.
 */
export class QuickCalls {
  readonly #now: () => number;
  #slowUntil = Number.NEGATIVE_INFINITY;
  #syncs = 0;
  /** Since when there is one. */
  #syncingSince = 0;
  isLocal = true;

  /** `now`: ms of a clock that never goes back. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  allow(bytes: number): boolean {
    if (bytes > AT_ONCE || !this.isLocal) return false;
    const now = this.#now();
    return now >= this.#slowUntil && (this.#syncs === 0 || now - this.#syncingSince < SLOW_SYNC);
  }

  async sync(call: () => Promise<void>): Promise<void> {
    if (this.#syncs++ === 0) this.#syncingSince = this.#now();
    try {
      await call();
    } finally {
      this.#syncs--;
    }
  }

  run<T>(call: () => T): T {
    const before = this.#now();
    try {
      return call();
    } finally {
      const after = this.#now();
      if (after - before > SLOW) this.#slowUntil = after + SLOW_FOR;
    }
  }
}

class NodeJournalFile implements JournalFile {
  readonly #file: FileHandle;
  readonly #quick: QuickCalls;

  constructor(file: FileHandle, quick: QuickCalls) {
    this.#file = file;
    this.#quick = quick;
  }

  async write(offset: number, buffers: readonly Uint8Array[]): Promise<void> {
    let at = offset;
    let rest = buffers.filter(buffer => buffer.length > 0);
    const isQuick = this.#quick.allow(rest.reduce((sum, { length }) => sum + length, 0));
    while (rest.length > 0) {
      // IOV_MAX is 1024: what is beyond comes in the next round.
      const some = rest.slice(0, 1024) as Uint8Array[];
      const bytesWritten = isQuick
        ? this.#quick.run(() => writevSync(this.#file.fd, some, at))
        : (await this.#file.writev(some, at)).bytesWritten;
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
    const isQuick = this.#quick.allow(into.length);
    while (done < into.length) {
      const left = into.length - done;
      const bytesRead = isQuick
        ? this.#quick.run(() => readSync(this.#file.fd, into, done, left, offset + done))
        : (await this.#file.read(into, done, left, offset + done)).bytesRead;
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  sync(): Promise<void> {
    return this.#quick.sync(() => this.#file.datasync());
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** A directory of the local disk, made if need be (0700: names and bytes of files lie there). */
export class NodeJournalDirectory implements JournalDirectory {
  readonly path: string;
  readonly #quick = new QuickCalls();

  constructor(path: string) {
    this.path = path;
  }

  async list(): Promise<readonly string[]> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    this.#quick.isLocal = await isLocalDisk(this.path);
    return readdir(this.path);
  }

  async create(name: string): Promise<JournalFile> {
    // Exclusive: a name that somebody has put there, a symlink say, is never opened.
    return new NodeJournalFile(await open(join(this.path, name), 'wx+', 0o600), this.#quick);
  }

  async open(name: string): Promise<JournalFile> {
    return new NodeJournalFile(await open(join(this.path, name), 'r+'), this.#quick);
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
