/** Start, life and end of the daemon on a real mount. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AS_ORDINARY_USER, aPlace, BUCKET, eventually, output } from '../support/s3mount-command.ts';

/** A process that stands in the mount until the end of the test. */
async function stander(t: Test, directory: string): Promise<ChildProcess> {
  // By a promise first: spawn waits for its child's chdir, which asks the mount, which asks S3, and that is this process.
  await stat(directory);
  const child = spawn('sleep', ['60'], { cwd: directory });
  t.teardown(() => child.kill('SIGKILL'));
  await new Promise(resolve => child.once('spawn', resolve));
  return child;
}

t.test('background start, work, umount', async t => {
  const place = await aPlace(t);
  const { mountPoint, server } = place;
  await place.mount('umask=0022');
  t.ok(await place.isMounted(), 'mounted when the command returns');
  await writeFile(join(mountPoint, '안녕.txt'), 'hello\n');
  t.equal(server.getObject(BUCKET, '안녕.txt')?.bytes().toString(), 'hello\n', 'close has saved it');
  const { mode } = await stat(join(mountPoint, '안녕.txt'));
  t.equal(mode & 0o777, 0o755, 'umask as s3fs has it');
  const pid = await place.daemonPid();
  const threads = await readdir(`/proc/${pid}/task`);
  t.ok(threads.length >= 16 + 4, `the pool has 16 threads: ${threads.length} in all`);
  t.equal(await readFile(`/proc/${pid}/environ`, 'latin1').then(text => text.includes('embeddedsecret')), true);
  t.notMatch(await readFile(`/proc/${pid}/cmdline`, 'utf8'), /embeddedsecret/, 'no secret on the command line');
  t.match(await place.run(['umount', mountPoint]), { code: 0, stderr: '' });
  t.notOk(await place.isMounted());
});

t.test('mounted from inside the mount point', async t => {
  const place = await aPlace(t);
  const { mountPoint, options } = place;
  const { code, stderr } = await place.run([BUCKET, '.', '-o', options], { cwd: mountPoint });
  t.equal(code, 0);
  t.equal(stderr, "s3mount: this shell still stands beneath the mount; 'cd .' brings it in.\n");
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});

t.test('not empty: only with nonempty, and then covered', async t => {
  const place = await aPlace(t);
  await writeFile(join(place.mountPoint, 'below'), '');
  await place.mount('nonempty');
  t.same(await readdir(place.mountPoint), []);
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.same(await readdir(place.mountPoint), ['below']);
});

t.test('umount while somebody stands in it', async t => {
  const place = await aPlace(t);
  const { mountPoint } = place;
  await place.mount();
  const { pid } = await stander(t, mountPoint);
  const busy = await place.run(['umount', mountPoint]);
  t.match(busy, { code: 14, stderr: new RegExp(`is busy: sleep \\(${pid}\\) stands in it; .* umount -l`) });
  t.ok(await place.isMounted());
  t.match(await place.run(['umount', '-l', mountPoint]), { code: 0 });
  t.notOk(await place.isMounted());
});

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} in the foreground`, async t => {
    const place = await aPlace(t);
    const { child, ended } = await place.mountInForeground();
    t.ok(await place.isMounted());
    child.kill(signal);
    t.equal((await ended).code, 0);
    t.notOk(await place.isMounted());
  });
}

t.test('Ctrl-C while somebody stands in it says who, and ends with 0', async t => {
  const place = await aPlace(t);
  const { child, ended } = await place.mountInForeground();
  const { pid } = await stander(t, place.mountPoint);
  child.kill('SIGINT');
  const { code, stderr } = await ended;
  t.equal(code, 0);
  t.match(stderr, new RegExp(`detached while in use: sleep \\(${pid}\\) stands in it`));
  t.notOk(await place.isMounted());
});

t.test('an umount from outside ends the daemon with 0', async t => {
  const place = await aPlace(t);
  const { ended } = await place.mountInForeground();
  await writeFile(join(place.mountPoint, 'a'), '1');
  const command = process.getuid!() === 0 ? ['umount'] : ['fusermount3', '-u'];
  t.equal((await output(command[0]!, [...command.slice(1), place.mountPoint], {})).code, 0);
  t.equal((await ended).code, 0);
});

t.test('after SIGKILL the same command mounts again', async t => {
  const place = await aPlace(t);
  await place.mount();
  process.kill(await place.daemonPid(), 'SIGKILL');
  await eventually(
    t,
    async () =>
      stat(place.mountPoint).then(
        () => false,
        error => error.code === 'ENOTCONN',
      ),
    'dead',
  );
  await place.mount();
  await writeFile(join(place.mountPoint, 'b'), '2');
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.notOk(await place.isMounted());
});

t.test('a bug ends the daemon with the mount gone', async t => {
  const place = await aPlace(t);
  const bug = "process.on('SIGWINCH', () => { throw new TypeError('planted') });";
  const { child, ended } = await place.mountInForeground({
    NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(bug)}`,
  });
  t.ok(await place.isMounted());
  child.kill('SIGWINCH');
  const { code, stderr } = await ended;
  t.equal(code, 4);
  t.match(stderr, /planted/);
  // Where its umount takes long, the daemon leaves it to itself.
  await eventually(t, async () => !(await place.isMounted()), 'the mount has gone');
});

t.test('an ordinary user mounts by fusermount3', async t => {
  const place = await aPlace(t);
  const { directory, options } = place;
  const mine = join(directory, 'home/works');
  const by = { as: AS_ORDINARY_USER, env: { HOME: join(directory, 'home') } };
  const shell = (script: string): ReturnType<typeof output> => {
    const [program, ...args] = [...AS_ORDINARY_USER, 'sh', '-c', script];
    return output(program!, args, {});
  };
  t.equal((await shell(`mkdir -p ${mine}`)).code, 0);
  const state = options.replace(/state_dir=[^,]*/, `state_dir=${join(directory, 'home/state')}`);
  t.match(await place.run([BUCKET, mine, '-o', state], by), { code: 0, stderr: '' });
  t.match(await shell(`echo hi > ${mine}/f && cat ${mine}/f && stat -c %U:%a ${mine}/f`), { code: 0, stdout: /^hi\n/ });
  t.match(await place.run(['umount', mine], by), { code: 0, stderr: '' });
  t.equal(place.server.getObject(BUCKET, 'f')?.bytes().toString(), 'hi\n');
});
