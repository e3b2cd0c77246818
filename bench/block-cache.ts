/**
 * What a read that finds its bytes in memory costs: `npx tsx bench/block-cache.ts`. The binding answers some 227,000 random
 * reads of 4 KiB per second, so the cache must be far above that.
 */
import { BlockCache } from '../src/cache/block-cache.ts';
import { BlockPool } from '../src/cache/block-pool.ts';
import { Budget } from '../src/cache/budget.ts';
import type { ReadCursor } from '../src/cache/read-plan.ts';
import { newCursor, planRead } from '../src/cache/read-plan.ts';
import { BLOCK_SIZE } from '../src/cache/stored-content.ts';
import { systemClock } from '../src/concurrency.ts';
import { silentTelemetry } from '../src/telemetry.ts';
import { MemoryStore } from '../test/support/memory-store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZE = 64 * MIB;

const store = new MemoryStore();
const cache = new BlockCache({
  store,
  budget: new Budget(256 * MIB),
  pool: new BlockPool(),
  telemetry: silentTelemetry,
  clock: systemClock,
});
const content = cache.contentOf(store.putForeign('a', new Uint8Array(SIZE)));
for (let at = 0; at < SIZE; at += MIB) (await cache.read(content, at, MIB)).release?.();

function measure(name: string, count: number, once: (i: number) => void): void {
  for (let i = 0; i < count / 4; i++) once(i);
  const rates: number[] = [];
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    for (let i = 0; i < count; i++) once(i);
    rates.push(count / (performance.now() - start));
  }
  rates.sort((a, b) => a - b);
  console.log(
    `${name.padEnd(48)} ${(rates[2]! * 1000).toFixed(0).padStart(10)} /s  (${(1e6 / (rates[2]! * 1000)).toFixed(2)} µs)`,
  );
}

function readOnce(offset: number, length: number, cursor: ReadCursor | undefined): void {
  const reply = cache.read(content, offset, length, cursor);
  if (reply instanceof Promise) throw new Error('not from memory');
  reply.release?.();
}

let state = 1;
function random(): number {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return state / 4294967296;
}
const offsets = Float64Array.from({ length: 65_536 }, () => Math.floor(random() * (SIZE / 4096)) * 4096);

const randomCursor = newCursor();
measure('random 4 KiB, no cursor', 400_000, i => readOnce(offsets[i & 65_535]!, 4096, undefined));
measure('random 4 KiB', 400_000, i => readOnce(offsets[i & 65_535]!, 4096, randomCursor));
const cursor128 = newCursor();
measure('sequential 128 KiB', 400_000, i => readOnce((i % (SIZE / BLOCK_SIZE)) * BLOCK_SIZE, BLOCK_SIZE, cursor128));
const cursor1m = newCursor();
measure('sequential 1 MiB', 100_000, i => readOnce((i % (SIZE / MIB)) * MIB, MIB, cursor1m));
const planned = newCursor();
const limits = { maxReadAhead: 160 * MIB, maxRequestBytes: 8 * MIB };
measure('planRead alone, random', 1_000_000, i => {
  planRead(planned, offsets[i & 65_535]!, 4096, SIZE, limits);
});
