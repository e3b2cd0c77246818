/** The functional tests with no more rights than `s3mount iam-policy` prints. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { functionalTests } from '../functional/all.ts';
import { runFunctional } from '../functional/functional.ts';
import { varieties } from '../functional/varieties.ts';
import { aMount, BUCKET, type MountTestOptions, PROGRAM } from '../support/mount.ts';

const KEY = 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const ZONE = 'works--use1-az4--x-s3';
const keys = { accessKeyId: 'LIMITED', secretAccessKey: 'limited' };

const directory = mkdtempSync(join(tmpdir(), 's3mount-policy-'));
t.teardown(() => rmSync(directory, { recursive: true }));

/** A server on which the mount's keys have the printed policy, word for word. */
function limited(...words: string[]): MountTestOptions {
  const file = join(directory, `${words.join('-').replaceAll('/', '_')}.json`);
  writeFileSync(file, execFileSync(process.execPath, [PROGRAM, 'iam-policy', ...words]));
  return {
    keys,
    serverArgs: [`--key=${keys.accessKeyId}:${keys.secretAccessKey}`, `--policy=${keys.accessKeyId}=${file}`],
  };
}

t.test('everything, below a prefix, encrypted by a key of KMS', async t => {
  const prefix = 'team/works';
  await runFunctional(t, functionalTests, {
    ...limited(BUCKET, '--prefix', prefix, '--kms', KEY),
    prefix,
    options: `use_sse=kmsid:${KEY}`,
  });
});

for (const [title, words, more] of [
  ['a whole bucket', [BUCKET], {}],
  ['a prefix', [BUCKET, '--prefix', 'team'], { prefix: 'team' }],
  ['a key of KMS', [BUCKET, '--kms', KEY], { options: `use_sse=kmsid:${KEY}` }],
  ['an ACL', [BUCKET, '--acl'], { options: 'default_acl=bucket-owner-full-control' }],
  ['a directory bucket', [ZONE], { bucket: ZONE }],
] as const) {
  t.test(`${title}: every kind of operation, and not one is refused`, async t => {
    const options = limited(...words);
    await runFunctional(t, varieties, { ...options, ...more, serverArgs: [...options.serverArgs!, '--page=20'] });
  });
}

for (const [title, words, more, below] of [
  ['a whole bucket', [BUCKET, '--read-only'], {}, ''],
  ['a prefix', [BUCKET, '--read-only', '--prefix', 'team'], { prefix: 'team' }, 'team/'],
  ['a directory bucket', [ZONE, '--read-only'], { bucket: ZONE }, ''],
] as const) {
  t.test(`reading only: ${title}`, async t => {
    const mount = await aMount(t, {
      ...limited(...words),
      ...more,
      options: 'ro',
      prepare: async client => {
        await client.put(`${below}dir/a`, 'theirs');
        await client.put(`${below}dir/sub/b`, 'theirs');
      },
    });
    t.same(readdirSync(mount.path('dir')), ['a', 'sub']);
    t.equal(readFileSync(mount.path('dir/a'), 'utf8'), 'theirs');
    t.throws(() => readFileSync(mount.path('dir/missing')), { code: 'ENOENT' });
    t.throws(() => writeFileSync(mount.path('dir/new'), ''), { code: 'EROFS' });
    t.notMatch(mount.log(), /AccessDenied|"level":(40|50|60)/);
  });
}
