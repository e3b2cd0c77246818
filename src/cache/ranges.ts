/** A set of byte offsets, kept as sorted, disjoint ranges that do not touch. Ranges are `start` up to, not with, `end`. */
export class RangeSet {
  /** start, end, start, end …: strictly ascending, so an offset lies inside where an odd number of edges is <= it. */
  #edges: number[] = [];
  #bytes = 0;

  static of(...ranges: readonly (readonly [number, number])[]): RangeSet {
    const set = new RangeSet();
    for (const [start, end] of ranges) set.add(start, end);
    return set;
  }

  get isEmpty(): boolean {
    return this.#edges.length === 0;
  }

  /** Offsets in the set. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Number of ranges. */
  get count(): number {
    return this.#edges.length / 2;
  }

  /** The end of the last range; 0 if there is none. */
  get end(): number {
    return this.#edges.at(-1) ?? 0;
  }

  copy(): RangeSet {
    const copy = new RangeSet();
    copy.#edges = this.#edges.slice();
    copy.#bytes = this.#bytes;
    return copy;
  }

  clear(): void {
    this.#edges = [];
    this.#bytes = 0;
  }

  add(start: number, end: number): void {
    if (start >= end) return;
    const edges = this.#edges;
    // Nearly every program writes at the end of what it wrote last.
    const last = edges.length - 1;
    if (last < 0 || start > edges[last]!) {
      edges.push(start, end);
      this.#bytes += end - start;
      return;
    }
    if (start === edges[last]!) {
      edges[last] = end;
      this.#bytes += end - start;
      return;
    }
    const from = this.#below(start);
    const to = this.#upTo(end);
    this.#replace(from, to, from % 2 === 0 ? start : undefined, to % 2 === 0 ? end : undefined);
  }

  addAll(other: RangeSet): void {
    other.visit(0, Number.POSITIVE_INFINITY, (start, end) => this.add(start, end));
  }

  remove(start: number, end: number): void {
    const edges = this.#edges;
    if (start >= end || edges.length === 0 || start >= edges[edges.length - 1]! || end <= edges[0]!) return;
    const from = this.#below(start);
    const to = this.#upTo(end);
    this.#replace(from, to, from % 2 === 1 ? start : undefined, to % 2 === 1 ? end : undefined);
  }

  removeAll(other: RangeSet): void {
    other.visit(0, Number.POSITIVE_INFINITY, (start, end) => this.remove(start, end));
  }

  /** Keeps only what is in `other` too. */
  keepOnly(other: RangeSet): void {
    const kept = new RangeSet();
    this.visit(0, Number.POSITIVE_INFINITY, (start, end) => other.visit(start, end, (a, b) => kept.add(a, b)));
    this.#edges = kept.#edges;
    this.#bytes = kept.#bytes;
  }

  has(offset: number): boolean {
    return this.#upTo(offset) % 2 === 1;
  }

  /** True if all of `start` … `end` is in the set. */
  covers(start: number, end: number): boolean {
    if (start >= end) return true;
    const place = this.#upTo(start);
    return place % 2 === 1 && this.#edges[place]! >= end;
  }

  intersects(start: number, end: number): boolean {
    if (start >= end) return false;
    const place = this.#upTo(start);
    return place % 2 === 1 || (place < this.#edges.length && this.#edges[place]! < end);
  }

  /** Where, after `offset`, a range next begins or ends; infinite if nowhere. */
  nextEdge(offset: number): number {
    return this.#edges[this.#upTo(offset)] ?? Number.POSITIVE_INFINITY;
  }

  /** Calls `each` with what of each range lies within `start` … `end`, in order. The set must not change meanwhile. */
  visit(start: number, end: number, each: (start: number, end: number) => void): void {
    const edges = this.#edges;
    for (let i = this.#upTo(start) & ~1; i < edges.length && edges[i]! < end; i += 2) {
      const from = Math.max(start, edges[i]!);
      const to = Math.min(end, edges[i + 1]!);
      if (from < to) each(from, to);
    }
  }

  #replace(from: number, to: number, first: number | undefined, second: number | undefined): void {
    const edges = this.#edges;
    // The sign of an edge in the sum of lengths is that of its parity: what leaves is taken off, what comes is added.
    let change = 0;
    for (let i = from; i < to; i++) change -= i % 2 === 0 ? -edges[i]! : edges[i]!;
    if (first !== undefined) change += from % 2 === 0 ? -first : first;
    if (second !== undefined) change += to % 2 === 0 ? second : -second;
    this.#bytes += change;
    if (first === undefined && second === undefined) edges.splice(from, to - from);
    else if (first !== undefined && second !== undefined) edges.splice(from, to - from, first, second);
    else edges.splice(from, to - from, (first ?? second)!);
  }

  /** How many edges are < `offset`. */
  #below(offset: number): number {
    return this.#search(offset, false);
  }

  /** How many edges are <= `offset`. */
  #upTo(offset: number): number {
    return this.#search(offset, true);
  }

  #search(offset: number, inclusive: boolean): number {
    const edges = this.#edges;
    let low = 0;
    let high = edges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const edge = edges[middle]!;
      if (edge < offset || (inclusive && edge === offset)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
