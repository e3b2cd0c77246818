/** Directories of a store that lists in no order (S3 Express): read to their end first, and then as on any other. */
import t from 'tap';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';

const names = Array.from({ length: 40 }, (_, i) => `f${String(i).padStart(2, '0')}`);

function unordered(): TestFileSystem {
  const test = makeFileSystem({ storeOptions: { features: { orderedListing: false }, pageKeys: 3 } });
  for (const name of names) test.store.putForeign(`d/${name}`, name);
  // A file and a directory of one name, whose pages come in any order; and the directory's own marker somewhere.
  for (const key of ['d/both', 'd/both/x', 'd/both-', 'd/', 'd/sub/y']) {
    test.store.putForeign(key, '', key === 'd/' ? { metadata: { mode: String(0o040711) } } : {});
  }
  return test;
}

/** As a listing has them: `both-` before `both/`. */
const all = ['both-', 'both', ...names, 'sub'];

t.test('each name once and in order, a directory shadows its file', async t => {
  const { kernel } = unordered();
  t.same(
    (await kernel.readdir('/d')).map(({ name }) => name).filter(name => !name.startsWith('.')),
    all,
  );
  t.equal((await kernel.stat('/d/both')).mode & 0o170000, 0o040000);
  t.equal((await kernel.stat('/d')).mode & 0o777, 0o711, 'the marker was found on whatever page it came');
});

t.test('what was not listed yet is asked for, not taken for missing', async t => {
  const { kernel, store } = unordered();
  for (const name of names) t.equal(String(await kernel.readFile(`/d/${name}`)), name);
  t.equal((await kernel.stat('/d/both')).mode & 0o170000, 0o040000);
  await t.rejects(kernel.stat('/d/missing'), { code: 'ENOENT' });
  t.notOk(
    store.calls.some(({ list }) => list?.startAfter !== undefined),
    'nobody asks from a name on',
  );
});

t.test('what this mount makes and removes meanwhile is there once, or not', async t => {
  const { kernel, store } = unordered();
  await kernel.writeFile('/d/a-new', 'x');
  await kernel.unlink('/d/f07');
  const seen = (await kernel.readdir('/d')).map(({ name }) => name).filter(name => !name.startsWith('.'));
  t.same(seen, ['a-new', ...all.filter(name => name !== 'f07')]);
  await kernel.rename('/d', '/moved');
  t.same(
    store.keys().filter(key => key.startsWith('d/')),
    [],
  );
  t.equal(store.keys().length, 45, 'all of it, the marker and what a directory shadows too');
});
