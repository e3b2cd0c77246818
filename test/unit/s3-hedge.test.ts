import t from 'tap';
import { Hedge, type Sending } from '../../src/s3/hedge.ts';
import { Counters } from '../../src/telemetry.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { settle } from '../support/manual-store.ts';

/** A sending that the test lets answer, finish and fail. */
class Sent {
  readonly sending: Sending;
  readonly result: Promise<string>;
  finish!: (text: string) => void;
  fail!: (error: Error) => void;
  constructor(sending: Sending) {
    this.sending = sending;
    this.result = new Promise((resolve, reject) => {
      this.finish = resolve;
      this.fail = reject;
    });
    sending.signal.addEventListener('abort', () => this.fail(new Error('aborted')));
  }
}

function place() {
  const clock = new ManualClock();
  const counters = new Counters();
  const hedge = new Hedge(clock, counters);
  const sent: Sent[] = [];
  const run = (signal?: AbortSignal, mayRepeat = () => true): Promise<string> =>
    hedge.run(
      sending => {
        const each = new Sent(sending);
        sent.push(each);
        return each.result;
      },
      signal,
      mayRepeat,
    );
  /** `count` requests that are answered after `ms`. */
  const quick = async (count: number, ms: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      const result = run();
      await clock.advance(ms);
      sent.at(-1)!.sending.answered();
      sent.at(-1)!.finish('quick');
      await result;
    }
    sent.length = 0;
  };
  return { clock, counters, hedge, sent, run, quick };
}

t.test('what is late is learned; then the second may win, and the first touches nothing more', async t => {
  const { clock, counters, hedge, sent, run, quick } = place();
  await quick(99, 20);
  t.equal(hedge.delay, Number.POSITIVE_INFINITY, 'too little is known');
  await quick(1, 20);
  t.equal(hedge.delay, 25, 'nothing is late earlier');
  await quick(100, 24);
  const result = run();
  await clock.advance(24);
  await settle();
  t.equal(sent.length, 1);
  await clock.advance(1);
  await settle();
  t.equal(sent.length, 2, 'sent again');
  sent[1]!.sending.answered();
  t.ok(sent[0]!.sending.signal.aborted, 'the slow one is given up');
  t.throws(() => sent[0]!.sending.answered(), /faster/);
  sent[1]!.finish('second');
  t.equal(await result, 'second');
  t.equal(counters.get('s3.hedged'), 1);
  t.equal(counters.get('s3.hedges_won'), 1);
});

t.test('the first may still win, and a refusal of one does not end the other', async t => {
  const { clock, counters, sent, run, quick } = place();
  await quick(100, 10);
  const late = async (): Promise<Promise<string>[]> => {
    sent.length = 0;
    const result = run();
    await clock.advance(25);
    await settle();
    t.equal(sent.length, 2);
    return [result];
  };
  let [result] = await late();
  sent[0]!.sending.answered();
  t.ok(sent[1]!.sending.signal.aborted);
  sent[0]!.finish('first');
  t.equal(await result, 'first');
  t.equal(counters.get('s3.hedges_won'), 0);
  [result] = await late();
  sent[1]!.fail(new Error('503'));
  await settle();
  sent[0]!.sending.answered();
  sent[0]!.finish('first again');
  t.equal(await result, 'first again');
  [result] = await late();
  sent[0]!.fail(new Error('the first error'));
  sent[1]!.fail(new Error('the second error'));
  await t.rejects(result!, /the first error/);
  [result] = await late();
  sent[1]!.sending.answered();
  sent[1]!.fail(new Error('broke in its body'));
  await t.rejects(result!, /broke in its body/, 'the one that had answered decides');
});

t.test('what is late follows what S3 does', async t => {
  const { hedge, quick } = place();
  await quick(100, 5);
  // Nineteen of twenty as before: the twentieth is what is waited for.
  for (let i = 0; i < 20; i++) {
    await quick(1, 60);
    await quick(19, 5);
  }
  t.equal(hedge.delay, 60);
  await quick(1000, 5);
  t.equal(hedge.delay, 25, 'and forgets');
});

t.test('few are sent twice, whatever happens', async t => {
  const { clock, counters, sent, run, quick } = place();
  await quick(200, 10);
  let results = 0;
  for (let i = 0; i < 1000; i++) {
    const result = run();
    await clock.advance(100);
    sent[0]!.sending.answered();
    sent[0]!.finish('slow');
    await result;
    sent.length = 0;
    results++;
  }
  const hedged = counters.get('s3.hedged');
  t.equal(results, 1000);
  t.ok(hedged > 0 && hedged <= 1000 * 0.02 + 5, `${hedged} of 1,000 although all were late`);
});

t.test('an abort ends both; where there is no room nothing is sent again', async t => {
  const { clock, sent, run, quick } = place();
  await quick(100, 10);
  const controller = new AbortController();
  const result = run(controller.signal);
  await clock.advance(25);
  await settle();
  t.equal(sent.length, 2);
  controller.abort();
  await t.rejects(result, /aborted/);
  t.ok(sent.every(each => each.sending.signal.aborted));
  sent.length = 0;
  const crowded = run(undefined, () => false);
  await clock.advance(1000);
  await settle();
  t.equal(sent.length, 1);
  sent[0]!.sending.answered();
  sent[0]!.finish('alone');
  t.equal(await crowded, 'alone');
});
