/** What HEADs told, kept over the end of a mount: what it saves, and that it is never believed too much. */
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { decodeSegment, encodeSegment, type KeptMetadata } from '../../src/fs/index-segment.ts';
import { PersistentIndex } from '../../src/fs/persistent-index.ts';
import type { ListedObject } from '../../src/s3/store.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';

const log = { debug() {}, info() {}, warn() {}, error() {} };

function row(i: number, mode = '33152'): KeptMetadata {
  return {
    etag: `"${i}"`,
    size: i,
    lastModified: 1000 * i,
    description: { headers: { contentType: 'text/plain' }, metadata: { mode } },
  };
}

function listed(directory: string, name: string, { etag, size, lastModified }: KeptMetadata): ListedObject {
  return { key: directory + name, etag, size, lastModified };
}

function filesBelow(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name));
}

t.test('a segment reads as it was written, and not at all when it is damaged', async () => {
  const name = fc.string({ unit: 'grapheme', maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(name, { maxLength: 8 }), fc.nat(), fc.nat(255), async (names, at, change) => {
      const rows = new Map(names.map((each, i) => [each, row(i)]));
      const bytes = await encodeSegment({ directory: 'd/', rows, splits: [['m', 1]] });
      const read = await decodeSegment(bytes, 'd/');
      if (JSON.stringify([...read!.rows]) !== JSON.stringify([...rows])) return false;
      if ((await decodeSegment(bytes, 'e/')) !== undefined) return false;
      if ((await decodeSegment(bytes.subarray(0, at % bytes.length), 'd/')) !== undefined) return false;
      const damaged = Buffer.from(bytes);
      damaged[at % bytes.length] = change;
      return damaged.equals(bytes) || (await decodeSegment(damaged, 'd/')) === undefined;
    }),
    { numRuns: 60 },
  );
});

t.test('what was deleted before it was written is not written', async t => {
  const root = t.testdir();
  const index = new PersistentIndex({ root, name: 'b', clock: new ManualClock(), log });
  for (const name of ['a/f', 'a/g', 'b/f']) index.keep(name, row(1));
  index.forget('a/f');
  index.forget('b/f');
  index.forget('c/f');
  await index.flush();
  t.equal(filesBelow(root).length, 1);
  const found = await index.of('a/', [listed('a/', 'f', row(1)), listed('a/', 'g', row(1))]);
  t.same([...found.keys()], ['a/g']);
});

t.test('which files there are is found out once', async t => {
  const root = t.testdir();
  const clock = new ManualClock();
  const index = new PersistentIndex({ root, name: 'b', clock, log });
  const of = (directory: string, each = index): Promise<ReadonlyMap<string, KeptMetadata>> =>
    each.of(directory, [listed(directory, 'f', row(1))]);
  t.equal((await of('a/')).size, 0);
  const other = new PersistentIndex({ root, name: 'b', clock, log });
  for (const directory of ['a/', 'c/']) other.keep(`${directory}f`, row(1));
  await other.flush();
  t.equal((await of('c/')).size, 0, 'another mount wrote it since: not looked for, which costs a HEAD');
  index.keep('d/f', row(1));
  await index.flush();
  t.equal((await of('d/')).size, 1, 'its own are known');
  t.same(
    (
      await Promise.all(
        ['a/', 'c/', 'd/', 'e/'].map(each => of(each, new PersistentIndex({ root, name: 'b', clock, log }))),
      )
    ).map(({ size }) => size),
    [1, 1, 1, 0],
    'and all by the next mount',
  );
  const noDirectory = new PersistentIndex({ root, name: 'file', clock, log });
  writeFileSync(join(root, 'file'), 'x');
  t.equal((await of('a/', noDirectory)).size, 0);
});

t.test('a large directory lies in segments, which split as it grows', async t => {
  const root = t.testdir();
  const clock = new ManualClock();
  const COUNT = 9000;
  const names = Array.from({ length: COUNT }, (_, i) => `f${String((i * 7) % COUNT).padStart(5, '0')}`);
  const index = new PersistentIndex({ root, name: 'b', clock, log });
  for (const [i, name] of names.entries()) {
    index.keep(`d/${name}`, row(i));
    if (i % 2500 === 0) await index.flush();
  }
  await index.flush();
  const files = filesBelow(root);
  t.ok(files.length >= 5 && files.length <= 12, `${files.length} segments`);
  t.ok(files.every(file => (statSync(file).mode & 0o777) === 0o600));
  t.notOk(files.some(file => file.endsWith('.new')));
  const again = new PersistentIndex({ root, name: 'b', clock, log });
  const objects = [...names.entries()]
    .map(([i, name]) => listed('d/', name, row(i)))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  t.equal((await again.of('d/', objects)).size, COUNT, 'all are found');
  t.equal((await again.of('e/', objects)).size, 0);
  const changed = objects.map(object => ({ ...object, lastModified: object.lastModified + 1000 }));
  t.equal((await again.of('d/', changed)).size, 0, 'none of another version');
});

t.test('it keeps to its limit on disk: what was not used for longest goes', async t => {
  const root = t.testdir();
  const clock = new ManualClock();
  const index = new PersistentIndex({ root, name: 'b', clock, log, maxBytes: 20 * 4096 });
  for (let i = 0; i < 30; i++) index.keep(`d${i}/f`, row(i));
  await index.flush();
  const old = filesBelow(root);
  t.equal(old.length, 30);
  for (const [i, file] of old.entries()) utimesSync(file, i, i);
  index.keep('new/f', row(1));
  await index.flush();
  const left = filesBelow(root);
  t.ok(left.length <= 18, `${left.length} files of a block each`);
  t.ok(existsSync(old.at(-1)!), 'the youngest stays');
  t.notOk(existsSync(old[0]!));
});

t.test('where nothing can be written it is as if there were none', async t => {
  const index = new PersistentIndex({ root: '/proc/no-such-place', name: 'b', clock: new ManualClock(), log });
  index.keep('d/f', row(1));
  await index.flush();
  t.same(await index.of('d/', [listed('d/', 'f', row(2))]), new Map());
});

// --- in a filesystem --------------------------------------------------------------------------------------------------

const POSIX = { mode: '33152', uid: '7', gid: '8', mtime: '1500000000.25' };

async function mountedAndListed(root: string, count: number): Promise<TestFileSystem> {
  const test = makeFileSystem({ indexRoot: root });
  const { store, clock, kernel } = test;
  for (let i = 0; i < count; i++) store.putForeign(`d/f${String(i).padStart(5, '0')}`, 'x', { metadata: POSIX });
  await clock.advance(60_000);
  for (const key of store.keys()) await kernel.stat(`/${key}`);
  await test.filesystem.drain();
  store.resetCalls();
  return test;
}

/** HEADs of files. */
function heads({ store }: TestFileSystem): number {
  return store.calls.filter(({ operation, key }) => operation === 'HeadObject' && key.startsWith('d/f')).length;
}

t.test('ls -l of 3,000 files with metadata after a remount: their LISTs and no HEAD', async t => {
  const test = await mountedAndListed(t.testdir(), 3000);
  const { store } = test;
  const { kernel } = test.remount();
  const entries = await kernel.readdir('/d', { plus: true, atOnce: 200 });
  t.equal(entries.length, 3000);
  t.ok(entries.every(({ entry }) => entry?.attributes.uid === 7 && entry.attributes.mode === 33152));
  t.equal(heads(test), 0);
  t.ok(store.count('HeadObject') <= 1, 'the directory itself');
  t.equal(store.count('ListObjectsV2'), 4, 'three pages, and the directory above');
});

t.test('what others changed between two mounts is asked for, and nothing else', async t => {
  const test = await mountedAndListed(t.testdir(), 20);
  const { store, clock } = test;
  // Other bytes; the same bytes with other metadata, which keeps the ETag; gone and made again as it was; gone.
  store.putForeign('d/f00001', 'y', { metadata: { ...POSIX, uid: '9' } });
  store.putForeign('d/f00002', 'x', { metadata: { ...POSIX, uid: '9' } });
  store.deleteForeign('d/f00003');
  store.putForeign('d/f00003', 'x', {});
  store.deleteForeign('d/f00004');
  await clock.advance(60_000);
  const { kernel } = test.remount();
  const uids = new Map<string, number>();
  for (const { name } of await kernel.readdir('/d')) uids.set(name, (await kernel.stat(`/d/${name}`)).uid);
  t.equal(uids.size, 19);
  t.equal(uids.get('f00000'), 7);
  t.equal(uids.get('f00001'), 9);
  t.equal(uids.get('f00002'), 9);
  t.equal(uids.get('f00003'), 1000);
  t.equal(heads(test), 3);
});

t.test('what was learned within two seconds of a change is not kept', async t => {
  const root = t.testdir();
  const test = makeFileSystem({ indexRoot: root });
  const { store, clock, kernel } = test;
  store.putForeign('d/f', 'x', { metadata: POSIX });
  t.equal((await kernel.stat('/d/f')).uid, 7);
  // Within the same second others give it another owner: ETag, size and Last-Modified stay.
  store.putForeign('d/f', 'x', { metadata: { ...POSIX, uid: '9' } });
  await test.filesystem.drain();
  await clock.advance(60_000);
  t.equal((await test.remount().kernel.stat('/d/f')).uid, 9);
});

t.test('our own writes are not taken for what others made of them', async t => {
  const root = t.testdir();
  const test = makeFileSystem({ indexRoot: root });
  const { store, clock, kernel } = test;
  await kernel.mkdir('/d');
  await kernel.writeFile('/d/f', 'x');
  await clock.advance(5000);
  store.putForeign('d/f', 'x', { metadata: { ...POSIX, uid: '9' } });
  await clock.advance(11_000);
  t.equal((await kernel.stat('/d/f')).uid, 9, 'the same bytes with a later time are looked at');
});

t.test('tags that were added between two mounts stay with the next save', async t => {
  const test = await mountedAndListed(t.testdir(), 3);
  const { store, clock } = test;
  // A change of tags alone leaves ETag and Last-Modified as they are.
  const lastModified = (await store.head('d/f00001')).lastModified;
  store.putForeign('d/f00001', 'x', { metadata: POSIX, tags: [['colour', 'red']], lastModified });
  await clock.advance(60_000);
  const { kernel } = test.remount();
  await kernel.setattr('/d/f00001', { mode: 0o600 | 0o40 });
  await kernel.writeFile('/d/f00001', 'ours');
  await clock.advance(1000);
  t.same(await store.tags('d/f00001'), [['colour', 'red']]);
});

t.test('a damaged index costs HEADs, not answers', async t => {
  const root = t.testdir();
  const test = await mountedAndListed(root, 50);
  const { store } = test;
  for (const [i, file] of filesBelow(root).entries()) {
    if (i % 2 === 0) truncateSync(file, statSync(file).size - 3);
    else writeFileSync(file, readFileSync(file).fill(7, 40));
  }
  const { kernel, filesystem } = test.remount();
  for (const { name } of await kernel.readdir('/d')) t.equal((await kernel.stat(`/d/${name}`)).uid, 7);
  t.equal(heads(test), 50);
  await filesystem.drain();
  store.resetCalls();
  await test.remount().kernel.readdir('/d', { plus: true });
  t.equal(heads(test), 0, 'it is whole again');
});
