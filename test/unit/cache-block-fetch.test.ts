import t from 'tap';
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { Budget } from '../../src/cache/budget.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { systemClock } from '../../src/concurrency.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { ManualStore, patternBytes, settle } from '../support/manual-store.ts';

const MIB = 1024 * 1024;

function setup() {
  const store = new ManualStore();
  const budget = new Budget(64 * MIB);
  const pool = new BlockPool();
  const cache = new BlockCache({ store, budget, pool, telemetry: silentTelemetry, clock: systemClock });
  const body = patternBytes(MIB);
  const content = cache.contentOf(store.putForeign('a', body));
  return { store, budget, pool, cache, body, content };
}

t.test('a block adopted while its GET is under way: its readers get it, its memory is counted once', async t => {
  const { store, budget, pool, cache, body, content } = setup();
  const read = cache.read(content, 0, 2 * BLOCK_SIZE);
  await settle();
  await budget.acquire(BLOCK_SIZE);
  const buffer = pool.take(BLOCK_SIZE);
  buffer.set(body.subarray(0, BLOCK_SIZE));
  cache.adopt(content, 0, buffer);
  t.notOk(cache.read(content, 0, 10) instanceof Promise, 'readable at once');
  store.gets[0]!.finish();
  const reply = await read;
  t.ok(Buffer.concat(reply.slices).equals(body.subarray(0, 2 * BLOCK_SIZE)));
  await settle();
  t.equal(budget.used, 2 * BLOCK_SIZE);
  t.equal(pool.taken, 2 * BLOCK_SIZE);
});

t.test('our own rename, met as a foreign ETag by a store that ignores If-Match: asked again', async t => {
  const { store, cache, body, content } = setup();
  const read = cache.read(content, 0, MIB);
  await settle();
  cache.moved(content, store.putForeign('b', body));
  store.gets[0]!.begin({ ...store.info('a')!, etag: '"whatever is there now"' });
  await settle();
  t.ok(store.gets[0]!.signal!.aborted, 'its bytes are not taken');
  t.equal(store.gets[1]!.key, 'b');
  t.notOk(store.gets[1]!.signal!.aborted);
  store.gets[1]!.finish();
  t.ok(Buffer.concat((await read).slices).equals(body));
});

t.test('a prefetch whose readers have been served may be given up like any other', async t => {
  const { store, budget, pool, cache, content } = setup();
  cache.prefetch(content, 0, MIB);
  const read = cache.read(content, 0, 10);
  await settle();
  cache.drop(content);
  t.notOk(store.gets[0]!.signal!.aborted, 'somebody waits');
  store.gets[0]!.fill(BLOCK_SIZE);
  (await read).release?.();
  cache.drop(content);
  t.ok(store.gets[0]!.signal!.aborted, 'nobody waits any longer');
  await settle();
  t.equal(budget.used, 0);
  t.equal(pool.taken, 0);
});

t.test('block numbers past the end belong to somebody else', async t => {
  const { store, pool, cache, content } = setup();
  const next = cache.contentOf(store.putForeign('next', patternBytes(10)));
  const read = cache.read(next, 0, 10);
  await settle();
  t.notOk(cache.expects(content, content.blockCount));
  t.ok(cache.expects(next, 0));
  store.gets[0]!.finish();
  (await read).release?.();
  t.ok(cache.has(next, 0));
  t.notOk(cache.has(content, content.blockCount));
  t.throws(() => cache.adopt(content, content.blockCount, pool.take(10)), RangeError);
});
