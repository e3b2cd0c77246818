/** `journal=`: what becomes of files that were being written when the daemon died. */
import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import { World } from '../support/unsaved-world.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;

t.test('changed by another client meanwhile: a conflict copy', async t => {
  const world = new World();
  world.store.putForeign('f', 'base of ours');
  const first = await world.mount();
  const file = await world.until(first.kernel.open('/f', O_RDWR));
  await world.until(first.kernel.write(file, 0, Buffer.from('OURS')));
  await world.kill();
  world.store.putForeign('f', 'theirs');
  const second = await world.mount();
  t.equal(second.found, 1);
  const { beside } = await world.until(second.recovered);
  t.same(beside, ['_conflict.0.f']);
  t.equal(world.store.text('f'), 'theirs');
  t.match(world.store.text('_conflict.0.f'), /^OURS/);
});

t.test('deleted by another client meanwhile: saved under its name', async t => {
  const world = new World();
  world.store.putForeign('f', 'base');
  const first = await world.mount();
  const file = await world.until(first.kernel.open('/f', O_RDWR));
  await world.until(first.kernel.write(file, 0, Buffer.from('all of it')));
  await world.kill();
  world.store.deleteForeign('f');
  const second = await world.mount();
  await world.until(second.recovered);
  t.equal(world.store.text('f'), 'all of it');
});

t.test('removed here, or renamed: nothing under the old name', async t => {
  const world = new World();
  world.store.putForeign('moved', 'moved');
  const first = await world.mount();
  const { kernel } = first;
  const gone = await world.until(kernel.open('/gone', O_WRONLY | O_CREAT));
  await world.until(kernel.write(gone, 0, Buffer.from('x')));
  await world.until(kernel.unlink('/gone'));
  await world.until(kernel.write(gone, 1, Buffer.from('y')));
  const moved = await world.until(kernel.open('/moved', O_RDWR));
  await world.until(kernel.write(moved, 0, Buffer.from('MOV')));
  await world.until(kernel.rename('/moved', '/to'));
  await world.until(kernel.write(moved, 5, Buffer.from('+')));
  const last = await world.until(kernel.open('/last', O_WRONLY | O_CREAT));
  await world.until(kernel.write(last, 0, Buffer.from('x')));
  await world.until(kernel.rename('/last', '/later'));
  await world.kill();
  const second = await world.mount();
  await world.until(second.recovered);
  t.same(world.store.keys(), ['later', 'to']);
  t.equal(world.store.text('to'), 'MOVed+');
});

t.test('parts that S3 has are not sent again', async t => {
  const world = new World();
  const first = await world.mount();
  const file = await world.until(first.kernel.open('/large', O_WRONLY | O_CREAT));
  const text = Array.from({ length: 40 }, (_, i) => String.fromCharCode(65 + i).repeat(64 * KIB)).join('');
  for (let at = 0; at < text.length; at += 64 * KIB) {
    await world.until(first.kernel.write(file, at, Buffer.from(text.slice(at, at + 64 * KIB))));
  }
  await world.clock.advance(100);
  const sent = world.store.count('UploadPart');
  t.ok(sent > 15, `${sent} parts`);
  await world.kill();
  const before = world.store.calls.length;
  const second = await world.mount();
  await world.until(second.recovered);
  await world.until(second.swept);
  const calls = world.store.calls.slice(before).map(({ operation }) => operation);
  t.notOk(calls.includes('CreateMultipartUpload'));
  t.ok(calls.filter(operation => operation === 'UploadPart').length < 4, 'the rest');
  t.equal(world.store.text('large'), text);
  t.equal(world.store.openUploads, 0);
  await world.until(second.close());
  t.same(await world.disk.list(), []);
});

t.test(
  'S3 has aborted the upload: what the journal has is sent anew, what only the upload had is zeros beside',
  async t => {
    for (const budget of [64 * MIB, MIB]) {
      const world = new World();
      const first = await world.mount(undefined, budget);
      const file = await world.until(first.kernel.open('/large', O_WRONLY | O_CREAT));
      for (let i = 0; i < 40; i++) {
        await world.until(first.kernel.write(file, i * 64 * KIB, Buffer.alloc(64 * KIB, 65 + i)));
      }
      await world.clock.advance(100);
      await world.kill();
      world.store.abortUploads();
      const second = await world.mount(undefined, budget);
      const { saved, beside } = await world.until(second.recovered);
      if (budget === MIB) {
        t.same([saved, beside], [[], ['_conflict.0.large']]);
        const bytes = world.store.bytes('_conflict.0.large')!;
        t.equal(bytes.length, 40 * 64 * KIB);
        t.ok(bytes.includes(0), 'zeros for what is lost');
        t.equal(bytes.at(-1), 65 + 39);
      } else {
        t.same([saved, beside], [['large'], []]);
        t.equal(world.store.bytes('large')!.length, 40 * 64 * KIB);
        t.notOk(world.store.bytes('large')!.includes(0));
      }
      t.equal(world.store.openUploads, 0);
      await world.kill();
    }
  },
);

t.test('S3 does not answer: the journal keeps it, and the daemon after the next saves it', async t => {
  const world = new World();
  const first = await world.mount();
  const file = await world.until(first.kernel.open('/f', O_WRONLY | O_CREAT));
  await world.until(first.kernel.write(file, 0, Buffer.from('kept')));
  await world.kill();
  world.store.failNext('HeadObject', 'unavailable');
  const second = await world.mount();
  await world.until(second.tried);
  t.equal(world.store.text('f'), undefined);
  await world.kill();
  const third = await world.mount();
  t.equal(third.found, 1);
  await world.until(third.recovered);
  t.equal(world.store.text('f'), 'kept');
});

t.test('a copy of a whole file does not refer to its source', async t => {
  const world = new World();
  world.store.putForeign('from', 'source');
  const first = await world.mount();
  const from = await world.until(first.kernel.open('/from', 0));
  const to = await world.until(first.kernel.open('/to', O_WRONLY | O_CREAT));
  const ctx = first.kernel.ctx;
  const copied = first.filesystem.copyFileRange({ fh: from.fh, offset: 0 }, { fh: to.fh, offset: 0 }, 6, 0, ctx);
  t.equal(await world.until(copied), 6);
  await world.kill();
  world.store.deleteForeign('from');
  const second = await world.mount();
  await world.until(second.recovered);
  t.equal(world.store.text('to'), 'source');
});

t.test('times and modes are those of the last change', async t => {
  const world = new World();
  const first = await world.mount();
  const file = await world.until(first.kernel.open('/f', O_WRONLY | O_CREAT));
  await world.until(first.kernel.write(file, 0, Buffer.from('a')));
  await world.clock.advance(60_000);
  const at = world.clock.now();
  await world.until(first.kernel.write(file, 1, Buffer.from('b')));
  await world.kill();
  const second = await world.mount();
  await world.until(second.recovered);
  const { mtime } = await world.until(second.kernel.stat('/f'));
  t.ok(Math.abs(mtime.sec * 1000 + mtime.nsec / 1e6 - at) < 100);
});

t.test('a file much larger than the journal is written, as fast as S3 takes it', async t => {
  const world = new World();
  const limit = 2 * MIB;
  const first = await world.mount(limit, 64 * MIB);
  const { kernel } = first;
  const file = await world.until(kernel.open('/large', O_WRONLY | O_CREAT));
  for (let i = 0; i < 120; i++) await world.until(kernel.write(file, i * 128 * KIB, Buffer.alloc(128 * KIB, i)));
  t.ok(first.journal.used <= limit, `${first.journal.used} bytes of ${limit}`);
  await world.kill();
  const second = await world.mount(limit);
  await world.until(second.recovered);
  const bytes = world.store.bytes('large')!;
  t.equal(bytes.length, 120 * 128 * KIB);
  for (let i = 0; i < 120; i++)
    if (bytes[i * 128 * KIB] !== i || bytes[(i + 1) * 128 * KIB - 1] !== i) t.fail(`part ${i}`);
});

t.test('a place that is written again and again takes its room once', async t => {
  const world = new World();
  const limit = 2 * MIB;
  const first = await world.mount(limit, 64 * MIB);
  const file = await world.until(first.kernel.open('/f', O_WRONLY | O_CREAT));
  const other = await world.until(first.kernel.open('/g', O_WRONLY | O_CREAT));
  for (let i = 0; i < 400; i++) {
    await world.until(first.kernel.write(file, (i % 5) * 16 * KIB, Buffer.alloc(16 * KIB, i)));
    if (i === 3) await world.until(first.kernel.write(other, 0, Buffer.from('kept, whatever moves')));
  }
  t.ok(first.journal.used <= limit);
  await world.kill();
  const second = await world.mount(limit);
  await world.until(second.recovered);
  t.equal(world.store.text('g'), 'kept, whatever moves');
  const bytes = world.store.bytes('f')!;
  t.same(
    [bytes.length, ...[0, 1, 2, 3, 4].map(i => bytes[i * 16 * KIB])],
    [80 * KIB, ...[395, 396, 397, 398, 399].map(i => i % 256)],
  );
});

t.test('full: write waits, then fails with ENOSPC, close does not; what S3 takes makes room', async t => {
  const world = new World();
  const { kernel } = await world.mount(MIB, 64 * MIB);
  const file = await world.until(kernel.open('/f', O_WRONLY | O_CREAT));
  const code = async (work: Promise<unknown>): Promise<string | undefined> =>
    world.until(work).then(
      () => undefined,
      error => error.code,
    );
  let written = 0;
  let failed: string | undefined;
  // Never two in a row: nothing of it can be sent ahead.
  for (; written < 40 && failed === undefined; written++) {
    const began = world.clock.monotonic();
    failed = await code(kernel.write(file, written * 2 * 32 * KIB, Buffer.alloc(32 * KIB, 1)));
    if (failed !== undefined) t.ok(world.clock.monotonic() - began >= 30_000, 'it has waited');
  }
  t.equal(failed, 'ENOSPC');
  t.ok(written > 20, `${written} writes`);
  const began = world.clock.monotonic();
  t.equal(await code(kernel.write(file, 0, Buffer.from('once more'.repeat(9000)))), 'ENOSPC');
  t.ok(world.clock.monotonic() - began < 1000, 'and at once then');
  t.equal(await code(kernel.close(file)), undefined);
  t.equal(world.store.bytes('f')?.length, (written - 2) * 2 * 32 * KIB + 32 * KIB);
  const next = await world.until(kernel.open('/g', O_WRONLY | O_CREAT));
  t.equal(await code(kernel.write(next, 0, Buffer.alloc(300 * KIB))), undefined);
  t.equal(await code(kernel.close(next)), undefined);
});

t.test('write_back, full while S3 takes nothing: ENOSPC at write, never at close', async t => {
  const world = new World();
  const mounted = await world.mount(MIB, 64 * MIB, { writeBack: true, isLogged: false });
  const { kernel } = mounted;
  const endOfFaults = world.store.intercept(async (call, proceed) => {
    if (call.operation === 'PutObject') throw new StoreError('unavailable', 'nothing is taken');
    return proceed();
  });
  const code = async (work: Promise<unknown>): Promise<string | undefined> =>
    world.until(work).then(
      () => undefined,
      error => error.code,
    );
  const saved: string[] = [];
  let failed: string | undefined;
  for (let i = 0; i < 20 && failed === undefined; i++) {
    const file = await world.until(kernel.open(`/f${i}`, O_WRONLY | O_CREAT));
    failed = await code(kernel.write(file, 0, Buffer.alloc(100 * KIB, i)));
    if (failed === undefined) {
      t.equal(await code(kernel.close(file)), undefined);
      saved.push(`f${i}`);
    }
  }
  t.equal(failed, 'ENOSPC');
  t.ok(saved.length >= 7, `${saved.length} files`);
  t.same(world.store.keys(), []);
  endOfFaults();
  await world.until(mounted.filesystem.drain());
  t.same(
    saved.filter(key => world.store.bytes(key)?.length !== 100 * KIB),
    [],
    'S3 has them all',
  );
  await world.until(kernel.writeFile('/after', Buffer.alloc(100 * KIB)));
  await world.until(mounted.filesystem.drain());
  t.equal(world.store.bytes('after')?.length, 100 * KIB);
});
