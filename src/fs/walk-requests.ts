/** What is asked of S3 for the names that a program will come to: contents of files, or the attributes alone. */
import { openingMemory } from '../cache/blocks-in-flight.ts';
import type { Environment } from './environment.ts';
import type { Coming, Forecast } from './forecast.ts';
import type { DirectoryInode, Inode } from './inode.ts';
import type { ListedName } from './listing.ts';
import type { Namespace } from './namespace.ts';
import { MAX_LINK } from './posix.ts';
import type { Habits } from './walk-habits.ts';

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
/** Requests under way for all walkers: at 20 ms each these are some 6,000 a second, as many as S3 allows a prefix. */
const MAX_REQUESTS = 128;
/** Of the time for which an open believes what was fetched so much may be over before the program comes to it. */
const FRESH_SHARE = 0.75;

export class WalkRequests {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  #requests = 0;
  /** What was refused for want of memory, or because enough is under way: the next to be asked for. */
  readonly #refused = new WeakMap<Forecast, Coming>();

  constructor(environment: Environment, namespace: Namespace) {
    this.#environment = environment;
    this.#namespace = namespace;
  }

  /** Asks for what is to come, as far as the forecast reaches. */
  ask(forecast: Forecast): void {
    const { openCheck } = this.#environment.options;
    if (openCheck > 0) {
      const now = this.#environment.clock.monotonic();
      for (const item of forecast.outdated(now - openCheck * FRESH_SHARE, now))
        this.#askAbout(item, item.directory + item.listed.name);
    }
    while (this.#requests < MAX_REQUESTS) {
      const refused = this.#refused.get(forecast);
      this.#refused.delete(forecast);
      const item = refused && forecast.holds(refused) ? refused : undefined;
      if (!item && forecast.size >= forecast.window) return;
      const next = item ?? forecast.next();
      if (!next) return;
      if (!this.#askFor(forecast, next)) {
        this.#refused.set(forecast, next);
        return;
      }
    }
  }

  /** Whether anything would be asked for a name that is met in this way. */
  isWanted(listed: ListedName, { descends, reads, stats }: Habits): boolean {
    const isExact = this.#environment.options.stat === 'exact';
    if (listed.directory) return descends.holds || isExact;
    if (reads.holds) return true;
    // Of a small one already the lookup needs the metadata: it may be a link.
    return isExact && (stats.holds || listed.object!.size <= MAX_LINK);
  }

  /** False: no more for now. */
  #askFor(forecast: Forecast, item: Coming): boolean {
    const { listed, habits } = item;
    const directory = this.#namespace.directoryAt(item.directory);
    if (listed.directory) {
      // Its listing tells whether it has a marker.
      if (!habits.descends.holds) this.#head(item, directory);
      return true;
    }
    if (habits.reads.holds) return this.#fetch(forecast, item, directory);
    this.#head(item, directory);
    return true;
  }

  #head(item: Coming, directory: DirectoryInode | undefined): void {
    const { listed } = item;
    if (this.#environment.options.stat === 'list') return;
    const key = item.directory + listed.name + (listed.directory ? '/' : '');
    if (directory ? this.#namespace.isKnown(directory, listed) : this.#namespace.isKeyKnown(key, listed)) return;
    this.#askAbout(item, key);
  }

  #askAbout(item: Coming, key: string): void {
    const { requests } = this.#namespace;
    if (requests.isPending(key)) return;
    item.askedAt = this.#environment.clock.monotonic();
    this.#underWay(requests.head(key));
  }

  #underWay(request: Promise<unknown>): void {
    this.#requests++;
    // Errors show when the name is asked for.
    const done = (): void => void this.#requests--;
    request.then(done, done);
  }

  #fetch(forecast: Forecast, item: Coming, directory: DirectoryInode | undefined): boolean {
    const { options, blocks } = this.#environment;
    const { listed, habits } = item;
    const object = listed.object!;
    const { size, key } = object;
    const child: Inode | undefined = directory?.children.get(listed.name);
    // Where each open asks, what came before it saves no request.
    if (size === 0 || options.openCheck === 0 || (child && this.#namespace.isBusy(child))) {
      this.#head(item, directory);
      return true;
    }
    const isWhole = size <= SMALL_FILE || (habits.wholes.holds && size <= WHOLE_FILE);
    const bytes = isWhole ? size : FIRST_BLOCK;
    const memory = openingMemory(bytes);
    if (forecast.bytes > 0 && forecast.bytes + memory > Math.min(BYTES_AHEAD, blocks.aheadShare)) return false;
    const first = Math.min(bytes, FIRST_OF_WHOLE);
    const fetched = this.#namespace.ahead.fetch(object, first);
    if (fetched === 'no memory') return false;
    if (fetched === 'known') {
      this.#check(item, key);
      return true;
    }
    item.askedAt = this.#environment.clock.monotonic();
    forecast.take(item, memory);
    this.#underWay(fetched);
    // By what the listing says of it, at once: a file that has changed since answers 412, and is read by whoever opens it.
    if (bytes > first) blocks.prefetch(blocks.contentOf(object), first, bytes - first);
    return true;
  }

  /** The bytes are here: its open will only ask whether they are still those in S3, unless that was asked a moment ago. */
  #check(item: Coming, key: string): void {
    const { options, clock } = this.#environment;
    const known = this.#namespace.index.get(key);
    if (known && clock.monotonic() - known.checkedAt < options.openCheck * FRESH_SHARE) return;
    this.#askAbout(item, key);
  }
}
