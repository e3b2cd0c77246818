/**
 * Two mounts of one bucket whose programs change the same files at the same time.
 *
 * Each program puts a record of its own into a file, by one of the ways in which programs save. Whoever was told that it is
 * saved, or that it was not (ESTALE), finds its record in the bucket: under the name, or in a conflict copy. Gone may only
 * be what somebody asked to take away: what a rename replaced or O_TRUNC cut off of which the mount knew, what an unlink met.
 */

import { toFsError } from '../../src/errors.ts';
import { HIDDEN_PREFIX } from '../../src/fs/keys.ts';
import { O_APPEND, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } from '../../src/fs/modes.ts';
import { Counters } from '../../src/telemetry.ts';
import { pattern, TINY_LIMITS, TINY_SIZES } from '../support/file-contents.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore, type StoreCall } from '../support/memory-store.ts';
import { ModelKernel, type OpenFile } from './kernel.ts';
import { O_CREAT } from './reference.ts';
import { turns } from './run.ts';
import { Difference, OWNER, type Setting } from './world.ts';

const O_RDWR = 2;

/** How a program saves. */
export type Way = 'append' | 'change' | 'rewrite' | 'overwrite' | 'replace' | 'make' | 'unlink';

export interface Program {
  readonly way: Way;
  /** Which file, by number. */
  readonly file: number;
  /** Turns that it takes for itself between two calls. */
  readonly pause: number;
}

/** What a program of each mount does at the same time. */
export interface Round {
  readonly programs: readonly [Program, Program];
  /** How many turns each request to the store waits, in order of their arrival, again and again. */
  readonly delays: readonly number[];
  /** ms that go by afterwards. */
  readonly later: number;
}

/** Bytes that the files have at first: one goes by a single PUT, one in parts. */
const SIZES = [100, 130_000, 0] as const;
/** ms; longer than anything waits. */
const SETTLING = 130_000;
/** Turns after which a program that has not ended waits for the clock. */
const PATIENCE = 60;

/** How a program may end. */
const ENDS = /^(saved|unlinked|ESTALE|not begun, E\w+)$/;

interface Mount {
  readonly fs: TestFileSystem;
  readonly kernel: ModelKernel;
}

interface Told {
  readonly record: string;
  readonly isStale: boolean;
}

export async function runRounds(setting: Setting, rounds: readonly Round[]): Promise<void> {
  const arena = new Arena(setting);
  for (const round of rounds) await arena.play(round);
  await arena.settle();
  arena.check();
}

class Arena {
  readonly #clock = new ManualClock();
  readonly #store: MemoryStore;
  readonly #mounts: readonly Mount[];
  readonly #told: Told[] = [];
  readonly #history: string[] = [];
  /** What there was, by ETag. */
  readonly #contents = new Map<string, Buffer>();
  /** Contents that were taken away by somebody who asked for it. */
  readonly #takenAway: Buffer[] = [];
  /** Keys that are being unlinked, or truncated. */
  readonly #unlinking: string[] = [];
  readonly #truncating: string[] = [];
  /** Copies `source → target` that did not meet what the mount knew. */
  readonly #surprised = new Set<string>();
  #records = 0;

  constructor(setting: Setting) {
    this.#store = new MemoryStore({ clock: this.#clock, limits: TINY_LIMITS });
    SIZES.forEach((size, i) => {
      if (size > 0) this.#store.putForeign(nameOf(i), pattern(size, i));
    });
    this.#store.intercept((call, proceed) => this.#watch(call, proceed));
    this.#mounts = [0, 1].map(at => this.#mount(at, setting));
  }

  /** Both on one host: their conflict copies would have one name. */
  #mount(at: number, { ttl, openCheck, metadata, link, budget, remembers, spool }: Setting): Mount {
    const note = (_: unknown, message: string): void => void this.#history.push(`  mount ${at} says: ${message}`);
    const silent = (): void => {};
    const fs = makeFileSystem({
      store: this.#store,
      clock: this.#clock,
      budget,
      sizes: TINY_SIZES,
      options: { ttl, openCheck, metadata, link },
      spool: { directory: spool, minFreeBytes: 0 },
      telemetry: new Counters({ debug: silent, info: silent, warn: note, error: note }),
    });
    const kernel = new ModelKernel(fs.filesystem, OWNER, { remembers, now: () => this.#clock.monotonic() });
    fs.environment.notifier = kernel;
    return { fs, kernel };
  }

  async #watch(call: StoreCall, proceed: () => Promise<unknown>): Promise<unknown> {
    const { operation, key, source, condition } = call;
    this.#note(key);
    const copy = `${source?.key} → ${key}`;
    const isCopy = operation === 'CopyObject' && !key.startsWith(HIDDEN_PREFIX);
    if (operation === 'DeleteObject' && this.#unlinking.includes(key)) this.#takes(this.#store.info(key)?.etag);
    try {
      const result = await proceed();
      this.#note(key);
      // O_TRUNC and rename are asked to; what they meet is what the mount knew, or the condition would not hold.
      const isSave = operation === 'PutObject' || operation === 'CompleteMultipartUpload';
      const isAsked = isCopy ? !this.#surprised.has(copy) : isSave && this.#truncating.includes(key);
      if (isAsked && condition !== undefined && 'ifMatch' in condition) this.#takes(condition.ifMatch);
      return result;
    } catch (error) {
      if (isCopy) this.#surprised.add(copy);
      throw error;
    }
  }

  #note(key: string): void {
    const info = this.#store.info(key);
    if (info) this.#contents.set(info.etag, Buffer.from(this.#store.bytes(key)!));
  }

  #takes(etag: string | undefined): void {
    const bytes = etag === undefined ? undefined : this.#contents.get(etag);
    if (bytes) this.#takenAway.push(bytes);
  }

  async play({ programs, delays, later }: Round): Promise<void> {
    let calls = 0;
    const undo = this.#store.intercept(async (_, proceed) => {
      await turns(delays[calls++ % delays.length] ?? 0);
      return proceed();
    });
    let running = programs.length;
    const ended = Promise.all(programs.map((program, i) => this.#run(i, program).finally(() => running--)));
    // It is awaited below; until then a failure is nobody's.
    ended.catch(() => {});
    for (let waited = 0; running > 0; waited++) {
      await turns(1);
      if (waited % PATIENCE === PATIENCE - 1) await this.#clock.advance(50);
    }
    await ended;
    undo();
    await turns(3);
    await this.#clock.advance(later);
  }

  async #run(at: number, program: Program): Promise<void> {
    const { kernel } = this.#mounts[at]!;
    const record = `<record ${this.#records++} of mount ${at} by ${program.way}>`;
    const line = this.#history.push(`mount ${at}: ${program.way} ${nameOf(program.file)} with ${record}`) - 1;
    const key = nameOf(program.file);
    const asked = { unlink: this.#unlinking, overwrite: this.#truncating }[program.way as string];
    asked?.push(key);
    const end = await new Saving(kernel, program, record).run();
    asked?.splice(asked.indexOf(key), 1);
    this.#history[line] += `: ${end}`;
    if (!ENDS.test(end)) this.#fail(`mount ${at}: ${end}`);
    if (end === 'ESTALE' || end === 'saved') this.#told.push({ record, isStale: end === 'ESTALE' });
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 2; i++) {
      for (const { fs, kernel } of this.#mounts) {
        await this.#clock.advance(SETTLING);
        kernel.forgetNames();
        await fs.filesystem.drain();
        await turns(20);
      }
    }
  }

  check(): void {
    const objects = this.#store.keys().map(key => ({ key, text: Buffer.from(this.#store.bytes(key)!) }));
    const hidden = objects.filter(({ key }) => key.startsWith(HIDDEN_PREFIX)).map(({ key }) => key);
    if (hidden.length > 0) this.#fail(`left behind: ${hidden.join(', ')}`);
    if (this.#store.openUploads > 0) this.#fail(`${this.#store.openUploads} uploads left`);
    const all = objects.map(({ key }) => key).join(', ');
    for (const { record, isStale } of this.#told) {
      const places = objects.filter(({ text }) => text.includes(record));
      if (isStale && !places.some(({ key }) => key.startsWith('_conflict.'))) {
        this.#fail(`no conflict copy has ${record}; there is ${all}`);
      }
      if (places.length > 0 || this.#takenAway.some(text => text.includes(record))) continue;
      this.#fail(`${record} is gone; there is ${all}`);
    }
    for (const { fs } of this.#mounts) {
      const { names } = fs.filesystem.unsaved();
      if (names.length > 0) this.#fail(`left unsaved: ${names.join(', ')}`);
    }
  }

  #fail(message: string): never {
    throw new Difference(`${message}\n  after ${this.#history.slice(-30).join('\n        ')}`);
  }
}

function nameOf(file: number): string {
  return `f${file % SIZES.length}`;
}

/** One program: the calls that it makes, and how it ended. */
class Saving {
  readonly #kernel: ModelKernel;
  readonly #program: Program;
  readonly #record: Buffer;
  readonly #path: string;
  /** Whether write(2) has taken the record. */
  #isWritten = false;

  constructor(kernel: ModelKernel, program: Program, record: string) {
    this.#kernel = kernel;
    this.#program = program;
    this.#record = Buffer.from(record);
    this.#path = `/${nameOf(program.file)}`;
  }

  /** 'saved', the error that the last close told, or what kept it from writing. */
  async run(): Promise<string> {
    try {
      await this.#save();
      return this.#program.way === 'unlink' ? 'unlinked' : 'saved';
    } catch (error) {
      const code = toFsError(error)?.code;
      if (code === undefined) throw error;
      // Somebody was faster before anything was written.
      if (!this.#isWritten && ['ENOENT', 'EEXIST', 'ESTALE'].includes(code)) return `not begun, ${code}`;
      if (code === 'ESTALE') return code;
      return String(error);
    }
  }

  async #save(): Promise<void> {
    const kernel = this.#kernel;
    const path = this.#path;
    switch (this.#program.way) {
      case 'append':
        return this.#with(path, O_WRONLY | O_CREAT | O_APPEND, file => this.#write(file, 0, this.#record));
      case 'change':
        return this.#with(path, O_RDWR, async file => {
          const { size } = await kernel.fstat(file);
          await this.#write(file, size, this.#record);
        });
      case 'rewrite':
        return this.#with(path, O_RDWR, async file => {
          const old = await kernel.read(file, 0, 1 << 20);
          await this.#write(file, 0, Buffer.concat([this.#record, old]));
        });
      case 'overwrite': {
        const old = await this.#read(path);
        return this.#with(path, O_WRONLY | O_TRUNC, file => this.#write(file, 0, Buffer.concat([old, this.#record])));
      }
      case 'make':
        return this.#with(path, O_WRONLY | O_CREAT | O_EXCL, file => this.#write(file, 0, this.#record));
      case 'replace': {
        const old = await this.#read(path);
        const beside = `${path}.${this.#record.toString().replaceAll(/\D/g, '')}`;
        await this.#with(beside, O_WRONLY | O_CREAT | O_EXCL, file =>
          this.#write(file, 0, Buffer.concat([old, this.#record])),
        );
        await this.#pause();
        return kernel.rename(beside, path, 0);
      }
      case 'unlink':
        return kernel.unlink(path);
    }
  }

  async #with(path: string, flags: number, work: (file: OpenFile) => Promise<unknown>): Promise<void> {
    const file = await this.#kernel.open(path, flags, 0o644);
    try {
      await this.#pause();
      await work(file);
      await this.#pause();
    } catch (error) {
      await this.#kernel.close(file).catch(() => {});
      throw error;
    }
    await this.#kernel.close(file);
  }

  async #read(path: string): Promise<Buffer> {
    let bytes: Buffer = Buffer.alloc(0);
    await this.#with(path, O_RDONLY, async file => {
      bytes = await this.#kernel.read(file, 0, 1 << 20);
    });
    return bytes;
  }

  async #write(file: OpenFile, offset: number, data: Buffer): Promise<void> {
    await this.#kernel.write(file, offset, data);
    this.#isWritten = true;
  }

  #pause(): Promise<void> {
    return turns(this.#program.pause);
  }
}
