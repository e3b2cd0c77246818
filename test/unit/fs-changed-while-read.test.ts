/** A large directory that this mount changes while a program reads it: every name that stays is read once, and stays known. */
import t from 'tap';
import { FsError, StoreError } from '../../src/errors.ts';
import type { DirectoryEntry } from '../../src/fuse/ops.ts';
import { makeFileSystem, type TestFileSystem, type TestOptions } from '../support/filesystem.ts';

const name = (i: number): string => `f${String(i).padStart(5, '0')}`;

function filled(count: number, options: TestOptions = {}): TestFileSystem {
  const test = makeFileSystem(options);
  for (let i = 0; i < count; i++) test.store.putForeign(`d/${name(i)}`, 'small');
  return test;
}

/** Runs `work` once, when `after` has been read. */
async function readWhile(
  { kernel }: TestFileSystem,
  after: string,
  work: () => Promise<void>,
  plus = false,
): Promise<string[]> {
  const each = async (read: string): Promise<void> => {
    if (read === after) await work();
  };
  return (await kernel.readdir('/d', { each, plus })).map(entry => entry.name);
}

t.test('a file is written whose name comes last', async t => {
  const test = filled(2500);
  const read = await readWhile(test, name(10), () => test.kernel.writeFile('/d/zzz', 'new'));
  t.strictSame(
    read.filter(each => each !== 'zzz'),
    Array.from({ length: 2500 }, (_, i) => name(i)),
  );
  t.ok(await test.kernel.exists(`/d/${name(2400)}`));
});

t.test('a file is written again and forgotten by the kernel before the listing comes to it', async t => {
  const test = filled(2500);
  const read = await readWhile(test, name(10), () => test.kernel.writeFile(`/d/${name(2300)}`, 'changed'));
  t.ok(read.includes(name(2300)));
  t.equal(read.length, 2500);
  t.equal((await test.kernel.stat(`/d/${name(2300)}`)).size, 7);
});

t.test('a file is removed before the listing comes to it', async t => {
  const test = filled(2500);
  const read = await readWhile(test, name(10), () => test.kernel.unlink(`/d/${name(2300)}`));
  t.notOk(read.includes(name(2300)));
  t.notOk(await test.kernel.exists(`/d/${name(2300)}`));
});

for (const to of ['a', 'x']) {
  t.test(`the directory is renamed to ${to}`, async t => {
    const test = filled(2500);
    const read = await readWhile(test, name(10), () => test.kernel.rename('/d', `/${to}`));
    t.strictSame(
      read,
      Array.from({ length: 2500 }, (_, i) => name(i)),
    );
  });
}

for (const stat of ['exact', 'list'] as const) {
  t.test(`the reader goes back to names that are gone (stat=${stat})`, async t => {
    const test = filled(4000, { options: { stat } });
    const { filesystem, kernel } = test;
    const found = await filesystem.lookup(1, 'd', kernel.ctx);
    const { fh } = await filesystem.opendir(found.nodeid, 0, kernel.ctx);
    const entries: DirectoryEntry[] = [];
    const read = async (from: number, most: number): Promise<number> => {
      let taken = 0;
      const add = (entry: DirectoryEntry): boolean => {
        if (taken === most) return false;
        taken++;
        entries.push(entry);
        return true;
      };
      await filesystem.readdir(found.nodeid, fh, from, { plus: true, add }, kernel.ctx);
      return taken;
    };
    for (let cookie = 0; ; cookie = entries.at(-1)!.cookie) if ((await read(cookie, 500)) === 0) break;
    t.equal(entries.length, 4002);
    for (const { entry } of entries) if (entry && entry.nodeid !== 0) filesystem.forget(entry.nodeid, 1);
    await kernel.unlink(`/d/${name(20)}`);
    const place = entries.find(each => each.name === name(18))!.cookie;
    entries.length = 0;
    await read(place, 5);
    t.strictSame(
      entries.map(each => each.name),
      [19, 20, 21, 22, 23].map(name),
    );
    await filesystem.releasedir(found.nodeid, fh);
  });
}

t.test('what is only here is removed before the reader comes to it', async t => {
  const test = filled(10, { options: { stat: 'list' } });
  const { kernel } = test;
  const open = await kernel.open('/d/zz', 0o101);
  const names = await kernel.readdir('/d', {
    plus: true,
    atOnce: 5,
    each: async read => {
      if (read === name(2)) await kernel.unlink('/d/zz');
    },
  });
  t.ok(names.length >= 10);
  await kernel.close(open);
});

t.test('a page that comes after the directory was closed changes nothing that is known', async t => {
  const test = filled(1500, { storeOptions: { latency: 40 } });
  const { kernel, clock, filesystem } = test;
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let done = false;
    const watched = work.finally(() => {
      done = true;
    });
    watched.catch(() => {});
    while (!done) await clock.advance(5);
    return watched;
  };
  const found = await run(Promise.resolve(filesystem.lookup(1, 'd', kernel.ctx)));
  const { fh } = await filesystem.opendir(found.nodeid, 0, kernel.ctx);
  let last = 0;
  const held: number[] = [];
  for (let i = 0; i < 4; i++) {
    let taken = 0;
    const add = (entry: DirectoryEntry): boolean => {
      if (taken++ === 100) return false;
      last = entry.cookie;
      if (entry.entry && entry.entry.nodeid !== 0) held.push(entry.entry.nodeid);
      return true;
    };
    await run(Promise.resolve(filesystem.readdir(found.nodeid, fh, last, { plus: true, add }, kernel.ctx)));
  }
  // The second page is on its way.
  await filesystem.releasedir(found.nodeid, fh);
  const removed = kernel.unlink(`/d/${name(1400)}`);
  await run(removed);
  await clock.advance(500);
  t.notOk(await run(kernel.exists(`/d/${name(1400)}`)));
});

t.test('a page that fails when nobody waits for it any more ends nothing', async t => {
  const test = filled(2500);
  const { kernel, store, filesystem } = test;
  const found = await filesystem.lookup(1, 'd', kernel.ctx);
  const { fh } = await filesystem.opendir(found.nodeid, 0, kernel.ctx);
  let last = 0;
  const read = (signal: AbortSignal): Promise<void> =>
    Promise.resolve(
      filesystem.readdir(
        found.nodeid,
        fh,
        last,
        {
          plus: false,
          add: entry => {
            last = entry.cookie;
            return last % 1000 !== 0;
          },
        },
        { ...kernel.ctx, signal },
      ),
    );
  await read(kernel.ctx.signal);
  const stop = store.intercept(async () => {
    throw new StoreError('unavailable', 'no');
  });
  const rejected: unknown[] = [];
  const note = (error: unknown): void => void rejected.push(error);
  process.on('unhandledRejection', note);
  await t.rejects(read(AbortSignal.abort(new FsError('EINTR', 'interrupted'))));
  for (let i = 0; i < 5; i++) await new Promise(resolve => setImmediate(resolve));
  process.off('unhandledRejection', note);
  stop();
  t.strictSame(rejected, []);
  await filesystem.releasedir(found.nodeid, fh);
});

t.test('old markers of directories at the end of a page', async t => {
  const test = makeFileSystem();
  const { kernel, store } = test;
  store.putForeign('d/_SUCCESS', '');
  for (let i = 0; i < 700; i++) {
    store.putForeign(`d/p${i + 1000}_$folder$`, '');
    store.putForeign(`d/p${i + 1000}/x`, 'x');
  }
  const names = (await kernel.readdir('/d')).map(each => each.name);
  t.equal(names.length, 701);
  t.equal(new Set(names).size, 701);
});

t.test('a directory of a store in no order is renamed between two pages', async t => {
  const test = filled(500, { storeOptions: { features: { orderedListing: false }, pageKeys: 100 } });
  const { kernel, store } = test;
  let isRenamed = false;
  store.intercept(async (call, proceed) => {
    const isThird = call.list?.continuation !== undefined && store.count('ListObjectsV2') > 2;
    if (!isThird || isRenamed) return proceed();
    isRenamed = true;
    await kernel.rename('/d', '/x');
    return proceed();
  });
  const names = (await kernel.readdir('/d')).map(entry => entry.name);
  t.ok(isRenamed);
  t.strictSame(
    names,
    Array.from({ length: 500 }, (_, i) => name(i)),
  );
});
