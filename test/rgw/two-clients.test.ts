/**
 * Two daemons with one bucket of Ceph RGW, and programs that change the same files on both. What goes by one PUT is never
 * overwritten in silence; of the other writes the store itself is asked, apart from the mount, whether it keeps conditions,
 * and the mount must have found out the same. docs/RELIABILITY.md lists what Ceph 16 does not keep.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import t from 'tap';
import { collide, findings } from '../support/colliding-programs.ts';
import { aMount, BUCKET, type RealMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';
import { startRgw } from '../support/rgw.ts';
import type { S3Access } from '../support/s3-client.ts';

/** Rounds of each of the two programs: some 4 s. */
const ROUNDS = 150;
/** Above what goes by one PUT. */
const LARGE_SIZE = 18 * 1024 * 1024;
/** An ETag that no object has. */
const ANOTHER = '00000000000000000000000000000000';

/** Which conditions Ceph 16 keeps; later ones may keep more. */
const CEPH_16 = {
  PutObject: true,
  'PutObject of a new name': true,
  'UploadPartCopy, its source': false,
  CompleteMultipartUpload: false,
  CopyObject: false,
  'CopyObject, its source': false,
  DeleteObject: false,
};

t.test('on Ceph RGW', async t => {
  const rgw = await startRgw();
  t.teardown(() => rgw.stop());
  // What a program reads and then changes must not be learned anew in between.
  const options = 'stat_cache_expire=3600,open_check=0';
  const one = await aMount(t, {
    options,
    access: rgw.access,
    async prepare(client) {
      await client.createBucket();
      for (const key of ['log', 'text', 'probed']) await client.put(key, '<first>\n');
      await client.put('large', Buffer.alloc(LARGE_SIZE, '.'));
    },
  });
  const two = await aMount(t, { options, access: rgw.access });

  await t.test('appends, changes in place and new files', async t => {
    // Without renames: their copies are among what this store cannot keep.
    const ways = ['append', 'change', 'make'];
    const reports = await Promise.all([collide(one.dir, 'one', ROUNDS, ways), collide(two.dir, 'two', ROUNDS, ways)]);
    const { lost, withoutCopy, odd, conflicts } = await findings(one.client, reports.flat());
    t.same(lost, [], `of ${2 * ROUNDS} records none is lost`);
    t.same(withoutCopy, [], 'ESTALE at a close comes with a conflict copy');
    t.same(odd, [], 'no other error');
    const stale = reports.flat().filter(({ outcome }) => outcome === 'ESTALE').length;
    t.ok(stale > 0 && conflicts > 0, `they met: ${stale} times ESTALE, ${conflicts} conflict copies`);
    for (const mount of [one, two]) t.equal(features(mount)['conditionalPut'], true, 'conditions on PUT are kept');
  });

  await t.test('of the other writes the mount knows what the store keeps', async t => {
    const kept = await conditionsKept(rgw.access);
    t.comment(JSON.stringify(kept));
    t.equal(kept['PutObject'], true);
    t.equal(kept['PutObject of a new name'], true);
    if (/^ceph version 16\./.test(run('radosgw', ['--version']))) t.same(kept, CEPH_16, 'as RELIABILITY lists it');
    // The first change in parts finds it out.
    const file = openSync(one.path('large'), 'r+');
    writeSync(file, 'changed', 9 * 1024 * 1024);
    closeSync(file);
    t.equal(features(one)['conditionalComplete'], kept['CompleteMultipartUpload']);
    const warned = /"operation":"CompleteMultipartUpload"[^\n]*this store does not keep conditions/.test(one.log());
    t.equal(warned, !kept['CompleteMultipartUpload'], 'one line in the log where it does not');
    t.equal(await one.client.openUploads(), 0, 'no upload is left');
  });
  for (const mount of [one, two]) t.notMatch(mount.log(), /"level":60/, 'no fatal error');
});

function features(mount: RealMount): Readonly<Record<string, unknown>> {
  return JSON.parse(run('env', mount.commandLine(['status', '--json', mount.dir]))).features;
}

/** Whether a request under a condition that does not hold is refused. */
async function conditionsKept(access: S3Access): Promise<Record<string, boolean>> {
  const s3 = new S3Client({
    endpoint: access.url,
    region: access.region,
    credentials: access,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  const at = { Bucket: BUCKET, Key: 'probed' };
  const condition = { IfMatch: ANOTHER };
  const Body = Buffer.alloc(7);
  const CopySource = `${BUCKET}/text`;
  const refused = (sent: Promise<unknown>): Promise<boolean> =>
    sent.then(
      () => false,
      (error: { $metadata?: { httpStatusCode?: number } }) => {
        if (error.$metadata?.httpStatusCode === 412) return true;
        throw error;
      },
    );
  try {
    const begin = async (): Promise<{ Bucket: string; Key: string; UploadId: string | undefined }> => {
      const { UploadId } = await s3.send(new CreateMultipartUploadCommand(at));
      return { ...at, UploadId };
    };
    // Ceph completes an upload only with all of its parts.
    const [sent, copied] = [await begin(), await begin()];
    const { ETag } = await s3.send(new UploadPartCommand({ ...sent, PartNumber: 1, Body }));
    const completed = { ...sent, MultipartUpload: { Parts: [{ PartNumber: 1, ETag }] }, ...condition };
    const copiedPart = { ...copied, PartNumber: 1, CopySource, CopySourceIfMatch: ANOTHER };
    const kept = {
      PutObject: await refused(s3.send(new PutObjectCommand({ ...at, ...condition, Body }))),
      'PutObject of a new name': await refused(s3.send(new PutObjectCommand({ ...at, IfNoneMatch: '*', Body }))),
      'UploadPartCopy, its source': await refused(s3.send(new UploadPartCopyCommand(copiedPart))),
      CompleteMultipartUpload: await refused(s3.send(new CompleteMultipartUploadCommand(completed))),
      CopyObject: await refused(s3.send(new CopyObjectCommand({ ...at, CopySource, ...condition }))),
      'CopyObject, its source': await refused(
        s3.send(new CopyObjectCommand({ ...at, CopySource, CopySourceIfMatch: ANOTHER })),
      ),
      DeleteObject: await refused(s3.send(new DeleteObjectCommand({ ...at, ...condition }))),
    };
    for (const upload of kept.CompleteMultipartUpload ? [sent, copied] : [copied]) {
      await s3.send(new AbortMultipartUploadCommand(upload));
    }
    return kept;
  } finally {
    s3.destroy();
  }
}
