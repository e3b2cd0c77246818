import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import { bytesOf, KIB, pattern, setup } from '../support/file-contents.ts';

t.test('a part that came late costs one more upload, not the save', async t => {
  const s = setup(t);
  const file = s.open();
  await file.write(0, pattern(200 * KIB, 1));
  s.store.failNext(
    'CompleteMultipartUpload',
    new StoreError('invalid', 'InvalidPart', { operation: 'CompleteMultipartUpload', s3Code: 'InvalidPart' }),
  );
  await file.save();
  t.equal(Buffer.compare(s.store.bytes('file')!, pattern(200 * KIB, 1)), 0);
  t.equal(s.store.count('CreateMultipartUpload'), 2);
  t.equal(s.store.openUploads, 0);
});

t.test('a refused read of the base is told apart from a refused target', async t => {
  const s = setup(t);
  for (const [size, isOfBase] of [
    [40 * KIB, true],
    [300 * KIB, true],
    [0, undefined],
  ] as const) {
    const file = s.openForeign(pattern(size, 1));
    await file.write(size, Buffer.from('ours'));
    s.store.putForeign('file', 'theirs');
    const error = await file.save().catch((error: unknown) => error);
    t.ok(error instanceof StoreError);
    t.same([(error as StoreError).kind, (error as StoreError).details.isOfBase], ['precondition-failed', isOfBase]);
    await file.discard();
  }
});

t.test('what of a lost base is in memory stays, all else is zeros', async t => {
  const s = setup(t);
  const base = pattern(500 * KIB, 2);
  const file = s.openForeign(base);
  bytesOf(await file.read(130 * KIB, 100));
  await file.write(400 * KIB, Buffer.from('ours'));
  s.store.putForeign('file', 'theirs');
  const inMemory = 128 * KIB;
  t.equal(file.loseBase(), 500 * KIB - inMemory - 4);
  t.equal(file.loseBase(), 0, 'once');
  s.target.condition = undefined;
  s.store.resetCalls();
  await file.save();
  const asked = s.store.calls.filter(call => call.operation === 'GetObject' || call.source?.key === 'file');
  t.same(asked, [], 'nothing of the base is asked for');
  const saved = Buffer.from(s.store.bytes('file')!);
  const expected = Buffer.alloc(500 * KIB);
  expected.set(base.subarray(128 * KIB, 256 * KIB), 128 * KIB);
  expected.write('ours', 400 * KIB);
  t.ok(saved.equals(expected));
  t.equal(String(Buffer.from(bytesOf(await file.read(400 * KIB, 4)))), 'ours');
});
