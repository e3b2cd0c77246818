import t from 'tap';
import { Lifecycle } from '../../src/cli/lifecycle.ts';
import { SendingProgress } from '../../src/cli/sending-progress.ts';
import type { SessionEnd } from '../../src/fuse/ops.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { ManualClock } from '../support/manual-clock.ts';

const SECOND = 1_000;

/** A daemon that is told to stop while one upload is under way, of which `arrives` says whether more comes through. */
function stopping(arrives: (second: number) => boolean) {
  const clock = new ManualClock();
  let answered = 0;
  const progress = new SendingProgress({
    answered: () => answered,
    sentMore: () => arrives(clock.monotonic() / SECOND),
    clock,
  });
  let saved = (): void => {};
  let isSaved = false;
  const lifecycle = new Lifecycle({
    mounted: { unmount: async () => {}, ended: new Promise<SessionEnd>(() => {}) },
    filesystem: {
      drain: () =>
        new Promise(resolve => {
          saved = () => {
            isSaved = true;
            answered++;
            resolve();
          };
        }),
      destroy: async () => {},
      unsaved: () => (isSaved ? { bytes: 0, names: [] } : { bytes: 9, names: ['a'] }),
      recover: async () => ['a'],
    },
    log: silentTelemetry.log,
    mountPoint: '/mnt/works',
    recoveryDirectory: () => '/state/recovered',
    findHolders: async () => [],
    say: () => {},
    pause: async () => {},
    drains: {
      answered: () => progress.look(),
      every: async ms => {
        await clock.advance(ms);
        if (clock.monotonic() === 300 * SECOND) saved();
      },
    },
  });
  lifecycle.stop('SIGTERM');
  return { clock, ending: lifecycle.run() };
}

t.test('a part that takes five minutes over a slow link is waited for', async t => {
  const { ending } = stopping(second => second % 20 === 0);
  t.same(await ending, { exitCode: 0 });
});

t.test('one of which nothing arrives is given up after a minute', async t => {
  const { clock, ending } = stopping(second => second < 30);
  t.match(await ending, { exitCode: 20 });
  t.equal(clock.monotonic(), 89 * SECOND);
});

t.test('what arrives and is never answered is given up in the end', async t => {
  const clock = new ManualClock();
  let answered = 3;
  const progress = new SendingProgress({ answered: () => answered, sentMore: () => true, clock });
  const grows = (): boolean => {
    const before = progress.look();
    return before < progress.look();
  };
  t.ok(grows());
  await clock.advance(599 * SECOND);
  t.ok(grows());
  await clock.advance(2 * SECOND);
  t.notOk(grows());
  answered++;
  t.ok(grows(), 'a good answer begins anew');
});
