import type { Test } from 'tap';
import t from 'tap';
import type { BlockCache } from '../../src/cache/block-cache.ts';
import { newCursor } from '../../src/cache/read-plan.ts';
import type { StoredContent } from '../../src/cache/stored-content.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import type { StoreErrorKind } from '../../src/errors.ts';
import { StoreError } from '../../src/errors.ts';
import type { Awaitable } from '../../src/fuse/ops.ts';
import type { ObjectStore } from '../../src/s3/store.ts';
import type { Setup } from '../support/block-cache.ts';
import { bytesOf, setup } from '../support/block-cache.ts';
import { ManualStore, patternBytes, settle } from '../support/manual-store.ts';
import { MemoryStore } from '../support/memory-store.ts';

const MIB = 1024 * 1024;

/** The kind of StoreError that `work` fails with. */
async function failureOf(work: Awaitable<unknown>): Promise<StoreErrorKind | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof StoreError) return error.kind;
    throw error;
  }
}

async function readBytes(cache: BlockCache, content: StoredContent, offset: number, length: number): Promise<Buffer> {
  const reply = await cache.read(content, offset, length);
  const bytes = bytesOf(reply);
  reply.release?.();
  return bytes;
}

/** What is accounted for is exactly what is resident. */
function checkAccounts(t: Test, { budget, pool, cache }: Setup<ObjectStore>): void {
  const { aheadBytes, freshBytes, hotBytes, pinnedBytes, inFlightBlocks } = cache.stats;
  t.equal(inFlightBlocks, 0, 'nothing is on its way');
  t.equal(pool.taken, budget.used, 'pool and budget agree');
  t.equal(aheadBytes + freshBytes + hotBytes + pinnedBytes, budget.used, 'all memory is that of resident blocks');
}

t.test('one GET per block, whoever asks, and what is in memory is answered at once', async t => {
  const all = setup(new ManualStore());
  const { store, cache } = all;
  const body = patternBytes(4 * BLOCK_SIZE);
  const content = cache.contentOf(store.putForeign('a', body));
  const replies = [
    cache.read(content, 0, 100),
    cache.read(content, 50, BLOCK_SIZE),
    cache.read(content, 0, 2 * BLOCK_SIZE),
    cache.read(content, BLOCK_SIZE, 10),
  ];
  await settle();
  t.same(
    store.gets.map(get => [get.request.offset, get.request.length]),
    [
      [0, BLOCK_SIZE],
      [BLOCK_SIZE, BLOCK_SIZE],
    ],
  );
  t.equal(store.gets[0]!.request.ifMatch, content.version.etag);
  for (const get of store.gets) get.finish();
  const bytes = await Promise.all(replies.map(async reply => bytesOf(await reply)));
  t.ok(bytes[0]!.equals(body.subarray(0, 100)));
  t.ok(bytes[1]!.equals(body.subarray(50, 50 + BLOCK_SIZE)));
  t.ok(bytes[2]!.equals(body.subarray(0, 2 * BLOCK_SIZE)));
  t.ok(bytes[3]!.equals(body.subarray(BLOCK_SIZE, BLOCK_SIZE + 10)));
  const again = cache.read(content, 10, 2 * BLOCK_SIZE - 20);
  t.notOk(again instanceof Promise, 'from memory, in the same turn');
  t.equal(store.gets.length, 2);
  t.equal(cache.contentOf({ ...content.version }), content, 'the same version is the same content');
  t.same(cache.read(content, content.size, 10), { slices: [] }, 'nothing at the end');
});

t.test('missing blocks are coalesced around those that are there', async t => {
  const { store, cache } = setup(new ManualStore(), 64 * MIB, { maxRequestBytes: 3 * MIB });
  const content = cache.contentOf(store.putForeign('a', patternBytes(10 * MIB)));
  const first = cache.read(content, 2 * BLOCK_SIZE, 1);
  await settle();
  store.gets[0]!.finish();
  await first;
  const reply = cache.read(content, 0, 8 * MIB);
  await settle();
  t.same(
    store.gets.slice(1).map(get => [get.request.offset, get.request.length]),
    [
      [0, 2 * BLOCK_SIZE],
      [3 * BLOCK_SIZE, 2 * MIB],
      [3 * BLOCK_SIZE + 2 * MIB, 2 * MIB],
      [3 * BLOCK_SIZE + 4 * MIB, 2 * MIB],
      [3 * BLOCK_SIZE + 6 * MIB, 2 * MIB - 3 * BLOCK_SIZE],
    ],
    'no GET above the limit, which is a power of two',
  );
  for (const get of store.gets) get.finish();
  t.ok(bytesOf(await reply).equals(patternBytes(10 * MIB).subarray(0, 8 * MIB)));
});

t.test('a block is handed on when it is whole, before the GET ends', async t => {
  const { store, cache } = setup(new ManualStore());
  const body = patternBytes(MIB);
  const content = cache.contentOf(store.putForeign('a', body));
  cache.prefetch(content, 0, MIB);
  await settle();
  t.equal(store.gets.length, 1);
  let done = false;
  const reply = Promise.resolve(cache.read(content, BLOCK_SIZE, 100)).then(reply => {
    done = true;
    return reply;
  });
  store.gets[0]!.fill(2 * BLOCK_SIZE - 1);
  await settle();
  t.notOk(done);
  t.ok(cache.has(content, 0));
  t.notOk(cache.has(content, 1));
  store.gets[0]!.fill(2 * BLOCK_SIZE);
  t.ok(bytesOf(await reply).equals(body.subarray(BLOCK_SIZE, BLOCK_SIZE + 100)));
  t.equal(store.gets.length, 1, 'the read joined the prefetch');
});

t.test('an abort ends one reader, not the work of others', async t => {
  const all = setup(new ManualStore());
  const { store, cache } = all;
  const content = cache.contentOf(store.putForeign('a', patternBytes(MIB)));
  const controller = new AbortController();
  const first = Promise.resolve(cache.read(content, 0, 100, undefined, controller));
  const second = cache.read(content, 0, 200);
  await settle();
  controller.abort();
  t.equal(await failureOf(first), 'aborted');
  t.notOk(store.gets[0]!.signal!.aborted);
  store.gets[0]!.finish();
  t.equal(bytesOf(await second).length, 200);

  const lonely = new AbortController();
  const third = Promise.resolve(cache.read(content, 3 * BLOCK_SIZE, 100, undefined, lonely));
  await settle();
  lonely.abort();
  t.equal(await failureOf(third), 'aborted');
  t.ok(store.gets[1]!.signal!.aborted, 'nobody is left: the request ends');
  const fourth = cache.read(content, 3 * BLOCK_SIZE, 100);
  await settle();
  t.equal(store.gets.length, 3, 'who comes later asks anew');
  store.gets[2]!.finish();
  (await fourth).release?.();
  (await second).release?.();
  await settle();
  checkAccounts(t, all);

  const early = new AbortController();
  early.abort();
  t.equal(await failureOf(cache.read(content, 5 * BLOCK_SIZE, 1, undefined, early)), 'aborted');
  t.equal(store.gets.length, 3);
});

t.test('a prefetch without readers survives an abort of one who joined it', async t => {
  const { store, cache } = setup(new ManualStore());
  const content = cache.contentOf(store.putForeign('a', patternBytes(MIB)));
  cache.prefetch(content, 0, MIB);
  const controller = new AbortController();
  const read = Promise.resolve(cache.read(content, 0, 1, undefined, controller));
  await settle();
  controller.abort();
  t.equal(await failureOf(read), 'aborted');
  t.notOk(store.gets[0]!.signal!.aborted);
  store.gets[0]!.finish();
  await settle();
  t.ok(cache.has(content, 7));
});

t.test('errors go to those who wait for the blocks, and the memory comes back', async t => {
  const all = setup(new ManualStore());
  const { store, cache } = all;
  const content = cache.contentOf(store.putForeign('a', patternBytes(MIB)));
  cache.prefetch(content, 0, MIB);
  const near = cache.read(content, 0, 10);
  const far = Promise.resolve(cache.read(content, 4 * BLOCK_SIZE, 10));
  await settle();
  store.gets[0]!.fill(2 * BLOCK_SIZE);
  store.gets[0]!.fail(new StoreError('unavailable', 'it broke'));
  (await near).release?.();
  t.equal(await failureOf(far), 'unavailable');
  await settle();
  checkAccounts(t, all);
  t.ok(cache.has(content, 1));
  const short = Promise.resolve(cache.read(content, 4 * BLOCK_SIZE, 2 * BLOCK_SIZE));
  await settle();
  store.gets[1]!.finishShort(BLOCK_SIZE + 5);
  t.equal(await failureOf(short), 'corrupt');
  await settle();
  checkAccounts(t, all);
});

t.test('our own rename while a GET is on its way: the rest comes from the successor', async t => {
  const all = setup(new ManualStore());
  const { store, cache } = all;
  const body = patternBytes(MIB);
  const content = cache.contentOf(store.putForeign('old', body));
  const reply = cache.read(content, 0, MIB);
  await settle();
  store.gets[0]!.fill(3 * BLOCK_SIZE + 77);
  const successor = store.putForeign('new', body);
  cache.moved(content, successor);
  store.deleteForeign('old');
  store.gets[0]!.fail(new StoreError('not-found', 'gone'));
  await settle();
  t.equal(store.gets[1]!.key, 'new');
  t.same(store.gets[1]!.request, { offset: 3 * BLOCK_SIZE, length: 5 * BLOCK_SIZE, ifMatch: successor.etag });
  store.gets[1]!.finish();
  t.ok(bytesOf(await reply).equals(body));
  t.equal(cache.contentOf(successor), content);
  t.not(cache.contentOf({ ...successor, key: 'old' }), content);
  t.throws(() => cache.moved(content, { ...successor, size: 3 }), /no successor/);
});

t.test('a foreign change is an error, also where the store ignores If-Match', async t => {
  const all = setup(new ManualStore());
  const { store, cache } = all;
  const content = cache.contentOf(store.putForeign('a', patternBytes(MIB)));
  const first = Promise.resolve(cache.read(content, 0, 10));
  await settle();
  store.gets[0]!.begin({ ...store.info('a')!, etag: '"another"' });
  t.equal(await failureOf(first), 'precondition-failed');
  await settle();
  t.notOk(cache.has(content, 0));
  store.putForeign('a', patternBytes(MIB, 3));
  t.equal(await failureOf(cache.read(content, 0, 10)), 'precondition-failed');
  store.deleteForeign('a');
  t.equal(await failureOf(cache.read(content, 0, 10)), 'not-found');
  await settle();
  checkAccounts(t, all);
});

t.test('slices that are out keep their bytes when the block is evicted', async t => {
  const all = setup(new MemoryStore(), 2 * BLOCK_SIZE);
  const { store, cache, budget, pool } = all;
  const body = patternBytes(8 * BLOCK_SIZE);
  const content = cache.contentOf(store.putForeign('a', body));
  const held = await cache.read(content, 0, BLOCK_SIZE);
  for (let i = 1; i < 8; i++) await readBytes(cache, content, i * BLOCK_SIZE, BLOCK_SIZE);
  t.ok(bytesOf(held).equals(body.subarray(0, BLOCK_SIZE)));
  cache.drop(content);
  t.ok(bytesOf(held).equals(body.subarray(0, BLOCK_SIZE)));
  t.equal(budget.used, BLOCK_SIZE, 'counted until released');
  held.release?.();
  held.release?.();
  t.equal(budget.used, 0);
  t.equal(pool.taken, 0);
});

t.test('a read larger than the whole budget is answered', async t => {
  const all = setup(new MemoryStore(), 2 * BLOCK_SIZE);
  const { store, cache } = all;
  const body = patternBytes(8 * BLOCK_SIZE);
  const content = cache.contentOf(store.putForeign('a', body));
  const two = await Promise.all([
    readBytes(cache, content, 100, 7 * BLOCK_SIZE),
    readBytes(cache, content, 0, 8 * BLOCK_SIZE),
  ]);
  t.ok(two[0].equals(body.subarray(100, 100 + 7 * BLOCK_SIZE)));
  t.ok(two[1].equals(body));
  await settle();
  checkAccounts(t, all);
});

t.test('prefetch takes no memory from those who wait, and gives way', async t => {
  const all = setup(new ManualStore(), 16 * BLOCK_SIZE);
  const { store, cache, budget } = all;
  const content = cache.contentOf(store.putForeign('a', patternBytes(4 * MIB)));
  budget.acquire(4 * BLOCK_SIZE);
  cache.prefetch(content, 0, 4 * MIB);
  await settle();
  t.ok(budget.used <= 15 * BLOCK_SIZE, 'the reserve is left');
  t.ok(store.gets.length >= 1);
  const prefetched = store.gets.length;
  const demand = cache.read(content, 3 * MIB, 8 * BLOCK_SIZE);
  await settle();
  t.ok(store.gets[prefetched - 1]!.signal!.aborted, 'the latest prefetch was ended');
  t.not(store.gets[0]!.signal!.aborted, prefetched > 1);
  for (const get of store.gets) if (!get.signal!.aborted) get.finish();
  await settle();
  for (const get of store.gets) if (!get.signal!.aborted) get.finish();
  t.equal(bytesOf(await demand).length, 8 * BLOCK_SIZE);
  (await demand).release?.();
  budget.release(4 * BLOCK_SIZE);
  await settle();
  checkAccounts(t, all);
});

t.test('a scan of any length leaves the hot set alone', async t => {
  const all = setup(new MemoryStore(), 64 * BLOCK_SIZE);
  const { store, cache } = all;
  const hot = cache.contentOf(store.putForeign('hot', patternBytes(20 * BLOCK_SIZE)));
  const large = cache.contentOf(store.putForeign('large', patternBytes(400 * BLOCK_SIZE)));
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 20; i++) await readBytes(cache, hot, i * BLOCK_SIZE, BLOCK_SIZE);
  }
  const cursor = newCursor();
  for (let i = 0; i < 400; i++) (await cache.read(large, i * BLOCK_SIZE, BLOCK_SIZE, cursor)).release?.();
  for (let i = 0; i < 20; i++) t.ok(cache.has(hot, i), `hot block ${i}`);
  t.equal(cache.stats.hotBytes, 20 * BLOCK_SIZE);
  await settle();
  checkAccounts(t, all);
});

t.test('adopt, inherit, drop', async t => {
  const all = setup(new MemoryStore());
  const { store, cache, budget, pool } = all;
  const before = patternBytes(4 * BLOCK_SIZE + 100);
  const after = before.slice();
  after.fill(7, BLOCK_SIZE, 2 * BLOCK_SIZE);
  const from = cache.contentOf(store.putForeign('a', before));
  await readBytes(cache, from, 0, before.length);
  const held = await cache.read(from, 0, 10);
  const to = cache.contentOf(store.putForeign('a', after));
  cache.inherit(from, to, index => index !== 1);
  t.same(
    [0, 1, 2, 3, 4].map(index => cache.has(to, index)),
    [true, false, true, true, true],
  );
  t.same(
    [0, 1, 2, 3, 4].map(index => cache.has(from, index)),
    [false, true, false, false, false],
  );
  await budget.acquire(BLOCK_SIZE);
  const buffer = pool.take(BLOCK_SIZE);
  buffer.set(after.subarray(BLOCK_SIZE, 2 * BLOCK_SIZE));
  cache.adopt(to, 1, buffer);
  store.resetCalls();
  t.ok((await readBytes(cache, to, 0, after.length)).equals(after));
  t.equal(store.count(), 0, 'all of it from memory');
  await budget.acquire(BLOCK_SIZE);
  cache.adopt(to, 1, pool.take(BLOCK_SIZE));
  checkAccounts(t, all);
  t.ok((await readBytes(cache, to, 0, after.length)).equals(after), 'what is there stays');
  t.ok(bytesOf(held).equals(before.subarray(0, 10)));
  held.release?.();
  const longer = cache.contentOf({ key: 'a', etag: '"x"', size: 6 * BLOCK_SIZE });
  cache.inherit(to, longer, () => true);
  t.notOk(cache.has(longer, 4), 'the short last block is no block of a longer content');
  t.ok(cache.has(longer, 3));
  cache.drop(from);
  cache.drop(to);
  cache.drop(longer);
  t.equal(budget.used, 0);
  t.equal(pool.taken, 0);
});

t.test('pin keeps all blocks whatever comes', async t => {
  const all = setup(new MemoryStore(), 64 * BLOCK_SIZE);
  const { store, cache, budget } = all;
  const kept = cache.contentOf(store.putForeign('kept', patternBytes(10 * BLOCK_SIZE + 5)));
  const large = cache.contentOf(store.putForeign('large', patternBytes(100 * BLOCK_SIZE)));
  await readBytes(cache, kept, 0, 2 * BLOCK_SIZE);
  t.equal(await cache.pin(kept), true);
  t.equal(await cache.pin(kept), true);
  t.equal(await cache.pin(large), false, 'too large to be kept');
  store.deleteForeign('kept');
  for (let i = 0; i < 100; i++) await readBytes(cache, large, i * BLOCK_SIZE, BLOCK_SIZE);
  cache.drop(kept);
  cache.unpin(kept);
  t.ok((await readBytes(cache, kept, 0, kept.size)).equals(patternBytes(kept.size)));
  t.equal(cache.stats.pinnedBytes, 10 * BLOCK_SIZE + 4096);
  cache.unpin(kept);
  t.equal(cache.stats.pinnedBytes, 0);
  checkAccounts(t, all);
  cache.drop(kept);
  cache.drop(large);
  t.equal(budget.used, 0);
  const gone = cache.contentOf({ key: 'gone', etag: '"g"', size: 10 });
  t.equal(await failureOf(cache.pin(gone)), 'not-found');
  cache.unpin(gone);
  t.equal(cache.stats.pinnedBytes, 0);
});

t.test('a read from memory makes no signal: that would take a third of its time', async t => {
  const store = new MemoryStore();
  const { cache } = setup(store);
  const content = cache.contentOf(store.putForeign('a', patternBytes(2 * BLOCK_SIZE)));
  await readBytes(cache, content, 0, 100);
  let asked = 0;
  const waiter = {
    get signal(): AbortSignal {
      asked++;
      return new AbortController().signal;
    },
  };
  const reply = cache.read(content, 0, 4096, undefined, waiter);
  t.notOk(reply instanceof Promise);
  (await reply).release?.();
  t.equal(asked, 0);
  (await cache.read(content, content.size - 1, 1, undefined, waiter)).release?.();
  t.equal(asked, 1);
});
