/** What is known of a program that goes through directories: in which order, and what it does with the names. */

/** Names in order before anything is asked ahead. */
export const STREAK = 2;
/** How far one step may jump and still count as in order: a program that skips what it does not want. */
export const MAX_STEP = 4;

/** That of the listing, and that of inode numbers, in which cp and rm go. */
export type Order = 'listing' | 'ino';

/** How many of something were of one kind: a habit is what more than half do. */
class Habit {
  #all = 0;
  #some = 0;

  seen(): void {
    this.#all++;
    // Old habits fade: a program may first list everything and then read.
    if (this.#all > 64) {
      this.#all /= 2;
      this.#some /= 2;
    }
  }

  done(): void {
    this.#some++;
  }

  get holds(): boolean {
    return this.#all > 0 && this.#some * 2 >= this.#all;
  }
}

/** What is done with the names of a directory; shared by all directories of one parent, which are walked alike. */
export class Habits {
  /** Of the files: opened after they were looked at; and stat-ed. */
  readonly reads = new Habit();
  readonly stats = new Habit();
  /** Of the files above the first block that were opened: read to their end. */
  readonly wholes = new Habit();
  /** Of the directories: listed after they were looked at. */
  readonly descends = new Habit();
  #below: Habits | undefined;

  /** Of the directories below. */
  get below(): Habits {
    this.#below ??= new Habits();
    return this.#below;
  }
}

/** Follows ranks in one order. */
export class Tracker {
  rank = -1;
  streak = 0;
  askedTo = -1;

  step(rank: number): void {
    if (rank === this.rank) return;
    // The very first name met is in order if it is the first there is.
    if (rank > this.rank && rank <= this.rank + (this.rank < 0 ? 1 : MAX_STEP)) this.streak++;
    else {
      this.streak = 0;
      this.askedTo = rank;
    }
    this.rank = rank;
  }

  /** Ranks are those of another listing now: a later one, or the next range of a large directory. */
  renumbered(rank: number | undefined): void {
    this.rank = rank ?? -1;
    this.askedTo = this.rank;
  }
}
