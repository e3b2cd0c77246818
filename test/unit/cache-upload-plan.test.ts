import fc from 'fast-check';
import t from 'tap';
import { PartGrid, planCellCopies } from '../../src/cache/part-grid.ts';
import { RangeSet } from '../../src/cache/ranges.ts';
import {
  type PlannedPart,
  planUpload,
  type SentRange,
  UPLOAD_SIZES,
  type UploadPlan,
} from '../../src/cache/upload-plan.ts';
import { S3_LIMITS, type StoreLimits } from '../../src/s3/store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const TIB = 1024 * GIB;

interface Case {
  readonly size: number;
  /** Of the stored object: beyond it all is changed. */
  readonly stored: number;
  readonly changed: readonly (readonly [number, number])[];
  readonly sent?: readonly SentRange[];
  readonly limits?: StoreLimits;
}

function plan({ size, stored, changed, sent = [], limits = S3_LIMITS }: Case): UploadPlan | undefined {
  return planUpload({ size, changed: changedOf(size, stored, changed), sent, limits, sizes: UPLOAD_SIZES });
}

function changedOf(size: number, stored: number, changed: readonly (readonly [number, number])[]): RangeSet {
  const set = RangeSet.of(...changed);
  set.add(Math.min(stored, size), size);
  set.remove(size, Number.POSITIVE_INFINITY);
  return set;
}

/** What S3 would refuse, or what would put wrong bytes into the object; undefined if nothing. */
function fault(
  parts: readonly PlannedPart[],
  size: number,
  changed: RangeSet,
  sent: readonly SentRange[],
  limits: StoreLimits,
): string | undefined {
  let at = 0;
  let number = 0;
  if (parts.length > limits.maxParts) return `${parts.length} parts`;
  for (const part of parts) {
    const end = part.offset + part.size;
    if (part.offset !== at) return `a gap or overlap at ${at}`;
    if (part.number <= number || part.number > limits.maxParts) return `number ${part.number} after ${number}`;
    if (part.size > limits.maxPartSize) return `a part of ${part.size}`;
    if (part.size < limits.minPartSize && end !== size) return `a part of ${part.size} that is not the last`;
    if (part.from === 'copy') {
      if (changed.intersects(part.offset, end)) return `a copy of changed bytes at ${part.offset}`;
      if (part.size > limits.maxCopySize) return `a copy of ${part.size}`;
      if (part.size < limits.minPartSize) return `a copy of only ${part.size}`;
    }
    if (part.from === 'sent' && !sent.some(s => s.number === part.number && s.offset === at && s.size === part.size)) {
      return `part ${part.number} was never sent`;
    }
    at = end;
    number = part.number;
  }
  return at === size ? undefined : `ends at ${at}`;
}

const moved = (parts: readonly PlannedPart[]): number =>
  parts.reduce((sum, part) => sum + (part.from === 'send' ? part.size : 0), 0);

function multipart(given: Case): readonly PlannedPart[] {
  const result = plan(given);
  if (result?.kind !== 'multipart') throw new Error(`no multipart plan but ${result?.kind}`);
  const limits = given.limits ?? S3_LIMITS;
  const wrong = fault(
    result.parts,
    given.size,
    changedOf(given.size, given.stored, given.changed),
    given.sent ?? [],
    limits,
  );
  if (wrong) throw new Error(wrong);
  return result.parts;
}

/** Sizes of all magnitudes, also just beside round ones. */
const anySize = (max: number): fc.Arbitrary<number> =>
  fc
    .tuple(fc.double({ min: 0, max: Math.log2(max), noNaN: true }), fc.integer({ min: -2, max: 2 }), fc.boolean())
    .map(([log, beside, round]) =>
      Math.min(max, Math.max(0, Math.floor(2 ** (round ? Math.round(log) : log)) + beside)),
    );

const anyCase = (max: number): fc.Arbitrary<Case> =>
  anySize(max).chain(size =>
    fc.record({
      size: fc.constant(size),
      stored: fc.oneof(fc.constant(size), anySize(max), fc.constant(0)),
      changed: fc.array(
        fc
          .tuple(fc.double({ min: 0, max: 1, noNaN: true }), anySize(Math.max(1, Math.min(size, 64 * MIB))))
          .map(([place, length]): [number, number] => {
            const start = Math.floor(place * size);
            return [start, Math.min(size, start + length)];
          }),
        { maxLength: 8 },
      ),
    }),
  );

t.test('every plan is one that S3 takes, and puts every byte where it belongs', async t => {
  fc.assert(
    fc.property(anyCase(48 * TIB), given => {
      const result = plan(given)!;
      if (result.kind === 'put') return given.size <= UPLOAD_SIZES.singlePut;
      const changed = changedOf(given.size, given.stored, given.changed);
      const wrong = fault(result.parts, given.size, changed, [], S3_LIMITS);
      if (wrong) throw new Error(wrong);
      return true;
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test('parts sent ahead are used where they can be, and never break a plan', async t => {
  const limits: StoreLimits = {
    ...S3_LIMITS,
    maxParts: 40,
    minPartSize: 10,
    maxPartSize: 400,
    maxCopySize: 400,
    maxObjectSize: 16_000,
  };
  const sizes = { singlePut: 20, part: 16, copyPart: 60, maxCopyPart: 200, copies: 4, zeros: 300 };
  const grid = new PartGrid(sizes, limits);
  fc.assert(
    fc.property(
      fc.integer({ min: 21, max: 3000 }),
      fc.nat(3000),
      fc.array(fc.tuple(fc.nat(3000), fc.nat(50)), { maxLength: 6 }),
      fc.uniqueArray(fc.nat(39), { maxLength: 12 }),
      fc.array(fc.record({ number: fc.integer({ min: 1, max: 40 }), offset: fc.nat(2000), size: fc.nat(60) }), {
        maxLength: 3,
      }),
      (size, stored, ranges, cells, others) => {
        const changed = changedOf(
          size,
          stored,
          ranges.map(([start, length]) => [Math.min(size, start), Math.min(size, start + length)]),
        );
        const ahead = cells.map(cell => ({ number: cell + 1, offset: grid.startOf(cell), size: grid.sizeOf(cell) }));
        // What the store has holds what the file has there, whatever else is changed.
        const sent = [...ahead, ...others];
        const result = planUpload({ size, changed, sent, limits, sizes })!;
        if (result.kind !== 'multipart') throw new Error('one PUT');
        const wrong = fault(result.parts, size, changed, sent, limits);
        if (wrong) throw new Error(wrong);
        return true;
      },
    ),
    { numRuns: 1500 },
  );
  t.pass();
});

t.test('where numbers may have no gap, there is none', async t => {
  const limits: StoreLimits = {
    ...S3_LIMITS,
    maxParts: 40,
    minPartSize: 10,
    maxPartSize: 400,
    maxCopySize: 400,
    maxObjectSize: 16_000,
    consecutiveParts: true,
  };
  const sizes = { singlePut: 20, part: 16, copyPart: 60, maxCopyPart: 200, copies: 4, zeros: 300 };
  const grid = new PartGrid(sizes, limits);
  let kept = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 21, max: 3000 }),
      fc.nat(3000),
      fc.array(fc.tuple(fc.nat(3000), fc.nat(50)), { maxLength: 6 }),
      fc.uniqueArray(fc.nat(39), { maxLength: 12 }),
      fc.boolean(),
      (size, stored, ranges, cells, required) => {
        const within = ranges.map(
          ([start, length]) => [Math.min(size, start), Math.min(size, start + length)] as const,
        );
        const changed = changedOf(size, stored, within);
        const sent = cells
          .map(cell => ({ number: cell + 1, offset: grid.startOf(cell), size: grid.sizeOf(cell), required }))
          .filter(part => part.offset + part.size <= size);
        const copies = planCellCopies(0, Math.min(size, stored), grid, limits, sizes);
        if (copies.some((part, i) => part.number !== i + 1)) throw new Error('copies with gaps between their numbers');
        const result = planUpload({ size, changed, sent, limits, sizes })!;
        if (result.kind !== 'multipart') throw new Error('one PUT');
        const wrong = fault(result.parts, size, changed, sent, limits);
        if (wrong) throw new Error(wrong);
        const gap = result.parts.findIndex((part, i) => part.number !== i + 1);
        if (gap >= 0) throw new Error(`part ${gap} has the number ${result.parts[gap]!.number}`);
        const used = result.parts.filter(part => part.from === 'sent').length;
        if (required && used < sent.length) throw new Error('a part whose bytes are nowhere else is left out');
        kept += used;
        return true;
      },
    ),
    { numRuns: 1500 },
  );
  t.ok(kept > 500, `${kept} sent parts were used`);
});

t.test('the parts of a file written in order are all used', async t => {
  const grid = new PartGrid(UPLOAD_SIZES, S3_LIMITS);
  const sent = Array.from({ length: 1200 }, (_, cell) => ({
    number: cell + 1,
    offset: grid.startOf(cell),
    size: grid.sizeOf(cell),
  }));
  const size = grid.startOf(1200) + 3 * MIB;
  const parts = multipart({ size, stored: 0, changed: [], sent });
  t.equal(moved(parts), 3 * MIB);
  t.equal(parts.length, 1201);
  const withHeader = multipart({ size, stored: 0, changed: [], sent: sent.slice(1) });
  t.equal(moved(withHeader), 11 * MIB, 'a rewritten header costs its part');
});

t.test('an append moves what was appended', async t => {
  for (const stored of [1 * GIB, 50 * GIB, 5 * TIB]) {
    const parts = multipart({ size: stored + KIB, stored, changed: [] });
    t.equal(moved(parts), KIB, `to ${stored / GIB} GiB`);
  }
  t.equal(multipart({ size: GIB + KIB, stored: GIB, changed: [] }).length, 17, '16 copies of 64 MiB and the tail');
});

t.test('a patch in the middle moves one part of the smallest size', async t => {
  for (const stored of [100 * MIB, 1 * GIB, 50 * GIB, 5 * TIB, 48 * TIB]) {
    const middle = Math.floor(stored / 2 / KIB) * KIB + 512;
    const parts = multipart({ size: stored, stored, changed: [[middle, middle + 4 * KIB]] });
    t.ok(moved(parts) <= 5 * MIB, `of ${stored / GIB} GiB: ${moved(parts)} bytes`);
  }
  const patched = multipart({ size: GIB, stored: GIB, changed: [[512 * MIB, 512 * MIB + 4096]] });
  t.ok(patched.length <= 18, `${patched.length} parts of 1 GiB`);
});

t.test('bytes moved are bounded by what was changed', async t => {
  fc.assert(
    fc.property(anyCase(1 * TIB), given => {
      const result = plan(given)!;
      if (result.kind === 'put') return true;
      const changed = changedOf(given.size, given.stored, given.changed);
      // Each changed range may take a smallest part with it, and swallow less than one beside that.
      return moved(result.parts) <= changed.bytes + 2 * (changed.count + 1) * S3_LIMITS.minPartSize;
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

t.test('truncating a large object copies what is left', async t => {
  const parts = multipart({ size: 30 * GIB + 1, stored: 50 * GIB, changed: [] });
  t.equal(moved(parts), 0);
  t.ok(parts.length <= 121);
});

t.test('small files are one PUT, whatever was sent before', async t => {
  t.same(plan({ size: 0, stored: 0, changed: [] }), { kind: 'put' });
  t.same(plan({ size: 16 * MIB, stored: 0, changed: [] }), { kind: 'put' });
  const sent = [{ number: 1, offset: 0, size: 8 * MIB }];
  t.same(plan({ size: 12 * MIB, stored: 0, changed: [], sent }), { kind: 'put' });
});

t.test('what no object can hold has no plan', async t => {
  t.equal(plan({ size: S3_LIMITS.maxObjectSize + 1, stored: 0, changed: [] }), undefined);
  const largest = plan({ size: S3_LIMITS.maxObjectSize, stored: S3_LIMITS.maxObjectSize, changed: [] });
  t.equal(largest?.kind === 'multipart' && largest.parts.length, 10_000);
});

t.test('the grid covers terabytes without a gap, and finds the cell of an offset', async t => {
  const grid = new PartGrid(UPLOAD_SIZES, S3_LIMITS);
  for (let cell = 0; cell < 9999; cell++) {
    if (grid.startOf(cell) + grid.sizeOf(cell) !== grid.startOf(cell + 1)) t.fail(`a gap after cell ${cell}`);
    if (grid.cellOf(grid.startOf(cell)) !== cell) t.fail(`cell ${cell} is not found at its start`);
    if (grid.cellOf(grid.startOf(cell + 1) - 1) !== cell) t.fail(`cell ${cell} is not found at its end`);
  }
  t.equal(grid.sizeOf(0), 8 * MIB);
  t.ok(grid.startOf(9999) > 5 * TIB);
  t.equal(grid.cellOf(48 * TIB), 10_000, 'beyond the grid');
});

t.test('copies on the server take whole cells, all of them, and nothing else', async t => {
  const grid = new PartGrid(UPLOAD_SIZES, S3_LIMITS, 64 * MIB);
  fc.assert(
    fc.property(anySize(4 * TIB), anySize(2 * TIB), (start, length) => {
      const end = start + length;
      let at = grid.cellOf(start);
      if (grid.startOf(at) < start) at++;
      for (const { number, offset, size } of planCellCopies(start, end, grid, S3_LIMITS, UPLOAD_SIZES)) {
        if (number !== at + 1 || offset !== grid.startOf(at)) return false;
        if (size < S3_LIMITS.minPartSize || size > S3_LIMITS.maxCopySize || offset + size > end) return false;
        while (at < grid.cells && grid.startOf(at) < offset + size) at++;
        if (grid.startOf(at) !== offset + size) return false;
      }
      return !grid.leavesRoom(at) || grid.startOf(at) + grid.sizeOf(at) > end;
    }),
    { numRuns: 300 },
  );
  const parts = planCellCopies(0, 2 * GIB - 4096, grid, S3_LIMITS, UPLOAD_SIZES);
  t.same([parts.length, parts[0]?.size], [16, 128 * MIB], 'few of them');
});

t.test('what was copied ahead is part of any plan', async t => {
  const grid = new PartGrid(UPLOAD_SIZES, S3_LIMITS);
  fc.assert(
    fc.property(
      anySize(60 * GIB),
      anySize(30 * GIB),
      anySize(90 * GIB),
      anySize(90 * GIB),
      (start, length, more, stored) => {
        const sent = planCellCopies(start, start + length, grid, S3_LIMITS, UPLOAD_SIZES).map(part => {
          return { ...part, required: true };
        });
        const size = Math.max(more, ...sent.map(part => part.offset + part.size));
        const changed = changedOf(
          size,
          stored,
          sent.map(part => [part.offset, part.offset + part.size]),
        );
        const result = planUpload({ size, changed, sent, limits: S3_LIMITS, sizes: UPLOAD_SIZES });
        if (sent.length === 0) return true;
        if (result?.kind !== 'multipart') return false;
        if (result.parts.filter(part => part.required).length !== sent.length) return false;
        return fault(result.parts, size, changed, sent, S3_LIMITS) === undefined;
      },
    ),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('large holes are copied, whatever lies between them', async t => {
  fc.assert(
    fc.property(anyCase(40 * TIB), fc.boolean(), (given, last) => {
      const { size, stored } = given;
      const changed = changedOf(size, stored, given.changed);
      // A third of what is changed is zeros.
      const zeros = RangeSet.of([Math.floor(size / 3), last ? size : Math.floor((size * 2) / 3)]);
      zeros.keepOnly(changed);
      const result = planUpload({ size, changed, zeros, sent: [], limits: S3_LIMITS, sizes: UPLOAD_SIZES })!;
      if (result.kind === 'put') return size <= UPLOAD_SIZES.singlePut;
      const wrong = fault(result.parts, size, changed, [], S3_LIMITS);
      if (wrong) throw new Error(wrong);
      for (const { from, offset, size: length } of result.parts) {
        if (from === 'zero' && (!zeros.covers(offset, offset + length) || length > S3_LIMITS.maxCopySize)) return false;
      }
      let large = 0;
      zeros.visit(0, size, (start, end) => {
        if (end - start >= UPLOAD_SIZES.copyPart) large += end - start;
      });
      const copied = result.parts.reduce((sum, part) => sum + (part.from === 'zero' ? part.size : 0), 0);
      if (large < UPLOAD_SIZES.zeros) return copied === 0;
      // As above, of each range.
      return copied >= large - 2 * (zeros.count + changed.count + 1) * S3_LIMITS.minPartSize;
    }),
    { numRuns: 500 },
  );
  const parts = planUpload({
    size: 10 * GIB,
    changed: RangeSet.of([0, 10 * GIB]),
    zeros: RangeSet.of([0, 10 * GIB]),
    sent: [],
    limits: S3_LIMITS,
    sizes: UPLOAD_SIZES,
  });
  t.equal(parts?.kind === 'multipart' && parts.parts.length, 40, 'of 256 MiB');
});
