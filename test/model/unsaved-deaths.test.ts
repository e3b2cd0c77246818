/**
 * `journal=`: the daemon dies at every call to S3 and to the disk while programs write into files that they do not close.
 * The next one brings to S3 what `write` had answered, and no upload is left behind.
 */
import t from 'tap';
import { UPLOAD_SIZES } from '../../src/cache/upload-plan.ts';
import type { Descriptor, FakeKernel } from '../support/fake-kernel.ts';
import { LossyDisk } from '../support/lossy-disk.ts';
import { seededRandom } from '../support/random.ts';
import { mountUnsaved, type UnsavedFileSystem } from '../support/unsaved.ts';
import { type Death, shown, World } from './deaths.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = { ...UPLOAD_SIZES, part: 128 * KIB, singlePut: 200 * KIB, copyPart: 256 * KIB, maxCopyPart: 512 * KIB };
const O_RDWR = 2;
const O_CREAT = 0o100;
const BIG = 'B'.repeat(700 * KIB);

/** Programs at work, and what their files hold by what they were told. */
class Programs {
  readonly #kernel: FakeKernel;
  /** By path: what it holds if the operation under way was done, or was not, and every state since it was saved. */
  readonly files: Map<string, { now: (string | undefined)[]; since: (string | undefined)[] }>;

  constructor(kernel: FakeKernel, before: Readonly<Record<string, string>>) {
    this.#kernel = kernel;
    this.files = new Map(Object.entries(before).map(([path, text]) => [path, { now: [text], since: [text] }]));
  }

  #of(path: string): { now: (string | undefined)[]; since: (string | undefined)[] } {
    let file = this.files.get(path);
    if (!file) {
      file = { now: [undefined], since: [undefined] };
      this.files.set(path, file);
    }
    return file;
  }

  text(path: string): string {
    return this.#of(path).now[0] ?? '';
  }

  async change(path: string, next: string | undefined, work: () => Promise<unknown>): Promise<void> {
    const file = this.#of(path);
    file.now.push(next);
    file.since.push(next);
    await work();
    file.now = [next];
  }

  async saved(path: string, work: () => Promise<unknown>): Promise<void> {
    await work();
    this.#of(path).since = [this.#of(path).now[0]];
  }

  open(path: string, flags: number): Promise<Descriptor> {
    return this.#kernel.open(`/${path}`, flags);
  }

  write(path: string, file: Descriptor, offset: number, text: string): Promise<void> {
    const before = this.text(path).padEnd(offset, '\0');
    const next = before.slice(0, offset) + text + before.slice(offset + text.length);
    return this.change(path, next, () => this.#kernel.write(file, offset, Buffer.from(text)));
  }

  truncate(path: string, file: Descriptor, size: number): Promise<void> {
    const next = this.text(path).slice(0, size).padEnd(size, '\0');
    return this.change(path, next, () => this.#kernel.ftruncate(file, size));
  }
}

async function history(kernel: FakeKernel, programs: Programs, writeBack: boolean): Promise<void> {
  // With `write_back` a power cut may cost what was closed a second ago.
  const closed = (path: string, file: Descriptor): Promise<void> =>
    writeBack ? kernel.close(file) : programs.saved(path, () => kernel.close(file));
  const a = await programs.open('a', O_RDWR | O_CREAT);
  await programs.write('a', a, 0, 'one');
  await programs.write('a', a, 3, ' two');
  const old = await programs.open('old', O_RDWR);
  await programs.write('old', old, 0, 'OLD');
  await programs.truncate('old', old, 5);
  await programs.write('old', old, 8, 'X');
  await programs.saved('a', () => kernel.fsync(a));
  await programs.write('a', a, 3, '-');
  const big = await programs.open('big', O_RDWR);
  await programs.write('big', big, 700 * KIB, 'at the end');
  const large = await programs.open('large', O_RDWR | O_CREAT);
  for (let i = 0; i < 26; i++)
    await programs.write('large', large, i * 48 * KIB, String.fromCharCode(97 + i).repeat(48 * KIB));
  await programs.write('large', large, 0, 'HEAD');
  await closed('a', a);
  await programs.write('large', large, 26 * 48 * KIB, 'tail');
  await closed('big', big);
  const emptied = await programs.open('emptied', O_RDWR);
  await programs.change('emptied', '', () => kernel.ftruncate(emptied, 0));
  await programs.write('emptied', emptied, 0, 'new');
  const other = await programs.open('other', O_RDWR | O_CREAT);
  await programs.write('other', other, 0, 'x'.repeat(300 * KIB));
  await programs.write('other', other, 100, 'y');
  await closed('large', large);
  await programs.write('old', old, 1, 'l');
}

const BEFORE = { old: 'old contents', big: BIG, emptied: 'something' };

/** A history by chance: of a few files that are written anywhere, cut, synced, closed and opened again. */
function randomHistory(random: () => number): typeof history {
  const upTo = (n: number): number => Math.floor(random() * n);
  return async (kernel, programs, writeBack) => {
    const open = new Map<string, Descriptor>();
    for (let i = 0; i < 60; i++) {
      const path = ['old', 'big', 'new', 'large'][upTo(4)]!;
      let file = open.get(path);
      if (!file) {
        file = await programs.open(path, O_RDWR | O_CREAT);
        open.set(path, file);
      }
      const { length } = programs.text(path);
      const choice = random();
      const letter = String.fromCharCode(97 + (i % 26));
      if (choice < 0.45 || length === 0) await programs.write(path, file, length, letter.repeat(1 + upTo(150 * KIB)));
      else if (choice < 0.75) await programs.write(path, file, upTo(length + 1000), letter.repeat(1 + upTo(9000)));
      else if (choice < 0.85) await programs.truncate(path, file, upTo(length * 1.2));
      else if (choice < 0.92) await programs.saved(path, () => kernel.fsync(file));
      else {
        open.delete(path);
        if (writeBack) await kernel.close(file);
        else await programs.saved(path, () => kernel.close(file));
      }
    }
  };
}

interface Setting {
  readonly writeBack: boolean;
  /** Default: the one that is written down. */
  readonly history?: typeof history;
  /** Bytes of memory. */
  readonly budget?: number;
  /** Bytes of the journal. */
  readonly limit?: number;
}

/** Dies once, and looks whether the next daemon has everything. Returns how many calls there were. */
async function dieOnce(death: Death, setting: Setting): Promise<number> {
  const { writeBack, budget = 2 * MIB, limit = 64 * MIB } = setting;
  const world = new World(death);
  for (const [key, text] of Object.entries(BEFORE)) world.store.putForeign(key, text);
  const disk = new LossyDisk();
  const endOfFirst = world.store.intercept((call, proceed) => world.call(call.operation, proceed));
  disk.before = name => world.call(name, async () => {});
  const { store, clock } = world;
  const mounted = (on: LossyDisk): Promise<UnsavedFileSystem> =>
    mountUnsaved({ store, clock, sizes: SIZES, disk: on, writeBack, budget, limit });
  let told: Programs['files'] = new Map(
    Object.entries(BEFORE).map(([path, text]) => [path, { now: [text], since: [text] }]),
  );
  const first = await world.until(mounted(disk));
  if (first !== 'died') {
    const programs = new Programs(first.kernel, BEFORE);
    told = programs.files;
    await world.until((setting.history ?? history)(first.kernel, programs, writeBack));
  }
  const { calls } = world;
  world.isDead = true;
  for (let i = 0; i < 5; i++) await clock.advance(5);
  endOfFirst();
  const left = death.power === undefined ? disk.now() : disk.after(disk.events.length, seededRandom(death.power));
  const next = new World({ at: Number.POSITIVE_INFINITY, when: 'before' });
  Object.assign(next, { clock, store });
  const second = (await next.until(mounted(left))) as UnsavedFileSystem;
  await next.until(second.recovered);
  await next.until(second.swept);
  await next.until(second.filesystem.drain());
  const where = `${death.when} call ${death.at} (${world.names.at(-1)})`;
  for (const [path, { now, since }] of told) {
    const found = store.text(path);
    const allowed = death.power === undefined ? now : [...now, ...since];
    if (!allowed.includes(found)) {
      throw new Error(`${where}: ${path} is ${shown(found)} and not ${allowed.map(shown).join(' or ')}`);
    }
  }
  const others = store.keys().filter(key => !told.has(key));
  if (others.length > 0) throw new Error(`${where}: S3 has ${others}`);
  // S3 has begun an upload and the daemon died before it could note that, or before that was synced: rules of the bucket
  // are for this one.
  const isUnknown = world.names.slice(-3).includes('CreateMultipartUpload');
  if (death.power === undefined && store.openUploads > (isUnknown ? 1 : 0)) {
    throw new Error(`${where}: an upload is left in progress`);
  }
  await next.until(second.close());
  // What was torn may have been copied aside, for people.
  const names = (await left.list()).filter(name => name.endsWith('.journal'));
  if (names.length > 0) throw new Error(`${where}: ${names} are left in the journal`);
  return calls;
}

/** All calls of the plainest case; of the others one in so many, and all by `STRIDE=1` for a soak. */
const STRIDE = Number(process.env['STRIDE'] ?? 5);

for (const writeBack of [false, true]) {
  const mode = writeBack ? ', with write_back' : '';
  const stride = writeBack ? STRIDE : 1;
  t.test(`killed at ${stride === 1 ? 'every call' : 'calls'}${mode}`, async t => {
    const calls = await dieOnce({ at: Number.POSITIVE_INFINITY, when: 'before' }, { writeBack });
    t.ok(calls > 60, `${calls} calls`);
    await dieOnce({ at: 0, when: 'before' }, { writeBack });
    // Before the next one is after this one.
    for (let at = 0; at < calls; at += stride) await dieOnce({ at, when: 'after' }, { writeBack });
  });

  t.test(`the power is cut at calls${mode}`, async t => {
    const calls = await dieOnce({ at: Number.POSITIVE_INFINITY, when: 'before', power: 0 }, { writeBack });
    t.ok(calls > 60, `${calls} calls`);
    for (let at = 1; at < calls; at += STRIDE) await dieOnce({ at, when: 'after', power: at }, { writeBack });
  });
}

/** More by RUNS= for a soak; one alone by SEED= and RUNS=1. */
const RUNS = Number(process.env['RUNS'] ?? 10);
const SEED = Number(process.env['SEED'] ?? 1);

t.test('histories by chance, killed or without power at any call', async t => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) {
    const random = seededRandom(seed);
    const at = Math.floor(random() * 250);
    const setting: Setting = {
      writeBack: random() < 0.5,
      budget: random() < 0.5 ? 8 * MIB : 32 * MIB,
      limit: random() < 0.5 ? 8 * MIB : 64 * MIB,
      history: randomHistory(random),
    };
    const death: Death = { at, when: 'after', ...(random() < 0.5 && { power: seed }) };
    await dieOnce(death, setting).catch(error => t.fail(`SEED=${seed}: ${error.message}`));
  }
});
