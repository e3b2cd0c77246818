/** Programs that go through trees and directories: what is asked ahead of them, how long they wait, and what is asked for nothing. */
import t from 'tap';
import type { S3FileSystem } from '../../src/fs/filesystem.ts';
import { makeFileSystem, type TestFileSystem, type TestOptions } from '../support/filesystem.ts';
import { type Program, Walker } from '../support/walker.ts';

/** ms of each request. */
const LATENCY = 20;

/** 10 × 8 directories, 6 files in each of the lower ones and 4 in each of the upper. */
function makeTree(options: TestOptions = {}): { test: TestFileSystem; files: number } {
  const test = makeFileSystem({ storeOptions: { latency: LATENCY }, budget: 128 * 2 ** 20, ...options });
  let files = 0;
  const add = (key: string): void => {
    test.store.putForeign(key, Buffer.alloc(100 + ((files * 7919) % 20_000), key));
    files++;
  };
  for (let i = 0; i < 10; i++) {
    for (let j = 0; j < 8; j++) for (let k = 0; k < 6; k++) add(`p/d${i}/d${j}/f${k}`);
    for (let k = 0; k < 4; k++) add(`p/d${i}/f${k}`);
  }
  return { test, files };
}

/** Lets time go by until `work` is done; returns the ms it took. */
async function timed({ clock }: TestFileSystem, work: Promise<unknown>): Promise<number> {
  const from = clock.monotonic();
  let done = false;
  const end = (): void => {
    done = true;
  };
  work.then(end, end);
  while (!done) await clock.advance(1);
  await work;
  return clock.monotonic() - from;
}

const pause = ({ clock }: TestFileSystem, ms: number): Promise<void> =>
  new Promise(resolve => void clock.after(ms, resolve));

function walkerOf(test: TestFileSystem): Walker {
  return new Walker(test.filesystem, test.kernel.ctx, ms => pause(test, ms));
}

async function copy(test: TestFileSystem, path: string, program: Program, walker = walkerOf(test)): Promise<void> {
  await walker.copy(path, program, (file, text) => {
    if (!text.startsWith(file.slice(1))) throw new Error(`${file} is wrong`);
  });
}

for (const order of ['ino', 'listing'] as const) {
  for (const stat of ['exact', 'list'] as const) {
    t.test(`cp -r in the order of ${order}, stat=${stat}: files are there before they are asked for`, async t => {
      const { test, files } = makeTree({ options: { stat } });
      const { store } = test;
      const ms = await timed(test, copy(test, '/p', { pace: 1, order }));
      // In turn it would be 20 ms for each file and each directory: 12 s.
      t.ok(ms < 2400, `${ms} ms for ${files} files in 90 directories`);
      t.equal(store.count('GetObject'), files, 'each once');
      t.ok(store.count('HeadObject') <= 0.04 * files, `${store.count('HeadObject')} HEADs`);
      t.ok(store.count('ListObjectsV2') <= 30, `${store.count('ListObjectsV2')} LISTs`);
    });
  }
}

t.test('a program that is slow at times: what became too old is asked about before it comes', async t => {
  const { test, files } = makeTree();
  const { store } = test;
  const walker = walkerOf(test);
  const pauses = async (): Promise<void> => {
    for (const [i, path] of ['/p/d3', '/p/d4', '/p/d5', '/p/d6'].entries()) {
      await copy(test, path, { pace: 1, order: 'listing' }, walker);
      // Others need the machine for a while.
      if (i < 3) await pause(test, 900);
    }
  };
  const ms = await timed(test, pauses());
  const read = 4 * (files / 10);
  t.ok(ms < 3 * 900 + 1500, `${ms} ms`);
  t.ok(store.count('GetObject') <= read * 1.6, `${store.count('GetObject')} GETs for ${read} files`);
});

t.test('who takes a second for each file gets a GET for each and nothing ahead', async t => {
  const { test } = makeTree({ options: { stat: 'list' } });
  const { store } = test;
  await timed(test, copy(test, '/p/d3', { pace: 1000, order: 'listing' }));
  t.ok(store.count('GetObject') <= 52 + 8, `${store.count('GetObject')} GETs for 52 files`);
  t.ok(store.count('HeadObject') <= 24, `${store.count('HeadObject')} HEADs`);
});

t.test('who stops has not cost more than was read', async t => {
  for (const files of [3, 10, 50]) {
    const { test } = makeTree();
    await timed(test, copy(test, '/p', { pace: 1, order: 'listing', files }));
    await test.clock.advance(1000);
    const gets = test.store.count('GetObject');
    t.ok(gets <= 2 * files + 8, `${gets} GETs for ${files} files`);
  }
});

t.test('files of a directory in any order: nothing is fetched ahead', async t => {
  const test = makeFileSystem({ storeOptions: { latency: LATENCY } });
  const { store } = test;
  const walker = walkerOf(test);
  const name = (i: number): string => `f${String(i).padStart(3, '0')}`;
  for (let i = 0; i < 200; i++) store.putForeign(`d/${name(i)}`, Buffer.alloc(5000));
  const readAll = async (): Promise<void> => {
    for (let i = 0; i < 40; i++) await walker.read(`/d/${name((i * 77 + 13) % 200)}`);
  };
  await timed(test, readAll());
  t.equal(store.count('GetObject'), 40);
  t.ok(store.count('HeadObject') <= 1, `${store.count('HeadObject')} HEADs: a GET tells what fstat wants`);
});

t.test('a second cp -r of what is in memory waits for no HEAD', async t => {
  const { test, files } = makeTree();
  const { store, clock } = test;
  const walker = walkerOf(test);
  await timed(test, copy(test, '/p', { pace: 1, order: 'ino' }, walker));
  await clock.advance(2000);
  store.resetCalls();
  const ms = await timed(test, copy(test, '/p', { pace: 1, order: 'ino' }, walker));
  t.ok(ms < 2400, `${ms} ms`);
  t.ok(
    store.count('GetObject') + store.count('HeadObject') <= files * 1.05,
    'each is asked about once, as close-to-open wants',
  );
});

t.test('another client changes a file while it is ahead: the reader gets what is there at its open', async t => {
  const { test } = makeTree();
  const { store, kernel } = test;
  const walker = walkerOf(test);
  const work = async (): Promise<void> => {
    for (const i of [0, 1, 2, 3]) await walker.read(`/p/d0/d0/f${i}`);
    await pause(test, 1500);
    store.putForeign('p/d0/d0/f4', 'other bytes');
    t.equal(String(await kernel.readFile('/p/d0/d0/f4')), 'other bytes');
    store.deleteForeign('p/d0/d0/f5');
    await pause(test, 1500);
    await t.rejects(walker.read('/p/d0/d0/f5'), { code: 'ESTALE' });
  };
  await timed(test, work());
});

const MIB = 1024 * 1024;

t.test('files that come whole ahead of a reader wait for it: memory is not short before they are read', async t => {
  const { kernel, store } = makeFileSystem({ budget: 32 * MIB });
  const names = Array.from({ length: 60 }, (_, i) => `f${String(i).padStart(2, '0')}`);
  for (const name of names) store.putForeign(`d/${name}`, Buffer.alloc(2 * MIB + 7, name));
  // As the kernel does, something below keeps the directory known.
  await kernel.open(`/d/${names[0]}`, 0);
  for (const name of names) {
    const bytes = await kernel.readFile(`/d/${name}`);
    t.ok(bytes.equals(Buffer.alloc(2 * MIB + 7, name)), name);
  }
  const gets = store.count('GetObject');
  t.ok(gets >= 60 && gets <= 2.2 * names.length, `${gets} GETs`);
});

t.test('a reader that jumps out of order starts anew', async t => {
  const { kernel, store } = makeFileSystem({ budget: 32 * MIB });
  const names = Array.from({ length: 60 }, (_, i) => `f${String(i).padStart(2, '0')}`);
  for (const name of names) store.putForeign(`d/${name}`, Buffer.alloc(2 * MIB, name));
  await kernel.open(`/d/${names[0]}`, 0);
  for (const name of names.slice(0, 10)) await kernel.readFile(`/d/${name}`);
  // What was fetched after the tenth must not count as ahead for ever.
  for (const name of names.slice(30)) await kernel.readFile(`/d/${name}`);
  const gets = store.count('GetObject');
  // Six were on their way; of three files at each beginning nobody knew yet that they are read whole: some six GETs each.
  t.ok(gets <= 40 + 6 + 2 * 3 * 5 + 4, `${gets} GETs for 40 files`);
});

t.test('what lies ahead of a reader that has stopped is not asked about again', async t => {
  const { test } = makeTree();
  const { store, kernel, clock } = test;
  // The forecast waits before directories of which nobody knows all.
  for (let i = 0; i < 6000; i++) store.putForeign(`p/d5/d00large/f${i}`, 'p');
  for (const name of ['a', 'b']) store.putForeign(`other/${name}`, 'x');
  await timed(test, copy(test, '/p', { pace: 1, order: 'listing', files: 258 }));
  await clock.advance(2000);
  // As the kernel does, something below keeps the directory known.
  await timed(test, kernel.open('/other/a', 0));
  store.resetCalls();
  const others = async (): Promise<void> => {
    for (let i = 0; i < 100; i++) {
      await kernel.stat(`/other/${i % 2 ? 'a' : 'b'}`);
      await pause(test, 100);
    }
  };
  await timed(test, others());
  const asked = store.calls.filter(({ key }) => key?.startsWith('p/')).length;
  t.ok(asked <= 4, `${asked} requests for it`);
});

t.test('another user of a shared mount waits for the owner of each name: they are ahead of it', async t => {
  const test = makeFileSystem({ storeOptions: { latency: LATENCY }, options: { allowOther: true } });
  const { store, filesystem, kernel } = test;
  const names = Array.from({ length: 200 }, (_, i) => `f${String(i).padStart(4, '0')}`);
  for (const name of names) store.putForeign(name, Buffer.alloc(10_000), { metadata: { mode: '33188', uid: '2000' } });
  const ctx = { ...kernel.ctx, uid: 2000 };
  const ms = await timed(
    test,
    (async () => {
      for (const name of names) {
        const entry = await filesystem.lookup(1, name, ctx);
        t.equal('attributes' in entry && entry.attributes.uid, 2000);
        await pause(test, 1);
      }
    })(),
  );
  t.ok(ms < 1000, `${ms} ms for 200 files`);
  t.equal(store.count('HeadObject'), 200, 'one for each');
});

t.test('stat of one file after the other: attributes are ahead of it to the end, and of no use to unlink', async t => {
  const test = makeFileSystem({ storeOptions: { latency: LATENCY } });
  const { store, filesystem, kernel } = test;
  const names = Array.from({ length: 1000 }, (_, i) => `f${String(i).padStart(4, '0')}`);
  for (const name of names) store.putForeign(`d/${name}`, Buffer.alloc(10_000), {});
  const found = await timed(
    test,
    Promise.resolve(filesystem.lookup(1, 'd', kernel.ctx)).then(entry => entry.nodeid),
  );
  t.ok(found > 0);
  const directory = (filesystem as S3FileSystem).namespace.directoryAt('d/')!.nodeid;
  const stat = async (from: number, to: number): Promise<void> => {
    for (const name of names.slice(from, to)) {
      const entry = await filesystem.lookup(directory, name, kernel.ctx);
      // As the kernel: what came with the name is not asked for again.
      if (entry.nodeid !== 0 && 'attributesTtl' in entry && entry.attributesTtl === 0)
        await filesystem.getattr(entry.nodeid, undefined, kernel.ctx);
      await pause(test, 1);
    }
  };
  const ms = await timed(test, stat(0, 300));
  t.ok(ms < 700, `${ms} ms for 300 files`);
  await timed(
    test,
    (async () => {
      for (const name of names.slice(300)) {
        await filesystem.lookup(directory, name, kernel.ctx);
        await filesystem.unlink(directory, name, kernel.ctx);
        await pause(test, 5);
      }
    })(),
  );
  const heads = store.count('HeadObject');
  t.ok(heads > 300 && heads < 900, `${heads} HEADs for 1,000 files: not for all that are deleted`);
});
