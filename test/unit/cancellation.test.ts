/** What stands for AbortController and AbortSignal on the way of a GET must do as they do. */
import t from 'tap';
import { Cancellation, type CancelSignal, delay } from '../../src/concurrency.ts';
import { ManualClock } from '../support/manual-clock.ts';

interface Pair {
  readonly signal: CancelSignal;
  abort(reason?: unknown): void;
}

const kinds: Record<string, () => Pair> = {
  AbortController: () => new AbortController(),
  Cancellation: () => {
    const signal = new Cancellation();
    return { signal, abort: reason => signal.abort(reason) };
  },
};

for (const [kind, make] of Object.entries(kinds)) {
  t.test(`${kind}: who listens, in order, once`, async t => {
    const { signal, abort } = bound(make());
    const heard: string[] = [];
    const last = (): void => void heard.push('last');
    const gone = (): void => void heard.push('gone');
    const early = (): void => void heard.push('early');
    signal.addEventListener('abort', early, { once: true });
    signal.addEventListener(
      'abort',
      () => {
        heard.push(`first ${signal.aborted} ${signal.reason}`);
        signal.removeEventListener('abort', gone);
      },
      { once: true },
    );
    signal.addEventListener('abort', gone, { once: true });
    signal.addEventListener('abort', last, { once: true });
    signal.removeEventListener('abort', early);
    t.same([signal.aborted, signal.reason], [false, undefined]);
    abort('why');
    abort('again');
    signal.addEventListener('abort', () => heard.push('late'), { once: true });
    t.same(heard, ['first true why', 'last']);
    t.same([signal.aborted, signal.reason], [true, 'why']);
  });

  t.test(`${kind}: without a reason it is an AbortError`, async t => {
    const { signal, abort } = bound(make());
    abort();
    t.match(signal.reason, { name: 'AbortError', message: 'This operation was aborted' });
  });

  t.test(`${kind}: a wait ends by it`, async t => {
    const { signal, abort } = bound(make());
    const waiting = delay(new ManualClock(), 1000, signal);
    abort(new Error('enough'));
    await t.rejects(waiting, { message: 'enough' });
  });
}

function bound(pair: Pair): Pair {
  return { signal: pair.signal, abort: reason => pair.abort(reason) };
}
