/**
 * Bounds how many inodes the kernel makes us hold: it forgets a name only when it is short of memory itself, and `ls -l` of a
 * million files took two gigabytes here. Above the limit it is asked to let go of those it has had for longest; what
 * somebody needs again it looks up again, and the listing answers.
 */
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode } from './inode.ts';

/** Names given back in one go, and the ms between two: faster than any program looks them up. */
const BATCH = 5000;
const PAUSE = 200;
/**
 * The same by NOTIFY_PRUNE, which needs no lock of the directory: by name each waits for a lookup in it to end, and
 * `ls -l` of a million files ended with all of them. One message each, a few ms for the kernel.
 */
const PRUNE_BATCH = 16_384;
/** `find` over a million names asks for none of the inodes that READDIRPLUS makes, faster than they are given back. */
const FULL = 1.25;

export class InodeLimit {
  readonly #environment: Environment;
  readonly #inodes: ReadonlyMap<number, Inode>;
  readonly #max: number;
  /**
   * The number that was looked at last: who was asked to be forgotten and is still here is in use, so the next look begins
   * behind it. Not an iterator: one that stands still keeps alive every table that the map has outgrown since, and with
   * them inodes that were forgotten (after 11,000 operations of 64 processes 676 of them beside 697 that were needed).
   */
  #last = 0;
  #waiting = false;

  constructor(environment: Environment, inodes: ReadonlyMap<number, Inode>, max: number) {
    this.#environment = environment;
    this.#inodes = inodes;
    this.#max = max;
  }

  /**
   * So many more than there should be that none is made which nobody has asked for: the entries of a directory go out as
   * names alone, and who wants more looks them up.
   */
  get isFull(): boolean {
    return this.#inodes.size > this.#max * FULL;
  }

  /** There is one inode more. */
  grown(): void {
    if (this.#waiting || this.#inodes.size <= this.#max) return;
    this.#waiting = true;
    this.#environment.clock.after(PAUSE, () => {
      this.#waiting = false;
      this.#trim();
    });
  }

  #trim(): void {
    const { notifier } = this.#environment;
    if (!notifier) return;
    const pruned: number[] = [];
    let excess = Math.min(notifier.prune ? PRUNE_BATCH : BATCH, this.#inodes.size - this.#max);
    for (const inode of this.#round()) {
      if (!isIdle(inode)) continue;
      if (notifier.prune) pruned.push(inode.nodeid);
      else if (inode instanceof DirectoryInode) continue;
      else notifier.invalidateEntry(inode.parent!.nodeid, inode.name);
      if (--excess === 0) break;
    }
    if (pruned.length > 0) notifier.prune?.(pruned);
    this.grown();
  }

  /** All of them once. The map has them nearly in the order of their numbers: what is taken in again comes last. */
  *#round(): Generator<Inode> {
    const last = this.#last;
    for (const isBehind of [true, false]) {
      for (const inode of this.#inodes.values()) {
        if (inode.nodeid > last !== isBehind) continue;
        this.#last = inode.nodeid;
        yield inode;
      }
    }
  }
}

/**
 * Nobody here needs it; of directories those below which nothing is held. Whether a program stands in one only the kernel
 * knows: by name it would be taken from under it, by a prune it stays.
 */
function isIdle(inode: Inode): boolean {
  if (!inode.parent || inode.lookups === 0 || inode.metadataUnsaved || inode.lock.locked) return false;
  if (inode instanceof DirectoryInode) {
    return inode.children.size === 0 && inode.opens === 0 && !inode.localOnly && !inode.loading && !inode.moving;
  }
  return !(inode instanceof FileInode) || !(inode.isInUse || inode.unsaved || inode.saving || inode.content);
}
