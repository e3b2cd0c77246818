/**
 * Programs at work in a mount whose daemon dies: what they were told, and whether that is what they find afterwards.
 *
 * An operation that was not answered may have been done or not: then either of the two states is right, but no third.
 */
import { readdir, readFile, rename, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

type Random = () => number;

/** What a name may hold; undefined: nothing. */
type States = readonly (Buffer | undefined)[];

export interface WorkloadSizes {
  /** Bytes of most files. */
  readonly small: number;
  /** Bytes of one in ten. */
  readonly large: number;
}

export class CrashWorkload {
  readonly #directory: string;
  readonly #random: Random;
  readonly #sizes: WorkloadSizes;
  /** What each name held when it was told last. */
  readonly #told = new Map<string, Buffer>();
  /** What was going on when it ended. */
  #doubtful = new Map<string, States>();
  #count = 0;
  operations = 0;

  constructor(directory: string, random: Random, sizes: WorkloadSizes) {
    this.#directory = directory;
    this.#random = random;
    this.#sizes = sizes;
  }

  /** Works until the mount answers with an error, which it returns. */
  async run(): Promise<Error> {
    for (;;) {
      try {
        await this.#operation();
        this.#doubtful = new Map();
        this.operations++;
      } catch (error) {
        return error as Error;
      }
    }
  }

  async #operation(): Promise<void> {
    const names = [...this.#told.keys()];
    const any = names[Math.floor(this.#random() * names.length)];
    const choice = this.#random();
    if (any === undefined || choice < 0.55) await this.#write(`f${this.#count++ % 40}`);
    else if (choice < 0.7) await this.#append(any);
    else if (choice < 0.85) await this.#rename(any, `f${Math.floor(this.#random() * 40)}`);
    else await this.#unlink(any);
  }

  #bytes(): Buffer {
    const { small, large } = this.#sizes;
    const size = Math.floor(this.#random() * (this.#random() < 0.1 ? large : small));
    return Buffer.alloc(size, `${this.#count} `);
  }

  async #write(name: string): Promise<void> {
    const bytes = this.#bytes();
    const before = this.#told.get(name);
    // Truncated at open, written, closed: a save of each of these states would be right.
    this.#doubtful.set(name, [before, bytes, Buffer.alloc(0)]);
    await writeFile(join(this.#directory, name), bytes);
    this.#told.set(name, bytes);
  }

  async #append(name: string): Promise<void> {
    const before = this.#told.get(name)!;
    const more = this.#bytes();
    const after = Buffer.concat([before, more]);
    this.#doubtful.set(name, [before, after]);
    await writeFile(join(this.#directory, name), more, { flag: 'a' });
    this.#told.set(name, after);
  }

  async #rename(from: string, to: string): Promise<void> {
    if (from === to) return;
    const bytes = this.#told.get(from)!;
    this.#doubtful.set(from, [bytes, undefined]).set(to, [this.#told.get(to), bytes]);
    await rename(join(this.#directory, from), join(this.#directory, to));
    this.#told.delete(from);
    this.#told.set(to, bytes);
  }

  async #unlink(name: string): Promise<void> {
    this.#doubtful.set(name, [this.#told.get(name), undefined]);
    await unlink(join(this.#directory, name));
    this.#told.delete(name);
  }

  /** Looks at everything. Returns what is wrong, and goes on from what it found. */
  async verify(): Promise<string[]> {
    const wrong: string[] = [];
    const found = new Map<string, Buffer>();
    for (const name of await readdir(this.#directory)) found.set(name, await readFile(join(this.#directory, name)));
    for (const name of new Set([...found.keys(), ...this.#told.keys(), ...this.#doubtful.keys()])) {
      const allowed = this.#doubtful.get(name) ?? [this.#told.get(name)];
      const now = found.get(name);
      if (!allowed.some(state => (state && now ? state.equals(now) : state === now))) {
        wrong.push(
          `${name} has ${now?.length ?? 'no'} bytes, not ${allowed.map(state => state?.length ?? 'no').join(' or ')}`,
        );
      }
      if (now) this.#told.set(name, now);
      else this.#told.delete(name);
    }
    this.#doubtful = new Map();
    return wrong;
  }

  /** What is there, by name. */
  get told(): ReadonlyMap<string, Buffer> {
    return this.#told;
  }
}
