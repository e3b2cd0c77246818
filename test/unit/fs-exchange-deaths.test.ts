/** `journal=`: two files that are being written are exchanged, and the daemon dies at each call: nothing of them is zeros. */
import t from 'tap';
import { RENAME_EXCHANGE } from '../../src/fuse/ops.ts';
import { World } from '../support/unsaved-world.ts';

const O_RDWR = 2;
const SIZE = 3000;
const OLD = { a: 'a'.repeat(SIZE), b: 'b'.repeat(SIZE) };
const NEW = { a: `1${OLD.a.slice(1)}`, b: `2${OLD.b.slice(1)}` };

/** What a power cut keeps of what was not synced: nothing, or all. */
const CUTS = { kill: undefined, 'power cut': () => 0.4 };

for (const [death, random] of Object.entries(CUTS)) {
  t.test(`an exchange of two files that are open and unsaved, and a ${death} at each call to S3`, async t => {
    let isOver = false;
    for (let calls = 0; !isOver; calls++) {
      const world = new World();
      world.store.putForeign('a', OLD.a);
      world.store.putForeign('b', OLD.b);
      const { kernel } = await world.mount();
      for (const [name, text] of [
        ['a', '1'],
        ['b', '2'],
      ] as const) {
        const file = await world.until(kernel.open(`/${name}`, O_RDWR));
        await world.until(kernel.write(file, 0, Buffer.from(text)));
      }
      // What was written is safe, and what comes now is not before somebody asks for it.
      await world.clock.advance(1000);
      let left = calls;
      const stop = world.store.intercept((_call, proceed) => (left-- > 0 ? proceed() : new Promise(() => {})));
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
      if (random) world.disk = disk.after(disk.events.length, random);
      const next = await world.mount();
      const { beside } = await world.until(next.recovered);
      const found = [world.store.text('a'), world.store.text('b')].map(text => text?.slice(0, 2));
      t.same(beside, [], `no copy beside, after ${calls} calls`);
      t.ok(
        world.store.keys().every(key => !world.store.text(key)?.includes('\0')),
        `no zeros, after ${calls} calls`,
      );
      const whole: (string | undefined)[] = [OLD.a, OLD.b, NEW.a, NEW.b];
      for (const name of ['a', 'b']) t.ok(whole.includes(world.store.text(name)), `${name} is whole: ${found}`);
      for (const text of [NEW.a, NEW.b]) {
        t.ok(
          world.store.keys().some(key => world.store.text(key) === text),
          `what was written is somewhere, after ${calls} calls`,
        );
      }
    }
    t.end();
  });
}
