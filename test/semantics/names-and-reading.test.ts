/** Names, keys and reading: one test for each statement of docs/SEMANTICS.md, named by it. */
import t from 'tap';
import { makeFileSystem } from '../support/filesystem.ts';
import { errnoOf, O_RDONLY, O_WRONLY, withLog } from './support.ts';

t.test('N1 a path is a key', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('by/others/f', 'theirs');
  await kernel.writeFile('/by/others/g', 'ours');
  t.equal(String(await kernel.readFile('/by/others/f')), 'theirs');
  t.equal(store.text('by/others/g'), 'ours');
});

t.test('N2 a name that is not UTF-8', async t => {
  const { filesystem, kernel, store } = makeFileSystem();
  const { ctx } = kernel;
  t.equal(await errnoOf(() => filesystem.create(1, undefined, 0o100644, O_WRONLY, ctx)), 'EILSEQ');
  t.equal(await errnoOf(filesystem.mkdir(1, undefined, 0o40755, ctx)), 'EILSEQ');
  await kernel.writeFile('/f', '');
  t.equal(await errnoOf(filesystem.rename(1, 'f', 1, undefined, 0, ctx)), 'EILSEQ');
  t.equal(await errnoOf(() => filesystem.lookup(1, undefined, ctx)), 'ENOENT');
  t.same(store.keys(), ['f']);
});

t.test('N3 two forms of one text are two names', async t => {
  const fs = makeFileSystem();
  const lines = withLog(fs.counters);
  const [nfc, nfd] = ['한글.csv', '한글.csv'.normalize('NFD')];
  fs.store.putForeign(nfd, 'of a Mac');
  for (let i = 0; i < 3; i++) t.notOk(await fs.kernel.exists(`/${nfc}`));
  t.equal(String(await fs.kernel.readFile(`/${nfd}`)), 'of a Mac');
  t.equal(lines.filter(line => line.includes('normalization')).length, 1, 'told once');
  await fs.kernel.writeFile(`/${nfc}`, 'of Linux');
  t.same(fs.store.keys(), [nfd, nfc].sort());
});

t.test('N4 names and keys too long', async t => {
  const { kernel, store } = makeFileSystem({ storeOptions: { prefixBytes: 600 } });
  t.equal(await errnoOf(kernel.writeFile(`/${'x'.repeat(256)}`, '')), 'ENAMETOOLONG');
  await kernel.mkdir(`/${'d'.repeat(200)}`);
  await kernel.mkdir(`/${'d'.repeat(200)}/${'e'.repeat(200)}`);
  const place = `/${'d'.repeat(200)}/${'e'.repeat(200)}`;
  t.equal(await errnoOf(kernel.writeFile(`${place}/${'f'.repeat(23)}`, '')), 'ENAMETOOLONG');
  t.equal(await errnoOf(kernel.mkdir(`${place}/${'f'.repeat(22)}`)), 'ENAMETOOLONG', 'its key has a slash more');
  await kernel.writeFile(`${place}/${'f'.repeat(22)}`, '');
  t.equal(store.keys().length, 3);
});

t.test('N5 keys that cannot be shown', async t => {
  const fs = makeFileSystem();
  const lines = withLog(fs.counters);
  for (const key of ['ok', 'a//b', './x', '../y', 'n'.repeat(300), 'z\0z']) fs.store.putForeign(key, 'x');
  for (let i = 0; i < 50; i++) fs.store.putForeign(`many/${'n'.repeat(300)}${i}`, 'x');
  t.same(await fs.kernel.names('/'), ['a', 'many', 'ok']);
  t.same(await fs.kernel.names('/a'), []);
  t.ok(lines.some(line => line.includes('no filesystem can show')));
  await fs.kernel.names('/many');
  t.ok(lines.length <= 22, `${lines.length} lines`);
});

t.test('N6 all kinds of directories', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('prefix/file', 'x');
  store.putForeign('slash/', '');
  store.putForeign('hadoop_$folder$', '');
  store.putForeign('typed', '', { contentType: 'application/x-directory' });
  for (const name of ['prefix', 'slash', 'hadoop', 'typed']) {
    t.equal((await kernel.stat(`/${name}`)).mode & 0o170000, 0o040000, name);
  }
});

t.test('N7 a key that is a prefix too', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('both', 'file');
  store.putForeign('both/inner', 'x');
  t.same(await kernel.names('/'), ['both']);
  t.equal((await kernel.stat('/both')).mode & 0o170000, 0o040000);
  t.same(await kernel.names('/both'), ['inner']);
});

t.test('N8 the reserved name', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('_s3mount/unlinked/somewhere/x', 'x');
  t.same(await kernel.names('/'), []);
  t.notOk(await kernel.exists('/_s3mount'));
  t.equal(await errnoOf(kernel.mkdir('/_s3mount')), 'EACCES');
  t.equal(await errnoOf(kernel.writeFile('/_s3mount', '')), 'EACCES');
  await kernel.mkdir('/d');
  await kernel.mkdir('/d/_s3mount');
});

t.test('N9 order of entries', async t => {
  const { kernel, store } = makeFileSystem();
  const names = ['a-b', 'a', 'a0', '😀', 'ﾠ', 'Z'];
  for (const name of names) store.putForeign(name === 'a' ? 'a/inner' : name, 'x');
  const expected = [...names, 'many'].sort((x, y) => Buffer.compare(Buffer.from(`${x}/`), Buffer.from(`${y}/`)));
  for (let i = 0; i < 2500; i++) store.putForeign(`many/${i}`, '');
  t.same(await kernel.names('/'), expected);
  t.equal(new Set(await kernel.names('/many')).size, 2500);
});

t.test('N10 inode numbers', async t => {
  const fs = makeFileSystem();
  fs.store.putForeign('d/f', 'x');
  const { ino } = await fs.kernel.stat('/d/f');
  t.not((await fs.kernel.stat('/d')).ino, ino);
  t.equal((await fs.remount().kernel.stat('/d/f')).ino, ino);
  const open = await fs.kernel.open('/d/f', O_RDONLY);
  await fs.kernel.rename('/d/f', '/g');
  t.equal((await fs.kernel.stat('/g')).ino, ino);
  await fs.kernel.close(open);
  await fs.kernel.rename('/g', '/d/g');
  await fs.kernel.rename('/d', '/e');
  t.equal((await fs.kernel.stat('/e/g')).ino, ino, 'also below a renamed directory');
  await fs.kernel.mkdir('/d');
  await fs.kernel.writeFile('/d/f', 'y');
  t.not((await fs.kernel.stat('/d/f')).ino, ino, 'a new file under the old name is another file');
});

t.test('R1 one version, or ESTALE', async t => {
  const { kernel, store } = makeFileSystem();
  const size = 4_000_000;
  store.putForeign('f', Buffer.alloc(size, 'a'));
  const open = await kernel.open('/f', O_RDONLY);
  t.equal(String(await kernel.read(open, 0, 1)), 'a');
  store.putForeign('f', Buffer.alloc(size, 'b'));
  t.equal(await errnoOf(kernel.read(open, size - 10, 10)), 'ESTALE');
  const again = await kernel.open('/f', O_RDONLY);
  t.equal(String(await kernel.read(again, size - 1, 1)), 'b');
  store.deleteForeign('f');
  t.equal(await errnoOf(kernel.read(again, 2_000_000, 10)), 'ESTALE');
});

t.test('R2 read again without a request', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', Buffer.alloc(700_000, 'a'));
  await kernel.readFile('/f');
  store.resetCalls();
  t.equal((await kernel.readFile('/f')).length, 700_000);
  t.equal(store.count(), 0);
});

t.test('R3 archived objects', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('cold', 'frozen', { storageClass: 'GLACIER' });
  t.same(await kernel.names('/'), ['cold']);
  t.equal((await kernel.stat('/cold')).size, 6);
  t.equal(await errnoOf(kernel.readFile('/cold')), 'EACCES');
  const { mode } = await kernel.stat('/cold');
  t.equal(await errnoOf(kernel.setattr('/cold', { mode: 0o777 })), 'EACCES');
  t.equal(await errnoOf(kernel.setxattr('/cold', 'user.x', Buffer.from('y'))), 'EACCES');
  t.equal(await errnoOf(kernel.rename('/cold', '/colder')), 'EACCES');
  t.equal((await kernel.stat('/cold')).mode, mode, 'and nothing is pretended');
  t.same(store.keys(), ['cold']);
});

t.test('R4 what a read fetches', async t => {
  const { kernel, store, clock } = makeFileSystem();
  const block = 128 * 1024;
  store.putForeign('f', Buffer.alloc(100 * block, 'a'));
  const open = await kernel.open('/f', O_RDONLY);
  await clock.advance(0);
  const fetched = (): number =>
    store.calls.filter(call => call.operation === 'GetObject').reduce((sum, call) => sum + (call.bytes ?? 0), 0);
  store.resetCalls();
  await kernel.read(open, 50 * block + 100, 4096);
  t.equal(fetched(), block, 'random');
  for (let i = 0; i < 20; i++) await kernel.read(open, i * block, block);
  t.ok(fetched() > 24 * block, 'sequential: more than was asked for');
});
