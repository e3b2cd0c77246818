/** Options of the mount that a program in it can see. */
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import t from 'tap';
import { codeOf } from '../functional/names.ts';
import { aMount } from '../support/mount.ts';
import { run, shell } from '../support/processes.ts';

t.test('a prefix is the root of the mount', async t => {
  const mount = await aMount(t, {
    prefix: 'some/prefix',
    async prepare(client) {
      await client.put('some/prefix/inside', 'in');
      await client.put('some/outside', 'out');
      await client.put('some/prefix-not', 'out');
    },
  });
  t.same(readdirSync(mount.dir), ['inside']);
  writeFileSync(mount.path('new'), 'new');
  t.equal(await mount.client.text('some/prefix/new'), 'new');
  run('mv', [mount.path('inside'), mount.path('moved')]);
  t.same(await mount.client.keys(), ['some/outside', 'some/prefix-not', 'some/prefix/moved', 'some/prefix/new']);
});

t.test('ro: EROFS for every change', async t => {
  const mount = await aMount(t, { options: 'ro', prepare: client => client.put('dir/file', 'theirs') });
  const file = mount.path('dir/file');
  t.equal(readFileSync(file, 'utf8'), 'theirs');
  for (const command of [
    'echo x > "$1"',
    'rm "$1"',
    'mv "$1" "$1.new"',
    'mkdir "$1.d"',
    'chmod 600 "$1"',
    'touch "$1"',
  ]) {
    t.throws(() => shell(command, { args: [file] }), /Read-only file system/, command);
  }
});

t.test('umask, uid and gid as s3fs has them', async t => {
  const mount = await aMount(t, {
    options: 'umask=0027,uid=1234,gid=2345',
    prepare: client => client.put('dir/theirs', 'x'),
  });
  writeFileSync(mount.path('dir/ours'), 'x', { mode: 0o600 });
  for (const name of ['dir', 'dir/theirs', 'dir/ours']) {
    const { uid, gid, mode } = statSync(mount.path(name));
    t.same([uid, gid, mode & 0o777], [1234, 2345, 0o750], name);
  }
});

t.test('df shows a size', async t => {
  const mount = await aMount(t, { options: 'bucket_size=10GB' });
  const { bsize, blocks } = statfsSync(mount.dir);
  t.equal(Math.round((bsize * blocks) / 1e9), 10);
});

t.test('errors of S3 are the errors of fsync and close, and the bytes stay', async t => {
  const mount = await aMount(t, { options: 'retries=1' });
  await mount.s3.addFault('status=503:op=PutObject,n=2');
  const file = openSync(mount.path('f'), 'w');
  writeSync(file, 'bytes');
  t.equal(
    codeOf(() => fsyncSync(file)),
    'EIO',
    'fsync',
  );
  t.equal(
    codeOf(() => closeSync(file)),
    'EIO',
    'close',
  );
  t.equal(readFileSync(mount.path('f'), 'utf8'), 'bytes');
  const again = openSync(mount.path('f'), 'a');
  writeSync(again, ' and more');
  closeSync(again);
  t.equal(await mount.client.text('f'), 'bytes and more', 'the next close brings all of it');
  await mount.s3.addFault('status=403:op=PutObject,key=forbidden');
  t.equal(
    codeOf(() => writeFileSync(mount.path('forbidden'), 'x')),
    'EACCES',
    'no permission',
  );
  run('rm', [mount.path('forbidden')]);
});

t.test('slow and broken answers are retried', async t => {
  const mount = await aMount(t, { prepare: client => client.put('f', 'x'.repeat(500_000)) });
  for (const fault of ['status=503:op=GetObject,n=1', 'reset=0.5:op=GetObject,n=1', 'truncate=0.3:op=GetObject,n=1']) {
    await mount.remount();
    await mount.s3.addFault(fault);
    t.equal(readFileSync(mount.path('f')).length, 500_000, fault);
  }
  await mount.s3.addFault('lost:op=PutObject,n=1');
  writeFileSync(mount.path('lost answer'), 'saved once');
  t.equal(await mount.client.text('lost answer'), 'saved once');
  t.same(await mount.client.keys(), ['f', 'lost answer'], 'no conflict with ourselves');
});
