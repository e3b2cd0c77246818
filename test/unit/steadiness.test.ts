import t from 'tap';
import { steadiness } from '../support/steadiness.ts';

const allowance = { times: 1.1, plus: 5, fill: 60 };
const series = (count: number, value: (at: number) => number): number[] =>
  Array.from({ length: count }, (_, at) => value(at));

t.test('what fills at the beginning and stays is steady', async t => {
  const filling = series(30, at => Math.min(100, 40 + at * 8));
  t.same(steadiness(filling, allowance), { before: 100, after: 100, isSteady: true });
});

t.test('what grows to the end is not', async t => {
  t.same(
    steadiness(
      series(30, at => 100 + at * 10),
      allowance,
    ),
    { before: 290, after: 390, isSteady: false },
  );
});

t.test('the last third may be above the middle by a factor and a piece, and no more', async t => {
  const step = (last: number): number[] => series(12, at => (at < 8 ? 100 : last));
  t.ok(steadiness(step(115), allowance).isSteady);
  t.notOk(steadiness(step(116), allowance).isSteady);
});

t.test('what fills late is steady up to what it holds', async t => {
  const late = (most: number): number[] => series(12, at => (at < 8 ? 10 : most));
  t.ok(steadiness(late(60), allowance).isSteady);
  t.notOk(steadiness(late(61), allowance).isSteady);
});

t.test('one peak in the last third counts, one in the first does not', async t => {
  const peak = (at: number): number[] => series(30, each => (each === at ? 1000 : 100));
  t.ok(steadiness(peak(3), allowance).isSteady);
  t.notOk(steadiness(peak(29), allowance).isSteady);
});

t.test('what falls is steady, and so is zero', async t => {
  t.ok(
    steadiness(
      series(30, at => 100 - at),
      allowance,
    ).isSteady,
  );
  t.ok(
    steadiness(
      series(12, () => 0),
      allowance,
    ).isSteady,
  );
});

t.test('of a series without four values in each third nothing is known', async t => {
  t.notOk(steadiness([], allowance).isSteady);
  t.notOk(
    steadiness(
      series(11, () => 1),
      allowance,
    ).isSteady,
  );
  t.ok(
    steadiness(
      series(12, () => 1),
      allowance,
    ).isSteady,
  );
  // The values that three does not divide belong to the middle.
  t.same(
    steadiness(
      series(14, at => (at === 9 ? 50 : 1)),
      allowance,
    ).before,
    50,
  );
});
