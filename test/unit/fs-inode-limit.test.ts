/** How much a directory of very many names takes of memory: entries that were passed, inodes that the kernel could forget. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { ListedName } from '../../src/fs/listing.ts';
import { SnapshotEntries } from '../../src/fs/snapshot-entries.ts';
import { makeFileSystem } from '../support/filesystem.ts';

t.test('entries that were passed keep name and kind', async t => {
  const entries = new SnapshotEntries();
  const names = Array.from({ length: 5000 }, (_, i) => (i % 7 === 0 ? `ä ${i}` : `f${i}`));
  for (const [i, name] of names.entries()) {
    const listed: ListedName =
      i % 5 === 0
        ? { name, directory: true }
        : { name, directory: false, object: { key: name, etag: '"e"', size: i, lastModified: 0 } };
    entries.push(listed);
  }
  entries.passed(4500);
  t.equal(entries.length, 5000);
  t.equal(entries.at(10)?.object, undefined, 'packed');
  t.equal(entries.at(4400)?.directory, true);
  t.ok(entries.at(4401)?.object, 'the ones near the reader are not');
  entries.passed(5000);
  t.same(
    names.map((_, i) => entries.at(i)?.name),
    names,
  );
  t.ok(names.every((_, i) => entries.at(i)?.directory === (i % 5 === 0)));
  t.equal(entries.at(5000), undefined);
  t.same(
    entries.slice(4998, 6000).map(({ name }) => name),
    names.slice(4998),
  );
});

t.test('a reader that goes back in a large directory meets the same names', async t => {
  const { filesystem, kernel, store } = makeFileSystem({ options: { stat: 'list' } });
  for (let i = 0; i < 4000; i++) store.putForeign(`d/f${String(i).padStart(5, '0')}`, 'x');
  const { nodeid } = await filesystem.lookup(1, 'd', kernel.ctx);
  const { fh } = filesystem.opendir(nodeid, 0, kernel.ctx);
  const read = async (cookie: number): Promise<string[]> => {
    const names: string[] = [];
    const add = ({ name }: { name: string }): boolean => names.push(name) <= 500;
    await filesystem.readdir(nodeid, fh, cookie, { plus: true, add }, kernel.ctx);
    return names;
  };
  const first = await read(2);
  for (let cookie = 2; cookie < 4002; cookie += 500) await read(cookie);
  t.same(await read(2), first);
});

t.test('above its limit the kernel is asked to forget what nobody uses', async t => {
  const { filesystem, kernel, store, clock, environment } = makeFileSystem({
    options: { stat: 'list' },
    limits: { inodes: 100 },
  });
  for (let i = 0; i < 400; i++) store.putForeign(`d/f${String(i).padStart(5, '0')}`, 'x');
  const held = new Map<string, number>();
  environment.notifier = {
    invalidateInode() {},
    invalidateEntry(parent, name) {
      const nodeid = held.get(`${parent}/${name}`)!;
      held.delete(`${parent}/${name}`);
      filesystem.forget(nodeid, 1);
    },
  };
  const { nodeid } = await filesystem.lookup(1, 'd', kernel.ctx);
  const open = await kernel.open('/d/f00000', 0);
  for (let i = 0; i < 400; i++) {
    const name = `f${String(i).padStart(5, '0')}`;
    held.set(`${nodeid}/${name}`, (await filesystem.lookup(nodeid, name, kernel.ctx)).nodeid);
    await clock.advance(1);
  }
  await clock.advance(1000);
  t.ok(filesystem.namespace.size <= 101, `${filesystem.namespace.size} inodes`);
  t.ok(held.has(`${nodeid}/f00000`), 'an open file stays');
  t.ok(held.has(`${nodeid}/f00399`), 'the youngest stay');
  t.equal(String(await kernel.read(open, 0, 1)), 'x');
  t.equal((await kernel.stat('/d/f00005')).size, 1, 'what was forgotten is found again');
});

t.test('a kernel that can prune is asked with many at once, directories too; who is in use stays', async t => {
  const { filesystem, kernel, store, clock, environment } = makeFileSystem({
    options: { stat: 'list' },
    limits: { inodes: 50 },
  });
  for (let i = 0; i < 100; i++) store.putForeign(`d${i}/f`, 'x');
  const held = new Map<number, number>();
  const asked: number[][] = [];
  environment.notifier = {
    invalidateInode() {},
    invalidateEntry: () => t.fail('not by name'),
    prune(nodeids) {
      asked.push([...nodeids]);
      for (const nodeid of nodeids) filesystem.forget(nodeid, held.get(nodeid) ?? 0);
    },
  };
  for (let i = 0; i < 100; i++) {
    const { nodeid } = await filesystem.lookup(1, `d${i}`, kernel.ctx);
    held.set(nodeid, (held.get(nodeid) ?? 0) + 1);
  }
  const first = [...held.keys()][0]!;
  const { fh } = filesystem.opendir(first, 0, kernel.ctx);
  await clock.advance(1000);
  t.ok(asked.length >= 1 && asked.length <= 3, `${asked.length} messages`);
  t.equal(filesystem.namespace.size, 50);
  t.ok(filesystem.namespace.inode(first), 'it is open');
  filesystem.releasedir(first, fh);
});

t.test('below the limit, inodes that come and go leave nothing behind', async t => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const { filesystem, kernel, store } = makeFileSystem({ options: { stat: 'list' } });
  for (let i = 0; i < 200; i++) store.putForeign(`d/f${i}`, 'x');
  const { nodeid } = await filesystem.lookup(1, 'd', kernel.ctx);
  const held: number[] = [];
  const round = async (): Promise<number> => {
    for (let i = 0; i < 20_000; i++) {
      held.push((await filesystem.lookup(nodeid, `f${i % 200}`, kernel.ctx)).nodeid);
      if (held.length > 150) filesystem.forget(held.shift()!, 1);
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  await round();
  const first = await round();
  const grown = (await round()) - first;
  t.ok(grown < 3 * 2 ** 20, `${grown} bytes more after 20,000 more`);
  t.ok(filesystem.namespace.size < 160, `${filesystem.namespace.size} inodes`);
});
