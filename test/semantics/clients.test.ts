/** Several clients, read-only mounts, errors: one test for each statement of docs/SEMANTICS.md, named by it. */
import t from 'tap';
import { StoreError, type StoreErrorKind, toFsError } from '../../src/errors.ts';
import { makeFileSystem } from '../support/filesystem.ts';
import { errnoOf, O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, withLog } from './support.ts';

t.test('C1 stat and ls after the TTL', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('f', 'one');
  t.same(await kernel.names('/'), ['f']);
  t.equal((await kernel.stat('/f')).size, 3);
  store.putForeign('f', 'three');
  store.putForeign('g', 'new');
  await clock.advance(9_900);
  t.equal((await kernel.stat('/f')).size, 3);
  t.notOk(await kernel.exists('/g'));
  await clock.advance(200);
  t.equal((await kernel.stat('/f')).size, 5);
  t.same(await kernel.names('/'), ['f', 'g']);
});

t.test('C2 open', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('f', 'one');
  t.equal(String(await kernel.readFile('/f')), 'one');
  store.putForeign('f', 'three');
  await clock.advance(900);
  t.equal(String(await kernel.readFile('/f')), 'one', 'checked a moment ago');
  await clock.advance(200);
  t.equal(String(await kernel.readFile('/f')), 'three', 'though stat holds for ten seconds');
  const strict = makeFileSystem({ options: { openCheck: 0 } });
  strict.store.putForeign('f', 'one');
  t.equal(String(await strict.kernel.readFile('/f')), 'one');
  strict.store.putForeign('f', 'three');
  t.equal(String(await strict.kernel.readFile('/f')), 'three', 'open_check=0');
});

t.test('C3 changed while open here', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.putForeign('f', 'one');
  const open = await kernel.open('/f', O_RDONLY);
  t.equal(String(await kernel.read(open, 0, 10)), 'one');
  const { ino } = await kernel.stat('/f');
  store.putForeign('f', 'three');
  await clock.advance(11_000);
  const now = await kernel.stat('/f');
  t.same([now.size, now.ino], [5, ino]);
  t.equal(String(await kernel.read(open, 0, 10)), 'one');
  t.equal(String(await kernel.readFile('/f')), 'three');
  await kernel.close(open);
});

t.test('C4 a save over a change of others', async t => {
  const fs = makeFileSystem();
  const { kernel, store } = fs;
  await kernel.writeFile('/d.csv', 'base');
  const open = await kernel.open('/d.csv', O_RDWR | O_APPEND);
  await kernel.write(open, 0, Buffer.from(' ours'));
  store.putForeign('d.csv', 'theirs');
  t.equal(await errnoOf(kernel.fsync(open)), 'ESTALE');
  const copy = store.keys().find(key => /^_conflict\.testhost\.\d{8}T\d{6}Z\.d\.csv$/.test(key));
  t.ok(copy);
  t.same([store.text('d.csv'), store.text(copy!)], ['theirs', 'base ours']);
  await kernel.write(open, 0, Buffer.from(' more'));
  t.equal(await errnoOf(kernel.close(open)), undefined, 'once');
  t.same([store.text('d.csv'), store.text(copy!)], ['theirs', 'base ours more']);
  t.equal(String(await kernel.readFile('/d.csv')), 'theirs');
});

t.test('C5 a new name that others took', async t => {
  const { kernel, store } = makeFileSystem();
  const open = await kernel.open('/f', O_WRONLY | O_CREAT);
  await kernel.write(open, 0, Buffer.from('ours'));
  store.putForeign('f', 'theirs');
  t.equal(await errnoOf(kernel.close(open)), 'ESTALE');
  t.equal(store.text('f'), 'theirs');
  t.same(
    store
      .keys()
      .filter(key => key !== 'f')
      .map(key => store.text(key)),
    ['ours'],
  );
});

t.test('C6 deleted by others while changed here', async t => {
  const fs = makeFileSystem();
  const lines = withLog(fs.counters);
  await fs.kernel.writeFile('/f', 'base');
  const open = await fs.kernel.open('/f', O_WRONLY | O_TRUNC);
  await fs.kernel.write(open, 0, Buffer.from('ours'));
  fs.store.deleteForeign('f');
  t.equal(await errnoOf(fs.kernel.close(open)), undefined);
  t.equal(fs.store.text('f'), 'ours');
  t.ok(lines.some(line => line.includes('deleted by another client')));
});

t.test('C6 deleted by others after it was renamed over what they had, before its first save', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', 'old');
  await kernel.stat('/f');
  const open = await kernel.open('/new', O_WRONLY | O_CREAT);
  await kernel.write(open, 0, Buffer.from('new content'));
  await kernel.rename('/new', '/f');
  store.deleteForeign('f');
  t.equal(await errnoOf(kernel.close(open)), undefined);
  t.same([store.keys(), store.text('f')], [['f'], 'new content']);
});

t.test('C7 unlink is unconditional, the end of a rename is not', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/f', 'ours');
  store.putForeign('f', 'theirs');
  await kernel.unlink('/f');
  t.same(store.keys(), []);
  await kernel.writeFile('/a', 'ours');
  await kernel.mkdir('/d');
  await kernel.writeFile('/d/a', 'ours');
  const undo = store.intercept(async ({ operation, key }, proceed) => {
    if (operation === 'DeleteObject') store.putForeign(key, 'theirs');
    return proceed();
  });
  await kernel.rename('/a', '/b');
  undo();
  t.same([store.text('a'), store.text('b')], ['theirs', 'ours']);
  let copied = false;
  store.intercept(async ({ operation }, proceed) => {
    if (operation === 'ListObjectsV2' && copied) store.putForeign('d/a', 'theirs');
    const answer = await proceed();
    copied ||= operation === 'CopyObject';
    return answer;
  });
  await kernel.rename('/d', '/e');
  t.same([store.text('d/a'), store.text('e/a')], ['theirs', 'ours']);
});

t.test('E4 read-only', async t => {
  const { kernel, store } = makeFileSystem({ options: { readOnly: true } });
  store.putForeign('d/f', 'x');
  const changes: Readonly<Record<string, () => Promise<unknown>>> = {
    create: () => kernel.writeFile('/new', 'x'),
    write: () => kernel.open('/d/f', O_WRONLY),
    mkdir: () => kernel.mkdir('/new'),
    symlink: () => kernel.symlink('x', '/new'),
    unlink: () => kernel.unlink('/d/f'),
    rmdir: () => kernel.rmdir('/d'),
    rename: () => kernel.rename('/d/f', '/g'),
    chmod: () => kernel.setattr('/d/f', { mode: 0o600 }),
    truncate: () => kernel.setattr('/d/f', { size: 0 }),
    setxattr: () => kernel.setxattr('/d/f', 'user.a', Buffer.from('1')),
  };
  for (const [name, change] of Object.entries(changes)) t.equal(await errnoOf(change()), 'EROFS', name);
  t.equal(String(await kernel.readFile('/d/f')), 'x');
  t.same(store.keys(), ['d/f']);
});

t.test('X1 errno by what S3 says', async t => {
  const expected: Readonly<Record<StoreErrorKind, string>> = {
    'not-found': 'ENOENT',
    'precondition-failed': 'ESTALE',
    conflict: 'EBUSY',
    forbidden: 'EACCES',
    archived: 'EACCES',
    'too-large': 'EFBIG',
    'no-space': 'ENOSPC',
    invalid: 'EINVAL',
    'not-implemented': 'EOPNOTSUPP',
    aborted: 'EINTR',
    timeout: 'ETIMEDOUT',
    'no-such-bucket': 'EIO',
    'no-such-upload': 'EIO',
    range: 'EIO',
    unavailable: 'EIO',
    corrupt: 'EIO',
  };
  for (const [kind, code] of Object.entries(expected)) {
    t.equal(toFsError(new StoreError(kind as StoreErrorKind, 'said'))?.code, code, kind);
  }
});
