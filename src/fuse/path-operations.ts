/**
 * Operations by path over `FileSystemOps`, as `fuse-native` asks for them: each walks its path to an inode, and gives back
 * what it took. Nothing of the filesystem knows of paths.
 *
 * What libfuse 2's paths cannot say (who asks, flags of create and of rename, an interruption) is not there to be passed on.
 */
import { Buffer } from 'node:buffer';
import { FsError } from '../errors.ts';
import type {
  Attributes,
  FileSystemOps,
  OpenReply,
  RequestContext,
  SetAttributes,
  StatfsReply,
  Timestamp,
} from './ops.ts';
import { type PathInode, PathInodes } from './path-inodes.ts';

const O_RDWR = 2;
/** chown(2): leave it. */
const UNCHANGED = 0xffff_ffff;

export interface PathOperationsOptions {
  /** Of the mounting user: libfuse's paths come without who asks. */
  readonly uid: number;
  readonly gid: number;
  readonly now?: () => number;
}

/** A name of a directory with its d_type (mode >> 12, 0 = unknown). */
export interface ListedName {
  readonly name: string;
  readonly type: number;
}

function timestampOf(given: number): Timestamp {
  const ms = given >= 2 ** 63 ? given - 2 ** 64 : given;
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: Math.round((ms - sec * 1000) * 1e6) };
}

export class PathOperations {
  readonly inodes: PathInodes;
  readonly #ops: FileSystemOps;
  readonly #options: PathOperationsOptions;
  /** Open files by handle: their inodes stay pinned, whatever becomes of the names. */
  readonly #open = new Map<number, PathInode>();

  constructor(ops: FileSystemOps, options: PathOperationsOptions) {
    this.#ops = ops;
    this.#options = options;
    this.inodes = new PathInodes(ops, options.now ? { now: options.now } : {});
  }

  /** Files that are open now. */
  get openFiles(): number {
    return this.#open.size;
  }

  getattr(path: string): Promise<Attributes> {
    return this.#at(path, async ({ nodeid }, ctx) => (await this.#ops.getattr(nodeid, undefined, ctx)).attributes);
  }

  access(path: string, mask: number): Promise<void> {
    return this.#at(path, async ({ nodeid }, ctx) => this.#ops.access(nodeid, mask, ctx));
  }

  async statfs(): Promise<StatfsReply> {
    return this.#ops.statfs(1, this.#context());
  }

  readlink(path: string): Promise<string> {
    return this.#at(path, async ({ nodeid }, ctx) => Buffer.from(await this.#ops.readlink(nodeid, ctx)).toString());
  }

  readdir(path: string): Promise<ListedName[]> {
    return this.#at(path, async ({ nodeid }, ctx) => {
      const { fh } = await this.#ops.opendir(nodeid, 0, ctx);
      try {
        const names: ListedName[] = [];
        let cookie = 0;
        for (let before = -1; before !== names.length; ) {
          before = names.length;
          const add = ({ name, type, cookie: next }: { name: string; type: number; cookie: number }): boolean => {
            names.push({ name, type });
            cookie = next;
            return true;
          };
          await this.#ops.readdir(nodeid, fh, cookie, { plus: false, add }, ctx);
        }
        return names;
      } finally {
        await this.#ops.releasedir(nodeid, fh, ctx);
      }
    });
  }

  fsyncdir(path: string, dataOnly: boolean): Promise<void> {
    return this.#at(path, async ({ nodeid }, ctx) => {
      const { fh } = await this.#ops.opendir(nodeid, 0, ctx);
      try {
        await this.#ops.fsyncdir(nodeid, fh, dataOnly, ctx);
      } finally {
        await this.#ops.releasedir(nodeid, fh, ctx);
      }
    });
  }

  chmod(path: string, mode: number): Promise<void> {
    return this.#setattr(path, { mode });
  }

  chown(path: string, uid: number, gid: number): Promise<void> {
    return this.#setattr(path, { ...(uid !== UNCHANGED && { uid }), ...(gid !== UNCHANGED && { gid }) });
  }

  truncate(path: string, size: number): Promise<void> {
    return this.#setattr(path, { size });
  }

  /** In ms since the epoch; before 1970 as libfuse's binding has them, 2^64 too large. */
  utimens(path: string, atime: number, mtime: number): Promise<void> {
    return this.#setattr(path, { atime: timestampOf(atime), mtime: timestampOf(mtime) });
  }

  async ftruncate(fh: number, size: number): Promise<void> {
    await this.#ops.setattr(this.#handle(fh), { size, fh }, this.#context());
  }

  async mknod(path: string, mode: number, rdev: number): Promise<void> {
    await this.#make(path, async (parent, name, ctx) => this.#ops.mknod(parent, name, mode, rdev, ctx));
  }

  async mkdir(path: string, mode: number): Promise<void> {
    await this.#make(path, async (parent, name, ctx) => this.#ops.mkdir(parent, name, mode, ctx));
  }

  async symlink(target: string, path: string): Promise<void> {
    const bytes = Buffer.from(target);
    await this.#make(path, async (parent, name, ctx) => this.#ops.symlink(parent, name, bytes, ctx));
  }

  /** libfuse 2 does not pass on the flags: it may be read and written. */
  async create(path: string, mode: number): Promise<number> {
    const ctx = this.#context();
    const { parent, name } = await this.inodes.takeParent(path, ctx);
    try {
      const { entry, open } = await this.#ops.create(parent.nodeid, name, mode, O_RDWR, ctx);
      this.#open.set(open.fh, this.inodes.made(parent, name, entry));
      return open.fh;
    } finally {
      this.inodes.release(parent);
    }
  }

  async link(path: string, newPath: string): Promise<void> {
    await this.#at(path, ({ nodeid }) =>
      this.#make(newPath, async (parent, name, ctx) => this.#ops.link(nodeid, parent, name, ctx)),
    );
  }

  unlink(path: string): Promise<void> {
    return this.#remove(path, 'unlink');
  }

  rmdir(path: string): Promise<void> {
    return this.#remove(path, 'rmdir');
  }

  async rename(path: string, newPath: string): Promise<void> {
    const ctx = this.#context();
    const from = await this.inodes.takeParent(path, ctx);
    try {
      const to = await this.inodes.takeParent(newPath, ctx);
      try {
        await this.#ops.rename(from.parent.nodeid, from.name, to.parent.nodeid, to.name, 0, ctx);
      } finally {
        this.inodes.release(to.parent);
      }
    } finally {
      this.inodes.release(from.parent);
      this.inodes.drop(path);
      this.inodes.drop(newPath);
    }
  }

  async open(path: string, flags: number): Promise<number> {
    const ctx = this.#context();
    let inode = await this.inodes.take(path, ctx);
    let reply: OpenReply;
    try {
      reply = await this.#ops.open(inode.nodeid, flags, ctx);
    } catch (error) {
      this.inodes.release(inode);
      // The name has another version now: the kernel would look it up again by itself, for libfuse it is the same path.
      if (!(error instanceof FsError && error.code === 'ESTALE')) throw error;
      this.inodes.drop(path);
      inode = await this.inodes.take(path, ctx);
      try {
        reply = await this.#ops.open(inode.nodeid, flags, ctx);
      } catch (again) {
        this.inodes.release(inode);
        throw again;
      }
    }
    this.#open.set(reply.fh, inode);
    return reply.fh;
  }

  /** Copies into `target`; returns the number of bytes. */
  async read(fh: number, target: Uint8Array, offset: number): Promise<number> {
    const reply = await this.#ops.read(this.#handle(fh), fh, offset, target.length, this.#context());
    let at = 0;
    for (const slice of reply.slices) {
      target.set(slice, at);
      at += slice.length;
    }
    reply.release?.();
    return at;
  }

  async write(fh: number, data: Uint8Array, offset: number): Promise<number> {
    const options = { killSuidgid: false, fromPageCache: false };
    return this.#ops.write(this.#handle(fh), fh, offset, data, options, this.#context());
  }

  async flush(fh: number): Promise<void> {
    await this.#ops.flush(this.#handle(fh), fh, this.#context());
  }

  async fsync(fh: number, dataOnly: boolean): Promise<void> {
    await this.#ops.fsync(this.#handle(fh), fh, dataOnly, this.#context());
  }

  async release(fh: number): Promise<void> {
    const inode = this.#open.get(fh);
    if (inode === undefined) throw new FsError('EBADF');
    try {
      await this.#ops.release(inode.nodeid, fh, this.#context());
    } finally {
      this.#open.delete(fh);
      this.inodes.release(inode);
    }
  }

  getxattr(path: string, name: string): Promise<Buffer> {
    return this.#at(path, async ({ nodeid }, ctx) => {
      const value = await this.#ops.getxattr(nodeid, name, ctx);
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    });
  }

  setxattr(path: string, name: string, value: Uint8Array, flags: number): Promise<void> {
    return this.#at(path, async ({ nodeid }, ctx) => this.#ops.setxattr(nodeid, name, value, flags, ctx));
  }

  listxattr(path: string): Promise<readonly string[]> {
    return this.#at(path, async ({ nodeid }, ctx) => this.#ops.listxattr(nodeid, ctx));
  }

  removexattr(path: string, name: string): Promise<void> {
    return this.#at(path, async ({ nodeid }, ctx) => this.#ops.removexattr(nodeid, name, ctx));
  }

  /** Nobody interrupts, and nobody knows who asks. */
  #context(): RequestContext {
    const { uid, gid } = this.#options;
    let abort: AbortController | undefined;
    return {
      uid,
      gid,
      pid: 0,
      get signal() {
        abort ??= new AbortController();
        return abort.signal;
      },
    };
  }

  #handle(fh: number): number {
    const inode = this.#open.get(fh);
    if (inode === undefined) throw new FsError('EBADF');
    return inode.nodeid;
  }

  async #at<T>(path: string, body: (inode: PathInode, ctx: RequestContext) => Promise<T>): Promise<T> {
    const ctx = this.#context();
    const inode = await this.inodes.take(path, ctx);
    try {
      return await body(inode, ctx);
    } finally {
      this.inodes.release(inode);
    }
  }

  async #setattr(path: string, change: SetAttributes): Promise<void> {
    await this.#at(path, async ({ nodeid }, ctx) => this.#ops.setattr(nodeid, change, ctx));
  }

  async #make(
    path: string,
    body: (parent: number, name: string | undefined, ctx: RequestContext) => Promise<Parameters<PathInodes['made']>[2]>,
  ): Promise<void> {
    const ctx = this.#context();
    const { parent, name } = await this.inodes.takeParent(path, ctx);
    try {
      const entry = await body(parent.nodeid, name, ctx);
      this.inodes.release(this.inodes.made(parent, name, entry));
    } finally {
      this.inodes.release(parent);
    }
  }

  async #remove(path: string, operation: 'unlink' | 'rmdir'): Promise<void> {
    const ctx = this.#context();
    const { parent, name } = await this.inodes.takeParent(path, ctx);
    try {
      await this.#ops[operation](parent.nodeid, name, ctx);
    } finally {
      this.inodes.release(parent);
      this.inodes.drop(path);
    }
  }
}
