/** What a program costs that stats one file again and again, as the kernel shows it: names it holds are looked up when their time is over. */
import t from 'tap';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';

/** Looks `path` up each 11 s, `times` times, holding what it was told before; returns the requests for one time. */
async function polled({ filesystem, kernel, store, clock }: TestFileSystem, path: string, times: number) {
  const walk = async (): Promise<void> => {
    await clock.advance(11_000);
    let nodeid = 1;
    for (const name of path.split('/')) nodeid = (await filesystem.lookup(nodeid, name, kernel.ctx)).nodeid;
  };
  await walk();
  await walk();
  store.resetCalls();
  for (let i = 0; i < times; i++) await walk();
  return { lists: store.count('ListObjectsV2') / times, heads: store.count('HeadObject') / times };
}

for (const stat of ['exact', 'list'] as const) {
  for (const marked of [true, false]) {
    t.test(`a file in a directory ${marked ? 'with' : 'without'} a marker, stat=${stat}`, async t => {
      const test = makeFileSystem({ options: { stat } });
      const { store, clock } = test;
      if (marked) for (const key of ['d/', 'd/e/', 'd/e/g/']) store.putForeign(key, '');
      for (const key of ['d/f', 'd/e/f', 'd/e/g/f', 'other']) store.putForeign(key, 'text');
      await clock.advance(5000);
      t.same(await polled(test, 'd/f', 4), { lists: 1, heads: 0 });
      t.same(await polled(test, 'd/e/g/f', 4), { lists: 2, heads: stat === 'exact' ? 1 : 0 });
      // In which nothing is looked up: its parent's listing and its marker tell.
      await polled(test, 'd', 2);
      t.same(await polled(test, 'd', 4), { lists: 1, heads: stat === 'exact' ? 1 : 0 });
    });
  }
}

t.test(
  'a directory that others take away is gone when its time is over, one that they made a file is a file',
  async t => {
    const test = makeFileSystem();
    const { filesystem, kernel, store, clock } = test;
    for (const key of ['d/f', 'e/f', 'e/', 'other']) store.putForeign(key, 'text');
    await clock.advance(5000);
    await polled(test, 'd/f', 1);
    await polled(test, 'e/f', 1);
    for (const key of ['d/f', 'e/f', 'e/']) store.deleteForeign(key);
    store.putForeign('e', 'a file now');
    await clock.advance(11_000);
    t.equal((await filesystem.lookup(1, 'd', kernel.ctx)).nodeid, 0);
    t.equal((await kernel.stat('/e')).size, 10);
  },
);

t.test('rmdir of a directory that was just looked up asks what others put there', async t => {
  const test = makeFileSystem();
  const { kernel, store, clock, filesystem } = test;
  for (const key of ['d/', 'd/f']) store.putForeign(key, 'text');
  await clock.advance(5000);
  await polled(test, 'd/f', 1);
  store.deleteForeign('d/f');
  await clock.advance(11_000);
  t.not((await filesystem.lookup(1, 'd', kernel.ctx)).nodeid, 0);
  store.putForeign('d/theirs', 'x');
  await t.rejects(Promise.resolve(filesystem.rmdir(1, 'd', kernel.ctx)), { code: 'ENOTEMPTY' });
});
