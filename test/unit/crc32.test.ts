import { createHash, randomBytes } from 'node:crypto';
import { crc32 as crc32OfZlib } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { chooseCrc32, crc32, foldingCrc32, TAPS } from '../../src/crc32.ts';

t.test('the taps are a multiple of the polynomial', async t => {
  const powers: bigint[] = [1n];
  for (let i = 1; i <= 300; i++) {
    const next = powers[i - 1]! << 1n;
    powers.push(next >> 32n ? next ^ 0x1_04c1_1db7n : next);
  }
  const farthest = Math.max(...TAPS);
  t.equal(
    powers[farthest],
    TAPS.reduce((sum, tap) => sum ^ powers[farthest - tap]!, 0n),
  );
});

t.test('folding gives what zlib gives, of any length, place and beginning', async t => {
  const folding = foldingCrc32();
  const bytes = randomBytes(600_000);
  fc.assert(
    fc.property(
      fc.nat(300_000),
      fc.nat(300_000),
      fc.integer({ min: 0, max: 0xffff_ffff }),
      (offset, length, before) => {
        const part = bytes.subarray(offset, offset + length);
        return folding(part, before) === crc32OfZlib(part, before) && crc32(part, before) === crc32OfZlib(part, before);
      },
    ),
    { numRuns: 300 },
  );
  for (const length of [0, 1, 16_383, 16_384, 16_385, 131_072, 131_073, 147_455, 147_456, 262_144]) {
    const part = bytes.subarray(7, 7 + length);
    t.equal(folding(part), crc32OfZlib(part), `${length} bytes`);
  }
});

t.test('the bytes stay as they are', async t => {
  const bytes = randomBytes(200_000);
  const before = createHash('sha256').update(bytes).digest('hex');
  foldingCrc32()(bytes, 5);
  t.equal(createHash('sha256').update(bytes).digest('hex'), before);
});

t.test('zlib does it where it is fast, or where there is no WebAssembly', async t => {
  const folding = foldingCrc32();
  const clock = (...steps: number[]): (() => number) => {
    let now = 0;
    let i = 0;
    return () => {
      now += i % 2 === 1 ? steps[Math.floor(i / 2) % steps.length]! : 0;
      i++;
      return now;
    };
  };
  t.equal(
    chooseCrc32(() => folding, clock(0.02, 0.03)),
    folding,
    'slow',
  );
  t.equal(
    chooseCrc32(() => folding, clock(0.02, 0.008)),
    crc32OfZlib,
    'one fast run shows it',
  );
  const none = (): never => {
    throw new Error('no memory for WebAssembly');
  };
  t.equal(chooseCrc32(none, clock(0.02)), crc32OfZlib);
});
