/**
 * Which block lies where in the disk tier: a hash table in typed arrays.
 *
 * 100 GiB are 800,000 blocks; a `Map` of them takes some 60 MB, this 16 bytes for each and room to grow: 20 MB. A key is 64
 * bits of the content's name and the block's number: two blocks may share one, so what is found is a hint, and the
 * record on disk decides. Places in a file that is gone stay until their room is wanted: whoever knows which files are
 * there (`isLive`) is asked.
 */
const FREE = 0;
const LEAST = 1024;
/** Above this share of taken places chains grow long. */
const FULLEST = 0.65;

/** The highest bit of a place: the block was read since it was written. */
const USED = 0x8000_0000;

export interface TierPlace {
  /** Number of the file, from 1. */
  readonly file: number;
  /** In units. */
  readonly at: number;
}

export class TierIndex {
  readonly #isLive: (file: number) => boolean;
  #capacity = LEAST;
  /** Places that are not free, dead ones included. */
  #taken = 0;
  #first = new Uint32Array(LEAST);
  #second = new Uint32Array(LEAST);
  #file = new Uint32Array(LEAST);
  #at = new Uint32Array(LEAST);

  constructor(isLive: (file: number) => boolean) {
    this.#isLive = isLive;
  }

  get bytes(): number {
    return this.#capacity * 16;
  }

  /** True if a block is there. */
  has(name: Buffer, index: number): boolean {
    return this.#find(firstOf(name, index), secondOf(name, index)) >= 0;
  }

  get(name: Buffer, index: number): TierPlace | undefined {
    const slot = this.#find(firstOf(name, index), secondOf(name, index));
    return slot < 0 ? undefined : { file: this.#file[slot]!, at: this.#at[slot]! & ~USED };
  }

  /** Notes that a block was read. */
  use(name: Buffer, index: number): void {
    const slot = this.#find(firstOf(name, index), secondOf(name, index));
    if (slot >= 0) this.#at[slot] = (this.#at[slot]! | USED) >>> 0;
  }

  /** True if the block at this very place was read since it was written. */
  isUsed(name: Buffer, index: number, place: TierPlace): boolean {
    const slot = this.#find(firstOf(name, index), secondOf(name, index));
    return slot >= 0 && this.#file[slot] === place.file && this.#at[slot] === (place.at | USED) >>> 0;
  }

  /** `place.at` below 2^31. */
  set(name: Buffer, index: number, place: TierPlace): void {
    if (this.#taken >= this.#capacity * FULLEST) this.#rebuild();
    this.#insert(firstOf(name, index), secondOf(name, index), place.file, place.at);
  }

  /** The block at `place` is not there after all. */
  remove(name: Buffer, index: number, file: number): void {
    const slot = this.#find(firstOf(name, index), secondOf(name, index));
    // The number of no file: dead, and passed over.
    if (slot >= 0 && this.#file[slot] === file) this.#file[slot] = 0xffff_ffff;
  }

  #find(first: number, second: number): number {
    const mask = this.#capacity - 1;
    for (let slot = first & mask; this.#file[slot] !== FREE; slot = (slot + 1) & mask) {
      if (this.#first[slot] === first && this.#second[slot] === second && this.#isLive(this.#file[slot]!)) return slot;
    }
    return -1;
  }

  #insert(first: number, second: number, file: number, at: number): void {
    const mask = this.#capacity - 1;
    let slot = first & mask;
    let dead = -1;
    for (; this.#file[slot] !== FREE; slot = (slot + 1) & mask) {
      const same = this.#first[slot] === first && this.#second[slot] === second;
      if (same) break;
      if (dead < 0 && !this.#isLive(this.#file[slot]!)) dead = slot;
    }
    if (this.#file[slot] === FREE) {
      if (dead >= 0) slot = dead;
      else this.#taken++;
    }
    this.#first[slot] = first;
    this.#second[slot] = second;
    this.#file[slot] = file;
    this.#at[slot] = at;
  }

  /** Leaves out what is dead, and doubles where that is not enough. */
  #rebuild(): void {
    const [first, second, file, at, capacity] = [this.#first, this.#second, this.#file, this.#at, this.#capacity];
    let live = 0;
    for (let slot = 0; slot < capacity; slot++) if (file[slot] !== FREE && this.#isLive(file[slot]!)) live++;
    let wanted = LEAST;
    while (live >= wanted * FULLEST * 0.7) wanted *= 2;
    this.#capacity = wanted;
    this.#taken = 0;
    this.#first = new Uint32Array(wanted);
    this.#second = new Uint32Array(wanted);
    this.#file = new Uint32Array(wanted);
    this.#at = new Uint32Array(wanted);
    for (let slot = 0; slot < capacity; slot++) {
      if (file[slot] !== FREE && this.#isLive(file[slot]!)) {
        this.#insert(first[slot]!, second[slot]!, file[slot]!, at[slot]!);
      }
    }
  }
}

/** Names are parts of a SHA-256, so any bits of them are as good as a hash; the multipliers spread a content's blocks. */
function firstOf(name: Buffer, index: number): number {
  return (name.readUInt32LE(0) ^ Math.imul(index + 1, 0x9e37_79b1)) >>> 0;
}

function secondOf(name: Buffer, index: number): number {
  return (name.readUInt32LE(4) + Math.imul(index, 0x85eb_ca6b)) >>> 0;
}
