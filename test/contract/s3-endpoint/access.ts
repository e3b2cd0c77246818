/** Signatures, presigned URLs, what strangers may do; and last, that a bucket in use cannot be deleted. */
import assert from 'node:assert/strict';
import {
  DeleteBucketCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutBucketPolicyCommand,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { type Check, fails, type Scene } from './scene.ts';

const HOUR = 3600 * 1000;

async function listWith(s: Scene, client: S3Client): Promise<unknown> {
  try {
    return await client.send(new ListObjectsV2Command({ Bucket: s.bucket }));
  } finally {
    client.destroy();
  }
}

async function presigned(
  client: S3Client,
  command: GetObjectCommand | PutObjectCommand,
  options: { expiresIn: number; signingDate?: Date },
): Promise<string> {
  const url = new URL(await getSignedUrl(client, command, options));
  return url.pathname + url.search;
}

export const ACCESS_CHECKS: readonly Check[] = [
  [
    'signature: a wrong secret is SignatureDoesNotMatch',
    async s => {
      const credentials = { accessKeyId: s.endpoint.accessKeyId, secretAccessKey: 'wrong' };
      await fails(listWith(s, s.clientWith({ credentials })), 403, 'SignatureDoesNotMatch');
    },
  ],
  [
    'signature: an unknown key is InvalidAccessKeyId',
    async s => {
      const credentials = { accessKeyId: 'NOSUCHKEY', secretAccessKey: 'wrong' };
      await fails(listWith(s, s.clientWith({ credentials })), 403, 'InvalidAccessKeyId');
    },
  ],
  [
    'signature: another region is AuthorizationHeaderMalformed',
    async s => {
      const client = s.clientWith({ region: 'eu-west-1' });
      await fails(listWith(s, client), 400, 'AuthorizationHeaderMalformed');
    },
  ],
  [
    'signature: a clock an hour off is RequestTimeTooSkewed',
    async s => fails(listWith(s, s.clientWith({ systemClockOffset: HOUR })), 403, 'RequestTimeTooSkewed'),
  ],
  [
    'presigned: GET, with another content type',
    async s => {
      await s.put('presigned/get', 'hello');
      const command = new GetObjectCommand({
        Bucket: s.bucket,
        Key: 'presigned/get',
        ResponseContentType: 'text/x-y',
      });
      const answer = await s.plain('GET', await presigned(s.client, command, { expiresIn: 60 }));
      assert.equal(answer.status, 200, answer.body);
      assert.equal(answer.body, 'hello');
      assert.equal(answer.headers['content-type'], 'text/x-y');
    },
  ],
  [
    'presigned: PUT',
    async s => {
      const command = new PutObjectCommand({ Bucket: s.bucket, Key: 'presigned/put' });
      const path = await presigned(s.lean, command, { expiresIn: 60 });
      const answer = await s.plain('PUT', path, { 'content-length': '2' }, 'hi');
      assert.equal(answer.status, 200, answer.body);
      assert.equal((await s.get('presigned/put')).text, 'hi');
    },
  ],
  [
    'presigned: an expired one is 403',
    async s => {
      await s.put('presigned/late', 'x');
      const command = new GetObjectCommand({ Bucket: s.bucket, Key: 'presigned/late' });
      const signingDate = new Date(Date.now() - 60_000);
      const path = await presigned(s.client, command, { expiresIn: 1, signingDate });
      assert.equal((await s.plain('GET', path)).status, 403);
    },
  ],
  [
    'strangers: a private object is 403',
    async s => {
      await s.put('strangers/private');
      assert.equal((await s.plain('GET', `/${s.bucket}/strangers/private`)).status, 403);
    },
  ],
  [
    'strangers: an object with ACL public-read is readable',
    async s => {
      await s.put('strangers/public', 'x', { ACL: 'public-read' });
      assert.equal((await s.plain('GET', `/${s.bucket}/strangers/public`)).status, 200);
    },
  ],
  [
    'strangers: a bucket policy opens a prefix and nothing else',
    async s => {
      const Resource = [`arn:aws:s3:::${s.bucket}/open-to-all/*`];
      const Statement = [{ Effect: 'Allow', Principal: '*', Action: ['s3:GetObject'], Resource }];
      const Policy = JSON.stringify({ Version: '2012-10-17', Statement });
      await s.client.send(new PutBucketPolicyCommand({ Bucket: s.bucket, Policy }));
      await s.put('open-to-all/x');
      await s.put('strangers/closed');
      assert.equal((await s.plain('GET', `/${s.bucket}/open-to-all/x`)).status, 200);
      assert.equal((await s.plain('GET', `/${s.bucket}/strangers/closed`)).status, 403);
    },
  ],
  [
    'bucket: one that is not empty cannot be deleted',
    async s => {
      await s.put('last');
      await fails(s.client.send(new DeleteBucketCommand({ Bucket: s.bucket })), 409, 'BucketNotEmpty');
    },
  ],
];
