/**
 * The functional tests on a bucket of which only the name is known, in a process that was started where AWS's host names
 * lead to the embedded server (see `test/mount/region.test.ts`); prints TAP.
 */
import t from 'tap';
import { SEOUL, seoulAccess } from '../support/inside-aws.ts';
import { FILE_LIMIT } from '../support/limits.ts';
import { runFunctional } from './functional.ts';
import { names } from './names.ts';
import { reading } from './reading.ts';
import { renaming } from './renaming.ts';
import { writing } from './writing.ts';

// tap's own limit of 30 s is for files that its runner starts.
t.setTimeout(FILE_LIMIT);

t.test('victor-seoul, with neither url nor region', async t => {
  await runFunctional(t, [...reading, ...names, ...writing, ...renaming], {
    bucket: SEOUL,
    findsServer: true,
    access: seoulAccess(),
  });
});
