/** How much of the disk the persistent index takes: a limit of its own, and never the last of what is free. */
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { diskSpace, LEAST_FREE } from '../cache/disk-space.ts';

/** What some two million objects need, of all buckets together. Bytes. */
export const INDEX_BYTES = 256 * 1024 * 1024;
/** A file takes whole blocks of the disk. */
const BLOCK = 4096;

export class IndexSpace {
  /** Of the indexes of all buckets. */
  readonly #root: string;
  readonly maxBytes: number;
  /** Bytes that the files take; undefined until they were counted. */
  #used: number | undefined;

  constructor(root: string, maxBytes = INDEX_BYTES) {
    this.#root = root;
    this.maxBytes = maxBytes;
  }

  /** Bytes that the files of all buckets take, as far as they were counted. */
  get used(): number | undefined {
    return this.#used;
  }

  /** Whether something may be written now; makes room first, where the limit is reached. */
  async allows(): Promise<boolean> {
    if ((await diskSpace(this.#root)).free < LEAST_FREE) return false;
    if (this.#used === undefined || this.#used > this.maxBytes) await this.#makeRoom();
    return true;
  }

  /** A file was written, perhaps over another one: counted in full until the next count. */
  wrote(bytes: number): void {
    this.#used = (this.#used ?? 0) + blocksOf(bytes);
  }

  /** Counts, and lets the files go that were not used for longest, down to seven eighths. */
  async #makeRoom(): Promise<void> {
    const files: { path: string; bytes: number; usedAt: number }[] = [];
    for (const entry of await readdir(this.#root, { withFileTypes: true, recursive: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      // Another mount may take it away meanwhile.
      const found = await stat(path).catch(() => undefined);
      if (found) files.push({ path, bytes: blocksOf(found.size), usedAt: found.mtimeMs });
    }
    let used = files.reduce((sum, { bytes }) => sum + bytes, 0);
    if (used > this.maxBytes) {
      files.sort((a, b) => a.usedAt - b.usedAt);
      for (const { path, bytes } of files) {
        if (used <= (this.maxBytes / 8) * 7) break;
        await rm(path, { force: true });
        used -= bytes;
      }
    }
    this.#used = used;
  }
}

function blocksOf(bytes: number): number {
  return Math.ceil(bytes / BLOCK) * BLOCK;
}
