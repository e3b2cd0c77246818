/**
 * Directories being renamed, and whatever changes something below one meanwhile.
 *
 * A rename copies every key below a directory, so nothing may be written there by its old key from the first copy on.
 * Whoever changes names or saves goes through `within`: it waits for the renames above it, and a rename that begins later
 * waits for it. Keys are to be read inside. Renames between directories come one at a time (the kernel sees to that), so
 * two of them never wait for each other; but `within` must not be entered a second time by the same operation.
 */
import { DirectoryInode, type Inode } from './inode.ts';

interface Activity {
  readonly inodes: readonly Inode[];
  readonly ended: Promise<void>;
}

export class Moves {
  readonly #active = new Set<Activity>();

  /** Runs `work`, which changes something at or below `inodes`, while no directory above them is being renamed. */
  async within<T>(inodes: readonly Inode[], work: () => Promise<T>): Promise<T> {
    for (let moving = movingAbove(inodes); moving; moving = movingAbove(inodes)) await moving;
    let end!: () => void;
    const ended = new Promise<void>(resolve => {
      end = resolve;
    });
    const activity = { inodes, ended };
    this.#active.add(activity);
    try {
      return await work();
    } finally {
      this.#active.delete(activity);
      end();
    }
  }

  /** Runs `work`, which gives everything below `directory` other keys, while nothing else happens there. */
  async move<T>(directory: DirectoryInode, work: () => Promise<T>): Promise<T> {
    let end!: () => void;
    directory.moving = new Promise<void>(resolve => {
      end = resolve;
    });
    try {
      for (let below = this.#below(directory); below.length > 0; below = this.#below(directory)) {
        await Promise.all(below.map(({ ended }) => ended));
      }
      return await work();
    } finally {
      directory.moving = undefined;
      end();
    }
  }

  #below(directory: DirectoryInode): Activity[] {
    return [...this.#active].filter(({ inodes }) => inodes.some(inode => isAtOrBelow(inode, directory)));
  }
}

function movingAbove(inodes: readonly Inode[]): Promise<void> | undefined {
  for (const inode of inodes) {
    for (let above: Inode | undefined = inode; above; above = above.parent) {
      if (above instanceof DirectoryInode && above.moving) return above.moving;
    }
  }
  return undefined;
}

function isAtOrBelow(inode: Inode, directory: DirectoryInode): boolean {
  for (let above: Inode | undefined = inode; above; above = above.parent) if (above === directory) return true;
  return false;
}
