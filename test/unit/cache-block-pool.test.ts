import fc from 'fast-check';
import t from 'tap';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { ManualClock } from '../support/manual-clock.ts';

t.test('buffers are as long as sizeOf says and never shorter than asked', t => {
  const pool = new BlockPool();
  fc.assert(
    fc.property(fc.integer({ min: 0, max: BLOCK_SIZE }), bytes => {
      const buffer = pool.take(bytes);
      const ok = buffer.byteLength === BlockPool.sizeOf(bytes) && buffer.byteLength >= bytes;
      pool.give(buffer);
      return ok;
    }),
  );
  t.equal(BlockPool.sizeOf(1), 4096);
  t.equal(BlockPool.sizeOf(4097), 8192);
  t.equal(BlockPool.sizeOf(BLOCK_SIZE / 2), BLOCK_SIZE / 2);
  t.equal(BlockPool.sizeOf(BLOCK_SIZE / 2 + 1), BLOCK_SIZE);
  t.equal(pool.taken, 0);
  t.throws(() => pool.take(BLOCK_SIZE + 1), RangeError);
  t.end();
});

t.test('no two buffers that are out share memory', t => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.constant('give' as const), fc.constantFrom(3000, 20_000, 65_537, BLOCK_SIZE)), {
        maxLength: 300,
      }),
      steps => {
        const pool = new BlockPool();
        const out: { buffer: Uint8Array; mark: number }[] = [];
        let mark = 0;
        let taken = 0;
        for (const step of steps) {
          if (step === 'give') {
            const one = out.splice(Math.floor(out.length / 2), 1)[0];
            if (one === undefined) continue;
            if (!one.buffer.every(byte => byte === one.mark)) return false;
            taken -= one.buffer.byteLength;
            pool.give(one.buffer);
          } else {
            const buffer = pool.take(step);
            mark = (mark + 1) % 256;
            buffer.fill(mark);
            taken += buffer.byteLength;
            out.push({ buffer, mark });
          }
          if (pool.taken !== taken) return false;
        }
        return out.every(({ buffer, mark }) => buffer[0] === mark && buffer.at(-1) === mark);
      },
    ),
    { numRuns: 50 },
  );
  t.end();
});

t.test('slabs are reused, and let go when empty but for a few', t => {
  const pool = new BlockPool();
  const slabsOf = (blocks: readonly Uint8Array[]): Set<ArrayBufferLike> => new Set(blocks.map(block => block.buffer));
  let before = new Set<ArrayBufferLike>();
  for (let round = 0; round < 3; round++) {
    const out = Array.from({ length: 320 }, () => pool.take(BLOCK_SIZE));
    const slabs = slabsOf(out);
    t.equal(slabs.size, 10, 'of 32 blocks each');
    if (round > 0) t.equal([...slabs].filter(slab => before.has(slab)).length, 2, 'two were kept');
    before = slabs;
    for (const buffer of out) pool.give(buffer);
  }
  t.ok(before.has(pool.take(BLOCK_SIZE).buffer), 'from a slab that was kept');
  t.end();
});

t.test('foreign buffers and buffers given twice are refused', t => {
  const pool = new BlockPool();
  t.throws(() => pool.give(new Uint8Array(BLOCK_SIZE)), /not of this pool/);
  const buffer = pool.take(BLOCK_SIZE);
  pool.give(buffer);
  t.throws(() => pool.give(buffer), /twice/);
  t.end();
});

t.test('slabs that come back many at once wait for who wants them next', async t => {
  const clock = new ManualClock();
  const pool = new BlockPool(clock);
  const take = (): Uint8Array[] => Array.from({ length: 320 }, () => pool.take(BLOCK_SIZE));
  const giveAll = (buffers: readonly Uint8Array[]): void => {
    for (const buffer of buffers) pool.give(buffer);
  };
  const first = take();
  const memory = new Set(first.map(({ buffer }) => buffer));
  const known = (buffers: readonly Uint8Array[]): number => buffers.filter(({ buffer }) => memory.has(buffer)).length;
  t.equal(memory.size, 10);
  giveAll(first);
  for (const wait of [1500, 1500, 1900]) {
    await clock.advance(wait);
    const again = take();
    t.equal(known(again), 320, 'nothing was allocated');
    giveAll(again);
  }
  await clock.advance(2000);
  t.equal(clock.pending, 0);
  t.equal(known(take()), 64, 'nobody wanted them for a while: 8 MiB were left');
});
