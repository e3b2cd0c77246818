/** The log of unsaved bytes on a disk that is full for a moment: whatever was answered is in the journal. */
import t from 'tap';
import type { Journal } from '../../src/cache/journal.ts';
import { UnsavedLog } from '../../src/cache/unsaved-log.ts';
import { systemClock } from '../../src/concurrency.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import type { FakeKernel } from '../support/fake-kernel.ts';
import { World } from '../support/unsaved-world.ts';

const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const FALLOC_FL_ZERO_RANGE = 0x10;

/** The disk has no room for what is written first from now on; that fails when it is `released`. */
function fullOnce(world: World): { readonly reached: Promise<void>; release(): void } {
  let release = (): void => {};
  const released = new Promise<void>(resolve => {
    release = resolve;
  });
  const reached = new Promise<void>(resolve => {
    world.disk.before = async event => {
      if (event !== 'write') return;
      world.disk.before = () => {};
      resolve();
      await released;
      throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    };
  });
  return { reached, release: () => release() };
}

const codeOf = async (work: Promise<unknown>): Promise<string | undefined> =>
  work.then(
    () => undefined,
    error => error.code,
  );

for (const name of ['new', 'old']) {
  t.test(`the disk is full at the first record of a ${name} file, and has room for the next one`, async t => {
    const world = new World();
    world.store.putForeign('old', 'what there was');
    const { kernel } = await world.mount();
    // The first file of the journal is made for another one.
    await world.until(kernel.writeFile('/other', 'x'));
    const other = await world.until(kernel.open('/other', O_WRONLY));
    await world.until(kernel.write(other, 0, Buffer.from('y')));
    const file = await world.until(kernel.open(`/${name}`, O_RDWR | O_CREAT));
    const full = fullOnce(world);
    const first = codeOf(kernel.write(file, 0, Buffer.from('FIRST')));
    await full.reached;
    const second = codeOf(kernel.write(file, 5, Buffer.from('SECOND')));
    full.release();
    t.same([await world.until(first), await world.until(second)], ['ENOSPC', undefined]);
    await world.kill();
    const next = await world.mount();
    await world.until(next.recovered);
    const before = name === 'old' ? 'what ' : '\0'.repeat(5);
    t.equal(world.store.text(name)?.slice(0, 11), `${before}SECOND`);
  });
}

t.test('the disk is full at the only record of a file: nothing of it is left in the journal', async t => {
  const world = new World();
  const { kernel, journal, close } = await world.mount();
  const file = await world.until(kernel.open('/f', O_WRONLY | O_CREAT));
  await world.until(kernel.write(file, 0, Buffer.from('saved')));
  await world.until(kernel.close(file));
  const again = await world.until(kernel.open('/f', O_WRONLY));
  const full = fullOnce(world);
  const written = codeOf(kernel.write(again, 0, Buffer.from('REFUSED')));
  await full.reached;
  full.release();
  t.equal(await world.until(written), 'ENOSPC');
  await world.until(kernel.close(again));
  t.equal(world.store.text('f'), 'saved');
  t.equal(journal.failed, undefined);
  await world.until(close());
  t.same(await world.disk.list(), []);
});

const FULL_CHANGES: readonly (readonly [string, (kernel: FakeKernel) => Promise<unknown>])[] = [
  ['open with O_TRUNC', kernel => kernel.open('/f', O_WRONLY | O_TRUNC)],
  ['truncate', kernel => kernel.setattr('/f', { size: 3 })],
  [
    'fallocate that makes zeros',
    async kernel => {
      const file = await kernel.open('/f', O_RDWR);
      try {
        await kernel.fallocate(file, FALLOC_FL_ZERO_RANGE, 0, 4);
      } finally {
        await kernel.close(file);
      }
    },
  ],
];
for (const [name, change] of FULL_CHANGES) {
  t.test(`what fails on a full disk has changed nothing: ${name}`, async t => {
    const world = new World();
    world.store.putForeign('f', 'precious');
    const { kernel, filesystem } = await world.mount();
    await world.until(kernel.stat('/f'));
    world.disk.before = event => {
      if (event === 'write') throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    };
    t.equal(await codeOf(world.until(change(kernel))), 'ENOSPC');
    world.disk.before = () => {};
    t.equal((await world.until(kernel.readFile('/f'))).toString(), 'precious');
    t.same(filesystem.unsaved().names, []);
    await world.until(filesystem.drain());
    t.equal(world.store.text('f'), 'precious');
    await world.until(change(kernel));
    t.not((await world.until(kernel.readFile('/f'))).toString(), 'precious', 'with room it is done');
  });
}

for (const [first, left] of [
  ['write', ''],
  ['O_TRUNC', 'new'],
] as const) {
  t.test(`a write and an O_TRUNC at once come in the order of the journal, ${first} first`, async t => {
    const world = new World();
    world.store.putForeign('f', 'precious');
    const { kernel } = await world.mount();
    const file = await world.until(kernel.open('/f', O_WRONLY));
    await world.until(kernel.write(file, 8, Buffer.from('!')));
    let release = (): void => {};
    const released = new Promise<void>(resolve => {
      release = resolve;
    });
    world.disk.before = event => (event === 'write' ? released : undefined);
    const changes = [() => kernel.write(file, 0, Buffer.from('new')), () => kernel.open('/f', O_WRONLY | O_TRUNC)];
    if (first === 'O_TRUNC') changes.reverse();
    const done: Promise<unknown>[] = [];
    for (const change of changes) {
      done.push(change());
      await world.clock.advance(50);
    }
    release();
    await world.until(Promise.all(done));
    t.equal((await world.until(kernel.readFile('/f'))).toString(), left);
    await world.kill();
    const next = await world.mount();
    await world.until(next.recovered);
    t.equal(world.store.text('f'), left, 'the next daemon finds what this one showed');
  });
}

t.test(
  'a truncate that waits for the journal while another client replaces the file is no change of theirs',
  async t => {
    const world = new World();
    world.store.putForeign('f', '0123456789');
    const { kernel } = await world.mount();
    await world.until(kernel.writeFile('/other', 'x'));
    await world.until(kernel.readFile('/f'));
    let release = (): void => {};
    const reached = new Promise<void>(resolve => {
      world.disk.before = event => {
        if (event !== 'write') return;
        world.disk.before = () => {};
        resolve();
        return new Promise<void>(go => {
          release = go;
        });
      };
    });
    const truncated = codeOf(kernel.setattr('/f', { size: 3 }));
    await reached;
    world.store.putForeign('f', 'what they have');
    await world.clock.advance(11_000);
    await world.until(kernel.stat('/f'));
    release();
    t.equal(await world.until(truncated), 'ESTALE');
    t.equal(world.store.text('f'), 'what they have');
    const copy = world.store.keys().find(key => key.startsWith('_conflict.'));
    t.equal(copy && world.store.text(copy), '012');
  },
);

t.test('two who are about to delete old names both wait for the sync', async t => {
  let synced = (): void => {};
  const sync = new Promise<void>(resolve => {
    synced = resolve;
  });
  const journal = { sync: () => sync } as Partial<Journal> as Journal;
  const log = new UnsavedLog({ journal, clock: systemClock, telemetry: silentTelemetry, nextId: 1 });
  log.note(Promise.resolve());
  const ended: string[] = [];
  const both = ['first', 'second'].map(name => log.safe().then(() => ended.push(name)));
  for (let turns = 0; turns < 20; turns++) await Promise.resolve();
  t.same(ended, []);
  synced();
  await Promise.all(both);
  t.same(ended, ['first', 'second']);
});
