/** However a mount ends: what was written is saved or named, nobody hangs, and the next mount works. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { codeOf } from '../functional/names.ts';
import { aMount, eventually, type RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';

const MIB = 1024 * 1024;

function closeQuietly(file: number): void {
  try {
    closeSync(file);
  } catch {
    // The mount has gone.
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  t.test(`${signal} with unsaved bytes in open files`, async t => {
    const mount = await aMount(t);
    const small = openSync(mount.path('small'), 'w');
    writeSync(small, 'unsaved bytes');
    const bytes = patternBytes(30 * MIB, 4);
    const large = openSync(mount.path('large'), 'w');
    for (let place = 0; place < bytes.length; place += MIB) writeSync(large, bytes, place, MIB);
    t.same(await mount.client.keys(), [], 'nothing is in S3 yet');
    mount.kill(signal);
    t.same(await mount.ended, { code: 0, signal: null });
    t.notOk(mount.isMounted());
    t.equal(await mount.client.text('small'), 'unsaved bytes');
    t.ok((await mount.client.get('large'))!.equals(bytes));
    t.equal(await mount.client.openUploads(), 0);
    closeQuietly(small);
    closeQuietly(large);
  });
}

t.test('a service with a mount namespace of its own holds the mount', async t => {
  const mount = await aMount(t);
  // As PrivateTmp=, ProtectHome= and containers do: a copy of the tree that an unmount here does not reach.
  const own = process.getuid!() === 0 ? [] : ['--user', '--map-root-user'];
  const service = spawn(
    'unshare',
    [...own, '--mount', '--propagation=private', 'sh', '-c', 'echo there; exec sleep 1000'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  t.teardown(() => service.kill('SIGKILL'));
  mount.guard.process(service.pid!);
  await once(service.stdout!, 'data');
  writeFileSync(mount.path('file'), 'saved');
  mount.kill('SIGTERM');
  t.same(await mount.ended, { code: 0, signal: null }, 'it does not wait for the service');
  t.notOk(mount.isMounted());
  t.equal(await mount.client.text('file'), 'saved');
});

/** A mount with bytes that no close could save: S3 refused them, and takes them now. */
async function mountWithFailedSave(t: Test): Promise<RealMount> {
  const mount = await aMount(t, { options: 'retries=1' });
  await mount.s3.addFault('status=500:op=PutObject,key=kept');
  t.equal(
    codeOf(() => writeFileSync(mount.path('kept'), 'kept bytes')),
    'EIO',
    'the close tells',
  );
  t.equal(readFileSync(mount.path('kept'), 'utf8'), 'kept bytes', 'they are still the content here');
  t.equal(await mount.client.text('kept'), undefined);
  writeFileSync(mount.path('mode'), 'x');
  chmodSync(mount.path('mode'), 0o604);
  return mount;
}

const UMOUNTS: readonly (readonly [string, (mount: RealMount) => void])[] = [
  ['s3mount umount', mount => void run('env', mount.commandLine(['umount', mount.dir]))],
  [
    'umount from outside',
    mount => void (process.getuid!() === 0 ? run('umount', [mount.dir]) : run('fusermount3', ['-u', mount.dir])),
  ],
];

for (const [name, umount] of UMOUNTS) {
  t.test(`${name} saves what is left`, async t => {
    const mount = await mountWithFailedSave(t);
    await mount.s3.clearFaults();
    umount(mount);
    t.notOk(mount.isMounted(), 'the command has unmounted');
    t.same(await mount.ended, { code: 0, signal: null });
    t.equal(await mount.client.text('kept'), 'kept bytes');
    await mount.start();
    t.equal(statSync(mount.path('mode')).mode & 0o777, 0o604);
  });
}

t.test('what cannot be saved is named, and the exit code says so', async t => {
  const mount = await mountWithFailedSave(t);
  mount.kill('SIGTERM');
  const { code } = await mount.ended;
  t.ok(code !== 0 && code !== null, `exit ${code}`);
  t.notOk(mount.isMounted());
  t.match(mount.log(), /ended with 10 unsaved bytes in 'kept'/);
});

t.test('SIGKILL in the midst of a write: the same command mounts at once, and no half file is there', async t => {
  const mount = await aMount(t);
  writeFileSync(mount.path('before'), 'safe');
  const writer = spawn('dd', ['if=/dev/zero', `of=${mount.path('half')}`, 'bs=1M', 'count=4000'], { stdio: 'ignore' });
  const ended = new Promise<number | null>(resolve => writer.once('exit', resolve));
  t.ok(
    await eventually(async () => ((await mount.s3.stats()).requests['UploadPart'] ?? 0) >= 2),
    'parts are going out',
  );
  mount.kill('SIGKILL');
  t.ok((await ended) !== 0, 'the writer hears of it');
  await mount.ended;
  t.equal(
    codeOf(() => statSync(mount.dir)),
    'ENOTCONN',
  );
  await mount.start();
  t.same(readdirSync(mount.dir), ['before']);
  t.equal(readFileSync(mount.path('before'), 'utf8'), 'safe');
  writeFileSync(mount.path('after'), 'works');
  t.equal(await mount.client.text('after'), 'works');
});

const WITH_BUGS = [
  `--import=${import.meta.resolve('tsx')}`,
  fileURLToPath(new URL('../support/s3mount-with-bugs.ts', import.meta.url)),
];

for (const name of ['bug at once', 'bug in a promise', 'bug in a timer', 'bug in a forgotten promise']) {
  t.test(`an exception inside an operation ends the daemon with the mount gone: ${name}`, async t => {
    const mount = await aMount(t, { program: WITH_BUGS });
    writeFileSync(mount.path('saved'), 'x');
    const start = Date.now();
    t.ok(
      codeOf(() => mkdirSync(mount.path(name))),
      'the caller gets an error',
    );
    const { code } = await mount.ended;
    t.ok(Date.now() - start < 60_000, `nobody hangs: it took ${Date.now() - start} ms`);
    t.equal(code, 4);
    // Where its umount takes long, the daemon leaves it to itself.
    t.ok(await eventually(() => !mount.isMounted()));
    t.match(mount.log(), /planted/);
    t.same(readdirSync(mount.dir), [], 'the directory below is free');
    await mount.start();
    t.equal(readFileSync(mount.path('saved'), 'utf8'), 'x');
  });
}
