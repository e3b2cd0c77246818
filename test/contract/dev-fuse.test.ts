/** Our own binding on real mounts, and what only it does. Needs root and /dev/fuse. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { DevFuseBinding } from '../../src/fuse/dev-fuse-binding.ts';
import { cleanStaleMount, mountStateOf } from '../../src/fuse/mount-state.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { START_LIMIT } from '../support/limits.ts';
import { MemoryFs } from '../support/memory-fs.ts';
import { mountChild } from '../support/mounted-child.ts';
import { eventually } from '../support/s3mount-command.ts';
import { bindingContract } from './binding.ts';

const NOBODY = 65534;

await t.test('contract', t => bindingContract(t, options => mountChild({ ...options, binding: 'dev-fuse' })));

await t.test('an ordinary user mounts by fusermount3', async t => {
  const { mode } = statSync('/dev/fuse');
  chmodSync('/dev/fuse', 0o666);
  t.teardown(() => chmodSync('/dev/fuse', mode));
  const mount = await mountChild({ uid: NOBODY, mount: { fsname: 'with, comma' } });
  try {
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find(line => line.includes(mount.dir));
    t.match(line, /nosuid,nodev.* fuse\.s3mount-test with,\\040comma .*user_id=65534,group_id=65534/);
    t.throws(() => statSync(mount.dir), { code: 'EACCES' }, 'without allow_other even root stays out');
    await mount.call({ do: 'unmount', lazy: false });
    t.equal(await mount.ended, 'unmounted');
  } finally {
    await mount.stop();
  }
  await t.rejects(mountChild({ uid: NOBODY, mount: { allowOther: true } }), { code: 'allow-other' });
});

await t.test('a harmless signal ends no call, and does not hide the one that follows', async t => {
  const mount = await mountChild();
  try {
    const program = '$SIG{URG} = sub {}; sysopen(F, $ARGV[0], 1) or exit 3;';
    const child = spawn('perl', ['-e', program, join(mount.dir, 'blocked')], { stdio: 'ignore' });
    const exited = once(child, 'exit');
    const tells = (file: string, what: RegExp): boolean =>
      what.test(readFileSync(`/proc/${child.pid}/${file}`, 'utf8'));
    await eventually(t, async () => tells('wchan', /request_wait/), 'it waits for its open');
    child.kill('SIGURG');
    await eventually(t, async () => tells('status', /^ShdPnd:.*[1-9a-f]/m), 'the signal has come');
    statSync(join(mount.dir, 'pattern'));
    t.equal(child.exitCode, null, 'it waits on');
    child.kill('SIGINT');
    t.same(await exited, [null, 'SIGINT']);
  } finally {
    await mount.stop();
  }
});

await t.test('refusals are one sentence with what to do', async t => {
  const binding = new DevFuseBinding({ telemetry: silentTelemetry, uid: 0, gid: 0 });
  const dir = mkdtempSync(join(tmpdir(), 's3mount-binding-'));
  writeFileSync(join(dir, 'file'), '');
  const mount = (mountPoint: string, kernelOptions: string[] = []) =>
    binding.mount(new MemoryFs(), {
      mountPoint,
      fsname: 'memory',
      subtype: 's3mount-test',
      readOnly: false,
      allowOther: false,
      defaultPermissions: true,
      kernelOptions,
      posixAcl: false,
    });
  await t.rejects(mount(join(dir, 'none')), { code: 'missing', message: /does not exist; create it/ });
  await t.rejects(mount(join(dir, 'file')), { code: 'not-a-directory' });
  await t.rejects(mount(join(dir, 'file/below')), { code: 'not-a-directory' });
  await t.rejects(mount(dir, ['nonsense']), { code: 'option' });
  const other = await mountChild();
  await t.rejects(mount(other.dir), { code: 'busy', message: /already mounted/ });
  await other.stop();
  rmSync(dir, { recursive: true });
});

await t.test('a mount whose daemon was killed is found and cleaned', async t => {
  const mount = await mountChild();
  // Its default limit is for people; what it says beyond that, `silent`, is not the matter here.
  const limit = START_LIMIT;
  t.match(await mountStateOf(mount.dir, { limit }), {
    state: 'alive',
    mount: { type: 'fuse.s3mount-test', source: 'memory' },
  });
  process.kill(mount.pid, 'SIGKILL');
  t.equal(await mount.ended, 'exit SIGKILL');
  t.match(await mountStateOf(`${mount.dir}/`, { limit }), { state: 'dead' });
  t.equal(await cleanStaleMount(mount.dir, 'other-type'), false, 'not ours to clean');
  t.equal(await cleanStaleMount(mount.dir, 's3mount-test'), true);
  t.match(await mountStateOf(mount.dir), { state: 'none' });
  t.equal(await cleanStaleMount(mount.dir), false);
  await mount.stop();
});
