/**
 * Answers that never come, with the times that s3mount is shipped with: a gateway or a NAT has forgotten the connection while
 * S3 worked, and nobody sends a reset.
 */
import { connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { isStoreError } from '../../src/errors.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import type { ObjectDescription, ObjectVersion } from '../../src/s3/store.ts';
import { Counters } from '../../src/telemetry.ts';
import { ManualClock } from '../support/manual-clock.ts';

const BUCKET = 'silent';
const PLAIN: ObjectDescription = { headers: {}, metadata: {} };
/** ms to the first byte of what takes S3 long, as shipped. */
const WORK = 300_000;

interface Place {
  readonly s3: EmbeddedS3;
  readonly store: S3Store;
  readonly clock: ManualClock;
  readonly counters: Counters;
  /** The answer to the next request that has `text` in it is swallowed. Resolves when S3 has given it. */
  swallow(text: string): Promise<void>;
}

async function place(t: Test): Promise<Place> {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET] });
  let wanted: { text: string; done: () => void } | undefined;
  const sockets = new Set<Socket>();
  const between = createServer(client => {
    const server = connect(s3.port, '127.0.0.1');
    let silenced: (() => void) | undefined;
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        server.destroy();
      });
    }
    client.on('data', data => {
      if (wanted && data.includes(wanted.text)) {
        silenced = wanted.done;
        wanted = undefined;
      }
      server.write(data);
    });
    server.on('data', data => {
      if (silenced) silenced();
      else client.write(data);
    });
  });
  await new Promise<void>(resolve => void between.listen(0, '127.0.0.1', resolve));
  const { port } = between.address() as { port: number };
  // The signatures are compared with the server's clock.
  const clock = new ManualClock(Date.now());
  const counters = new Counters();
  const store = await openS3Store({
    bucket: BUCKET,
    url: `http://127.0.0.1:${port}`,
    region: s3.region,
    credentials: async () => s3.credential,
    telemetry: counters,
    clock,
  });
  t.teardown(async () => {
    await store.close();
    between.close();
    for (const socket of sockets) socket.destroy();
    await s3.close();
  });
  const swallow = (text: string): Promise<void> =>
    new Promise(done => {
      wanted = { text, done };
    });
  return { s3, store, clock, counters, swallow };
}

/** An object to copy from, by a store that knows already which conditions are kept: finding out takes requests of its own. */
async function aSource({ store }: Place): Promise<ObjectVersion> {
  const put = await store.put('small', [Buffer.from('content')], PLAIN, { ifAbsent: true });
  const { etag } = await store.put('small', [Buffer.from('changed')], PLAIN, { ifMatch: put.etag });
  const source = { key: 'small', etag, size: 7 };
  const copied = await store.copy(source, 'learned', undefined, { ifAbsent: true });
  await store.copy(source, 'learned', undefined, { ifMatch: copied.etag });
  await store.delete('learned');
  return source;
}

/** `work`, whose first answer to what has `text` in it is lost. */
async function unanswered<T>({ clock, counters, swallow }: Place, text: string, work: () => Promise<T>): Promise<T> {
  const before = counters.get('s3.retries');
  const swallowed = swallow(text);
  const working = work();
  let isOver = false;
  const over = (): void => {
    isOver = true;
  };
  working.then(over, over);
  await swallowed;
  await clock.advance(WORK + 1000);
  while (!isOver && counters.get('s3.retries') === before) await new Promise(resolve => setImmediate(resolve));
  await clock.advance(200);
  return working;
}

t.test(
  'the answer to a completion, a copy or a batch of deletes is lost in silence: sent once more, and settled',
  async t => {
    const here = await place(t);
    const { s3, store, counters } = here;
    const source = await aSource(here);
    const begun = await store.beginUpload('large', PLAIN);
    const parts = [await begun.putPart(1, [Buffer.alloc(5 << 20, 1)]), await begun.putPart(2, [Buffer.alloc(100, 1)])];

    const completed = await unanswered(here, 'uploadId=', () => begun.complete(parts, { ifAbsent: true }));
    t.equal((await store.head('large')).etag, completed.etag, 'a completion');
    t.same(s3.openUploads(BUCKET), []);

    await unanswered(here, 'x-amz-copy-source', () => store.copy(source, 'copy', undefined, { ifAbsent: true }));
    t.equal(s3.getObject(BUCKET, 'copy')?.bytes().toString(), 'changed', 'a copy');
    t.equal(counters.get('s3.settled'), 2, 'both were found to be our own');

    t.same(await unanswered(here, '?delete', () => store.deleteMany(['copy', 'small'])), [], 'a batch of deletes');
    t.same(s3.listKeys(BUCKET), ['large']);
  },
);

t.test('no answer ever: two attempts, then ETIMEDOUT', async t => {
  const here = await place(t);
  const { store, clock, counters, swallow } = here;
  const source = await aSource(here);
  const before = counters.get('s3.CopyObject');
  const first = swallow('x-amz-copy-source');
  const start = clock.monotonic();
  const copying = store.copy(source, 'copy', undefined, { ifAbsent: true }).catch((error: unknown) => error);
  await first;
  const second = swallow('x-amz-copy-source');
  await clock.advance(WORK + 1000);
  while (counters.get('s3.retries') === 0) await new Promise(resolve => setImmediate(resolve));
  await clock.advance(200);
  await second;
  await clock.advance(WORK + 1000);
  const error = await copying;
  t.ok(isStoreError(error, 'timeout'), String(error));
  t.equal(counters.get('s3.CopyObject') - before, 2);
  t.ok(clock.monotonic() - start <= 2 * (WORK + 1100) + 200);
});
