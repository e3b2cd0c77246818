/**
 * st_ino: the same for a file as long as the mount lives, also after a rename, and never the same for two files.
 *
 * A number comes from the directory's number and the name (`inoBelow`), so that it needs no memory and is the same after a
 * remount. Only what was renamed has a number that is not its place's own; and then a new file at the old place, whose own
 * number is still in use, needs another one: programs take two names with one number for one file (`cp`: "are the same
 * file"; `tail -F` misses that a log was replaced).
 */
import { LRUCache } from 'lru-cache';
import { inoBelow } from './keys.ts';

/** Places remembered whose number is not their own: some 200 bytes each. Beyond that the oldest get their own again. */
const MAX_PLACES = 50_000;

/** A name in a directory, by the directory's number; a directory's name ends in `/`. */
export interface NumberedPlace {
  readonly parent: bigint;
  readonly name: string;
}

function keyOf({ parent, name }: NumberedPlace): string {
  return `${parent.toString(36)}/${name}`;
}

export class InodeNumbers {
  /** Numbers of places whose number is not their own. */
  readonly #numbers: LRUCache<string, bigint>;
  /** Who has a number that belongs to another place: a place, or an inode that lost its name. */
  readonly #users = new Map<bigint, string | undefined>();

  constructor() {
    this.#numbers = new LRUCache<string, bigint>({
      max: MAX_PLACES,
      dispose: (ino, place) => {
        if (this.#users.get(ino) === place) this.#users.delete(ino);
      },
    });
  }

  /** The number of what is at a place, or will be. */
  of(place: NumberedPlace): bigint {
    const own = inoBelow(place.parent, place.name);
    if (this.#users.size === 0) return own;
    const key = keyOf(place);
    const given = this.#numbers.get(key);
    if (given !== undefined) return given;
    if (!this.#users.has(own)) return own;
    for (let i = 1; ; i++) {
      const another = inoBelow(place.parent, `${place.name}\0${i}`);
      if (this.#users.has(another)) continue;
      this.#give(key, another);
      return another;
    }
  }

  /** What has `ino` got another name. */
  moved(ino: bigint, from: NumberedPlace, to: NumberedPlace): void {
    const [left, reached] = [keyOf(from), keyOf(to)];
    if (this.#numbers.get(left) === ino) this.#numbers.delete(left);
    this.#numbers.delete(reached);
    if (inoBelow(to.parent, to.name) === ino) this.#users.delete(ino);
    else this.#give(reached, ino);
  }

  /** What has `ino` lost its name but lives on: nobody else may have its number until `released`. */
  nameless(ino: bigint, from: NumberedPlace): void {
    const left = keyOf(from);
    if (this.#numbers.get(left) === ino) this.#numbers.delete(left);
    this.#users.set(ino, undefined);
  }

  /** What has lost its name is gone for good. */
  released(ino: bigint): void {
    if (this.#users.has(ino) && this.#users.get(ino) === undefined) this.#users.delete(ino);
  }

  #give(place: string, ino: bigint): void {
    this.#numbers.set(place, ino);
    this.#users.set(ino, place);
  }
}
