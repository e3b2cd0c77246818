/** The S3 store when things go wrong: faults of the embedded server, foreign changes, wrong settings. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Test } from 'tap';
import t from 'tap';
import type { EmbeddedS3, EmbeddedS3Options } from '../../src/embedded-s3/server.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import type { StoreErrorKind } from '../../src/errors.ts';
import { isStoreError, StoreError } from '../../src/errors.ts';
import { HttpError } from '../../src/s3/http-message.ts';
import type { S3StoreOptions } from '../../src/s3/open-store.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import type { ObjectDescription, Written } from '../../src/s3/store.ts';
import { Counters } from '../../src/telemetry.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { scriptedServer } from '../support/scripted-server.ts';

const BUCKET = 'faulty';
const PLAIN: ObjectDescription = { headers: {}, metadata: {} };
/** Waits of no length worth mention. */
const QUICK = { base: 1, longest: 2 };

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
    retry: QUICK,
    telemetry: counters,
    ...options,
  });
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  return { s3, store, counters };
}

const bytes = (text: string): Uint8Array[] => [Buffer.from(text)];

async function read(store: S3Store, key: string, length = 1 << 20, ifMatch?: string): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const result = await store.get(
    key,
    { offset: 0, length, ...(ifMatch === undefined ? {} : { ifMatch }) },
    { buffers: [buffer] },
  );
  return buffer.subarray(0, result.bytes);
}

async function failure(work: Promise<unknown>): Promise<StoreError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
  throw new Error('it should have failed');
}

/** Finding out what the store keeps takes requests of its own: done before what is counted. */
async function learn(store: S3Store): Promise<void> {
  const first = await store.put('learn', bytes('1'), PLAIN, undefined);
  const { etag } = await store.put('learn', bytes('2'), PLAIN, { ifMatch: first.etag });
  const source = { key: 'learn', etag, size: 1 };
  const copied = await store.copy(source, 'learned', undefined, { ifAbsent: true });
  await upload(store, 'learned', 1, { ifMatch: copied.etag });
  await store.deleteMany(['learn', 'learned']);
}

async function upload(
  store: S3Store,
  key: string,
  fill: number,
  condition?: Parameters<S3Store['put']>[3],
): Promise<Written> {
  const started = await store.beginUpload(key, PLAIN);
  const parts = [
    await started.putPart(1, [new Uint8Array(5 << 20).fill(fill)]),
    await started.putPart(2, [new Uint8Array(100).fill(fill)]),
  ];
  return started.complete(parts, condition);
}

t.test('a reply is lost after the work was done', async t => {
  for (const kms of [false, true]) {
    const { s3, store, counters } = await place(t, { modes: { kms } });
    await learn(store);
    s3.faults.add({ kind: 'lost', operation: 'PutObject', count: 1 });
    const created = await store.put('new', bytes('content'), PLAIN, { ifAbsent: true });
    t.equal((await store.head('new')).etag, created.etag, 'a new file');
    s3.faults.add({ kind: 'lost', operation: 'PutObject', count: 1 });
    const changed = await store.put('new', bytes('changed'), PLAIN, { ifMatch: created.etag });
    t.equal((await store.head('new')).etag, changed.etag, 'a changed file');
    t.equal((await read(store, 'new')).toString(), 'changed');
    s3.faults.add({ kind: 'lost', operation: 'CompleteMultipartUpload', count: 1 });
    const large = await upload(store, 'large', 1, { ifAbsent: true });
    t.equal((await store.head('large')).etag, large.etag, 'a multipart upload');
    s3.faults.add({ kind: 'lost', operation: 'CopyObject', count: 1 });
    const source = { key: 'new', etag: changed.etag, size: 7 };
    await store.copy(source, 'copy', undefined, { ifAbsent: true });
    t.equal((await read(store, 'copy')).toString(), 'changed', 'a copy');
    t.equal(counters.get('s3.settled'), 4, 'all of them');
    s3.faults.add({ kind: 'lost', operation: 'DeleteObject', count: 1 });
    await store.delete('copy', { ifMatch: (await store.head('copy')).etag });
    t.equal((await failure(store.head('copy'))).kind, 'not-found', 'a delete');
    t.same(s3.listKeys(BUCKET), ['large', 'new'], 'nothing else is there');
    t.same(s3.openUploads(BUCKET), []);
  }
});

t.test('a reply is lost on a used connection, and no new one can be made at once', async t => {
  let unreachable = 0;
  const tunnel = (): Promise<never> | undefined =>
    unreachable-- > 0 ? Promise.reject(new HttpError('connect-timeout', 'no connection', false)) : undefined;
  const s3 = await startEmbeddedS3({ buckets: [BUCKET] });
  t.teardown(() => s3.close());
  for (const operation of ['PutObject', 'CopyObject', 'CompleteMultipartUpload'] as const) {
    const store = await openS3Store({
      bucket: BUCKET,
      // A name that is known to keep conditions: nothing is tried out.
      url: `http://s3.us-east-1.amazonaws.com:${s3.port}`,
      region: s3.region,
      pathStyle: true,
      credentials: async () => s3.credential,
      retry: QUICK,
      lookup: async () => ['127.0.0.1'],
      tunnel,
    });
    t.teardown(() => store.close());
    const { etag } = await store.put(`${operation} source`, bytes('source'), PLAIN, undefined);
    const started = await store.beginUpload(`${operation} part`, PLAIN);
    const part = await started.putPart(1, bytes('part'));
    s3.faults.add({
      kind: 'lost',
      operation,
      count: 1,
      run: () => {
        unreachable = 1;
      },
    });
    if (operation === 'PutObject') await store.put('put', bytes('new'), PLAIN, { ifAbsent: true });
    else if (operation === 'CopyObject')
      await store.copy({ key: `${operation} source`, etag, size: 6 }, 'copy', undefined, { ifAbsent: true });
    else await started.complete([part], { ifAbsent: true });
    t.ok(unreachable < 0, `${operation}: our own work is no conflict`);
  }
  t.same(s3.getObject(BUCKET, 'put')?.bytes().toString(), 'new');
});

t.test('unquoted ETags are found out by many requests at once', async t => {
  const { store } = await place(t, { modes: { unquotedEtags: true } });
  const keys = Array.from({ length: 30 }, (_, i) => `k${i}`);
  const made = await Promise.all(keys.map(key => store.put(key, bytes(key), PLAIN, undefined)));
  const sources = keys.map((key, i) => ({ key, etag: made[i]!.etag, size: key.length }));
  const copies = await Promise.all(
    sources.map(source => store.copy(source, `copy ${source.key}`, undefined, { ifAbsent: true })),
  );
  t.equal(copies.length, 30, 'copies');
  const got = await Promise.all(sources.map(({ key, etag }) => read(store, key, 100, etag)));
  t.same(got.map(String), keys, 'reads');
  const changed = await Promise.all(
    keys.map((key, i) => store.put(key, bytes('new'), PLAIN, { ifMatch: made[i]!.etag })),
  );
  t.equal(changed.length, 30, 'writes');
});

t.test('a reply is lost at any point of finding out what the store can do', async t => {
  // Which request it is, counted from the first of its kind: trials and the real one alike.
  for (let after = 0; after < 4; after++) {
    for (const fault of ['lost', 'slow'] as const) {
      const strike = (s3: EmbeddedS3, operation: string): void => {
        s3.faults.add({ kind: fault, operation, after, count: 1, ms: 300 });
      };
      const { s3, store } = await place(t, {}, { timeouts: { firstByte: 100, work: 100 } });
      const name = `${fault} after ${after}`;
      const first = await store.put('a', bytes('1'), PLAIN, undefined);
      const target = await store.put('target', bytes('target'), PLAIN, undefined);

      strike(s3, 'PutObject');
      const second = await store.put('a', bytes('22'), PLAIN, { ifMatch: first.etag });
      t.equal((await store.head('a')).etag, second.etag, `PUT, ${name}`);

      strike(s3, 'CopyObject');
      const source = { key: 'a', etag: second.etag, size: 2 };
      await store.copy(source, 'b', undefined, { ifAbsent: true });
      const over = await store.copy(source, 'target', undefined, { ifMatch: target.etag });
      t.same([s3.getObject(BUCKET, 'b')?.bytes().toString(), over.etag], ['22', second.etag], `copy, ${name}`);

      strike(s3, 'CompleteMultipartUpload');
      const large = await upload(store, 'large', 1, { ifAbsent: true });
      const larger = await upload(store, 'large', 2, { ifMatch: large.etag });
      t.equal(s3.getObject(BUCKET, 'large')?.etag, larger.etag, `Complete, ${name}`);

      strike(s3, 'DeleteObject');
      await store.delete('large', { ifMatch: larger.etag });
      await store.delete('b', { ifMatch: second.etag });
      await store.delete('target', { ifMatch: over.etag });
      t.same(s3.listKeys(BUCKET), ['a'], `delete, ${name}`);
      t.same(s3.openUploads(BUCKET), []);
    }
  }
});

t.test('a save that we had to report as failed, and that was done after all', async t => {
  const { s3, store } = await place(t, {}, { retry: { ...QUICK, attempts: 1 } });
  await learn(store);
  const base = await store.put('f', bytes('two'), PLAIN, undefined);
  // Two: a connection that had rested is tried once more by the transport itself.
  s3.faults.add({ kind: 'lost', operation: 'PutObject', count: 2 });
  t.equal((await failure(store.put('f', bytes('three'), PLAIN, { ifMatch: base.etag }))).kind, 'unavailable');
  t.equal((await read(store, 'f')).toString(), 'three', 'it was done');
  await store.put('f', bytes('and more'), PLAIN, { ifMatch: base.etag });
  t.equal((await read(store, 'f')).toString(), 'and more', 'our own earlier save is no conflict');
  s3.faults.add({ kind: 'lost', operation: 'PutObject', count: 2 });
  const now = await store.head('f');
  await failure(store.put('f', bytes('lost'), PLAIN, { ifMatch: now.etag }));
  s3.putObject(BUCKET, 'f', 'of somebody else');
  t.equal((await failure(store.put('f', bytes('mine'), PLAIN, { ifMatch: now.etag }))).kind, 'precondition-failed');
  t.equal((await read(store, 'f')).toString(), 'of somebody else', 'a foreign change is one');
});

t.test('somebody else writes while our reply is lost', async t => {
  const { s3, store } = await place(t);
  s3.faults.add({ kind: 'status', status: 500, operation: 'PutObject', count: 1 });
  const putting = store.put('x', bytes('ours'), PLAIN, { ifAbsent: true });
  s3.putObject(BUCKET, 'x', 'theirs');
  t.equal((await failure(putting)).kind, 'precondition-failed');
  t.equal((await read(store, 'x')).toString(), 'theirs');
});

t.test('a body that breaks goes on where it broke', async t => {
  const body = Buffer.from(Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 31) % 253));
  for (const kind of ['reset', 'truncate', 'stall'] as const) {
    const clock = new ManualClock(Date.now());
    const retry = { base: 0, longest: 0 };
    const { s3, store, counters } = await place(t, {}, { clock, retry, timeouts: { stall: 1_000, firstByte: 1_000 } });
    s3.putObject(BUCKET, 'big', body);
    s3.faults.add({ kind, operation: 'GetObject', count: 2, at: 0.4, ms: 600_000 });
    const buffers = [Buffer.alloc(1_000_000), Buffer.alloc(2_000_000)];
    const filled: number[] = [];
    let started = 0;
    // Where two fifths of it, and of what is left, have come: there the body breaks.
    const breaks = [1_200_000, 1_920_000];
    let ended = false;
    const getting = store
      .get(
        'big',
        { offset: 0, length: 3_000_000 },
        { buffers, started: () => started++, filled: count => filled.push(count) },
      )
      .finally(() => {
        ended = true;
      });
    for (; !ended; await turn()) {
      const isSilent = kind === 'stall' && breaks[0] === filled.at(-1);
      if (isSilent) breaks.shift();
      await clock.advance(isSilent ? 1_500 : 0);
    }
    const result = await getting;
    t.equal(result.bytes, 3_000_000, kind);
    t.equal(Buffer.compare(Buffer.concat(buffers), body), 0, 'every byte is right');
    t.equal(started, 1, 'it starts once');
    t.ok(
      filled.every((count, i) => i === 0 || count >= filled[i - 1]!),
      'it never goes back',
    );
    t.equal(counters.get('s3.GetObject'), 3);
    const came = counters.get('s3.bytes_in');
    t.ok(came < 3_000_000, `${came} bytes in the last answer: not all of them thrice`);
  }
});

t.test('a GET whose answer is late is sent once more, and the slow one is left', async t => {
  const { s3, store, counters } = await place(t);
  const body = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31) % 253));
  s3.putObject(BUCKET, 'a', body);
  for (let i = 0; i < 100; i++) await read(store, 'a', 1000);
  s3.faults.add({ kind: 'slow', operation: 'GetObject', count: 1, ms: 60_000 });
  const before = counters.get('s3.GetObject');
  t.equal(Buffer.compare(await read(store, 'a'), body), 0);
  t.equal(counters.get('s3.GetObject'), before + 2);
  t.equal(counters.get('s3.hedges_won'), counters.get('s3.hedged'));
});

t.test('a file that changes while its body breaks is never mixed', async t => {
  const { s3, store } = await place(t);
  s3.putObject(BUCKET, 'v', Buffer.alloc(2_000_000, 1));
  s3.faults.add({ kind: 'reset', operation: 'GetObject', count: 1, at: 0.5 });
  const buffer = Buffer.alloc(2_000_000);
  let changed = false;
  const error = await failure(
    store.get(
      'v',
      { offset: 0, length: 2_000_000 },
      {
        buffers: [buffer],
        filled: () => {
          if (!changed) s3.putObject(BUCKET, 'v', Buffer.alloc(2_000_000, 2));
          changed = true;
        },
      },
    ),
  );
  t.equal(error.kind, 'precondition-failed');
  t.notOk(buffer.includes(2));
});

t.test('busy, broken and slow servers', async t => {
  const { s3, store, counters } = await place(t, {}, { timeouts: { firstByte: 80 } });
  for (const status of [500, 502, 503, 504, 429]) {
    s3.faults.add({ kind: 'status', status, operation: 'PutObject', count: 2 });
    await store.put(`s${status}`, bytes('x'), PLAIN, undefined);
    s3.faults.add({ kind: 'status', status, operation: 'ListObjectsV2', count: 1 });
    t.equal((await store.list({ prefix: `s${status}` })).objects.length, 1, `${status}`);
  }
  s3.faults.add({ kind: 'slow', operation: 'HeadObject', count: 1, ms: 1_000 });
  t.equal((await store.head('s500')).size, 1, 'slow');
  s3.faults.add({ kind: 'error200', operation: 'CopyObject', count: 1 });
  const { etag } = await store.head('s500');
  await store.copy({ key: 's500', etag, size: 1 }, 'copied', undefined, undefined);
  t.equal((await read(store, 'copied')).toString(), 'x', 'an error after 200');
  s3.faults.add({ kind: 'error200', operation: 'CompleteMultipartUpload', count: 1 });
  await upload(store, 'up', 3);
  t.equal((await store.head('up')).size, (5 << 20) + 100);
  t.ok(counters.get('s3.retries') >= 15);
  t.ok(counters.get('s3.throttled') >= 4);
  t.equal(
    counters.get('s3.PutObject'),
    s3.log.filter(entry => entry.op === 'PutObject').length,
    'each request is counted',
  );
});

t.test('a server that is down', async t => {
  const { s3, store } = await place(t, {}, { retry: { ...QUICK, attempts: 3 } });
  await store.put('a', bytes('x'), PLAIN, undefined);
  s3.faults.add({ kind: 'status', status: 503, operation: 'GetObject' });
  const error = await failure(read(store, 'a'));
  t.equal(error.kind, 'unavailable');
  t.equal(error.details.s3Code, 'SlowDown');
  t.match(error.message, 'GetObject of "a" failed: S3 answered 503 SlowDown');
  await s3.close();
  const gone = await failure(store.head('a'));
  t.equal(gone.kind, 'unavailable');
  t.match(gone.message, 'check the network');
});

t.test("this machine's clock is wrong", async t => {
  const { s3, store, counters } = await place(
    t,
    {},
    {
      clock: {
        now: () => Date.now() - 3 * 3600_000,
        monotonic: () => performance.now(),
        after: (ms, callback) => {
          const timer = setTimeout(callback, ms);
          return () => clearTimeout(timer);
        },
      },
    },
  );
  s3.putObject(BUCKET, 'a', 'x');
  t.equal((await store.head('a')).size, 1, 'a HEAD, which cannot say why it is refused');
  await store.put('b', bytes('y'), PLAIN, undefined);
  await upload(store, 'c', 1);
  t.same((await store.deleteMany(['b', 'c'])).length, 0);
  t.equal(counters.get('s3.HeadObject'), 2, 'one is lost on finding out');
});

t.test('keys that were replaced', async t => {
  const good = { accessKeyId: 'EMBEDDEDKEY', secretAccessKey: 'embeddedsecret' };
  let served = 0;
  const { s3, store } = await place(
    t,
    { credentials: [good] },
    {
      credentials: async () => (served++ === 0 ? { accessKeyId: 'OLDKEY', secretAccessKey: 'old' } : good),
    },
  );
  s3.putObject(BUCKET, 'a', 'x');
  const all = await Promise.all(Array.from({ length: 8 }, () => store.head('a')));
  t.ok(all.every(info => info.size === 1));
  t.equal(served, 2, 'they are looked up once for all that were refused');
});

t.test('keys that are refused for good are not looked up for ever', async t => {
  let served = 0;
  const { store, counters } = await place(
    t,
    {},
    {
      credentials: async () => {
        served++;
        return { accessKeyId: 'NOBODY', secretAccessKey: 'x' };
      },
    },
  );
  for (let i = 0; i < 10; i++) t.equal((await failure(store.head('a'))).kind, 'forbidden');
  t.equal(served, 2);
  // The first eight are tried without asking for the checksum as well.
  t.equal(counters.get('s3.HeadObject'), 18);
});

t.test('a bucket in another region', async t => {
  const { s3, store } = await place(
    t,
    { buckets: [{ name: BUCKET, region: 'ap-northeast-2' }] },
    { region: 'eu-west-1' },
  );
  await store.probe();
  t.equal(store.place.region, 'ap-northeast-2');
  await store.put('a', bytes('x'), PLAIN, undefined);
  await upload(store, 'b', 1);
  t.same(s3.listKeys(BUCKET), ['a', 'b']);
});

t.test('what is asked of each object that is written', async t => {
  const { s3, store } = await place(
    t,
    {},
    {
      storageClass: 'STANDARD_IA',
      encryption: { algorithm: 'AES256' },
      acl: 'bucket-owner-full-control',
      requesterPays: true,
    },
  );
  const { etag } = await store.put('a', bytes('x'), { ...PLAIN, metadata: { mode: '33188' } }, undefined);
  await upload(store, 'b', 1);
  await store.copy({ key: 'a', etag, size: 1 }, 'c', { ...PLAIN, storageClass: 'ONEZONE_IA' }, undefined);
  const a = await store.head('a');
  t.equal(a.description.storageClass, 'STANDARD_IA');
  t.equal(a.description.encryption?.algorithm, 'AES256');
  t.equal((await store.head('b')).description.storageClass, 'STANDARD_IA');
  t.equal((await store.head('c')).description.storageClass, 'ONEZONE_IA', 'unless the object says otherwise');
  t.equal(s3.getObject(BUCKET, 'a')?.key ?? 'a', 'a');
});

t.test('a copy keeps what S3 would drop', async t => {
  const { s3, store, counters } = await place(t, {}, { storageClass: 'STANDARD' });
  s3.putObject(BUCKET, 'cool', 'x', {
    storageClass: 'STANDARD_IA',
    headers: { 'x-amz-website-redirect-location': '/y' },
  });
  s3.putObject(BUCKET, 'plain', 'y');
  const listed = (await store.list({ prefix: '' })).objects;
  for (const object of listed) await store.copy(object, `${object.key} copy`, undefined, undefined);
  const copy = await store.head('cool copy');
  t.equal(copy.description.storageClass, 'STANDARD_IA');
  t.equal(
    copy.description.headers.websiteRedirectLocation,
    s3.getObject(BUCKET, 'cool')?.headers['x-amz-website-redirect-location'],
  );
  const before = counters.get('s3.HeadObject');
  await store.copy(copy, 'cool again', undefined, undefined);
  t.equal(counters.get('s3.HeadObject'), before, 'what was seen a moment ago is not asked for again');
  t.equal((await store.head('cool again')).description.storageClass, 'STANDARD_IA');
});

t.test('an archived object', async t => {
  const { s3, store } = await place(t);
  await store.put('cold', bytes('x'), { ...PLAIN, storageClass: 'GLACIER' }, undefined);
  t.equal((await store.head('cold')).archived, true);
  const error = await failure(read(store, 'cold'));
  t.equal(error.kind, 'archived');
  t.match(error.message, 'restore');
  t.equal(s3.log.filter(entry => entry.op === 'GetObject').length, 1, 'and is not tried again');
});

t.test('what a person is told before mounting', async t => {
  const { s3 } = await place(t);
  const probe = async (options: Partial<S3StoreOptions>): Promise<StoreError | undefined> => {
    const store = await openS3Store({
      bucket: BUCKET,
      url: s3.url,
      credentials: async () => s3.credential,
      retry: QUICK,
      ...options,
    });
    try {
      await store.probe(3_000);
      return undefined;
    } catch (error) {
      if (isStoreError(error)) return error;
      throw error;
    } finally {
      await store.close();
    }
  };
  const portal = await scriptedServer(socket =>
    socket.write(
      'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 33\r\n\r\n<html><body>Sign in</body></html>',
    ),
  );
  const silent = await scriptedServer(() => {});
  const closed = await scriptedServer(() => {});
  await closed.close();
  t.teardown(async () => {
    await portal.close();
    await silent.close();
  });
  const cases: readonly (readonly [string, Partial<S3StoreOptions>, StoreErrorKind, RegExp])[] = [
    ['wrong bucket', { bucket: 'no-such-bucket' }, 'no-such-bucket', /bucket no-such-bucket .*check the name/],
    [
      'wrong key',
      { credentials: async () => ({ accessKeyId: 'NOBODY', secretAccessKey: 'x' }) },
      'forbidden',
      /does not know this access key/,
    ],
    [
      'wrong secret',
      { credentials: async () => ({ ...s3.credential, secretAccessKey: 'x' }) },
      'forbidden',
      /secret key/,
    ],
    ['no keys', { anonymous: true }, 'forbidden', /need s3:ListBucket/],
    [
      'no credentials at all',
      {
        credentials: async () => {
          throw new Error('Could not load credentials from any providers');
        },
      },
      'forbidden',
      /no AWS credentials/,
    ],
    ['nobody listens', { url: closed.origin.id }, 'unavailable', /no connection to 127\.0\.0\.1.*ECONNREFUSED/],
    [
      'no such name',
      {
        url: 'http://s3.invalid',
        lookup: async () => Promise.reject(Object.assign(new Error(), { code: 'ENOTFOUND' })),
      },
      'unavailable',
      /s3\.invalid does not resolve/,
    ],
    ['TLS where there is none', { url: s3.url.replace('http:', 'https:') }, 'unavailable', /no TLS with/],
    ['a sign-in page', { url: portal.origin.id }, 'unavailable', /web page.*proxy/],
    ['silence', { url: silent.origin.id }, 'timeout', /did not answer in 3 s/],
  ];
  for (const [what, options, kind, message] of cases) {
    const began = Date.now();
    const error = await probe(options);
    t.equal(error?.kind, kind, what);
    t.match(error?.message, message, what);
    t.ok(Date.now() - began < 6_000, 'in seconds');
    t.notMatch(error?.message ?? '', /\n|embeddedsecret/);
  }
  t.equal(await probe({}), undefined, 'and nothing if all is right');
  for (const url of ['ftp://x', 'http://', 'not a url at all']) {
    t.equal((await failure(openS3Store({ bucket: BUCKET, url }))).kind, 'invalid', url);
  }
  t.equal((await failure(openS3Store({ bucket: 'a/b' }))).kind, 'invalid');
});

t.test('a certificate that nobody signed', async t => {
  const { s3 } = await place(t, { tls: true }, { anonymous: true });
  const store = await openS3Store({ bucket: BUCKET, url: s3.url, anonymous: true, retry: QUICK });
  t.teardown(() => store.close());
  const error = await failure(store.probe());
  t.equal(error.kind, 'unavailable');
  t.match(error.message, 'certificates');
  t.equal(s3.log.length, 0);
});

t.test('two stores share nothing', async t => {
  const { s3, store } = await place(t, {}, { prefix: 'one/' });
  const other = await openS3Store({
    bucket: BUCKET,
    prefix: 'two/',
    url: s3.url,
    credentials: async () => s3.credential,
  });
  t.teardown(() => other.close());
  await store.put('k', bytes('1'), PLAIN, { ifAbsent: true });
  await other.put('k', bytes('22'), PLAIN, { ifAbsent: true });
  t.equal((await store.head('k')).size, 1);
  t.same(
    (await other.list({ prefix: '' })).objects.map(object => object.key),
    ['k'],
  );
  t.equal(store.prefixBytes, 4);
  t.same(s3.listKeys(BUCKET), ['one/k', 'two/k']);
});
