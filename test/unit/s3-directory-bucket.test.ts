/** Directory buckets (S3 Express): where they are, how they are asked, and what differs in them. */

import { Agent } from 'node:http';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { iamPolicy } from '../../src/cli/iam-policy.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { regionOfZone, zoneOf } from '../../src/s3/directory-bucket.ts';
import { bucketEndpoint } from '../../src/s3/endpoint.ts';
import { openS3Store, type S3StoreOptions } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { toLoopback } from '../support/s3-client.ts';

const BUCKET = 'works--use1-az4--x-s3';
const PLAIN = { headers: {}, metadata: {} };
const MIB = 1024 * 1024;

t.test('the zone is in the name, and the region in the zone', async t => {
  t.equal(zoneOf(BUCKET), 'use1-az4');
  t.equal(zoneOf('a--b--usw2-lax1-az1--x-s3'), 'usw2-lax1-az1');
  t.equal(zoneOf('mine--apne1-az4--xa-s3'), 'apne1-az4', 'an access point');
  for (const other of ['works', 'works--x-s3', 'works--x-s4', 'arn:aws:s3:…']) t.equal(zoneOf(other), undefined, other);
  const regions = {
    'use1-az4': 'us-east-1',
    'usw2-lax1-az1': 'us-west-2',
    'apne1-az4': 'ap-northeast-1',
    'aps1-az1': 'ap-south-1',
    'apse2-az1': 'ap-southeast-2',
    'eun1-az1': 'eu-north-1',
    'euc1-az2': 'eu-central-1',
    'sae1-az1': 'sa-east-1',
    'usgw1-az1': 'us-gov-west-1',
    'cnnw1-az1': 'cn-northwest-1',
  };
  for (const [zone, region] of Object.entries(regions)) t.equal(regionOfZone(zone), region, zone);
  t.equal(regionOfZone('xyz'), undefined);
});

t.test('the endpoint is the one that the SDK finds', async t => {
  const client = new S3Client({ region: 'us-east-1', credentials: { accessKeyId: 'x', secretAccessKey: 'x' } });
  t.teardown(() => client.destroy());
  let compared = 0;
  for (const bucket of [BUCKET, 'my--works--apne1-az4--x-s3', 'works--usw2-lax1-az1--x-s3', 'mine--euw1-az1--xa-s3']) {
    for (const fips of [false, true]) {
      for (const region of ['us-east-1', 'ap-northeast-1', 'us-west-2']) {
        const { url, properties } = client.config.endpointProvider({
          Bucket: bucket,
          Region: region,
          UseFIPS: fips,
          UseDualStack: false,
          Accelerate: false,
          UseGlobalEndpoint: false,
          ForcePathStyle: false,
          UseS3ExpressControlEndpoint: false,
        } as never);
        const { origin, basePath, scope } = bucketEndpoint({ bucket, region, variant: { fips } });
        t.equal(`https://${origin.host}${basePath}`, url.href.replace(/\/$/, ''), `${bucket} ${region}`);
        const scheme = (
          properties!['authSchemes'] as { name: string; signingName: string; signingRegion: string }[]
        )[0]!;
        t.same([scheme.signingName, scheme.signingRegion], [scope.service, scope.region]);
        t.equal(scheme.name, 'sigv4-s3express');
        compared++;
      }
    }
  }
  t.equal(compared, 24);
});

interface Scene {
  readonly s3: EmbeddedS3;
  readonly store: S3Store;
}

async function scene(t: Test, server: EmbeddedS3Options = {}, options: Partial<S3StoreOptions> = {}): Promise<Scene> {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET], ...server });
  const store = await openS3Store({
    bucket: BUCKET,
    url: s3.url,
    region: 'us-east-1',
    credentials: async () => s3.credential,
    retry: { attempts: 3, base: 1, longest: 5 },
    ...options,
  });
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  return { s3, store };
}

t.test('the embedded directory bucket is one to the SDK, session and all', async t => {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET] });
  const { accessKeyId, secretAccessKey } = s3.credential;
  // With an address as its endpoint the SDK asks for a path with two slashes; a name it puts the bucket in front of.
  const sdk = new S3Client({
    endpoint: `http://localhost:${s3.port}`,
    region: 'us-east-1',
    credentials: { accessKeyId, secretAccessKey },
    requestHandler: { httpAgent: new Agent({ lookup: toLoopback }) },
    // Else it sends checksums with the parts of an upload that it began without.
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  t.teardown(async () => {
    sdk.destroy();
    await s3.close();
  });
  for (const key of ['a', 'dir/b', 'dir/c/d']) {
    await sdk.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: key }));
  }
  const { Body } = await sdk.send(new GetObjectCommand({ Bucket: BUCKET, Key: 'dir/b' }));
  t.equal(await Body!.transformToString(), 'dir/b');
  const page = await sdk.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: 'dir/', Delimiter: '/' }));
  t.same([page.Contents?.map(({ Key }) => Key), page.CommonPrefixes], [['dir/b'], [{ Prefix: 'dir/c/' }]]);
  await t.rejects(sdk.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: 'di' })), /end in the delimiter/);
  await t.rejects(sdk.send(new ListObjectsV2Command({ Bucket: BUCKET, StartAfter: 'a' })), { name: 'NotImplemented' });
  await t.rejects(sdk.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'x', Body: 'x', Tagging: 'a=b' })));
  const { UploadId } = await sdk.send(new CreateMultipartUploadCommand({ Bucket: BUCKET, Key: 'up/load' }));
  const { ETag } = await sdk.send(
    new UploadPartCommand({ Bucket: BUCKET, Key: 'up/load', UploadId, PartNumber: 2, Body: 'x' }),
  );
  const { CommonPrefixes } = await sdk.send(new ListObjectsV2Command({ Bucket: BUCKET, Delimiter: '/' }));
  t.same(CommonPrefixes?.map(({ Prefix }) => Prefix).sort(), ['dir/', 'up/'], 'uploads in progress show');
  await t.rejects(
    sdk.send(
      new CompleteMultipartUploadCommand({
        Bucket: BUCKET,
        Key: 'up/load',
        UploadId,
        MultipartUpload: { Parts: [{ PartNumber: 2, ETag }] },
      }),
    ),
    { name: 'InvalidPartOrder' },
    'parts begin with 1',
  );
  const { requests } = s3.stats;
  t.equal(requests['CreateSession'], 1, 'one session for all of them');
});

t.test('one session serves all requests but copies, and the next one comes before it ends', async t => {
  const clock = new ManualClock();
  const { s3, store } = await scene(t, { clock }, { clock });
  await store.put('a', [Buffer.from('one')], PLAIN, { ifAbsent: true });
  const info = await store.head('a');
  await store.copy(info, 'b', undefined, undefined);
  const upload = await store.beginUpload('large', PLAIN);
  const parts = [await upload.putPart(1, [Buffer.alloc(5 * MIB)]), await upload.copyPart(2, info, 0, 3)];
  await upload.complete(parts, undefined);
  t.equal((await store.head('large')).size, 5 * MIB + 3);
  t.same(await store.deleteMany(['a', 'b', 'gone']), []);
  await store.delete('large');
  t.same((await store.list({ prefix: '' })).objects, []);
  t.equal(s3.stats.requests['CreateSession'], 1);
  t.notOk(s3.stats.answers['DeleteObjects 403'] ?? s3.stats.answers['CompleteMultipartUpload 403']);

  await clock.advance(4 * 60_000 + 1_000);
  await store.put('c', [Buffer.from('x')], PLAIN, undefined);
  t.equal(s3.stats.answers['CreateSession 200'], 2, 'asked for a minute ahead, while the old one holds');
  await clock.advance(6 * 60_000);
  await store.put('c', [Buffer.from('y')], PLAIN, undefined);
  t.notOk(
    Object.keys(s3.stats.answers).some(answer => / 40[03]$/.test(answer)),
    'none was refused',
  );
});

t.test('conditions, ETags and order are found out or known', async t => {
  const { s3, store } = await scene(t);
  t.notOk(store.features.orderedListing);
  t.ok(store.limits.consecutiveParts);
  const written = await store.put('a', [Buffer.from('one')], PLAIN, undefined);
  await t.rejects(store.put('a', [Buffer.from('two')], PLAIN, { ifAbsent: true }), /412/);
  await store.put('a', [Buffer.from('two')], PLAIN, { ifMatch: written.etag });
  t.equal(store.features.conditionalPut, true);
  // An answer is lost: that the ETag is no MD5 does not make a stranger of what we wrote.
  s3.faults.add({ kind: 'lost', operation: 'PutObject', count: 1 });
  const now = await store.head('a');
  await store.put('a', [Buffer.from('six')], PLAIN, { ifMatch: now.etag });
  // Copies know no conditions there: a look before has to do.
  const source = await store.head('a');
  await store.copy(source, 'b', undefined, { ifAbsent: true });
  await t.rejects(store.copy(source, 'b', undefined, { ifAbsent: true }), /was not done/);
  const sink = Buffer.alloc(3);
  await store.get('b', { offset: 0, length: 3 }, { buffers: [sink] });
  t.equal(sink.toString(), 'six', 'and no ETag is taken for its MD5');
  t.equal(s3.stats.requests['GetObject'], 2, 'the look at what we wrote, and this');
});

t.test('the rights are those to a session', async t => {
  const limited = (policy: object) => ({ accessKeyId: 'L', secretAccessKey: 'l', policy: JSON.stringify(policy) });
  const by = async (policy: object): Promise<Scene> => {
    const credential = limited(policy);
    return await scene(t, { credentials: [credential] }, { credentials: async () => credential });
  };
  const whole = iamPolicy({ source: BUCKET, readOnly: false });
  t.same(
    whole.Statement.map(({ Action, Resource }) => [Action, Resource]),
    [[['s3express:CreateSession'], `arn:aws:s3express:*:*:bucket/${BUCKET}`]],
  );
  const { store } = await by(whole);
  await store.put('a', [Buffer.from('x')], PLAIN, undefined);
  await store.copy(await store.head('a'), 'b', undefined, undefined);
  const { store: reader, s3 } = await by(iamPolicy({ source: BUCKET, readOnly: true }));
  s3.putObject(BUCKET, 'there', 'x');
  t.equal((await reader.head('there')).size, 1);
  await t.rejects(reader.put('a', [Buffer.from('x')], PLAIN, undefined), /403/);
  await t.rejects(reader.copy(await reader.head('there'), 'b', undefined, undefined), /s3express:CreateSession/);
  const { store: nobody } = await by({ Version: '2012-10-17', Statement: [] });
  await t.rejects(nobody.probe(), /CreateSession.*does not allow s3express:CreateSession/);
});

t.test('what it does not know is said before the first request', async t => {
  const open = (options: Partial<S3StoreOptions>): Promise<unknown> =>
    openS3Store({
      bucket: BUCKET,
      region: 'us-east-1',
      credentials: async () => ({ accessKeyId: 'a', secretAccessKey: 'b' }),
      ...options,
    });
  await t.rejects(open({ anonymous: true }), /leave public_bucket out/);
  await t.rejects(open({ acl: 'public-read' }), /leave default_acl out/);
  await t.rejects(open({ customerKeys: {} as never }), /leave use_sse=custom out/);
  await t.rejects(open({ requesterPays: true }), /leave requester_pays out/);
  await t.rejects(open({ storageClass: 'GLACIER' }), /leave storage_class out/);
  await t.rejects(open({ variant: { accelerate: true } }), /no transfer acceleration/);
  await t.rejects(open({ variant: { dualStack: true } }), /leave dual_stack out/);
});
