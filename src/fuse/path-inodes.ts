/**
 * Paths to inodes, for a binding whose kernel side speaks paths: what the kernel's own cache of names is to `/dev/fuse`.
 *
 * 1. Each lookup counts and has to be given back, but not while an operation or an open handle still uses the inode:
 *    entries are pinned meanwhile, and what was dropped is forgotten with its last pin.
 * 2. The same names are walked again and again; each is looked up once in its TTL.
 * 3. Another client may have changed what lies at a name, and so may a rename of ours: such a name is dropped with all
 *    below it, and handles that are open keep the inode that they were opened with.
 */
import { FsError } from '../errors.ts';
import type { Entry, FileSystemOps, Name, RequestContext } from './ops.ts';

/** An inode at its place. Opaque to callers but for `nodeid`. */
export interface PathInode {
  readonly nodeid: number;
}

class Node implements PathInode {
  readonly nodeid: number;
  readonly parent: Node | undefined;
  readonly name: string;
  readonly children = new Map<string, Node>();
  lookups = 0;
  /** By the clock of `performance.now()`. */
  until = 0;
  pins = 0;
  isDropped = false;

  constructor(nodeid: number, parent: Node | undefined, name: string) {
    this.nodeid = nodeid;
    this.parent = parent;
    this.name = name;
  }
}

/** Entries kept beside those in use: as many names as a large source tree has. */
const CAPACITY = 65_536;

/** The names of a path; one that is no UTF-8 came with U+FFFD in the place of its bytes, and is not to be trusted. */
function namesOf(path: string): Name[] {
  return path
    .split('/')
    .filter(name => name !== '')
    .map(name => (name.includes('\ufffd') ? undefined : name));
}

export class PathInodes {
  readonly #ops: Pick<FileSystemOps, 'lookup' | 'forget'>;
  readonly #now: () => number;
  readonly #capacity: number;
  readonly #root = new Node(1, undefined, '');
  /** All entries but the root, the least recently used first. */
  readonly #kept = new Set<Node>();

  constructor(
    ops: Pick<FileSystemOps, 'lookup' | 'forget'>,
    { now = () => performance.now(), capacity = CAPACITY }: { now?: () => number; capacity?: number } = {},
  ) {
    this.#ops = ops;
    this.#now = now;
    this.#capacity = capacity;
  }

  /** The inode at `path`, pinned until `release`. Rejects with `FsError` ENOENT, or with what lookup says. */
  async take(path: string, ctx: RequestContext): Promise<PathInode> {
    return this.#walk(namesOf(path), ctx);
  }

  /** The directory that holds `path`, pinned until `release`, and the name in it. */
  async takeParent(path: string, ctx: RequestContext): Promise<{ readonly parent: PathInode; readonly name: Name }> {
    const names = namesOf(path);
    if (names.length === 0) throw new FsError('EBUSY', 'the root of the mount has no name');
    const parent = await this.#walk(names.slice(0, -1), ctx);
    return { parent, name: names.at(-1) };
  }

  /** What an operation has made at a name of a pinned directory, counted as looked up; pinned in turn. */
  made(parent: PathInode, name: Name, entry: Entry): PathInode {
    const node = this.#put(parent as Node, name ?? '', entry);
    node.pins++;
    this.#evict();
    return node;
  }

  release(inode: PathInode): void {
    const node = inode as Node;
    node.pins--;
    if (node.pins === 0 && node.isDropped) this.#forget(node);
  }

  /** The name may lead elsewhere now: it is looked up again. */
  drop(path: string): void {
    let node: Node | undefined = this.#root;
    for (const name of namesOf(path)) node = name === undefined ? undefined : node?.children.get(name);
    if (node !== undefined && node !== this.#root) this.#drop(node);
  }

  /** As `drop`, for a name of a directory by its number. */
  dropEntry(parent: number, name: string): void {
    for (const node of [this.#root, ...this.#kept]) {
      const child = node.nodeid === parent ? node.children.get(name) : undefined;
      if (child !== undefined) this.#drop(child);
    }
  }

  /** Gives all back that is not pinned: the mount has ended. */
  clear(): void {
    for (const child of [...this.#root.children.values()]) this.#drop(child);
  }

  async #walk(names: readonly Name[], ctx: RequestContext): Promise<Node> {
    let node = this.#root;
    node.pins++;
    for (const name of names) {
      try {
        const child = await this.#step(node, name, ctx);
        this.release(node);
        node = child;
      } catch (error) {
        this.release(node);
        throw error;
      }
    }
    this.#evict();
    return node;
  }

  /** Pinned at once: before whoever awaits this goes on, the name may be dropped. */
  async #step(parent: Node, name: Name, ctx: RequestContext): Promise<Node> {
    const known = name === undefined ? undefined : parent.children.get(name);
    if (known !== undefined && known.until > this.#now()) {
      this.#kept.delete(known);
      this.#kept.add(known);
      known.pins++;
      return known;
    }
    const entry = await this.#lookup(parent.nodeid, name, ctx);
    if (entry !== undefined) {
      const found = this.#put(parent, name ?? '', entry);
      found.pins++;
      return found;
    }
    const gone = name === undefined ? undefined : parent.children.get(name);
    if (gone !== undefined) this.#drop(gone);
    throw new FsError('ENOENT');
  }

  async #lookup(parent: number, name: Name, ctx: RequestContext): Promise<Entry | undefined> {
    try {
      const entry = await this.#ops.lookup(parent, name, ctx);
      return 'attributes' in entry && entry.nodeid !== 0 ? entry : undefined;
    } catch (error) {
      if (error instanceof FsError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Takes a lookup into account. After an await all may be different: whoever looked up meanwhile has put the same. */
  #put(parent: Node, name: string, entry: Entry): Node {
    let node = parent.children.get(name);
    if (node !== undefined && node.nodeid !== entry.nodeid) {
      this.#drop(node);
      node = undefined;
    }
    if (node === undefined) {
      node = new Node(entry.nodeid, parent, name);
      // Below what was dropped in the meantime there is nothing to keep it in: it lasts as long as its pins.
      if (parent.isDropped) node.isDropped = true;
      else parent.children.set(name, node);
    }
    node.lookups++;
    node.until = this.#now() + entry.entryTtl;
    if (!node.isDropped) {
      this.#kept.delete(node);
      this.#kept.add(node);
    }
    return node;
  }

  #drop(node: Node): void {
    if (node.isDropped) return;
    node.isDropped = true;
    node.parent?.children.delete(node.name);
    this.#kept.delete(node);
    for (const child of [...node.children.values()]) this.#drop(child);
    if (node.pins === 0) this.#forget(node);
  }

  #forget(node: Node): void {
    const { lookups } = node;
    node.lookups = 0;
    if (lookups > 0) this.#ops.forget(node.nodeid, lookups);
  }

  #evict(): void {
    if (this.#kept.size <= this.#capacity) return;
    for (const node of this.#kept) {
      if (this.#kept.size <= this.#capacity) return;
      if (node.pins === 0 && node.children.size === 0) this.#drop(node);
    }
  }
}
