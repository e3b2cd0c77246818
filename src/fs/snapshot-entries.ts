/**
 * The entries of a directory that is being read, in order. Those that the reader has long passed are kept as names only:
 * a million of them took 700 MB, and only seekdir(3) comes back to them.
 */
import type { ListedName } from './listing.ts';

/** Entries that are packed together. */
const BLOCK = 1024;
/** Stands before the name of a directory, and no name has it. */
const SLASH = '/';

export class SnapshotEntries {
  /** Each as entries, or as names in one text, each with a slash behind it; a directory's with two. */
  readonly #blocks: (ListedName[] | string)[] = [];
  #length = 0;
  #packed = 0;

  get length(): number {
    return this.#length;
  }

  push(listed: ListedName): void {
    if (this.#length % BLOCK === 0) this.#blocks.push([]);
    (this.#blocks.at(-1) as ListedName[]).push(listed);
    this.#length++;
  }

  /** Of what was passed long ago only name and kind are known: no `object`. */
  at(index: number): ListedName | undefined {
    const block = this.#blocks[Math.floor(index / BLOCK)];
    if (typeof block !== 'string') return block?.[index % BLOCK];
    const names = unpack(block);
    // Who comes back reads on from there.
    this.#blocks[Math.floor(index / BLOCK)] = names;
    this.#packed = Math.min(this.#packed, Math.floor(index / BLOCK));
    return names[index % BLOCK];
  }

  slice(from: number, to: number): ListedName[] {
    const slice: ListedName[] = [];
    for (let i = from; i < Math.min(to, this.#length); i++) slice.push(this.at(i)!);
    return slice;
  }

  /** The reader has come to `index`. */
  passed(index: number): void {
    // One whole block stays behind it: the kernel asks again for the last entries of an answer that was too long.
    for (const end = Math.floor(index / BLOCK) - 1; this.#packed < end; this.#packed++) {
      const block = this.#blocks[this.#packed]!;
      if (typeof block !== 'string') this.#blocks[this.#packed] = pack(block);
    }
  }
}

function pack(block: readonly ListedName[]): string {
  let text = '';
  for (const { name, directory } of block) text += directory ? `${name}${SLASH}${SLASH}` : `${name}${SLASH}`;
  // Flat and of its own: a text that was put together from pieces keeps all of them alive.
  return Buffer.from(text).toString();
}

function unpack(text: string): ListedName[] {
  const names: ListedName[] = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf(SLASH, at);
    const directory = text[end + 1] === SLASH;
    names.push({ name: text.slice(at, end), directory });
    at = end + (directory ? 2 : 1);
  }
  return names;
}
