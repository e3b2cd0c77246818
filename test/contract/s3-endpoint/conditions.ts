/** Conditions of reads and writes, and checksums. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { type Check, fails, MIB, NO_ETAG } from './scene.ts';

const DAY = 24 * 3600 * 1000;
const NINE = '123456789';

export const CONDITION_CHECKS: readonly Check[] = [
  [
    'GET: If-Match of another version is 412',
    async s => {
      const { ETag } = await s.put('read/match', 'x');
      await s.get('read/match', { IfMatch: ETag });
      await fails(s.get('read/match', { IfMatch: NO_ETAG }), 412, 'PreconditionFailed');
    },
  ],
  [
    'GET: If-None-Match of this version is 304',
    async s => {
      const { ETag } = await s.put('read/none-match', 'x');
      await fails(s.get('read/none-match', { IfNoneMatch: ETag }), 304);
      await s.get('read/none-match', { IfNoneMatch: '"00"' });
    },
  ],
  [
    'GET: If-Modified-Since and If-Unmodified-Since',
    async s => {
      await s.put('read/dates', 'x');
      await fails(s.get('read/dates', { IfModifiedSince: new Date() }), 304);
      await fails(s.get('read/dates', { IfUnmodifiedSince: new Date(Date.now() - DAY) }), 412);
    },
  ],
  [
    'HEAD: the same with ETags',
    async s => {
      const { ETag } = await s.put('read/head', 'x');
      await fails(s.head('read/head', { IfNoneMatch: ETag }), 304);
      await fails(s.head('read/head', { IfMatch: NO_ETAG }), 412);
    },
  ],
  [
    'PUT: If-None-Match * creates and never overwrites',
    async s => {
      await s.put('write/new', 'a', { IfNoneMatch: '*' });
      await fails(s.put('write/new', 'b', { IfNoneMatch: '*' }), 412, 'PreconditionFailed');
      assert.equal((await s.get('write/new')).text, 'a');
    },
  ],
  [
    'PUT: If-Match of a version that has gone is 412',
    async s => {
      const { ETag } = await s.put('write/changed', 'a');
      await s.put('write/changed', 'b', { IfMatch: ETag });
      await fails(s.put('write/changed', 'c', { IfMatch: ETag }), 412, 'PreconditionFailed');
      assert.equal((await s.get('write/changed')).text, 'b');
    },
  ],
  [
    'PUT: If-Match of a missing object is 404',
    async s => fails(s.put('write/missing', 'a', { IfMatch: NO_ETAG }), 404, 'NoSuchKey'),
  ],
  [
    'PUT: of 16 at once with If-None-Match * one wins',
    async s => {
      const tries = Array.from({ length: 16 }, (_, i) => s.put('write/race', `v${i}`, { IfNoneMatch: '*' }));
      const won = (await Promise.allSettled(tries)).filter(one => one.status === 'fulfilled');
      assert.equal(won.length, 1);
    },
  ],
  [
    'DELETE: If-Match of another version is 412',
    async s => {
      await s.put('write/delete', 'a');
      const Key = 'write/delete';
      await fails(
        s.client.send(new DeleteObjectCommand({ Bucket: s.bucket, Key, IfMatch: NO_ETAG })),
        412,
        'PreconditionFailed',
      );
    },
  ],
  [
    'DELETE: If-Match of this version deletes it',
    async s => {
      const { ETag: IfMatch } = await s.put('write/delete-mine', 'a');
      await s.client.send(new DeleteObjectCommand({ Bucket: s.bucket, Key: 'write/delete-mine', IfMatch }));
      await fails(s.head('write/delete-mine'), 404);
    },
  ],
  [
    'Complete: conditions that hold',
    async s => {
      const Key = 'write/complete-holds';
      const id = await s.beginUpload(Key);
      const ETag = await s.complete(Key, id, [await s.uploadPart(Key, id, 1, 'zz')], { IfNoneMatch: '*' });
      const again = await s.beginUpload(Key);
      await s.complete(Key, again, [await s.uploadPart(Key, again, 1, 'changed')], { IfMatch: ETag });
      assert.equal((await s.get(Key)).text, 'changed');
    },
  ],
  [
    'Complete: If-None-Match * over an object is 412',
    async s => {
      await s.put('write/complete-new', 'a');
      const id = await s.beginUpload('write/complete-new');
      const part = await s.uploadPart('write/complete-new', id, 1, 'zz');
      await fails(s.complete('write/complete-new', id, [part], { IfNoneMatch: '*' }), 412, 'PreconditionFailed');
    },
  ],
  [
    'Complete: If-Match of another version is 412',
    async s => {
      await s.put('write/complete-changed', 'a');
      const id = await s.beginUpload('write/complete-changed');
      const part = await s.uploadPart('write/complete-changed', id, 1, 'zz');
      await fails(s.complete('write/complete-changed', id, [part], { IfMatch: NO_ETAG }), 412, 'PreconditionFailed');
    },
  ],
];

export const CHECKSUM_CHECKS: readonly Check[] = [
  [
    'checksum: CRC32 of a buffer, as the SDK sends it',
    async s => {
      const bytes = Buffer.from('hello default');
      await s.put('checksum/buffer', bytes);
      assert.ok((await s.get('checksum/buffer')).bytes.equals(bytes));
    },
  ],
  [
    'checksum: CRC32 in the trailer of a stream; the framing is not stored',
    async s => {
      const bytes = randomBytes(200_000);
      const stream = Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)]);
      await s.put('checksum/stream', stream, { ContentLength: bytes.length });
      const got = await s.get('checksum/stream');
      assert.equal(got.bytes.length, bytes.length);
      assert.ok(got.bytes.equals(bytes));
      assert.doesNotMatch(got.answer.ContentEncoding ?? '', /aws-chunked/);
    },
  ],
  [
    'checksum: a stream without one',
    async s => {
      const bytes = randomBytes(200_000);
      await s.put('checksum/none', Readable.from([bytes]), { ContentLength: bytes.length }, s.lean);
      assert.ok((await s.get('checksum/none')).bytes.equals(bytes));
    },
  ],
  [
    'checksum: CRC64NVME is kept and told',
    async s => {
      await s.put('checksum/crc64', Buffer.from(NINE), { ChecksumAlgorithm: 'CRC64NVME' });
      const head = await s.head('checksum/crc64', { ChecksumMode: 'ENABLED' });
      assert.equal(head.ChecksumCRC64NVME, 'rosUhgp5mIg=');
    },
  ],
  [
    'checksum: CRC32 is kept and told',
    async s => {
      await s.put('checksum/crc32', NINE);
      assert.equal((await s.head('checksum/crc32', { ChecksumMode: 'ENABLED' })).ChecksumCRC32, 'y/Q5Jg==');
    },
  ],
  [
    'checksum: a wrong CRC32 is refused',
    async s =>
      fails(
        s.put('checksum/wrong', NINE, { ChecksumCRC32: 'AAAAAA==' }),
        400,
        'BadDigest',
        'XAmzContentChecksumMismatch',
        'InvalidRequest',
      ),
  ],
  [
    'checksum: a wrong Content-MD5 is BadDigest',
    async s => fails(s.put('checksum/md5', NINE, { ContentMD5: '1B2M2Y8AsgTpgAmY7PhCfg==' }, s.lean), 400, 'BadDigest'),
  ],
  [
    'checksum: a multipart upload by the SDK, 11 MiB of a stream',
    async s => {
      const bytes = randomBytes(11 * MIB);
      const params = { Bucket: s.bucket, Key: 'checksum/upload', Body: Readable.from([bytes]) };
      await new Upload({ client: s.client, params }).done();
      assert.ok((await s.get('checksum/upload')).bytes.equals(bytes));
    },
  ],
];
