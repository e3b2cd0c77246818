import t from 'tap';
import { makeFileSystem } from '../support/filesystem.ts';

const DAY = 24 * 3600 * 1000;

t.test(
  'what crashes left behind is swept a week later, however much it is; what is somebody’s only copy is not',
  async t => {
    const { filesystem, store, clock } = makeFileSystem();
    for (let i = 0; i < 1200; i++) store.putForeign(`_s3mount/unlinked/testhost/${i}`, 'x');
    store.putForeign('_s3mount/zeros/testhost/1', 'x');
    store.putForeign('_s3mount/unlinked/otherhost/1', 'x');
    store.putForeign('_s3mount/conflict/testhost/1', 'theirs');
    await clock.advance(8 * DAY);
    store.putForeign('_s3mount/unlinked/testhost/new', 'x');
    filesystem.started();
    for (let turns = 0; turns < 5000 && store.keys().length > 3; turns++) await clock.advance(1);
    t.same(store.keys(), [
      '_s3mount/conflict/testhost/1',
      '_s3mount/unlinked/otherhost/1',
      '_s3mount/unlinked/testhost/new',
    ]);
  },
);

t.test('a hidden copy whose delete failed is deleted when the mount is drained', async t => {
  const { filesystem, kernel, store } = makeFileSystem({ budget: 64 * 1024 * 1024 });
  store.putForeign('f', Buffer.alloc(9 * 1024 * 1024));
  const open = await kernel.open('/f', 0);
  await kernel.unlink('/f');
  t.equal(store.keys().length, 1, 'hidden');
  store.failNext('DeleteObject', 'unavailable');
  await kernel.close(open);
  t.equal(store.keys().length, 1);
  await filesystem.drain();
  t.same(store.keys(), []);
});
