/** Open files and directories by handle number: what belongs to one open, not to the inode. */
import { newCursor, type ReadCursor } from '../cache/read-plan.ts';
import { findingsOfWrongBytes } from '../cache/stored-content.ts';
import { FsError } from '../errors.ts';
import type { DirectoryReader } from './directory.ts';
import type { FileInode } from './inode.ts';
import { O_ACCMODE, O_RDONLY } from './modes.ts';
import { Threads } from './processes.ts';

export interface FileHandle {
  readonly fh: number;
  readonly inode: FileInode;
  readonly flags: number;
  readonly cursor: ReadCursor;
  /** The process that opened it (its Tgid); undefined where it cannot be told (another pid namespace). */
  readonly opener: number | undefined;
  /** The end of what was read by it so far: bytes. */
  readTo: number;
  /** `findingsOfWrongBytes` when it was opened. */
  readonly findings: number;
}

export class HandleTable {
  readonly threads = new Threads();
  readonly #files = new Map<number, FileHandle>();
  readonly #directories = new Map<number, DirectoryReader>();
  #next = 1;

  /** How many are open. */
  get counts(): { readonly files: number; readonly directories: number } {
    return { files: this.#files.size, directories: this.#directories.size };
  }

  openFile(inode: FileInode, flags: number, thread: number): FileHandle {
    const isWritable = (flags & O_ACCMODE) !== O_RDONLY;
    // Only a writer's flushes ask who opened.
    const opener = isWritable ? this.threads.processOf(thread) : undefined;
    const handle = {
      fh: this.#next++,
      inode,
      flags,
      cursor: newCursor(),
      opener,
      readTo: 0,
      findings: findingsOfWrongBytes(),
    };
    this.#files.set(handle.fh, handle);
    return handle;
  }

  file(fh: number): FileHandle {
    const handle = this.#files.get(fh);
    if (!handle) throw new FsError('EBADF', `no file handle ${fh}`);
    return handle;
  }

  closeFile(fh: number): FileHandle {
    const handle = this.file(fh);
    this.#files.delete(fh);
    return handle;
  }

  openDirectory(reader: DirectoryReader): number {
    const fh = this.#next++;
    this.#directories.set(fh, reader);
    return fh;
  }

  directory(fh: number): DirectoryReader {
    const reader = this.#directories.get(fh);
    if (!reader) throw new FsError('EBADF', `no directory handle ${fh}`);
    return reader;
  }

  closeDirectory(fh: number): DirectoryReader {
    const reader = this.directory(fh);
    this.#directories.delete(fh);
    return reader;
  }
}
