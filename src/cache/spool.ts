/**
 * Unsaved bytes on disk: one sparse file per inode that has outgrown its share of memory, with the offsets of the file.
 *
 * Spooled bytes live as long as the process: the file has no name once it is open, so nothing is left behind by a crash.
 * (What must outlive the process is the journal's.) All disk I/O goes by the thread pool.
 */
import { randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { FsError } from '../errors.ts';
import { diskSpace, LEAST_FREE } from './disk-space.ts';
import { RangeSet } from './ranges.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';

export interface SpoolOptions {
  /** Absent: nothing is spooled, and writers beyond the share of memory wait for saves or get ENOSPC. */
  readonly directory?: string;
  /** Bytes that all spool files together may take. */
  readonly maxBytes?: number;
  /** Bytes that stay free on the disk: others live on it too. */
  readonly minFreeBytes?: number;
}

/** The spool of one mount, with the share of memory whose overflow it takes. */
export class Spool {
  readonly memory: UnsavedMemory;
  readonly directory: string | undefined;
  readonly maxBytes: number;
  readonly minFreeBytes: number;
  #used = 0;
  /** What statfs said last, less what was written since. */
  #free = 0;
  #sinceStatfs = Number.POSITIVE_INFINITY;

  constructor(memory: UnsavedMemory, options: SpoolOptions) {
    this.memory = memory;
    this.directory = options.directory;
    this.maxBytes = options.maxBytes ?? Number.POSITIVE_INFINITY;
    this.minFreeBytes = options.minFreeBytes ?? LEAST_FREE;
  }

  /** Bytes in all spool files. */
  get used(): number {
    return this.#used;
  }

  get enabled(): boolean {
    return this.directory !== undefined;
  }

  /** @throws {FsError} ENOSPC where there is no spool or it cannot be written. */
  async open(): Promise<SpoolFile> {
    if (this.directory === undefined) throw new FsError('ENOSPC', 'no directory to spool to');
    const path = join(this.directory, `unsaved-${process.pid}-${randomBytes(8).toString('hex')}`);
    try {
      await mkdir(this.directory, { recursive: true, mode: 0o700 });
      // Exclusive: a name that somebody has put there, a symlink say, is never opened.
      const file = await open(path, 'wx+', 0o600);
      try {
        await unlink(path);
      } catch (error) {
        await file.close();
        throw error;
      }
      return new SpoolFile(this, file);
    } catch (error) {
      throw spoolError(error, `cannot make a spool file in ${this.directory}`);
    }
  }

  /** Makes sure that `bytes` more may be written, and counts them. */
  async claim(bytes: number, file: FileHandle | undefined): Promise<void> {
    if (this.#used + bytes > this.maxBytes) {
      throw new FsError('ENOSPC', `the spool in ${this.directory} has reached its limit of ${this.maxBytes} bytes`);
    }
    this.#used += bytes;
    // The free space is asked for once per 64 MiB: others take from it as well, but not so fast.
    if (this.minFreeBytes > 0 && file && this.#sinceStatfs + bytes > 64 * 1024 * 1024) {
      try {
        this.#free = (await diskSpace(this.directory!)).free;
        this.#sinceStatfs = 0;
      } catch (error) {
        this.#used -= bytes;
        throw spoolError(error, `cannot see how much is free in ${this.directory}`);
      }
    }
    this.#sinceStatfs += bytes;
    if (this.minFreeBytes > 0 && this.#free - this.#sinceStatfs < this.minFreeBytes) {
      this.#used -= bytes;
      this.#sinceStatfs = Number.POSITIVE_INFINITY;
      throw new FsError('ENOSPC', `the disk of the spool in ${this.directory} has less than its minimum free`);
    }
  }

  unclaim(bytes: number): void {
    this.#used -= bytes;
  }
}

/** The spooled bytes of one inode. */
export class SpoolFile {
  readonly #spool: Spool;
  readonly #file: FileHandle;
  /** What has been written, and so takes disk. */
  readonly #written = new RangeSet();
  /** Its owner, captures of it, and I/O under way. */
  #refs = 1;

  constructor(spool: Spool, file: FileHandle) {
    this.#spool = spool;
    this.#file = file;
  }

  /** Writes `buffers` one after another at `offset`. @throws {FsError} ENOSPC, whatever the disk says. */
  async write(offset: number, buffers: readonly Uint8Array[]): Promise<void> {
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
    const fresh = RangeSet.of([offset, offset + bytes]);
    fresh.removeAll(this.#written);
    this.#refs++;
    try {
      await this.#spool.claim(fresh.bytes, this.#file);
      this.#written.addAll(fresh);
      let rest = buffers;
      let at = offset;
      while (rest.length > 0) {
        const { bytesWritten } = await this.#file.writev(rest as Uint8Array[], at);
        at += bytesWritten;
        rest = after(rest, bytesWritten);
      }
    } catch (error) {
      throw spoolError(error, 'cannot write to the spool');
    } finally {
      this.drop();
    }
  }

  /** Fills `into` from `offset` on, all of which must have been written. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    this.#refs++;
    try {
      let filled = 0;
      while (filled < into.length) {
        const { bytesRead } = await this.#file.read(into, filled, into.length - filled, offset + filled);
        if (bytesRead === 0) throw new FsError('EIO', `the spool ends at ${offset + filled}, within unsaved bytes`);
        filled += bytesRead;
      }
    } catch (error) {
      if (error instanceof FsError) throw error;
      throw new FsError('EIO', `cannot read unsaved bytes back from the spool: ${(error as Error).message}`, {
        cause: error,
      });
    } finally {
      this.drop();
    }
  }

  /** One more who will `drop` it. */
  keep(): this {
    this.#refs++;
    return this;
  }

  /** The last one gives the disk space back. */
  drop(): void {
    // Closing under a read would let another file get the descriptor's number, and the read that file's bytes.
    if (--this.#refs > 0) return;
    this.#spool.unclaim(this.#written.bytes);
    this.#written.clear();
    void this.#file.close().catch(() => {});
  }
}

function after(buffers: readonly Uint8Array[], bytes: number): readonly Uint8Array[] {
  let skip = bytes;
  let first = 0;
  while (first < buffers.length && skip >= buffers[first]!.length) skip -= buffers[first++]!.length;
  if (first === buffers.length) return [];
  return [buffers[first]!.subarray(skip), ...buffers.slice(first + 1)];
}

function spoolError(error: unknown, what: string): FsError {
  if (error instanceof FsError) return error;
  return new FsError('ENOSPC', `${what}: ${(error as Error).message}`, { cause: error });
}
