import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import { makeFileSystem } from '../support/filesystem.ts';

/** Flags of open(2). */
const O_RDONLY = 0;
const O_RDWR = 2;
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

const LARGE = 9 * 1024 * 1024;

for (const isChanged of [false, true]) {
  t.test(`an unlink of a large open file, done but never answered, then ${isChanged ? 'saved' : 'read'}`, async t => {
    const { kernel, store, filesystem } = makeFileSystem({ budget: 64 * 1024 * 1024 });
    store.putForeign('f', Buffer.alloc(LARGE, 7));
    const open = await kernel.open('/f', isChanged ? O_RDWR : O_RDONLY);
    if (isChanged) await kernel.write(open, 0, Buffer.from('changed'));
    let isLost = false;
    store.intercept(async ({ operation, key }, proceed) => {
      const answer = await proceed();
      if (operation === 'DeleteObject' && key === 'f' && !isLost) {
        isLost = true;
        throw new StoreError('timeout', 'no answer');
      }
      return answer;
    });
    await t.rejects(kernel.unlink('/f'));
    t.notOk(store.keys().includes('f'));
    t.equal((await kernel.read(open, LARGE - 4, 10)).toString('hex'), '07070707', 'read on');
    await kernel.close(open);
    await filesystem.drain();
    if (!isChanged) return void t.same(store.keys(), [], 'nothing is left behind');
    const expected = Buffer.alloc(LARGE, 7);
    expected.write('changed');
    t.same(store.keys(), ['f']);
    t.ok(Buffer.from(store.bytes('f')!).equals(expected), 'whole');
  });
}

t.test('an unlink of a large open file that S3 refused: it is read under its name again', async t => {
  const { kernel, store } = makeFileSystem({ budget: 64 * 1024 * 1024 });
  store.putForeign('f', Buffer.alloc(LARGE, 7));
  const open = await kernel.open('/f', O_RDONLY);
  store.failNext('DeleteObject', 'forbidden');
  await t.rejects(kernel.unlink('/f'));
  t.same(store.keys(), ['f']);
  t.equal((await kernel.read(open, LARGE - 4, 10)).toString('hex'), '07070707');
  await kernel.close(open);
  await kernel.unlink('/f');
  t.same(store.keys(), []);
});
