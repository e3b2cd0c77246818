import t, { type Test } from 'tap';
import { Counters, silentTelemetry } from '../../src/telemetry.ts';
import { makeFileSystem } from '../support/filesystem.ts';

const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;

const rejectsWith = async (t: Test, work: Promise<unknown>, code: string): Promise<void> => {
  await t.rejects(work, { code }, code);
};

t.test('a new file is one PUT, conditional, with its metadata', async t => {
  const { kernel, store } = makeFileSystem();
  // The root's own object is asked for once.
  await kernel.stat('/');
  store.resetCalls();
  await kernel.writeFile('/a.csv', 'hello');
  t.equal(store.text('a.csv'), 'hello');
  t.same(
    store.calls.filter(call => call.operation !== 'ListObjectsV2').map(call => [call.operation, call.condition]),
    [['PutObject', { ifAbsent: true }]],
  );
  const info = store.info('a.csv')!;
  t.equal(info.description.headers.contentType, 'text/csv');
  t.equal(info.description.metadata['mode'], '33188');
  t.equal(info.description.metadata['uid'], '1000');
});

t.test('what is written is visible before it is saved', async t => {
  const { kernel, store } = makeFileSystem();
  const writer = await kernel.open('/log', O_WRONLY | O_CREAT);
  await kernel.write(writer, 0, Buffer.from('abc'));
  t.equal((await kernel.stat('/log')).size, 3);
  t.same(await kernel.names('/'), ['log']);
  t.equal(String(await kernel.readFile('/log')), 'abc');
  t.equal(store.text('log'), undefined);
  await kernel.close(writer);
  t.equal(store.text('log'), 'abc');
});

t.test('append and overwrite in the middle, remount, same bytes and times', async t => {
  const fs = makeFileSystem();
  await fs.kernel.writeFile('/f', 'hello world');
  const append = await fs.kernel.open('/f', O_WRONLY | O_APPEND);
  await fs.kernel.write(append, 0, Buffer.from('!!'));
  await fs.kernel.close(append);
  const middle = await fs.kernel.open('/f', O_RDWR);
  await fs.kernel.write(middle, 6, Buffer.from('WORLD'));
  t.equal(String(await fs.kernel.read(middle, 0, 100)), 'hello WORLD!!');
  await fs.kernel.close(middle);
  t.equal(fs.store.text('f'), 'hello WORLD!!');
  const before = await fs.kernel.stat('/f');
  await fs.clock.advance(20_000);
  const after = await fs.remount().kernel.stat('/f');
  t.same([after.mtime, after.mode, after.uid, after.ino], [before.mtime, before.mode, before.uid, before.ino]);
});

t.test('truncate by path is saved at once, O_TRUNC at close', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/f', 'hello world');
  await kernel.setattr('/f', { size: 5 });
  t.equal(store.text('f'), 'hello');
  await kernel.setattr('/f', { size: 8 });
  t.equal(store.text('f'), 'hello\0\0\0');
  const open = await kernel.open('/f', O_WRONLY | O_TRUNC);
  await kernel.close(open);
  t.equal(store.text('f'), '');
});

t.test('directories: mkdir, rmdir, not empty told truly', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.mkdir('/d');
  t.same(store.keys(), ['d/']);
  t.equal((await kernel.stat('/d')).mode, 0o40755);
  await kernel.writeFile('/d/f', 'x');
  await rejectsWith(t, kernel.rmdir('/d'), 'ENOTEMPTY');
  await kernel.unlink('/d/f');
  store.putForeign('d/other', 'y');
  await rejectsWith(t, kernel.rename('/d', '/d/x'), 'EINVAL');
  await rejectsWith(t, kernel.rmdir('/d'), 'ENOTEMPTY');
});

t.test('every style of directory marker', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('marked/', '');
  store.putForeign('implicit/file', 'x');
  store.putForeign('hadoop_$folder$', '');
  store.putForeign('typed', '', { contentType: 'application/x-directory' });
  store.putForeign('both', 'file');
  store.putForeign('both/inner', 'y');
  for (const name of ['marked', 'implicit', 'hadoop', 'typed', 'both']) {
    t.equal((await kernel.stat(`/${name}`)).mode & 0o170000, 0o40000, name);
  }
  t.same(await kernel.names('/'), ['both', 'hadoop', 'implicit', 'marked', 'typed']);
  t.same(await kernel.names('/both'), ['inner']);
});

t.test('keys that cannot be shown are left out', async t => {
  const { kernel, store } = makeFileSystem();
  for (const key of ['ok', 'a//b', './x', '../y', 'n'.repeat(300), 'z\0z']) store.putForeign(key, 'x');
  t.same(await kernel.names('/'), ['a', 'ok']);
  t.same(await kernel.names('/a'), []);
});

t.test('a listing of many pages comes complete and in order, dirs shadowing files', async t => {
  const { kernel, store } = makeFileSystem();
  for (let i = 0; i < 2500; i++) store.putForeign(`d/${String(i).padStart(5, '0')}`, 'x');
  for (let i = 0; i < 1200; i++) store.putForeign(`d/00500-${String(i).padStart(5, '0')}`, 'x');
  store.putForeign('d/00500/inner', 'x');
  const entries = await kernel.readdir('/d', { plus: true, atOnce: 7 });
  t.equal(entries.length, 3700);
  t.equal(new Set(entries.map(entry => entry.name)).size, 3700);
  t.equal(entries.find(entry => entry.name === '00500')?.type, 4);
});

t.test('unlink, also of an open file', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/f', 'hello');
  const open = await kernel.open('/f', O_RDWR);
  await kernel.unlink('/f');
  t.same(store.keys(), []);
  t.notOk(await kernel.exists('/f'));
  t.equal(String(await kernel.read(open, 0, 10)), 'hello');
  await kernel.write(open, 5, Buffer.from('!'));
  t.equal(String(await kernel.read(open, 0, 10)), 'hello!');
  await kernel.close(open);
  t.same(store.keys(), [], 'a file without a name is not saved');
});

t.test('rename of a file, over another, open', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/a', 'A');
  await kernel.writeFile('/b', 'B');
  const open = await kernel.open('/a', O_RDWR);
  await kernel.rename('/a', '/b');
  t.same(store.keys(), ['b']);
  t.equal(store.text('b'), 'A');
  await kernel.write(open, 1, Buffer.from('2'));
  await kernel.close(open);
  t.equal(store.text('b'), 'A2');
  await rejectsWith(t, kernel.stat('/a'), 'ENOENT');
  t.equal((await kernel.stat('/b')).size, 2);
});

t.test('rename of a file that was never saved', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/old', 'old');
  const open = await kernel.open('/tmp1', O_WRONLY | O_CREAT);
  await kernel.write(open, 0, Buffer.from('new'));
  await kernel.rename('/tmp1', '/old');
  t.equal(String(await kernel.readFile('/old')), 'new');
  await kernel.close(open);
  t.same(store.keys(), ['old']);
  t.equal(store.text('old'), 'new');
});

t.test('exchange', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/a', 'A');
  await kernel.writeFile('/b', 'BB');
  await kernel.rename('/a', '/b', 2);
  t.same([store.text('a'), store.text('b')], ['BB', 'A']);
  t.equal(String(await kernel.readFile('/a')), 'BB');
  t.equal(String(await kernel.readFile('/b')), 'A');
  t.same(store.keys(), ['a', 'b']);
});

t.test('rename over what had replaced a saved file and was never saved itself', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/b', 'old');
  await kernel.writeFile('/c', 'new');
  const never = await kernel.open('/a', O_WRONLY | O_CREAT);
  await kernel.write(never, 0, Buffer.from('unsaved'));
  await kernel.rename('/a', '/b');
  await kernel.rename('/c', '/b');
  await kernel.close(never);
  t.same(store.keys(), ['b'], 'no copy of a conflict: the old version was our own');
  t.equal(Buffer.from(await kernel.readFile('/b')).toString(), 'new');
});

t.test('rename of a directory with everything below', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.mkdir('/d');
  await kernel.mkdir('/d/e');
  await kernel.writeFile('/d/f', '1');
  await kernel.writeFile('/d/e/g', '2');
  const open = await kernel.open('/d/e/g', O_RDWR);
  await kernel.rename('/d', '/n');
  t.same(store.keys(), ['n/', 'n/e/', 'n/e/g', 'n/f']);
  await kernel.write(open, 1, Buffer.from('!'));
  await kernel.close(open);
  t.equal(store.text('n/e/g'), '2!');
  t.same(await kernel.names('/n'), ['e', 'f']);
  t.equal(String(await kernel.readFile('/n/f')), '1');
  t.notOk(await kernel.exists('/d'));
});

t.test('chmod, chown, utimens in a row are one copy; nothing changed, no request', async t => {
  const { kernel, store, clock } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  store.resetCalls();
  await kernel.setattr('/f', { mode: 0o600 });
  await kernel.setattr('/f', { uid: 7, gid: 8 });
  await kernel.setattr('/f', { mtime: { sec: 5, nsec: 6 } });
  await clock.advance(1000);
  t.equal(store.count('CopyObject'), 1);
  t.equal(store.count(), 1);
  await kernel.setattr('/f', { mode: 0o600, uid: 7, gid: 8 });
  await clock.advance(1000);
  t.equal(store.count('CopyObject'), 1);
  const { metadata } = store.info('f')!.description;
  t.match(metadata, { mode: '33152', uid: '7', gid: '8', mtime: '5.000000006' });
});

t.test('symlinks', async t => {
  const fs = makeFileSystem();
  await fs.kernel.symlink('target/한', '/l');
  t.equal(await fs.kernel.readlink('/l'), 'target/한');
  await fs.clock.advance(30_000);
  t.equal(await fs.remount().kernel.readlink('/l'), 'target/한');
  t.equal(fs.store.text('l'), 'target/한');
});

t.test('a foreign change is seen after the TTL, by open always', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('f', 'one');
  t.equal(String(await kernel.readFile('/f')), 'one');
  await clock.advance(1500);
  store.putForeign('f', 'three');
  t.equal((await kernel.stat('/f')).size, 3, 'within the TTL');
  t.equal(String(await kernel.readFile('/f')), 'three', 'open looks');
  store.putForeign('f', 'again!!');
  await clock.advance(500);
  t.equal(String(await kernel.readFile('/f')), 'three', 'checked within a second');
  await clock.advance(10_500);
  t.equal((await kernel.stat('/f')).size, 7);
});

t.test('a reader of the old version gets ESTALE, never a mix', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('f', Buffer.alloc(8_000_000, 'a'));
  const open = await kernel.open('/f', 0);
  await kernel.read(open, 0, 1000);
  store.putForeign('f', Buffer.alloc(8_000_000, 'b'));
  await clock.advance(20_000);
  t.equal((await kernel.stat('/f')).size, 8_000_000);
  const far = await kernel.read(open, 7_900_000, 1000).catch(error => error);
  t.equal(far.code ?? String(far.subarray(0, 1)), 'ESTALE');
  const again = await kernel.open('/f', 0);
  t.equal(String(await kernel.read(again, 7_900_000, 1)), 'b');
});

t.test('a conflict keeps both', async t => {
  const errors: string[] = [];
  const log = { ...silentTelemetry.log, error: (_fields: object, message: string) => errors.push(message) };
  const { kernel, store } = makeFileSystem({ telemetry: new Counters(log) });
  await kernel.writeFile('/f', 'base');
  const open = await kernel.open('/f', O_WRONLY | O_TRUNC);
  await kernel.write(open, 0, Buffer.from('ours'));
  store.putForeign('f', 'theirs');
  await rejectsWith(t, kernel.close(open), 'ESTALE');
  t.equal(store.text('f'), 'theirs');
  const copy = store.keys().find(key => key.startsWith('_conflict.testhost.'))!;
  t.equal(store.text(copy), 'ours');
  t.equal(String(await kernel.readFile('/f')), 'theirs');
  t.same(errors, [], 'everything is saved: the log does not say that bytes are left');
});

t.test('an emptied implicit directory stays', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('d/f', 'x');
  await kernel.unlink('/d/f');
  t.same(await kernel.names('/'), ['d']);
  await clock.advance(2000);
  t.same(store.keys(), ['d/']);
  await kernel.rmdir('/d');
  t.same(store.keys(), []);
});

t.test('names', async t => {
  const { kernel } = makeFileSystem();
  await rejectsWith(t, kernel.writeFile(`/${'x'.repeat(256)}`, ''), 'ENAMETOOLONG');
  let deep = '';
  for (let i = 0; i < 4; i++) {
    deep += `/${'d'.repeat(250)}`;
    await kernel.mkdir(deep);
  }
  await rejectsWith(t, kernel.writeFile(`${deep}/${'f'.repeat(50)}`, ''), 'ENAMETOOLONG');
  const nfc = '한글';
  const nfd = nfc.normalize('NFD');
  await kernel.writeFile(`/${nfc}`, '1');
  await kernel.writeFile(`/${nfd}`, '2');
  t.equal(String(await kernel.readFile(`/${nfc}`)), '1');
  t.equal(String(await kernel.readFile(`/${nfd}`)), '2');
});

t.test('a failed save is reported, kept, readable, and tried again', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.failNext('PutObject', 'unavailable');
  await t.rejects(kernel.writeFile('/f', 'bytes'));
  t.equal(String(await kernel.readFile('/f')), 'bytes');
  await clock.advance(5000);
  t.equal(store.text('f'), 'bytes');
});

t.test('xattrs', async t => {
  const fs = makeFileSystem();
  await fs.kernel.writeFile('/f', 'x');
  await fs.kernel.setxattr('/f', 'user.k', Buffer.from('v'));
  await fs.clock.advance(100);
  await fs.clock.advance(20_000);
  t.equal(String(await fs.remount().kernel.getxattr('/f', 'user.k')), 'v');
  await rejectsWith(t, fs.kernel.setxattr('/f', 'user.big', Buffer.alloc(3000)), 'ENOSPC');
  t.equal(fs.store.text('f'), 'x');
});

t.test('after ESTALE the next try meets what is there now, also while the listing still holds', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', 'one');
  store.putForeign('g', 'one');
  await kernel.names('/');
  t.equal((await kernel.stat('/f')).size, 3);
  t.equal((await kernel.stat('/g')).size, 3);
  store.putForeign('f', 'three');
  await rejectsWith(t, kernel.rename('/f', '/h'), 'ESTALE');
  await kernel.rename('/f', '/h');
  t.equal(store.text('h'), 'three');
  store.putForeign('g', 'five!');
  const open = await kernel.open('/g', 0);
  await rejectsWith(t, kernel.read(open, 0, 3), 'ESTALE');
  t.equal(String(await kernel.readFile('/g')), 'five!');
});

t.test('a directory keeps the time of what was made in it, while the kernel holds it', async t => {
  const { kernel, clock } = makeFileSystem();
  await kernel.mkdir('/d');
  const made = (await kernel.stat('/d')).mtime;
  await kernel.writeFile('/d/f', 'x');
  const open = await kernel.open('/d/f', 0);
  await clock.advance(5000);
  await kernel.writeFile('/d/g', 'x');
  const { mtime } = await kernel.stat('/d');
  t.equal(mtime.sec, made.sec + 5);
  await clock.advance(30_000);
  t.same(await kernel.names('/d'), ['f', 'g']);
  t.same((await kernel.stat('/d')).mtime, mtime);
  await kernel.close(open);
});

t.test('fstat of a large file that only a listing has told of shows its own attributes', async t => {
  const fs = makeFileSystem();
  await fs.kernel.writeFile('/f', Buffer.alloc(5000));
  await fs.kernel.setattr('/f', { mode: 0o604, mtime: { sec: 5, nsec: 6 } });
  await fs.clock.advance(100_000);
  const { kernel, filesystem, clock } = fs.remount();
  const open = await kernel.open('/f', 0);
  for (let i = 0; i < 3; i++) {
    const { attributes } = await filesystem.getattr(open.nodeid, undefined, kernel.ctx);
    t.same([attributes.mode, attributes.mtime], [0o100604, { sec: 5, nsec: 6 }]);
    await clock.advance(20_000);
    await kernel.names('/');
    await kernel.exists('/f');
  }
  await kernel.close(open);
});

t.test('a file that is being fetched ahead is not fetched again by its open', async t => {
  const { kernel, store, clock } = makeFileSystem();
  const names = Array.from({ length: 12 }, (_, i) => `f${String(i).padStart(2, '0')}`);
  for (const name of names) store.putForeign(`d/${name}`, Buffer.alloc(10_000, name));
  for (const name of names.slice(0, 4)) await kernel.readFile(`/d/${name}`);
  // GETs are under way ahead of the reader while the listing grows too old for an open to believe it.
  const hold = store.hold('GetObject');
  const next = kernel.readFile(`/d/${names[4]}`);
  await hold.reached;
  await clock.advance(1500);
  const rest = names.slice(5).map(name => kernel.readFile(`/d/${name}`));
  await clock.advance(0);
  hold.release();
  const contents = await Promise.all([next, ...rest]);
  t.same(
    contents.map(bytes => String(bytes.subarray(0, 3))),
    names.slice(4),
  );
  t.equal(store.count('GetObject'), names.length);
});

t.test('names of a large directory that have passed by in a listing are not asked for one by one', async t => {
  const { kernel, store, clock } = makeFileSystem();
  for (let i = 0; i < 3500; i++) store.putForeign(`d/${String(i).padStart(5, '0')}`, Buffer.alloc(5000));
  // As the kernel does, something below keeps the directory known.
  const open = await kernel.open('/d/00000', 0);
  const names: string[] = [];
  for (const { name } of await kernel.readdir('/d', { plus: true, atOnce: 100 })) names.push(name);
  t.equal(names.length, 3500);
  store.resetCalls();
  for (const name of names.slice(0, 200)) t.equal((await kernel.stat(`/d/${name}`)).size, 5000);
  t.equal(store.count('ListObjectsV2'), 0);
  await clock.advance(30_000);
  t.ok(await kernel.exists(`/d/${names[3400]}`), 'later it is asked for');
  await kernel.close(open);
});

t.test('stat of names while a large directory is being read needs no LIST for each', async t => {
  const { kernel, store } = makeFileSystem({ options: { stat: 'list' } });
  for (let i = 0; i < 2500; i++) store.putForeign(`d/${String(i).padStart(5, '0')}`, 'x');
  let asked = 0;
  const entries = await kernel.readdir('/d', {
    atOnce: 500,
    each: async name => {
      if (asked++ % 100 === 0) await kernel.stat(`/d/${name}`);
    },
  });
  t.equal(entries.length, 2500);
  t.equal(store.count('HeadObject'), 0);
  t.ok(store.count('ListObjectsV2') <= 5, `${store.count('ListObjectsV2')} LISTs`);
});

t.test('with stat=list an attribute that is not there is told at once, without a request', async t => {
  const { filesystem, kernel, store } = makeFileSystem({ options: { stat: 'list' } });
  store.putForeign('f', 'x');
  const { nodeid } = await filesystem.lookup(1, 'f', kernel.ctx);
  store.resetCalls();
  t.throws(() => filesystem.getxattr(nodeid, 'security.capability', kernel.ctx), { code: 'ENODATA' });
  t.same(store.calls, []);
});

t.test('rm -r: whether a directory is empty is asked beside the last delete, and rmdir waits for no LIST', async t => {
  const { kernel, store, clock, filesystem } = makeFileSystem();
  for (const name of ['a', 'b']) store.putForeign(`d/${name}`, 'x');
  store.putForeign('d/', '', { metadata: { mode: '16877' } });
  const { nodeid } = await filesystem.lookup(1, 'd', kernel.ctx);
  const { fh } = await filesystem.opendir(nodeid, 0, kernel.ctx);
  await kernel.names('/d');
  await kernel.unlink('/d/a');
  await clock.advance(5000);
  store.resetCalls();
  const hold = store.hold('DeleteObject');
  const last = filesystem.unlink(nodeid, 'b', kernel.ctx);
  await hold.reached;
  t.equal(store.calls.filter(({ list }) => list?.prefix === 'd/').length, 1, 'beside the delete');
  hold.release();
  await last;
  await filesystem.releasedir(nodeid, fh);
  await filesystem.rmdir(1, 'd', kernel.ctx);
  t.equal(store.calls.filter(({ list }) => list?.prefix === 'd/').length, 1, 'and not again');
  t.same(store.keys(), []);
});

t.test('rmdir after the last unlink sees what others put there meanwhile', async t => {
  const { kernel, store, clock, filesystem } = makeFileSystem();
  store.putForeign('d/a', 'x');
  const { nodeid } = await filesystem.lookup(1, 'd', kernel.ctx);
  await filesystem.opendir(nodeid, 0, kernel.ctx);
  await kernel.names('/d');
  await clock.advance(5000);
  store.putForeign('d/theirs', 'x');
  await filesystem.unlink(nodeid, 'a', kernel.ctx);
  await t.rejects(filesystem.rmdir(1, 'd', kernel.ctx), { code: 'ENOTEMPTY' });
  t.same(store.keys(), ['d/theirs']);
});

t.test('the last file of a directory that nobody has open is deleted by one request', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('d/', '', { metadata: { mode: '16877' } });
  store.putForeign('d/lock', 'x');
  await kernel.open('/d/lock', 0);
  await kernel.names('/d');
  await clock.advance(5000);
  store.resetCalls();
  await kernel.unlink('/d/lock');
  t.equal(store.count('DeleteObject'), 1);
  t.equal(store.count('ListObjectsV2'), 0);
});

t.test('a file that is only read: neither a promise nor a flush, once it is known', async t => {
  const { kernel, store, filesystem } = makeFileSystem();
  store.putForeign('f', 'theirs');
  t.equal(String(await kernel.readFile('/f')), 'theirs');
  const { nodeid } = await filesystem.lookup(1, 'f', kernel.ctx);
  const opened = filesystem.open(nodeid, 0, kernel.ctx);
  if (opened instanceof Promise) return t.fail('the open waited for something');
  t.equal(opened.noFlush, true);
  const read = filesystem.read(nodeid, opened.fh, 0, 100, kernel.ctx);
  t.notOk(read instanceof Promise);
  (await read).release?.();
  t.equal(filesystem.release(nodeid, opened.fh), undefined);
  const writer = await filesystem.open(nodeid, O_RDWR, kernel.ctx);
  t.equal(writer.noFlush, false);
  await filesystem.release(nodeid, writer.fh);
});

t.test('a reader waits for bytes that a writer replaces meanwhile: it gets the new ones', async t => {
  const { kernel, store } = makeFileSystem();
  const size = 3 * 1024 * 1024;
  store.putForeign('f', Buffer.alloc(size, 'a'));
  const reader = await kernel.open('/f', 0);
  const held = store.hold('GetObject', 'f');
  const reading = kernel.read(reader, size - 4096, 4096);
  await held.reached;
  await kernel.writeFile('/f', Buffer.alloc(size, 'b'));
  held.release();
  t.equal(String(await reading), 'b'.repeat(4096));
  await kernel.close(reader);
});

t.test('our own copy of metadata, which S3 has done and not answered yet, is nobody else’s change', async t => {
  const { filesystem, kernel, store, clock } = makeFileSystem();
  // In parts, so that a copy has another ETag, as each has that is encrypted by KMS.
  const upload = await store.beginUpload('f', { headers: {}, metadata: {} });
  await upload.complete([await upload.putPart(1, [Buffer.from('text')])], undefined);
  const opened = await kernel.open('/f', 0);
  const { nodeid } = await filesystem.lookup(1, 'f', kernel.ctx);
  await kernel.setattr('/f', { mode: 0o600 });
  let answer!: () => void;
  const answered = new Promise<void>(resolve => {
    answer = resolve;
  });
  const undo = store.intercept(async ({ operation, key }, proceed) => {
    const result = await proceed();
    if (operation === 'CopyObject' && key === 'f') await answered;
    return result;
  });
  await clock.advance(100);
  const source = await filesystem.open(nodeid, 0, kernel.ctx);
  const target = await filesystem.create(1, 'copy', 0o644, O_WRONLY, kernel.ctx);
  const from = { fh: source.fh, offset: 0 };
  t.equal(await filesystem.copyFileRange(from, { fh: target.open.fh, offset: 0 }, 4, 0, kernel.ctx), 4);
  const closing = filesystem.flush(target.entry.nodeid, target.open.fh, kernel.ctx);
  const reading = kernel.read(opened, 0, 4);
  await clock.advance(100);
  answer();
  await clock.advance(100);
  await closing;
  t.equal(store.text('copy'), 'text', 'a copy on the server is told the ETag that it has now');
  t.equal(String(await reading), 'text', 'and so is a reader');
  undo();
});
