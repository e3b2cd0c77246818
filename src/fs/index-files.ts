/**
 * Which files of the persistent index there may be, so that a directory of which nothing is kept costs no look at the disk:
 * a walk through 1,000 of them was 1,000 failing opens by the thread pool, 100 µs and more of CPU each. What another mount
 * adds meanwhile is not known here, and costs a HEAD.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Names of one directory of the disk; `unknown`: it could not be read, or is being read. */
type Names = Set<string> | 'unknown';

export class IndexFiles {
  readonly #path: string;
  #groups: Names | undefined;
  /** By group, the first letters of a name. */
  readonly #files = new Map<string, Names>();
  readonly #reading = new Map<string, Promise<void>>();

  constructor(path: string) {
    this.#path = path;
  }

  /** Whether this file may be there; at once, where that is known already. */
  mayBe(group: string, name: string): boolean | Promise<boolean> {
    if (this.#groups === undefined) {
      return this.#read('', names => {
        this.#groups = names;
      }).then(() => this.mayBe(group, name));
    }
    if (this.#groups === 'unknown') return true;
    if (!this.#groups.has(group)) return false;
    const files = this.#files.get(group);
    if (files === undefined) {
      return this.#read(group, names => void this.#files.set(group, names)).then(() => this.mayBe(group, name));
    }
    return files === 'unknown' || files.has(name);
  }

  /** A file was written. */
  wrote(group: string, name: string): void {
    if (this.#groups instanceof Set) this.#groups.add(group);
    const files = this.#files.get(group);
    if (files instanceof Set) files.add(name);
    // The directory may have been read before.
    void this.#reading.get(group)?.then(() => this.wrote(group, name));
    if (this.#groups === undefined) void this.#reading.get('')?.then(() => this.wrote(group, name));
  }

  #read(group: string, done: (names: Names) => void): Promise<void> {
    let reading = this.#reading.get(group);
    if (!reading) {
      reading = readdir(join(this.#path, group))
        .then(
          names => new Set(names),
          (error: NodeJS.ErrnoException): Names => (error.code === 'ENOENT' ? new Set() : 'unknown'),
        )
        .then(names => {
          done(names);
          this.#reading.delete(group);
        });
      this.#reading.set(group, reading);
    }
    return reading;
  }
}
