import t from 'tap';
import { readCommandLine } from '../../src/cli/command-line.ts';
import { invocationOf } from '../../src/cli/invocation.ts';
import { type Config, readConfig } from '../../src/cli/options.ts';

function config(script: string, args: readonly string[]): Config {
  const invocation = invocationOf(script, args);
  const line = readCommandLine(invocation.args, invocation);
  if (line.kind !== 'mount') throw new Error(`it is ${line.kind}`);
  return readConfig(line.given, { env: {}, cwd: '/home/me' });
}

t.test("as s3fs: its command line, and the mount shows up as s3fs's", async t => {
  const { bucket, prefix, mountPoint, values, warnings } = config('/usr/local/bin/s3fs', [
    'my-bucket:/sub',
    'works',
    '-o',
    'passwd_file=/etc/passwd-s3fs,umask=0022,url=https://s3.amazonaws.com',
    '-ouse_path_request_style',
    '-onomultipart',
    '-f',
  ]);
  t.match({ bucket, prefix, mountPoint }, { bucket: 'my-bucket', prefix: 'sub/', mountPoint: '/home/me/works' });
  t.match(values, { fsname: 's3fs', subtype: 's3fs', umask: 0o022, use_path_request_style: true, foreground: true });
  t.equal(warnings.length, 1, 'nomultipart is told');
  t.match(config('s3fs', ['works', '-o', 'bucket=my-bucket,fsname=mine']), {
    bucket: 'my-bucket',
    mountPoint: '/home/me/works',
    values: { fsname: 'mine', subtype: 's3fs' },
  });
  t.match(config('s3fs', ['umount', '/mnt']), { bucket: 'umount' }, 's3fs has no subcommands');
  t.throws(() => config('s3fs', ['-u', 'my-bucket']), { exitCode: 1, message: /list-multipart-uploads/ });
  t.equal(config('s3mount', ['my-bucket', '/mnt']).values.fsname, undefined);
});

t.test('as the helper of mount(8)', async t => {
  const fstab = 'rw,noexec,nosuid,nodev,allow_other,_netdev,nofail,x-systemd.automount,X-mount.mkdir,user,noauto,uid=5';
  for (const name of ['mount.fuse.s3mount', 'mount.s3mount', 'mount.fuse.s3fs']) {
    const { bucket, mountPoint, values, kernelOptions, warnings } = config(`/sbin/${name}`, [
      's3fs#my-bucket',
      '/mnt/works',
      '-o',
      fstab,
      '-t',
      'fuse.s3mount',
    ]);
    t.match({ bucket, mountPoint }, { bucket: 'my-bucket', mountPoint: '/mnt/works' });
    t.match(values, { allow_other: true, uid: 5, foreground: undefined });
    t.same(kernelOptions, ['noexec', 'nosuid', 'nodev']);
    t.same(warnings, []);
    t.equal(values.subtype, name.endsWith('s3fs') ? 's3fs' : undefined);
  }
  const pretended = invocationOf('mount.fuse.s3mount', ['b', '/mnt', '-f', '-v']);
  t.equal(pretended.pretend, true, '-f does not mean the foreground here');
  t.match(readCommandLine(pretended.args, pretended), { kind: 'mount', pretend: true });
  t.throws(() => config('mount.fuse.s3mount', ['bucket', '/mnt', '-o', 'blubber']), {
    message: /unknown option blubber/,
  });
  const sloppy = config('mount.fuse.s3mount', ['bucket', '/mnt', '-s', '-o', 'blubber,umask=0022']);
  t.match(sloppy, { values: { umask: 0o022 }, warnings: [/unknown option blubber/] });
});

t.test('the daemon is started by the same name, in our own words', async t => {
  t.same(invocationOf('/usr/bin/s3fs', ['--ready-fd=3', '--', 'b', '/mnt']).args, ['--ready-fd=3', '--', 'b', '/mnt']);
});

t.test('use_rrs is a storage class', async t => {
  t.match(config('s3fs', ['bucket', '/mnt', '-o', 'use_rrs']).values, { storage_class: 'reduced_redundancy' });
  t.match(config('s3fs', ['bucket', '/mnt', '-o', 'use_rrs=0']).values, { storage_class: undefined });
});
