/** The printed policy suffices for all that the store does, and none of its actions can be left out. */
import t, { type Test } from 'tap';
import { iamPolicy, type PolicyDocument, type PolicyWish } from '../../src/cli/iam-policy.ts';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';

const KEY = 'arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const PLAIN = { headers: {}, metadata: {} };
const MIB = 1024 * 1024;

interface Scene {
  readonly store: S3Store;
  readonly s3: EmbeddedS3;
}

async function scene(t: Test, policy: PolicyDocument, wish: Partial<PolicyWish>): Promise<Scene> {
  const limited = { accessKeyId: 'LIMITED', secretAccessKey: 'limited', policy: JSON.stringify(policy) };
  const s3 = await startEmbeddedS3({ buckets: ['works'], credentials: [limited] });
  const prefix = `${wish.prefix ?? ''}${wish.prefix ? '/' : ''}`;
  s3.putObject('works', `${prefix}there`, 'theirs', { tags: { a: 'b' } });
  const store = await openS3Store({
    bucket: 'works',
    prefix,
    url: s3.url,
    region: 'us-east-1',
    credentials: async () => limited,
    retry: { attempts: 2, base: 1, longest: 5 },
    ...(wish.kms === undefined ? {} : { encryption: { algorithm: 'aws:kms', kmsKeyId: wish.kms } }),
    ...(wish.acl ? { acl: 'bucket-owner-full-control' } : {}),
  });
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  return { store, s3 };
}

async function read(store: S3Store, key: string): Promise<void> {
  const info = await store.head(key);
  await store.get(key, { offset: 0, length: info.size }, { buffers: [Buffer.alloc(info.size)] });
}

/** What needs each action, in the order in which a mount would do it. */
const NEEDS: Readonly<Record<string, (scene: Scene) => Promise<unknown>>> = {
  's3:ListBucket': ({ store }) => store.list({ prefix: '', delimiter: '/', maxKeys: 100 }),
  's3:GetObject': ({ store }) => read(store, 'there'),
  's3:PutObject': ({ store }) => store.put('new', [Buffer.from('x')], PLAIN, { ifAbsent: true }),
  's3:DeleteObject': async ({ store, s3 }) => {
    await store.delete('there');
    const failed = await store.deleteMany(['there', 'gone']);
    if (failed.length > 0) throw failed[0]!.error;
    if (s3.listKeys('works').some(key => key.endsWith('there'))) throw new Error('it is there still');
  },
  's3:GetObjectTagging': ({ store }) => store.tags('there'),
  's3:PutObjectTagging': ({ store }) =>
    store.put('tagged', [Buffer.from('x')], { ...PLAIN, tags: [['a', 'b']] }, undefined),
  's3:AbortMultipartUpload': async ({ store, s3 }) => {
    const upload = await store.beginUpload('large', PLAIN);
    await upload.abort();
    if (s3.openUploads('works').length > 0) throw new Error('the upload is open still');
  },
  's3:ListMultipartUploadParts': async ({ store, s3 }) => {
    // Its answer is lost, and what is there now cannot be told by its ETag, which is no MD5.
    s3.faults.add({ kind: 'lost', operation: 'CompleteMultipartUpload', count: 1 });
    const upload = await store.beginUpload('doubtful', { ...PLAIN, encryption: { algorithm: 'aws:kms' } });
    const part = await upload.putPart(1, [Buffer.alloc(5 * MIB)]);
    await upload.complete([part], undefined);
  },
  's3:RestoreObject': ({ store, s3 }) => {
    s3.putObject('works', `${store.place.prefix}archived`, 'x', { storageClass: 'GLACIER' });
    return store.restore('archived', { days: 1, tier: 'Standard' });
  },
  's3:PutObjectAcl': ({ store }) => store.put('shared', [Buffer.from('x')], PLAIN, undefined),
  'kms:GenerateDataKey': ({ store }) => store.put('sealed', [Buffer.from('x')], PLAIN, undefined),
  'kms:Decrypt': async ({ store }) => {
    await store.put('sealed', [Buffer.from('x')], PLAIN, undefined);
    await read(store, 'sealed');
  },
};

const without = (policy: PolicyDocument, action: string): PolicyDocument => ({
  ...policy,
  Statement: policy.Statement.map(statement => ({
    ...statement,
    Action: statement.Action.filter(each => each !== action),
  })).filter(statement => statement.Action.length > 0),
});

const WISHES: readonly (readonly [string, Partial<PolicyWish>])[] = [
  ['a whole bucket', {}],
  ['a prefix', { prefix: 'team/a*b' }],
  ['a key of KMS', { kms: KEY }],
  ['an ACL', { acl: true }],
  ['archives', { restore: true }],
  ['read only', { readOnly: true }],
  ['read only, a prefix', { readOnly: true, prefix: 'team' }],
];

for (const [title, wish] of WISHES) {
  t.test(title, async t => {
    const policy = iamPolicy({ source: 'works', readOnly: false, ...wish });
    const actions = policy.Statement.flatMap(({ Action }) => Action).filter(
      action => !(wish.readOnly && action.startsWith('kms')),
    );
    for (const action of actions) {
      const need = NEEDS[action];
      if (!need) throw new Error(`nothing needs ${action}`);
      await t.resolves(need(await scene(t, policy, wish)), `${action} suffices`);
      await t.rejects(need(await scene(t, without(policy, action), wish)), `${action} is needed`);
    }
  });
}

t.test('nothing outside the prefix, and nothing but reading under read-only', async t => {
  const wish = { readOnly: true, prefix: 'team' };
  const policy = iamPolicy({ source: 'works', ...wish });
  const { store, s3 } = await scene(t, policy, wish);
  s3.putObject('works', 'secret', 'x');
  await t.rejects(store.put('a', [Buffer.from('x')], PLAIN, undefined), /s3:PutObject/);
  await t.rejects(store.delete('there'), /s3:DeleteObject/);
  const { store: outside } = await scene(t, policy, {});
  await t.rejects(outside.head('there'), /s3:GetObject/);
  await t.rejects(outside.list({ prefix: '', maxKeys: 10 }), /s3:ListBucket/);
});

t.test('what people write for a bucket and a key', async t => {
  const resources = (wish: Partial<PolicyWish> & { source: string }): unknown =>
    iamPolicy({ readOnly: true, ...wish }).Statement.map(({ Resource }) => Resource);
  t.same(resources({ source: 's3://works/a/', prefix: '/b/' }), ['arn:aws:s3:::works', 'arn:aws:s3:::works/a/b/*']);
  t.same(resources({ source: 'works', partition: 'aws-cn' }), ['arn:aws-cn:s3:::works', 'arn:aws-cn:s3:::works/*']);
  const accessPoint = 'arn:aws:s3:eu-west-1:123456789012:accesspoint/mine';
  t.same(resources({ source: accessPoint }), [accessPoint, `${accessPoint}/object/*`]);
  t.same(resources({ source: 'works', kms: '1234abcd-12ab-34cd-56ef-1234567890ab' }), [
    'arn:aws:s3:::works',
    'arn:aws:s3:::works/*',
    'arn:aws:kms:*:*:key/1234abcd-12ab-34cd-56ef-1234567890ab',
  ]);
  t.throws(() => resources({ source: 'works', kms: 'alias/mine' }), {
    exitCode: 1,
    message: /policies do not know aliases/,
  });
});
