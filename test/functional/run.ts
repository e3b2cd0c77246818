/** The functional tests in a process of its own, for whoever starts it as somebody else; prints TAP. */
import t from 'tap';
import { functionalTests } from './all.ts';
import { runFunctional } from './functional.ts';

t.test(`as uid ${process.getuid!()}`, async t => {
  await runFunctional(t, functionalTests);
});
