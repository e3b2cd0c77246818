/** The functional tests as whoever runs them: root in CI. */
import t from 'tap';
import { functionalTests } from '../functional/all.ts';
import { runFunctional } from '../functional/functional.ts';

t.test('functional', async t => {
  await runFunctional(t, functionalTests);
});
