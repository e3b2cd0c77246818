/** Each thing that can be wrong at the start: one sentence that says what to do, an exit code of its own, in seconds. */

import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AS_ORDINARY_USER, aPlace, BUCKET, type Outcome, output, PROGRAM } from '../support/s3mount-command.ts';

/** ms; the limit of "in seconds". */
const SOON = 20_000;

function told(t: Test, { code, stdout, stderr }: Outcome, expected: number, sentence: RegExp): void {
  t.equal(code, expected, `exit code; it said: ${stderr}`);
  t.match(stderr, sentence);
  t.match(stderr, /^s3mount: [^\n]+\n$/, 'one line');
  t.notMatch(stderr, /at .*\.[jt]s:/, 'no stack');
  t.equal(stdout, '');
}

t.test('the S3 side', async t => {
  const place = await aPlace(t, {
    credentials: [
      { accessKeyId: 'GOOD', secretAccessKey: 'goodsecret' },
      { accessKeyId: 'POOR', secretAccessKey: 'poorsecret', policy: '{"Statement":[]}' },
    ],
  });
  const { mountPoint, options } = place;
  const start = Date.now();
  const closed = createServer().listen(0, '127.0.0.1');
  const port = await new Promise(resolve =>
    closed.once('listening', () => resolve((closed.address() as AddressInfo).port)),
  );
  closed.close();
  const web = createServer((_, response) =>
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>hello</html>'),
  );
  web.listen(0, '127.0.0.1');
  await new Promise(resolve => web.once('listening', resolve));
  t.teardown(() => web.close());
  const at = (url: string): string => options.replace(/url=[^,]*/, `url=${url}`);

  told(t, await place.run(['no-such-bucket-here', mountPoint, '-o', options]), 10, /no-such-bucket-here/);
  told(
    t,
    await place.run([BUCKET, mountPoint, '-o', options], { env: { AWS_SECRET_ACCESS_KEY: 'wrong' } }),
    11,
    /SignatureDoesNotMatch|secret/,
  );
  told(
    t,
    await place.run([BUCKET, mountPoint, '-o', options], { env: { AWS_ACCESS_KEY_ID: 'UNKNOWN' } }),
    11,
    /InvalidAccessKeyId/,
  );
  told(
    t,
    await place.run([BUCKET, mountPoint, '-o', options], { env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '' } }),
    11,
    /no AWS credentials/,
  );
  told(
    t,
    await place.run([BUCKET, mountPoint, '-o', options], {
      env: { AWS_ACCESS_KEY_ID: 'POOR', AWS_SECRET_ACCESS_KEY: 'poorsecret' },
    }),
    12,
    /AccessDenied/,
  );
  told(t, await place.run([BUCKET, mountPoint, '-o', at(`http://127.0.0.1:${port}`)]), 13, /refused|ECONNREFUSED/);
  told(t, await place.run([BUCKET, mountPoint, '-o', at('http://no-such-host.invalid')]), 13, /no-such-host\.invalid/);
  told(
    t,
    await place.run([BUCKET, mountPoint, '-o', at(`http://127.0.0.1:${(web.address() as AddressInfo).port}`)]),
    13,
    /url=/,
  );
  t.ok(Date.now() - start < 8 * SOON, `eight failures took ${Date.now() - start} ms`);
  t.notOk(await place.isMounted());
});

t.test('the mount point', async t => {
  const place = await aPlace(t);
  const { directory, mountPoint, options } = place;
  const at = (path: string): Promise<Outcome> => place.run([BUCKET, path, '-o', options]);
  told(t, await at(join(directory, 'missing')), 14, /missing does not exist; make it first: mkdir -p/);
  await writeFile(join(directory, 'file'), '');
  told(t, await at(join(directory, 'file')), 14, /file is no directory/);
  await mkdir(join(directory, 'full/of'), { recursive: true });
  told(t, await at(join(directory, 'full')), 14, /full is not empty \(it has 'of'\).*-o nonempty/);
  const home = join(directory, 'home');
  await mkdir(home);
  await chmod(home, 0o777);
  const theirs = process.getuid!() === 0 ? mountPoint : '/usr';
  const state = `${options.replace(/state_dir=[^,]*/, `state_dir=${join(home, 'state')}`)},nonempty`;
  told(
    t,
    await place.run([BUCKET, theirs, '-o', state], { as: AS_ORDINARY_USER, env: { HOME: home } }),
    14,
    /is not yours/,
  );
  await place.mount();
  told(t, await at(mountPoint), 14, /is mounted already \(works-bucket, fuse\.s3mount\)/);
  t.equal((await place.run(['umount', mountPoint])).code, 0);
});

t.test('the machine', async t => {
  const place = await aPlace(t);
  const { directory, options } = place;
  const mine = join(directory, 'mine');
  await mkdir(mine);
  await chmod(mine, 0o777);
  const args = [BUCKET, mine, '-o', options];
  const hidden = `mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3; exec "$@"`;
  if (process.getuid!() === 0) {
    const without = await place.run(args, { as: ['unshare', '--mount', 'sh', '-c', hidden, 'sh'] });
    told(t, without, 15, /there is no \/dev\/fuse/);
  }
  const configuration = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
  if (!/^\s*user_allow_other/m.test(configuration)) {
    const state = `state_dir=${join(directory, 'state of another')}`;
    const refused = await place.run([...args, '-o', `${state},allow_other`], {
      as: AS_ORDINARY_USER,
      env: { HOME: directory },
    });
    told(t, refused, 15, /user_allow_other.*\/etc\/fuse\.conf/);
  }
  t.notOk(await place.isMounted());
});

t.test('the command line', async t => {
  const run = (...args: string[]): Promise<Outcome> => output('env', ['-i', process.execPath, PROGRAM, ...args], {});
  told(t, await run(BUCKET, '/mnt', '-o', 'umsk=0022'), 1, /unknown option umsk; did you mean umask\?/);
  told(t, await run(BUCKET, '/mnt', '--alow-other'), 1, /unknown option --alow-other; did you mean --allow-other\?/);
  told(t, await run(BUCKET, '/mnt', '-oumask=0999'), 1, /umask=0999 is no octal number/);
  told(t, await run(BUCKET), 1, /where to mount 'works-bucket'\?/);
  told(t, await run(BUCKET, '/mnt', '-osecretAccessKey=x'), 1, /secretAccessKey is refused/);
  t.match(await run('--version'), { code: 0, stdout: /^s3mount \d+\.\d+\.\d+\n$/, stderr: '' });
});
