/**
 * Programs that go through a directory name by name (cp, tar, grep, rsync, find, a training loop) are recognised, and what
 * they ask for next is asked ahead of them: attributes, contents of small files, listings of the next directories.
 * How far that reaches, across directories, is told by a forecast (`forecast.ts`).
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
import { Forecast, type Frame, namesOf } from './forecast.ts';
import type { DirectoryInode } from './inode.ts';
import type { Listing } from './listing.ts';
import type { Namespace } from './namespace.ts';
import { Habits, type Order, STREAK, Tracker } from './walk-habits.ts';
import { WalkRequests } from './walk-requests.ts';

/** How many names ahead directories are listed: doubled with each step in order. */
const FIRST_WINDOW = 8;
const LAST_WINDOW = 128;
/** Sorting a larger directory by inode number costs more time than it saves. */
const MAX_BY_INO = 20_000;
/** Orders are made anew with each page of a listing that still grows: above this that costs more than it saves. */
const MAX_GROWING = 5000;
/** Directories next to a walker that are asked for again where their listings are too old. */
const RENEWED = 2;
/** Listings under way ahead of walkers. */
const LISTS_AHEAD = 48;
/** Programs that are followed at the same time; the one that came on the longest ago goes. */
const MAX_FORECASTS = 16;

/** How far a program has come in one directory. */
class Walk {
  readonly trackers: Readonly<Record<Order, Tracker>> = { listing: new Tracker(), ino: new Tracker() };
  readonly habits: Habits;
  lastLooked = '';
  #listing: WeakRef<Listing> | undefined;
  flat: FlatWalk | undefined;
  /** Which led here last. */
  forecast: Forecast | undefined;

  constructor(parent: Walk | undefined) {
    this.habits = parent ? parent.habits.below : new Habits();
    // Met by a walker in order: it goes on here as it did in the directories before.
    const order = parent?.order();
    this.forecast = order && parent?.forecast;
    if (order) this.trackers[order].streak = STREAK;
  }

  /** Of which the ranks are. Not kept for this: it goes where memory is short (`ListingLimit`). */
  get listing(): Listing | undefined {
    return this.#listing?.deref();
  }

  set listing(listing: Listing) {
    this.#listing = new WeakRef(listing);
  }

  get hasBegun(): boolean {
    return this.#listing !== undefined;
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
  readonly #requests: WalkRequests;
  readonly #walks = new WeakMap<DirectoryInode, Walk>();
  /** The one that was followed last is the last. */
  readonly #forecasts = new Set<Forecast>();
  #listsAhead = 0;

  constructor(environment: Environment, namespace: Namespace) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#requests = new WalkRequests(environment, namespace);
  }

  /**
   * A name was looked up, stat-ed or opened. `isGuessed`: without its attributes, so that whoever wants them asks again. Of the
   * others nobody can tell; counted as if nobody wanted them they ended the habit that had brought them.
   */
  looked(directory: DirectoryInode, name: string, isGuessed: boolean): void {
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
      if (isGuessed) walk.habits.stats.seen();
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

  /** A file was deleted: for that nobody needed its attributes. */
  unlinked(directory: DirectoryInode): void {
    this.#walks.get(directory)?.habits.stats.seen();
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
    this.looked(parent, name, false);
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
      const isFirst = !walk.hasBegun;
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
    if (order) this.#listWindow(directory, walk, listing, order);
    this.#follow(directory, walk, listing, order, name);
  }

  /** Directories among the next names are listed. */
  #listWindow(directory: DirectoryInode, walk: Walk, listing: Listing, order: Order): void {
    if (!walk.habits.descends.holds) return;
    const tracker = walk.trackers[order];
    const names = namesOf({ key: directory.key, listing }, order);
    const window = Math.min(LAST_WINDOW, FIRST_WINDOW * 2 ** Math.min(tracker.streak - STREAK, 8));
    const end = Math.min(names.length, tracker.rank + 1 + window);
    if (walk.flat) this.#renew(directory, walk, listing, names, tracker.rank);
    for (let i = Math.max(tracker.askedTo, tracker.rank) + 1; i < end; i++) {
      const listed = listing.names.get(names[i]!);
      if (listed?.directory && !this.#listAhead(directory, walk, listed.name)) return;
      tracker.askedTo = i;
    }
  }

  /** Goes on with the forecast that has this name, or makes one where the names so far were in order. */
  #follow(directory: DirectoryInode, walk: Walk, listing: Listing, order: Order | undefined, name: string): void {
    const key = directory.key + name;
    const now = this.#environment.clock.monotonic();
    let forecast = this.#forecastOf(key);
    if (forecast && !forecast.reached(key, now)) {
      // It jumped. What was on its way comes; nothing more is asked.
      this.#forecasts.delete(forecast);
      walk.forecast = undefined;
      return;
    }
    if (!forecast) {
      const listed = listing.names.get(name)!;
      if (!order || !this.#requests.isWanted(listed, walk.habits)) return;
      forecast = this.#begin(directory, walk, listing, order, name, now);
    }
    walk.forecast = forecast;
    this.#forecasts.delete(forecast);
    this.#forecasts.add(forecast);
    this.#askAhead(forecast);
  }

  #forecastOf(key: string): Forecast | undefined {
    for (const forecast of this.#forecasts) {
      // It may have waited for the listing of the directory that the program has come to.
      if (forecast.blockedBy) this.#askAhead(forecast);
      if (forecast.expects(key)) return forecast;
    }
    return undefined;
  }

  #begin(directory: DirectoryInode, walk: Walk, listing: Listing, order: Order, name: string, now: number): Forecast {
    const frames: Frame[] = [];
    let [at, of, listed, next]: [DirectoryInode, Walk, Listing, number] = [directory, walk, listing, 0];
    next = rankIn(at.key, listed, order, name) ?? 0;
    for (;;) {
      frames.unshift({ key: at.key, listing: listed, habits: of.habits, next });
      const { parent } = at;
      const above = parent && this.#walks.get(parent);
      if (!above?.listing || above.order() !== order) break;
      const rank = rankIn(parent!.key, above.listing, order, at.name);
      if (rank === undefined) break;
      [at, of, listed, next] = [parent!, above, above.listing, rank + 1];
    }
    const forecast = new Forecast(
      {
        order,
        frames,
        now,
        isWanted: (each, habits) => this.#requests.isWanted(each, habits),
      },
      key => this.#listingOf(key),
      walk.forecast,
    );
    forecast.next();
    forecast.reached(directory.key + name, now);
    for (const other of this.#forecasts) {
      // Of the same program, before it went another way than was thought.
      if (other.blockedBy && directory.key.startsWith(other.blockedBy.frame.key)) this.#forecasts.delete(other);
    }
    for (const oldest of this.#forecasts) {
      if (this.#forecasts.size < MAX_FORECASTS) break;
      this.#forecasts.delete(oldest);
    }
    return forecast;
  }

  #listingOf(key: string): Listing | undefined {
    const directory = this.#namespace.directoryAt(key);
    return (directory && this.#namespace.listings.fresh(directory)) ?? this.#namespace.ahead.listingOf(key);
  }

  #askAhead(forecast: Forecast): void {
    this.#requests.ask(forecast);
    const { blockedBy } = forecast;
    if (!blockedBy || blockedBy.isAsked) return;
    const above = this.#namespace.directoryAt(blockedBy.frame.key);
    const walk = above && this.#walks.get(above);
    blockedBy.isAsked = walk !== undefined && this.#listAhead(above!, walk, blockedBy.name);
  }

  /** Directories were listed: whoever waited for one of them goes on. */
  #listed(): void {
    for (const forecast of this.#forecasts) if (forecast.blockedBy) this.#askAhead(forecast);
  }

  /** A slow walker meets what was listed ahead when that is too old: the next few are asked for once more. */
  #renew(directory: DirectoryInode, walk: Walk, listing: Listing, names: readonly string[], rank: number): void {
    if (!walk.habits.descends.holds) return;
    for (const name of names.slice(rank + 1, rank + 1 + RENEWED)) {
      if (listing.names.get(name)?.directory) this.#listAhead(directory, walk, name);
    }
  }

  /** How a directory is listed ahead: with its neighbours, where that pays, or by itself. False: no more for now. */
  #listAhead(directory: DirectoryInode, walk: Walk, name: string): boolean {
    const { ahead } = this.#namespace;
    if (this.#namespace.isListed(directory, name)) return true;
    if (ahead.isFull) return false;
    const flat = this.#flatWalk(directory, walk)?.ask(name) ?? 'apart';
    if (flat === 'wait') return false;
    if (flat === 'coming' || ahead.coming(`${directory.key}${name}/`)) return true;
    if (this.#listsAhead >= LISTS_AHEAD) return false;
    const listing = this.#namespace.listAhead(directory, name);
    if (!listing) return true;
    this.#listsAhead++;
    listing
      .then(done => {
        if (done) this.#listed();
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
    if (walk.flat?.isOf(listing)) return walk.flat;
    const { ahead } = this.#namespace;
    walk.flat = new FlatWalk(
      {
        store,
        clock,
        ttl: options.ttl,
        adopt: async (found, at) => {
          await ahead.adopt(found, at);
          this.#listed();
        },
        coming: (key, run) => ahead.expect(key, run),
      },
      directory.key,
      listing,
      walk.flat?.experience,
    );
    return walk.flat;
  }
}

function rankIn(key: string, listing: Listing, order: Order, name: string): number | undefined {
  return order === 'listing' ? listing.rankOf(name) : listing.inoRankOf(key, name);
}
