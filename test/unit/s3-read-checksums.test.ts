/** What is read is compared with the checksum that the store keeps of the whole object, or of a part of it. */
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import type { Test } from 'tap';
import t from 'tap';
import { crc32OfBoth } from '../../src/crc.ts';
import type { EmbeddedS3, EmbeddedS3Options } from '../../src/embedded-s3/server.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { StoreError, toFsError } from '../../src/errors.ts';
import type { S3StoreOptions } from '../../src/s3/open-store.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import { ReadChecksums } from '../../src/s3/read-checksums.ts';
import { RunningCrc } from '../../src/s3/running-crc.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import type { ObjectDescription, ObjectInfo } from '../../src/s3/store.ts';
import { crc32Text } from '../../src/s3/write-checksums.ts';
import { Counters } from '../../src/telemetry.ts';
import { FaultyWorld } from '../faults/world.ts';
import { scriptedServer } from '../support/scripted-server.ts';

const BUCKET = 'summed';
const MIB = 1024 * 1024;
const PLAIN: ObjectDescription = { headers: {}, metadata: {} };

interface Place {
  readonly s3: EmbeddedS3;
  readonly store: S3Store;
  readonly counters: Counters;
}

async function place(t: Test, server: EmbeddedS3Options = {}, options: Partial<S3StoreOptions> = {}): Promise<Place> {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET], verifySignatures: false, ...server });
  const counters = new Counters();
  const store = await openS3Store({
    bucket: BUCKET,
    url: s3.url,
    credentials: async () => s3.credential,
    retry: { base: 1, longest: 2 },
    telemetry: counters,
    ...options,
  });
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  return { s3, store, counters };
}

/** Bytes that are nowhere the same. */
function content(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i + 4 <= size; i += 4) bytes.writeUInt32LE((i * 2654435761) >>> 0, i);
  return bytes;
}

/** Stored by a client that is not ours, with its CRC32. */
async function foreign(s3: EmbeddedS3, key: string, bytes: Buffer): Promise<void> {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(bytes));
  const headers = { 'x-amz-checksum-crc32': sum.toString('base64') };
  const answer = await fetch(`${s3.url}/${BUCKET}/${key}`, { method: 'PUT', body: bytes, headers });
  if (!answer.ok) throw new Error(await answer.text());
}

interface Got {
  readonly bytes: Buffer;
  readonly handedOn: number;
  readonly error: unknown;
}

async function range(store: S3Store, info: ObjectInfo, offset: number, length: number): Promise<Got> {
  const bytes = Buffer.alloc(length);
  // In pieces, as blocks are.
  const buffers = [bytes.subarray(0, 1000), bytes.subarray(1000, 1001), bytes.subarray(1001)];
  let handedOn = 0;
  const sink = {
    buffers,
    filled: (count: number) => {
      handedOn = count;
    },
  };
  const error = await store.get(info.key, { offset, length, ifMatch: info.etag }, sink).then(
    () => undefined,
    (failure: unknown) => failure,
  );
  return { bytes, handedOn, error };
}

t.test('the running CRC32 of ranges in any order', t => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 400 }),
      fc.array(fc.nat(399), { maxLength: 12 }),
      fc.infiniteStream(fc.nat()),
      (bytes, cuts, order) => {
        const ends = [...new Set([...cuts.filter(cut => cut > 0 && cut < bytes.length), bytes.length])].sort(
          (a, b) => a - b,
        );
        const ranges = ends.map((end, i) => ({ start: i === 0 ? 0 : ends[i - 1]!, end }));
        const shuffled = ranges
          .map(each => ({ each, rank: order.next().value as number }))
          .sort((a, b) => a.rank - b.rank)
          .map(({ each }) => each);
        const running = new RunningCrc();
        for (const [i, { start, end }] of shuffled.entries()) {
          if (running.whole(bytes.length) !== undefined) return false;
          running.add(start, end - start, crc32(bytes.subarray(start, end)));
          // What comes a second time, and what overlaps, counts for nothing.
          running.add(start, end - start, 1234 + i);
          if (end - start > 1) running.add(start, 1, 99);
        }
        return running.whole(bytes.length) === crc32(bytes);
      },
    ),
    { numRuns: 300 },
  );
  const running = new RunningCrc();
  t.notOk(running.follows(100), 'what does not begin at the beginning');
  t.ok(running.follows(0));
  running.add(0, 100, 1);
  t.ok(running.follows(100));
  t.ok(running.follows(100 * MIB), 'read ahead of the reader');
  t.notOk(running.follows(50), 'what came already');
  t.notOk(running.follows(1000 * MIB));
  for (let i = 1; i < 70; i++) running.add(i * 1000, 1, 1);
  t.ok(running.scattered);
  t.notOk(running.follows(200), 'a reader that jumps');
  t.end();
});

t.test('a bit that flips in any range is told at the end, and nobody gets there', async t => {
  const bytes = content(4 * MIB + 123);
  const { s3, store, counters } = await place(t);
  await foreign(s3, 'file', bytes);
  const info = await store.head('file');
  const offsets = [0, MIB, 3 * MIB, 2 * MIB, 4 * MIB];
  const lengthAt = (offset: number): number => Math.min(MIB, bytes.length - offset);
  const readAll = async (): Promise<Got[]> => {
    const got: Got[] = [];
    for (const offset of offsets) got.push(await range(store, info, offset, lengthAt(offset)));
    return got;
  };
  for (let bad = 0; bad < offsets.length; bad++) {
    s3.faults.add({ kind: 'corrupt', operation: 'GetObject', count: 1, after: bad });
    const got = await readAll();
    s3.faults.clear();
    const last = got.at(-1)!;
    t.ok(got.slice(0, -1).every(({ error }) => error === undefined));
    t.ok(last.error instanceof StoreError && last.error.details.isOfWhole, `range ${bad} was wrong`);
    t.equal(last.handedOn, 122, 'its last byte was held back');
  }
  t.equal(counters.get('s3.checksum_mismatch'), offsets.length);
  const got = await readAll();
  t.ok(
    got.every(
      ({ error, bytes: piece }, i) =>
        error === undefined && piece.equals(bytes.subarray(offsets[i]!, offsets[i]! + piece.length)),
    ),
  );
  t.equal(counters.get('s3.verified_bytes'), bytes.length);
});

t.test('what breaks in mid-body goes on, and is compared as a whole', async t => {
  const bytes = content(3 * MIB);
  const { s3, store, counters } = await place(t);
  await store.put('own', [bytes], PLAIN, undefined);
  const info = await store.head('own');
  s3.faults.add({ kind: 'reset', operation: 'GetObject', count: 2 });
  const got = await range(store, info, 0, bytes.length);
  t.ok(got.bytes.equals(bytes));
  t.equal(counters.get('s3.verified_bytes'), bytes.length, 'of what we wrote ourselves it is known');
  const { etag } = await store.copy(info, 'copy', undefined, { ifAbsent: true });
  const copy = await range(store, { ...info, key: 'copy', etag }, 0, bytes.length);
  t.equal(copy.error, undefined);
  t.equal(counters.get('s3.verified_bytes'), 2 * bytes.length, 'and of a copy of it');
});

t.test('a small object is compared before any of it is handed on, and fetched again', async t => {
  const { s3, store, counters } = await place(t, { etag: 'fast' });
  await foreign(s3, 'small', content(5000));
  const info = await store.head('small');
  s3.faults.add({ kind: 'corrupt', operation: 'GetObject', count: 1 });
  const got = await range(store, info, 0, 5000);
  t.equal(got.error, undefined);
  t.ok(got.bytes.equals(content(5000)));
  t.equal(counters.get('s3.retries'), 1);
});

t.test('a range that is exactly a part is compared with that of the part', async t => {
  const { s3, store, counters } = await place(t);
  const bytes = content(11 * MIB);
  const upload = await store.beginUpload('parts', PLAIN);
  const parts = [
    await upload.putPart(1, [bytes.subarray(0, 5 * MIB)]),
    await upload.putPart(2, [bytes.subarray(5 * MIB, 10 * MIB)]),
    await upload.putPart(3, [bytes.subarray(10 * MIB)]),
  ];
  await upload.complete(parts, undefined);
  const info = await store.head('parts');
  t.equal(
    (await range(store, info, 10 * MIB, MIB)).error,
    undefined,
    'it fits: what is told of ranges can be believed',
  );
  s3.faults.add({ kind: 'corrupt', operation: 'GetObject', count: 1 });
  const { error, handedOn } = await range(store, info, 5 * MIB, 5 * MIB);
  t.ok(error instanceof StoreError && error.details.isOfWhole);
  t.ok(handedOn < 5 * MIB);
  t.equal(counters.get('s3.checksum_mismatch'), 1);
});

t.test(
  'a store that tells the checksum of the whole with each range is not taken for one with wrong bytes',
  async t => {
    const bytes = content(4 * MIB);
    const sum = crc32Text(crc32(bytes));
    const server = await scriptedServer((socket, { head }) => {
      const [, first, last] = /^range: bytes=(\d+)-(\d+)/im.exec(head)!;
      const body = bytes.subarray(Number(first), Number(last) + 1);
      socket.write(
        `HTTP/1.1 206 Partial Content\r\nETag: "0123"\r\nLast-Modified: Sat, 21 Nov 2026 00:00:00 GMT\r\nx-amz-checksum-crc32: ${sum}\r\nContent-Length: ${body.length}\r\nContent-Range: bytes ${first}-${Number(first) + body.length - 1}/${bytes.length}\r\n\r\n`,
      );
      socket.write(body);
    });
    t.teardown(() => server.close());
    const store = await openS3Store({ bucket: BUCKET, url: server.origin.id, anonymous: true });
    t.teardown(() => store.close());
    const whole = Buffer.alloc(4 * MIB);
    const { info } = await store.get('f', { offset: 0, length: 4 * MIB }, { buffers: [whole] });
    t.ok(whole.equals(bytes));
    t.equal((await range(store, info, MIB, MIB)).error, undefined);
    t.equal((await range(store, { ...info, key: 'g' }, MIB, MIB)).error, undefined, 'of which nothing else is known');
  },
);

t.test('a large object of which no HEAD has told is asked for its checksum, once', async t => {
  const size = 256 * MIB;
  const step = 8 * MIB;
  const piece = crc32(Buffer.alloc(step, 'large'));
  let whole = 0;
  for (let at = 0; at < size; at += step) whole = crc32OfBoth(whole, piece, step);
  const counters = new Counters();
  for (const told of [crc32Text(whole), crc32Text(whole ^ 1), undefined]) {
    const version = { key: `k ${told}`, etag: '"e"', size };
    let answer = (): void => {};
    let asked = 0;
    const sums: ReadChecksums = new ReadChecksums(counters, true, () => {
      asked++;
      return new Promise<void>(resolve => {
        answer = () => {
          sums.told(version, new Map(told === undefined ? [] : [['x-amz-checksum-crc32', told]]));
          resolve();
        };
      });
    });
    t.notOk(sums.follows({ ...version, size: MIB }, 0), 'a smaller one is not asked for');
    t.notOk(sums.follows(version, step), 'nor for a read in its middle');
    const readThrough = (): void => {
      for (let offset = 0; offset < size && sums.follows(version, offset); offset += step) {
        if (offset === 4 * step) answer();
        sums.came(version, { offset, length: step, crc: piece, told: undefined });
      }
    };
    if (told === crc32Text(whole ^ 1)) t.throws(readThrough, /have CRC32 .*, where S3 keeps/);
    else readThrough();
    await new Promise(resolve => setImmediate(resolve));
    if (told === undefined) t.notOk(sums.follows(version, 0), 'there is nothing to compare with');
    t.equal(asked, 1);
  }
  t.equal(counters.get('s3.verified_bytes'), size);
});

t.test('checksum=write compares nothing that is read', async t => {
  const { s3, store } = await place(t, {}, { checksums: 'write' });
  await foreign(s3, 'file', content(2 * MIB));
  const info = await store.head('file');
  s3.faults.add({ kind: 'corrupt', operation: 'GetObject', count: 1 });
  t.equal((await range(store, info, 0, 2 * MIB)).error, undefined);
});

t.test('who may not use the KMS key still gets attributes', async t => {
  const statement = { Effect: 'Allow', Action: 's3:*', Resource: '*' };
  const owner = { accessKeyId: 'OWNER', secretAccessKey: 'x' };
  const limited = { ...owner, accessKeyId: 'LIMITED', policy: JSON.stringify({ Statement: [statement] }) };
  const server = { credentials: [owner, limited], verifySignatures: true };
  const writer = { encryption: { algorithm: 'aws:kms', kmsKeyId: 'some-key' } };
  const { s3, store: ours } = await place(t, server, { ...writer, credentials: async () => owner });
  await ours.put('a', [content(100)], PLAIN, undefined);
  const counters = new Counters();
  const url = s3.url;
  const theirs = await openS3Store({ bucket: BUCKET, url, credentials: async () => limited, telemetry: counters });
  t.teardown(() => theirs.close());
  t.equal((await theirs.head('a')).size, 100);
  const first = counters.get('s3.HeadObject');
  t.ok(first > 1, 'it was refused with the checksum');
  await theirs.head('a');
  t.equal(counters.get('s3.HeadObject'), first + 1, 'which no other HEAD asks for');
});

t.test('a program that reads a file of wrong bytes gets EIO, and the right ones when it opens it again', async t => {
  const world = await FaultyWorld.make('aws');
  t.teardown(() => world.close());
  const { kernel, s3, store } = world;
  const bytes = content(3 * MIB);
  await store.put('file', [bytes], PLAIN, undefined);
  s3.faults.add({ kind: 'corrupt', operation: 'GetObject', count: 1 });
  const descriptor = await kernel.open('file', 0);
  const failures: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 128 * 1024) {
    await kernel
      .read(descriptor, offset, 128 * 1024)
      .catch((error: unknown) => failures.push(toFsError(error)?.code ?? String(error)));
  }
  t.ok(failures.length > 0 && failures.every(code => code === 'EIO'), 'EIO before the end');
  // As the kernel asks again for what its read-ahead did not get.
  await t.rejects(kernel.read(descriptor, bytes.length - 4096, 4096), { code: 'EIO' }, 'and not once only');
  await t.rejects(kernel.read(descriptor, 0, 4096), { code: 'EIO' });
  await kernel.close(descriptor);
  t.ok((await kernel.readFile('file')).equals(bytes), 'right after it is opened again');
});
