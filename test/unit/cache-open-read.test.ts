import t from 'tap';
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { Budget } from '../../src/cache/budget.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { systemClock } from '../../src/concurrency.ts';
import { StoreError } from '../../src/errors.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { ManualStore, patternBytes, settle } from '../support/manual-store.ts';
import { MemoryStore } from '../support/memory-store.ts';

const MIB = 1024 * 1024;

function setup<S extends MemoryStore>(store: S) {
  const budget = new Budget(16 * MIB);
  const pool = new BlockPool();
  const cache = new BlockCache({ store, budget, pool, telemetry: silentTelemetry, clock: systemClock });
  return { store, budget, pool, cache };
}

t.test('open and read cost one request; it answers with the headers, reads join the body', async t => {
  const { store, cache, budget, pool } = setup(new ManualStore());
  const body = patternBytes(3 * MIB);
  store.putForeign('a', body);
  const opening = cache.openRead('a', MIB);
  await settle();
  t.same(store.gets[0]!.request, { offset: 0, length: MIB });
  store.gets[0]!.begin();
  const { info, content } = await opening;
  t.equal(info.etag, content.version.etag);
  t.equal(cache.contentOf(info), content);
  const read = cache.read(content, 0, 1000);
  store.gets[0]!.fill(BLOCK_SIZE);
  t.ok(Buffer.concat((await read).slices).equals(body.subarray(0, 1000)));
  (await read).release?.();
  const second = cache.read(content, BLOCK_SIZE, 2 * BLOCK_SIZE);
  store.gets[0]!.finish();
  t.ok(Buffer.concat((await second).slices).equals(body.subarray(BLOCK_SIZE, 3 * BLOCK_SIZE)));
  (await second).release?.();
  await settle();
  t.equal(store.gets.length, 1);
  t.equal(budget.used, MIB);
  cache.drop(content);
  t.equal(budget.used, 0);
  t.equal(pool.taken, 0);
});

t.test('a small file takes memory of its size only', async t => {
  const { store, cache, budget, pool } = setup(new MemoryStore());
  store.putForeign('a', patternBytes(5000));
  const { content } = await cache.openRead('a', MIB);
  await settle();
  t.ok(cache.has(content, 0));
  t.equal(budget.used, 8192);
  t.equal(pool.taken, 8192);
  const reply = await cache.read(content, 0, 10_000);
  t.ok(Buffer.concat(reply.slices).equals(patternBytes(5000)));
});

t.test('an expected size that has been outgrown: no half block is kept', async t => {
  const { store, cache, budget, pool } = setup(new MemoryStore());
  const body = patternBytes(3 * BLOCK_SIZE);
  store.putForeign('a', body);
  const { content } = await cache.openRead('a', BLOCK_SIZE + 5000);
  await settle();
  t.ok(cache.has(content, 0));
  t.notOk(cache.has(content, 1));
  t.equal(budget.used, BLOCK_SIZE);
  t.equal(pool.taken, BLOCK_SIZE);
  const reply = await cache.read(content, 0, body.length);
  t.ok(Buffer.concat(reply.slices).equals(body));
});

t.test('an empty object, also where the store answers 416', async t => {
  const { store, cache, budget } = setup(new MemoryStore());
  store.putForeign('a', '');
  t.equal((await cache.openRead('a', MIB)).content.size, 0);
  await settle();
  t.equal(budget.used, 0);
  store.failNext('GetObject', 'range');
  const { info, content } = await cache.openRead('a', MIB);
  t.equal(content.size, 0);
  t.equal(info.key, 'a');
  t.equal(store.count('HeadObject'), 1);
  t.equal(budget.used, 0);
  t.same(cache.read(content, 0, 10), { slices: [] });
});

t.test('a second open while the first is on its way keeps one content and one copy', async t => {
  const { store, cache, budget } = setup(new ManualStore());
  const body = patternBytes(2 * BLOCK_SIZE);
  store.putForeign('a', body);
  const first = cache.openRead('a', MIB);
  const second = cache.openRead('a', MIB);
  await settle();
  for (const get of store.gets) get.begin();
  const { content } = await first;
  t.equal((await second).content, content);
  store.gets[1]!.finish();
  await settle();
  t.notOk(cache.has(content, 0), 'the first fetch brings the blocks');
  store.gets[0]!.finish();
  await settle();
  t.ok(cache.has(content, 1));
  t.equal(budget.used, 2 * BLOCK_SIZE);
});

t.test('errors and aborts: before the headers the open fails, afterwards the readers do', async t => {
  const { store, cache, budget, pool } = setup(new ManualStore());
  await t.rejects(cache.openRead('none', MIB), StoreError);
  t.equal(budget.used, 0);
  store.putForeign('a', patternBytes(MIB));
  const controller = new AbortController();
  const aborted = cache.openRead('a', MIB, controller.signal);
  await settle();
  controller.abort();
  await t.rejects(aborted, StoreError);
  t.ok(store.gets[0]!.signal!.aborted);
  t.equal(budget.used, 0);
  const late = new AbortController();
  const opening = cache.openRead('a', MIB, late.signal);
  await settle();
  store.gets[1]!.begin();
  const { content } = await opening;
  late.abort();
  t.notOk(store.gets[1]!.signal!.aborted, 'the open is answered: its signal means nothing any longer');
  const read = Promise.resolve(cache.read(content, 5 * BLOCK_SIZE, 10));
  store.gets[1]!.fill(2 * BLOCK_SIZE);
  store.gets[1]!.fail(new StoreError('unavailable', 'it broke'));
  await t.rejects(read, StoreError);
  await settle();
  t.ok(cache.has(content, 1));
  t.equal(cache.stats.inFlightBlocks, 0);
  cache.drop(content);
  t.equal(budget.used, 0);
  t.equal(pool.taken, 0);
});

t.test('renamed by ourselves while the body comes: the rest is asked for by the new name', async t => {
  const { store, cache, budget } = setup(new ManualStore());
  const body = patternBytes(MIB);
  store.putForeign('a', body);
  const opening = cache.openRead('a', MIB);
  await settle();
  store.gets[0]!.begin();
  const { content } = await opening;
  store.gets[0]!.fill(BLOCK_SIZE);
  cache.moved(content, store.putForeign('b', body));
  store.deleteForeign('a');
  store.gets[0]!.fail(new StoreError('not-found', 'gone'));
  const read = cache.read(content, 0, MIB);
  await settle();
  t.equal(store.gets[1]!.key, 'b');
  t.equal(store.gets[1]!.request.offset, BLOCK_SIZE);
  store.gets[1]!.finish();
  t.ok(Buffer.concat((await read).slices).equals(body));
  await settle();
  t.equal(budget.used, MIB);
});

t.test('openAhead sends nothing where memory is short', async t => {
  const { store, cache, budget } = setup(new MemoryStore());
  store.putForeign('a', patternBytes(5000));
  const opened = await cache.openAhead('a', 5000);
  t.equal(opened!.info.size, 5000);
  await settle();
  t.ok(cache.has(opened!.content, 0));
  t.equal(store.count(), 1);
  await budget.acquire(15 * MIB);
  t.equal(cache.openAhead('a', MIB), undefined);
  t.equal(store.count(), 1);
});
