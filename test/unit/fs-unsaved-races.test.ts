/** `journal=`: what happens at the same time as something else, and daemons that die twice. */
import t from 'tap';
import { Journal } from '../../src/cache/journal.ts';
import { UnsavedLog } from '../../src/cache/unsaved-log.ts';
import { unsavedFiles } from '../../src/cache/unsaved-records.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { World } from '../support/unsaved-world.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;

/** The journal of a daemon, by hand, and an upload of `f` that has begun. */
async function aJournalAndAnUpload(world: World) {
  const { disk, clock, store } = world;
  const options = { directory: disk, owner: 'bucket', limit: 64 * MIB, sync: 'group' as const, clock };
  const { journal } = await Journal.open({ ...options, log: silentTelemetry.log });
  const description = { headers: {}, metadata: {} };
  const upload = await store.beginUpload('f', description);
  return { store, journal, description, upload };
}

t.test('a chmod that changes the ETag while the first bytes are written', async t => {
  const world = new World();
  const first = await world.mount();
  const { kernel, store } = { kernel: first.kernel, store: world.store };
  // In parts, so that a copy has another ETag.
  await world.until(kernel.writeFile('/f', Buffer.alloc(300 * KIB, 'a')));
  const copying = store.hold('CopyObject');
  await world.until(kernel.setattr('/f', { mode: 0o600 }));
  await world.until(copying.reached);
  const file = await world.until(kernel.open('/f', O_WRONLY));
  await world.until(kernel.write(file, 0, Buffer.from('OURS')));
  copying.release();
  await world.clock.advance(100);
  await world.kill();
  const second = await world.mount();
  const { saved, beside } = await world.until(second.recovered);
  t.same([saved, beside], [['f'], []]);
  t.equal(store.bytes('f')?.length, 300 * KIB);
  t.equal(store.text('f')?.slice(0, 5), 'OURSa');
});

t.test('killed when S3 has what is recovered, and the journal does not know', async t => {
  const world = new World();
  world.store.putForeign('old', 'base of ours');
  const first = await world.mount();
  const old = await world.until(first.kernel.open('/old', O_RDWR));
  await world.until(first.kernel.write(old, 0, Buffer.from('OURS')));
  const made = await world.until(first.kernel.open('/new', O_WRONLY | O_CREAT));
  await world.until(first.kernel.write(made, 0, Buffer.from('new')));
  const large = await world.until(first.kernel.open('/large', O_WRONLY | O_CREAT));
  await world.until(first.kernel.write(large, 0, Buffer.alloc(500 * KIB, 'l')));
  await world.kill();
  // S3 does what it is asked, and its answer never arrives.
  const gone = world.store.intercept(async (call, proceed) => {
    const isLast = call.operation === 'PutObject' || call.operation === 'CompleteMultipartUpload';
    const done = await proceed();
    return isLast ? new Promise(() => {}) : done;
  });
  await world.mount();
  await world.clock.advance(1000);
  t.same(world.store.keys(), ['large', 'new', 'old']);
  gone();
  await world.kill();
  const third = await world.mount();
  t.equal(third.found, 3);
  const { beside } = await world.until(third.recovered);
  t.same(beside, []);
  t.same(world.store.keys(), ['large', 'new', 'old']);
  t.equal(world.store.text('old'), 'OURS of ours');
  t.equal(world.store.text('large')?.length, 500 * KIB);
  await world.until(third.swept);
  await world.until(third.close());
  t.same(await world.disk.list(), []);
});

t.test('S3 has done what is recovered, and its answer is lost: not another client’s', async t => {
  const world = new World();
  const first = await world.mount();
  const file = await world.until(first.kernel.open('/f', O_WRONLY | O_CREAT));
  await world.until(first.kernel.write(file, 0, Buffer.from('ours')));
  await world.kill();
  world.store.failNext('PutObject', 'timeout', { workDone: true });
  const second = await world.mount();
  const { saved, beside } = await world.until(second.recovered);
  t.same([saved, beside], [['f'], []]);
  t.same(world.store.keys(), ['f']);
  await world.until(second.close());
  t.same(await world.disk.list(), []);
});

t.test('a part that memory let go of during the save that was done, and its upload with it', async t => {
  const world = new World();
  const { store, journal, description, upload } = await aJournalAndAnUpload(world);
  const body = Buffer.alloc(128 * KIB, 'a');
  const part = await upload.putPart(1, [body]);
  const { etag } = await upload.complete([part], undefined);
  const file = { t: 'file', f: 1, n: 0, from: 0, key: 'f', description, grid: [128 * KIB, 128 * KIB] };
  await world.until(
    journal.append([
      { meta: { t: 'upload', key: 'f', uploadId: upload.uploadId } },
      { meta: file },
      { meta: { t: 'bytes', f: 1, n: 1, o: 0 }, body: [body] },
      { meta: { t: 'intent', f: 1, n: 1, s: body.length, etag, metadata: {} } },
      { meta: { t: 'bytes', f: 1, n: 2, o: body.length }, body: [Buffer.from('tail')] },
      {
        meta: {
          t: 'part',
          f: 1,
          n: 2,
          upload: upload.uploadId,
          number: 1,
          etag: part.etag,
          o: 0,
          l: body.length,
          only: true,
        },
      },
    ]),
  );
  await world.kill();
  const next = await world.mount();
  t.equal(next.found, 1);
  const { saved, beside } = await world.until(next.recovered);
  t.same([saved, beside], [['f'], []]);
  t.ok(store.text('f') === `${body.toString()}tail`);
});

t.test('parts that S3 refuses do not stay in the bucket', async t => {
  const world = new World();
  const first = await world.mount(undefined, 64 * MIB);
  const file = await world.until(first.kernel.open('/large', O_WRONLY | O_CREAT));
  for (let i = 0; i < 10; i++) await world.until(first.kernel.write(file, i * 64 * KIB, Buffer.alloc(64 * KIB, 'x')));
  await world.clock.advance(100);
  await world.kill();
  t.equal(world.store.openUploads, 1);
  const second = await world.mount(undefined, 64 * MIB);
  world.store.failNext('CompleteMultipartUpload', 'invalid');
  const { saved } = await world.until(second.recovered);
  t.same(saved, ['large']);
  t.equal(world.store.bytes('large')?.length, 640 * KIB);
  t.equal(world.store.openUploads, 0);
  await world.until(second.close());
  t.same(await world.disk.list(), [], 'nothing is left to be done');
});

t.test('a write that is broken off leaves nothing in the journal', async t => {
  const world = new World();
  world.store.putForeign('f', 'base');
  const { kernel, journal, filesystem, environment } = await world.mount();
  const file = await world.until(kernel.open('/f', O_RDWR));
  const { memory } = environment.spool;
  const taken = memory.limit;
  t.ok(memory.tryAdmit(taken));
  const stop = new AbortController();
  const ctx = { ...kernel.ctx, signal: stop.signal };
  const written = filesystem.write(file.nodeid, file.fh, 0, Buffer.from('OURS'), { killSuidgid: false }, ctx);
  const failure = t.rejects(Promise.resolve(written));
  await world.clock.advance(100);
  stop.abort();
  await world.until(failure);
  memory.letGo(taken);
  await world.until(kernel.close(file));
  await world.until(journal.close());
  t.same(await world.disk.list(), []);
});

t.test('write_back: room that was promised for a close is given back', async t => {
  const world = new World();
  world.store.putForeign('base', 'b');
  const { kernel, journal, filesystem } = await world.mount(MIB, 64 * MIB, { writeBack: true });
  const { room } = journal;
  const taken = 900 * KIB;
  t.ok(room.tryPromise(taken, false));
  const settled = (work: unknown): Promise<unknown> => Promise.resolve(work).catch((error: { code?: string }) => error);
  const gone = await world.until(kernel.open('/gone', O_WRONLY | O_CREAT));
  const waiting = settled(kernel.write(gone, 0, Buffer.alloc(100 * KIB)));
  await world.clock.advance(100);
  await world.until(kernel.unlink('/gone'));
  room.giveBack(taken);
  await world.until(waiting);
  t.equal(room.promised, 0, 'to who waited, and lost its name meanwhile');
  await world.until(kernel.close(gone));

  const left = 90 * KIB;
  const file = await world.until(kernel.open('/base', O_RDWR));
  let rest = 0;
  while (room.tryPromise(KIB, true)) rest += KIB;
  room.giveBack(left);
  rest -= left;
  const stop = new AbortController();
  const ctx = { ...kernel.ctx, signal: stop.signal };
  // Enough for the close, and not for the bytes themselves.
  const refused = settled(
    filesystem.write(file.nodeid, file.fh, 0, Buffer.alloc(60 * KIB), { killSuidgid: false }, ctx),
  );
  await world.clock.advance(100);
  stop.abort();
  t.type(await world.until(refused), Error);
  await world.until(kernel.close(file));
  t.equal(room.promised, rest, 'to whose write has failed');
});

t.test('who gives up waiting for room leaves it to the next', async t => {
  const world = new World();
  const { journal } = await world.mount(MIB);
  const { room } = journal;
  let rest = 0;
  while (room.tryPromise(KIB, true)) rest += KIB;
  room.giveBack(10 * KIB);
  const stop = new AbortController();
  const large = t.rejects(room.promise(100 * KIB, true, { signal: stop.signal }));
  const small = room.promise(KIB, true);
  await world.clock.advance(100);
  stop.abort();
  await large;
  const began = world.clock.monotonic();
  await world.until(small);
  t.ok(world.clock.monotonic() - began < 1000);
  room.giveBack(rest - 10 * KIB + KIB);
});

t.test('the last of several names is kept, whichever record is written first', async t => {
  const description = { headers: {}, metadata: {} };
  const base = { t: 'file', f: 1, n: 1, from: 0, description, grid: [1, 1] };
  const metas = [
    { ...base, order: 2, key: 'new' },
    { ...base, order: 1, key: 'old' },
    { t: 'zero', f: 1, n: 1, o: 0, l: 1 },
  ];
  const { files } = unsavedFiles(metas.map(meta => ({ meta, entry: {} })));
  t.equal(files[0]?.key, 'new', 'an old record that was written once more');

  const { disk, clock } = new World();
  const telemetry = silentTelemetry;
  const options = { directory: disk, owner: 'bucket', limit: MIB, sync: 'group' as const, clock, log: telemetry.log };
  const { journal } = await Journal.open(options);
  const released: unknown[] = [];
  journal.release = entry => void released.push(entry);
  let key = 'a';
  const grid = [1, 1] as const;
  const log = new UnsavedLog({ journal, clock, telemetry, nextId: 1 });
  const file = log.of(() => ({ key, condition: undefined, description, stored: undefined, grid }));
  const kept: unknown[] = [];
  const append = journal.append.bind(journal);
  journal.append = async (records, how) => {
    const entries = await append(records, how);
    entries.forEach((entry, i) => void (records[i]!.meta.t === 'file' && kept.push(entry)));
    return entries;
  };
  const written = file.bytes(0, [Buffer.from('x')]);
  key = 'b';
  const moved = file.moved();
  key = 'c';
  await Promise.all([written, moved, file.moved()]);
  t.equal(kept.length, 3);
  t.same(released.map(entry => kept.indexOf(entry)).sort(), [0, 1], 'of several under way');
});

t.test('the power is cut after a rename: nothing is made of what lay under the old name', async t => {
  const world = new World();
  world.store.putForeign('moved', 'moved');
  world.store.putForeign('dir/below', 'below');
  const { kernel } = await world.mount();
  for (const path of ['/moved', '/dir/below']) {
    const file = await world.until(kernel.open(path, O_RDWR));
    await world.until(kernel.write(file, 0, Buffer.from('OURS')));
  }
  // What was written is safe, and what comes now is not before somebody asks for it.
  await world.clock.advance(1000);
  await world.until(kernel.rename('/moved', '/to'));
  await world.until(kernel.rename('/dir', '/other'));
  const { disk } = world;
  await world.kill();
  world.disk = disk.after(disk.events.length, () => 0.4);
  const second = await world.mount();
  t.equal(second.found, 2);
  await world.until(second.recovered);
  t.same(world.store.keys(), ['other/below', 'to']);
  t.equal(world.store.text('to'), 'OURSd');
  t.equal(world.store.text('other/below'), 'OURSw');
});

t.test('bytes that were written twice, far apart, and recovered with less memory than they take', async t => {
  const world = new World();
  const { store, journal, description, upload } = await aJournalAndAnUpload(world);
  const cells = 32;
  const size = 128 * KIB;
  const cell = (i: number): Buffer => Buffer.alloc(size, 65 + i);
  const { etag } = await upload.putPart(cells, [cell(cells - 1)]);
  const part = { t: 'part', f: 1, upload: upload.uploadId, number: cells, etag, o: (cells - 1) * size, l: size };
  await world.until(
    journal.append([
      { meta: { t: 'upload', key: 'f', uploadId: upload.uploadId } },
      { meta: { t: 'file', f: 1, order: 1, n: 0, from: 0, key: 'f', description, grid: [size, size] } },
      ...Array.from({ length: cells - 1 }, (_, i) => ({
        meta: { t: 'bytes', f: 1, n: i + 1, o: i * size },
        body: [cell(i)],
      })),
      { meta: { t: 'bytes', f: 1, n: cells, o: 3 * size }, body: [Buffer.from('once more')] },
      { meta: { ...part, n: cells + 1, only: true } },
    ]),
  );
  await world.kill();
  // Nowhere to spool to: it stays in the journal.
  const small = await world.mount();
  await world.until(small.tried);
  t.equal(store.bytes('f'), undefined);
  await world.kill();
  const next = await world.mount(undefined, 2 * MIB, { spool: { directory: t.testdir(), minFreeBytes: 0 } });
  const { saved, beside } = await world.until(next.recovered);
  t.same([saved, beside], [['f'], []]);
  const bytes = Buffer.from(store.bytes('f')!);
  const expected = Buffer.concat(Array.from({ length: cells }, (_, i) => cell(i)));
  expected.write('once more', 3 * size);
  t.ok(bytes.equals(expected));
  t.equal(store.openUploads, 0);
});

t.test('mode and times that were set after the last write', async t => {
  const world = new World();
  const { kernel } = await world.mount();
  const file = await world.until(kernel.open('/f', O_WRONLY | O_CREAT));
  await world.until(kernel.write(file, 0, Buffer.from('ours')));
  await world.clock.advance(5000);
  await world.until(kernel.setattr('/f', { mode: 0o600, mtime: { sec: 1_000_000_000, nsec: 5 } }));
  await world.kill();
  const next = await world.mount();
  await world.until(next.recovered);
  const { mode, mtime } = await world.until(next.kernel.stat('/f'));
  t.equal(mode & 0o777, 0o600);
  t.same(mtime, { sec: 1_000_000_000, nsec: 5 });
});
