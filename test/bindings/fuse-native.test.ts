/** The second binding on real mounts, and what is known to be wrong with it. Needs root, /dev/fuse and libfuse 2. */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { bindingContract, type Defect } from '../contract/binding.ts';
import { aMount } from '../support/mount.ts';
import { FUSE_NATIVE_PATH, mountChild } from '../support/mounted-child.ts';
import { run } from '../support/processes.ts';

const NODES = fileURLToPath(new URL('../../node_modules/.s3mount-node/node_modules', import.meta.url));

/** Each has its line in docs/BINDINGS.md. */
const DEFECTS: readonly Defect[] = [
  'rename-flags',
  'holes',
  'copies',
  'times',
  'inode-numbers',
  'attribute-size',
  'hidden-names',
];

await t.test('contract', t =>
  bindingContract(t, options => mountChild({ ...options, binding: 'fuse-native' }), DEFECTS),
);

await t.test('who asks is not known: all that is made belongs to the mounter', async t => {
  const mount = await mountChild({ binding: 'fuse-native', mount: { allowOther: true, defaultPermissions: false } });
  try {
    execFileSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', 'touch', join(mount.dir, 'theirs')]);
    const { uid, gid } = statSync(join(mount.dir, 'theirs'));
    t.same([uid, gid], [0, 0]);
  } finally {
    await mount.stop();
  }
});

for (const version of [undefined, 22, 24]) {
  await t.test(`a bucket is mounted by it on Node ${version ?? process.versions.node}`, async t => {
    const node = version === undefined ? process.execPath : `${NODES}/node${version}/bin/node`;
    const mount = await aMount(t, {
      node,
      options: 'binding=fuse-native',
      environment: { NODE_PATH: FUSE_NATIVE_PATH },
      prepare: client => client.put('dir/theirs', 'from elsewhere'),
    });
    t.match(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(`${mount.dir} .* fuse.s3mount `));
    t.equal(readFileSync(mount.path('dir/theirs'), 'utf8'), 'from elsewhere');
    writeFileSync(mount.path('dir/ours'), 'x'.repeat(300_000));
    t.equal((await mount.client.text('dir/ours'))?.length, 300_000, 'close returned when S3 had it');
    run('mv', [mount.path('dir'), mount.path('moved')]);
    t.same(readdirSync(mount.path('moved')), ['ours', 'theirs']);
    utimesSync(mount.path('moved/ours'), 1_000_000_000, 1_000_000_000);
    t.equal(statSync(mount.path('moved/ours')).mtimeMs, 1_000_000_000_000);
    const open = openSync(mount.path('moved/ours'), 'r');
    run('rm', [mount.path('moved/ours')]);
    t.equal(readFileSync(open, 'latin1').length, 300_000, 'removed while open');
    closeSync(open);
    run('rm', ['-r', mount.path('moved')]);
    t.same(await mount.client.keys(), []);
    t.match(run('df', ['--output=size', mount.dir]), /\d{6}/);
    t.match(await mount.stop(), { code: 0 });
  });
}

await t.test('where it is not installed one sentence says so', async t => {
  await t.rejects(aMount(t, { options: 'binding=fuse-native' }), {
    message: /the package fuse-native is not installed; install it beside s3mount/,
  });
});
