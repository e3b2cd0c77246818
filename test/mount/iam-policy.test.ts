/** The functional tests with no more rights than `s3mount iam-policy` prints. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { functionalTests } from '../functional/all.ts';
import { runFunctional } from '../functional/functional.ts';
import { aMount, BUCKET, type MountTestOptions, PROGRAM } from '../support/mount.ts';

t.setTimeout(230_000);

const KEY = 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
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

t.test('reading only', async t => {
  const mount = await aMount(t, {
    ...limited(BUCKET, '--read-only'),
    options: 'ro',
    prepare: async client => {
      await client.put('dir/a', 'theirs');
      await client.put('dir/sub/b', 'theirs');
    },
  });
  t.same(readdirSync(mount.path('dir')), ['a', 'sub']);
  t.equal(readFileSync(mount.path('dir/a'), 'utf8'), 'theirs');
  t.throws(() => readFileSync(mount.path('dir/missing')), { code: 'ENOENT' });
  t.notMatch(mount.log(), /AccessDenied|"level":(40|50|60)/);
});
