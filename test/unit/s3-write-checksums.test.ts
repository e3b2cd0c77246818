/** Checksums that go with what is written: compared by the store, left out where it does not know them. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import type { Test } from 'tap';
import t from 'tap';
import { CRC_POLYNOMIALS, combineCrc, crc32OfBoth } from '../../src/crc.ts';
import type { EmbeddedS3, EmbeddedS3Options } from '../../src/embedded-s3/server.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { isStoreError } from '../../src/errors.ts';
import type { S3StoreOptions } from '../../src/s3/open-store.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import type { ObjectDescription } from '../../src/s3/store.ts';
import { crc32Of, crc32Text, parseCrc32 } from '../../src/s3/write-checksums.ts';
import { Counters, silentTelemetry } from '../../src/telemetry.ts';
import { BUCKET as FAULTY_BUCKET, FaultyWorld, PART } from '../faults/world.ts';
import { scriptedServer } from '../support/scripted-server.ts';

const BUCKET = 'summed';
const PLAIN: ObjectDescription = { headers: {}, metadata: {} };
const MIB = 1024 * 1024;

interface Place {
  readonly s3: EmbeddedS3;
  readonly store: S3Store;
  readonly counters: Counters;
}

async function place(t: Test, server: EmbeddedS3Options = {}, options: Partial<S3StoreOptions> = {}): Promise<Place> {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET], ...server });
  const counters = new Counters();
  const store = await openS3Store({
    bucket: BUCKET,
    url: s3.url,
    credentials: async () => s3.credential,
    retry: { base: 1, longest: 2 },
    telemetry: counters,
    ...(s3.ca === undefined ? {} : { tls: { ca: s3.ca } }),
    ...options,
  });
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  return { s3, store, counters };
}

const body = (fill: number, size: number): Uint8Array[] => [new Uint8Array(size).fill(fill)];

async function kindOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    return isStoreError(error) ? error.kind : String(error);
  }
}

/** What the server keeps of the object, by a client that knows nothing of ours. */
async function keptChecksum(s3: EmbeddedS3, key: string): Promise<string | null> {
  const answer = await fetch(`${s3.url}/${BUCKET}/${key}`, { headers: { 'x-amz-checksum-mode': 'ENABLED' } });
  await answer.arrayBuffer();
  return answer.headers.get('x-amz-checksum-crc32');
}

t.test('the CRC32 of two sequences put together', t => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (a, b) => {
      t.equal(crc32OfBoth(crc32(a), crc32(b), b.length), crc32(Buffer.concat([a, b])));
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), fc.nat(0xffff_ffff), fc.maxSafeNat(), (a, b, length) => {
      const expected = combineCrc(CRC_POLYNOMIALS.CRC32, BigInt(a), BigInt(b), length);
      return BigInt(crc32OfBoth(a, b, length)) === expected;
    }),
    { numRuns: 50 },
  );
  t.equal(parseCrc32(crc32Text(0xdeadbeef)), 0xdeadbeef);
  t.equal(parseCrc32('AAAAAA==-3'), undefined, 'a checksum of checksums');
  t.equal(parseCrc32(undefined), undefined);
  t.end();
});

t.test('PUT, parts, copied parts and the whole are compared', async t => {
  const { s3, store } = await place(t, { verifySignatures: false });
  t.equal(store.features.checksums, undefined, 'nothing is known before the first write');
  const small = [Buffer.from('bytes of '), Buffer.from('a file')];
  await store.put('small', small, PLAIN, undefined);
  t.equal(await keptChecksum(s3, 'small'), crc32Text(crc32('bytes of a file')));
  t.equal(store.features.checksums, 'compared');

  const source = body(7, 6 * MIB);
  const { etag } = await store.put('source', source, PLAIN, undefined);
  const upload = await store.beginUpload('large', PLAIN);
  const parts = [
    await upload.putPart(1, body(1, 5 * MIB)),
    await upload.copyPart(2, { key: 'source', etag, size: 6 * MIB }, MIB, 5 * MIB),
    await upload.putPart(3, body(3, 100)),
  ];
  t.ok(
    parts.every(part => parseCrc32(part.crc32) !== undefined),
    'the server vouches for each',
  );
  await upload.complete(parts, undefined);
  const whole = Buffer.concat([...body(1, 5 * MIB), source[0]!.subarray(0, 5 * MIB), ...body(3, 100)]);
  t.equal(await keptChecksum(s3, 'large'), crc32Text(crc32(whole)), 'of the whole object');
});

t.test('bytes that change on their way are sent again, and never stored', async t => {
  for (const secure of [false, true]) {
    const server: EmbeddedS3Options = secure ? { tls: true } : {};
    const { s3, store: quiet, counters } = await place(t, server, { retry: { base: 1, longest: 2, attempts: 3 } });
    await quiet.put('first', body(1, 10), PLAIN, undefined);
    s3.faults.add({ kind: 'corrupt', operation: 'PutObject', count: 1 });
    await quiet.put('file', body(2, 1000), PLAIN, undefined);
    const upload = await quiet.beginUpload('large', PLAIN);
    s3.faults.add({ kind: 'corrupt', operation: 'UploadPart', count: 1, after: 1 });
    const parts = [
      await upload.putPart(1, body(1, 5 * MIB)),
      await upload.putPart(2, body(2, 100)),
      await upload.putPart(3, body(3, 100)),
    ].filter(part => part.number !== 3);
    await upload.complete(parts, undefined);
    t.equal(counters.get('s3.retries'), 2, secure ? 'over TLS' : 'over plain HTTP');
    const got = Buffer.alloc(1000);
    await quiet.get('file', { offset: 0, length: 1000 }, { buffers: [got] });
    t.ok(got.equals(body(2, 1000)[0]!));
    s3.faults.add({ kind: 'corrupt', operation: 'PutObject' });
    t.equal(await kindOf(quiet.put('never', body(2, 1000), PLAIN, undefined)), 'corrupt');
    t.notOk(s3.listKeys(BUCKET).includes('never'));
  }
});

t.test('over plain HTTP the checksum takes the place of the hash once it is known to be compared', async t => {
  const seen = async (options: Partial<S3StoreOptions>, echoes = true): Promise<boolean[]> => {
    const server = await scriptedServer((socket, { head }) => {
      const sent = /^x-amz-checksum-crc32: \S+$/im.exec(head)?.[0];
      const echo = echoes && sent !== undefined ? `${sent}\r\n` : '';
      socket.write(`HTTP/1.1 200 OK\r\nETag: "0123"\r\n${echo}Content-Length: 0\r\n\r\n`);
    });
    t.teardown(() => server.close());
    const store = await openS3Store({
      bucket: BUCKET,
      url: server.origin.id,
      credentials: async () => ({ accessKeyId: 'AKIA', secretAccessKey: 'secret' }),
      ...options,
    });
    t.teardown(() => store.close());
    for (const key of ['a', 'b']) await store.put(key, body(1, 10), PLAIN, undefined);
    return server.requests.map(head => /^x-amz-content-sha256: UNSIGNED-PAYLOAD$/im.test(head));
  };
  t.same(await seen({}), [false, true]);
  t.same(await seen({}, false), [false, false], 'a store that ignores checksums');
  t.same(await seen({ signPayload: 'http' }), [false, false], 'enable_unsigned_payload=0');
  t.same(await seen({ signPayload: 'never' }), [true, true]);
  t.same(await seen({ checksums: 'none' }), [false, false]);
});

t.test('a checksum that the caller knows goes out as it is, and is not asked for where none is sent', async t => {
  const bytes = body(1, 100);
  let asked = 0;
  const known = (crc: number): (() => number) => {
    return () => {
      asked++;
      return crc;
    };
  };
  const { store } = await place(t, {}, { retry: { base: 1, longest: 2, attempts: 2 } });
  const upload = await store.beginUpload('large', PLAIN);
  const part = await upload.putPart(1, bytes, { crc32: known(crc32Of(bytes)) });
  t.equal(part.crc32, crc32Text(crc32Of(bytes)));
  t.equal(await kindOf(upload.putPart(1, bytes, { crc32: known(7) })), 'corrupt', 'the store compares it');
  t.equal(asked, 2);
  const { store: plain } = await place(t, {}, { checksums: 'none' });
  const without = await plain.beginUpload('large', PLAIN);
  await without.putPart(1, bytes, { crc32: known(7) });
  t.equal(asked, 2);
});

t.test('stores that ignore or refuse checksums', async t => {
  for (const noChecksums of [true, 'refuse'] as const) {
    const said: string[] = [];
    const counters = new Counters({ ...silentTelemetry.log, info: (_, text) => said.push(text) });
    const { s3, store } = await place(t, { verifySignatures: false, modes: { noChecksums } }, { telemetry: counters });
    for (let round = 0; round < 3; round++) {
      await store.put(`small${round}`, body(round, 100), PLAIN, { ifAbsent: true });
      const upload = await store.beginUpload(`large${round}`, PLAIN);
      const parts = [await upload.putPart(1, body(1, 5 * MIB)), await upload.putPart(2, body(2, 7))];
      await upload.complete(parts, { ifAbsent: true });
    }
    t.equal(store.features.checksums, noChecksums === true ? 'ignored' : 'refused');
    t.equal(said.filter(text => text.includes('checksums')).length, 1, 'said once');
    t.equal(s3.listKeys(BUCKET).length, 6, 'all is there');
    t.same(s3.openUploads(BUCKET), []);
    t.equal(counters.get('s3.PutObject'), noChecksums === true ? 3 : 4, 'found out by the first');
    t.equal(counters.get('s3.CreateMultipartUpload'), noChecksums === true ? 3 : 4);
  }
});

t.test('a store that knows checksums of checksums only', async t => {
  const { s3, store } = await place(t, { verifySignatures: false, modes: { compositeChecksums: true } });
  const { etag } = await store.put('source', body(7, 6 * MIB), PLAIN, undefined);
  const upload = await store.beginUpload('large', PLAIN);
  const parts = [
    await upload.putPart(1, body(1, 5 * MIB)),
    await upload.copyPart(2, { key: 'source', etag, size: 6 * MIB }, 0, 100),
  ];
  await upload.complete(parts, undefined);
  t.match(await keptChecksum(s3, 'large'), /^[^-]{8}-2$/);
  t.equal(store.features.checksums, 'compared');
});

t.test('a store that compares checksums of a PUT, and begins no upload with them', async t => {
  const { s3, store } = await place(t);
  await store.put('small', body(1, 100), PLAIN, undefined);
  t.equal(store.features.checksums, 'compared');
  s3.faults.add({ kind: 'status', status: 501, code: 'NotImplemented', operation: 'CreateMultipartUpload', count: 1 });
  const upload = await store.beginUpload('large', PLAIN);
  await upload.complete([await upload.putPart(1, body(1, 5 * MIB))], undefined);
  t.equal((await store.head('large')).size, 5 * MIB);
  t.equal(store.features.checksums, 'refused');
});

t.test('an upload that another daemon began goes on as it was begun', async t => {
  for (const begunWith of ['all', 'none'] as const) {
    for (const goesOnWith of ['all', 'none'] as const) {
      const { s3, store: first } = await place(t, { modes: { partChecksumsAsBegun: true } }, { checksums: begunWith });
      const upload = await first.beginUpload('large', PLAIN);
      const parts = [await upload.putPart(1, body(1, 5 * MIB))];
      const second = await openS3Store({
        bucket: BUCKET,
        url: s3.url,
        credentials: async () => s3.credential,
        checksums: goesOnWith,
      });
      t.teardown(() => second.close());
      const later = second.resumeUpload('large', upload.uploadId);
      parts.push(await later.putPart(2, body(2, 5 * MIB)), await later.putPart(3, body(3, 100)));
      await later.complete(parts, undefined);
      const { size } = await first.head('large');
      t.equal(size, 10 * MIB + 100, `begun with ${begunWith}, goes on with ${goesOnWith}`);
    }
  }
});

t.test('what is refused for another reason is no matter of checksums', async t => {
  const { s3, store } = await place(t);
  s3.faults.add({ kind: 'status', status: 400, code: 'InvalidArgument', operation: 'PutObject', count: 2 });
  t.equal(await kindOf(store.put('a', body(1, 10), PLAIN, undefined)), 'invalid');
  await store.put('a', body(1, 10), PLAIN, undefined);
  t.equal(store.features.checksums, 'compared');
  s3.faults.add({ kind: 'status', status: 400, code: 'InvalidArgument', operation: 'PutObject', count: 1 });
  t.equal(await kindOf(store.put('a', body(1, 10), PLAIN, undefined)), 'invalid', 'not tried without');
});

t.test('parts that are together not what was sent are sent anew, in another upload', async t => {
  const world = await FaultyWorld.make('aws');
  t.teardown(() => world.close());
  const { kernel, s3 } = world;
  s3.faults.add({
    kind: 'status',
    status: 400,
    code: 'BadDigest',
    operation: 'CompleteMultipartUpload',
    count: 1,
  });
  const bytes = Buffer.alloc(5 * PART + 100, 'abc');
  await kernel.writeFile('/large', bytes);
  t.ok(s3.getObject(FAULTY_BUCKET, 'large')?.bytes().equals(bytes));
  t.equal(s3.stats.requests['CreateMultipartUpload'], 2);
  t.equal(s3.stats.requests['CompleteMultipartUpload'], 2, 'not completed in vain again and again');
  t.same(s3.openUploads(FAULTY_BUCKET), []);
});

t.test('checksum=none', async t => {
  const { s3, store } = await place(t, { verifySignatures: false }, { checksums: 'none' });
  await store.put('small', body(1, 10), PLAIN, undefined);
  const upload = await store.beginUpload('large', PLAIN);
  await upload.complete([await upload.putPart(1, body(1, 10))], undefined);
  t.equal(await keptChecksum(s3, 'small'), null);
  t.equal(await keptChecksum(s3, 'large'), null);
  t.equal(store.features.checksums, 'off');
});

t.test('a store that answers another checksum has other bytes', async t => {
  const server = await scriptedServer(socket => {
    socket.write('HTTP/1.1 200 OK\r\nETag: "0123"\r\nx-amz-checksum-crc32: AAAAAA==\r\nContent-Length: 0\r\n\r\n');
  });
  t.teardown(() => server.close());
  const store = await openS3Store({
    bucket: BUCKET,
    url: server.origin.id,
    anonymous: true,
    retry: { attempts: 2, base: 1, longest: 1 },
  });
  t.teardown(() => store.close());
  const failure = await store.put('x', body(1, 10), PLAIN, undefined).catch((error: unknown) => error);
  t.ok(isStoreError(failure, 'corrupt'));
  t.match((failure as Error).message, /PutObject of "x": the store has bytes with another checksum/);
  t.equal(server.requests.length, 2, 'sent again');
});
