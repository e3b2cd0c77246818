/** Programs that go through a mounted tree, as the kernel shows them to the filesystem: what it was told of names it keeps. */
import type { FileSystemOps, RequestContext } from '../../src/fuse/ops.ts';

export interface Program {
  /** ms that it takes for each file. */
  readonly pace: number;
  /** cp and rm sort the names of a directory by inode number, most others take them as they come. */
  readonly order: 'ino' | 'listing';
  /** Ends after so many files. */
  readonly files?: number;
}

interface Entry {
  readonly name: string;
  readonly ino: bigint;
}

export class Walker {
  readonly #ops: FileSystemOps;
  readonly #ctx: RequestContext;
  readonly #pause: (ms: number) => Promise<void>;
  readonly #nodes = new Map<
    string,
    { readonly nodeid: number; readonly isDirectory: boolean; readonly size: number }
  >();
  files = 0;

  constructor(ops: FileSystemOps, ctx: RequestContext, pause: (ms: number) => Promise<void>) {
    this.#ops = ops;
    this.#ctx = ctx;
    this.#pause = pause;
    this.#nodes.set('', { nodeid: 1, isDirectory: true, size: 0 });
  }

  /** The names of a directory, in the order in which the program goes through them. */
  async names(path: string, order: Program['order']): Promise<string[]> {
    const { nodeid } = await this.node(path);
    const { fh } = await this.#ops.opendir(nodeid, 0, this.#ctx);
    const entries: Entry[] = [];
    for (let cookie = 0, more = true; more; ) {
      more = false;
      const add = (entry: Entry & { readonly cookie: number }): boolean => {
        if (entry.name !== '.' && entry.name !== '..') entries.push(entry);
        cookie = entry.cookie;
        more = true;
        return true;
      };
      await this.#ops.readdir(nodeid, fh, cookie, { plus: false, add }, this.#ctx);
    }
    await this.#ops.releasedir(nodeid, fh, this.#ctx);
    if (order === 'ino') entries.sort((a, b) => (a.ino < b.ino ? -1 : 1));
    return entries.map(({ name }) => name);
  }

  async node(path: string): Promise<{ readonly nodeid: number; readonly isDirectory: boolean; readonly size: number }> {
    let node = this.#nodes.get(path);
    if (!node) {
      const cut = path.lastIndexOf('/');
      const parent = await this.node(path.slice(0, cut));
      const entry = await this.#ops.lookup(parent.nodeid, path.slice(cut + 1), this.#ctx);
      if (!('attributes' in entry)) throw new Error(`${path} is missing`);
      const { mode, size } = entry.attributes;
      node = { nodeid: entry.nodeid, isDirectory: (mode & 0o170000) === 0o040000, size };
      this.#nodes.set(path, node);
    }
    return node;
  }

  async read(path: string): Promise<string> {
    const { nodeid } = await this.node(path);
    const { fh } = await this.#ops.open(nodeid, 0, this.#ctx);
    const { attributes } = await this.#ops.getattr(nodeid, fh, this.#ctx);
    const reply = await this.#ops.read(nodeid, fh, 0, Math.max(4096, attributes.size), this.#ctx);
    const text = reply.slices.map(slice => Buffer.from(slice).toString('latin1')).join('');
    reply.release?.();
    await this.#ops.flush(nodeid, fh, this.#ctx);
    await this.#ops.release(nodeid, fh, this.#ctx);
    return text;
  }

  /** As `cp -r` goes: all names of a directory, then each in turn. `copied` gets each file with its bytes. */
  async copy(path: string, program: Program, copied: (path: string, text: string) => void): Promise<void> {
    for (const name of await this.names(path, program.order)) {
      if (program.files !== undefined && this.files >= program.files) return;
      const below = `${path}/${name}`;
      const { isDirectory } = await this.node(below);
      if (isDirectory) await this.copy(below, program, copied);
      else {
        copied(below, await this.read(below));
        this.files++;
        if (program.pace > 0) await this.#pause(program.pace);
      }
    }
  }
}
