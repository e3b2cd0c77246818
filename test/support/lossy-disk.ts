/**
 * A directory of a disk that keeps what it promised and nothing more: bytes that were synced, names whose directory was.
 *
 * All that is asked of it is recorded. `after(n, random)` is the disk as a power cut after the first `n` of those events
 * may leave it: of the rest each write is there, missing, or torn at a 512-byte boundary, in any combination, and each name
 * made or removed since the last sync of the directory may be as before.
 */
import type { JournalDirectory, JournalFile } from '../../src/cache/journal-files.ts';

const SECTOR = 512;

type Event =
  | { readonly kind: 'create'; readonly name: string; readonly id: number }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'write'; readonly id: number; readonly offset: number; readonly bytes: Uint8Array }
  /** What had been asked for when the sync began, by index of the event. */
  | { readonly kind: 'sync'; readonly id: number; readonly upTo: number }
  | { readonly kind: 'syncDirectory'; readonly upTo: number };

/** 0 … 1, as `Math.random`. */
export type Random = () => number;

export class LossyDisk implements JournalDirectory {
  readonly path = '/lossy';
  readonly events: Event[] = [];
  /** Called before each event; may wait, or throw in its place. */
  before: (event: string, name: string) => Promise<void> | void = () => {};
  free = Number.POSITIVE_INFINITY;
  readonly #names = new Map<string, number>();
  readonly #contents = new Map<number, Uint8Array>();
  #nextId = 1;

  async list(): Promise<readonly string[]> {
    return [...this.#names.keys()].sort();
  }

  async create(name: string): Promise<JournalFile> {
    await this.before('create', name);
    if (this.#names.has(name)) throw Object.assign(new Error(`EEXIST: ${name}`), { code: 'EEXIST' });
    const id = this.#nextId++;
    this.events.push({ kind: 'create', name, id });
    this.#names.set(name, id);
    this.#contents.set(id, new Uint8Array(0));
    return this.#file(id, name);
  }

  async open(name: string): Promise<JournalFile> {
    return this.#file(this.#idOf(name), name);
  }

  async readAll(name: string): Promise<Uint8Array> {
    return this.#contents.get(this.#idOf(name))!.slice();
  }

  async remove(name: string): Promise<void> {
    await this.before('remove', name);
    this.#idOf(name);
    this.events.push({ kind: 'remove', name });
    this.#names.delete(name);
  }

  async sync(): Promise<void> {
    const upTo = this.events.length;
    await this.before('syncDirectory', '.');
    this.events.push({ kind: 'syncDirectory', upTo });
  }

  async space(): Promise<{ free: number; total: number }> {
    return { free: this.free, total: Number.POSITIVE_INFINITY };
  }

  /** Bytes of all files. */
  get used(): number {
    return [...this.#names.values()].reduce((sum, id) => sum + this.#contents.get(id)!.length, 0);
  }

  /** Changes bytes behind everybody's back. */
  damage(name: string, offset: number, bytes: Uint8Array): void {
    this.#contents.get(this.#idOf(name))!.set(bytes, offset);
  }

  /** As it is now, for another daemon: what a kill leaves, for the kernel keeps what was written. */
  now(): LossyDisk {
    const disk = new LossyDisk();
    for (const [name, id] of this.#names) disk.#put(name, this.#contents.get(id)!.slice());
    return disk;
  }

  /** What a power cut after the first `count` events leaves. */
  after(count: number, random: Random): LossyDisk {
    const past = this.events.slice(0, count);
    const files = new Map<number, Uint8Array>();
    const syncedUpTo = new Map<number, number>();
    let directoryUpTo = 0;
    for (const event of past) {
      if (event.kind === 'sync') syncedUpTo.set(event.id, Math.max(syncedUpTo.get(event.id) ?? 0, event.upTo));
      if (event.kind === 'syncDirectory') directoryUpTo = Math.max(directoryUpTo, event.upTo);
    }
    const names = new Map<string, number>();
    past.forEach((event, at) => {
      if (event.kind === 'create' || event.kind === 'remove') {
        if (at >= directoryUpTo && random() < 0.5) return;
        if (event.kind === 'create') names.set(event.name, event.id);
        else names.delete(event.name);
      } else if (event.kind === 'write') {
        const isSafe = at < (syncedUpTo.get(event.id) ?? 0);
        const kept: [number, Uint8Array][] = isSafe
          ? [[event.offset, event.bytes]]
          : torn(event.bytes, event.offset, random);
        for (const [offset, part] of kept) files.set(event.id, written(files.get(event.id), offset, part));
      }
    });
    const disk = new LossyDisk();
    for (const [name, id] of names) disk.#put(name, files.get(id) ?? new Uint8Array(0));
    return disk;
  }

  #put(name: string, bytes: Uint8Array): void {
    const id = this.#nextId++;
    this.events.push({ kind: 'create', name, id }, { kind: 'write', id, offset: 0, bytes });
    this.events.push({ kind: 'sync', id, upTo: this.events.length });
    this.events.push({ kind: 'syncDirectory', upTo: this.events.length });
    this.#names.set(name, id);
    this.#contents.set(id, bytes);
  }

  #idOf(name: string): number {
    const id = this.#names.get(name);
    if (id === undefined) throw Object.assign(new Error(`ENOENT: ${name}`), { code: 'ENOENT' });
    return id;
  }

  #file(id: number, name: string): JournalFile {
    return {
      write: async (offset, buffers) => {
        const bytes = Uint8Array.from(Buffer.concat(buffers as Uint8Array[]));
        await this.before('write', name);
        this.events.push({ kind: 'write', id, offset, bytes });
        this.#contents.set(id, written(this.#contents.get(id), offset, bytes));
      },
      read: async (offset, into) => {
        const bytes = this.#contents.get(id)!.subarray(offset, offset + into.length);
        into.set(bytes);
        return bytes.length;
      },
      sync: async () => {
        const upTo = this.events.length;
        await this.before('sync', name);
        this.events.push({ kind: 'sync', id, upTo });
      },
      close: async () => {},
    };
  }
}

function written(before: Uint8Array | undefined, offset: number, bytes: Uint8Array): Uint8Array {
  const length = Math.max(before?.length ?? 0, offset + bytes.length);
  const after = new Uint8Array(length);
  if (before) after.set(before);
  after.set(bytes, offset);
  return after;
}

/** What may be on the disk of a write that was not synced: everything, nothing, or some of its sectors. */
function torn(bytes: Uint8Array, offset: number, random: Random): [number, Uint8Array][] {
  const choice = random();
  if (choice < 0.3) return [[offset, bytes]];
  if (choice < 0.5) return [];
  const parts: [number, Uint8Array][] = [];
  const isCut = choice < 0.8;
  const sectors = Math.ceil((offset + bytes.length) / SECTOR) - Math.floor(offset / SECTOR);
  const cut = Math.floor(random() * (sectors + 1));
  for (let i = 0; i < sectors; i++) {
    // Cut off at one place, or each sector by itself.
    if (isCut ? i >= cut : random() < 0.5) continue;
    const from = Math.max(0, (Math.floor(offset / SECTOR) + i) * SECTOR - offset);
    const to = Math.min(bytes.length, (Math.floor(offset / SECTOR) + i + 1) * SECTOR - offset);
    parts.push([offset + from, bytes.subarray(from, to)]);
  }
  return parts;
}
