/** The daemon's timers. */
import t from 'tap';
import { systemClock } from '../../src/concurrency.ts';

const DAY = 24 * 3600 * 1000;

t.test('a timer of a year waits for a year', t => {
  const timers: { ms: number; callback: () => void }[] = [];
  const { setTimeout: real } = globalThis;
  t.teardown(() => {
    globalThis.setTimeout = real;
  });
  const fake = (callback: () => void, ms: number) => {
    timers.push({ ms, callback });
    return real(() => {}, 0);
  };
  globalThis.setTimeout = fake as typeof real;
  let fired = 0;
  systemClock.after(365 * DAY, () => void fired++);
  let waited = 0;
  for (let timer = timers.shift(); timer; timer = timers.shift()) {
    t.equal(fired, 0);
    t.ok(timer.ms < 2 ** 31, 'longer ones fire at once');
    waited += timer.ms;
    timer.callback();
  }
  t.equal(fired, 1);
  t.equal(waited, 365 * DAY);
  t.end();
});

t.test('it is cancelled whichever part of it is under way', t => {
  const timers: (() => void)[] = [];
  const { setTimeout: real, clearTimeout: realClear } = globalThis;
  t.teardown(() => {
    globalThis.setTimeout = real;
    globalThis.clearTimeout = realClear;
  });
  const cancelled: unknown[] = [];
  const made: unknown[] = [];
  globalThis.setTimeout = ((callback: () => void) => {
    timers.push(callback);
    const timer = { unref: () => timer };
    made.push(timer);
    return timer;
  }) as unknown as typeof real;
  globalThis.clearTimeout = (timer => void cancelled.push(timer)) as typeof realClear;
  const cancel = systemClock.after(60 * DAY, () => {});
  timers.shift()!();
  cancel();
  t.same(cancelled, [made[1]]);
  t.equal(cancelled[0], made[1]);
  t.end();
});
