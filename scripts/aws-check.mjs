// npm run aws-check -- BUCKET [--region R] [--profile P] [--url URL] [--path-style]
// Tries on a real bucket what docs/SEMANTICS.md lists as not tried on AWS: in a prefix of its own, which it deletes again.
// Prints a table; ends with 1 if something is not as s3mount expects it. Costs some 150 requests and 20 MB.
import { createHash, randomUUID } from 'node:crypto';
import { request } from 'node:https';
import { parseArgs } from 'node:util';
import { crc32 } from 'node:zlib';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { openS3Store } from '../src/s3/open-store.ts';
import { silentTelemetry } from '../src/telemetry.ts';

const MIB = 1024 * 1024;
const NO_SUCH_ETAG = '"00000000000000000000000000000000"';
const ODD_NAMES = ['a b', 'a+b', 'a%20b', 'a=b&c', 'a//b', '한글', 'e\u0301', "it's (1)*!~", 'q?#[]@:;,$'];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    region: { type: 'string' },
    profile: { type: 'string' },
    url: { type: 'string' },
    'path-style': { type: 'boolean' },
  },
});
const [bucket] = positionals;
if (bucket === undefined || positionals.length > 1) {
  console.error('Usage: npm run aws-check -- BUCKET [--region R] [--profile P] [--url URL] [--path-style]');
  process.exit(2);
}
const isAws = values.url === undefined;
const prefix = `_s3mount/aws-check-${randomUUID()}/`;
const rows = [];

/** What a request said: `ok`, or S3's status and code. */
async function outcomeOf(work) {
  try {
    await work;
    return 'ok';
  } catch (error) {
    const status = error.$metadata?.httpStatusCode;
    if (status === undefined) return error.kind ?? `${error.name}: ${error.message}`;
    return `${status} ${error.Code ?? error.name}`;
  }
}

/** One line of the table. `expected`: a text, a pattern, or undefined for what is only written down. */
async function check(what, expected, work) {
  let found;
  try {
    found = String(await work());
  } catch (error) {
    found = `failed: ${error.message}`;
  }
  const agrees =
    expected === undefined ? undefined : expected instanceof RegExp ? expected.test(found) : found === expected;
  rows.push({ what, expected: expected === undefined ? '(noted)' : String(expected), found, agrees });
  console.log(`${agrees === undefined ? 'note  ' : agrees ? 'ok    ' : 'DIFFERS'} ${what}: ${found}`);
}

/** The answer to a request that nobody signed. */
function unsignedHead(host, path) {
  return new Promise((resolve, reject) => {
    request({ host, path, method: 'HEAD', timeout: 10_000 }, answer => {
      answer.resume();
      resolve({ status: answer.statusCode, region: answer.headers['x-amz-bucket-region'] });
    })
      .on('timeout', function stop() {
        this.destroy(new Error('no answer within 10 s'));
      })
      .on('error', reject)
      .end();
  });
}

const storeOptions = {
  bucket,
  prefix,
  telemetry: silentTelemetry,
  ...(values.url !== undefined && { url: values.url }),
  ...(values.region !== undefined && { region: values.region }),
  ...(values.profile !== undefined && { profile: values.profile }),
  ...(values['path-style'] && { pathStyle: true }),
};

let region = values.region;
if (isAws) {
  await check('region of the bucket in an unsigned HEAD', /^\d{3} [a-z0-9-]+$/, async () => {
    const answer = await unsignedHead('s3.amazonaws.com', `/${bucket}`);
    region ??= answer.region;
    return `${answer.status} ${answer.region}`;
  });
  await check('region of a bucket that does not exist, likewise', undefined, async () => {
    const answer = await unsignedHead('s3.amazonaws.com', `/s3mount-${randomUUID()}`);
    return `${answer.status} ${answer.region}`;
  });
}
const s3 = new S3Client({
  region: region ?? 'us-east-1',
  ...(values.profile !== undefined && { profile: values.profile }),
  ...(values.url !== undefined && { endpoint: values.url }),
  forcePathStyle: values['path-style'] ?? false,
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
});
const Bucket = bucket;
const key = name => prefix + name;
const send = (Command, input) => s3.send(new Command({ Bucket, ...input }));
const put = (name, body, more = {}) => send(PutObjectCommand, { Key: key(name), Body: body, ...more });
const head = (name, more = {}) => send(HeadObjectCommand, { Key: key(name), ...more });
const sourceOf = name => `${bucket}/${encodeURIComponent(key(name))}`;

async function regions() {
  await check('x-amz-bucket-region in a signed HEAD of the bucket', undefined, async () => {
    const answer = await send(HeadBucketCommand, {});
    return answer.BucketRegion;
  });
  if (!isAws) return;
  await check('signed for a wrong region: our own store finds the right one', 'ok', async () => {
    const wrong = region === 'eu-west-1' ? 'us-west-2' : 'eu-west-1';
    const store = await openS3Store({ ...storeOptions, region: wrong });
    const outcome = await outcomeOf(store.probe());
    await store.close();
    return outcome;
  });
}

async function conditions() {
  const { ETag } = await put('conditional', 'one');
  await check('ETag has its quotes', /^"[0-9a-f]{32}"$/, () => ETag);
  const cases = [
    ['PutObject, If-None-Match: * on a name that is taken', '412 PreconditionFailed', { IfNoneMatch: '*' }],
    ['PutObject, If-Match that does not hold', '412 PreconditionFailed', { IfMatch: NO_SUCH_ETAG }],
    ['PutObject, If-Match with quotes that holds', 'ok', { IfMatch: ETag }],
  ];
  for (const [what, expected, condition] of cases) {
    await check(what, expected, () => outcomeOf(put('conditional', 'one', condition)));
  }
  await check('PutObject, If-Match on a name that is free', '404 NoSuchKey', () =>
    outcomeOf(put('free', 'x', { IfMatch: NO_SUCH_ETAG })),
  );
  await check('PutObject, If-None-Match: * on a name that is free', 'ok', () =>
    outcomeOf(put('made', 'x', { IfNoneMatch: '*' })),
  );
  await check('GET, If-Match that does not hold', '412 PreconditionFailed', () =>
    outcomeOf(send(GetObjectCommand, { Key: key('conditional'), IfMatch: NO_SUCH_ETAG, Range: 'bytes=0-0' })),
  );
  await check('GET, If-Match with quotes that holds', 'ok', () =>
    outcomeOf(send(GetObjectCommand, { Key: key('conditional'), IfMatch: ETag, Range: 'bytes=0-0' })),
  );
  await check('HEAD, If-Match that does not hold', /^412/, () =>
    outcomeOf(head('conditional', { IfMatch: NO_SUCH_ETAG })),
  );
  await check('DeleteObject, If-Match that does not hold', '412 PreconditionFailed', () =>
    outcomeOf(send(DeleteObjectCommand, { Key: key('conditional'), IfMatch: NO_SUCH_ETAG })),
  );
  await check('DeleteObject, If-Match that holds', 'ok', () =>
    outcomeOf(send(DeleteObjectCommand, { Key: key('conditional'), IfMatch: ETag })),
  );
  await check('DeleteObject, If-Match on a name that is free', undefined, () =>
    outcomeOf(send(DeleteObjectCommand, { Key: key('conditional'), IfMatch: ETag })),
  );
}

async function copies() {
  const { ETag } = await put('source', 'source', { Metadata: { a: '1' }, Tagging: 'team=blue' });
  const copy = (name, more) =>
    send(CopyObjectCommand, { Key: key(name), CopySource: sourceOf('source'), CopySourceIfMatch: ETag, ...more });
  await check('CopyObject, source If-Match that holds', 'ok', () => outcomeOf(copy('copied', {})));
  await check('CopyObject, source If-Match that does not hold', '412 PreconditionFailed', () =>
    outcomeOf(copy('copied', { CopySourceIfMatch: NO_SUCH_ETAG })),
  );
  await check('CopyObject, If-None-Match: * on a name that is taken', '412 PreconditionFailed', () =>
    outcomeOf(copy('copied', { IfNoneMatch: '*' })),
  );
  await check('CopyObject, If-Match that does not hold', '412 PreconditionFailed', () =>
    outcomeOf(copy('copied', { IfMatch: NO_SUCH_ETAG })),
  );
  await check('CopyObject, If-Match that holds', 'ok', async () => {
    const { ETag: now } = await head('copied');
    return outcomeOf(copy('copied', { IfMatch: now }));
  });
  await check('a copy keeps tags', '1', async () => (await head('copied')).TagCount ?? 0);
  await check(
    'a copy onto itself with new metadata keeps the ETag and moves Last-Modified',
    'same ETag, later',
    async () => {
      const before = await head('source');
      await new Promise(resolve => setTimeout(resolve, 1500));
      await copy('source', { MetadataDirective: 'REPLACE', Metadata: { a: '2' } });
      const after = await head('source');
      const later = after.LastModified > before.LastModified;
      return `${after.ETag === before.ETag ? 'same' : 'another'} ETag, ${later ? 'later' : 'not later'}`;
    },
  );
}

async function uploads() {
  const part = Buffer.alloc(5 * MIB, 'p');
  const begin = async (name, more = {}) =>
    (await send(CreateMultipartUploadCommand, { Key: key(name), ...more })).UploadId;
  const sendPart = async (name, UploadId, PartNumber, body, more = {}) => {
    const { ETag } = await send(UploadPartCommand, { Key: key(name), UploadId, PartNumber, Body: body, ...more });
    return { PartNumber, ETag };
  };
  const complete = (name, UploadId, Parts, more = {}) =>
    send(CompleteMultipartUploadCommand, { Key: key(name), UploadId, MultipartUpload: { Parts }, ...more });

  let first = await begin('large', { Tagging: 'team=blue', Metadata: { a: '1' }, ContentType: 'text/csv' });
  const began = Date.now();
  let parts = [await sendPart('large', first, 1, part)];
  await new Promise(resolve => setTimeout(resolve, 2500));
  parts.push(await sendPart('large', first, 3, Buffer.from('end')));
  await check('CompleteMultipartUpload, If-None-Match: * on a free name, parts 1 and 3', 'ok', () =>
    outcomeOf(complete('large', first, parts, { IfNoneMatch: '*' })),
  );
  await check('the same completion again', undefined, () => outcomeOf(complete('large', first, parts)));
  await check('ETag of an upload is the MD5 of its MD5s', 'yes', async () => {
    const md5 = body => createHash('md5').update(body).digest();
    const expected = `"${md5(Buffer.concat([md5(part), md5('end')])).toString('hex')}-2"`;
    const { ETag } = await head('large');
    return ETag === expected ? 'yes' : `${ETag}, not ${expected}`;
  });
  await check('Last-Modified of an upload is that of its', undefined, async () => {
    const { LastModified } = await head('large');
    return LastModified.getTime() - began < 1500 ? 'beginning' : 'end';
  });
  await check('tags, metadata and type given with the upload', '1 1 text/csv', async () => {
    const { TagCount, Metadata, ContentType } = await head('large');
    return `${TagCount} ${Metadata.a} ${ContentType}`;
  });
  await check('x-amz-tagging-count in a GET', '1', async () => {
    const { TagCount } = await send(GetObjectCommand, { Key: key('large'), Range: 'bytes=0-0' });
    return TagCount;
  });
  for (const [what, expected, condition] of [
    [
      'CompleteMultipartUpload, If-None-Match: * on a name that is taken',
      '412 PreconditionFailed',
      { IfNoneMatch: '*' },
    ],
    ['CompleteMultipartUpload, If-Match that does not hold', '412 PreconditionFailed', { IfMatch: NO_SUCH_ETAG }],
    ['CompleteMultipartUpload, If-Match that holds, of a copied part', 'ok', undefined],
  ]) {
    await check(what, expected, async () => {
      const { ETag } = await head('large');
      first = await begin('large');
      const { CopyPartResult } = await send(UploadPartCopyCommand, {
        Key: key('large'),
        UploadId: first,
        PartNumber: 1,
        CopySource: sourceOf('large'),
        CopySourceIfMatch: ETag,
        CopySourceRange: `bytes=0-${5 * MIB - 1}`,
      });
      parts = [{ PartNumber: 1, ETag: CopyPartResult.ETag }];
      return outcomeOf(complete('large', first, parts, condition ?? { IfMatch: ETag }));
    });
  }
  await check('UploadPartCopy, source If-Match that does not hold', '412 PreconditionFailed', async () => {
    first = await begin('large');
    return outcomeOf(
      send(UploadPartCopyCommand, {
        Key: key('large'),
        UploadId: first,
        PartNumber: 1,
        CopySource: sourceOf('large'),
        CopySourceIfMatch: NO_SUCH_ETAG,
      }),
    );
  });
  await check('a copy in parts carries no tags', '0', async () => (await head('large')).TagCount ?? 0);
}

async function checksums() {
  const body = Buffer.from('checksummed');
  const base64 = value => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes.toString('base64');
  };
  const right = base64(crc32(body));
  await check('PutObject with the right CRC32', 'ok', () => outcomeOf(put('crc', body, { ChecksumCRC32: right })));
  await check('PutObject with a wrong CRC32', '400 BadDigest', () =>
    outcomeOf(put('crc', body, { ChecksumCRC32: base64(1) })),
  );
  await check(
    'the CRC32 is told by HEAD',
    right,
    async () => (await head('crc', { ChecksumMode: 'ENABLED' })).ChecksumCRC32,
  );
}

/** Our own code: lean requests, one signature for several ranges, odd keys, listings. */
async function ownStore() {
  const store = await openS3Store(storeOptions);
  try {
    const description = { headers: { contentType: 'text/plain' }, metadata: { mode: '33188' } };
    const body = Buffer.alloc(3 * MIB);
    for (let i = 0; i < body.length; i += 4) body.writeUInt32LE(i, i);
    await check('our store: a PUT with an unsigned payload over HTTPS', 'ok', () =>
      outcomeOf(store.put('ranges', [body], description, { ifAbsent: true })),
    );
    await check('our store: one signature for several ranges', 'the right bytes', async () => {
      for (const [offset, length] of [
        [0, 100],
        [1_000_001, 70_000],
        [body.length - 10, 10],
      ]) {
        const buffer = Buffer.alloc(length);
        await store.get('ranges', { offset, length }, { buffers: [buffer] });
        if (!buffer.equals(body.subarray(offset, offset + length))) return `other bytes at ${offset}`;
      }
      return 'the right bytes';
    });
    await check('our store: odd keys written, listed, copied, read, deleted', 'all', async () => {
      for (const name of ODD_NAMES) {
        const written = await store.put(`odd/${name}`, [Buffer.from(name)], description, { ifAbsent: true });
        await store.copy(
          { key: `odd/${name}`, etag: written.etag, size: Buffer.byteLength(name) },
          `copy/${name}`,
          undefined,
          {
            ifAbsent: true,
          },
        );
        const { size } = await store.head(`copy/${name}`);
        if (size !== Buffer.byteLength(name)) return `size of ${name}`;
      }
      const { objects } = await store.list({ prefix: 'odd/' });
      const listed = objects.map(object => object.key.slice(4));
      const missing = ODD_NAMES.filter(name => !listed.includes(name));
      if (missing.length > 0) return `not listed: ${missing.join(' ')}`;
      const failed = await store.deleteMany(ODD_NAMES.map(name => `odd/${name}`));
      return failed.length === 0 ? 'all' : `${failed[0].key}: ${failed[0].error.message}`;
    });
    await check('our store: If-Match by CompleteMultipartUpload', 'ok, then precondition-failed', async () => {
      const results = [];
      for (const condition of [{ ifAbsent: true }, { ifMatch: NO_SUCH_ETAG }]) {
        const upload = await store.beginUpload('upload', description);
        const part = await upload.putPart(1, [body]);
        results.push(await outcomeOf(upload.complete([part], condition)));
        await upload.abort();
      }
      return results.join(', then ');
    });
  } finally {
    await store.close();
  }
}

/** Takes away everything below the prefix, unfinished uploads too; of a versioned bucket old versions stay. */
async function cleanUp() {
  let left = 0;
  const { Uploads = [] } = await send(ListMultipartUploadsCommand, { Prefix: prefix });
  for (const { Key, UploadId } of Uploads) await send(AbortMultipartUploadCommand, { Key, UploadId });
  for (;;) {
    const { Contents = [] } = await send(ListObjectsV2Command, { Prefix: prefix });
    if (Contents.length === 0) break;
    const { Errors = [] } = await send(DeleteObjectsCommand, {
      Delete: { Objects: Contents.map(({ Key }) => ({ Key })), Quiet: true },
    });
    left = Errors.length;
    if (left > 0) break;
  }
  if (left > 0) console.log(`${left} objects could not be deleted; they lie below ${prefix}`);
}

console.log(`in s3://${bucket}/${prefix}\n`);
try {
  for (const group of [regions, conditions, copies, uploads, checksums, ownStore]) {
    // What fails as a whole is a line of its own, and the others go on.
    await group().catch(error => {
      rows.push({ what: `${group.name}, as a whole`, expected: 'ok', found: error.message, agrees: false });
      console.log(`DIFFERS ${group.name}, as a whole: ${error.message}`);
    });
  }
} finally {
  await cleanUp();
  s3.destroy();
}

console.log('\n| what | expected | found | |\n|---|---|---|---|');
for (const { what, expected, found, agrees } of rows) {
  console.log(
    `| ${what} | ${expected.replaceAll('|', '\\|')} | ${found} | ${agrees === undefined ? '' : agrees ? 'ok' : '**differs**'} |`,
  );
}
const differing = rows.filter(({ agrees }) => agrees === false).length;
console.log(`\n${rows.length - differing} as expected or noted, ${differing} differ`);
process.exitCode = differing === 0 ? 0 : 1;
