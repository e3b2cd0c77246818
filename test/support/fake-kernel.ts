/**
 * A kernel for tests that need none: paths and descriptors over `FileSystemOps`, in process, with lookups counted and
 * given back as the real one does. It caches nothing, so that each call reaches the filesystem.
 */

import { setMaxListeners } from 'node:events';
import { FsError } from '../../src/errors.ts';
import type {
  Attributes,
  DirectoryEntry,
  Entry,
  FileSystemOps,
  NegativeEntry,
  RequestContext,
  SetAttributes,
} from '../../src/fuse/ops.ts';

const O_CREAT = 0o100;
const O_EXCL = 0o200;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;

export interface Descriptor {
  readonly nodeid: number;
  readonly fh: number;
  readonly flags: number;
}

export class FakeKernel {
  readonly #ops: FileSystemOps;
  readonly ctx: RequestContext;

  constructor(ops: FileSystemOps, identity: { uid: number; gid: number } = { uid: 1000, gid: 1000 }) {
    this.#ops = ops;
    // pid 0: another pid namespace, so that each flush saves.
    const { signal } = new AbortController();
    // The real kernel gives each request a signal of its own.
    setMaxListeners(0, signal);
    this.ctx = { ...identity, pid: 0, signal };
  }

  /** Runs `work` with the inode of `path` looked up, and forgets it afterwards. */
  async #with<T>(path: string, work: (entry: Entry) => T | Promise<T>): Promise<T> {
    const held: number[] = [];
    try {
      let entry: Entry | undefined;
      let nodeid = 1;
      for (const name of path.split('/').filter(part => part !== '')) {
        const found: Entry | NegativeEntry = await this.#ops.lookup(nodeid, name, this.ctx);
        if (found.nodeid === 0) throw new FsError('ENOENT', path);
        entry = found as Entry;
        nodeid = entry.nodeid;
        held.push(nodeid);
      }
      if (!entry) {
        const root = await this.#ops.getattr(1, undefined, this.ctx);
        entry = { nodeid: 1, entryTtl: 0, ...root };
      }
      return await work(entry);
    } finally {
      for (const nodeid of held) this.#ops.forget(nodeid, 1);
    }
  }

  async #in<T>(path: string, work: (parent: number, name: string) => T | Promise<T>): Promise<T> {
    const cut = path.lastIndexOf('/');
    const name = path.slice(cut + 1);
    return this.#with(path.slice(0, Math.max(0, cut)), parent => work(parent.nodeid, name));
  }

  /** Retries ESTALE once, as the kernel's path walk does. */
  async #again<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof FsError && error.code === 'ESTALE') return work();
      throw error;
    }
  }

  stat(path: string): Promise<Attributes> {
    return this.#again(() => this.#with(path, entry => entry.attributes));
  }

  async exists(path: string): Promise<boolean> {
    try {
      await this.stat(path);
      return true;
    } catch (error) {
      if (error instanceof FsError && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return false;
      throw error;
    }
  }

  open(path: string, flags: number, mode = 0o644): Promise<Descriptor> {
    return this.#again(async () => {
      try {
        return await this.#with(path, async ({ nodeid }) => {
          if (flags & O_CREAT && flags & O_EXCL) throw new FsError('EEXIST', path);
          const { fh } = await this.#ops.open(nodeid, flags & ~(O_CREAT | O_EXCL), this.ctx);
          return { nodeid, fh, flags };
        });
      } catch (error) {
        if (!(error instanceof FsError) || error.code !== 'ENOENT' || !(flags & O_CREAT)) throw error;
        return this.#in(path, async (parent, name) => {
          const made = await this.#ops.create(
            parent,
            name,
            0o100000 | mode,
            flags & ~(O_CREAT | O_EXCL | O_TRUNC),
            this.ctx,
          );
          this.#ops.forget(made.entry.nodeid, 1);
          return { nodeid: made.entry.nodeid, fh: made.open.fh, flags };
        });
      }
    });
  }

  async read(descriptor: Descriptor, offset: number, size: number): Promise<Buffer> {
    const reply = await this.#ops.read(descriptor.nodeid, descriptor.fh, offset, size, this.ctx);
    const bytes = Buffer.concat(reply.slices);
    reply.release?.();
    return bytes;
  }

  async write(descriptor: Descriptor, offset: number, data: Uint8Array): Promise<number> {
    let at = offset;
    if (descriptor.flags & O_APPEND) {
      const { attributes } = await this.#ops.getattr(descriptor.nodeid, descriptor.fh, this.ctx);
      at = attributes.size;
    }
    const options = { killSuidgid: false, fromPageCache: false };
    return this.#ops.write(descriptor.nodeid, descriptor.fh, at, data, options, this.ctx);
  }

  async close(descriptor: Descriptor): Promise<void> {
    try {
      await this.#ops.flush(descriptor.nodeid, descriptor.fh, this.ctx);
    } finally {
      await this.#ops.release(descriptor.nodeid, descriptor.fh, this.ctx);
    }
  }

  async fsync(descriptor: Descriptor): Promise<void> {
    await this.#ops.fsync(descriptor.nodeid, descriptor.fh, false, this.ctx);
  }

  async ftruncate(descriptor: Descriptor, size: number): Promise<void> {
    await this.#ops.setattr(descriptor.nodeid, { size, fh: descriptor.fh }, this.ctx);
  }

  async fallocate(descriptor: Descriptor, mode: number, offset: number, length: number): Promise<void> {
    await this.#ops.fallocate(descriptor.nodeid, descriptor.fh, mode, offset, length, this.ctx);
  }

  async readFile(path: string): Promise<Buffer> {
    const descriptor = await this.open(path, 0);
    try {
      const { attributes } = await this.#ops.getattr(descriptor.nodeid, descriptor.fh, this.ctx);
      const pieces: Buffer[] = [];
      for (let at = 0; at < attributes.size; ) {
        const piece = await this.read(descriptor, at, Math.min(131_072, attributes.size - at));
        if (piece.length === 0) break;
        pieces.push(piece);
        at += piece.length;
      }
      return Buffer.concat(pieces);
    } finally {
      await this.close(descriptor);
    }
  }

  async writeFile(path: string, data: Uint8Array | string, flags = 1 | O_CREAT | O_TRUNC): Promise<void> {
    const descriptor = await this.open(path, flags);
    let failed = true;
    try {
      const bytes = Buffer.from(data);
      if (bytes.length > 0) await this.write(descriptor, 0, bytes);
      failed = false;
    } finally {
      if (failed) await this.close(descriptor).catch(() => {});
      else await this.close(descriptor);
    }
  }

  setattr(path: string, change: SetAttributes): Promise<Attributes> {
    return this.#with(path, async ({ nodeid }) => (await this.#ops.setattr(nodeid, change, this.ctx)).attributes);
  }

  async mkdir(path: string, mode = 0o755): Promise<void> {
    await this.#in(path, async (parent, name) => {
      if (await this.#found(parent, name)) throw new FsError('EEXIST', path);
      const entry = await this.#ops.mkdir(parent, name, 0o40000 | mode, this.ctx);
      this.#ops.forget(entry.nodeid, 1);
    });
  }

  async symlink(target: string, path: string): Promise<void> {
    await this.#in(path, async (parent, name) => {
      const entry = await this.#ops.symlink(parent, name, Buffer.from(target), this.ctx);
      this.#ops.forget(entry.nodeid, 1);
    });
  }

  readlink(path: string): Promise<string> {
    return this.#with(path, async ({ nodeid }) => Buffer.from(await this.#ops.readlink(nodeid, this.ctx)).toString());
  }

  async #found(parent: number, name: string): Promise<boolean> {
    const found = await this.#ops.lookup(parent, name, this.ctx);
    if (found.nodeid !== 0) this.#ops.forget(found.nodeid, 1);
    return found.nodeid !== 0;
  }

  unlink(path: string): Promise<void> {
    return this.#in(path, (parent, name) => this.#ops.unlink(parent, name, this.ctx));
  }

  rmdir(path: string): Promise<void> {
    return this.#in(path, (parent, name) => this.#ops.rmdir(parent, name, this.ctx));
  }

  rename(from: string, to: string, flags = 0): Promise<void> {
    return this.#in(from, (parent, name) =>
      this.#in(to, (newParent, newName) => this.#ops.rename(parent, name, newParent, newName, flags, this.ctx)),
    );
  }

  setxattr(path: string, name: string, value: Uint8Array, flags = 0): Promise<void> {
    return this.#with(path, ({ nodeid }) => this.#ops.setxattr(nodeid, name, value, flags, this.ctx));
  }

  listxattr(path: string): Promise<readonly string[]> {
    return this.#with(path, async ({ nodeid }) => this.#ops.listxattr(nodeid, this.ctx));
  }

  removexattr(path: string, name: string): Promise<void> {
    return this.#with(path, ({ nodeid }) => this.#ops.removexattr(nodeid, name, this.ctx));
  }

  getxattr(path: string, name: string): Promise<Uint8Array> {
    return this.#with(path, ({ nodeid }) => this.#ops.getxattr(nodeid, name, this.ctx));
  }

  /** Entries without `.` and `..`, as readdir gives them; `atOnce` bounds what one call may add. */
  readdir(
    path: string,
    options: { plus?: boolean; atOnce?: number; each?: (name: string) => Promise<void> } = {},
  ): Promise<DirectoryEntry[]> {
    return this.#with(path, async ({ nodeid }) => {
      const { fh } = await this.#ops.opendir(nodeid, 0, this.ctx);
      const entries: DirectoryEntry[] = [];
      try {
        let cookie = 0;
        for (;;) {
          let taken = 0;
          const sink = {
            plus: options.plus ?? false,
            add: (entry: DirectoryEntry): boolean => {
              if (taken >= (options.atOnce ?? 100)) return false;
              taken++;
              entries.push(entry);
              cookie = entry.cookie;
              return true;
            },
          };
          await this.#ops.readdir(nodeid, fh, cookie, sink, this.ctx);
          if (taken === 0) break;
          for (const { name } of entries.slice(-taken)) if (name !== '.' && name !== '..') await options.each?.(name);
        }
      } finally {
        await this.#ops.releasedir(nodeid, fh, this.ctx);
        for (const { entry } of entries) if (entry && entry.nodeid !== 0) this.#ops.forget(entry.nodeid, 1);
      }
      return entries.filter(({ name }) => name !== '.' && name !== '..');
    });
  }

  async names(path: string): Promise<string[]> {
    return (await this.readdir(path)).map(({ name }) => name);
  }
}
