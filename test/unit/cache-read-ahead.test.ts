import t from 'tap';
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { Budget } from '../../src/cache/budget.ts';
import { newCursor } from '../../src/cache/read-plan.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { PacedStore, VirtualClock } from '../support/manual-store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** S3 as it is mostly: 20 ms to the first byte, 90 MB/s a connection. */
const S3_PACE = { latency: 20, rate: 90_000 };

function setup(total = 256 * MIB) {
  const clock = new VirtualClock();
  const store = new PacedStore(clock, S3_PACE);
  const budget = new Budget(total);
  const pool = new BlockPool();
  const cache = new BlockCache({ store, budget, pool, telemetry: silentTelemetry, clock });
  /** Reads like the kernel: 128 KiB at a time, two requests under way. Takes `cost` ms of CPU per MiB. */
  const scan = async (key: string, size: number, cost = 0.5): Promise<void> => {
    const { content } = await cache.openRead(key, Math.min(size, MIB));
    const cursor = newCursor();
    let next: Promise<unknown> = Promise.resolve();
    for (let at = 0; at < size; at += BLOCK_SIZE) {
      const reply = Promise.resolve(cache.read(content, at, BLOCK_SIZE, cursor));
      await next;
      next = reply.then(reply => reply.release?.());
      await clock.delay((cost * BLOCK_SIZE) / MIB);
    }
    await next;
  };
  return { clock, store, budget, pool, cache, scan };
}

t.test('a scan of 64 MiB: few requests, each byte once', async t => {
  const { clock, store, cache, budget, pool, scan } = setup();
  const version = store.addObject('a', 64 * MIB);
  await clock.run(scan('a', version.size));
  t.comment(`64 MiB in ${clock.now().toFixed(0)} ms by ${store.gets.length} GETs, ${store.mostRunning} at once`);
  t.ok(store.gets.length <= 8 + 4, `${store.gets.length} GETs`);
  t.equal(store.bytesSent, 64 * MIB);
  t.ok(clock.now() < 64 / 0.09 / 3, 'three times the speed of one connection at least');
  cache.drop(cache.contentOf(version));
  t.equal(budget.used, 0);
  t.equal(pool.taken, 0);
});

t.test('a scan of 2 GiB runs near the limit of its window', async t => {
  const { clock, store, cache, budget, scan } = setup();
  const version = store.addObject('a', 2048 * MIB);
  await clock.run(scan('a', version.size));
  t.comment(`2 GiB in ${clock.now().toFixed(0)} ms by ${store.gets.length} GETs, ${store.mostRunning} at once`);
  t.ok(store.gets.length <= 256 + 4, `${store.gets.length} GETs`);
  t.equal(store.bytesSent, version.size);
  t.ok(clock.now() < 1800, `${clock.now()} ms`);
  t.ok(budget.used <= budget.total);
  t.equal(cache.stats.inFlightBlocks, 0);
});

t.test('four scans share what may be fetched ahead', async t => {
  const { clock, store, budget, scan } = setup();
  const ends: number[] = [];
  await clock.run(
    Promise.all(
      [0, 1, 2, 3].map(async i => {
        store.addObject(`f${i}`, 256 * MIB);
        await scan(`f${i}`, 256 * MIB, 2);
        ends.push(clock.now());
      }),
    ),
  );
  t.comment(`4 × 256 MiB in ${ends.map(end => end.toFixed(0)).join(', ')} ms by ${store.gets.length} GETs`);
  t.ok(Math.max(...ends) < 1.25 * Math.min(...ends), 'none is starved');
  t.equal(store.bytesSent, 1024 * MIB, 'each byte once');
  t.ok(budget.used <= budget.total);
});

t.test('with little memory a scan goes slower, but each byte is still fetched once', async t => {
  for (const total of [2 * MIB, 8 * MIB, 32 * MIB]) {
    const { clock, store, budget, scan } = setup(total);
    const version = store.addObject('a', 64 * MIB);
    await clock.run(scan('a', version.size));
    t.comment(`budget ${total / MIB} MiB: 64 MiB in ${clock.now().toFixed(0)} ms by ${store.gets.length} GETs`);
    t.equal(store.bytesSent, version.size);
    t.ok(budget.used <= total);
  }
});

t.test('random reads fetch what they ask for', async t => {
  for (const length of [4 * KIB, 256 * KIB]) {
    const { clock, store, cache } = setup();
    const content = cache.contentOf(store.addObject('a', 1024 * MIB));
    const cursor = newCursor();
    const blocks = new Set<number>();
    let state = 12345;
    const work = async (): Promise<void> => {
      for (let i = 0; i < 300; i++) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        const at = (state % ((1024 * MIB) / length)) * length;
        const replies: unknown[] = [];
        for (let from = at; from < at + length; from += BLOCK_SIZE) {
          blocks.add(Math.floor(from / BLOCK_SIZE));
          replies.push(cache.read(content, from, Math.min(BLOCK_SIZE, length), cursor));
        }
        await Promise.all(replies);
      }
    };
    await clock.run(work());
    const ratio = store.bytesSent / (blocks.size * BLOCK_SIZE);
    t.comment(
      `random ${length / KIB} KiB: ${((300 / clock.now()) * 1000).toFixed(0)}/s, ${store.gets.length} GETs, × ${ratio.toFixed(3)} of the blocks touched`,
    );
    t.ok(ratio <= 1.1, `fetched ${ratio} times the blocks touched`);
    t.ok(300 / clock.now() > 40 / 1000, 'a round trip each');
  }
});

t.test('the first byte comes after one round trip', async t => {
  const { clock, store, cache } = setup();
  store.addObject('a', 100 * MIB);
  await clock.run(
    (async () => {
      const { content } = await cache.openRead('a', MIB);
      await cache.read(content, 0, BLOCK_SIZE, newCursor());
    })(),
  );
  t.ok(clock.now() < 22, `${clock.now()} ms`);
  t.equal(store.gets.length, 1);
});

t.test('prefetch of a middling file goes side by side', async t => {
  const { clock, store, cache } = setup();
  const content = cache.contentOf(store.addObject('a', 5 * MIB));
  cache.prefetch(content, 0, content.size);
  await clock.run(
    (async () => {
      while (cache.stats.inFlightBlocks > 0) await clock.delay(1);
    })(),
  );
  t.comment(`5 MiB in ${clock.now().toFixed(0)} ms by ${store.gets.length} GETs`);
  t.ok(clock.now() < 50);
  t.ok(store.gets.length <= 5);
  cache.prefetch(content, 0, content.size);
  t.ok(store.gets.length <= 5, 'nothing is fetched twice');
});

t.test('a hole in what was fetched ahead is filled by large requests', async t => {
  const { clock, store, cache } = setup();
  const content = cache.contentOf(store.addObject('a', 64 * MIB));
  const cursor = newCursor();
  const read = async (at: number): Promise<void> => {
    const reply = await cache.read(content, at, BLOCK_SIZE, cursor);
    reply.release?.();
  };
  await clock.run(
    (async () => {
      for (let at = 0; at < 16 * MIB; at += BLOCK_SIZE) await read(at);
      while (cache.stats.inFlightBlocks > 0) await clock.delay(1);
      cache.drop(content);
      store.gets.length = 0;
      for (let at = 16 * MIB; at < 32 * MIB; at += BLOCK_SIZE) await read(at);
    })(),
  );
  t.ok(store.gets.length <= 8, `${store.gets.length} GETs`);
});
