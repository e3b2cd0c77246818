/**
 * A map of bounded size that forgets first what was not asked for since it was last thought of (the clock, or second-chance
 * rule). What is asked for is marked and not moved: `ls -l` asks eight times for what is known of each file, and keeping them
 * in order of use took 5 % of its CPU.
 */
interface Slot<V> {
  value: V;
  used: boolean;
}

/** Deleted entries that the hand may have to step over; fewer than a map outgrows at a time are not worth a new hand. */
const FEW_DELETES = 1000;

export class SecondChance<K, V> {
  readonly max: number;
  readonly #slots = new Map<K, Slot<V>>();
  /** Goes on where it stopped: from the beginning it would step over all that was deleted there. */
  #hand: IterableIterator<[K, Slot<V>]> = this.#slots.entries();
  /** Since the hand was renewed. */
  #deletes = 0;

  /** `max`: entries, one at the least. */
  constructor(max: number) {
    this.max = Math.max(1, max);
  }

  get size(): number {
    return this.#slots.size;
  }

  has(key: K): boolean {
    return this.#slots.has(key);
  }

  get(key: K): V | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined) return undefined;
    slot.used = true;
    return slot.value;
  }

  /** Without a mark that it is used. */
  peek(key: K): V | undefined {
    return this.#slots.get(key)?.value;
  }

  set(key: K, value: V): void {
    const slot = this.#slots.get(key);
    if (slot !== undefined) {
      slot.value = value;
      slot.used = true;
      return;
    }
    while (this.#slots.size >= this.max) this.#forgetOne();
    this.#slots.set(key, { value, used: false });
  }

  delete(key: K): boolean {
    // An iterator that stands still keeps alive all that the map has outgrown since. What the hand has passed is gone or at
    // the end, so from the beginning is where it stood.
    if (++this.#deletes > Math.max(FEW_DELETES, this.#slots.size)) {
      this.#deletes = 0;
      this.#hand = this.#slots.entries();
    }
    return this.#slots.delete(key);
  }

  /** Steps on; what is marked loses its mark and goes to the end. */
  #forgetOne(): void {
    const { done, value } = this.#hand.next();
    if (done) {
      this.#hand = this.#slots.entries();
      return;
    }
    const [key, slot] = value;
    this.#slots.delete(key);
    if (!slot.used) return;
    slot.used = false;
    this.#slots.set(key, slot);
  }
}
