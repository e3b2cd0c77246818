/** The functional tests on Ceph RGW: an S3 server that is not ours. */
import t from 'tap';
import { functionalTests } from '../functional/all.ts';
import { runFunctional } from '../functional/functional.ts';
import { startRgw } from '../support/rgw.ts';

t.test('functional, on Ceph RGW', async t => {
  const rgw = await startRgw();
  t.teardown(() => rgw.stop());
  await runFunctional(t, functionalTests, {
    access: rgw.access,
    prepare: client => client.createBucket(),
  });
});
