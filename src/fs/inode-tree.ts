/**
 * Inodes by number and by place: which the kernel holds, which lie where, and when one is not needed any more.
 *
 * It knows nothing of S3. `Namespace` builds on it and fills it with what S3 has.
 */
import { FsError } from '../errors.ts';
import { DirectoryInode, FileInode, type Inode, ROOT_NODEID, SpecialInode } from './inode.ts';
import { InodeNumbers, type NumberedPlace } from './inode-numbers.ts';
import { ROOT_INO } from './keys.ts';
import type { FullPosix } from './posix.ts';

export class InodeTree {
  readonly root: DirectoryInode;
  readonly #numbers = new InodeNumbers();
  readonly #inodes = new Map<number, Inode>();
  #nextNodeid = ROOT_NODEID + 1;

  constructor(rootPosix: FullPosix) {
    this.root = new DirectoryInode(ROOT_NODEID, ROOT_INO, undefined, '', rootPosix);
    this.root.lookups = 1;
    this.#inodes.set(ROOT_NODEID, this.root);
  }

  /** Called when a directory leaves the tree because nobody needs it. */
  protected directoryForgotten(_directory: DirectoryInode): void {}

  get size(): number {
    return this.#inodes.size;
  }

  /** Fails with ESTALE for a number that was forgotten: the kernel then looks the name up again. */
  inode(nodeid: number): Inode {
    const inode = this.#inodes.get(nodeid);
    if (!inode) throw new FsError('ESTALE', `inode ${nodeid} is not known`);
    return inode;
  }

  directory(nodeid: number): DirectoryInode {
    const inode = this.inode(nodeid);
    if (!(inode instanceof DirectoryInode)) throw new FsError('ENOTDIR');
    return inode;
  }

  file(nodeid: number): FileInode {
    const inode = this.inode(nodeid);
    if (inode instanceof FileInode) return inode;
    throw new FsError(inode instanceof DirectoryInode ? 'EISDIR' : 'EINVAL');
  }

  /** The inode of a directory's key (ending in `/`, empty for the root), if the tree holds one. */
  directoryAt(key: string): DirectoryInode | undefined {
    let directory = this.root;
    for (let at = 0; at < key.length; ) {
      const end = key.indexOf('/', at);
      const child = directory.children.get(key.slice(at, end));
      if (!(child instanceof DirectoryInode)) return undefined;
      directory = child;
      at = end + 1;
    }
    return directory;
  }

  *inodes(): IterableIterator<Inode> {
    yield* this.#inodes.values();
  }

  newDirectory(parent: DirectoryInode, name: string, posix: FullPosix, ino?: bigint): DirectoryInode {
    const inode = new DirectoryInode(this.#nextNodeid++, ino ?? this.inoFor(parent, name, true), parent, name, posix);
    return this.#adopt(inode);
  }

  newFile(parent: DirectoryInode, name: string, posix: FullPosix, ino?: bigint): FileInode {
    return this.#adopt(new FileInode(this.#nextNodeid++, ino ?? this.inoFor(parent, name, false), parent, name, posix));
  }

  newSpecial(parent: DirectoryInode, name: string, posix: FullPosix, ino?: bigint): SpecialInode {
    return this.#adopt(
      new SpecialInode(this.#nextNodeid++, ino ?? this.inoFor(parent, name, false), parent, name, posix),
    );
  }

  /** Called when there is one inode more. */
  protected grown(): void {}

  protected get inodesByNumber(): ReadonlyMap<number, Inode> {
    return this.#inodes;
  }

  #adopt<T extends Inode>(inode: T): T {
    this.#inodes.set(inode.nodeid, inode);
    this.grown();
    inode.parent!.children.set(inode.name, inode);
    return inode;
  }

  /** st_ino of what is under a name, or will be. */
  inoFor(parent: DirectoryInode, name: string, isDirectory: boolean): bigint {
    return this.#numbers.of(placeOf(parent, name, isDirectory));
  }

  /**
   * Takes the name from an inode, which lives on for its handles and the kernel's lookups. With `numberStays` whoever gets
   * the name next has its st_ino too.
   */
  detach(inode: Inode, numberStays = false): void {
    const { parent, name } = inode;
    if (!parent) return;
    if (parent.children.get(name) === inode) parent.children.delete(name);
    inode.parent = undefined;
    if (!numberStays) this.#numbers.nameless(inode.ino, placeOf(parent, name, inode instanceof DirectoryInode));
    this.release(inode);
    this.release(parent);
  }

  /** Gives an inode another place. Whatever had that name must have lost it before. */
  move(inode: Inode, parent: DirectoryInode, name: string): void {
    const from = inode.parent;
    const isDirectory = inode instanceof DirectoryInode;
    const to = placeOf(parent, name, isDirectory);
    if (from) this.#numbers.moved(inode.ino, placeOf(from, inode.name, isDirectory), to);
    // Its number has stayed with the name that it lost.
    else inode.ino = this.#numbers.of(to);
    if (from && from.children.get(inode.name) === inode) from.children.delete(inode.name);
    inode.parent = parent;
    inode.name = name;
    parent.children.set(name, inode);
    if (from && from !== parent) this.release(from);
  }

  forget(nodeid: number, count: number): void {
    const inode = this.#inodes.get(nodeid);
    if (!inode || nodeid === ROOT_NODEID) return;
    inode.lookups = Math.max(0, inode.lookups - count);
    this.release(inode);
  }

  /**
   * Counts a lookup that the kernel gets. Returns the inode to tell it of: one that was let go between two turns, because
   * nobody had a lookup of it yet, is taken in again, unless its name has another one by now.
   */
  claim(inode: Inode): Inode {
    const { parent, name } = inode;
    if (!this.#inodes.has(inode.nodeid) && parent) {
      const other = parent.children.get(name);
      if (other && other !== inode) return this.claim(other);
      this.#takeIn(inode);
    }
    inode.lookups++;
    return inode;
  }

  #takeIn(inode: Inode): void {
    this.#inodes.set(inode.nodeid, inode);
    const { parent, name } = inode;
    if (!parent) return;
    parent.children.set(name, inode);
    if (!this.#inodes.has(parent.nodeid)) this.#takeIn(parent);
  }

  /** Lets go of an inode that nobody needs: no lookup, no handle, nothing unsaved, nothing below. */
  release(inode: Inode): void {
    if (inode.nodeid === ROOT_NODEID || inode.lookups > 0 || inode.lock.locked) return;
    if (inode instanceof DirectoryInode) {
      if (inode.children.size > 0 || inode.opens > 0 || inode.metadataUnsaved || inode.loading || inode.moving) return;
    } else if (inode instanceof FileInode) {
      if (inode.opens > 0 || inode.unsaved || inode.saving) return;
    } else if (inode.metadataUnsaved) return;
    this.#inodes.delete(inode.nodeid);
    if (inode instanceof DirectoryInode) this.directoryForgotten(inode);
    const { parent } = inode;
    if (parent) {
      if (parent.children.get(inode.name) === inode) parent.children.delete(inode.name);
      this.release(parent);
    } else this.#numbers.released(inode.ino);
  }
}

function placeOf(parent: DirectoryInode, name: string, isDirectory: boolean): NumberedPlace {
  return { parent: parent.ino, name: isDirectory ? `${name}/` : name };
}
