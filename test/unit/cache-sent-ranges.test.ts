/** Parts that leave memory once the store has them: who writes in sequence needs no disk, and no byte is lost by it. */
import t from 'tap';
import type { FileContent } from '../../src/cache/file-content.ts';
import { StoreError } from '../../src/errors.ts';
import type { ObjectInfo } from '../../src/s3/store.ts';
import {
  bytesOf,
  eager,
  KIB,
  MIB,
  pattern,
  type Setup,
  type SetupOptions,
  setup,
  TINY_LIMITS,
} from '../support/file-contents.ts';

const PART = 128 * KIB;

/** Parts of one block each; the share of memory holds eight, and the first leaves it when six are held. */
const SMALL: SetupOptions = {
  budget: 2 * MIB,
  sizes: { singlePut: 2 * PART, part: PART, copyPart: 2 * PART, maxCopyPart: 4 * PART, copies: 2, zeros: 64 * MIB },
  // So many that the parts of a few MiB are all of the first size.
  limits: { ...TINY_LIMITS, maxParts: 2000 },
};

const turns = async (count = 50): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve));
};

const kindOf = (work: unknown): Promise<string> =>
  Promise.resolve(work).then(
    () => 'no error',
    error => (error instanceof StoreError ? error.kind : String(error)),
  );

const equal = (a: Uint8Array | undefined, b: Uint8Array): boolean => a !== undefined && Buffer.compare(a, b) === 0;

/** Appends `bytes` in pieces as programs do; returns how much was in the spool at most. */
async function writeInOrder(s: Setup, file: FileContent, bytes: Uint8Array, piece = 50_000): Promise<number> {
  let spooled = 0;
  for (let at = 0; at < bytes.length; at += piece) {
    await file.write(file.size, bytes.subarray(at, at + piece));
    spooled = Math.max(spooled, s.spool.used);
  }
  return spooled;
}

/** In pieces, as the kernel reads: the whole is more than there is memory. */
async function readAll(file: FileContent): Promise<Uint8Array> {
  const all = new Uint8Array(file.size);
  for (let at = 0; at < all.length; at += PART) all.set(bytesOf(await file.read(at, PART)), at);
  return all;
}

/** A file of 4 MiB, written in order, half of it or more let go. */
async function largeFile(s: Setup): Promise<{ file: FileContent; bytes: Uint8Array }> {
  const file = s.open();
  const bytes = pattern(4 * MIB, 1);
  await writeInOrder(s, file, bytes);
  await turns();
  return { file, bytes };
}

/** In a file written in order in little memory, what lies here has left it: it is not in the first part. */
const LEFT = PART + 1000;

t.test('a writer in sequence never touches the disk, and needs none', async t => {
  for (const spool of [{}, false] as const) {
    const s = setup(t, { ...SMALL, spool });
    const file = s.open();
    const bytes = pattern(8 * MIB, 1);
    t.equal(await writeInOrder(s, file, bytes), 0, 'nothing spooled');
    t.ok(s.spool.memory.held <= s.spool.memory.limit);
    t.ok(file.hasSentRanges);
    t.equal(file.unsavedBytes, bytes.length);
    t.equal(file.allocatedBytes, bytes.length);
    t.equal(file.seek(0, 'hole'), bytes.length);
    await file.save();
    t.ok(equal(s.store.bytes('file'), bytes));
    t.notOk(file.hasSentRanges);
    t.notOk(file.unsaved);
    t.equal(s.store.count('CreateMultipartUpload'), 1);
    t.equal(s.store.count('UploadPart'), 64, 'no part was sent twice');
    t.equal(s.owner.recalls, 0);
  }
});

t.test('also where the share of memory is hardly more than two parts', async t => {
  const sizes = { singlePut: 1024 * KIB, part: 512 * KIB, copyPart: MIB, maxCopyPart: MIB, copies: 2, zeros: 64 * MIB };
  const s = setup(t, { budget: 2 * MIB, spool: false, sizes });
  const file = s.open();
  const bytes = pattern(5 * MIB + 77, 1);
  await writeInOrder(s, file, bytes, 131_072);
  await file.save();
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('several writers in sequence share the memory without a disk', async t => {
  const s = setup(t, { ...SMALL, budget: 4 * MIB, spool: false });
  const bytes = pattern(3 * MIB, 1);
  const files = Array.from({ length: 3 }, () => s.open());
  await Promise.all(files.map(file => writeInOrder(s, file, bytes)));
  await files[0]!.save();
  await files[1]!.discard();
  await files[2]!.discard();
  t.ok(equal(s.store.bytes('file'), bytes));
  t.equal(s.spool.memory.held, 0);
  t.equal(s.store.openUploads, 0);
});

t.test('a read of what was let go completes the upload, once for all who wait', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  const reads = [LEFT, LEFT + PART, LEFT].map(at => Promise.resolve(file.read(at, 1000)));
  for (const [i, read] of reads.entries()) {
    const at = [LEFT, LEFT + PART, LEFT][i]!;
    t.ok(equal(bytesOf(await read), bytes.subarray(at, at + 1000)));
  }
  t.equal(s.owner.recalls, 1);
  t.equal(s.store.count('CompleteMultipartUpload'), 1);
  t.notOk(file.unsaved, 'all of it is stored now');
  const more = pattern(2 * MIB, 2);
  await writeInOrder(s, file, more);
  const whole = new Uint8Array(6 * MIB);
  whole.set(bytes);
  whole.set(more, 4 * MIB);
  await file.save();
  t.ok(equal(s.store.bytes('file'), whole), 'and the writer goes on over it');
});

t.test('a read of what is still in memory asks nobody', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  t.ok(equal(bytesOf(await file.read(0, 1000)), bytes.subarray(0, 1000)), 'the header');
  t.ok(equal(bytesOf(await file.read(4 * MIB - 1000, 1000)), bytes.subarray(4 * MIB - 1000)), 'the end');
  t.equal(s.owner.recalls, 0);
});

t.test('a header written last costs its part, not a save', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  await file.write(0, pattern(64, 9));
  bytes.set(pattern(64, 9));
  t.equal(s.owner.recalls, 0);
  await file.save();
  t.ok(equal(s.store.bytes('file'), bytes));
  t.equal(s.store.count('UploadPart'), 33);
});

t.test('changes of what was let go are made over the stored object', async t => {
  const changes: readonly [string, (file: FileContent, model: Uint8Array) => unknown][] = [
    [
      'write',
      (file, model) => {
        model.set(pattern(300, 7), LEFT);
        return file.write(LEFT, pattern(300, 7));
      },
    ],
    [
      'zero',
      (file, model) => {
        model.fill(0, LEFT, LEFT + 5000);
        return file.zero(LEFT, 5000);
      },
    ],
    [
      'copy into',
      (file, model) => {
        model.copyWithin(LEFT, 0, 5000);
        return file.copyRange(file, 0, LEFT, 5000);
      },
    ],
    [
      'copy out of',
      (file, model) => {
        model.copyWithin(4 * MIB - 5000, LEFT, LEFT + 5000);
        return file.copyRange(file, LEFT, 4 * MIB - 5000, 5000);
      },
    ],
  ];
  for (const [name, change] of changes) {
    const s = setup(t, SMALL);
    const { file, bytes } = await largeFile(s);
    await change(file, bytes);
    t.equal(s.owner.recalls, 1, name);
    t.ok(equal(await readAll(file), bytes), `${name}: read`);
    await file.save();
    t.ok(equal(s.store.bytes('file'), bytes), `${name}: stored`);
  }
});

t.test('what is cut off whole need not be had back', async t => {
  for (const [size, recalls] of [
    [LEFT, 1],
    [1000, 0],
    [0, 0],
  ] as const) {
    const s = setup(t, SMALL);
    const { file, bytes } = await largeFile(s);
    await file.truncate(size);
    t.equal(s.owner.recalls, recalls, `cut to ${size}`);
    await file.truncate(300 * KIB);
    const expected = new Uint8Array(300 * KIB);
    expected.set(bytes.subarray(0, size));
    t.ok(equal(await readAll(file), expected));
    await file.save();
    t.ok(equal(s.store.bytes('file'), expected));
    await turns();
    t.equal(s.store.openUploads, 0);
  }
});

t.test('O_TRUNC gives up what was let go', async t => {
  const s = setup(t, SMALL);
  const { file } = await largeFile(s);
  file.reset();
  t.notOk(file.hasSentRanges);
  await file.save();
  t.equal(s.store.bytes('file')?.length, 0);
  await turns();
  t.equal(s.store.openUploads, 0);
});

t.test('O_TRUNC during a save that meets another write: there is nothing to be sent again', async t => {
  const s = setup(t, { ...SMALL, clock: eager });
  const { file } = await largeFile(s);
  s.store.failNext('CompleteMultipartUpload', 'no-such-upload');
  const hold = s.store.hold('CompleteMultipartUpload');
  const saving = kindOf(file.save());
  await hold.reached;
  file.reset();
  await file.write(0, pattern(1000, 3));
  hold.release();
  t.equal(await saving, 'no-such-upload');
  await file.save();
  t.ok(equal(s.store.bytes('file'), pattern(1000, 3)));
});

t.test('a save that fails leaves the upload, and the next one completes it', async t => {
  for (const kind of ['unavailable', 'timeout', 'forbidden', 'conflict'] as const) {
    const s = setup(t, { ...SMALL, clock: eager });
    const { file, bytes } = await largeFile(s);
    s.store.failNext('CompleteMultipartUpload', kind, { times: 1 });
    if (kind !== 'conflict') t.equal(await kindOf(file.save()), kind);
    t.ok(file.hasSentRanges);
    const parts = s.store.count('UploadPart');
    await file.save();
    t.ok(equal(s.store.bytes('file'), bytes), kind);
    t.equal(s.store.count('CreateMultipartUpload'), 1);
    t.ok(s.store.count('UploadPart') - parts <= (kind === 'conflict' ? 1 : 0), 'nothing is sent again');
  }
});

t.test('a read that cannot have its bytes back says why, and can be tried again', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  s.store.failNext('CompleteMultipartUpload', 'unavailable');
  t.equal(await kindOf(file.read(LEFT, 1000)), 'unavailable');
  t.ok(equal(bytesOf(await file.read(LEFT, 1000)), bytes.subarray(LEFT, LEFT + 1000)));
});

t.test('who waits for a recall can be interrupted', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  const hold = s.store.hold('CompleteMultipartUpload');
  const stop = new AbortController();
  const waiting = file.read(LEFT, 1000, undefined, stop);
  const patient = file.read(LEFT, 1000);
  await hold.reached;
  stop.abort();
  t.equal(await kindOf(waiting), 'aborted');
  hold.release();
  t.ok(equal(bytesOf(await patient), bytes.subarray(LEFT, LEFT + 1000)));
});

t.test('an answer that was lost is settled without the bytes', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  s.store.failNext('CompleteMultipartUpload', 'timeout', { workDone: true });
  t.equal(await kindOf(file.save()), 'timeout');
  await file.save();
  t.equal(s.store.count('CompleteMultipartUpload'), 1);
  t.notOk(file.hasSentRanges);
  t.ok(equal(await readAll(file), bytes));
});

t.test('an answer that was lost, where KMS makes the ETags', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  s.store.failNext('CompleteMultipartUpload', 'timeout', { workDone: true });
  t.equal(await kindOf(file.save()), 'timeout');
  s.store.intercept(async (call, proceed) => {
    const answer = await proceed();
    if (call.operation !== 'HeadObject') return answer;
    const info = answer as ObjectInfo;
    const description = { ...info.description, encryption: { algorithm: 'aws:kms' } };
    return { ...info, etag: info.etag.replace(/[0-9a-f]{8}/, '00000000'), description };
  });
  await file.save();
  t.notOk(file.unsaved);
  t.equal(s.store.count('CompleteMultipartUpload'), 1);
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test("another client's version is not replaced unasked, and the upload waits for a decision", async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  const { etag } = s.store.putForeign('file', 'theirs');
  t.equal(await kindOf(file.save()), 'precondition-failed');
  t.equal(s.store.text('file'), 'theirs');
  t.equal(s.store.openUploads, 1);
  await file.save(undefined, { ifMatch: etag });
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('an upload that somebody else has aborted', async t => {
  const s = setup(t, SMALL);
  const { file, bytes } = await largeFile(s);
  s.store.abortUploads();
  const error = await file.save().then(
    () => undefined,
    (caught: unknown) => caught,
  );
  t.ok(error instanceof StoreError && error.kind === 'no-such-upload');
  t.match((error as Error).message, /file: another client or a lifecycle rule of the bucket aborted it/);
  t.match((error as Error).message, /^S3 no longer has the upload in progress of file.* [1-9]\d* bytes .* are lost/);
  const requests = s.store.count();
  t.equal(await kindOf(file.save()), 'no-such-upload', 'told again');
  t.equal(await kindOf(file.read(LEFT, 100)), 'no-such-upload');
  t.equal(await kindOf(file.write(LEFT, pattern(10, 1))), 'no-such-upload');
  t.equal(s.store.count(), requests, 'without asking again');
  t.ok(file.unsaved);
  t.ok(equal(bytesOf(await file.read(0, 1000)), bytes.subarray(0, 1000)), 'what is at hand stays');
  const end = bytes.subarray(4 * MIB - 1000);
  t.ok(equal(bytesOf(await file.read(4 * MIB - 1000, 1000)), end));
  file.reset();
  await file.write(0, pattern(3 * PART, 5));
  await file.save();
  t.ok(equal(s.store.bytes('file'), pattern(3 * PART, 5)), 'written again it is saved');
});

t.test('an upload whose end is noticed while writing: what is at hand stays there', async t => {
  const s = setup(t, { ...SMALL, spool: {} });
  const { file } = await largeFile(s);
  s.store.abortUploads();
  const before = file.unsavedBytes;
  await writeInOrder(s, file, pattern(2 * MIB, 3));
  await turns();
  t.equal(file.unsavedBytes, before + 2 * MIB);
  t.ok(s.spool.used > 0, 'nothing more was let go of');
  t.ok(equal(bytesOf(await file.read(4 * MIB + 500, 1000)), pattern(2 * MIB, 3).subarray(500, 1500)));
  t.equal(await kindOf(file.save()), 'no-such-upload');
});

t.test('what may not be let go of goes to the spool', async t => {
  const bytes = pattern(4 * MIB, 1);
  const kept = setup(t, { ...SMALL, keepSent: true });
  t.ok((await writeInOrder(kept, kept.open(), bytes)) > MIB, 'keepSent');

  const moving = setup(t, SMALL);
  moving.owner.isNameSettled = false;
  t.ok((await writeInOrder(moving, moving.open(), bytes)) > MIB, 'while the name may change');

  const backwards = setup(t, SMALL);
  const file = backwards.open();
  for (let at = bytes.length - 32 * KIB; at >= 0; at -= 32 * KIB) {
    await file.write(at, bytes.subarray(at, at + 32 * KIB));
  }
  t.ok(backwards.spool.used > MIB, 'written out of order');
  t.notOk(file.hasSentRanges);
  await file.save();
  t.ok(equal(backwards.store.bytes('file'), bytes));

  const failing = setup(t, SMALL);
  failing.store.failNext('UploadPart', 'unavailable', { times: 1000 });
  t.ok((await writeInOrder(failing, failing.open(), bytes)) > MIB, 'where the store takes nothing');
});

t.test('who wants bytes back again and again keeps the rest at hand', async t => {
  const s = setup(t, SMALL);
  const file = s.open();
  const bytes = pattern(12 * MIB, 1);
  for (let i = 0; i < 4; i++) {
    await writeInOrder(s, file, bytes.subarray(i * 3 * MIB, (i + 1) * 3 * MIB));
    const at = i * 3 * MIB + MIB;
    t.ok(equal(bytesOf(await file.read(at, 100)), bytes.subarray(at, at + 100)));
  }
  t.equal(s.owner.recalls, 2);
  t.ok(s.spool.used > 0);
  await file.save();
  t.ok(equal(s.store.bytes('file'), bytes));
});

t.test('parts are waited for rather than spooled, and spooled once they have failed', async t => {
  const s = setup(t, SMALL);
  const file = s.open();
  const hold = s.store.hold('UploadPart');
  const writing = writeInOrder(s, file, pattern(4 * MIB, 1));
  await hold.reached;
  await turns(200);
  t.ok(file.size < 1.2 * MIB, 'the writer waits');
  t.equal(s.spool.used, 0);
  s.store.failNext('UploadPart', 'unavailable', { times: 1000 });
  hold.release();
  await writing;
  t.equal(file.size, 4 * MIB);
  t.ok(s.spool.used > 0);
  t.ok(file.unsaved);
});

t.test('with nothing on its way and nothing to let go of a writer gets ENOSPC', async t => {
  const s = setup(t, { ...SMALL, spool: false });
  s.store.failNext('UploadPart', 'unavailable', { times: 1000 });
  await t.rejects(writeInOrder(s, s.open(), pattern(4 * MIB, 1)), { code: 'ENOSPC' });
});

t.test('discard gives the upload up', async t => {
  const s = setup(t, SMALL);
  const { file } = await largeFile(s);
  await file.discard();
  t.equal(s.store.openUploads, 0);
  t.equal(s.spool.memory.held, 0);
  t.notOk(file.hasSentRanges);
});

t.test('a part that leaves memory during a save is part of it', async t => {
  const s = setup(t, SMALL);
  const file = s.open();
  const bytes = pattern(5 * PART, 1);
  await writeInOrder(s, file, bytes);
  await turns();
  t.notOk(file.hasSentRanges, 'no pressure yet');
  const hold = s.store.hold('CompleteMultipartUpload');
  const saving = file.save();
  await hold.reached;
  const other = s.open();
  // Two blocks more than six of eight: enough to let go of some of the file that is being saved.
  await other.write(0, pattern(3 * PART - 1, 2));
  await turns();
  t.ok(file.hasSentRanges);
  const recalled = file.read(LEFT, 100);
  hold.release();
  await saving;
  t.ok(equal(s.store.bytes('file'), bytes));
  t.notOk(file.hasSentRanges);
  t.ok(equal(bytesOf(await recalled), bytes.subarray(LEFT, LEFT + 100)));
  await other.discard();
  t.equal(s.spool.memory.held, 0);
});
