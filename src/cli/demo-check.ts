/**
 * What `npm run demo -- --check` does through the mount, in a process of its own: if the mount hangs, this process can be
 * killed, and the one that serves S3 is never kept waiting by its own mount.
 *
 * Every step keeps `expected`, what each file must hold, so that the bucket itself can be compared at the end.
 */
import { createHash } from 'node:crypto';
import {
  appendFile,
  copyFile,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join, relative } from 'node:path';
import { SAMPLE_MARKERS, sampleFiles } from './demo-sample.ts';

/** Path relative to the mount → SHA-256 in hex. */
export type Expected = Map<string, string>;

const MIB = 1024 * 1024;

export function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export class DemoCheck {
  readonly expected: Expected = new Map();
  readonly failures: string[] = [];
  readonly #root: string;
  readonly #say: (line: string) => void;

  constructor(root: string, say: (line: string) => void) {
    this.#root = root;
    this.#say = say;
  }

  async run(): Promise<void> {
    const steps: readonly (readonly [string, () => Promise<string>])[] = [
      ['read every file and compare', () => this.#readSample()],
      ['copy a directory and read it back', () => this.#copy()],
      ['write a large file, append, change, truncate', () => this.#write()],
      ['rename a file and a directory', () => this.#rename()],
      ['delete files and a directory', () => this.#delete()],
    ];
    for (const [what, step] of steps) {
      const before = this.failures.length;
      const result = await step().catch((error: unknown) => {
        this.failures.push(`${what}: ${(error as Error).message}`);
        return '';
      });
      this.#say(
        `${this.failures.length === before ? 'ok    ' : 'FAILED'} ${what}${result === '' ? '' : `: ${result}`}`,
      );
    }
  }

  #path(name: string): string {
    return join(this.#root, name);
  }

  /** Compares one file with `expected`; its size in bytes. */
  async #compare(name: string): Promise<number> {
    try {
      const bytes = await readFile(this.#path(name));
      if (digest(bytes) !== this.expected.get(name))
        this.failures.push(`${name}: its bytes are not what they should be`);
      return bytes.length;
    } catch (error) {
      this.failures.push(`${name}: ${(error as Error).message}`);
      return 0;
    }
  }

  async #list(directory: string): Promise<string[]> {
    const entries = await readdir(this.#path(directory), { recursive: true, withFileTypes: true });
    return entries
      .filter(entry => entry.isFile())
      .map(entry => relative(this.#root, join(entry.parentPath, entry.name)))
      .sort();
  }

  /** Names in `directory` against those of `expected`. */
  async #compareNames(directory: string): Promise<void> {
    const found = new Set(await this.#list(directory));
    for (const name of this.expected.keys()) {
      if (name.startsWith(directory) && !found.has(name)) this.failures.push(`${name}: missing in the listing`);
    }
    for (const name of found)
      if (!this.expected.has(name)) this.failures.push(`${name}: listed, but should not be there`);
  }

  async #readSample(): Promise<string> {
    for (const { key, bytes } of sampleFiles()) this.expected.set(key, digest(bytes()));
    await this.#compareNames('');
    let bytes = 0;
    for (const name of this.expected.keys()) bytes += await this.#compare(name);
    for (const marker of SAMPLE_MARKERS) {
      if ((await readdir(this.#path(marker))).length > 0) this.failures.push(`${marker}: should be empty`);
    }
    return `${this.expected.size} files, ${(bytes / 1e6).toFixed(0)} MB`;
  }

  async #copy(): Promise<string> {
    const names = [...this.expected.keys()].filter(name => /^(notes\/00|한글)\//.test(name));
    for (const name of names) {
      const target = `copies/${name}`;
      await mkdir(join(this.#path(target), '..'), { recursive: true });
      await copyFile(this.#path(name), this.#path(target));
      this.expected.set(target, this.expected.get(name)!);
    }
    await this.#compareNames('copies/');
    for (const name of names) await this.#compare(`copies/${name}`);
    return `${names.length} files`;
  }

  async #write(): Promise<string> {
    const name = 'written/large.bin';
    await mkdir(this.#path('written'));
    let model = Buffer.alloc(24 * MIB);
    for (let word = 0; word < model.length; word += 4) model.writeUInt32LE(Math.imul(word, 2_654_435_761) >>> 0, word);
    await writeFile(this.#path(name), model);
    const tail = Buffer.from('appended, 덧붙임\n');
    await appendFile(this.#path(name), tail);
    model = Buffer.concat([model, tail]);
    const middle = Buffer.from('changed in the middle');
    const file = await open(this.#path(name), 'r+');
    await file.write(middle, 0, middle.length, 7 * MIB + 13);
    await file.close();
    middle.copy(model, 7 * MIB + 13);
    await truncate(this.#path(name), 20 * MIB + 1);
    model = model.subarray(0, 20 * MIB + 1);
    this.expected.set(name, digest(model));
    await this.#compare(name);
    return `${(model.length / 1e6).toFixed(0)} MB`;
  }

  async #rename(): Promise<string> {
    await this.#move('copies/notes/00/note-0007.txt', 'copies/notes/00/이름 바꿈.txt');
    await this.#move('copies/notes/00/note-0008.txt', 'copies/notes/00/note-0009.txt');
    // This one stays to the end, so that the bucket itself is asked for it.
    await this.#move('deep/a/b/c/d/e/f/g/leaf.txt', 'deep/leaf, moved.txt');
    await rename(this.#path('copies/notes'), this.#path('copies/moved'));
    for (const [name, sum] of [...this.expected]) {
      if (!name.startsWith('copies/notes/')) continue;
      this.expected.delete(name);
      this.expected.set(name.replace('copies/notes/', 'copies/moved/'), sum);
    }
    await this.#compareNames('copies/');
    const moved = [...this.expected.keys()].filter(name => name.startsWith('copies/moved/'));
    for (const name of moved) await this.#compare(name);
    return `${moved.length} files`;
  }

  async #move(from: string, to: string): Promise<void> {
    await rename(this.#path(from), this.#path(to));
    this.expected.set(to, this.expected.get(from)!);
    this.expected.delete(from);
  }

  async #delete(): Promise<string> {
    await rm(this.#path('copies/moved'), { recursive: true });
    await rm(this.#path('README.txt'));
    let count = 0;
    for (const name of [...this.expected.keys()]) {
      if (!name.startsWith('copies/moved/') && name !== 'README.txt') continue;
      this.expected.delete(name);
      count++;
    }
    await this.#compareNames('');
    return `${count} files`;
  }
}
