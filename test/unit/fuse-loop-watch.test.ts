import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import t from 'tap';
import { loadLibc } from '../../src/fuse/libc.ts';
import { loopWatch } from '../../src/fuse/loop-watch.ts';

const libc = (await loadLibc(fields => t.fail('koffi cannot be loaded', fields)))!;
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

t.test('the event loop tells when a descriptor can be read, until it is not watched any more', async t => {
  const [reader, writer] = libc.socketPair()!;
  let told!: () => void;
  let calls = 0;
  let next = new Promise<void>(resolve => {
    told = resolve;
  });
  const unwatch = libc.watchReadable!(reader, () => {
    calls++;
    // The next turn: what waits for a promise would not run in this one.
    setImmediate(told);
  });
  t.type(unwatch, 'function', 'this Node lets us at its libuv');
  await turn();
  t.equal(calls, 0, 'nothing to read');
  for (const text of ['one', 'two']) {
    writeSync(writer, text);
    await next;
    next = new Promise<void>(resolve => {
      told = resolve;
    });
    const bytes = Buffer.alloc(8);
    t.equal(bytes.toString('utf8', 0, readSync(reader, bytes)), text);
    t.throws(() => readSync(reader, bytes), { code: 'EAGAIN' }, 'reads do not wait');
  }
  unwatch!();
  const before = calls;
  writeSync(writer, 'three');
  for (let i = 0; i < 10; i++) await turn();
  t.equal(calls, before);
  closeSync(writer);
  closeSync(reader);
});

t.test('the other side’s end is told as well', async t => {
  const [reader, writer] = libc.socketPair()!;
  const ended = new Promise<void>(resolve => {
    const unwatch = libc.watchReadable!(reader, () => {
      setImmediate(() => {
        unwatch!();
        resolve();
      });
    });
  });
  closeSync(writer);
  await ended;
  t.equal(readSync(reader, Buffer.alloc(8)), 0);
  closeSync(reader);
});

t.test('a descriptor that cannot be waited for is refused', async t => {
  const fd = openSync('/proc/self/exe', 'r');
  t.equal(
    libc.watchReadable!(fd, () => {}),
    undefined,
  );
  closeSync(fd);
});

t.test('a worker has another loop: it is not offered there', async t => {
  t.equal(loopWatch(koffi, false), undefined);
});
