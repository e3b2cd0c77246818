/** Copies and multipart uploads. */
import assert from 'node:assert/strict';
import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  type CopyObjectCommandInput,
  type CopyObjectCommandOutput,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  PutObjectCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { type Check, fails, MIB, NO_ETAG, PART, type Scene } from './scene.ts';

function copy(
  s: Scene,
  from: string,
  to: string,
  extra: Partial<CopyObjectCommandInput> = {},
): Promise<CopyObjectCommandOutput> {
  const source = `${s.bucket}/${encodeURIComponent(from).replaceAll('%2F', '/')}`;
  return s.client.send(new CopyObjectCommand({ Bucket: s.bucket, Key: to, CopySource: source, ...extra }));
}

export const COPY_CHECKS: readonly Check[] = [
  [
    'copy: bytes, metadata and type go along, from a key with odd characters',
    async s => {
      const from = 'copy/from here+é%/x';
      await s.put(from, 'copied', { Metadata: { k: 'v' }, ContentType: 'text/x-a' });
      await copy(s, from, 'copy/to');
      const { text, answer } = await s.get('copy/to');
      assert.equal(text, 'copied');
      assert.equal(answer.Metadata?.['k'], 'v');
      assert.equal(answer.ContentType, 'text/x-a');
    },
  ],
  [
    'copy: REPLACE gives the object new metadata, also onto itself',
    async s => {
      await s.put('copy/self', 'copied', { Metadata: { k: 'v' } });
      const { CopyObjectResult } = await copy(s, 'copy/self', 'copy/self', {
        MetadataDirective: 'REPLACE',
        Metadata: { n: '2' },
        ContentType: 'text/x-b',
      });
      assert.ok(CopyObjectResult?.ETag);
      const { text, answer } = await s.get('copy/self');
      assert.equal(text, 'copied');
      assert.deepEqual(answer.Metadata, { n: '2' });
      assert.equal(answer.ContentType, 'text/x-b');
    },
  ],
  [
    'copy: onto itself without a change is InvalidRequest',
    async s => {
      await s.put('copy/same', 'x');
      await fails(copy(s, 'copy/same', 'copy/same'), 400, 'InvalidRequest');
    },
  ],
  [
    'copy: a condition on the source that does not hold is 412',
    async s => {
      await s.put('copy/conditional', 'x');
      const attempt = copy(s, 'copy/conditional', 'copy/never', { CopySourceIfMatch: NO_ETAG });
      await fails(attempt, 412, 'PreconditionFailed');
    },
  ],
  [
    'copy: If-None-Match * over an object is 412',
    async s => {
      await s.put('copy/new', 'new');
      await s.put('copy/there', 'old');
      await fails(copy(s, 'copy/new', 'copy/there', { IfNoneMatch: '*' }), 412, 'PreconditionFailed');
      assert.equal((await s.get('copy/there')).text, 'old');
    },
  ],
  ['copy: a missing source is NoSuchKey', async s => fails(copy(s, 'copy/missing', 'copy/never'), 404, 'NoSuchKey')],
];

/** An object of two whole parts and a tail; its ETag. */
async function threeParts(s: Scene, key: string): Promise<string> {
  const id = await s.beginUpload(key, { ContentType: 'text/x-mp', Metadata: { a: '1' } });
  const parts = [];
  for (const [i, body] of [PART, PART, Buffer.from('tail')].entries()) {
    parts.push(await s.uploadPart(key, id, i + 1, body));
  }
  return s.complete(key, id, parts);
}

export const MULTIPART_CHECKS: readonly Check[] = [
  [
    'multipart: bytes, metadata and an ETag that ends in the number of parts',
    async s => {
      assert.match(await threeParts(s, 'parts/three'), /-3"?$/);
      const { bytes, answer } = await s.get('parts/three');
      assert.equal(bytes.length, 10 * MIB + 4);
      assert.equal(bytes.subarray(-4).toString(), 'tail');
      assert.equal(answer.Metadata?.['a'], '1');
      assert.equal(answer.ContentType, 'text/x-mp');
      const across = await s.get('parts/three', { Range: `bytes=${5 * MIB - 2}-${5 * MIB + 1}` });
      assert.equal(across.text, 'pppp');
    },
  ],
  [
    'multipart: one part by its number',
    async s => {
      await threeParts(s, 'parts/numbered');
      const { bytes, answer } = await s.get('parts/numbered', { PartNumber: 2 });
      assert.equal(bytes.length, 5 * MIB);
      assert.equal(answer.PartsCount, 3);
    },
  ],
  [
    'multipart: open uploads are listed, page by page',
    async s => {
      for (const key of ['open/a', 'open/b']) await s.beginUpload(key);
      const list = (MaxUploads?: number) =>
        s.client.send(new ListMultipartUploadsCommand({ Bucket: s.bucket, Prefix: 'open/', MaxUploads }));
      assert.equal((await list()).Uploads?.length, 2);
      const page = await list(1);
      assert.equal(page.IsTruncated, true);
      assert.equal(page.NextKeyMarker, 'open/a');
    },
  ],
  [
    'multipart: uploaded parts are listed, page by page',
    async s => {
      const Key = 'parts/listed';
      const UploadId = await s.beginUpload(Key);
      for (let number = 1; number <= 3; number++) await s.uploadPart(Key, UploadId, number, `x${number}`);
      const list = (MaxParts?: number) =>
        s.client.send(new ListPartsCommand({ Bucket: s.bucket, Key, UploadId, MaxParts }));
      const all = await list();
      assert.equal(all.Parts?.length, 3);
      assert.equal(all.Parts?.[0]?.Size, 2);
      const page = await list(2);
      assert.equal(page.Parts?.length, 2);
      assert.equal(page.IsTruncated, true);
    },
  ],
  [
    'multipart: an aborted upload is NoSuchUpload',
    async s => {
      const Key = 'parts/aborted';
      const UploadId = await s.beginUpload(Key);
      await s.uploadPart(Key, UploadId, 1, 'x');
      await s.client.send(new AbortMultipartUploadCommand({ Bucket: s.bucket, Key, UploadId }));
      await fails(s.uploadPart(Key, UploadId, 2, 'x'), 404, 'NoSuchUpload');
    },
  ],
  [
    'multipart: a small part before the last is EntityTooSmall',
    async s => {
      const id = await s.beginUpload('parts/small');
      const parts = [await s.uploadPart('parts/small', id, 1, 'x'), await s.uploadPart('parts/small', id, 2, 'x')];
      await fails(s.complete('parts/small', id, parts), 400, 'EntityTooSmall');
    },
  ],
  [
    'multipart: a wrong ETag is InvalidPart, a wrong order InvalidPartOrder',
    async s => {
      const id = await s.beginUpload('parts/wrong');
      const first = await s.uploadPart('parts/wrong', id, 1, PART);
      const second = await s.uploadPart('parts/wrong', id, 2, PART);
      await fails(s.complete('parts/wrong', id, [{ ...first, ETag: NO_ETAG }]), 400, 'InvalidPart');
      await fails(s.complete('parts/wrong', id, [second, first]), 400, 'InvalidPartOrder');
    },
  ],
  [
    'multipart: there is no part 10,001',
    async s => {
      const id = await s.beginUpload('parts/many');
      await fails(s.uploadPart('parts/many', id, 10_001, 'x'), 400, 'InvalidArgument');
    },
  ],
  [
    'multipart: parts copied from ranges of an object',
    async s => {
      const Key = 'parts/copied';
      await s.put('parts/source', Buffer.concat([PART, Buffer.from('0123456789')]));
      const UploadId = await s.beginUpload(Key);
      const copyPart = async (PartNumber: number, first: number, last: number) => {
        const CopySource = `${s.bucket}/parts/source`;
        const CopySourceRange = `bytes=${first}-${last}`;
        const { CopyPartResult } = await s.client.send(
          new UploadPartCopyCommand({ Bucket: s.bucket, Key, UploadId, PartNumber, CopySource, CopySourceRange }),
        );
        return { PartNumber, ETag: CopyPartResult?.ETag };
      };
      const parts = [await copyPart(1, 0, 5 * MIB - 1), await copyPart(2, 5 * MIB + 2, 5 * MIB + 5)];
      await s.complete(Key, UploadId, parts);
      const { bytes } = await s.get(Key);
      assert.equal(bytes.length, 5 * MIB + 4);
      assert.equal(bytes.subarray(-4).toString(), '2345');
    },
  ],
  [
    'PUT: more than 5 GiB is EntityTooLarge before a byte is sent',
    async s => {
      const url = new URL(await getSignedUrl(s.lean, new PutObjectCommand({ Bucket: s.bucket, Key: 'parts/huge' })));
      const headers = { 'content-length': String(5 * 1024 * MIB + 1), expect: '100-continue' };
      const { status, body } = await s.plain('PUT', url.pathname + url.search, headers);
      assert.equal(status, 400);
      assert.match(body, /EntityTooLarge/);
    },
  ],
];
