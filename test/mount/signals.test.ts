/** What a daemon tells while it runs: signals and its log, metrics. */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { aPlace, BUCKET, eventually } from '../support/s3mount-command.ts';

t.test('SIGHUP opens the log anew, SIGUSR2 cycles its level, SIGUSR1 writes the status', async t => {
  const place = await aPlace(t);
  const log = join(place.directory, 'my.log');
  await place.mount(`logfile=${log},dbglevel=warn`);
  const pid = await place.daemonPid();
  const text = (path = log): Promise<string> => readFile(path, 'utf8').catch(() => '');
  t.equal(await text(), '', 'warn is quieter than "mounted"');
  process.kill(pid, 'SIGUSR2');
  await eventually(t, async () => (await text()).includes('"to":"info","msg":"log level"'), 'info');
  process.kill(pid, 'SIGUSR1');
  await eventually(t, async () => (await text()).includes('"msg":"status"'), 'status');
  const line = (await text()).split('\n').find(each => each.includes('"msg":"status"'))!;
  t.match(JSON.parse(line), { status: { bucket: BUCKET, pid, unsaved: { bytes: 0 } } });
  await rename(log, `${log}.1`);
  process.kill(pid, 'SIGHUP');
  await eventually(t, async () => readdirSync(place.directory).includes('my.log'), 'a new file');
  process.kill(pid, 'SIGUSR2');
  await eventually(t, async () => (await text()).includes('"to":"debug"'), 'and it is written to');
  await writeFile(join(place.mountPoint, 'f'), 'x');
  await eventually(t, async () => (await text()).includes('"saved"'), 'debug tells of each save');
  t.notMatch(await text(), /embeddedsecret/);
  t.notMatch(await text(`${log}.1`), /"to":"debug"/);
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
});

t.test('metrics of a mount', async t => {
  const place = await aPlace(t);
  // No port, which another run on the machine might have.
  const socketPath = join(place.directory, 'm.sock');
  await place.mount(`metrics=${socketPath}`);
  await writeFile(join(place.mountPoint, 'f'), 'hello');
  t.equal(await readFile(join(place.mountPoint, 'f'), 'utf8'), 'hello');
  const scrape = async (): Promise<string> => {
    const asked = request({ socketPath, path: '/metrics' }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    return await text(answer);
  };
  const metrics = await scrape();
  t.match(metrics, /^s3mount_s3_requests_total\{request="PutObject"\} 1$/m);
  t.match(metrics, /^s3mount_s3_request_seconds_count\{request="PutObject"\} 1$/m);
  t.match(metrics, /^s3mount_operations_total\{operation="write"\} 1$/m);
  t.match(metrics, /^s3mount_operation_wait_seconds_count\{operation="flush"\} [1-9]/m);
  t.match(metrics, /^s3mount_loop_delay_seconds\{quantile="0\.99"\} [0-9.e-]+$/m);
  t.notMatch(metrics, /NaN/);
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  await t.rejects(scrape());
});
