/** Listings, odd keys, deletions, versions. */
import assert from 'node:assert/strict';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsCommand,
  type ListObjectsV2CommandOutput,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { type Check, fails, md5, type Scene } from './scene.ts';

const names = (page: ListObjectsV2CommandOutput): (string | undefined)[] => [
  ...(page.CommonPrefixes ?? []).map(one => one.Prefix),
  ...(page.Contents ?? []).map(one => one.Key),
];

/** `ROOT/a/1 a/2 b/1 c d`. */
async function tree(s: Scene, root: string): Promise<string> {
  for (const key of ['a/1', 'a/2', 'b/1', 'c', 'd']) await s.put(`${root}/${key}`);
  return `${root}/`;
}

export const LISTING_CHECKS: readonly Check[] = [
  [
    'list: prefix and delimiter',
    async s => {
      const Prefix = await tree(s, 'list-1');
      const page = await s.list({ Prefix, Delimiter: '/' });
      assert.deepEqual(page.CommonPrefixes, [{ Prefix: 'list-1/a/' }, { Prefix: 'list-1/b/' }]);
      assert.deepEqual(
        page.Contents?.map(one => one.Key),
        ['list-1/c', 'list-1/d'],
      );
      assert.equal(page.KeyCount, 4);
    },
  ],
  [
    'list: one entry a page, prefixes counted once',
    async s => {
      const Prefix = await tree(s, 'list-2');
      const found: (string | undefined)[] = [];
      let token: string | undefined;
      do {
        const page = await s.list({ Prefix, Delimiter: '/', MaxKeys: 1, ContinuationToken: token });
        found.push(...names(page));
        token = page.IsTruncated ? page.NextContinuationToken : undefined;
      } while (token !== undefined && found.length < 10);
      assert.deepEqual(found, ['list-2/a/', 'list-2/b/', 'list-2/c', 'list-2/d']);
    },
  ],
  [
    'list: StartAfter, also within a common prefix',
    async s => {
      const Prefix = await tree(s, 'list-3');
      assert.deepEqual(await s.keys({ Prefix, StartAfter: 'list-3/b/1' }), ['list-3/c', 'list-3/d']);
      const page = await s.list({ Prefix, Delimiter: '/', StartAfter: 'list-3/a/zzz' });
      assert.deepEqual(names(page), ['list-3/b/', 'list-3/c', 'list-3/d']);
    },
  ],
  [
    'list: no entries are asked for',
    async s => {
      const page = await s.list({ MaxKeys: 0 });
      assert.equal(page.KeyCount ?? 0, 0);
      assert.equal(page.Contents, undefined);
      assert.ok(!page.IsTruncated);
    },
  ],
  [
    'list: size, time and quoted ETag of an entry',
    async s => {
      await s.put('list-4/x', '12345');
      const entry = (await s.list({ Prefix: 'list-4/' })).Contents?.[0];
      assert.equal(entry?.Size, 5);
      assert.equal(entry?.ETag, `"${md5('12345')}"`);
      assert.ok(entry?.LastModified);
    },
  ],
  [
    'list: in the order of UTF-8 bytes, not of UTF-16',
    async s => {
      const keys = ['\uFF5E', '😀', 'a', 'B', 'a-', 'a/x'].map(name => `list-5/${name}`);
      for (const key of keys) await s.put(key);
      const ordered = keys.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(await s.keys({ Prefix: 'list-5/' }), ordered);
    },
  ],
  [
    'list: it shows at once what was put, changed and deleted',
    async s => {
      for (let i = 0; i < 50; i++) {
        const key = `list-6/${i}`;
        await s.put(key, 'v');
        assert.ok((await s.keys({ Prefix: key })).includes(key), `${key} is not listed`);
        await s.put(key, 'longer');
        assert.equal((await s.get(key)).text, 'longer');
        await s.delete(key);
        assert.ok(!(await s.keys({ Prefix: key })).includes(key), `${key} is still listed`);
      }
    },
  ],
  [
    'list: the first version of the API, by marker',
    async s => {
      const Prefix = await tree(s, 'list-7');
      const page = await s.client.send(new ListObjectsCommand({ Bucket: s.bucket, Prefix, Marker: 'list-7/b/1' }));
      assert.deepEqual(
        page.Contents?.map(one => one.Key),
        ['list-7/c', 'list-7/d'],
      );
    },
  ],
];

/** Keys that are put, read, listed in both encodings, and deleted. */
const ODD_KEYS: Readonly<Record<string, readonly string[]>> = {
  space: ['odd/a b c'],
  plus: ['odd/a+b'],
  percent: ['odd/100%25%/%'],
  'accents, euro, Han': ['odd/é€日本'],
  'Hangul composed and decomposed are two': ['odd/한글', 'odd/한글'.normalize('NFD')],
  emoji: ['odd/😀'],
  'two slashes': ['odd//x//y'],
  'a slash in front': ['/odd-lead'],
  'a directory, its marker and a file in it': ['odd/dir', 'odd/dir/', 'odd/dir/f'],
  'a dot between slashes': ['odd/./x'],
  'two dots between slashes': ['odd/../x'],
  'a dot alone': ['.'],
  'two dots alone': ['..'],
  'quotes and angles': ['odd/<a>&"b\''],
  'all of !*()~:;=?#@$,[]{}|\\^`': ['odd/!*()~:;=?#@$,[]{}|\\^`'],
  'tab and newline': ['odd/a\tb\nc'],
  'control characters': ['odd/\x01\x7f'],
  '1,024 bytes': [`odd/${'n'.repeat(1020)}`],
  '1,024 bytes of two-byte characters': [`odd/${'é'.repeat(510)}`],
  'a name above 255 bytes': [`odd/${'s'.repeat(300)}`],
};

function oddKeyCheck(name: string, keys: readonly string[]): Check {
  return [
    `key: ${name}`,
    async s => {
      for (const key of keys) await s.put(key, `of ${key}`);
      for (const key of keys) assert.equal((await s.get(key)).text, `of ${key}`);
      const prefix = keys[0]!.startsWith('odd/') ? 'odd/' : keys[0]!.slice(0, 1);
      const encoded = (await s.keys({ Prefix: prefix, EncodingType: 'url' })).map(key =>
        decodeURIComponent((key ?? '').replaceAll('+', '%20')),
      );
      for (const key of keys) assert.ok(encoded.includes(key), `not listed with encoding-type=url: ${encoded}`);
      // XML 1.0 cannot say control characters.
      if (!keys.some(key => key.includes('\x01'))) {
        const plain = await s.keys({ Prefix: prefix });
        for (const key of keys) assert.ok(plain.includes(key), `not listed in plain XML: ${plain}`);
      }
      for (const key of keys) await s.delete(key);
      for (const key of keys) await fails(s.head(key), 404);
    },
  ];
}

export const KEY_CHECKS: readonly Check[] = [
  ...Object.entries(ODD_KEYS).map(([name, keys]) => oddKeyCheck(name, keys)),
  ['key: 1,025 bytes are KeyTooLongError', async s => fails(s.put('n'.repeat(1025)), 400, 'KeyTooLongError')],
];

export const DELETION_CHECKS: readonly Check[] = [
  [
    'delete many: odd keys and a missing one',
    async s => {
      const keys = ['many/1', 'many/a b+c&<é>', 'many/😀'];
      for (const key of keys) await s.put(key);
      const Objects = [...keys, 'many/missing'].map(Key => ({ Key }));
      const answer = await s.client.send(new DeleteObjectsCommand({ Bucket: s.bucket, Delete: { Objects } }));
      assert.deepEqual(answer.Errors ?? [], []);
      assert.equal(answer.Deleted?.length, 4);
      assert.deepEqual(await s.keys({ Prefix: 'many/' }), []);
    },
  ],
  [
    'delete many: 1,000 keys in silence',
    async s => {
      const Objects = Array.from({ length: 1000 }, (_, i) => ({ Key: `none/${i}` }));
      const answer = await s.client.send(
        new DeleteObjectsCommand({ Bucket: s.bucket, Delete: { Quiet: true, Objects } }),
      );
      assert.deepEqual(answer.Errors ?? [], []);
    },
  ],
  [
    'delete many: by a client that sends only the checksums that it must',
    async s => {
      await s.put('many/lean');
      const Objects = [{ Key: 'many/lean' }];
      const answer = await s.lean.send(new DeleteObjectsCommand({ Bucket: s.bucket, Delete: { Objects } }));
      assert.deepEqual(answer.Errors ?? [], []);
      await fails(s.get('many/lean'), 404, 'NoSuchKey');
    },
  ],
  [
    'versions: two of them and a delete marker',
    async s => {
      const Bucket = `${s.bucket}-versions`;
      const Key = 'v';
      await s.client.send(new CreateBucketCommand({ Bucket }));
      await s.client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }));
      const first = await s.client.send(new PutObjectCommand({ Bucket, Key, Body: '1' }));
      const second = await s.client.send(new PutObjectCommand({ Bucket, Key, Body: '22' }));
      assert.ok(first.VersionId && second.VersionId && first.VersionId !== second.VersionId);
      const old = await s.client.send(new GetObjectCommand({ Bucket, Key, VersionId: first.VersionId }));
      assert.equal(await old.Body?.transformToString(), '1');
      assert.equal((await s.client.send(new DeleteObjectCommand({ Bucket, Key }))).DeleteMarker, true);
      await fails(s.client.send(new GetObjectCommand({ Bucket, Key })), 404, 'NoSuchKey');
      const listed = await s.client.send(new ListObjectVersionsCommand({ Bucket }));
      assert.equal(listed.Versions?.length, 2);
      assert.equal(listed.DeleteMarkers?.length, 1);
    },
  ],
];
