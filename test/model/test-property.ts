/**
 * One property of random commands as a test.
 *
 * The same runs each time: a change is judged by itself, not by what chance finds; `npm run soak` looks where nobody has. A
 * failure prints the seed and the path: `MODEL_SEED=… MODEL_PATH=… npx tap --timeout=300 FILE` plays it again.
 */
import t from 'tap';
import type { Property } from './properties.ts';
import { examine } from './property.ts';

/** Any number. */
const USUAL_SEED = 20_261_121;

export function testProperty<T>(property: Property<T>): void {
  t.test(property.title, async t => {
    const { MODEL_RUNS, MODEL_SEED = USUAL_SEED, MODEL_PATH } = process.env;
    const { runs, seed, failure } = await examine(property, {
      runs: Number(MODEL_RUNS ?? property.runs),
      seed: Number(MODEL_SEED),
      path: MODEL_PATH,
    });
    for (const line of failure) t.comment(line);
    t.same(failure.slice(0, 1), [], `${runs} runs from seed ${seed}`);
  });
}
