/** Open files and directories by handle number: what belongs to one open, not to the inode. */
import { newCursor, type ReadCursor } from '../cache/read-plan.ts';
import { findingsOfWrongBytes } from '../cache/stored-content.ts';
import { FsError } from '../errors.ts';
import type { DirectoryReader } from './directory.ts';
import type { FileInode } from './inode.ts';
import { O_ACCMODE, O_RDONLY, O_TRUNC } from './modes.ts';
import { PerThread, processOf } from './processes.ts';

export interface FileHandle {
  readonly fh: number;
  readonly inode: FileInode;
  readonly flags: number;
  /** What it made unsaved is saved at its close: it may write, or has made the file or cut it to nothing. */
  readonly isWriter: boolean;
  readonly cursor: ReadCursor;
  /** The process that opened it (its Tgid); undefined where it cannot be told (another pid namespace). */
  readonly opener: number | undefined;
  /** The end of what was read by it so far: bytes. */
  readTo: number;
  /** `findingsOfWrongBytes` when it was opened. */
  readonly findings: number;
}

export class HandleTable {
  /** Which processes threads belong to: each file that is written asks twice. */
  readonly processes = new PerThread(processOf);
  readonly #files = new Map<number, FileHandle>();
  readonly #directories = new Map<number, DirectoryReader>();
  #next = 1;

  /** How many are open. */
  get counts(): { readonly files: number; readonly directories: number } {
    return { files: this.#files.size, directories: this.#directories.size };
  }

  /** `isMade`: by this open, which the kernel says beside the flags. */
  openFile(inode: FileInode, flags: number, thread: number, isMade: boolean): FileHandle {
    // flock(1) makes its file with O_RDONLY.
    const isWriter = isMade || (flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0;
    // Only a writer's flushes ask who opened.
    const opener = isWriter ? this.processes.of(thread) : undefined;
    const handle = {
      fh: this.#next++,
      inode,
      flags,
      isWriter,
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
