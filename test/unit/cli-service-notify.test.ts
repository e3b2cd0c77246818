import t from 'tap';
import { ServiceMessages, statusOfDrain, type UnsavedAmount } from '../../src/cli/service-notify.ts';
import { ManualClock } from '../support/manual-clock.ts';

const LIMIT = 120_000;

/** systemd with the unit's TimeoutStopSec: an extension moves its limit, never nearer (sd_notify(3)). */
function stoppingService(left: () => UnsavedAmount) {
  const clock = new ManualClock();
  const messages: string[] = [];
  let answered = 0;
  let limit = LIMIT;
  const service = new ServiceMessages(message => {
    messages.push(message);
    const asked = /^EXTEND_TIMEOUT_USEC=(\d+)$/m.exec(message)?.[1];
    if (asked !== undefined) limit = Math.max(limit, clock.monotonic() + Number(asked) / 1000);
  }, clock);
  service.stopping({ left, answered: () => answered });
  return { clock, messages, service, answer: () => void answered++, limit: () => limit };
}

t.test(
  'while S3 answers, stopping gets more time, although a large file is unsaved until its last part is in',
  async t => {
    const { clock, answer, limit } = stoppingService(() => ({ bytes: 2 ** 40, files: 1 }));
    // A part every 50 s: a minute without an answer would be the end of the drain.
    for (let part = 0; part < 100; part++) {
      await clock.advance(50_000);
      t.ok(limit() > clock.monotonic(), `killed after part ${part}`);
      answer();
    }
  },
);

t.test('smaller amounts are progress too', async t => {
  let files = 100;
  const { clock, limit } = stoppingService(() => ({ bytes: 0, files }));
  for (; files > 0; files--) await clock.advance(50_000);
  t.ok(limit() > clock.monotonic());
});

t.test('when nothing moves, the limit holds; and it leaves time to write to the local disk', async t => {
  const { clock, answer, limit, messages } = stoppingService(() => ({ bytes: 5, files: 1 }));
  await clock.advance(200_000);
  t.equal(limit(), LIMIT, 'a dead network keeps no machine from going down');
  t.equal(messages.filter(message => message.includes('EXTEND')).length, 1);
  t.equal(messages.at(-1), 'STATUS=Saving: 5 bytes in 1 file left');

  answer();
  await clock.advance(5_000);
  const last = clock.monotonic();
  await clock.advance(600_000);
  // A drain is given up 60 s after the last answer; then its bytes are written here.
  t.equal(limit() - last, 120_000);
});

t.test('told once that it stops', async t => {
  const { messages, service } = stoppingService(() => ({ bytes: 0, files: 0 }));
  service.stopping({ left: () => ({ bytes: 0, files: 0 }), answered: () => 0 });
  t.equal(messages.length, 1);
  t.match(messages[0], /^STOPPING=1\nSTATUS=Everything is saved; unmounting\nEXTEND_TIMEOUT_USEC=120000000$/);
  t.equal(statusOfDrain({ bytes: 3 * 2 ** 20, files: 2 }), 'Saving: 3.0 MiB in 2 files left');
});
