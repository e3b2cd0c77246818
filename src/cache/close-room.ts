/** `write_back`: the room in the journal that the close of a file will need, taken when the file is written. */
import type { Waiter } from '../concurrency.ts';
import type { JournalRoom } from './journal-room.ts';

/** Key, metadata and headers of a save: S3 allows 1 KiB and 2 KiB of the first two. */
const RECORD_BYTES = 6 * 1024;

/** What the closes of all files of a mount take room from. */
export interface CloseRooms {
  readonly room: JournalRoom;
  /** Files up to this size go through the journal. Bytes. */
  readonly most: number;
}

export class CloseRoom {
  readonly #rooms: CloseRooms;
  #held = 0;
  #isOver = false;

  constructor(rooms: CloseRooms) {
    this.#rooms = rooms;
  }

  /** True if the close of a file of `size` bytes will find room, or needs none. */
  tryCover(size: number): boolean {
    const more = this.#more(size);
    if (more === 0) return true;
    if (!this.#rooms.room.tryPromise(more, false)) return false;
    this.#held += more;
    return true;
  }

  /** The same, waiting until S3 has made room. @throws {FsError} ENOSPC; {StoreError} `aborted`. */
  async cover(size: number, waiter: Waiter | undefined): Promise<void> {
    const more = this.#more(size);
    if (more === 0) return;
    await this.#rooms.room.promise(more, false, waiter);
    this.#held += more;
    if (this.#isOver) this.letGo();
  }

  #more(size: number): number {
    if (size > this.#rooms.most) {
      this.letGo();
      return 0;
    }
    return Math.max(0, size + RECORD_BYTES - this.#held);
  }

  /** No close will need any: the file has lost its name, perhaps while somebody waited for room. */
  end(): void {
    this.#isOver = true;
    this.letGo();
  }

  /** Nothing is unsaved any more, or it will not go through the journal. */
  letGo(): void {
    if (this.#held === 0) return;
    const held = this.#held;
    this.#held = 0;
    this.#rooms.room.giveBack(held);
  }
}
