import t from 'tap';
import type { FileContent } from '../../src/cache/file-content.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { UPLOAD_SIZES } from '../../src/cache/upload-plan.ts';
import { FsError, StoreError } from '../../src/errors.ts';
import { S3_LIMITS } from '../../src/s3/store.ts';
import { bytesOf, KIB, MIB, pattern, setup, TINY_SIZES } from '../support/file-contents.ts';

const turns = async (count = 20): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve));
};

/** What kind of StoreError it rejects with. */
const kindOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    error => (error instanceof StoreError ? error.kind : String(error)),
  );

const readAll = async (file: FileContent): Promise<Uint8Array> => bytesOf(await file.read(0, file.size));
const equal = (a: Uint8Array | undefined, b: Uint8Array): boolean => a !== undefined && Buffer.compare(a, b) === 0;

t.test('a small file is one PUT with its description and condition', async t => {
  const s = setup(t);
  const file = s.open();
  t.ok(file.unsaved, 'a new file is unsaved before its first byte');
  s.target.metadata['mode'] = '33188';
  t.equal(file.write(0, pattern(1000, 1)), undefined, 'answered in the same turn');
  t.equal(file.unsavedBytes, 1000);
  const saved = await file.save();
  t.same(
    s.store.calls.map(call => [call.operation, call.condition]),
    [['PutObject', { ifAbsent: true }]],
  );
  t.ok(equal(s.store.bytes('file'), pattern(1000, 1)));
  t.equal(saved?.description.metadata['mode'], '33188');
  t.equal(saved?.content.version.etag, saved?.written.etag);
  t.notOk(file.unsaved);
  t.equal(await file.save(), undefined, 'nothing to save any more');
  t.equal(s.store.count(), 1);
});

t.test('what was saved is read from memory, never fetched again', async t => {
  const s = setup(t);
  const file = s.open();
  const bytes = pattern(3 * BLOCK_SIZE + 700, 1);
  await file.write(0, bytes);
  await file.save();
  t.ok(equal(await readAll(file), bytes));
  for (let i = 0; i < 50; i++) {
    const line = pattern(90, i);
    await file.append(line);
    s.target.condition = { ifMatch: file.stored!.version.etag };
    await file.save();
    const tail = bytesOf(await file.read(file.size - 90, 90));
    if (!equal(tail, line)) t.fail(`after save ${i}`);
  }
  t.equal(s.store.count('GetObject'), 0);
});

t.test('an open reader sees every byte that was written, during and after a save', async t => {
  const s = setup(t);
  const file = s.openForeign(pattern(300 * KIB, 1));
  const second = pattern(300 * KIB, 2);
  await file.write(0, second);
  const hold = s.store.hold('UploadPart');
  const saving = file.save();
  await hold.reached;
  t.ok(equal(await readAll(file), second), 'during the save');
  const patch = pattern(100, 3);
  await file.write(1000, patch);
  t.ok(equal(bytesOf(await file.read(1000, 100)), patch));
  hold.release();
  const saved = await saving;
  t.ok(equal(s.store.bytes('file'), second), 'what was written during the save is not in it');
  t.ok(file.unsaved);
  t.equal(file.unsavedBytes, 100, 'only that is still unsaved');
  t.ok(equal(bytesOf(await file.read(1000, 100)), patch));
  s.target.condition = { ifMatch: saved!.written.etag };
  await file.save();
  second.set(patch, 1000);
  t.ok(equal(s.store.bytes('file'), second));
  t.notOk(file.unsaved);
});

t.test('a large file goes out while it is written', async t => {
  const s = setup(t);
  const file = s.open();
  const bytes = pattern(400 * KIB + 5, 1);
  for (let at = 0; at < bytes.length; at += 10_000) await file.write(at, bytes.slice(at, at + 10_000));
  await turns(100);
  t.equal(s.store.count('UploadPart'), 12, 'each whole part');
  t.ok(equal(await readAll(file), bytes), 'and is read back before it is complete');
  await file.save();
  t.equal(s.store.count('UploadPart'), 13, 'the save sends the rest only');
  t.equal(s.store.count('CreateMultipartUpload'), 1);
  t.equal(s.store.count('PutObject'), 0);
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('a part that was sent and rewritten is sent again', async t => {
  const s = setup(t);
  const file = s.open();
  const bytes = pattern(200 * KIB, 1);
  await file.write(0, bytes);
  await turns();
  const before = s.store.count('UploadPart');
  const header = pattern(64, 9);
  await file.write(0, header);
  bytes.set(header);
  await file.save();
  t.equal(s.store.count('UploadPart'), before + 2, 'the first and the last');
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('unchanged ranges of a large object are copied on the server', async t => {
  const s = setup(t);
  const bytes = pattern(600 * KIB, 1);
  const file = s.openForeign(bytes);
  const patch = pattern(100, 2);
  await file.write(300 * KIB, patch);
  bytes.set(patch, 300 * KIB);
  await file.save();
  t.ok(equal(s.store.bytes('file'), bytes));
  const sent = s.store.calls.filter(call => call.operation === 'UploadPart');
  t.same(
    sent.map(call => call.bytes),
    [8 * KIB],
  );
  t.ok(s.store.count('UploadPartCopy') > 0);
  t.same(s.store.calls.at(-1)!.condition, s.target.condition);
});

t.test('appending 1 KiB to 1 GiB takes at most 22 requests and moves 1 KiB', async t => {
  // The store holds the bytes for real: the planner's own test has the full size, here a hundredth of it.
  const s = setup(t, {
    limits: { ...S3_LIMITS, minPartSize: 52 * KIB },
    sizes: { ...UPLOAD_SIZES, singlePut: 160 * KIB, part: 80 * KIB, copyPart: 655_360, maxCopyPart: 2 * MIB },
    budget: 64 * MIB,
  });
  const bytes = pattern(10 * MIB, 1);
  const file = s.openForeign(bytes);
  await file.append(pattern(KIB, 2));
  await file.save();
  t.ok(s.store.count() <= 22, `${s.store.count()} requests`);
  const moved = s.store.calls.reduce((sum, call) => sum + (call.operation === 'UploadPart' ? call.bytes! : 0), 0);
  t.equal(moved, KIB);
  t.equal(s.store.count('GetObject'), 0);
  t.equal(s.store.bytes('file')?.length, 10 * MIB + KIB);
});

t.test('what was cut off does not come back', async t => {
  const s = setup(t);
  const file = s.openForeign(pattern(300 * KIB, 1));
  await file.truncate(1000);
  await file.truncate(200 * KIB);
  const expected = new Uint8Array(200 * KIB);
  expected.set(pattern(1000, 1));
  t.ok(equal(await readAll(file), expected));
  t.equal(file.seek(0, 'hole'), 1000);
  t.equal(file.seek(2000, 'data'), undefined);
  t.equal(file.seek(300 * KIB, 'hole'), undefined);
  t.equal(file.allocatedBytes, 1000);
  await file.save();
  t.ok(equal(s.store.bytes('file'), expected));
  t.ok(equal(await readAll(file), expected));
});

t.test('cut while a save is under way', async t => {
  const s = setup(t);
  const file = s.open();
  await file.write(0, pattern(200 * KIB, 1));
  const hold = s.store.hold('CompleteMultipartUpload');
  const saving = file.save();
  await hold.reached;
  await file.truncate(500);
  await file.truncate(1000);
  hold.release();
  const saved = await saving;
  const expected = new Uint8Array(1000);
  expected.set(pattern(500, 1));
  t.ok(equal(await readAll(file), expected));
  s.target.condition = { ifMatch: saved!.written.etag };
  await file.save();
  t.ok(equal(s.store.bytes('file'), expected));
});

t.test('O_TRUNC of an empty file is a change, and keeps the base for the condition', async t => {
  const s = setup(t);
  const file = s.openForeign('');
  file.reset();
  t.ok(file.unsaved);
  t.ok(file.stored);
  await file.save();
  t.same(s.store.calls.at(-1)?.condition, s.target.condition);
});

t.test('appends by many get places of their own', async t => {
  const s = setup(t, { budget: MIB });
  const file = s.open();
  const lines = Array.from({ length: 200 }, (_, i) => pattern(4000, i));
  const places = await Promise.all(lines.map(line => file.append(line)));
  t.equal(new Set(places).size, 200);
  for (const [i, place] of places.entries()) {
    if (!equal(bytesOf(await file.read(place, 4000)), lines[i]!)) t.fail(`line ${i} at ${place}`);
  }
  t.equal(file.size, 800_000);
});

t.test('a save that fails keeps every byte, and the parts that arrived', async t => {
  const s = setup(t);
  const file = s.open();
  const bytes = pattern(300 * KIB, 1);
  await file.write(0, bytes);
  s.store.failNext('CompleteMultipartUpload', 'unavailable');
  t.equal(await kindOf(file.save()), 'unavailable');
  t.ok(file.unsaved);
  t.ok(equal(await readAll(file), bytes));
  const parts = s.store.count('UploadPart');
  await file.save();
  t.equal(s.store.count('UploadPart'), parts, 'none is sent twice');
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('an upload that has vanished is begun again from the bytes at hand', async t => {
  const s = setup(t);
  const file = s.open();
  const bytes = pattern(300 * KIB, 1);
  await file.write(0, bytes);
  await turns();
  s.store.failNext('CompleteMultipartUpload', 'no-such-upload');
  await file.save();
  t.equal(s.store.count('CreateMultipartUpload'), 2);
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('a refused condition passes up and keeps the bytes', async t => {
  for (const size of [1000, 300 * KIB]) {
    const s = setup(t);
    const file = s.open();
    await file.write(0, pattern(size, 1));
    s.store.putForeign('file', 'theirs');
    t.equal(await kindOf(file.save()), 'precondition-failed');
    t.equal(s.store.text('file'), 'theirs');
    t.ok(equal(await readAll(file), pattern(size, 1)));
    s.target.key = 'ours';
    file.renamed();
    await file.save();
    t.ok(equal(s.store.bytes('ours'), pattern(size, 1)));
    await turns();
    t.equal(s.store.openUploads, 0, 'no upload is left behind');
  }
});

t.test('after a rename the bytes go to the new key', async t => {
  const s = setup(t);
  const file = s.open();
  const bytes = pattern(300 * KIB, 1);
  await file.write(0, bytes);
  await turns();
  t.equal(s.store.openUploads, 1);
  s.target.key = 'elsewhere';
  file.renamed();
  const saved = await file.save();
  t.equal(saved?.content.version.key, 'elsewhere');
  t.same(s.store.keys(), ['elsewhere']);
  t.ok(equal(s.store.bytes('elsewhere'), bytes));
  await turns();
  t.equal(s.store.openUploads, 0);
});

t.test('the description is that of the moment when the upload began', async t => {
  const s = setup(t);
  const file = s.open();
  s.target.metadata['mtime'] = 'then';
  await file.write(0, pattern(300 * KIB, 1));
  await turns();
  s.target.metadata['mtime'] = 'now';
  const saved = await file.save();
  t.equal(saved?.description.metadata['mtime'], 'then');
  t.equal(s.store.info('file')?.description.metadata['mtime'], 'then');
});

t.test('discard gives everything back', async t => {
  const s = setup(t, { budget: 2 * MIB });
  const file = s.open();
  for (let i = 0; i < 20; i++) await file.write(i * 128 * KIB, pattern(128 * KIB, i));
  const hold = s.store.hold('CompleteMultipartUpload');
  const saving = file.save();
  await hold.reached;
  const discarding = file.discard();
  hold.release();
  t.equal(await kindOf(saving), 'aborted');
  await discarding;
  t.equal(s.spool.memory.held, 0);
  t.equal(s.spool.used, 0);
  t.equal(s.budget.used, s.blocks.stats.freshBytes + s.blocks.stats.hotBytes + s.blocks.stats.aheadBytes);
  t.equal(s.store.openUploads, 0);
});

t.test('more than the memory goes to the spool and comes back', async t => {
  const s = setup(t, { budget: 2 * MIB });
  const file = s.open();
  const bytes = pattern(6 * MIB, 1);
  s.store.failNext('CreateMultipartUpload', 'unavailable', { times: 100 });
  for (let at = 0; at < bytes.length; at += 64 * KIB) {
    await file.write(at, bytes.slice(at, at + 64 * KIB));
    if (s.budget.used > s.budget.total) t.fail('over budget');
  }
  t.ok(s.spool.used >= 4 * MIB, `${s.spool.used} bytes spooled`);
  t.equal(file.unsavedBytes, 6 * MIB);
  for (let at = 0; at < bytes.length; at += 500_000) {
    if (!equal(bytesOf(await file.read(at, 1000)), bytes.subarray(at, at + 1000))) t.fail(`at ${at}`);
  }
  t.equal(await kindOf(file.save()), 'unavailable');
  for (let i = 0; i < 100 && file.unsaved; i++) await file.save().catch(() => {});
  t.ok(equal(s.store.bytes('file'), bytes));
  t.equal(s.spool.used, 0, 'the spool is empty after the save');
});

t.test('a full spool fails the write, never the save', async t => {
  const sizes = { ...TINY_SIZES, singlePut: 16 * MIB };
  const s = setup(t, { budget: 2 * MIB, spool: { maxBytes: MIB }, sizes, keepSent: true });
  const file = s.open();
  let written = 0;
  let error: unknown;
  while (error === undefined && written < 8 * MIB) {
    try {
      await file.write(written, pattern(128 * KIB, 1));
      written += 128 * KIB;
    } catch (caught) {
      error = caught;
    }
  }
  t.ok(error instanceof FsError && error.code === 'ENOSPC', String(error));
  t.ok(written >= 1.5 * MIB);
  t.equal(file.size, written, 'the write that failed left nothing');
  await file.save();
  t.equal(s.store.bytes('file')?.length, written);
  await file.write(written, pattern(128 * KIB, 1));
  t.equal(file.size, written + 128 * KIB, 'and there is room again');
});

t.test('without a spool a file larger than its share gets ENOSPC at once', async t => {
  const sizes = { ...TINY_SIZES, singlePut: 16 * MIB };
  const s = setup(t, { budget: MIB, spool: false, sizes, keepSent: true });
  const file = s.open();
  await file.write(0, pattern(400 * KIB, 1));
  await t.rejects(Promise.resolve(file.write(400 * KIB, pattern(400 * KIB, 1))), { code: 'ENOSPC' });
  await file.save();
  t.equal(s.store.bytes('file')?.length, 400 * KIB);
});

t.test('many writers in little memory all get through', async t => {
  const s = setup(t, { budget: 2 * MIB, keepSent: true });
  const files = Array.from({ length: 6 }, (_, i) => ({ content: s.open(), tag: i }));
  await Promise.all(
    files.map(async ({ content, tag }) => {
      for (let at = 0; at < 2 * MIB; at += 100_000) await content.write(at, pattern(100_000, tag));
    }),
  );
  for (const { content, tag } of files) {
    const expected = pattern(100_000, tag);
    if (!equal(bytesOf(await content.read(1_000_000, 100_000)), expected)) t.fail(`file ${tag}`);
  }
  for (const { content } of files) {
    s.target.key = `file-${files.findIndex(file => file.content === content)}`;
    content.renamed();
    await content.save();
  }
  t.equal(s.store.keys().length, 6);
  t.equal(s.spool.memory.held, 0);
});

t.test('a write that waits for memory can be interrupted', async t => {
  const s = setup(t, { budget: MIB, spool: false, keepSent: true });
  const file = s.open();
  await file.write(0, pattern(384 * KIB, 1));
  const hold = s.store.hold('CompleteMultipartUpload');
  const saving = file.save();
  await hold.reached;
  const stop = new AbortController();
  const waiting = Promise.resolve(file.write(384 * KIB, pattern(256 * KIB, 1), stop));
  waiting.catch(() => {});
  await turns();
  stop.abort();
  await t.rejects(waiting, new StoreError('aborted', 'interrupted while waiting for memory for unsaved bytes'));
  t.equal(file.size, 384 * KIB);
  hold.release();
  await saving;
  t.equal(s.spool.memory.held, 0);
});

t.test('a copy between files', async t => {
  const s = setup(t);
  const from = s.openForeign(pattern(300 * KIB, 1));
  const to = s.open();
  t.equal(await from.copyRange(from, 0, 400 * KIB, 1000), 1000, 'within a file');
  t.equal(await to.copyRange(from, 1000, 500, 250 * KIB), 250 * KIB);
  const expected = new Uint8Array(500 + 250 * KIB);
  expected.set(pattern(300 * KIB, 1).subarray(1000, 1000 + 250 * KIB), 500);
  t.ok(equal(await readAll(to), expected));
  t.equal(await to.copyRange(from, from.size, 0, 10), 0, 'nothing beyond the end');
});

t.test('a read that our own save has overtaken is answered from what is there now', async t => {
  const s = setup(t);
  const file = s.openForeign(pattern(300 * KIB, 1));
  await file.write(0, pattern(40 * KIB, 2));
  const hold = s.store.hold('GetObject');
  const reading = Promise.resolve(file.read(250 * KIB, 1000));
  await hold.reached;
  await file.save();
  hold.release();
  t.ok(equal(bytesOf(await reading), pattern(300 * KIB, 1).subarray(250 * KIB, 250 * KIB + 1000)));
});

t.test('a file larger than an object is refused at the write', async t => {
  const s = setup(t);
  const file = s.open();
  t.throws(() => file.write(64 * MIB, pattern(1, 1)), { code: 'EFBIG' });
  t.throws(() => file.truncate(64 * MIB + 1), { code: 'EFBIG' });
  t.equal(file.size, 0);
});

t.test('a save whose answer was lost is found done, not taken for another client', async t => {
  for (const [size, operation] of [
    [1000, 'PutObject'],
    [300 * KIB, 'CompleteMultipartUpload'],
  ] as const) {
    const s = setup(t);
    const file = s.open();
    await file.write(0, pattern(size, 1));
    s.store.failNext(operation, 'timeout', { workDone: true });
    t.equal(await kindOf(file.save()), 'timeout');
    t.ok(file.unsaved, 'nobody knows yet');
    const saved = await file.save();
    t.equal(s.store.count(operation), 1, 'nothing is sent again');
    t.equal(saved?.written.etag, s.store.info('file')?.etag);
    t.notOk(file.unsaved);
    t.ok(equal(await readAll(file), pattern(size, 1)));
  }
});

t.test('what was written after a lost answer is saved over it', async t => {
  const s = setup(t);
  const bytes = pattern(300 * KIB, 1);
  const file = s.openForeign(bytes);
  await file.write(1000, pattern(10, 2));
  s.store.failNext('CompleteMultipartUpload', 'unavailable', { workDone: true });
  t.equal(await kindOf(file.save()), 'unavailable');
  await file.write(2000, pattern(10, 3));
  bytes.set(pattern(10, 2), 1000);
  bytes.set(pattern(10, 3), 2000);
  t.ok(
    equal(bytesOf(await file.read(290 * KIB, 1000)), bytes.subarray(290 * KIB, 291 * KIB - 24)),
    'and read meanwhile',
  );
  const saved = await file.save();
  t.ok(equal(s.store.bytes('file'), bytes));
  t.equal(saved?.content, file.stored);
  t.notOk(file.unsaved);
});

t.test('another client after a lost answer is still a conflict', async t => {
  const s = setup(t);
  const file = s.open();
  await file.write(0, pattern(1000, 1));
  s.store.failNext('PutObject', 'timeout');
  t.equal(await kindOf(file.save()), 'timeout');
  s.store.putForeign('file', 'theirs');
  t.equal(await kindOf(file.save()), 'precondition-failed');
  t.equal(s.store.text('file'), 'theirs');
  t.ok(equal(await readAll(file), pattern(1000, 1)));
});
