/**
 * HEADs ahead of a walker: whoever asks for one name of a directory after another, in the order of its listing, finds the
 * next ones answered. A single stray lookup starts nothing.
 */
import type { Environment } from './environment.ts';
import type { DirectoryInode } from './inode.ts';
import type { Namespace } from './namespace.ts';

/** Lookups in order before anything is asked ahead. */
const STREAK = 2;
/** How far one lookup may jump and still count as in order: a program that skips what it does not want. */
const MAX_STEP = 4;
/** Names asked for ahead, doubled with each lookup in order. */
const FIRST_WINDOW = 8;
const LAST_WINDOW = 128;

interface Walk {
  rank: number;
  streak: number;
  askedTo: number;
}

export class WalkAhead {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #walks = new WeakMap<DirectoryInode, Walk>();

  constructor(environment: Environment, namespace: Namespace) {
    this.#environment = environment;
    this.#namespace = namespace;
  }

  /** Somebody asks for `name`, whose metadata has to be fetched. */
  looked(directory: DirectoryInode, name: string): void {
    const listing = this.#namespace.freshListing(directory);
    if (!listing?.complete || this.#environment.options.stat === 'list') return;
    const rank = listing.rankOf(name);
    if (rank === undefined) return;
    const walk = this.#walks.get(directory);
    if (!walk || rank <= walk.rank || rank > walk.rank + MAX_STEP) {
      this.#walks.set(directory, { rank, streak: 0, askedTo: rank });
      return;
    }
    walk.rank = rank;
    walk.streak++;
    if (walk.streak < STREAK) return;
    const window = Math.min(LAST_WINDOW, FIRST_WINDOW * 2 ** Math.min(walk.streak - STREAK, 8));
    const end = Math.min(listing.order.length, rank + 1 + window);
    for (let i = Math.max(walk.askedTo, rank) + 1; i < end; i++) {
      const listed = listing.names.get(listing.order[i]!);
      if (!listed || this.#namespace.peek(directory, listed, listing.at)) continue;
      this.#namespace.headAhead(directory.key + listed.name + (listed.directory ? '/' : ''));
    }
    walk.askedTo = Math.max(walk.askedTo, end - 1);
  }
}
