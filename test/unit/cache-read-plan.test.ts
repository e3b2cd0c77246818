import fc from 'fast-check';
import t from 'tap';
import type { ReadCursor, ReadLimits } from '../../src/cache/read-plan.ts';
import { newCursor, planRead, SMALL_FILE, takeBack } from '../../src/cache/read-plan.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

const LIMITS: ReadLimits = { maxReadAhead: 128 * MIB, maxRequestBytes: 8 * MIB };

/** Feeds reads and collects all ranges that were planned ahead. */
function plannedBy(
  cursor: ReadCursor,
  reads: Iterable<readonly [number, number]>,
  fileSize: number,
  limits = LIMITS,
): { from: number; to: number }[] {
  const all: { from: number; to: number }[] = [];
  for (const [offset, length] of reads) all.push(...planRead(cursor, offset, length, fileSize, limits).ahead);
  return all;
}

/** Bytes of all blocks that the reads and what was planned for them touch. */
function fetchedBlocks(cursor: ReadCursor, reads: readonly (readonly [number, number])[], fileSize: number): number {
  const blocks = new Set<number>();
  const add = (from: number, to: number): void => {
    for (let index = Math.floor(from / BLOCK_SIZE); index * BLOCK_SIZE < to; index++) blocks.add(index);
  };
  for (const [offset, length] of reads) {
    const plan = planRead(cursor, offset, length, fileSize, LIMITS);
    add(offset, Math.max(Math.min(offset + length, fileSize), plan.until));
    for (const { from, to } of plan.ahead) add(from, to);
  }
  return blocks.size;
}

function* sequence(from: number, to: number, step: number): Iterable<[number, number]> {
  for (let at = from; at < to; at += step) yield [at, Math.min(step, to - at)];
}

t.test('nothing is planned past the end, behind the start, too large, or beyond the window', t => {
  const size = fc.oneof(fc.integer({ min: 0, max: 4 * MIB }), fc.integer({ min: 0, max: 100 * GIB }));
  fc.assert(
    fc.property(
      size,
      fc.constantFrom(0, BLOCK_SIZE, MIB, 64 * MIB),
      fc.constantFrom(BLOCK_SIZE, MIB, 8 * MIB),
      fc.array(
        fc.record({
          jump: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 2 }),
          length: fc.integer({ min: 0, max: 2 * MIB }),
          back: fc.boolean(),
          repeat: fc.integer({ min: 1, max: 40 }),
        }),
        { maxLength: 20 },
      ),
      (fileSize, maxReadAhead, maxRequestBytes, steps) => {
        const cursor = newCursor();
        const limits = { maxReadAhead, maxRequestBytes };
        let at = 0;
        for (const { jump, length, back, repeat } of steps) {
          if (jump !== null) at = Math.floor(jump * fileSize);
          for (let i = 0; i < repeat; i++) {
            const plan = planRead(cursor, at, length, fileSize, limits);
            if (plan.until > fileSize) return false;
            for (const { from, to } of plan.ahead) {
              if (from < 0 || to > fileSize || from >= to || to - from > maxRequestBytes) return false;
            }
            const sum = plan.ahead.reduce((bytes, { from, to }) => bytes + to - from, 0);
            if (sum > maxReadAhead + maxRequestBytes) return false;
            at = back ? Math.max(0, at - length) : at + length;
          }
        }
        return true;
      },
    ),
    { numRuns: 300 },
  );
  t.end();
});

t.test('random 4 KiB reads fetch a block each, at any number of readers', t => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 16 }), (seed, readers) => {
      const random = generator(seed);
      const cursors = Array.from({ length: readers }, newCursor);
      let fetched = 0;
      for (const cursor of cursors) {
        const reads = Array.from({ length: 200 }, () => [Math.floor(random() * 262_144) * 4 * KIB, 4 * KIB] as const);
        fetched += fetchedBlocks(cursor, reads, GIB);
      }
      return fetched <= 200 * readers * 1.01;
    }),
    { numRuns: 50 },
  );
  t.end();
});

t.test('random 256 KiB reads fetch at most a tenth more than they ask for', t => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 16 }), (seed, threads) => {
      const random = generator(seed);
      const cursor = newCursor();
      const reads: [number, number][] = [];
      const pending: [number, number][] = [];
      for (let i = 0; i < 400; i++) {
        const offset = Math.floor(random() * 8192) * 256 * KIB;
        // The kernel cuts the read in two; other threads' requests come in between.
        reads.push([offset, 128 * KIB]);
        pending.push([offset + 128 * KIB, 128 * KIB]);
        if (pending.length >= threads) reads.push(...pending.splice(0));
      }
      const fetched = fetchedBlocks(cursor, reads, 2 * GIB) * BLOCK_SIZE;
      const asked = new Set(reads.map(([offset]) => offset)).size * BLOCK_SIZE;
      return fetched <= asked * 1.1;
    }),
    { numRuns: 50 },
  );
  t.end();
});

t.test('random reads of 1 MiB settle to what they ask for', t => {
  const random = generator(5);
  const cursor = newCursor();
  const reads: [number, number][] = [];
  for (let i = 0; i < 100; i++) {
    const offset = Math.floor(random() * 10_000) * MIB;
    reads.push(...sequence(offset, offset + MIB, 128 * KIB));
  }
  t.ok(fetchedBlocks(cursor, reads, 10_000 * MIB) * BLOCK_SIZE <= 104 * MIB);
  t.end();
});

t.test('a scan is fetched ahead once, without gaps, by few and large GETs', t => {
  const size = 2 * GIB;
  const ranges = plannedBy(newCursor(), sequence(0, size, 128 * KIB), size);
  t.ok(ranges[0]!.from <= 512 * KIB);
  for (let i = 1; i < ranges.length; i++) {
    if (ranges[i]!.from !== ranges[i - 1]!.to) t.fail(`gap before ${ranges[i]!.from}`);
  }
  t.equal(ranges.at(-1)!.to, size);
  t.ok(ranges.length <= 256 + 5, `${ranges.length} GETs`);
  t.equal(ranges.filter(({ from, to }) => to - from === 8 * MIB).length, 255);
  t.end();
});

t.test('the window grows with what was read, to the limit', t => {
  const size = 2 * GIB;
  const cursor = newCursor();
  let ahead = 0;
  for (const [offset, length] of sequence(0, 256 * MIB, 128 * KIB)) {
    for (const { to } of planRead(cursor, offset, length, size, LIMITS).ahead) ahead = to;
    const end = offset + length;
    if (ahead - end > Math.min(6 * end, 128 * MIB + 4 * MIB)) t.fail(`${ahead - end} ahead of ${end}`);
    if (end === 256 * KIB) t.ok(ahead > end, 'already with the second request');
    if (end === 64 * MIB) t.ok(ahead - end >= 120 * MIB, 'the whole window after 64 MiB');
  }
  t.end();
});

t.test("the kernel's readahead out of order is still a scan, from the start and from the middle", t => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), fc.constantFrom(0, 333 * MIB), (seed, depth, start) => {
      const random = generator(seed);
      const size = GIB;
      const cursor = newCursor();
      const waiting: [number, number][] = [];
      let ahead = 0;
      const read = ([offset, length]: [number, number]): void => {
        for (const { to } of planRead(cursor, offset, length, size, LIMITS).ahead) ahead = Math.max(ahead, to);
      };
      for (const request of sequence(start, start + 64 * MIB, 128 * KIB)) {
        waiting.push(request);
        if (waiting.length > depth) read(waiting.splice(Math.floor(random() * waiting.length), 1)[0]!);
      }
      for (const request of waiting) read(request);
      return ahead - start >= 128 * MIB;
    }),
    { numRuns: 100 },
  );
  t.end();
});

t.test('a reader that goes backwards is followed', t => {
  for (const step of [4 * KIB, 128 * KIB]) {
    const size = 100 * MIB + 777;
    const cursor = newCursor();
    const ranges: { from: number; to: number }[] = [];
    for (let to = size; to > 60 * MIB; to -= step) {
      ranges.push(...planRead(cursor, to - step, step, size, LIMITS).ahead);
    }
    for (let i = 1; i < ranges.length; i++) t.equal(ranges[i]!.to, ranges[i - 1]!.from);
    t.ok(ranges.at(-1)!.from < 20 * MIB, `${step}: down to ${ranges.at(-1)!.from}`);
    t.ok(ranges.length < 20, `${ranges.length} GETs`);
  }
  t.end();
});

t.test('two scans through one descriptor are both followed, random reads in between do not end one', t => {
  const size = 4 * GIB;
  const random = generator(9);
  const cursor = newCursor();
  const ahead = [0, 0];
  for (let at = 0; at < 32 * MIB; at += 128 * KIB) {
    for (const [i, base] of [0, 2 * GIB].entries()) {
      for (const { from, to } of planRead(cursor, base + at, 128 * KIB, size, LIMITS).ahead) {
        t.ok(from >= base && to <= base + 2 * GIB);
        ahead[i] = to - base;
      }
    }
    for (let i = 0; i < 10; i++) planRead(cursor, 3 * GIB + Math.floor(random() * 200_000) * 4096, 4096, size, LIMITS);
  }
  t.ok(ahead[0]! >= 128 * MIB, `first: ${ahead[0]}`);
  t.ok(ahead[1]! >= 128 * MIB, `second: ${ahead[1]}`);
  t.end();
});

t.test('a strided reader finds the next strides', t => {
  const cursor = newCursor();
  const reads: [number, number][] = [];
  for (let i = 0; i < 20; i++) reads.push([i * 10 * MIB + 64 * MIB, 128 * KIB]);
  const ranges = plannedBy(cursor, reads, GIB);
  t.ok(ranges.some(({ from }) => from === 64 * MIB + 190 * MIB));
  for (const { from, to } of ranges) {
    t.equal((from - 64 * MIB) % (10 * MIB), 0);
    t.equal(to - from, 128 * KIB);
  }
  t.end();
});

t.test('a small file is read whole by its first request', t => {
  t.equal(planRead(newCursor(), 0, 4096, SMALL_FILE, LIMITS).until, SMALL_FILE);
  t.equal(planRead(newCursor(), 0, 4096, SMALL_FILE + 1, LIMITS).until, 0);
  t.equal(planRead(newCursor(), 4096, 4096, SMALL_FILE, LIMITS).until, 0, 'who starts elsewhere knows what it wants');
  t.same(planRead(newCursor(), 0, 4096, SMALL_FILE, LIMITS).ahead, []);
  t.end();
});

t.test('the rest of a file that is not large comes with the fourth place that is read, once', t => {
  const random = generator(9);
  const places = (size: number): [number, number][] =>
    Array.from({ length: 50 }, () => [Math.floor((random() * size) / (4 * KIB)) * 4 * KIB, 4 * KIB]);
  const cursor = newCursor();
  const asked = [0, 3 * MIB, MIB, 2 * MIB].map(offset => planRead(cursor, offset, 4 * KIB, 4 * MIB, LIMITS));
  t.same(
    asked.slice(0, 3).flatMap(({ ahead }) => ahead),
    [],
  );
  t.same(asked[3]!.ahead, [
    { from: 0, to: 2 * MIB },
    { from: 2 * MIB, to: 4 * MIB },
  ]);
  t.same(plannedBy(cursor, places(4 * MIB), 4 * MIB), [], 'no more than once');
  t.same(plannedBy(newCursor(), places(64 * MIB), 64 * MIB), [], 'of a large one only what is asked for');
  t.end();
});

t.test('what was refused is planned again', t => {
  const cursor = newCursor();
  const size = 64 * MIB;
  const first = plannedBy(cursor, sequence(0, 2 * MIB, 128 * KIB), size);
  const refused = first.at(-1)!;
  takeBack(cursor, refused);
  const again = planRead(cursor, 2 * MIB, 128 * KIB, size, LIMITS).ahead;
  t.equal(again[0]!.from, refused.from);
  t.end();
});

/** Numbers in 0 … 1 that depend on the seed only. */
function generator(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}
