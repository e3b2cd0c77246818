/**
 * One property of random commands as a test.
 *
 * A failure prints the seed and the path: `MODEL_SEED=… MODEL_PATH=… npx tap --timeout=300 FILE` plays it again.
 */
import t from 'tap';
import type { Property } from './properties.ts';
import { examine } from './property.ts';

/** ms; enough for a slow machine with others on it. */
const TIMEOUT = 280_000;

export function testProperty<T>(property: Property<T>): void {
  t.test(property.title, async t => {
    t.setTimeout(TIMEOUT);
    const { MODEL_RUNS, MODEL_SEED, MODEL_PATH } = process.env;
    const { runs, seed, failure } = await examine(property, {
      runs: Number(MODEL_RUNS ?? property.runs),
      seed: MODEL_SEED === undefined ? undefined : Number(MODEL_SEED),
      path: MODEL_PATH,
    });
    for (const line of failure) t.comment(line);
    t.same(failure.slice(0, 1), [], `${runs} runs from seed ${seed}`);
  });
}
