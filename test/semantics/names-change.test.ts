/** Directories, rename, unlink, links: one test for each statement of docs/SEMANTICS.md, named by it. */
import t from 'tap';
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../src/fuse/ops.ts';
import { makeFileSystem } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { makeWriteBack } from '../support/write-back.ts';
import { errnoOf, O_CREAT, O_RDONLY, O_RDWR, O_WRONLY, withLog } from './support.ts';

const MIB = 1024 * 1024;

t.test('D1 mkdir', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.mkdir('/d');
  t.same(store.keys(), ['d/']);
  await kernel.writeFile('/d/f', 'x');
  await kernel.unlink('/d/f');
  t.same(store.keys(), ['d/']);
  t.same(await kernel.names('/'), ['d']);
});

t.test('D2 the last file of a prefix', async t => {
  const { kernel, store, clock } = makeFileSystem();
  for (const name of ['stays', 'goes']) store.putForeign(`${name}/f`, 'x');
  for (const name of ['stays', 'goes']) await kernel.unlink(`/${name}/f`);
  t.same(await kernel.names('/'), ['goes', 'stays']);
  t.same(store.keys(), []);
  await kernel.rmdir('/goes');
  await clock.advance(1100);
  t.same(store.keys(), ['stays/']);
});

t.test('D3 not empty', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.mkdir('/d');
  await kernel.writeFile('/d/f', 'x');
  t.equal(await errnoOf(kernel.rmdir('/d')), 'ENOTEMPTY');
  await kernel.unlink('/d/f');
  store.putForeign('d/theirs', 'x');
  await new Promise(resolve => setImmediate(resolve));
  t.equal(await errnoOf(kernel.rmdir('/d')), 'ENOTEMPTY');
  t.equal(store.text('d/theirs'), 'x');
});

t.test('D3 not empty, with write_back', async t => {
  const clock = new ManualClock();
  const store = new MemoryStore({ clock });
  const { store: writeBack } = await makeWriteBack({ store, clock });
  const { kernel } = makeFileSystem({ store, clock, writeBack });
  for (const key of ['d/f', 'e/f']) store.putForeign(key, 'x');
  for (const path of ['/d', '/e']) {
    await kernel.open(`${path}/f`, 0);
    t.same(await kernel.names(path), ['f']);
  }
  store.putForeign('d/theirs', 'x');
  store.putForeign('e/theirs', 'x');
  await kernel.unlink('/d/f');
  await kernel.rmdir('/d');
  t.equal(store.text('d/theirs'), 'x', 'what others put there a moment ago stays');
  await kernel.unlink('/e/f');
  await clock.advance(11_000);
  t.equal(await errnoOf(kernel.rmdir('/e')), 'ENOTEMPTY');
});

t.test('D4 changed while it is read', async t => {
  const { kernel, filesystem, store } = makeFileSystem();
  const { ctx } = kernel;
  const names = Array.from({ length: 2500 }, (_, i) => String(i).padStart(5, '0'));
  for (const name of names) store.putForeign(name, '');
  const { fh } = filesystem.opendir(1, 0, ctx);
  const seen: string[] = [];
  let cookie = 0;
  for (;;) {
    let taken = 0;
    const sink = {
      plus: false,
      add: (entry: { name: string; cookie: number }): boolean => {
        if (taken === 100) return false;
        taken++;
        cookie = entry.cookie;
        seen.push(entry.name);
        return true;
      },
    };
    await filesystem.readdir(1, fh, cookie, sink, ctx);
    if (taken === 0) break;
    // As `rm -r` does, and as a loop that renames what it reads.
    for (const name of seen.slice(-Math.min(3, taken))) if (/^\d+$/.test(name)) await kernel.unlink(`/${name}`);
    const last = seen.at(-10);
    if (last !== undefined && /^\d+$/.test(last)) await kernel.rename(`/${last}`, `/${last}.renamed`);
  }
  filesystem.releasedir(1, fh);
  const plain = seen.filter(name => /^\d+$/.test(name));
  t.same(plain, names, 'every one, once, in order');
  t.same(
    seen.filter(name => name.endsWith('.renamed')),
    [],
    'no file twice under two names',
  );
});

t.test('V1 copied, then deleted', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/a', 'A');
  store.resetCalls();
  store.failNext('DeleteObject', 'unavailable');
  t.equal(await errnoOf(kernel.rename('/a', '/b')), 'EIO');
  t.same(store.keys(), ['a', 'b'], 'both, not none');
  t.same(await kernel.names('/'), ['a', 'b'], 'and both are shown');
  t.same(
    store.calls.map(({ operation }) => operation).filter(name => name !== 'ListObjectsV2' && name !== 'HeadObject'),
    ['CopyObject', 'DeleteObject'],
  );
  t.equal(store.text('b'), 'A');
});

t.test('V2 never saved', async t => {
  const { kernel, store } = makeFileSystem();
  const open = await kernel.open('/a', O_WRONLY | O_CREAT);
  await kernel.write(open, 0, Buffer.from('A'));
  await kernel.exists('/b');
  store.resetCalls();
  await kernel.rename('/a', '/b');
  t.equal(store.count(), 0);
  await kernel.close(open);
  t.same(store.keys(), ['b']);
});

t.test('V3 open files', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/a', 'A');
  await kernel.writeFile('/b', 'B');
  const [replaced, renamed] = [await kernel.open('/b', O_RDONLY), await kernel.open('/a', O_RDWR)];
  await kernel.rename('/a', '/b');
  t.equal(String(await kernel.read(replaced, 0, 10)), 'B');
  await kernel.write(renamed, 1, Buffer.from('2'));
  await kernel.close(renamed);
  await kernel.close(replaced);
  t.same(store.keys(), ['b']);
  t.equal(store.text('b'), 'A2');
});

t.test('V4 flags', async t => {
  const { kernel, store, counters } = makeFileSystem();
  await kernel.writeFile('/a', 'A');
  await kernel.writeFile('/b', 'B');
  await kernel.mkdir('/d');
  await kernel.mkdir('/e');
  t.equal(await errnoOf(kernel.rename('/a', '/b', RENAME_NOREPLACE)), 'EEXIST');
  await kernel.rename('/a', '/b', RENAME_EXCHANGE);
  t.same([store.text('a'), store.text('b')], ['B', 'A']);
  t.equal(await errnoOf(kernel.rename('/d', '/e', RENAME_EXCHANGE)), 'EINVAL');

  store.failNext('CopyObject', 'forbidden', { key: 'b' });
  t.equal(await errnoOf(kernel.rename('/a', '/b', RENAME_EXCHANGE)), 'EACCES');
  t.same([store.text('a'), store.text('b')], ['B', 'A'], 'undone');

  const lines = withLog(counters);
  store.failNext('CopyObject', 'timeout', { key: 'b', workDone: true });
  const remove = store.intercept(async ({ operation, key }, proceed) => {
    // Nothing gets through once the copy to `b` is out.
    if (operation === 'CopyObject' && key === 'b') store.failNext('HeadObject', 'timeout', { key: 'b' });
    return proceed();
  });
  t.equal(await errnoOf(kernel.rename('/a', '/b', RENAME_EXCHANGE)), 'ETIMEDOUT');
  remove();
  const hidden = store.keys().find(key => key.startsWith('_s3mount/exchange/'))!;
  t.same([store.text('a'), store.text(hidden)].sort(), ['A', 'B']);
  t.ok(lines.some(line => line.includes(hidden)));
});

t.test('V5 a directory', async t => {
  const { kernel, store } = makeFileSystem();
  for (let i = 0; i < 30; i++) store.putForeign(`d/${i}/f`, String(i));
  let deletions = 0;
  store.intercept(async ({ operation }, proceed) => {
    if (operation.startsWith('DeleteObject') && deletions++ === 0) {
      t.equal(store.keys().filter(key => key.startsWith('n/')).length, 30, 'all copied before anything is deleted');
      store.putForeign('d/late', 'theirs');
    }
    return proceed();
  });
  await kernel.rename('/d', '/n');
  t.ok(deletions > 0);
  t.equal((await kernel.names('/n')).length, 30);
  t.same(
    store.keys().filter(key => key.startsWith('d/')),
    ['d/late'],
  );
});

t.test('V6 a copy fails', async t => {
  const { kernel, store } = makeFileSystem();
  for (let i = 0; i < 10; i++) store.putForeign(`d/${i}`, String(i));
  const before = store.keys();
  store.failNext('CopyObject', 'forbidden', { key: 'n/7' });
  t.equal(await errnoOf(kernel.rename('/d', '/n')), 'EACCES');
  t.same(store.keys(), before);
  t.equal(String(await kernel.readFile('/d/7')), '7');
  store.failNext('CopyObject', 'forbidden', { key: 'n/7' });
  const held = store.hold('CopyObject', 'n/7');
  const renamed = errnoOf(kernel.rename('/d', '/n'));
  await held.reached;
  store.putForeign('n/3', 'theirs');
  held.release();
  t.equal(await renamed, 'EACCES');
  t.same(store.keys(), [...before, 'n/3']);
  t.equal(store.text('n/3'), 'theirs');
});

t.test('V7 the time of what has no metadata', async t => {
  const { kernel, store, clock, remount } = makeFileSystem();
  const then = { lastModified: Date.UTC(2020, 1, 2) };
  store.putForeign('f', 'x', then);
  store.putForeign('d/f', 'x', then);
  store.putForeign('d/seen', 'x', then);
  await kernel.rename('/f', '/g');
  await kernel.stat('/d/seen');
  store.resetCalls();
  await kernel.rename('/d', '/e');
  t.same(
    store.calls.filter(({ operation, key }) => operation === 'HeadObject' && key !== 'd/'),
    [],
    'no request for it',
  );
  t.equal((await kernel.stat('/e/seen')).mtime.sec, then.lastModified / 1000);
  await clock.advance(20_000);
  const fresh = remount().kernel;
  t.equal((await fresh.stat('/g')).mtime.sec, then.lastModified / 1000);
  t.equal((await fresh.stat('/e/seen')).mtime.sec, then.lastModified / 1000, 'its own metadata has it now');
  t.equal((await fresh.stat('/e/f')).mtime.sec, (clock.now() - 20_000) / 1000);
});

t.test('U1 deleted when unlink returns', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', 'x');
  await kernel.unlink('/f');
  t.same(store.keys(), []);
  t.equal(await errnoOf(kernel.stat('/f')), 'ENOENT');
});

t.test('U2 open without a name', async t => {
  const { kernel, store } = makeFileSystem({ budget: 64 * MIB });
  store.putForeign('small', Buffer.alloc(8 * MIB, 's'));
  store.putForeign('large', Buffer.alloc(8 * MIB + 1, 'l'));
  const small = await kernel.open('/small', O_RDWR);
  const large = await kernel.open('/large', O_RDONLY);
  await kernel.unlink('/small');
  t.same(store.keys(), ['large'], 'kept in memory');
  await kernel.unlink('/large');
  t.match(store.keys(), [/^_s3mount\/unlinked\/testhost\//]);
  t.equal(String(await kernel.read(small, 8 * MIB - 1, 10)), 's');
  t.equal(String(await kernel.read(large, 8 * MIB, 10)), 'l');
  await kernel.write(small, 0, Buffer.from('changed'));
  t.equal(String(await kernel.read(small, 0, 8)), 'changeds');
  await kernel.close(small);
  await kernel.close(large);
  t.same(store.keys(), []);
});

t.test('U3 what is written without a name', async t => {
  const { kernel, store, filesystem } = makeFileSystem();
  const open = await kernel.open('/tmp', O_RDWR | O_CREAT);
  await kernel.unlink('/tmp');
  await kernel.write(open, 0, Buffer.from('scratch'));
  t.equal(String(await kernel.read(open, 0, 10)), 'scratch');
  await kernel.fsync(open);
  await kernel.close(open);
  await filesystem.drain();
  t.equal(store.count('PutObject'), 0);
  t.same(filesystem.unsaved().names, []);
});

t.test('L1 link', async t => {
  const { kernel, filesystem, store } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  const { nodeid } = await filesystem.lookup(1, 'f', kernel.ctx);
  t.equal(await errnoOf(filesystem.link(nodeid, 1, 'g', kernel.ctx)), 'EPERM');
  t.same(store.keys(), ['f']);
});

t.test('L2 link=copy', async t => {
  const { kernel, filesystem, store } = makeFileSystem({ options: { link: 'copy' } });
  await kernel.writeFile('/f', 'x');
  const { nodeid } = await filesystem.lookup(1, 'f', kernel.ctx);
  await filesystem.link(nodeid, 1, 'g', kernel.ctx);
  t.equal(store.count('CopyObject'), 1);
  t.equal(await errnoOf(filesystem.link(nodeid, 1, 'g', kernel.ctx)), 'EEXIST');
  await kernel.writeFile('/g', 'changed');
  t.same([store.text('f'), store.text('g')], ['x', 'changed'], 'independent');
});
