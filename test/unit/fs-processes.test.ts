import t from 'tap';
import { PerThread, processOf } from '../../src/fs/processes.ts';

t.test('a thread’s process is asked for once a second', async t => {
  let now = 0;
  const asked: number[] = [];
  const threads = new PerThread(
    thread => {
      asked.push(thread);
      return thread === 9 ? undefined : thread * 10;
    },
    () => now,
  );
  t.equal(threads.of(7), 70);
  t.equal(threads.of(7), 70);
  t.equal(threads.of(9), undefined);
  t.equal(threads.of(9), undefined, 'that it cannot be told is remembered too');
  t.same(asked, [7, 9]);
  now = 1000;
  t.equal(threads.of(7), 70, 'its number may be another’s by then');
  t.same(asked, [7, 9, 7]);
});

t.test('no more threads are remembered than call at a time', async t => {
  const asked: number[] = [];
  const threads = new PerThread(
    thread => {
      asked.push(thread);
      return thread;
    },
    () => 0,
  );
  for (let thread = 1; thread <= 300; thread++) threads.of(thread);
  asked.length = 0;
  threads.of(300);
  threads.of(1);
  t.same(asked, [1]);
});

t.test('/proc tells the process of this thread, and of no thread that is not there', async t => {
  t.equal(processOf(process.pid), process.pid);
  t.equal(processOf(0), undefined);
  t.equal(processOf(2 ** 30), undefined);
});
