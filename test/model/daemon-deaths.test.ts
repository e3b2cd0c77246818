/**
 * The daemon dies at every call through the door to S3, before and after it was done, and at every call to the disk: what
 * programs were told is there for the next one, what was going on is old or new, and no upload is left behind.
 */
import t from 'tap';
import { UPLOAD_SIZES } from '../../src/cache/upload-plan.ts';
import type { FakeKernel } from '../support/fake-kernel.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import { LossyDisk } from '../support/lossy-disk.ts';
import { seededRandom } from '../support/random.ts';
import { makeWriteBack } from '../support/write-back.ts';
import { type Death, type States, shown, World } from './deaths.ts';

/** One operation, and what it makes of the files that it is about: by path, what is there afterwards. */
interface Operation {
  readonly name: string;
  readonly run: (kernel: FakeKernel) => Promise<void>;
  readonly after: Readonly<Record<string, string | undefined>>;
  /** States that it passes through. */
  readonly between?: Readonly<Record<string, States>>;
}

const KIB = 1024;
/** Two parts of a block each and a rest: small, for there are hundreds of deaths. */
const LARGE = 'L'.repeat(300 * KIB);
const SIZES = { ...UPLOAD_SIZES, part: 128 * KIB, singlePut: 200 * KIB };

const HISTORY: readonly Operation[] = [
  { name: 'mkdir', run: kernel => kernel.mkdir('/d'), after: {} },
  { name: 'write a', run: kernel => kernel.writeFile('/d/a', 'one'), after: { 'd/a': 'one' } },
  { name: 'write b', run: kernel => kernel.writeFile('/d/b', 'two'), after: { 'd/b': 'two' } },
  {
    name: 'append to what S3 has',
    run: kernel => kernel.writeFile('/old', '+', 1 | 0o2000),
    after: { old: 'old+' },
  },
  {
    name: 'rename over it',
    run: kernel => kernel.rename('/d/a', '/old'),
    after: { 'd/a': undefined, old: 'one' },
  },
  { name: 'write a again', run: kernel => kernel.writeFile('/d/a', 'three'), after: { 'd/a': 'three' } },
  { name: 'unlink b', run: kernel => kernel.unlink('/d/b'), after: { 'd/b': undefined } },
  { name: 'unlink what S3 has', run: kernel => kernel.unlink('/gone'), after: { gone: undefined } },
  { name: 'and make it anew', run: kernel => kernel.writeFile('/gone', 'back'), after: { gone: 'back' } },
  { name: 'write a large one', run: kernel => kernel.writeFile('/large', LARGE), after: { large: LARGE } },
  {
    name: 'fsync',
    run: async kernel => {
      const file = await kernel.open('/d/a', 1);
      await kernel.write(file, 0, Buffer.from('THREE'));
      await kernel.fsync(file);
      await kernel.close(file);
    },
    after: { 'd/a': 'THREE' },
  },
  {
    name: 'rename what S3 has',
    run: kernel => kernel.rename('/large', '/d/large'),
    after: { large: undefined, 'd/large': LARGE },
  },
  {
    name: 'rename the directory',
    run: kernel => kernel.rename('/d', '/e'),
    after: { 'd/a': undefined, 'd/large': undefined, 'e/a': 'THREE', 'e/large': LARGE },
    // Copied whole before anything is deleted: a crash leaves both.
    between: {
      'd/a': ['THREE', undefined],
      'd/large': [LARGE, undefined],
      'e/a': [undefined, 'THREE'],
      'e/large': [undefined, LARGE],
    },
  },
  { name: 'unlink the large one', run: kernel => kernel.unlink('/e/large'), after: { 'e/large': undefined } },
];

async function mountedOn(
  world: World,
  disk: LossyDisk,
  sync: 'group' | 'close',
): Promise<TestFileSystem & { swept: Promise<number> }> {
  const { store, clock } = world;
  const writeBack = await makeWriteBack({ store, disk, clock, sync });
  return { ...makeFileSystem({ store, clock, writeBack: writeBack.store, sizes: SIZES }), swept: writeBack.swept };
}

/** Dies once, and looks whether the next daemon has everything. Returns how many calls there were. */
async function dieOnce(death: Death): Promise<number> {
  const world = new World(death);
  world.store.putForeign('old', 'old');
  world.store.putForeign('gone', 'gone');
  const disk = new LossyDisk();
  const sync = death.power === undefined ? 'group' : 'close';
  const endOfFirst = world.store.intercept((call, proceed) => world.call(call.operation, proceed));
  disk.before = name => world.call(name, async () => {});
  const told = new Map<string, States>([
    ['old', ['old']],
    ['gone', ['gone']],
  ]);
  const first = await world.until(mountedOn(world, disk, sync));
  if (first !== 'died') {
    for (const { run, after, between } of HISTORY) {
      for (const [path, state] of Object.entries(after)) {
        told.set(path, between?.[path] ?? [...(told.get(path) ?? [undefined]), state, '']);
      }
      if ((await world.until(run(first.kernel))) === 'died') break;
      for (const [path, state] of Object.entries(after)) told.set(path, [state]);
    }
    await world.until(first.filesystem.drain());
  }
  const { calls } = world;
  // What S3 was doing when the daemon died is done or not by now.
  world.isDead = true;
  for (let i = 0; i < 5; i++) await world.clock.advance(5);
  endOfFirst();
  const left = death.power === undefined ? disk.now() : disk.after(disk.events.length, seededRandom(death.power));
  const next = new World({ at: Number.POSITIVE_INFINITY, when: 'before' });
  Object.assign(next, { clock: world.clock, store: world.store });
  const second = (await next.until(mountedOn(next, left, sync))) as Awaited<ReturnType<typeof mountedOn>>;
  const where = `${death.when} call ${death.at}`;
  const look = async (): Promise<void> => {
    for (const [path, allowed] of told) {
      const isThere = (await next.until(second.kernel.exists(`/${path}`))) as boolean;
      const now = isThere ? ((await next.until(second.kernel.readFile(`/${path}`))) as Buffer).toString() : undefined;
      if (!allowed.includes(now)) {
        throw new Error(`${where}: ${path} is ${shown(now)} and not ${allowed.map(shown).join(' or ')}`);
      }
      told.set(path, [now]);
    }
  };
  await look();
  await next.until(second.filesystem.drain());
  await next.until(second.swept);
  for (const [path, [state]] of told) {
    const inS3 = world.store.text(path);
    if (inS3 !== state) throw new Error(`${where}: ${path} is ${shown(inS3)} in S3 and not ${shown(state)}`);
  }
  const others = world.store.keys().filter(key => !told.has(key) && !key.endsWith('/'));
  if (others.length > 0) throw new Error(`${where}: S3 has ${others}`);
  // S3 has begun an upload and the daemon died before it could note that: rules of the bucket are for this one.
  const isUnknown = world.names.slice(-3).includes('CreateMultipartUpload');
  if (world.store.openUploads > (isUnknown ? 1 : 0)) throw new Error(`${where}: an upload is left in progress`);
  return calls;
}

t.test('killed at every call', async t => {
  const calls = await dieOnce({ at: Number.POSITIVE_INFINITY, when: 'before' });
  t.ok(calls > 60, `${calls} calls`);
  await dieOnce({ at: 0, when: 'before' });
  // Before the next one is after this one.
  for (let at = 0; at < calls; at++) await dieOnce({ at, when: 'after' });
});

t.test('the power is cut at every call', async t => {
  const calls = await dieOnce({ at: Number.POSITIVE_INFINITY, when: 'before', power: 0 });
  t.ok(calls > 60, `${calls} calls`);
  for (let at = 0; at < calls; at++) await dieOnce({ at, when: 'after', power: at });
});
