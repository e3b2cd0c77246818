/**
 * A map of bounded size that forgets first what was not asked for since it was last thought of (the clock, or second-chance
 * rule). What is asked for is marked and not moved: `ls -l` asks eight times for what is known of each file, and keeping them
 * in order of use took 5 % of its CPU.
 */
interface Slot<V> {
  value: V;
  used: boolean;
}

export class SecondChance<K, V> {
  readonly max: number;
  readonly #slots = new Map<K, Slot<V>>();
  /** Goes on where it stopped: from the beginning it would step over all that was deleted there. */
  #hand: IterableIterator<[K, Slot<V>]> = this.#slots.entries();

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
