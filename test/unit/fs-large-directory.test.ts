/** What programs cost that go through a directory of more than one LIST page, counted in requests. */
import t from 'tap';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';

const COUNT = 1500;
const names = Array.from({ length: COUNT }, (_, i) => `f${String(i).padStart(5, '0')}`);

/** A directory whose names were read and whose metadata is known; then time passes until none of it may be believed. */
async function readAndAged(test: TestFileSystem): Promise<void> {
  const { kernel, store, clock } = test;
  for (const name of names) store.putForeign(`d/${name}`, 'small');
  store.putForeign('d/zzz', 'stays');
  await clock.advance(5000);
  // As the kernel does, something below keeps the directory known.
  await kernel.open('/d/zzz', 0);
  await kernel.readdir('/d', { plus: true, atOnce: 100 });
  for (const name of names) await kernel.stat(`/d/${name}`);
  await clock.advance(11_000);
  store.resetCalls();
}

t.test('names asked for in order cost a LIST for a thousand of them', async t => {
  const test = makeFileSystem();
  const { kernel, store } = test;
  await readAndAged(test);
  for (const name of names) {
    await kernel.stat(`/d/${name}`);
    await kernel.unlink(`/d/${name}`);
  }
  t.equal(store.count('DeleteObject'), COUNT);
  t.ok(store.count('ListObjectsV2') <= 6, `${store.count('ListObjectsV2')} LISTs`);
  t.ok(store.count('HeadObject') <= 4, `${store.count('HeadObject')} HEADs: their metadata is known already`);
});

t.test('so do names in any order, once that is cheaper', async t => {
  const test = makeFileSystem();
  const { kernel, store } = test;
  await readAndAged(test);
  for (let i = 0; i < COUNT; i++) await kernel.stat(`/d/${names[(i * 1009) % COUNT]}`);
  t.ok(store.count('ListObjectsV2') <= 15, `${store.count('ListObjectsV2')} LISTs`);
  t.ok(store.count('HeadObject') <= 15, `${store.count('HeadObject')} HEADs`);
});

t.test('a single stray access costs a HEAD and a LIST of one name', async t => {
  const test = makeFileSystem();
  const { kernel, store } = test;
  await readAndAged(test);
  await kernel.stat(`/d/${names[1234]}`);
  t.equal(store.count('ListObjectsV2'), 2, 'one of the directory above, one of the name');
  t.equal(store.calls.filter(({ list }) => list?.prefix === `d/${names[1234]}/` && list.maxKeys === 1).length, 1);
});

t.test('what others change is seen when the range is too old, what this mount changes at once', async t => {
  const test = makeFileSystem();
  const { kernel, store, clock } = test;
  await readAndAged(test);
  for (const name of names.slice(0, 10)) await kernel.stat(`/d/${name}`);
  store.resetCalls();
  await kernel.writeFile(`/d/${names[20]}`, 'ours now');
  await kernel.unlink(`/d/${names[21]}`);
  await kernel.mkdir('/d/f00022-made');
  t.equal((await kernel.stat(`/d/${names[20]}`)).size, 8);
  t.notOk(await kernel.exists(`/d/${names[21]}`));
  t.ok(await kernel.exists('/d/f00022-made'));
  t.notOk(await kernel.exists('/d/f00023-not-there'), 'told by the range');
  t.equal(store.count('ListObjectsV2'), 0);

  store.deleteForeign(`d/${names[30]}`);
  store.putForeign(`d/${names[31]}`, 'theirs now');
  store.putForeign('d/f00032-theirs', 'x');
  await clock.advance(11_000);
  for (const name of names.slice(5, 10)) await kernel.stat(`/d/${name}`);
  t.notOk(await kernel.exists(`/d/${names[30]}`));
  t.equal((await kernel.stat(`/d/${names[31]}`)).size, 10);
  t.ok(await kernel.exists('/d/f00032-theirs'));
});

t.test('a change made while a range is on its way is not undone by it', async t => {
  const test = makeFileSystem();
  const { kernel, store } = test;
  await readAndAged(test);
  await kernel.stat(`/d/${names[0]}`);
  await kernel.open(`/d/${names[1]}`, 0);
  const hold = store.hold('ListObjectsV2');
  const walker = kernel.stat(`/d/${names[2]}`);
  await hold.reached;
  await kernel.unlink(`/d/${names[1]}`);
  hold.release();
  await walker;
  t.notOk(await kernel.exists(`/d/${names[1]}`));
});

t.test('files are fetched ahead also after the listing is too old', async t => {
  const test = makeFileSystem();
  const { kernel, store } = test;
  await readAndAged(test);
  // Those who only looked before are forgotten by then.
  for (const name of names.slice(0, 150)) await kernel.readFile(`/d/${name}`);
  const gets = store.count('GetObject');
  t.ok(gets > 152 && gets < 150 + 175, `${gets} GETs for 150 files: the next ones are on their way`);
});
