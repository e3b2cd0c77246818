/** The two filesystems side by side: the reference, and the real one over a store in memory, seen through a kernel. */
import { isDeepStrictEqual } from 'node:util';
import { type ErrnoCode, toFsError } from '../../src/errors.ts';
import type { FileSystemOptions } from '../../src/fs/options.ts';
import { KIB, TINY_LIMITS, TINY_SIZES } from '../support/file-contents.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { type Life, mortal } from '../support/mortal-store.ts';
import { freshWriteBack } from '../support/write-back.ts';
import { ModelKernel, type OpenFile } from './kernel.ts';
import { type Moment, ReferenceFileSystem, Refused } from './reference.ts';

export const OWNER = { uid: 1000, gid: 1000 };

/** What differs from run to run. */
export interface Setting {
  /** Whether the kernel keeps names for as long as it may, or forgets them after each call. */
  readonly remembers: boolean;
  readonly ttl: number;
  readonly openCheck: number;
  readonly metadata: FileSystemOptions['metadata'];
  readonly link: FileSystemOptions['link'];
  /** Bytes of memory for everything. */
  readonly budget: number;
  /** Directory for unsaved bytes that memory has no room for. */
  readonly spool: string;
  /** Saves and unlinks are queued, and S3 follows. */
  readonly writeBack?: boolean;
  /** The store is like a directory bucket: two names a page in no order, no gaps between the numbers of parts. */
  readonly express?: boolean;
}

export type Outcome = { readonly value: unknown } | { readonly error: ErrnoCode };

/** One call, made on both sides. */
export interface Action {
  readonly label: string;
  /** Open files that it uses, by number. */
  readonly files?: readonly number[];
  /** Which error it fails with is not told: it resolves two paths, and something may come between. */
  readonly isAnyError?: boolean;
  expect(model: ReferenceFileSystem): unknown;
  run(): Promise<unknown>;
  /** Takes from the real outcome what the model leaves open; `undefined` for a value that is right, else what is wrong. */
  agrees?(expected: unknown, actual: unknown, model: ReferenceFileSystem): string | undefined;
}

/** A difference between the two, or a broken invariant: the test has found something. */
export class Difference extends Error {
  override readonly name = 'Difference';
}

export class World {
  model: ReferenceFileSystem;
  fs!: TestFileSystem;
  kernel!: ModelKernel;
  readonly clock = new ManualClock();
  readonly store: MemoryStore;
  readonly setting: Setting;
  /** Of the daemon that serves the mount. */
  life: Life = { isOver: false };
  /** Open files by the number that the model has for them. */
  readonly files = new Map<number, OpenFile>();
  /** What was done, for the report. */
  readonly history: string[] = [];
  /** st_ino of each entry of the model, by its id, since the last mount. */
  readonly inos = new Map<number, bigint>();
  /** An upload whose beginning or end was never answered, a hidden object whose delete failed: swept later, not here. */
  mayLeaveUploads = false;
  mayLeaveHidden = false;
  #nextFile = 1;

  constructor(setting: Setting) {
    this.setting = setting;
    this.store = new MemoryStore({
      clock: this.clock,
      limits: { ...TINY_LIMITS, ...(setting.express && { consecutiveParts: true }) },
      ...(setting.express && { features: { orderedListing: false }, pageKeys: 2 }),
    });
    this.model = new ReferenceFileSystem(OWNER, { linksByCopy: setting.link === 'copy' });
    this.mount();
  }

  /** Mounts the bucket: nothing but what S3 has is known. */
  mount(): void {
    const { ttl, openCheck, metadata, link, budget, remembers, spool } = this.setting;
    this.life = { isOver: false };
    const store = mortal(this.store, this.life);
    this.fs = makeFileSystem({
      store,
      ...(this.setting.writeBack && { writeBack: freshWriteBack({ store, clock: this.clock }) }),
      clock: this.clock,
      budget,
      sizes: TINY_SIZES,
      options: { ttl, openCheck, metadata, link },
      spool: { directory: spool, minFreeBytes: 0 },
    });
    this.kernel = new ModelKernel(this.fs.filesystem, OWNER, { remembers, now: () => this.clock.monotonic() });
    this.fs.environment.notifier = this.kernel;
    this.inos.clear();
  }

  newFile(): number {
    return this.#nextFile++;
  }

  /** Whether time goes on beside the calls that are being prepared. */
  isTimeMoving = false;

  now(): Moment {
    return this.isTimeMoving ? undefined : BigInt(this.clock.now()) * 1_000_000n;
  }

  fail(message: string): never {
    throw new Difference(`${message}\n  after ${this.history.slice(-40).join('\n        ')}`);
  }

  async perform(action: Action): Promise<void> {
    this.history.push(action.label);
    const expected = outcomeOf(() => action.expect(this.model));
    const actual = await realOutcomeOf(action);
    const problem = disagreement(action, expected, actual, this.model);
    if (problem !== undefined) this.fail(`${action.label}: ${problem}`);
  }
}

export function outcomeOf(work: () => unknown): Outcome {
  try {
    return { value: work() };
  } catch (error) {
    if (error instanceof Refused) return { error: error.code };
    throw error;
  }
}

export async function realOutcomeOf(action: Action): Promise<Outcome> {
  try {
    return { value: await action.run() };
  } catch (error) {
    const known = toFsError(error);
    if (!known) throw error;
    return { error: known.code };
  }
}

/** What is wrong with `actual`, or undefined. */
export function disagreement(
  action: Action,
  expected: Outcome,
  actual: Outcome,
  model: ReferenceFileSystem,
): string | undefined {
  if ('error' in expected || 'error' in actual) {
    const [wanted, got] = [expected, actual].map(outcome => ('error' in outcome ? outcome.error : 'success'));
    const isAllowed = wanted === got || (action.isAnyError && 'error' in expected && 'error' in actual);
    return isAllowed ? undefined : `${got} instead of ${wanted}`;
  }
  if (action.agrees) return action.agrees(expected.value, actual.value, model);
  return difference(expected.value, actual.value);
}

export function difference(expected: unknown, actual: unknown): string | undefined {
  if (expected instanceof Uint8Array && actual instanceof Uint8Array) {
    if (Buffer.compare(expected, actual) === 0) return undefined;
    const at = expected.findIndex((value, i) => value !== actual[i]);
    const place = at < 0 ? expected.length : at;
    return `${actual.length} bytes instead of ${expected.length}, the first difference at ${place}: ${actual[place]} instead of ${expected[place]}`;
  }
  if (isDeepStrictEqual(expected, actual)) return undefined;
  return `${shown(actual)} instead of ${shown(expected)}`;
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, part) =>
    typeof part === 'bigint' ? String(part) : part instanceof Map ? Object.fromEntries(part) : part,
  );
}

/** Small enough for hundreds of runs, large enough for several blocks and parts. */
export const MAX_FILE = 400 * KIB;
