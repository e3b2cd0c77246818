/** Buckets, objects, ranges, metadata. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  CreateBucketCommand,
  GetBucketLocationCommand,
  GetObjectAttributesCommand,
  GetObjectTaggingCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  RenameObjectCommand,
} from '@aws-sdk/client-s3';
import { type Check, fails, md5 } from './scene.ts';

const DIGITS = '0123456789';

export const OBJECT_CHECKS: readonly Check[] = [
  [
    'bucket: it is listed, and HEAD finds it',
    async s => {
      const { Buckets } = await s.client.send(new ListBucketsCommand({}));
      assert.ok(Buckets?.some(bucket => bucket.Name === s.bucket));
      await s.client.send(new HeadBucketCommand({ Bucket: s.bucket }));
    },
  ],
  [
    'bucket: it has a location',
    async s => void (await s.client.send(new GetBucketLocationCommand({ Bucket: s.bucket }))),
  ],
  [
    'bucket: it tells its region',
    async s => {
      const { BucketRegion } = await s.client.send(new HeadBucketCommand({ Bucket: s.bucket }));
      assert.equal(BucketRegion, s.endpoint.region);
    },
  ],
  [
    'bucket: creating it again changes nothing',
    async s => {
      await s.put('bucket/kept');
      // S3 answers 409, in us-east-1 200.
      await s.client.send(new CreateBucketCommand({ Bucket: s.bucket })).catch((error: { name?: string }) => {
        assert.equal(error.name, 'BucketAlreadyOwnedByYou');
      });
      assert.equal((await s.get('bucket/kept')).text, 'x');
    },
  ],
  [
    'bucket: a missing one is NoSuchBucket',
    async s => {
      const Bucket = `missing-${s.bucket}`;
      await fails(s.client.send(new ListObjectsV2Command({ Bucket })), 404, 'NoSuchBucket');
      await fails(s.client.send(new PutObjectCommand({ Bucket, Key: 'a', Body: 'x' })), 404, 'NoSuchBucket');
    },
  ],
  [
    'object: a missing key is NoSuchKey, a HEAD of it 404',
    async s => {
      await fails(s.get('object/missing'), 404, 'NoSuchKey');
      await fails(s.head('object/missing'), 404);
    },
  ],
  [
    'object: bytes and content headers come back; deleting twice is no error',
    async s => {
      const bytes = randomBytes(70_000);
      const headers = { ContentType: 'image/png', CacheControl: 'max-age=5', ContentDisposition: 'inline' };
      const { ETag } = await s.put('object/a.bin', bytes, { ...headers, ContentEncoding: 'identity' }, s.lean);
      assert.equal(ETag, `"${md5(bytes)}"`);
      const got = await s.get('object/a.bin');
      assert.ok(got.bytes.equals(bytes));
      assert.equal(got.answer.ContentType, 'image/png');
      const head = await s.head('object/a.bin');
      assert.equal(head.ContentLength, bytes.length);
      assert.equal(head.ETag, ETag);
      assert.ok(head.LastModified);
      assert.equal(head.CacheControl, 'max-age=5');
      assert.equal(head.ContentDisposition, 'inline');
      await s.delete('object/a.bin');
      await fails(s.get('object/a.bin'), 404, 'NoSuchKey');
      await s.delete('object/a.bin');
    },
  ],
  [
    'object: an empty one has the MD5 of nothing',
    async s => {
      await s.put('object/empty', '');
      const { bytes, answer } = await s.get('object/empty');
      assert.equal(bytes.length, 0);
      assert.equal(answer.ContentLength, 0);
      assert.equal((await s.head('object/empty')).ETag, `"${md5('')}"`);
    },
  ],
  [
    'range: from, to, the last ones, past the end',
    async s => {
      await s.put('range/digits', DIGITS);
      for (const [range, text, told] of [
        ['bytes=2-5', '2345', 'bytes 2-5/10'],
        ['bytes=5-', '56789', 'bytes 5-9/10'],
        ['bytes=-3', '789', 'bytes 7-9/10'],
        ['bytes=8-100', '89', 'bytes 8-9/10'],
      ] as const) {
        const got = await s.get('range/digits', { Range: range });
        assert.equal(got.text, text, range);
        assert.equal(got.answer.$metadata.httpStatusCode, 206, range);
        assert.equal(got.answer.ContentRange, told);
      }
    },
  ],
  [
    'range: wholly past the end is InvalidRange',
    async s => {
      await s.put('range/short', DIGITS);
      await fails(s.get('range/short', { Range: 'bytes=10-20' }), 416, 'InvalidRange');
    },
  ],
  [
    'range: any of an empty object is InvalidRange',
    async s => {
      await s.put('range/empty', '');
      await fails(s.get('range/empty', { Range: 'bytes=0-1' }), 416, 'InvalidRange');
    },
  ],
  [
    'range: together with If-Match',
    async s => {
      const { ETag } = await s.put('range/matched', DIGITS);
      assert.equal((await s.get('range/matched', { Range: 'bytes=0-1', IfMatch: ETag })).text, '01');
      await fails(
        s.get('range/matched', { Range: 'bytes=0-1', IfMatch: `"${md5('other')}"` }),
        412,
        'PreconditionFailed',
      );
    },
  ],
  [
    'metadata: names in lower case, values as they were',
    async s => {
      await s.put('metadata/plain', 'x', { Metadata: { mtime: '123.5', Mode: '33188' } });
      const { Metadata } = await s.head('metadata/plain');
      assert.equal(Metadata?.['mtime'], '123.5');
      assert.equal(Metadata?.['mode'], '33188');
    },
  ],
  [
    'metadata: encoded words and percent signs are not touched',
    async s => {
      const word = '=?UTF-8?B?w6nigqw=?=';
      const percent = '%C3%A9%E2%82%AC';
      await s.put('metadata/encoded', 'x', { Metadata: { word, percent } });
      const { Metadata } = await s.head('metadata/encoded');
      assert.equal(Metadata?.['word'], word);
      assert.equal(Metadata?.['percent'], percent);
    },
  ],
  [
    'metadata: more than 2 KB is MetadataTooLarge',
    async s => fails(s.put('metadata/large', 'x', { Metadata: { a: 'z'.repeat(3000) } }), 400, 'MetadataTooLarge'),
  ],
  [
    'tags: those of a PUT are told',
    async s => {
      await s.put('tags/one', 'x', { Tagging: 'a=1' });
      const answer = await s.client.send(new GetObjectTaggingCommand({ Bucket: s.bucket, Key: 'tags/one' }));
      assert.deepEqual(answer.TagSet, [{ Key: 'a', Value: '1' }]);
    },
  ],
  [
    'attributes: the size',
    async s => {
      await s.put('attributes/five', '12345');
      const answer = await s.client.send(
        new GetObjectAttributesCommand({
          Bucket: s.bucket,
          Key: 'attributes/five',
          ObjectAttributes: ['ObjectSize', 'ETag'],
        }),
      );
      assert.equal(answer.ObjectSize, 5);
    },
  ],
  [
    'encryption: with a customer key there and back, without it 400',
    async s => {
      const key = randomBytes(32);
      const customer = {
        SSECustomerAlgorithm: 'AES256',
        SSECustomerKey: key.toString('base64'),
        SSECustomerKeyMD5: Buffer.from(md5(key), 'hex').toString('base64'),
      };
      await s.put('encryption/customer', 'secret', customer);
      assert.equal((await s.get('encryption/customer', customer)).text, 'secret');
      await fails(s.get('encryption/customer'), 400);
    },
  ],
  [
    'rename: RenameObject is refused and destroys nothing',
    async s => {
      await s.put('rename/from', 'x');
      await s.put('rename/to', 'y');
      await assert.rejects(
        s.client.send(
          new RenameObjectCommand({ Bucket: s.bucket, Key: 'rename/to', RenameSource: `${s.bucket}/rename/from` }),
        ),
      );
      assert.equal((await s.get('rename/to')).text, 'y');
    },
  ],
];
