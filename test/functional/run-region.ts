/**
 * The functional tests on a bucket of which only the name is known, in a process that was started where AWS's host names
 * lead to the embedded server (see `test/mount/region.test.ts`); prints TAP.
 */
import t from 'tap';
import { SEOUL, seoulAccess } from '../support/inside-aws.ts';
import { runFunctional } from './functional.ts';
import { names } from './names.ts';
import { reading } from './reading.ts';
import { renaming } from './renaming.ts';
import { writing } from './writing.ts';

// tap's own limit of 30 s for a file is meant for tests without a mount; the runner has the limit that counts.
t.setTimeout(240_000);

t.test('victor-seoul, with neither url nor region', async t => {
  await runFunctional(t, [...reading, ...names, ...writing, ...renaming], {
    bucket: SEOUL,
    findsServer: true,
    access: seoulAccess(),
  });
});
