import fc from 'fast-check';
import t from 'tap';
import { RangeSet } from '../../src/cache/ranges.ts';

const SIZE = 48;
const range = fc.tuple(fc.nat(SIZE), fc.nat(SIZE));
const change = fc.record({ add: fc.boolean(), range });

function build(changes: readonly { add: boolean; range: [number, number] }[]): { set: RangeSet; model: boolean[] } {
  const set = new RangeSet();
  const model = new Array<boolean>(SIZE).fill(false);
  for (const { add, range } of changes) {
    const [start, end] = range;
    if (add) set.add(start, end);
    else set.remove(start, end);
    for (let i = start; i < end; i++) model[i] = add;
  }
  return { set, model };
}

t.test('a range set is the set of its offsets', async t => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), range, (changes, [start, end]) => {
      const { set, model } = build(changes);
      const within = model.slice(start, Math.max(start, end));
      let next = start + 1;
      while (next < SIZE && model[next] === model[start]) next++;
      const edge = set.nextEdge(start);
      const seen: number[] = [];
      set.visit(start, end, (a, b) => {
        for (let i = a; i < b; i++) seen.push(i);
      });
      return (
        set.bytes === model.filter(Boolean).length &&
        set.isEmpty === !model.includes(true) &&
        model.every((value, i) => set.has(i) === value) &&
        set.covers(start, end) === within.every(Boolean) &&
        set.intersects(start, end) === within.includes(true) &&
        (start >= SIZE || (edge === Number.POSITIVE_INFINITY ? next === SIZE : edge === next)) &&
        seen.join() === [...within.keys()].flatMap(i => (within[i] ? [i + start] : [])).join() &&
        set.end === model.lastIndexOf(true) + 1
      );
    }),
    { numRuns: 2000 },
  );
  t.pass();
});

t.test('ranges are kept joined and in order', async t => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 12 }), changes => {
      const ranges: [number, number][] = [];
      build(changes).set.visit(0, Number.POSITIVE_INFINITY, (a, b) => ranges.push([a, b]));
      return ranges.every(([a, b], i) => a < b && (i === 0 || ranges[i - 1]![1] < a));
    }),
  );
  t.pass();
});

t.test('intersection, union, difference and copies', async t => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 10 }), fc.array(change, { maxLength: 10 }), (first, second) => {
      const a = build(first);
      const b = build(second);
      const both = a.set.copy();
      both.keepOnly(b.set);
      const either = a.set.copy();
      either.addAll(b.set);
      const only = a.set.copy();
      only.removeAll(b.set);
      return a.model.every(
        (inA, i) =>
          a.set.has(i) === inA &&
          both.has(i) === (inA && b.model[i]) &&
          either.has(i) === (inA || b.model[i]) &&
          only.has(i) === (inA && !b.model[i]),
      );
    }),
  );
  t.pass();
});
