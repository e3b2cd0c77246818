import fc from 'fast-check';
import t from 'tap';
import { parseResponseHead } from '../../src/s3/http-message.ts';
import { objectInfo } from '../../src/s3/object-headers.ts';
import { ownText } from '../../src/s3/own-text.ts';

t.test('the same text', async t => {
  fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 3000 }), text => ownText(text) === text));
  const lone = `a lone surrogate \ud800 in the middle`;
  t.equal(ownText(lone), lone);
  t.equal(ownText('x'.repeat(10_000)), 'x'.repeat(10_000));
});

t.test('one key of a listing does not keep the listing in memory', async t => {
  const kept: string[] = [];
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 300; i++) {
    // 500 KB each: 150 MB if they stayed.
    const page = Buffer.alloc(500_000, `page ${i} `).toString('latin1');
    kept.push(ownText(page.slice(1000, 1040)));
  }
  const grown = process.memoryUsage().heapUsed - before;
  t.ok(grown < 60_000_000, `${Math.round(grown / 1e6)} MB for ${kept.length} keys`);
});

t.test('what is remembered of an object does not keep the other headers of its answer in memory', async t => {
  const kept: unknown[] = [];
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 3000; i++) {
    // 50 KB each: 150 MB if they stayed.
    const text = Buffer.from(
      [
        'HTTP/1.1 200 OK',
        'ETag: "00000000000000000000000000000000"',
        'Last-Modified: Sun, 22 Nov 2026 02:09:44 GMT',
        'Content-Type: application/octet-stream',
        `x-amz-meta-mtime: 1795313353.558${String(i).padStart(6, '0')}`,
        `x-amz-meta-name-${String(i).padStart(13, '0')}: a value with some letters`,
        'x-amz-server-side-encryption: aws:kms:dsse-long-word',
        'x-amz-server-side-encryption-aws-kms-key-id: arn:aws:kms:eu-west-1:1:key/1234',
        'x-amz-storage-class: INTELLIGENT_TIERING',
        'x-amz-version-id: 0123456789abcdef0123456789abcdef',
        'x-amz-restore: ongoing-request="false", expiry-date="later"',
        `x-more: ${'m'.repeat(50_000)}`,
      ].join('\r\n'),
    ).toString('latin1');
    kept.push(objectInfo('key', 1, parseResponseHead(text, 'HEAD').headers, 0));
  }
  const grown = process.memoryUsage().heapUsed - before;
  t.ok(grown < 60_000_000, `${Math.round(grown / 1e6)} MB for ${kept.length} objects`);
});
