import fc from 'fast-check';
import t from 'tap';
import type { Clock } from '../../src/concurrency.ts';
import type { StoreErrorKind } from '../../src/errors.ts';
import { StoreError } from '../../src/errors.ts';
import type { Remedy } from '../../src/s3/error-kinds.ts';
import { Failure } from '../../src/s3/error-kinds.ts';
import type { AttemptContext, RetryPolicy } from '../../src/s3/retry.ts';
import { backoff, DEFAULT_RETRY, withRetries } from '../../src/s3/retry.ts';

const POLICY: RetryPolicy = { attempts: 4, deadline: 10_000, base: 100, longest: 1_000 };

function failing(kind: StoreErrorKind, traits: ConstructorParameters<typeof Failure>[1] = { retry: true }): Failure {
  return new Failure(new StoreError(kind, `failed with ${kind}`, { operation: 'GetObject', key: 'k' }), traits);
}

/** Jumps to whatever is waited for. */
class JumpingClock implements Clock {
  #now = 0;
  now(): number {
    return this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  after(ms: number, callback: () => void): () => void {
    const timer = setImmediate(() => {
      this.#now += ms;
      callback();
    });
    return () => clearImmediate(timer);
  }
}

class Trial {
  readonly clock = new JumpingClock();
  readonly waits: number[] = [];
  readonly remedies: Remedy[] = [];
  policy: RetryPolicy = POLICY;
  cures = true;
  attempts = 0;
  /** ms that an attempt takes. */
  lasts: (attempt: number) => number = () => 0;

  /** Runs with the outcomes in turn: an error is thrown, anything else returned. Time passes by itself. */
  async run(
    outcomes: readonly unknown[],
    look?: (context: AttemptContext) => void,
    signal?: AbortSignal,
  ): Promise<unknown> {
    return withRetries(
      {
        policy: this.policy,
        clock: this.clock,
        random: () => 1,
        failure: error => {
          if (error instanceof Failure) return error;
          throw error;
        },
        remedy: async remedy => {
          this.remedies.push(remedy);
          return this.cures;
        },
        retrying: (_failure, wait) => this.waits.push(wait),
      },
      undefined,
      signal,
      async context => {
        this.attempts++;
        look?.(context);
        const lasts = this.lasts(this.attempts);
        if (lasts > 0) await new Promise<void>(resolve => void this.clock.after(lasts, resolve));
        const outcome = outcomes[Math.min(this.attempts, outcomes.length) - 1];
        if (outcome instanceof Error) throw outcome;
        return outcome;
      },
    );
  }
}

const rejected = async (work: Promise<unknown>): Promise<Failure> => {
  try {
    await work;
  } catch (error) {
    return error as Failure;
  }
  throw new Error('it should have failed');
};

t.test('what may pass is tried again, waiting longer each time', async t => {
  const trial = new Trial();
  t.equal(await trial.run([failing('unavailable'), failing('timeout'), failing('corrupt'), 'done']), 'done');
  t.same(trial.waits, [100, 200, 400]);
});

t.test('what will not pass is not', async t => {
  const trial = new Trial();
  const failure = await rejected(trial.run([failing('forbidden', {})]));
  t.equal(failure.error.kind, 'forbidden');
  t.equal(trial.attempts, 1);
});

t.test('attempts are bounded', async t => {
  const trial = new Trial();
  await rejected(trial.run([failing('unavailable')]));
  t.equal(trial.attempts, 4);
});

t.test('time is bounded', async t => {
  const trial = new Trial();
  trial.policy = { ...POLICY, attempts: 1_000 };
  await rejected(trial.run([failing('unavailable')]));
  t.ok(trial.clock.monotonic() <= 10_000, 'no attempt begins after the deadline');
  t.ok(trial.attempts >= 10);
});

t.test('an attempt that alone outlasts the deadline is followed by one more, at the shipped defaults', async t => {
  const silence = failing('timeout', { retry: true, unknown: true });
  const trial = new Trial();
  trial.policy = DEFAULT_RETRY;
  // As long as an answer to a copy is waited for.
  trial.lasts = attempt => (attempt === 1 ? 300_000 : 10);
  t.equal(await trial.run([silence, 'done']), 'done');
  t.equal(trial.attempts, 2);

  const dead = new Trial();
  dead.policy = DEFAULT_RETRY;
  dead.lasts = () => 300_000;
  const failure = await rejected(dead.run([silence]));
  t.equal(failure.error.kind, 'timeout');
  t.equal(dead.attempts, 2, 'and no third');
  t.ok(dead.clock.monotonic() <= 2 * 300_000 + 100, `${dead.clock.monotonic()} ms`);

  const late = new Trial();
  late.policy = DEFAULT_RETRY;
  late.lasts = attempt => (attempt === 1 ? 10 : 300_000);
  await rejected(late.run([failing('unavailable'), silence]));
  t.equal(late.attempts, 3, 'also where others had failed at once before it');

  const exact = new Trial();
  exact.policy = DEFAULT_RETRY;
  exact.lasts = () => DEFAULT_RETRY.deadline;
  await rejected(exact.run([silence]));
  t.equal(exact.attempts, 2, 'readwrite_timeout=60');

  const often = new Trial();
  often.policy = DEFAULT_RETRY;
  often.lasts = () => 30_000;
  await rejected(often.run([silence]));
  t.equal(often.attempts, 2, 'shorter ones have their repeats before the deadline');

  const once = new Trial();
  once.policy = { ...DEFAULT_RETRY, attempts: 1 };
  once.lasts = () => 300_000;
  await rejected(once.run([silence]));
  t.equal(once.attempts, 1, 'retries=1 means none');
});

t.test('an attempt that moved bytes starts the count anew', async t => {
  const trial = new Trial();
  const outcomes = [...Array.from({ length: 20 }, () => failing('unavailable')), 'done'];
  t.equal(await trial.run(outcomes, context => context.progress(64 * 1024)), 'done');
  t.same(new Set(trial.waits), new Set([100]));
});

t.test('a store that is overloaded is left alone for longer', async t => {
  const trial = new Trial();
  await trial.run([failing('unavailable', { retry: true, throttled: true }), 'done']);
  t.same(trial.waits, [500]);
});

t.test('that an attempt may have been carried out is not forgotten', async t => {
  const trial = new Trial();
  const seen: boolean[] = [];
  const failure = await rejected(
    trial.run(
      [failing('timeout', { retry: true, unknown: true }), failing('unavailable'), failing('precondition-failed', {})],
      context => seen.push(context.unknown),
    ),
  );
  t.equal(failure.error.kind, 'precondition-failed');
  t.equal(failure.unknown, false);
  t.equal(failure.unknownBefore, true);
  t.same(seen, [false, true, true]);
  const again = new Trial();
  const repeated = await rejected(again.run([failing('precondition-failed', {})], context => context.repeated()));
  t.equal(repeated.unknownBefore, true, 'the transport had sent it twice');
});

t.test('each remedy is tried once, at once', async t => {
  const region = { what: 'region', region: 'eu-west-1' } as const;
  const clock = { what: 'clock', serverDate: 1 } as const;
  const trial = new Trial();
  t.equal(
    await trial.run([failing('invalid', { remedy: region }), failing('forbidden', { remedy: clock }), 'done']),
    'done',
  );
  t.same(trial.waits, []);
  t.same(trial.remedies, [region, clock]);
  const stubborn = new Trial();
  await rejected(stubborn.run([failing('invalid', { remedy: region })]));
  t.equal(stubborn.attempts, 2);
  const incurable = new Trial();
  incurable.cures = false;
  await rejected(incurable.run([failing('forbidden', { remedy: clock })]));
  t.equal(incurable.attempts, 1);
});

t.test('an abort ends the wait', async t => {
  const trial = new Trial();
  const controller = new AbortController();
  const failure = await rejected(
    trial.run([failing('unavailable', { retry: true, unknown: true })], () => controller.abort(), controller.signal),
  );
  t.equal(failure.error.kind, 'aborted');
  t.equal(failure.unknownBefore, true);
  t.match(failure.error.message, 'failed with unavailable');
  t.equal(trial.attempts, 1);
});

t.test('a bug is thrown as it is', async t => {
  const bug = new TypeError('bug');
  await t.rejects(new Trial().run([bug]), bug);
});

t.test('waits are within their bounds', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000 }),
      fc.boolean(),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failed, throttled, random) => {
        const wait = backoff(DEFAULT_RETRY, failed, throttled, () => random);
        return wait > 0 && wait <= DEFAULT_RETRY.longest;
      },
    ),
  );
});
