/** The functional tests in a process of its own, for whoever starts it as somebody else; prints TAP. */
import t from 'tap';
import { FILE_LIMIT } from '../support/limits.ts';
import { functionalTests } from './all.ts';
import { runFunctional } from './functional.ts';

// tap's own limit of 30 s is for files that its runner starts.
t.setTimeout(FILE_LIMIT);

t.test(`as uid ${process.getuid!()}`, async t => {
  await runFunctional(t, functionalTests);
});
