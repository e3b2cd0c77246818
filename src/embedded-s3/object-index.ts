/**
 * Keys in the order of their bytes, for listing: a two-level B-tree. Leaves hold up to 512 entries, so an insertion moves
 * a few kilobytes at most, and a million keys are 2,000 leaves found by two binary searches.
 */

const LEAF = 512;

export interface Keyed {
  /** A byte string, see `byte-string.ts`. */
  readonly key: string;
}

/** First position in `leaf` whose key is not below `key`. */
function lowerBound<T extends Keyed>(leaf: readonly T[], key: string): number {
  let low = 0;
  let high = leaf.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (leaf[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

export class ObjectIndex<T extends Keyed> {
  /** Never empty, no leaf empty but the only one. */
  #leaves: T[][] = [[]];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): T | undefined {
    const leaf = this.#leaves[this.#leafFor(key)]!;
    const entry = leaf[lowerBound(leaf, key)];
    return entry?.key === key ? entry : undefined;
  }

  set(entry: T): void {
    const number = this.#leafFor(entry.key);
    const leaf = this.#leaves[number]!;
    const last = leaf[leaf.length - 1];
    // Keys that come in order (a fill, a copy of a tree) are appended, and leave full leaves behind.
    const at = last === undefined || last.key < entry.key ? leaf.length : lowerBound(leaf, entry.key);
    if (leaf[at]?.key === entry.key) {
      leaf[at] = entry;
      return;
    }
    this.#size++;
    if (leaf.length < LEAF) {
      leaf.splice(at, 0, entry);
    } else if (at === LEAF) {
      this.#leaves.splice(number + 1, 0, [entry]);
    } else {
      const upper = leaf.splice(LEAF / 2);
      if (at <= LEAF / 2) leaf.splice(at, 0, entry);
      else upper.splice(at - LEAF / 2, 0, entry);
      this.#leaves.splice(number + 1, 0, upper);
    }
  }

  delete(key: string): boolean {
    const number = this.#leafFor(key);
    const leaf = this.#leaves[number]!;
    const at = lowerBound(leaf, key);
    if (leaf[at]?.key !== key) return false;
    leaf.splice(at, 1);
    this.#size--;
    if (leaf.length === 0 && this.#leaves.length > 1) this.#leaves.splice(number, 1);
    return true;
  }

  clear(): void {
    this.#leaves = [[]];
    this.#size = 0;
  }

  /** A cursor before the first entry whose key is not below `key`. Valid until the index is changed. */
  cursor(key = ''): IndexCursor<T> {
    return new IndexCursor(this.#leaves, from => this.#leafFor(from), key);
  }

  *[Symbol.iterator](): Generator<T> {
    for (const leaf of this.#leaves) yield* leaf;
  }

  /** The last leaf whose first key is not above `key`: where `key` is or belongs. */
  #leafFor(key: string): number {
    const leaves = this.#leaves;
    let low = 0;
    let high = leaves.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (leaves[middle]![0]!.key <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

export class IndexCursor<T extends Keyed> {
  readonly #leaves: readonly (readonly T[])[];
  readonly #leafFor: (key: string) => number;
  #leaf = 0;
  #at = 0;

  constructor(leaves: readonly (readonly T[])[], leafFor: (key: string) => number, key: string) {
    this.#leaves = leaves;
    this.#leafFor = leafFor;
    this.seek(key);
  }

  /** Moves to the first entry whose key is not below `key`. */
  seek(key: string): void {
    this.#leaf = this.#leafFor(key);
    this.#at = lowerBound(this.#leaves[this.#leaf]!, key);
  }

  /** The next entry, or `undefined` at the end. */
  next(): T | undefined {
    for (;;) {
      const leaf = this.#leaves[this.#leaf];
      if (leaf === undefined) return undefined;
      if (this.#at < leaf.length) return leaf[this.#at++];
      this.#leaf++;
      this.#at = 0;
    }
  }
}
