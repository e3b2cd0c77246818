import fc from 'fast-check';
import t from 'tap';
import { boundByServer, extrapolate, geometricMean, ratio, summarize } from '../../bench/mounts/statistics.ts';

const positive = fc.double({ min: 1e-3, max: 1e6, noNaN: true });

t.test('the median stands in the middle, the spread tells how far apart the runs are', async t => {
  t.same(summarize([3, 1, 2]), { median: 2, spread: 1, runs: 3 });
  t.same(summarize([4, 1]), { median: 2.5, spread: 1.2, runs: 2 });
  t.same(summarize([7]), { median: 7, spread: 0, runs: 1 });
  t.same(summarize([0, 0]), { median: 0, spread: 0, runs: 2 });
  t.throws(() => summarize([]), RangeError);
});

t.test('the order of the runs is no matter, and the median is neither above nor below all of them', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(positive, { minLength: 1, maxLength: 9 }), values => {
        const { median, spread } = summarize(values);
        const back = summarize([...values].reverse());
        return (
          back.median === median &&
          back.spread === spread &&
          median >= Math.min(...values) &&
          median <= Math.max(...values) &&
          spread >= 0
        );
      }),
    ),
  );
});

t.test('geometric mean: twice and half as fast cancel each other', async t => {
  t.equal(geometricMean([2, 0.5]), 1);
  t.equal(geometricMean([8]).toFixed(9), '8.000000000');
  t.throws(() => geometricMean([]), RangeError);
  t.throws(() => geometricMean([1, 0]), RangeError);
});

t.test('what was cut off is reckoned from what was done', async t => {
  t.equal(extrapolate(30, 100, 6400), 1920);
  t.equal(extrapolate(30, 0, 6400), undefined);
  // Markers beside the files: more than all is all.
  t.equal(extrapolate(30, 7000, 6400), 30);
});

t.test('times: less is better; rates: more', async t => {
  t.equal(ratio(1, 2, false), 2);
  t.equal(ratio(1, 2, true), 0.5);
  t.ok(boundByServer(1.4, 1, false));
  t.notOk(boundByServer(1.6, 1, false));
  t.ok(boundByServer(100, 140, true));
  t.notOk(boundByServer(100, 160, true));
});
