/** opendir(3) and what belongs to it, telldir, seekdir and rewinddir included, which Node does not offer. They block. */
import koffi from 'koffi';

const libc = koffi.load(null);
const cOpendir = libc.func('opendir', 'void *', ['const char *']);
const cReaddir = libc.func('readdir64', 'void *', ['void *']);
const cTelldir = libc.func('telldir', 'long', ['void *']);
const cSeekdir = libc.func('seekdir', 'void', ['void *', 'long']);
const cRewinddir = libc.func('rewinddir', 'void', ['void *']);
const cClosedir = libc.func('closedir', 'int', ['void *']);

/** struct dirent64: d_ino, d_off (8 each), d_reclen (2), d_type (1), d_name. */
const NAME_OFFSET = 19;

export class DirectoryStream {
  readonly #stream: unknown;

  constructor(path: string) {
    this.#stream = cOpendir(path);
    if (this.#stream === null) throw new Error(`opendir ${path}: errno ${koffi.errno()}`);
  }

  /** The next name but for `.` and `..`, or undefined at the end. */
  next(): string | undefined {
    for (;;) {
      const entry: unknown = cReaddir(this.#stream);
      if (entry === null) return undefined;
      const bytes = Buffer.from(koffi.view(entry, NAME_OFFSET + 256));
      const name = bytes.toString('utf8', NAME_OFFSET, bytes.indexOf(0, NAME_OFFSET));
      if (name !== '.' && name !== '..') return name;
    }
  }

  rest(): string[] {
    const names: string[] = [];
    for (let name = this.next(); name !== undefined; name = this.next()) names.push(name);
    return names;
  }

  tell(): number {
    return cTelldir(this.#stream) as number;
  }

  seek(place: number): void {
    cSeekdir(this.#stream, place);
  }

  rewind(): void {
    cRewinddir(this.#stream);
  }

  close(): void {
    cClosedir(this.#stream);
  }
}
