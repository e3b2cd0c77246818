/**
 * Bounds how many inodes the kernel makes us hold: it forgets a name only when it is short of memory itself, and `ls -l` of a
 * million files took two gigabytes here. Above the limit it is asked to let go of those it has had for longest; what
 * somebody needs again it looks up again, and the listing answers.
 */
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode } from './inode.ts';

/** Some 1.5 KB each: 200 MB, and `ls -l` of 100,000 files a second time stays without a lookup. */
export const MAX_INODES = 131_072;
/** Names given back in one go, and the ms between two: faster than any program looks them up. */
const BATCH = 5000;
const PAUSE = 200;

export class InodeLimit {
  readonly #environment: Environment;
  readonly #inodes: ReadonlyMap<number, Inode>;
  readonly #max: number;
  /** Goes round: who was asked to be forgotten and is still here is in use. */
  #next: IterableIterator<Inode>;
  #waiting = false;

  constructor(environment: Environment, inodes: ReadonlyMap<number, Inode>, max = MAX_INODES) {
    this.#environment = environment;
    this.#inodes = inodes;
    this.#max = max;
    this.#next = inodes.values();
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
    let excess = Math.min(BATCH, this.#inodes.size - this.#max);
    for (let looked = 0; excess > 0 && looked < this.#inodes.size; looked++) {
      let { value: inode, done } = this.#next.next();
      if (done) {
        this.#next = this.#inodes.values();
        ({ value: inode, done } = this.#next.next());
      }
      if (!inode || !isIdle(inode)) continue;
      notifier.invalidateEntry(inode.parent!.nodeid, inode.name);
      excess--;
    }
    this.grown();
  }
}

/** Nobody here needs it; directories go when nothing below is held. */
function isIdle(inode: Inode): boolean {
  if (inode instanceof DirectoryInode || !inode.parent || inode.lookups === 0) return false;
  if (inode.metadataUnsaved || inode.lock.locked) return false;
  return !(inode instanceof FileInode) || !(inode.isInUse || inode.unsaved || inode.saving || inode.content);
}
