import t from 'tap';
import { FsError, isStoreError } from '../../src/errors.ts';
import { bytesOf, eager, KIB, MIB, pattern, type Setup, setup } from '../support/file-contents.ts';

const equal = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
const stored = (s: Setup, key = s.target.key): Uint8Array => s.store.bytes(key)!;

t.test('a file copied whole onto a new one is one copy on the server', async t => {
  const s = setup(t);
  const bytes = pattern(300 * KIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.open();
  t.equal(await to.copyRange(from, 0, 0, 10 * MIB), 300 * KIB);
  t.equal(to.size, 300 * KIB);
  t.ok(to.isBorrowing);
  t.ok(equal(bytesOf(await to.read(1000, 5000)), bytes.subarray(1000, 6000)), 'read before it is saved');
  s.store.resetCalls();
  const saved = await to.save();
  t.ok(equal(stored(s), bytes));
  t.same(
    s.store.calls.map(call => call.operation),
    ['CopyObject'],
  );
  t.equal(saved?.content.size, 300 * KIB);
  t.notOk(to.unsaved);
  t.notOk(to.isBorrowing);
  t.ok(equal(bytesOf(await from.read(0, 300 * KIB)), bytes), 'the cached blocks of the source are still its own');
});

t.test('in pieces, as the kernel asks for more than 2 GiB', async t => {
  const s = setup(t);
  const bytes = pattern(300 * KIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.open();
  for (let at = 0; at < bytes.length; ) at += await to.copyRange(from, at, at, 127 * KIB);
  s.store.resetCalls();
  await to.save();
  t.ok(equal(stored(s), bytes));
  t.same(
    s.store.calls.map(call => call.operation),
    ['CopyObject'],
  );
});

t.test('what is changed after the copy is all that travels', async t => {
  const s = setup(t);
  const bytes = pattern(400 * KIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.open();
  await to.copyRange(from, 0, 0, bytes.length);
  await to.write(200 * KIB, pattern(100, 2));
  await to.truncate(390 * KIB);
  await to.write(390 * KIB, pattern(50, 3));
  s.store.resetCalls();
  await to.save();
  const expected = bytes.slice(0, 390 * KIB + 50);
  expected.set(pattern(100, 2), 200 * KIB);
  expected.set(pattern(50, 3), 390 * KIB);
  t.ok(equal(stored(s), expected));
  t.ok(s.store.count('UploadPartCopy') >= 2, 'parts of the source');
  t.equal(s.store.count('CopyObject'), 0);
});

t.test('over an existing object that was cut to nothing', async t => {
  const s = setup(t);
  const bytes = pattern(100 * KIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.openForeign(pattern(50 * KIB, 9));
  to.reset();
  await to.copyRange(from, 0, 0, bytes.length);
  s.store.resetCalls();
  await to.save();
  t.ok(equal(stored(s), bytes));
  t.same(
    s.store.calls.map(call => call.operation),
    ['CopyObject'],
  );
});

t.test('before its source is replaced or goes, a copy gets bytes of its own', async t => {
  for (const size of [10 * KIB, 500 * KIB]) {
    const s = setup(t);
    const bytes = pattern(size, 1);
    const from = s.openOther('from', bytes);
    const to = s.open();
    await to.copyRange(from, 0, 0, size);
    await to.write(3000, pattern(10, 4));
    const there = from.stored!;
    await there.leave(async () => {
      t.notOk(to.isBorrowing);
      t.notOk(await to.copyRange(from, 0, 0, 0), 'nothing begins to refer to what goes');
      s.store.deleteForeign('from');
    });
    await to.save();
    const expected = bytes.slice();
    expected.set(pattern(10, 4), 3000);
    t.ok(equal(stored(s), expected));
    if (size > 100 * KIB) t.ok(s.store.count('UploadPartCopy') > 0, 'whole parts did not pass here');
  }
});

t.test('a save that is under way is waited for before the source goes', async t => {
  const s = setup(t);
  const bytes = pattern(60 * KIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.open();
  await to.copyRange(from, 0, 0, bytes.length);
  const hold = s.store.hold('CopyObject');
  const saving = to.save();
  await hold.reached;
  let gone = false;
  const leaving = from.stored!.leave(async () => {
    gone = true;
  });
  await new Promise(resolve => setImmediate(resolve));
  t.notOk(gone);
  hold.release();
  await Promise.all([saving, leaving]);
  t.ok(gone);
  t.ok(equal(stored(s), bytes));
});

t.test('another client was faster: the save says so, and it is no conflict over the name', async t => {
  for (const change of ['other', undefined]) {
    const s = setup(t);
    const from = s.openOther('from', pattern(60 * KIB, 1));
    const to = s.open();
    await to.copyRange(from, 0, 0, 60 * KIB);
    if (change) s.store.putForeign('from', change);
    else s.store.deleteForeign('from');
    const error = await to.save().then(
      () => undefined,
      (failure: unknown) => failure,
    );
    t.ok(error instanceof FsError);
    t.equal((error as FsError).code, 'ESTALE');
    t.ok(to.unsaved);
    await to.discard();
    t.equal(from.stored!.borrowers.size, 0);
  }
});

t.test('a store that does not copy is sent the bytes', async t => {
  const s = setup(t);
  const bytes = pattern(40 * KIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.open();
  await to.copyRange(from, 0, 0, bytes.length);
  s.store.failNext('CopyObject', 'not-implemented');
  await to.save();
  t.ok(equal(stored(s), bytes));
});

t.test('whole parts in the midst of a file are copied, the edges travel', async t => {
  const s = setup(t);
  const bytes = pattern(3 * MIB, 1);
  const from = s.openOther('from', bytes);
  const to = s.open();
  await to.write(0, pattern(10 * KIB, 2));
  s.store.resetCalls();
  t.equal(await to.copyRange(from, 5 * KIB, 10 * KIB, 2 * MIB), 2 * MIB);
  t.ok(s.store.count('UploadPartCopy') > 0);
  t.ok(to.hasSentRanges);
  const got = s.store.calls
    .filter(({ operation }) => operation === 'GetObject')
    .reduce((sum, { bytes: length }) => sum + (length ?? 0), 0);
  t.ok(got <= 4 * 128 * KIB, `${got} bytes of edges`);
  await to.save();
  const expected = new Uint8Array(10 * KIB + 2 * MIB);
  expected.set(pattern(10 * KIB, 2));
  expected.set(bytes.subarray(5 * KIB, 5 * KIB + 2 * MIB), 10 * KIB);
  t.ok(equal(stored(s), expected));
});

t.test('a copy on the server that fails costs nothing but the attempt', async t => {
  for (const kind of ['precondition-failed', 'not-implemented', 'unavailable'] as const) {
    const s = setup(t, { clock: eager });
    const bytes = pattern(500 * KIB, 1);
    const from = s.openOther('from', bytes);
    const to = s.open();
    await to.write(0, pattern(10, 2));
    s.store.failNext('UploadPartCopy', kind, { times: 100 });
    t.equal(await to.copyRange(from, 0, 10, bytes.length), bytes.length);
    await to.save();
    t.ok(equal(stored(s).subarray(10), bytes), kind);
  }
});

t.test('bytes of a source that has them only here go through memory', async t => {
  const s = setup(t);
  const from = s.openOther('from', pattern(100 * KIB, 1));
  await from.write(50 * KIB, pattern(10, 5));
  const to = s.open();
  t.equal(await to.copyRange(from, 0, 0, 100 * KIB), 100 * KIB);
  t.notOk(to.isBorrowing);
  await to.save();
  t.ok(equal(stored(s).subarray(50 * KIB, 50 * KIB + 10), pattern(10, 5)));
});

t.test('what has lost its name is not borrowed from', async t => {
  const s = setup(t);
  const from = s.openOther('from', pattern(10 * KIB, 1));
  from.keepLocal();
  const to = s.open();
  await to.copyRange(from, 0, 0, 10 * KIB);
  t.notOk(to.isBorrowing);
});

t.test('a large hole is copied from an object of zeros, which is gone after that', async t => {
  const s = setup(t);
  const file = s.open();
  await file.write(0, pattern(40 * KIB, 1));
  await file.truncate(4 * MIB);
  await file.write(4 * MIB, pattern(100, 2));
  await file.save();
  const expected = new Uint8Array(4 * MIB + 100);
  expected.set(pattern(40 * KIB, 1));
  expected.set(pattern(100, 2), 4 * MIB);
  t.ok(equal(stored(s), expected));
  t.same(s.store.keys(), ['file']);
  const sent = s.store.calls
    .filter(({ operation }) => operation === 'UploadPart' || operation === 'PutObject')
    .reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
  t.ok(sent < 700 * KIB, `${sent} bytes were sent`);
});

t.test('no object of zeros can be made: zeros are sent', async t => {
  for (const kind of ['forbidden', 'unavailable'] as const) {
    const s = setup(t, { clock: eager });
    const file = s.open();
    await file.truncate(2 * MIB);
    s.store.failNext('PutObject', kind);
    await file.save();
    t.ok(equal(stored(s), new Uint8Array(2 * MIB)));
    t.same(s.store.keys(), ['file']);
  }
});

t.test('the object of zeros goes away under a save: it is no conflict, and the next save succeeds', async t => {
  const s = setup(t, { clock: eager });
  const file = s.open();
  await file.truncate(2 * MIB);
  s.store.failNext('UploadPartCopy', 'precondition-failed');
  const error = await file.save().catch((failure: unknown) => failure);
  t.ok(isStoreError(error, 'unavailable'));
  t.same(s.store.keys(), []);
  await file.save();
  t.ok(equal(stored(s), new Uint8Array(2 * MIB)));
});
