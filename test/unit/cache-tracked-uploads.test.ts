import t from 'tap';
import { Journal } from '../../src/cache/journal.ts';
import { isUploadRecord, TrackedUploads } from '../../src/cache/tracked-uploads.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { storeContract } from '../contract/store.ts';
import { LossyDisk } from '../support/lossy-disk.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';

const PLAIN = { headers: {}, metadata: {} };

async function tracked(store: MemoryStore, directory: LossyDisk, limit = 1 << 20) {
  const { log } = silentTelemetry;
  const { journal, found } = await Journal.open({
    directory,
    owner: 'bucket',
    limit,
    sync: 'group',
    clock: new ManualClock(),
    log,
  });
  return { store: new TrackedUploads(store, journal, silentTelemetry), found: found.filter(isUploadRecord), journal };
}

storeContract(t, 'tracked uploads', { make: async () => (await tracked(new MemoryStore(), new LossyDisk())).store });

t.test('what a killed daemon left in progress is aborted by the next one, and nothing else', async t => {
  const inner = new MemoryStore();
  const disk = new LossyDisk();
  const first = await tracked(inner, disk);
  const done = await first.store.beginUpload('done', PLAIN);
  await done.complete([await done.putPart(1, [new Uint8Array(10)])], undefined);
  await (await first.store.beginUpload('given-up', PLAIN)).abort();
  await first.store.beginUpload('left', PLAIN);
  const theirs = await inner.beginUpload('theirs', PLAIN);
  t.equal(inner.openUploads, 2);
  const second = await tracked(inner, disk.now());
  t.equal(await second.store.sweep(second.found), 1);
  t.equal(inner.openUploads, 1, 'that of another client goes on');
  await theirs.complete([await theirs.putPart(1, [new Uint8Array(1)])], undefined);
  await second.journal.close();
});

t.test('what cannot be aborted now is aborted by the mount after the next', async t => {
  const inner = new MemoryStore();
  const disk = new LossyDisk();
  await (await tracked(inner, disk)).store.beginUpload('left', PLAIN);
  const disk2 = disk.now();
  const second = await tracked(inner, disk2);
  inner.failNext('AbortMultipartUpload', 'unavailable');
  await second.store.sweep(second.found);
  t.equal(inner.openUploads, 1);
  const third = await tracked(inner, disk2.now());
  await third.store.sweep(third.found);
  t.equal(inner.openUploads, 0);
  await third.store.close();
});

t.test('without room it goes on without a note', async t => {
  const inner = new MemoryStore();
  const { store } = await tracked(inner, new LossyDisk(), 100);
  const upload = await store.beginUpload('f', PLAIN);
  await upload.complete([await upload.putPart(1, [new Uint8Array(10)])], undefined);
  t.equal(inner.bytes('f')?.length, 10);
});
