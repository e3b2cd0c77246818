/**
 * The files of the disk tier as this mount knows them: which there are, which is written to, which goes next.
 *
 * 1. Other mounts claim, fill and remove files at any time. What is known here is a hint; each file has a random generation,
 *    and what is read tells by itself whether it is what was asked for.
 * 2. The bound holds before a byte is written: a number below `most` is claimed, or an old file goes first. One number less
 *    than the limit allows is used, since a file that goes is read once more while its successor grows.
 * 3. What was read since it was written outlives its file: it is carried over, up to half a file. So a scan that passes
 *    through pushes out what nobody reads, and not the working set.
 */
import { randomBytes } from 'node:crypto';
import type { TierDisk, TierPair } from './tier-disk.ts';
import { decodeHead, encodeHead, HEAD_BYTES } from './tier-format.ts';

/** Open for reading at once. */
const MOST_OPEN = 32;
/** A file that another mount has written to this lately is probably written to still, in ms. */
const ACTIVE = 60_000;

export interface TierFile {
  /** Of this mount's own counting: a number that was removed and claimed again is another file. */
  readonly id: number;
  readonly number: number;
  readonly generation: Buffer;
  readonly createdMs: number;
  /** Where the next record and the next entry go. */
  end: number;
  listEnd: number;
  modifiedMs: number;
  pair: TierPair | undefined;
  opening: Promise<TierPair> | undefined;
  users: number;
}

export class TierFiles {
  readonly #disk: TierDisk;
  readonly #most: number;
  readonly #now: () => number;
  readonly #byId = new Map<number, TierFile>();
  readonly #byNumber = new Map<number, TierFile>();
  #nextId = 1;
  /** The one that this mount writes to. */
  current: TierFile | undefined;

  /** `most`: how many there may be, those of other mounts included. `now`: ms since the epoch. */
  constructor(disk: TierDisk, most: number, now: () => number) {
    this.#disk = disk;
    this.#most = most;
    this.#now = now;
  }

  get all(): Iterable<TierFile> {
    return this.#byId.values();
  }

  isLive(id: number): boolean {
    return this.#byId.has(id);
  }

  get(id: number): TierFile | undefined {
    return this.#byId.get(id);
  }

  /** Looks at the directory. Answers the files with entries that are not known yet, the oldest first. */
  async refresh(): Promise<TierFile[]> {
    const slots = await this.#disk.slots();
    const there = new Set(slots.map(slot => slot.number));
    for (const file of [...this.#byId.values()]) if (!there.has(file.number)) this.forget(file);
    const grown: TierFile[] = [];
    for (const slot of slots) {
      let file = this.#byNumber.get(slot.number);
      // Shorter than it was: it is another one.
      if (file !== undefined && slot.listBytes < file.listEnd) {
        this.forget(file);
        file = undefined;
      }
      if (file === this.current && file !== undefined) continue;
      file ??= await this.#meet(slot.number);
      if (file === undefined) continue;
      file.modifiedMs = slot.modifiedMs;
      if (slot.listBytes > file.listEnd) grown.push(file);
    }
    return grown.sort((a, b) => a.createdMs - b.createdMs);
  }

  async #meet(number: number): Promise<TierFile | undefined> {
    let pair: TierPair | undefined;
    try {
      pair = await this.#disk.open(number);
      const head = Buffer.alloc(HEAD_BYTES);
      const length = await pair.read(head, HEAD_BYTES, 0);
      const ofBlocks = length === HEAD_BYTES ? decodeHead(head) : undefined;
      const ofList = decodeHead(await pair.readList(0));
      const isPair = ofBlocks !== undefined && ofList?.generation.equals(ofBlocks.generation);
      return isPair ? this.#add(number, ofBlocks.generation, ofBlocks.createdMs) : undefined;
    } catch {
      // Removed meanwhile, or not to be read: as if it were not there.
      return undefined;
    } finally {
      await pair?.close().catch(() => {});
    }
  }

  #add(number: number, generation: Buffer, createdMs: number): TierFile {
    const file: TierFile = {
      id: this.#nextId++,
      number,
      generation,
      createdMs,
      end: HEAD_BYTES,
      listEnd: HEAD_BYTES,
      modifiedMs: createdMs,
      pair: undefined,
      opening: undefined,
      users: 0,
    };
    this.#byId.set(file.id, file);
    this.#byNumber.set(number, file);
    return file;
  }

  /** Runs `work` on the open file. Rejects if it cannot be opened, or is no longer the one it was. */
  async using<T>(file: TierFile, work: (pair: TierPair) => Promise<T>): Promise<T> {
    file.users++;
    try {
      return await work(file.pair ?? (await this.#open(file)));
    } finally {
      file.users--;
      if (!this.isLive(file.id)) this.#closeIfIdle(file);
    }
  }

  #open(file: TierFile): Promise<TierPair> {
    file.opening ??= this.#disk
      .open(file.number)
      .then(async pair => {
        const head = Buffer.alloc(HEAD_BYTES);
        await pair.read(head, HEAD_BYTES, 0);
        if (!decodeHead(head)?.generation.equals(file.generation)) {
          await pair.close();
          throw new Error('another file has taken its number');
        }
        this.#closeOthers();
        file.pair = pair;
        return pair;
      })
      .finally(() => {
        file.opening = undefined;
      });
    return file.opening;
  }

  #closeOthers(): void {
    let open = 0;
    for (const file of this.#byId.values()) if (file.pair !== undefined) open++;
    for (const file of this.#byId.values()) {
      if (open < MOST_OPEN) return;
      if (file.pair === undefined || file.users > 0 || file === this.current) continue;
      this.#closeIfIdle(file);
      open--;
    }
  }

  #closeIfIdle(file: TierFile): void {
    if (file.users > 0) return;
    file.pair?.close().catch(() => {});
    file.pair = undefined;
  }

  /** Makes a new file the current one. Undefined: all numbers are taken, and one must go first. */
  async begin(): Promise<TierFile | undefined> {
    const taken = new Set((await this.#disk.slots()).map(slot => slot.number));
    // Another mount may have been given a larger limit: what is there counts, whatever its number.
    if (taken.size >= this.#most) return undefined;
    for (let number = 0; number < this.#most; number++) {
      if (taken.has(number)) continue;
      const generation = randomBytes(16);
      const createdMs = this.#now();
      const pair = await this.#disk.claim(number, encodeHead(generation, createdMs));
      if (pair === undefined) continue;
      const stale = this.#byNumber.get(number);
      if (stale !== undefined) this.forget(stale);
      const file = this.#add(number, generation, createdMs);
      file.pair = pair;
      this.current = file;
      return file;
    }
    return undefined;
  }

  /** The file that goes next: the oldest that nobody seems to write to. */
  oldest(): TierFile | undefined {
    const now = this.#now();
    let best: TierFile | undefined;
    let bestActive = true;
    for (const file of this.#byId.values()) {
      if (file === this.current) continue;
      const active = now - file.modifiedMs < ACTIVE && file.modifiedMs > file.createdMs;
      if (best === undefined || (bestActive && !active) || (bestActive === active && file.createdMs < best.createdMs)) {
        best = file;
        bestActive = active;
      }
    }
    return best;
  }

  /** Removes a file. Who reads it at this moment may go on. */
  async remove(file: TierFile): Promise<void> {
    this.forget(file);
    await this.#disk.remove(file.number);
  }

  /** Removes what no mount understands: pairs of which one half is missing, or of another format. */
  async removeStrangers(): Promise<void> {
    for (const slot of await this.#disk.slots()) {
      if (this.#byNumber.has(slot.number) || this.#now() - slot.modifiedMs < ACTIVE) continue;
      await this.#disk.remove(slot.number);
    }
  }

  forget(file: TierFile): void {
    this.#byId.delete(file.id);
    if (this.#byNumber.get(file.number) === file) this.#byNumber.delete(file.number);
    if (this.current === file) this.current = undefined;
    this.#closeIfIdle(file);
  }

  async close(): Promise<void> {
    const files = [...this.#byId.values()];
    this.#byId.clear();
    this.#byNumber.clear();
    this.current = undefined;
    for (const file of files) if (file.users === 0) await file.pair?.close().catch(() => {});
  }
}
