/**
 * Programs that go through a directory name by name (cp, tar, grep, rsync, find, a training loop) are recognised, and what
 * they ask for next is asked ahead of them: attributes, contents of small files, listings of the next directories.
 *
 * Difficulties: (1) There are two usual orders, that of the listing and that of inode numbers, in which cp and rm sort; both
 * are known before anybody asks. (2) What a program does with a name decides what is worth asking: those who only stat
 * need a HEAD, those who open want the bytes (and then the GET brings the attributes along), those who descend want
 * listings. So what was done with the names before is counted. (3) Directories of a few files each are over before a
 * pattern shows: a directory met in order by a walker of its parent begins with the parent's habits. (4) A single stray
 * access starts nothing, and a jump stops everything.
 */
import type { Environment } from './environment.ts';
import { FlatWalk } from './flat-walk.ts';
import type { DirectoryInode, Inode } from './inode.ts';
import type { ListedName, Listing } from './listing.ts';
import type { Namespace } from './namespace.ts';
import { MAX_LINK } from './posix.ts';

/** Names in order before anything is asked ahead. */
const STREAK = 2;
/** How far one step may jump and still count as in order: a program that skips what it does not want. */
const MAX_STEP = 4;
/** How many names are asked for ahead: doubled with each step in order. */
const FIRST_WINDOW = 8;
const LAST_WINDOW = 128;
/** Sorting a larger directory by inode number costs more time than it saves. */
const MAX_BY_INO = 20_000;
/** Orders are made anew with each page of a listing that still grows: above this that costs more than it saves. */
const MAX_GROWING = 5000;
/** The whole of a file up to this comes ahead in one GET; of a larger one its first block. Bytes. */
const SMALL_FILE = 1024 * 1024;
const FIRST_BLOCK = 128 * 1024;
/** Files up to this come ahead whole for a program that reads whole files: bytes. */
const WHOLE_FILE = 16 * 1024 * 1024;
/**
 * Bytes of files ahead of a walker that it has not come to yet, at most; the memory budget may allow less. 96 MiB are there in
 * some 0.1 s by 12 connections. More is worse: 100 files of 5 MiB came so far ahead that memory was short before they were
 * read, and each was fetched twice.
 */
const BYTES_AHEAD = 96 * 1024 * 1024;
/** Of the first GET for a file that comes whole: as large as those that bring the rest of it. Bytes. */
const FIRST_OF_WHOLE = 2 * 1024 * 1024;
/** Directories next to a walker that are asked for again where their listings are too old. */
const RENEWED = 2;
/** Listings under way ahead of walkers. */
const LISTS_AHEAD = 48;

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

/** Follows ranks in one order. */
class Tracker {
  rank = -1;
  streak = 0;
  askedTo = -1;
  /** Bytes of files that were fetched ahead and that nobody has come to yet. */
  bytesAhead = 0;
  readonly #fetched = new Map<number, number>();

  step(rank: number): void {
    if (rank === this.rank) return;
    if (rank > this.rank && rank <= this.rank + MAX_STEP) {
      this.streak++;
      for (let passed = this.rank + 1; passed <= rank; passed++) this.#passed(passed);
    } else {
      this.streak = 0;
      this.askedTo = rank;
      this.#forgetFetched();
    }
    this.rank = rank;
  }

  fetched(rank: number, bytes: number): void {
    this.#fetched.set(rank, bytes);
    this.bytesAhead += bytes;
  }

  #passed(rank: number): void {
    this.bytesAhead -= this.#fetched.get(rank) ?? 0;
    this.#fetched.delete(rank);
  }

  #forgetFetched(): void {
    this.#fetched.clear();
    this.bytesAhead = 0;
  }

  /** Ranks are those of another listing now: a later one, or the next range of a large directory. */
  renumbered(rank: number | undefined): void {
    this.rank = rank ?? -1;
    this.askedTo = this.rank;
    this.#forgetFetched();
  }
}

type Order = 'listing' | 'ino';

/** What is done with the names of a directory; shared by all directories of one parent, which are walked alike. */
class Habits {
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

/** How far a program has come in one directory. */
class Walk {
  readonly trackers: Readonly<Record<Order, Tracker>> = { listing: new Tracker(), ino: new Tracker() };
  readonly habits: Habits;
  lastLooked = '';
  /** Of which the ranks are. */
  listing: Listing | undefined;
  /** Bytes of small files on their way out of directories below. */
  bytesBelow = 0;
  flat: FlatWalk | undefined;

  constructor(parent: Walk | undefined) {
    this.habits = parent ? parent.habits.below : new Habits();
    // Met by a walker in order: it goes on here as it did in the directories before.
    const order = parent?.order();
    if (order) this.trackers[order].streak = STREAK;
  }

  order(): Order | undefined {
    const { listing, ino } = this.trackers;
    const best = listing.streak >= ino.streak ? 'listing' : 'ino';
    return this.trackers[best].streak >= STREAK ? best : undefined;
  }
}

export class Walks {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #walks = new WeakMap<DirectoryInode, Walk>();
  #listsAhead = 0;

  constructor(environment: Environment, namespace: Namespace) {
    this.#environment = environment;
    this.#namespace = namespace;
  }

  /** A name was looked up, stat-ed or opened. */
  looked(directory: DirectoryInode, name: string): void {
    const listing = this.#namespace.listings.around(directory, name);
    if (!listing || (!listing.complete && listing.names.size > MAX_GROWING)) return;
    const walk = this.#walkOf(directory);
    if (walk.lastLooked === name) return;
    const listed = listing.names.get(name);
    if (!listed) return;
    walk.lastLooked = name;
    if (listed.directory) walk.habits.descends.seen();
    else {
      walk.habits.reads.seen();
      walk.habits.stats.seen();
    }
    this.#step(directory, walk, listing, name);
  }

  /** A file was opened for reading. */
  opened(directory: DirectoryInode): void {
    this.#walks.get(directory)?.habits.reads.done();
  }

  /** Somebody wants the attributes of a file that are not at hand. */
  stated(directory: DirectoryInode): void {
    this.#walks.get(directory)?.habits.stats.done();
  }

  /** A file larger than what comes with its open was closed; `whole`: read to its end. */
  closed(directory: DirectoryInode, whole: boolean): void {
    const wholes = this.#walks.get(directory)?.habits.wholes;
    wholes?.seen();
    if (whole) wholes?.done();
  }

  /** A directory was opened. */
  descended(directory: DirectoryInode): void {
    const { parent, name } = directory;
    if (!parent) return;
    // Its entry may have come with the names of its parent: then nobody looked it up.
    this.looked(parent, name);
    this.#walks.get(parent)?.habits.descends.done();
  }

  #walkOf(directory: DirectoryInode): Walk {
    let walk = this.#walks.get(directory);
    if (!walk) {
      walk = new Walk(directory.parent && this.#walks.get(directory.parent));
      this.#walks.set(directory, walk);
    }
    return walk;
  }

  #step(directory: DirectoryInode, walk: Walk, listing: Listing, name: string): void {
    const { listing: inListing, ino: inIno } = walk.trackers;
    const rank = listing.rankOf(name);
    if (walk.listing !== listing) {
      // Whether it goes on in order the next name will tell.
      const isFirst = walk.listing === undefined;
      walk.listing = listing;
      if (!isFirst) {
        inListing.renumbered(rank);
        if (listing.names.size <= MAX_BY_INO) inIno.renumbered(listing.inoRankOf(directory.key, name));
        return;
      }
    }
    if (rank !== undefined) inListing.step(rank);
    // The second order is looked at only where the first does not hold.
    if (inListing.streak < STREAK && listing.names.size <= MAX_BY_INO) {
      const byIno = listing.inoRankOf(directory.key, name);
      if (byIno !== undefined) inIno.step(byIno);
    }
    const order = walk.order();
    if (!order) return;
    const tracker = walk.trackers[order];
    const names = order === 'listing' ? listing.order : listing.inoOrder(directory.key);
    const window = Math.min(LAST_WINDOW, FIRST_WINDOW * 2 ** Math.min(tracker.streak - STREAK, 8));
    const end = Math.min(names.length, tracker.rank + 1 + window);
    if (walk.flat) this.#renew(directory, walk, listing, names, tracker.rank);
    for (let i = Math.max(tracker.askedTo, tracker.rank) + 1; i < end; i++) {
      const listed = listing.names.get(names[i]!);
      if (listed && !this.#ask(directory, walk, listed, tracker, i)) return;
      tracker.askedTo = i;
    }
  }

  /** A slow walker meets what was listed ahead when that is too old: the next few are asked for once more. */
  #renew(directory: DirectoryInode, walk: Walk, listing: Listing, names: readonly string[], rank: number): void {
    if (!walk.habits.descends.holds) return;
    for (const name of names.slice(rank + 1, rank + 1 + RENEWED)) {
      if (listing.names.get(name)?.directory) this.#listAhead(directory, walk, name);
    }
  }

  /** Asks for what a walker will do with a name. False: no more for now. */
  #ask(directory: DirectoryInode, walk: Walk, listed: ListedName, tracker: Tracker, rank: number): boolean {
    if (listed.directory) {
      return walk.habits.descends.holds
        ? this.#listAhead(directory, walk, listed.name)
        : this.#headAhead(directory, listed);
    }
    if (walk.habits.reads.holds) {
      const bytes = this.#fetchAhead(directory, walk, listed, tracker.bytesAhead);
      if (bytes) tracker.fetched(rank, bytes);
      return bytes !== undefined;
    }
    // Of a small one already the lookup needs the metadata: it may be a link.
    return walk.habits.stats.holds || listed.object!.size <= MAX_LINK ? this.#headAhead(directory, listed) : true;
  }

  #headAhead(directory: DirectoryInode, listed: ListedName): boolean {
    if (this.#environment.options.stat === 'list' || this.#namespace.isKnown(directory, listed)) return true;
    this.#namespace.requests.ahead(directory.key + listed.name + (listed.directory ? '/' : ''));
    return true;
  }

  /** Fetches what a reader will want of a file; how many bytes of it. Undefined: no more for now. */
  #fetchAhead(directory: DirectoryInode, walk: Walk, listed: ListedName, bytesAhead: number): number | undefined {
    const { size } = listed.object!;
    const { blocks } = this.#environment;
    const child: Inode | undefined = directory.children.get(listed.name);
    if (size === 0 || (child && this.#namespace.isBusy(child)))
      return this.#headAhead(directory, listed) ? 0 : undefined;
    const isWhole = size <= SMALL_FILE || (walk.habits.wholes.holds && size <= WHOLE_FILE);
    const bytes = isWhole ? size : FIRST_BLOCK;
    if (bytesAhead > 0 && bytesAhead + bytes > Math.min(BYTES_AHEAD, blocks.aheadShare)) return undefined;
    const first = Math.min(bytes, FIRST_OF_WHOLE);
    const fetched = this.#namespace.ahead.fetch(listed.object!, first);
    if (fetched === 'known') return 0;
    if (fetched === 'no memory') return undefined;
    fetched.catch(() => {});
    // By what the listing says of it, at once: a file that has changed since answers 412, and is read by whoever opens it.
    if (bytes > first) blocks.prefetch(blocks.contentOf(listed.object!), first, bytes - first);
    return bytes;
  }

  /** How a directory is listed ahead: with its neighbours, where that pays, or by itself. False: no more for now. */
  #listAhead(directory: DirectoryInode, walk: Walk, name: string): boolean {
    const { ahead } = this.#namespace;
    if (this.#namespace.isListed(directory, name)) return true;
    const flat = this.#flatWalk(directory, walk)?.ask(name) ?? 'apart';
    if (flat === 'wait') return false;
    if (flat === 'coming' || ahead.coming(`${directory.key}${name}/`)) return true;
    if (this.#listsAhead >= LISTS_AHEAD) return false;
    const listing = this.#namespace.listAhead(directory, name);
    if (!listing) return true;
    this.#listsAhead++;
    listing
      .then(done => {
        if (done) this.#followInto(walk, done);
      })
      .catch(() => {})
      .finally(() => {
        this.#listsAhead--;
      });
    return true;
  }

  #flatWalk(directory: DirectoryInode, walk: Walk): FlatWalk | undefined {
    const { store, clock, options } = this.#environment;
    const { listing } = walk;
    if (!listing?.complete || !store.features.orderedListing || directory.moving) return undefined;
    if (walk.flat?.listing === listing) return walk.flat;
    const { ahead } = this.#namespace;
    walk.flat = new FlatWalk(
      {
        store,
        clock,
        ttl: options.ttl,
        adopt: async (found, at) => {
          await ahead.adopt(found, at);
          for (const { key } of found) {
            const listed = ahead.listingOf(key);
            if (listed) this.#followInto(walk, listed);
          }
        },
        coming: (key, run) => ahead.expect(key, run),
      },
      directory.key,
      listing,
      walk.flat?.experience,
    );
    return walk.flat;
  }

  /** What lies in a directory that will be walked as those before it were: its small files come ahead with it. */
  #followInto(above: Walk, listing: Listing): void {
    if (!above.habits.below.reads.holds || !listing.complete) return;
    for (const { object, directory } of listing.names.values()) {
      if (directory || !object || object.size === 0 || object.size > SMALL_FILE) continue;
      if (above.bytesBelow > 0 && above.bytesBelow + object.size > BYTES_AHEAD) return;
      const fetched = this.#namespace.ahead.fetch(object, object.size);
      if (fetched === 'no memory') return;
      if (fetched === 'known') continue;
      above.bytesBelow += object.size;
      fetched
        .catch(() => {})
        .finally(() => {
          above.bytesBelow -= object.size;
        });
    }
  }
}
