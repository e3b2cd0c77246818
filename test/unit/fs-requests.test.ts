/** What changes of files cost in requests, at the least. */
import t from 'tap';
import { makeFileSystem } from '../support/filesystem.ts';

const O_WRONLY = 1;
const O_APPEND = 0o2000;

const described = { metadata: { mode: '33188', mtime: '5', uid: '0', gid: '0' } };

t.test('an append to a small file that nobody has looked at is one GET and one PUT', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', Buffer.alloc(10_000, 1), described);
  const file = await kernel.open('/f', O_WRONLY | O_APPEND);
  await kernel.write(file, 10_000, Buffer.from('x'));
  await kernel.close(file);
  t.same(
    store.calls.filter(({ key }) => key === 'f').map(({ operation }) => operation),
    ['GetObject', 'PutObject'],
  );
  t.equal(store.info('f')?.description.metadata['mode'], '33188');
  store.resetCalls();
  const again = await kernel.open('/f', O_WRONLY | O_APPEND);
  await kernel.write(again, 10_001, Buffer.from('x'));
  await kernel.close(again);
  t.same(
    store.calls.map(({ operation }) => operation),
    ['PutObject'],
    'the next one is only sent',
  );
});

t.test('a rename is a copy and a delete, of what is known', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', Buffer.alloc(10_000, 1), described);
  store.putForeign('g', Buffer.alloc(10_000, 1), described);
  await kernel.rename('/f', '/f2');
  t.same(
    store.calls.filter(({ key }) => key.startsWith('f')).map(({ operation }) => operation),
    ['HeadObject', 'CopyObject', 'DeleteObject'],
    'else a HEAD tells whether it has a time of its own',
  );
  store.resetCalls();
  await kernel.rename('/f2', '/f3');
  await kernel.rename('/f3', '/g');
  t.same(
    store.calls.map(({ operation }) => operation),
    ['CopyObject', 'DeleteObject', 'CopyObject', 'DeleteObject'],
  );
});

t.test('the lookup of what is too large for a link, and its unlink, need the listing alone', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('d/link', Buffer.from('target'), { metadata: { mode: '41471' } });
  store.putForeign('d/longest', Buffer.alloc(4095, 'x'), { metadata: { mode: '41471' } });
  store.putForeign('d/page', Buffer.alloc(4096, 'x'), { metadata: { mode: '41471' } });
  await kernel.stat('/d');
  store.resetCalls();
  await kernel.unlink('/d/page');
  t.same(
    store.calls.filter(({ key }) => key === 'd/page').map(({ operation }) => operation),
    ['DeleteObject'],
    'PATH_MAX counts a NUL: no target has 4096 bytes',
  );
  t.equal((await kernel.readlink('/d/longest')).length, 4095);
  t.equal(await kernel.readlink('/d/link'), 'target');
});
