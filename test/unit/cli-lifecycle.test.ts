import t from 'tap';
import { Lifecycle, type LifecycleParts, type Unsaved } from '../../src/cli/lifecycle.ts';
import type { SessionEnd } from '../../src/fuse/ops.ts';
import { silentTelemetry } from '../../src/telemetry.ts';

interface World {
  readonly lifecycle: Lifecycle;
  /** What was done, in order. */
  readonly done: string[];
  readonly said: string[];
  end(): void;
}

function world(
  options: {
    busy?: boolean;
    drain?: (unsaved: Unsaved) => Promise<Unsaved>;
    unsaved?: Unsaved;
    drains?: NonNullable<LifecycleParts['drains']>;
  } = {},
): World {
  const done: string[] = [];
  const said: string[] = [];
  let unsaved: Unsaved = options.unsaved ?? { bytes: 0, names: [] };
  let end!: () => void;
  const ended = new Promise<SessionEnd>(resolve => {
    end = () => resolve('unmounted');
  });
  const parts: LifecycleParts = {
    mounted: {
      ended,
      async unmount({ lazy = false } = {}) {
        done.push(lazy ? 'detach' : 'unmount');
        if (options.busy && !lazy) throw new Error('EBUSY');
        if (!options.busy) end();
      },
    },
    filesystem: {
      async drain() {
        done.push('drain');
        unsaved = options.drain ? await options.drain(unsaved) : { bytes: 0, names: [] };
      },
      async destroy() {
        done.push('destroy');
      },
      unsaved: () => unsaved,
      async recover(directory) {
        done.push(`recover to ${directory}`);
        return unsaved.names;
      },
    },
    recoveryDirectory: () => '/state/recovered/x',
    log: silentTelemetry.log,
    mountPoint: '/mnt/works',
    findHolders: async () => [{ pid: 4711, command: 'bash', how: 'stands in it' }],
    say: line => void said.push(line),
    pause: async () => {},
    ...(options.drains && { drains: options.drains }),
  };
  return { lifecycle: new Lifecycle(parts), done, said, end };
}

t.test('an order to stop saves, then unmounts, and ends with 0', async t => {
  const { lifecycle, done } = world({ unsaved: { bytes: 7, names: ['a.csv'] } });
  lifecycle.stop('SIGTERM');
  t.same(await lifecycle.run(), { exitCode: 0 });
  t.same(done, ['drain', 'unmount', 'destroy']);
});

t.test('an unmount from outside saves what is left, and ends with 0', async t => {
  const { lifecycle, done, end } = world();
  end();
  t.same(await lifecycle.run(), { exitCode: 0 });
  t.same(done, ['destroy']);
});

t.test('while somebody stands in it: detached lazily, and said who', async t => {
  const { lifecycle, done, said } = world({ busy: true });
  lifecycle.stop('SIGINT');
  t.same(await lifecycle.run(), { exitCode: 0 });
  t.same(done, ['drain', 'unmount', 'detach', 'destroy']);
  t.same(said, ['/mnt/works was detached while in use: bash (4711) stands in it.']);
});

t.test('what could not be saved is named, with an exit code of its own', async t => {
  const unsaved = { bytes: 12, names: ['a.csv', '한글.csv'] };
  const { lifecycle } = world({ unsaved, drain: async before => before });
  lifecycle.stop('SIGTERM');
  t.same(await lifecycle.run(), {
    exitCode: 20,
    message: "/mnt/works ended with 12 unsaved bytes in 'a.csv', '한글.csv'; they were kept in /state/recovered/x.",
  });
});

t.test('a drain that throws does not keep the mount', async t => {
  const { lifecycle, done } = world({ drain: () => Promise.reject(new Error('no network')) });
  lifecycle.stop('SIGTERM');
  t.match(await lifecycle.run(), { exitCode: 0 });
  t.same(done, ['drain', 'unmount', 'destroy']);
});

t.test('a second order to stop does not wait for the drain', async t => {
  const { lifecycle, done } = world({ unsaved: { bytes: 3, names: ['slow'] }, drain: () => new Promise(() => {}) });
  lifecycle.stop('SIGINT');
  const ending = lifecycle.run();
  lifecycle.stop('SIGINT');
  t.match(await ending, { exitCode: 20, message: /3 unsaved bytes in 'slow'/ });
  t.same(done, ['drain', 'detach', 'recover to /state/recovered/x']);
});

t.test('a drain is waited for while S3 answers, and given up when it does not', async t => {
  let answered = 0;
  let looks = 0;
  const unsaved = { bytes: 12, names: ['a.csv'] };
  const drains = {
    answered: () => answered,
    async every(ms: number) {
      t.equal(ms, 1000);
      looks++;
      if (looks <= 500) answered++;
    },
  };
  const { lifecycle } = world({ unsaved, drains, drain: () => new Promise(() => {}) });
  lifecycle.stop('SIGTERM');
  const { exitCode, message } = await lifecycle.run();
  t.equal(exitCode, 20);
  t.match(message, /they were kept in \/state\/recovered\/x/);
  t.equal(looks, 560, 'a minute after the last answer');
});
