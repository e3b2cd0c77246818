/**
 * What others keep with an object is the same after whatever a mount does to it. S3 replaces all of it with each write, and
 * drops parts of it with each copy: headers, tags, storage class and encryption have to be restated one by one.
 */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  openSync,
  renameSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { CopyObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import t from 'tap';
import { BUCKET, prepareMount, type RealMount } from '../support/mount.ts';
import { type StoredWith, storedWith } from '../support/stored-with.ts';
import { setxattr } from '../support/syscalls.ts';

const MIB = 1024 * 1024;

/** Above the 64 MiB up to which an object is copied in one request. */
const LARGE = 70 * MIB;

/** All that S3 can be told with an object, none of it S3's default. */
const STATED = {
  ContentType: 'text/x-strange; charset=koi8-r',
  ContentEncoding: 'gzip',
  ContentDisposition: 'attachment; filename="a b.txt"',
  ContentLanguage: 'ko-KR',
  CacheControl: 'public, max-age=31536000',
  Expires: new Date('2031-02-03T04:05:06Z'),
  WebsiteRedirectLocation: '/elsewhere',
  Metadata: { note: 'kept', 'x-ray': 'a=b; c="d"', empty: '', owner: 'data-team' },
  StorageClass: 'STANDARD_IA',
  ServerSideEncryption: 'aws:kms',
  SSEKMSKeyId: 'arn:aws:kms:us-east-1:000000000000:key/of-theirs',
  BucketKeyEnabled: true,
  Tagging: 'team=a%20b&%EC%9D%B4%EB%A6%84=%EA%B0%92&empty=',
} as const;

interface Operation {
  /** Where it is done; default: a file. */
  readonly directory?: boolean;
  readonly large?: boolean;
  readonly work: (mount: RealMount, name: string) => void;
  /** The key afterwards; default: the same. */
  readonly becomes?: (name: string) => string;
  /** Bytes afterwards, to be sure that something was done. */
  readonly size?: number;
}

function overwrite(path: string, offset: number, text: string): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, text, offset);
  closeSync(fd);
}

const moved = (name: string): string => `${name}.moved`;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  'changed content': { work: (mount, name) => overwrite(mount.path(name), 1, 'abc'), size: 5 },
  'written anew (O_TRUNC)': { work: (mount, name) => writeFileSync(mount.path(name), 'anew'), size: 4 },
  append: { work: (mount, name) => appendFileSync(mount.path(name), 'more'), size: 9 },
  'truncate, shorter': { work: (mount, name) => truncateSync(mount.path(name), 2), size: 2 },
  'truncate, longer': { work: (mount, name) => truncateSync(mount.path(name), 100), size: 100 },
  'truncate to nothing': { work: (mount, name) => truncateSync(mount.path(name), 0), size: 0 },
  'grown beyond one PUT': { work: (mount, name) => truncateSync(mount.path(name), 20 * MIB), size: 20 * MIB },
  chmod: { work: (mount, name) => chmodSync(mount.path(name), 0o604) },
  utimens: { work: (mount, name) => utimesSync(mount.path(name), 1, 2) },
  setxattr: { work: (mount, name) => void setxattr(mount.path(name), 'user.a', Buffer.from('b')) },
  rename: { work: (mount, name) => renameSync(mount.path(name), mount.path(moved(name))), becomes: moved },
  'chmod and rename': {
    work: (mount, name) => {
      chmodSync(mount.path(name), 0o604);
      renameSync(mount.path(name), mount.path(moved(name)));
    },
    becomes: moved,
  },
  'changed and renamed': {
    work: (mount, name) => {
      appendFileSync(mount.path(name), 'more');
      renameSync(mount.path(name), mount.path(moved(name)));
    },
    becomes: moved,
    size: 9,
  },
  'link (link=copy)': { work: (mount, name) => linkSync(mount.path(name), mount.path(moved(name))), becomes: moved },
  'chmod of a directory': { directory: true, work: (mount, name) => chmodSync(mount.path(name), 0o711) },
  'rename of a directory': {
    directory: true,
    work: (mount, name) => renameSync(mount.path(name), mount.path(moved(name))),
    becomes: name => `${moved(name.slice(0, -1))}/`,
  },
  '4 KiB in the middle of a large one': {
    large: true,
    work: (mount, name) => overwrite(mount.path(name), LARGE / 2, 'x'.repeat(4096)),
    size: LARGE,
  },
  'append to a large one': {
    large: true,
    work: (mount, name) => appendFileSync(mount.path(name), 'more'),
    size: LARGE + 4,
  },
  'truncate of a large one': {
    large: true,
    work: (mount, name) => truncateSync(mount.path(name), LARGE - 1),
    size: LARGE - 1,
  },
  'chmod of a large one: a copy in parts onto itself': {
    large: true,
    work: (mount, name) => chmodSync(mount.path(name), 0o604),
    size: LARGE,
  },
  'rename of a large one, in parts': {
    large: true,
    work: (mount, name) => renameSync(mount.path(name), mount.path(moved(name))),
    becomes: moved,
    size: LARGE,
  },
};

/** What has to be the same; of the user metadata, that which we were given. */
function given(stored: StoredWith): Record<string, unknown> {
  const { metadata, size: _size, etag: _etag, ...rest } = stored;
  const kept = Object.fromEntries(Object.keys(STATED.Metadata).map(name => [name, metadata[name]]));
  return { ...rest, metadata: kept };
}

t.test('what others keep with an object stays', async t => {
  const operations = Object.entries(OPERATIONS).map(([what, operation], i) => {
    return { what, operation, name: `o${i}`, key: operation.directory ? `o${i}/` : `o${i}` };
  });
  const mount = await prepareMount(t, {
    options: 'link=copy',
    prepare: async (_client, server) => {
      const { access } = server!;
      const s3 = new S3Client({
        endpoint: access.url,
        region: access.region,
        credentials: { accessKeyId: access.accessKeyId, secretAccessKey: access.secretAccessKey },
        forcePathStyle: true,
      });
      await server!.fill(BUCKET, { key: 'large', size: LARGE });
      for (const { operation, key } of operations) {
        const target = { ...STATED, Bucket: BUCKET, Key: key };
        if (operation.large) {
          const replaced = { MetadataDirective: 'REPLACE', TaggingDirective: 'REPLACE' } as const;
          await s3.send(new CopyObjectCommand({ ...target, ...replaced, CopySource: `${BUCKET}/large` }));
        } else {
          await s3.send(new PutObjectCommand({ ...target, Body: Buffer.from(operation.directory ? '' : 'bytes') }));
        }
      }
      s3.destroy();
    },
  });
  const before = given(await storedWith(mount.access, BUCKET, operations[0]!.key));
  t.match(before, { storageClass: 'STANDARD_IA', encryption: 'aws:kms', bucketKey: true, redirect: '/elsewhere' });
  t.equal((before['tags'] as string[]).length, 3);
  await mount.start();
  for (const { operation, name } of operations) operation.work(mount, name);
  t.equal((await mount.stop()).code, 0);
  for (const { what, operation, key } of operations) {
    const after = await storedWith(mount.access, BUCKET, operation.becomes?.(key) ?? key);
    t.strictSame(given(after), before, what);
    t.ok(after.metadata['mode'] !== undefined || operation.becomes, `${what}: was saved`);
    if (operation.size !== undefined) t.equal(after.size, operation.size, `${what}: size`);
  }
});
