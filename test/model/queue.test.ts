/**
 * Write-back against what programs were told: after any operations, failures of S3, kills and power cuts, all that was
 * answered shows at once and is in S3 in the end, and nothing else is.
 */
import fc from 'fast-check';
import t from 'tap';
import type { WriteBackStore } from '../../src/cache/write-back.ts';
import { isStoreError } from '../../src/errors.ts';
import type { ObjectDescription } from '../../src/s3/store.ts';
import { LossyDisk } from '../support/lossy-disk.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { seededRandom } from '../support/random.ts';
import { makeWriteBack } from '../support/write-back.ts';

/** What a power cut may cost where the journal is synced in groups: ms. */
const GROUP_LOSS = 1000;

const KEYS = ['a', 'b', 'd/', 'd/x', 'd/y/z'] as const;

type Step =
  | { readonly kind: 'put'; readonly key: string; readonly size: number }
  | { readonly kind: 'marker'; readonly key: string }
  | { readonly kind: 'chmod'; readonly key: string }
  | { readonly kind: 'rename'; readonly key: string; readonly to: string }
  | { readonly kind: 'delete'; readonly key: string }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'fail'; readonly done: boolean; readonly times: number }
  | { readonly kind: 'fsync'; readonly key: string }
  | { readonly kind: 'kill' }
  | { readonly kind: 'power'; readonly seed: number };

const key = fc.constantFrom(...KEYS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('put' as const), key, size: fc.nat(3000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('marker' as const), key: fc.constant('d/') }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('chmod' as const), key }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('rename' as const), key, to: key }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 30, 60, 3000) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('fail' as const),
      done: fc.boolean(),
      times: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('fsync' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('kill' as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('power' as const), seed: fc.integer() }) },
);

interface Expected {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly mode: string;
  /** A number of its own. */
  readonly n: string;
}

/** What a key held, and until when; undefined: nothing. */
interface Past {
  readonly value: Expected | undefined;
  readonly until: number;
}

class World {
  readonly clock = new ManualClock();
  readonly inner = new MemoryStore({ clock: this.clock });
  readonly expected = new Map<string, Expected>();
  readonly #limit: number;
  readonly #sync: 'group' | 'close';
  readonly #past = new Map<string, Past[]>();
  disk = new LossyDisk();
  store!: WriteBackStore;
  count = 0;

  constructor(limit: number, sync: 'group' | 'close') {
    this.#limit = limit;
    this.#sync = sync;
  }

  #set(key: string, value: Expected | undefined): void {
    const past = this.#past.get(key) ?? [];
    past.push({ value: this.expected.get(key), until: this.clock.now() });
    this.#past.set(key, past);
    if (value) this.expected.set(key, value);
    else this.expected.delete(key);
  }

  /** After a power cut each key holds what it held in the last second, whole. */
  async #relearn(): Promise<void> {
    for (const key of KEYS) {
      const since = this.clock.now() - GROUP_LOSS;
      const allowed = [this.expected.get(key)];
      for (const { value, until } of this.#past.get(key) ?? []) if (until >= since) allowed.push(value);
      const info = await this.drive(this.store.head(key)).catch(() => undefined);
      const found = allowed.find(value => value?.n === info?.description.metadata['n']);
      if (!found && (info || !allowed.includes(undefined))) throw new Error(`${key} is older than a second`);
      if (found && info) this.expected.set(key, { ...found, etag: info.etag });
      else this.expected.delete(key);
    }
  }

  async start(disk: LossyDisk): Promise<void> {
    this.disk = disk;
    const { clock, inner } = this;
    const made = await this.drive(makeWriteBack({ store: inner, disk, clock, sync: this.#sync, limit: this.#limit }));
    if (made.lost > 0) throw new Error(`${made.lost} bodies are lost`);
    this.store = made.store;
    this.store.listener = {
      settled: (key, from, { etag }) => {
        const known = this.expected.get(key);
        if (known?.etag === from) this.expected.set(key, { ...known, etag });
      },
      conflicted: key => {
        throw new Error(`a conflict where nobody else is: ${key}`);
      },
      refused: () => {},
    };
  }

  /** Lets time pass until `work` has settled. */
  async drive<T>(work: Promise<T>): Promise<T> {
    let settled = false;
    const done = (): void => {
      settled = true;
    };
    work.then(done, done);
    for (let i = 0; !settled; i++) {
      if (i > 5000) throw new Error('it never settles');
      await this.clock.advance(i < 20 ? 0 : 5);
    }
    return work;
  }

  /** The daemon is gone; requests that it had sent may still be answered, to nobody. */
  async restart(disk: LossyDisk, isPowerCut: boolean): Promise<void> {
    const old = this.store;
    old.listener = { settled() {}, conflicted() {}, refused() {} };
    this.disk.before = () => {
      throw new Error('the daemon is dead');
    };
    old.abandon();
    for (let i = 0; i < 20; i++) await this.clock.advance(0);
    await this.start(disk);
    if (isPowerCut && this.#sync === 'group') return this.#relearn();
    // What a lookup tells the next daemon.
    for (const [key, value] of this.expected) {
      const { etag } = await this.drive(this.store.head(key));
      this.expected.set(key, { ...value, etag });
    }
  }

  describe(mode: string): ObjectDescription {
    return { headers: {}, metadata: { mode, mtime: String(this.clock.now()), n: String(this.count) } };
  }

  async put(key: string, bytes: Uint8Array, mode: string): Promise<void> {
    const known = this.expected.get(key);
    const condition = known ? { ifMatch: known.etag } : ({ ifAbsent: true } as const);
    const { etag } = await this.drive(this.store.put(key, [bytes], this.describe(mode), condition));
    this.#set(key, { bytes, etag, mode, n: String(this.count) });
  }

  async copy(from: string, to: string, mode: string | undefined): Promise<void> {
    const known = this.expected.get(from)!;
    const target = this.expected.get(to);
    const version = { key: from, etag: known.etag, size: known.bytes.length };
    const condition = target ? { ifMatch: target.etag } : ({ ifAbsent: true } as const);
    const description = mode === undefined ? undefined : this.describe(mode);
    const { etag } = await this.drive(this.store.copy(version, to, description, condition));
    const n = description?.metadata['n'] ?? known.n;
    this.#set(to, { bytes: known.bytes, etag, mode: mode ?? known.mode, n });
  }

  async step(step: Step): Promise<void> {
    this.count++;
    switch (step.kind) {
      case 'put':
        return this.put(step.key, new Uint8Array(step.size).fill(this.count), '33188');
      case 'marker': {
        const { etag } = await this.drive(this.store.put(step.key, [], this.describe('16877'), undefined));
        this.#set(step.key, { bytes: new Uint8Array(0), etag, mode: '16877', n: String(this.count) });
        return;
      }
      case 'chmod':
        return this.expected.has(step.key) ? this.copy(step.key, step.key, String(this.count)) : undefined;
      case 'rename': {
        const known = this.expected.get(step.key);
        if (!known || step.key === step.to) return;
        await this.copy(step.key, step.to, undefined);
        await this.drive(this.store.delete(step.key, { ifMatch: this.expected.get(step.key)!.etag }));
        this.#set(step.key, undefined);
        return;
      }
      case 'delete':
        if (!this.expected.has(step.key)) return;
        await this.drive(this.store.delete(step.key));
        this.#set(step.key, undefined);
        return;
      case 'wait':
        return this.clock.advance(step.ms);
      case 'fail': {
        for (const operation of ['PutObject', 'DeleteObject', 'DeleteObjects'] as const) {
          this.inner.failNext(operation, 'unavailable', { workDone: step.done, times: step.times });
        }
        return;
      }
      case 'fsync':
        return this.drive(this.store.settled(step.key));
      case 'kill':
        return this.restart(this.disk.now(), false);
      case 'power':
        return this.restart(this.disk.after(this.disk.events.length, seededRandom(step.seed)), true);
    }
  }

  /** What is read through the store is what programs were told. */
  async check(): Promise<void> {
    for (const key of KEYS) {
      const known = this.expected.get(key);
      const info = await this.drive(this.store.head(key)).catch((error: unknown) => {
        if (isStoreError(error, 'not-found')) return undefined;
        throw error;
      });
      if (!known !== !info) throw new Error(`${key} is ${info ? '' : 'not '}there`);
      if (!known || !info) continue;
      if (info.etag !== known.etag) throw new Error(`${key} is ${info.etag} and not ${known.etag}`);
      if (info.description.metadata['mode'] !== known.mode) throw new Error(`${key} has another mode`);
      const into = new Uint8Array(known.bytes.length);
      const request = { offset: 0, length: into.length, ifMatch: known.etag };
      if (into.length > 0) await this.drive(this.store.get(key, request, { buffers: [into] }));
      if (!Buffer.from(known.bytes).equals(into)) throw new Error(`${key} has other bytes`);
    }
    const page = await this.drive(this.store.list({ prefix: '' }));
    const listed = page.objects.map(object => `${object.key} ${object.etag} ${object.size}`).join();
    const wanted = [...this.expected].map(([key, { etag, bytes }]) => `${key} ${etag} ${bytes.length}`).sort();
    if (listed !== wanted.join()) throw new Error(`listed: ${listed}\nwanted: ${wanted.join()}`);
  }

  async end(): Promise<void> {
    for (let i = 0; i < 20 && this.store.state.files + this.store.state.deletes > 0; i++)
      await this.drive(this.store.drain());
    const wanted = [...this.expected.keys()].sort();
    if (this.inner.keys().join() !== wanted.join()) throw new Error(`in S3: ${this.inner.keys()}; wanted: ${wanted}`);
    for (const [key, { bytes }] of this.expected) {
      if (!Buffer.from(this.inner.bytes(key)!).equals(bytes)) throw new Error(`${key} has other bytes in S3`);
    }
    const state = this.store.state;
    if (state.bytes !== 0 || state.files !== 0) throw new Error(`the state tells of more: ${JSON.stringify(state)}`);
    await this.drive(this.store.close());
    if ((await this.disk.list()).some(name => name.endsWith('.journal')))
      throw new Error('the journal is not empty at the end');
  }
}

/** Failures that a program is told of change nothing, as far as it knows; S3 may have done them: the run ends there. */
async function run(steps: readonly Step[], limit: number, sync: 'group' | 'close'): Promise<void> {
  const world = new World(limit, sync);
  await world.start(world.disk);
  for (const each of steps) {
    try {
      await world.step(each);
    } catch (error) {
      // A rename of what S3 has waits for S3.
      const waits = each.kind === 'fsync' || each.kind === 'rename' || each.kind === 'chmod';
      if (waits && isStoreError(error, 'unavailable')) continue;
      throw error;
    }
    await world.check();
  }
  await world.end();
}

const settings = {
  numRuns: Number(process.env['RUNS'] ?? 200),
  ...(process.env['SEED'] && { seed: Number(process.env['SEED']) }),
};
const steps = fc.array(step, { maxLength: 25 });

t.test('synced before each answer: nothing that was answered is lost by kills and power cuts', async () => {
  await fc.assert(
    fc.asyncProperty(steps, each => run(each, 64 << 20, 'close')),
    settings,
  );
});

t.test('synced in groups: nothing is lost by kills, and up to a second by power cuts', async () => {
  await fc.assert(
    fc.asyncProperty(steps, each => run(each, 64 << 20, 'group')),
    settings,
  );
});

t.test('a journal that is often full: what finds no room waits for S3, in its turn', async () => {
  await fc.assert(
    fc.asyncProperty(steps, each =>
      run(
        each.filter(({ kind }) => kind !== 'fail'),
        12 * 1024,
        'close',
      ),
    ),
    settings,
  );
});
