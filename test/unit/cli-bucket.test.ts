import t from 'tap';
import { parseBucket } from '../../src/cli/bucket.ts';

t.test('the ways to write a bucket', async t => {
  const cases: readonly (readonly [string, string, string])[] = [
    ['my-bucket', 'my-bucket', ''],
    ['my-bucket:/', 'my-bucket', ''],
    ['my-bucket:/some/prefix', 'my-bucket', 'some/prefix/'],
    ['my-bucket:/some/prefix/', 'my-bucket', 'some/prefix/'],
    ['my-bucket:some/한글 길', 'my-bucket', 'some/한글 길/'],
    ['s3://my-bucket', 'my-bucket', ''],
    ['s3://my-bucket/', 'my-bucket', ''],
    ['s3://my-bucket/a:b/c', 'my-bucket', 'a:b/c/'],
    ['s3fs#my-bucket:/p', 'my-bucket', 'p/'],
    ['arn:aws:s3:::my-bucket/p', 'my-bucket', 'p/'],
    ['arn:aws-cn:s3:::my-bucket', 'my-bucket', ''],
    [
      'arn:aws:s3:ap-northeast-2:123456789012:accesspoint/mine',
      'arn:aws:s3:ap-northeast-2:123456789012:accesspoint/mine',
      '',
    ],
    [
      'arn:aws:s3:ap-northeast-2:123456789012:accesspoint/mine:/p/q',
      'arn:aws:s3:ap-northeast-2:123456789012:accesspoint/mine',
      'p/q/',
    ],
  ];
  for (const [text, bucket, prefix] of cases) t.same(parseBucket(text), { bucket, prefix }, text);
});

t.test('what is no bucket is refused in a sentence', async t => {
  t.throws(() => parseBucket('https://s3.amazonaws.com/b'), /write BUCKET, BUCKET:\/path or s3:/);
  t.throws(() => parseBucket('bucket/path'), /BUCKET:\/path/);
  t.throws(() => parseBucket(':/path'), /holds no name of a bucket/);
  t.throws(() => parseBucket('s3:///path'), /holds no name of a bucket/);
  t.throws(() => parseBucket('arn:aws:sqs:::q'), /neither the ARN of a bucket nor of an access point/);
});
