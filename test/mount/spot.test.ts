/** The end of a Spot instance, announced by a metadata service on loopback. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import t from 'tap';
import { credentialEndpoints } from '../support/credential-endpoints.ts';
import { aMount, eventually } from '../support/mount.ts';
import { run } from '../support/processes.ts';

const KEYS = { accessKeyId: 'unused', secretAccessKey: 'unused', sessionToken: 'unused' };

t.test('what is written after the notice is in S3 before anybody closes it', async t => {
  const service = await credentialEndpoints(t, KEYS);
  service.told.set('instance-life-cycle', 'spot');
  service.told.set('spot/instance-action', '{"action":"terminate","time":"2026-11-21T08:22:00Z"}');
  const mount = await aMount(t, {
    options: 'write_back,spot_drain',
    environment: { AWS_EC2_METADATA_SERVICE_ENDPOINT: service.url, AWS_EC2_METADATA_DISABLED: 'false' },
  });
  const fd = openSync(mount.path('log'), 'w');
  writeSync(fd, 'half a line');
  // The next look is at most 5 s away.
  t.ok(await eventually(async () => (await mount.client.text('log')) === 'half a line'), 'saved while it is open');
  t.match(mount.log(), /AWS will terminate this instance at 2026-11-21T08:22:00Z/);
  closeSync(fd);
  t.match(
    run('env', mount.commandLine(['status', mount.dir])),
    /notice +AWS will terminate this instance \(2026-11-21T08:22:00Z\); what was unsaved is in S3/,
  );
  t.equal((await mount.stop()).code, 0);
});

t.test('what waits in the queue of write_back is counted once', async t => {
  const service = await credentialEndpoints(t, KEYS);
  service.told.set('instance-life-cycle', 'spot');
  const mount = await aMount(t, {
    options: 'write_back,spot_drain,retries=1',
    environment: { AWS_EC2_METADATA_SERVICE_ENDPOINT: service.url, AWS_EC2_METADATA_DISABLED: 'false' },
  });
  await mount.s3.addFault('status=503:op=PutObject');
  writeFileSync(mount.path('queued'), 'seven b');
  service.told.set('spot/instance-action', '{"action":"terminate","time":"2026-11-21T08:22:00Z"}');
  const told = (): string | undefined =>
    mount
      .log()
      .split('\n')
      .find(line => line.includes('AWS will terminate'));
  t.ok(await eventually(() => told() !== undefined), 'the log tells of the notice');
  await mount.s3.clearFaults();
  t.match(JSON.parse(told()!), { bytes: 7, files: 1 });
  t.equal((await mount.stop()).code, 0);
});
