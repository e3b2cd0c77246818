/** Walks through trees: what they cost in LISTs, and that nothing is listed for nothing. */
import fc from 'fast-check';
import t from 'tap';
import { directoriesOf } from '../../src/fs/flat-walk.ts';
import { compareKeys } from '../../src/fs/keys.ts';
import type { DirectoryEntry } from '../../src/fuse/ops.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';

t.test('a flat listing is taken apart into what a LIST of each directory would show', async () => {
  const part = fc.constantFrom('a', 'b', 'a-', 'c.');
  const path = fc.array(part, { minLength: 1, maxLength: 4 }).map(parts => `p/${parts.join('/')}`);
  const key = fc.oneof(
    path,
    path.map(each => `${each}/`),
  );
  fc.assert(
    fc.property(fc.uniqueArray(key, { maxLength: 20 }), keys => {
      keys.sort(compareKeys);
      const objects = keys.map(each => ({ key: each, etag: '"e"', size: 0, lastModified: 0 }));
      for (const [directory, found] of directoriesOf('p/', objects)) {
        const below = keys.filter(each => each.startsWith(directory));
        const inside = below.filter(each => !each.slice(directory.length).includes('/'));
        const prefixes = below
          .map(each => each.slice(directory.length).split('/'))
          .filter(parts => parts.length > 1)
          .map(([first]) => `${directory}${first}/`);
        if (below.length === 0) return false;
        if (found.objects.map(each => each.key).join() !== inside.join()) return false;
        if (found.prefixes.join() !== [...new Set(prefixes)].join()) return false;
      }
      const expected = new Set<string>();
      for (const each of keys) {
        const parts = each.split('/');
        for (let i = 2; i < parts.length; i++) expected.add(`${parts.slice(0, i).join('/')}/`);
      }
      return [...directoriesOf('p/', objects).keys()].sort().join() === [...expected].sort().join();
    }),
  );
});

interface Tree {
  readonly test: TestFileSystem;
  readonly files: number;
}

function makeTree(directories: number, each: number, options: { marked?: boolean; size?: number } = {}): Tree {
  const test = makeFileSystem({ storeOptions: { latency: 0 } });
  for (let i = 0; i < directories; i++) {
    const directory = `p/d${String(i).padStart(4, '0')}`;
    if (options.marked) test.store.putForeign(`${directory}/`, '', { metadata: { mode: '16877' } });
    for (let j = 0; j < each; j++)
      test.store.putForeign(`${directory}/f${String(j).padStart(4, '0')}`, Buffer.alloc(5000));
  }
  return { test, files: directories * each };
}

/** As find goes: into each directory as its name comes. Returns the files it met. */
async function walk({ kernel }: TestFileSystem, path: string): Promise<string[]> {
  const met: string[] = [];
  await kernel.readdir(path, {
    atOnce: 1000,
    each: async name => {
      const below = `${path}/${name}`;
      if (name.startsWith('d')) met.push(...(await walk({ kernel } as TestFileSystem, below)));
      else met.push(below);
    },
  });
  return met;
}

t.test('find over many small directories: a LIST for each thousand of keys', async t => {
  const { test, files } = makeTree(200, 30);
  const met = await walk(test, '/p');
  t.equal(met.length, files);
  t.equal(new Set(met).size, files);
  const lists = test.store.count('ListObjectsV2');
  t.ok(lists <= 16, `${lists} LISTs for 6,000 keys in 200 directories`);
  t.ok(test.store.count('HeadObject') <= 4, `${test.store.count('HeadObject')} HEADs`);
});

t.test('directories whose entries came with the names of their parent, which nobody looks up', async t => {
  const { kernel, store, filesystem } = makeFileSystem({ options: { stat: 'list' } });
  for (let i = 0; i < 50; i++) {
    for (let j = 0; j < 100; j++) store.putForeign(`p/d${String(i).padStart(2, '0')}/f${j}`, 'small');
  }
  const below = async (nodeid: number): Promise<number> => {
    const { fh } = await filesystem.opendir(nodeid, 0, kernel.ctx);
    const entries: DirectoryEntry[] = [];
    for (let cookie = 0, more = true; more; ) {
      more = false;
      const add = (entry: DirectoryEntry): boolean => {
        if (entry.entry) filesystem.namespace.inode(entry.entry.nodeid).lookups++;
        entries.push(entry);
        cookie = entry.cookie;
        more = true;
        return true;
      };
      await filesystem.readdir(nodeid, fh, cookie, { plus: true, add }, kernel.ctx);
    }
    let files = 0;
    for (const { name, entry } of entries) {
      if (name.startsWith('d')) files += await below(entry!.nodeid);
      else if (name.startsWith('f')) files++;
    }
    await filesystem.releasedir(nodeid, fh);
    return files;
  };
  t.equal(await below((await filesystem.lookup(1, 'p', kernel.ctx)).nodeid), 5000);
  t.ok(store.count('ListObjectsV2') <= 14, `${store.count('ListObjectsV2')} LISTs for 51 directories`);
});

t.test('with directories in directories, and with markers', async t => {
  const test = makeFileSystem();
  let files = 0;
  for (let i = 0; i < 12; i++) {
    for (let j = 0; j < 12; j++) {
      test.store.putForeign(`p/d${10 + i}/d${10 + j}/`, '', { metadata: { mode: '16832' } });
      for (let k = 0; k < 5; k++, files++) test.store.putForeign(`p/d${10 + i}/d${10 + j}/f${k}`, Buffer.alloc(5000));
    }
  }
  t.equal((await walk(test, '/p')).length, files);
  const lists = test.store.count('ListObjectsV2');
  t.ok(lists <= 14, `${lists} LISTs for 157 directories`);
  t.ok(test.store.count('HeadObject') <= 160, 'one HEAD for each marker');
  t.equal((await test.kernel.stat('/p/d15/d15')).mode, 0o40700, 'their metadata counts');
});

t.test('of large directories one flat page is tried, not more', async t => {
  const { test, files } = makeTree(12, 1100);
  t.equal((await walk(test, '/p')).length, files);
  const flat = test.store.calls.filter(({ list }) => list && !list.delimiter && list.prefix === 'p/').length;
  t.ok(flat <= 1, `${flat} flat LISTs`);
});

t.test('a large directory among small ones is not paged through', async t => {
  const { test } = makeTree(60, 20);
  for (let j = 0; j < 6000; j++) test.store.putForeign(`p/d0030/g${j}`, Buffer.alloc(5000));
  t.equal((await walk(test, '/p')).length, 60 * 20 + 6000);
  const lists = test.store.count('ListObjectsV2');
  t.ok(lists <= 7 + 20, `${lists} LISTs`);
});

t.test('a single stray access starts nothing', async t => {
  const { test } = makeTree(50, 3);
  const { kernel, store } = test;
  await kernel.readdir('/p', {
    atOnce: 1000,
    each: async name => {
      if (name !== 'd0000') return;
      store.resetCalls();
      await kernel.names('/p/d0030');
      t.equal(store.count('ListObjectsV2'), 1);
      await kernel.names('/p/d0010');
      t.equal(store.count('ListObjectsV2'), 2);
    },
  });
});

t.test('what this mount changes while a flat page is on its way is not undone by it', async t => {
  const { test } = makeTree(40, 3);
  const { kernel, store } = test;
  await kernel.readdir('/p', {
    atOnce: 1000,
    each: async name => {
      if (name > 'd0002') return;
      await kernel.names(`/p/${name}`);
      if (name !== 'd0002') return;
      // Whatever was listed ahead of this walker was listed before.
      await kernel.unlink('/p/d0003/f0001');
      await kernel.writeFile('/p/d0004/new', 'x');
      for (const file of ['f0000', 'f0001', 'f0002']) await kernel.unlink(`/p/d0005/${file}`);
      t.same(await kernel.names('/p/d0003'), ['f0000', 'f0002']);
      t.same(await kernel.names('/p/d0004'), ['f0000', 'f0001', 'f0002', 'new']);
      t.same(await kernel.names('/p/d0005'), []);
    },
  });
  t.same(await kernel.names('/p/d0003'), ['f0000', 'f0002']);
  t.equal(store.keys().length, 40 * 3 - 4 + 1);
});

t.test('what others change is seen when the listing is too old', async t => {
  const { test } = makeTree(40, 3);
  const { kernel, store, clock } = test;
  await walk(test, '/p');
  store.deleteForeign('p/d0020/f0001');
  store.putForeign('p/d0021/f9', 'x');
  await clock.advance(11_000);
  const met = await walk(test, '/p');
  t.equal(met.length, 120);
  t.notOk(met.includes('/p/d0020/f0001'));
  t.ok(met.includes('/p/d0021/f9'));
  t.ok(await kernel.exists('/p/d0021/f9'));
});
