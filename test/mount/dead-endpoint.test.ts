/** S3 falls silent under a mount: nobody hangs, Ctrl-C works, and the mount goes on by itself when it is back. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statfsSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { codeOf } from '../functional/names.ts';
import { aMount, eventually } from '../support/mount.ts';

/** Far longer than what is to come before it. */
const SILENT = 'readwrite_timeout=60';
/** ms; well before the silence of S3 would be over. */
const SOON = 20_000;

t.test('while a server is silent, df answers and Ctrl-C ends who waits', async t => {
  const mount = await aMount(t, { options: SILENT, prepare: client => client.put('there', 'bytes') });
  await mount.s3.addFault('slow=600s:key=there');
  const reader = spawn('cat', [mount.path('there')], { stdio: 'ignore' });
  const ended = once(reader, 'exit');
  t.ok(await eventually(async () => (await mount.s3.stats()).requestsNow > 0), 'it waits for S3');
  const began = performance.now();
  t.ok(statfsSync(mount.dir).blocks > 0, 'df asks nobody');
  reader.kill('SIGINT');
  t.same(await ended, [null, 'SIGINT'], 'Ctrl-C ends who waits');
  t.ok(performance.now() - began < SOON, `at once (${Math.round(performance.now() - began)} ms)`);
  await mount.s3.clearFaults();
});

t.test('a server that has fallen silent and is back', async t => {
  const mount = await aMount(t, {
    options: 'connect_timeout=1,readwrite_timeout=1,retries=2',
    prepare: client => client.put('there', 'bytes'),
  });
  await mount.s3.addFault('slow=20s');
  const began = performance.now();
  t.match(
    codeOf(() => readFileSync(mount.path('there'))),
    /^(ETIMEDOUT|EIO)$/,
  );
  t.match(
    codeOf(() => writeFileSync(mount.path('new'), 'unsaved')),
    /^(ETIMEDOUT|EIO)$/,
  );
  t.ok(performance.now() - began < 30_000, 'an error within the time that was set');

  await mount.s3.clearFaults();
  t.equal(readFileSync(mount.path('there'), 'utf8'), 'bytes', 'it is back');
  writeFileSync(mount.path('new'), 'saved');
  t.ok(await eventually(async () => (await mount.client.text('new')) === 'saved'));
});
