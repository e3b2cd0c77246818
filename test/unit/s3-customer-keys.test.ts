/** Keys that the customer keeps (SSE-C): brought with every request that touches bytes, rotated, and found out where they differ. */
import { createHash } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { encryptionOptions } from '../../src/cli/encryption-options.ts';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { openS3Store, type S3StoreOptions } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';

const OLD = Buffer.alloc(32, 'old');
const NEW = Buffer.alloc(32, 'new');
const PLAIN = { headers: {}, metadata: {} };
const MIB = 1024 * 1024;

interface Scene {
  readonly s3: EmbeddedS3;
  store(customerKeys?: S3StoreOptions['customerKeys'], more?: Partial<S3StoreOptions>): Promise<S3Store>;
}

async function scene(t: Test): Promise<Scene> {
  const s3 = await startEmbeddedS3({ buckets: ['works'] });
  t.teardown(() => s3.close());
  return {
    s3,
    async store(customerKeys, more = {}) {
      const store = await openS3Store({
        bucket: 'works',
        url: s3.url,
        region: 'us-east-1',
        credentials: async () => s3.credential,
        retry: { attempts: 1 },
        ...(customerKeys ? { customerKeys } : {}),
        ...more,
      });
      t.teardown(() => store.close());
      return store;
    },
  };
}

async function read(store: S3Store, key: string): Promise<string> {
  const { size } = await store.head(key);
  const target = Buffer.alloc(size);
  await store.get(key, { offset: 0, length: size }, { buffers: [target] });
  return size > 100 ? createHash('md5').update(target).digest('hex') : target.toString();
}

const put = (store: S3Store, key: string, text: string) =>
  store.put(key, [Buffer.from(text)], PLAIN, { ifAbsent: true });

t.test('what is written can be read with the key only', async t => {
  const { store } = await scene(t);
  const ours = await store({ keys: [NEW], write: true });
  await put(ours, 'a', 'sealed');
  t.equal(await read(ours, 'a'), 'sealed');
  await t.rejects(read(await store(), 'a'), { message: /S3 answered 400/ });
  await t.rejects(read(await store({ keys: [OLD], write: true }), 'a'), { message: /S3 answered 40[03]/ });
  t.equal(await read(await store({ keys: [NEW], write: false }), 'a'), 'sealed', 'load_sse_c is enough to read');
});

t.test('uploads in parts, their copies, and what they were made of', async t => {
  const { store, s3 } = await scene(t);
  const ours = await store({ keys: [NEW], write: true });
  const bytes = Buffer.alloc(6 * MIB, 'part ');
  const first = await ours.beginUpload('large', PLAIN);
  await first.complete([await first.putPart(1, [bytes]), await first.putPart(2, [Buffer.from('end')])], {
    ifAbsent: true,
  });
  const large = await ours.head('large');
  t.equal(large.size, 6 * MIB + 3);
  const second = await ours.beginUpload('copied', PLAIN);
  await second.complete([await second.copyPart(1, large, 0, large.size)], { ifAbsent: true });
  t.equal(await read(ours, 'copied'), await read(ours, 'large'));
  await ours.copy(large, 'renamed', undefined, { ifAbsent: true });
  t.equal(await read(ours, 'renamed'), await read(ours, 'large'));
  for (const key of ['large', 'copied', 'renamed']) await t.rejects((await store()).head(key), { message: /400/ });
  t.equal(s3.listKeys('works').length, 3);
});

t.test('rotation: the first key writes, all read, and there are objects without', async t => {
  const { store, s3 } = await scene(t);
  const before = await store({ keys: [OLD], write: true });
  await put(before, 'old', 'by the old key');
  s3.putObject('works', 'plain', 'by nobody');
  const now = await store({ keys: [NEW, OLD], write: true });
  await put(now, 'new', 'by the new key');
  s3.resetStats();
  t.equal(await read(now, 'new'), 'by the new key');
  t.equal(s3.log.length, 2, 'a HEAD and a GET');
  t.equal(await read(now, 'old'), 'by the old key');
  t.equal(await read(now, 'plain'), 'by nobody');
  s3.resetStats();
  await read(now, 'old');
  await read(now, 'plain');
  t.equal(s3.log.length, 4, 'which key it is, is remembered');
  // chmod and the like copy an object onto itself: from then on it has the new key.
  await now.copy(await now.head('old'), 'old', { ...PLAIN, metadata: { mode: '33188' } }, undefined);
  await now.copy(await now.head('plain'), 'sealed', undefined, { ifAbsent: true });
  const newOnly = await store({ keys: [NEW], write: true });
  t.equal(await read(newOnly, 'old'), 'by the old key');
  t.equal(await read(newOnly, 'sealed'), 'by nobody');
});

t.test('an object that S3 encrypted is rewritten by our key, not by both', async t => {
  const { store, s3 } = await scene(t);
  s3.putObject('works', 'a', 'theirs');
  const ours = await store({ keys: [NEW], write: true });
  const { description, etag } = await ours.head('a');
  t.equal(description.encryption?.algorithm, 'AES256');
  await ours.put('a', [Buffer.from('ours')], description, { ifMatch: etag });
  t.equal(await read(ours, 'a'), 'ours');
  await t.rejects((await store()).head('a'), { message: /400/ });
});

t.test('missing and forbidden objects are so with keys too', async t => {
  const { store } = await scene(t);
  const ours = await store({ keys: [NEW, OLD], write: true });
  await t.rejects(ours.head('missing'), { message: /404/ });
});

t.test('a PUT whose answer was lost is told by asking, although its ETag is no MD5', async t => {
  const { store, s3 } = await scene(t);
  s3.faults.add({ kind: 'lost', operation: 'PutObject', count: 1 });
  const ours = await store({ keys: [NEW], write: true }, { retry: { attempts: 3, base: 1 } });
  await put(ours, 'a', 'once');
  t.equal(await read(ours, 'a'), 'once');
});

t.test("s3fs's files and variables", async t => {
  const directory = t.testdir();
  const file = (name: string, text: string, mode = 0o600): string => {
    const path = join(directory, name);
    writeFileSync(path, text);
    chmodSync(path, mode);
    return path;
  };
  const keysOf = async (values: object, env = {}, url?: string) =>
    (await encryptionOptions(values, env, url)).customerKeys;
  const raw = 'a key of thirty-two plain bytes!';
  const path = file('keys', `# newest first\n${NEW.toString('base64')}\n\n${raw}\n`);
  t.same(await keysOf({ use_sse: `custom:${path}` }), { keys: [NEW, Buffer.from(raw)], write: true });
  t.same(await keysOf({ use_sse: `c:${path}` }), await keysOf({ use_sse: 'custom', load_sse_c: path }));
  t.same(await keysOf({ load_sse_c: path }), { keys: [NEW, Buffer.from(raw)], write: false });
  const variable = { AWSSSECKEYS: `${OLD.toString('base64')}:${NEW.toString('base64')}` };
  t.same(await keysOf({ use_sse: 'custom' }, variable), { keys: [OLD, NEW], write: true });
  t.same((await encryptionOptions({ use_sse: 'kmsid' }, { AWSSSEKMSID: 'KEY' }, undefined)).encryption, {
    algorithm: 'aws:kms',
    kmsKeyId: 'KEY',
  });
  for (const [values, env, url, message] of [
    [{ use_sse: 'custom' }, {}, undefined, /needs a key/],
    [{ load_sse_c: file('open', raw, 0o644) }, {}, undefined, /open to others; run: chmod 0600/],
    [{ load_sse_c: file('short', 'short') }, {}, undefined, /short, line 1: a key has 32 bytes/],
    [{ load_sse_c: file('none', '\n# none\n') }, {}, undefined, /holds none/],
    [{ load_sse_c: join(directory, 'missing') }, {}, undefined, /cannot be read/],
    [{ use_sse: 'custom' }, { AWSSSECKEYS: 'x' }, undefined, /AWSSSECKEYS, key 1/],
    [{ use_sse: `custom:${path}` }, {}, 'http://s3.example.org', /must be https/],
  ] as const) {
    await t.rejects(keysOf(values, env, url), { message });
  }
});
