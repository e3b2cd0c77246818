/**
 * The disk tier's directory: pairs of files, numbered from 0.
 *
 * A pair is claimed by making its file, which only one process can: so the mounts that share a directory stay below
 * one bound together, without a lock and without asking each other. Everything is 0600 in a directory 0700; no symbolic link
 * is followed. Behind an interface so that tests can let the disk be slow, full or broken.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { type DiskSpace, diskSpace } from './disk-space.ts';

export interface TierSlot {
  readonly number: number;
  /** Of the list; 0 if it is missing. */
  readonly listBytes: number;
  readonly modifiedMs: number;
}

/** A pair of files that is open. */
export interface TierPair {
  /** Bytes read into `buffer` from the file of blocks; fewer at its end. */
  read(buffer: Uint8Array, length: number, at: number): Promise<number>;
  readList(at: number): Promise<Buffer>;
  write(bytes: Uint8Array, at: number): Promise<void>;
  writeList(bytes: Uint8Array, at: number): Promise<void>;
  /** False once it was removed, by whomever: what is written then is lost, and takes space that nobody sees. */
  present(): Promise<boolean>;
  close(): Promise<void>;
}

export interface TierDisk {
  slots(): Promise<TierSlot[]>;
  /** Makes pair `number` with `head` in both files; undefined if somebody else has it. */
  claim(number: number, head: Uint8Array): Promise<TierPair | undefined>;
  /** An existing pair, for reading. */
  open(number: number): Promise<TierPair>;
  remove(number: number): Promise<void>;
  /** Of the file system, in bytes. */
  space(): Promise<{ readonly free: number; readonly total: number }>;
}

const NAME = /^(\d{6})\.blocks$/;
const NOFOLLOW = constants.O_NOFOLLOW;

/**
 * Makes `parent` if it is not there (unless `mustExist`) and the tier's own directory in it, for this user only. Throws an
 * Error whose message says why it cannot be used.
 */
export async function prepareTierDirectory(parent: string, mustExist: boolean): Promise<string> {
  const uid = process.getuid!();
  if (!mustExist) await mkdir(parent, { recursive: true, mode: 0o700 });
  // Several users may be given one directory: what one may read of a bucket is not the other's business.
  const path = join(parent, `s3mount-blocks-${uid}`);
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const found = await lstat(path);
  if (!found.isDirectory()) throw new Error(`${path} is no directory`);
  if (found.uid !== uid) throw new Error(`${path} belongs to another user`);
  if (found.mode & 0o077) throw new Error(`${path} is open to others (mode ${(found.mode & 0o777).toString(8)})`);
  return path;
}

export class DirectoryTierDisk implements TierDisk {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async slots(): Promise<TierSlot[]> {
    const slots: TierSlot[] = [];
    for (const name of await readdir(this.#path)) {
      const match = NAME.exec(name);
      if (!match) continue;
      const number = Number(match[1]);
      const list = await lstat(this.#name(number, 'list')).catch(() => undefined);
      const modified = list ?? (await lstat(join(this.#path, name)).catch(() => undefined));
      if (modified !== undefined) slots.push({ number, listBytes: list?.size ?? 0, modifiedMs: modified.mtimeMs });
    }
    return slots;
  }

  async claim(number: number, head: Uint8Array): Promise<TierPair | undefined> {
    let blocks: FileHandle;
    try {
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | NOFOLLOW;
      blocks = await open(this.#name(number, 'blocks'), flags, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return undefined;
      throw error;
    }
    let list: FileHandle | undefined;
    try {
      // A list without its blocks is what a crash has left; whoever has the blocks may replace it.
      const listName = this.#name(number, 'list');
      await unlink(listName).catch(() => {});
      list = await open(listName, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | NOFOLLOW, 0o600);
      const pair = new OpenPair(blocks, list);
      await pair.write(head, 0);
      await pair.writeList(head, 0);
      return pair;
    } catch (error) {
      await blocks.close().catch(() => {});
      await list?.close().catch(() => {});
      await this.remove(number).catch(() => {});
      throw error;
    }
  }

  async open(number: number): Promise<TierPair> {
    const blocks = await open(this.#name(number, 'blocks'), constants.O_RDONLY | NOFOLLOW);
    try {
      return new OpenPair(blocks, await open(this.#name(number, 'list'), constants.O_RDONLY | NOFOLLOW));
    } catch (error) {
      await blocks.close();
      throw error;
    }
  }

  async remove(number: number): Promise<void> {
    for (const kind of ['list', 'blocks'] as const) {
      try {
        await unlink(this.#name(number, kind));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      }
    }
  }

  space(): Promise<DiskSpace> {
    return diskSpace(this.#path);
  }

  #name(number: number, kind: 'blocks' | 'list'): string {
    return join(this.#path, `${String(number).padStart(6, '0')}.${kind}`);
  }
}

class OpenPair implements TierPair {
  readonly #blocks: FileHandle;
  readonly #list: FileHandle;

  constructor(blocks: FileHandle, list: FileHandle) {
    this.#blocks = blocks;
    this.#list = list;
  }

  async read(buffer: Uint8Array, length: number, at: number): Promise<number> {
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.#blocks.read(buffer, done, length - done, at + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async readList(at: number): Promise<Buffer> {
    const { size } = await this.#list.stat();
    if (size <= at) return Buffer.alloc(0);
    const bytes = Buffer.alloc(size - at);
    const { bytesRead } = await this.#list.read(bytes, 0, bytes.length, at);
    return bytes.subarray(0, bytesRead);
  }

  async write(bytes: Uint8Array, at: number): Promise<void> {
    await writeAll(this.#blocks, bytes, at);
  }

  async writeList(bytes: Uint8Array, at: number): Promise<void> {
    await writeAll(this.#list, bytes, at);
  }

  async present(): Promise<boolean> {
    const [blocks, list] = await Promise.all([this.#blocks.stat(), this.#list.stat()]);
    return blocks.nlink > 0 && list.nlink > 0;
  }

  async close(): Promise<void> {
    await Promise.all([this.#blocks.close(), this.#list.close()]);
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, at + done);
    done += bytesWritten;
  }
}
