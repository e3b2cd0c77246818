/** Called by other names, the program does what is expected of those: the same link that a package puts in place. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { loggingProxy } from '../support/logging-proxy.ts';
import { aPlace, BUCKET, output, type Place, PROGRAM } from '../support/s3mount-command.ts';

function called(place: Place, name: string, args: readonly string[]) {
  const link = join(place.directory, name);
  symlinkSync(PROGRAM, link);
  const words = Object.entries(place.environment).map(([key, value]) => `${key}=${value ?? ''}`);
  return output('env', ['-i', ...words, process.execPath, link, ...args], { cwd: '/' });
}

const mountLine = (place: Place): string =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .find(line => line.split(' ')[1] === place.mountPoint) ?? '';

t.test('s3fs BUCKET DIR -o …', async t => {
  const place = await aPlace(t);
  const { code, stderr } = await called(place, 's3fs', [BUCKET, place.mountPoint, '-o', place.options, '-oumask=0022']);
  t.equal(code, 0, stderr);
  t.match(mountLine(place), /^s3fs \S+ fuse\.s3fs /, 'scripts that look for s3fs find it');
  await writeFile(join(place.mountPoint, 'a'), 'by s3fs');
  t.equal(place.server.getObject(BUCKET, 'a')?.bytes().toString(), 'by s3fs');
});

t.test('mount.fuse.s3mount, as mount(8) calls it for a line of fstab', async t => {
  const place = await aPlace(t);
  const options = `rw,${place.options},nosuid,nodev,_netdev,nofail,x-systemd.automount`;
  const pretend = await called(place, 'mount.s3mount', [BUCKET, place.mountPoint, '-f', '-o', options]);
  t.equal(pretend.code, 0, pretend.stderr);
  t.equal(await place.isMounted(), false, '-f only pretends');
  const { code, stderr } = await called(place, 'mount.fuse.s3mount', [
    `s3mount#${BUCKET}`,
    place.mountPoint,
    '-o',
    options,
    '-t',
    'fuse.s3mount',
  ]);
  t.equal(code, 0, stderr);
  t.match(mountLine(place), new RegExp(`^${BUCKET} \\S+ fuse\\.s3mount `));
});

t.test('s3mount NAME: all from ~/.config/s3mount/NAME.toml, mime= and all', async t => {
  const place = await aPlace(t);
  const directory = join(place.directory, '.config/s3mount');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(place.directory, 'types'), 'text/x-ours ours\n');
  writeFileSync(join(place.directory, 'headers'), '.gz Content-Encoding gzip\nreg:^/logs/ Cache-Control no-store\n');
  const lines = {
    bucket: BUCKET,
    mountpoint: place.mountPoint,
    url: place.server.url,
    use_path_request_style: true,
    region: 'us-east-1',
    state_dir: join(place.directory, 'state'),
    mime: join(place.directory, 'types'),
    ahbe_conf: join(place.directory, 'headers'),
    file_mode: '0604',
  };
  const text = Object.entries(lines).map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`);
  writeFileSync(join(directory, 'project.toml'), text.join(''));
  const { code, stderr } = await place.run(['project']);
  t.equal(code, 0, stderr);
  t.equal(await place.isMounted(), true);
  await writeFile(join(place.mountPoint, 'a.ours'), 'x');
  t.same(place.server.getObject(BUCKET, 'a.ours')?.headers['content-type'], 'text/x-ours');
  t.equal(await readFile(join(place.mountPoint, 'a.ours'), 'utf8'), 'x');
  await mkdir(join(place.mountPoint, 'logs'));
  await writeFile(join(place.mountPoint, 'logs/a.gz'), 'x');
  t.match(place.server.getObject(BUCKET, 'logs/a.gz')?.headers, {
    'content-encoding': 'gzip',
    'cache-control': 'no-store',
  });
});

t.test('use_sse=custom: files on the mount are sealed, and open again with the same keys', async t => {
  const place = await aPlace(t);
  const keys = join(place.directory, 'keys');
  writeFileSync(keys, `${Buffer.alloc(32, 'k').toString('base64')}\n`, { mode: 0o600 });
  const run = (args: readonly string[]) => place.run(args, { cwd: place.directory });
  const { code, stderr } = await run([BUCKET, place.mountPoint, '-o', `${place.options},use_sse=custom:keys`]);
  t.equal(code, 0, stderr);
  await writeFile(join(place.mountPoint, 'a'), 'sealed');
  await rename(join(place.mountPoint, 'a'), join(place.mountPoint, 'b'));
  t.equal((await run(['umount', place.mountPoint])).code, 0);
  await place.mount();
  await t.rejects(readFile(join(place.mountPoint, 'b')), 'not without');
  t.equal((await run(['umount', place.mountPoint])).code, 0);
  await place.mount(`load_sse_c=${keys}`);
  t.equal(await readFile(join(place.mountPoint, 'b'), 'utf8'), 'sealed');
});

t.test('s3mount doctor, with what a mount would be given', async t => {
  const place = await aPlace(t);
  const { code, stdout } = await place.run(['doctor', BUCKET, '-o', `${place.options},allow_other,umask=0022`]);
  t.equal(code, 0, stdout);
  t.match(stdout, /^ok {4}credentials +from AWS_ACCESS_KEY_ID in the environment$/m);
  t.match(stdout, /^ok {4}delete +s3:DeleteObject$/m);
  t.same(place.server.listKeys(BUCKET), []);
  const wrong = await place.run(['doctor', BUCKET, '-o', place.options], { env: { AWS_SECRET_ACCESS_KEY: 'wrong' } });
  t.equal(wrong.code, 11);
  t.match(wrong.stdout, /^fail {2}credentials .*the keys came from AWS_ACCESS_KEY_ID in the environment$/m);
  t.notMatch(wrong.stdout, /wrong/);
  const { stdout: line } = await place.run(['doctor', '--translate', `s3fs ${BUCKET} /mnt -o ro -s`]);
  t.equal(line, `s3mount ${BUCKET} /mnt -o ro\n`);
});

t.test('http_proxy of the environment holds for the daemon', async t => {
  const place = await aPlace(t);
  const proxy = await loggingProxy(t, { where: () => place.server.port });
  const options = place.options.replace(/url=[^,]*/, 'url=http://s3.example.org');
  const { code, stderr } = await place.run([BUCKET, place.mountPoint, '-o', options], {
    env: { http_proxy: proxy.url },
  });
  t.equal(code, 0, stderr);
  await writeFile(join(place.mountPoint, 'a'), 'by proxy');
  t.equal(place.server.getObject(BUCKET, 'a')?.bytes().toString(), 'by proxy');
  t.equal(proxy.log.length, place.server.log.length);
  const env = { http_proxy: proxy.url.replace('//', '//me:secret@'), no_proxy: 'localhost' };
  const { stdout } = await place.run(['doctor', BUCKET, '-o', options], { env });
  t.match(stdout, new RegExp(`^ok {4}proxy +${proxy.url}, but not for localhost$`, 'm'));
  t.notMatch(stdout, /secret/);
});

t.test('keys that S3 does not know: one sentence, which says whose they are', async t => {
  const place = await aPlace(t);
  const file = join(place.directory, '.passwd-s3fs');
  writeFileSync(file, 'NOBODY:wrong-secret\n', { mode: 0o600 });
  const without = { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' };
  const { code, stderr } = await place.run([BUCKET, place.mountPoint, '-o', place.options], { env: without });
  t.equal(code, 11);
  t.match(stderr, /^s3mount: .*InvalidAccessKeyId.*\(the keys came from .*\.passwd-s3fs\)\.\n$/);
  t.notMatch(stderr, /wrong-secret/);
  const { credential } = place.server;
  writeFileSync(file, `${BUCKET}:${credential.accessKeyId}:${credential.secretAccessKey}\n`);
  const good = await place.run([BUCKET, place.mountPoint, '-o', place.options], { env: without });
  t.equal(good.code, 0, good.stderr);
});
