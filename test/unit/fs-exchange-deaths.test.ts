/** `journal=`: two files that are being written are exchanged, and the daemon dies at each call: nothing of them is zeros. */
import t from 'tap';
import { RENAME_EXCHANGE } from '../../src/fuse/ops.ts';
import { World } from '../support/unsaved-world.ts';

const O_RDWR = 2;
const SIZE = 3000;
const OLD = { a: 'a'.repeat(SIZE), b: 'b'.repeat(SIZE) };
const MARKED = { a: `1!${OLD.a.slice(2)}`, b: `2!${OLD.b.slice(2)}` };
const NEW = { a: `1${OLD.a.slice(1)}`, b: `2${OLD.b.slice(1)}` };

/** What a power cut keeps of what was not synced: nothing, or all. */
const CUTS = { kill: undefined, 'power cut': () => 0.4 };

/** Before which of the three copies both are written once more, as the kernel does with pages of a mapping. */
const WRITES = [undefined, 1, 2, 3];
const CASES = Object.entries(CUTS).flatMap(([death, random]) => WRITES.map(write => ({ death, random, write })));

for (const { death, random, write } of CASES) {
  const more = write === undefined ? '' : `, written again before copy ${write}`;
  t.test(`an exchange of two files that are open and unsaved${more}, and a ${death} at each call to S3`, async t => {
    let isOver = false;
    for (let calls = 0; !isOver; calls++) {
      const world = new World();
      world.store.putForeign('a', OLD.a);
      world.store.putForeign('b', OLD.b);
      const { kernel } = await world.mount();
      const files: Awaited<ReturnType<typeof kernel.open>>[] = [];
      for (const [name, text] of [
        ['a', '1'],
        ['b', '2'],
      ] as const) {
        const file = await world.until(kernel.open(`/${name}`, O_RDWR));
        files.push(file);
        await world.until(kernel.write(file, 0, Buffer.from(text)));
      }
      // What was written is safe, and what comes now is not before somebody asks for it.
      await world.clock.advance(1000);
      let left = calls;
      const stop = world.store.intercept((_call, proceed) => (left-- > 0 ? proceed() : new Promise(() => {})));
      let copies = 0;
      let isMarked = false;
      const stopWriting = world.store.intercept(async (call, proceed) => {
        if (call.operation === 'CopyObject' && ++copies === write) {
          await Promise.all(files.map(file => kernel.write(file, 1, Buffer.from('!'))));
          isMarked = true;
        }
        return proceed();
      });
      let isDone = false;
      const exchanged = kernel.rename('/a', '/b', RENAME_EXCHANGE).then(() => {
        isDone = true;
      });
      exchanged.catch(() => {});
      await world.clock.advance(100);
      isOver = isDone;
      const { disk } = world;
      await world.kill();
      stop();
      stopWriting();
      if (random) world.disk = disk.after(disk.events.length, random);
      const next = await world.mount();
      const { beside } = await world.until(next.recovered);
      const at = `after ${calls} calls`;
      const texts = world.store.keys().map(key => world.store.text(key) ?? '');
      if (write === undefined) t.same(beside, [], `no copy beside, ${at}`);
      const whole = [OLD, NEW, MARKED].flatMap(({ a, b }) => [a, b]);
      t.ok(
        texts.every(text => whole.includes(text)),
        `all there is is whole, ${at}`,
      );
      t.ok(world.store.text('a') !== undefined && world.store.text('b') !== undefined, `both names are there, ${at}`);
      // What was written in the last second a power cut may cost.
      for (const name of ['a', 'b'] as const) {
        const kept = texts.includes(MARKED[name]) || ((random || !isMarked) && texts.includes(NEW[name]));
        t.ok(kept, `what was written to ${name} is there, ${at}`);
      }
    }
    t.end();
  });
}
