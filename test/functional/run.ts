/** The functional tests in a process of its own, for whoever starts it as somebody else; prints TAP. */
import t from 'tap';
import { functionalTests } from './all.ts';
import { runFunctional } from './functional.ts';

// tap's own limit of 30 s for a file is meant for tests without a mount; the runner has the limit that counts.
t.setTimeout(240_000);

t.test(`as uid ${process.getuid!()}`, async t => {
  await runFunctional(t, functionalTests);
});
