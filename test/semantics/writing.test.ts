/** Writing: one test for each statement of docs/SEMANTICS.md, named by it. */
import t from 'tap';
import { UPLOAD_SIZES } from '../../src/cache/upload-plan.ts';
import { StoreError } from '../../src/errors.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, SEEK_DATA, SEEK_HOLE } from '../../src/fuse/ops.ts';
import type { Descriptor } from '../support/fake-kernel.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import { errnoOf, O_APPEND, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from './support.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const FALLOC_FL_COLLAPSE_RANGE = 8;
const FALLOC_FL_INSERT_RANGE = 32;

/** S3's own least part would need megabytes in every test. */
const SMALL_PARTS = {
  storeOptions: { limits: { minPartSize: 64 * KIB } },
  sizes: { ...UPLOAD_SIZES, singlePut: 512 * KIB, part: 256 * KIB, copyPart: 256 * KIB, maxCopyPart: MIB },
};

t.test('W1 saved when close and fsync return', async t => {
  const { kernel, store } = makeFileSystem();
  const open = await kernel.open('/f', O_WRONLY | O_CREAT);
  await kernel.write(open, 0, Buffer.from('one'));
  await kernel.fsync(open);
  t.equal(store.text('f'), 'one');
  await kernel.write(open, 3, Buffer.from(' two'));
  store.failNext('PutObject', 'unavailable');
  t.equal(await errnoOf(kernel.fsync(open)), 'EIO');
  store.failNext('PutObject', 'forbidden');
  t.equal(await errnoOf(kernel.close(open)), 'EACCES');
  await kernel.writeFile('/g', 'closed');
  t.equal(store.text('g'), 'closed');
  await kernel.close(await kernel.open('/lock', O_CREAT));
  t.equal(store.text('lock'), '', 'made by a program that only reads it, as flock(1) does');
});

t.test('W1 what is written while fsync waits is left to the next', async t => {
  const { kernel, store } = makeFileSystem();
  const [file, other] = [await kernel.open('/f', O_WRONLY | O_CREAT), await kernel.open('/f', O_WRONLY)];
  await kernel.write(file, 0, Buffer.from('a-'));
  let writes = 0;
  store.intercept(async (call, proceed) => {
    if (call.operation === 'PutObject' && writes++ < 10) await kernel.write(other, 1, Buffer.from('b'));
    return proceed();
  });
  await kernel.fsync(file);
  t.same([store.text('f'), writes], ['a-', 1]);
});

t.test('W2 seen at once in the mount', async t => {
  const { kernel, store } = makeFileSystem();
  const writer = await kernel.open('/d.log', O_WRONLY | O_CREAT);
  await kernel.write(writer, 0, Buffer.from('line'));
  t.same(await kernel.names('/'), ['d.log']);
  t.equal((await kernel.stat('/d.log')).size, 4);
  const reader = await kernel.open('/d.log', O_RDONLY);
  t.equal(String(await kernel.read(reader, 0, 100)), 'line');
  await kernel.write(writer, 4, Buffer.from(' more'));
  t.equal(String(await kernel.read(reader, 4, 100)), ' more', 'as tail -f');
  t.same(store.keys(), []);
});

t.test('W3 others see the old or the new', async t => {
  const { kernel, store } = makeFileSystem(SMALL_PARTS);
  await kernel.writeFile('/f', 'old');
  const open = await kernel.open('/f', O_WRONLY | O_TRUNC);
  await kernel.write(open, 0, Buffer.alloc(2 * MIB, 'n'));
  await new Promise(resolve => setImmediate(resolve));
  t.equal(store.text('f'), 'old');
  await kernel.close(open);
  t.equal(store.text('f')?.length, 2 * MIB);
  t.equal(store.count('CompleteMultipartUpload'), 1);
});

t.test('W4 nothing changed, no request', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  store.resetCalls();
  await kernel.close(await kernel.open('/f', O_RDWR));
  await kernel.close(await kernel.open('/f', O_WRONLY | O_APPEND));
  t.equal(store.count(), 0);
});

t.test('W5 a failed save is tried again', async t => {
  const { kernel, store, clock } = makeFileSystem();
  // The close, the release after it, and the first try on its own.
  store.failNext('PutObject', 'unavailable', { times: 3 });
  t.equal(await errnoOf(kernel.writeFile('/f', 'bytes')), 'EIO');
  t.equal(store.count('PutObject'), 2, 'at once, when the last handle goes');
  t.equal(String(await kernel.readFile('/f')), 'bytes');
  await clock.advance(1900);
  t.equal(store.count('PutObject'), 2, 'then after two seconds');
  for (let waited = 0; waited < 8000 && store.text('f') === undefined; waited += 100) await clock.advance(100);
  t.equal(store.text('f'), 'bytes');
  t.equal(store.count('PutObject'), 4);
  store.failNext('PutObject', 'forbidden', { times: 2 });
  t.equal(await errnoOf(kernel.writeFile('/g', 'bytes')), 'EACCES');
  await clock.advance(3_600_000);
  t.equal(store.text('g'), undefined, 'no use in trying');
  t.equal(String(await kernel.readFile('/g')), 'bytes');
  const open = await kernel.open('/g', O_WRONLY);
  await kernel.fsync(open);
  t.equal(store.text('g'), 'bytes', 'but fsync tries');
  await kernel.close(open);
  const ended = new StoreError('forbidden', 'signed out', { operation: 'PutObject', s3Code: 'ExpiredToken' });
  store.failNext('PutObject', ended, { times: 4 });
  t.equal(await errnoOf(kernel.writeFile('/h', 'bytes')), 'EACCES');
  await clock.advance(120_000);
  t.equal(store.text('h'), 'bytes', 'whoever has signed in again need not do more');
});

t.test('W6 parts while it is written, in bounded memory', async t => {
  const { kernel, store, budget } = makeFileSystem({
    ...SMALL_PARTS,
    budget: 4 * MIB,
    spool: { directory: t.testdir(), minFreeBytes: 0 },
  });
  const open = await kernel.open('/f', O_WRONLY | O_CREAT);
  let most = 0;
  for (let i = 0; i < 160; i++) {
    await kernel.write(open, i * 128 * KIB, Buffer.alloc(128 * KIB, i));
    most = Math.max(most, budget.used);
  }
  t.ok(store.count('UploadPart') > 50, 'before the close');
  t.ok(most <= 4 * MIB, `${most} bytes of 20 MiB`);
  await kernel.close(open);
  const bytes = store.bytes('f')!;
  t.equal(bytes.length, 20 * MIB);
  t.ok([0, 1, 77, 159].every(i => bytes[i * 128 * KIB] === i && bytes[(i + 1) * 128 * KIB - 1] === i));
});

t.test('W7 what others stored with it', async t => {
  const { kernel, store, clock } = makeFileSystem(SMALL_PARTS);
  const beside = {
    contentType: 'text/x-special',
    metadata: { project: 'alpha' },
    storageClass: 'STANDARD_IA',
    tags: [['team', 'blue']] as const,
  };
  const expectKept = (key: string): void => {
    const { description, tagCount } = store.info(key)!;
    t.equal(description.headers.contentType, 'text/x-special', key);
    t.equal(description.metadata['project'], 'alpha', key);
    t.equal(description.storageClass, 'STANDARD_IA', key);
    t.equal(tagCount, 1, key);
  };
  store.putForeign('small', 'x', beside);
  store.putForeign('large', Buffer.alloc(MIB, 'x'), beside);
  for (const name of ['small', 'large']) {
    const open = await kernel.open(`/${name}`, O_WRONLY);
    await kernel.write(open, 0, Buffer.from('Y'));
    await kernel.close(open);
    expectKept(name);
    await kernel.setattr(`/${name}`, { mode: 0o600 });
    await clock.advance(100);
    expectKept(name);
    await kernel.rename(`/${name}`, `/${name}.moved`);
    expectKept(`${name}.moved`);
  }
});

t.test('W8 unchanged parts are copied on the server', async t => {
  const { kernel, store } = makeFileSystem(SMALL_PARTS);
  store.putForeign('f', Buffer.alloc(8 * MIB, 'a'));
  const open = await kernel.open('/f', O_WRONLY);
  await kernel.write(open, 5 * MIB, Buffer.from('changed'));
  await kernel.close(open);
  const sent = store.calls
    .filter(({ operation }) => operation === 'UploadPart' || operation === 'PutObject')
    .reduce((sum, { bytes }) => sum + (bytes ?? 0), 0);
  t.ok(sent <= 512 * KIB, `${sent} bytes of 8 MiB`);
  t.ok(store.count('UploadPartCopy') > 0);
  const bytes = Buffer.from(store.bytes('f')!);
  t.equal(bytes.length, 8 * MIB);
  t.equal(String(bytes.subarray(5 * MIB - 1, 5 * MIB + 8)), 'achangeda');
});

t.test('W9 truncate', async t => {
  const { kernel, store } = makeFileSystem();
  await kernel.writeFile('/f', 'hello world');
  await kernel.setattr('/f', { size: 5 });
  t.equal(store.text('f'), 'hello');
  const open = await kernel.open('/f', O_WRONLY);
  await kernel.ftruncate(open, 7);
  t.equal(store.text('f'), 'hello');
  await kernel.close(open);
  t.equal(store.text('f'), 'hello\0\0');
  await kernel.writeFile('/g', 'old');
  await kernel.close(await kernel.open('/g', O_TRUNC));
  t.equal(store.text('g'), '', 'also by an open for reading');
  const truncated = await kernel.open('/f', O_WRONLY | O_TRUNC);
  t.equal(store.text('f'), 'hello\0\0');
  await kernel.close(truncated);
  t.equal(store.text('f'), '');
});

t.test('W10 fallocate', async t => {
  const { kernel, store } = makeFileSystem();
  const open = await kernel.open('/f', O_RDWR | O_CREAT);
  await kernel.write(open, 0, Buffer.from('abcdef'));
  await kernel.fallocate(open, 0, 0, 8);
  await kernel.fallocate(open, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2);
  for (const mode of [FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE]) {
    t.equal(await errnoOf(kernel.fallocate(open, mode, 0, 4096)), 'EOPNOTSUPP');
  }
  await kernel.close(open);
  t.equal(store.text('f'), 'a\0\0def\0\0');
});

t.test('W11 holes', async t => {
  const { kernel, filesystem, store } = makeFileSystem();
  store.putForeign('saved', Buffer.alloc(MIB));
  const saved = await kernel.open('/saved', O_RDONLY);
  t.equal(filesystem.lseek(saved.nodeid, saved.fh, 0, SEEK_HOLE), MIB, 'none but the end');
  const open = await kernel.open('/new', O_RDWR | O_CREAT);
  await kernel.write(open, MIB, Buffer.from('data'));
  t.equal(filesystem.lseek(open.nodeid, open.fh, 0, SEEK_DATA), MIB);
  t.equal(filesystem.lseek(open.nodeid, open.fh, 0, SEEK_HOLE), 0);

  const sparse = makeFileSystem({ ...SMALL_PARTS, sizes: { ...SMALL_PARTS.sizes, zeros: 2 * MIB } });
  const file = await sparse.kernel.open('/f', O_RDWR | O_CREAT);
  await sparse.kernel.write(file, 0, Buffer.from('begin'));
  await sparse.kernel.write(file, 16 * MIB, Buffer.from('end'));
  await sparse.kernel.close(file);
  const sent = sparse.store.calls.reduce(
    (sum, { operation, bytes }) => sum + (operation === 'UploadPart' || operation === 'PutObject' ? (bytes ?? 0) : 0),
    0,
  );
  t.ok(sent < 2.5 * MIB, `${sent} bytes for 16 MiB of zeros`);
  t.same(sparse.store.keys(), ['f'], 'the object of zeros is gone');
  const expected = Buffer.alloc(16 * MIB + 3);
  expected.write('begin');
  expected.write('end', 16 * MIB);
  t.ok(expected.equals(sparse.store.bytes('f')!));
});

t.test('W12 copy_file_range', async t => {
  const { kernel, filesystem, store } = makeFileSystem(SMALL_PARTS);
  const copy = async (
    from: string,
    fromOffset: number,
    to: string,
    offset: number,
    length: number,
  ): Promise<{ copied: number; close: () => Promise<void> }> => {
    const source = await kernel.open(from, O_RDONLY);
    const target = await kernel.open(to, O_RDWR | O_CREAT);
    const ends = [
      { fh: source.fh, offset: fromOffset },
      { fh: target.fh, offset },
    ] as const;
    const copied = await filesystem.copyFileRange(...ends, length, 0, kernel.ctx);
    await kernel.close(source);
    return { copied, close: () => kernel.close(target) };
  };
  const bytes = Buffer.alloc(3 * MIB, 'hello world');
  for (const name of ['from', 'unlinked', 'written', 'replaced', 'theirs']) store.putForeign(name, bytes);

  await kernel.stat('/from');
  store.resetCalls();
  const whole = await copy('/from', 0, '/whole', 0, 4 * MIB);
  t.equal(whole.copied, 3 * MIB);
  await kernel.setattr('/whole', { mode: 0o604 });
  await whole.close();
  t.same(
    store.calls.filter(({ key }) => key === 'whole').map(({ operation }) => operation),
    ['CopyObject'],
    'one copy',
  );
  t.ok(bytes.equals(store.bytes('whole')!));
  t.match(store.info('whole')!.description.metadata, { mode: String(0o100604) }, 'that takes along what came after it');

  store.resetCalls();
  const range = await copy('/from', 100, '/whole', 50, 2 * MIB);
  await range.close();
  t.ok(bytes.subarray(100, 100 + 2 * MIB).equals(store.bytes('whole')!.subarray(50, 50 + 2 * MIB)));
  t.ok(
    store.calls.some(({ operation, source }) => operation === 'UploadPartCopy' && source?.key === 'from'),
    'parts',
  );
  const sent = store.calls.reduce((sum, call) => sum + (call.operation === 'UploadPart' ? (call.bytes ?? 0) : 0), 0);
  t.ok(sent < 1.2 * MIB, `${sent} bytes were sent`);

  for (const name of ['unlinked', 'written', 'replaced']) {
    const early = await copy(`/${name}`, 0, `/copy-${name}`, 0, 4 * MIB);
    if (name === 'unlinked') await kernel.unlink('/unlinked');
    else if (name === 'written') await kernel.writeFile('/written', 'other');
    else {
      await kernel.writeFile('/new', 'other');
      await kernel.rename('/new', '/replaced');
    }
    await early.close();
    t.ok(bytes.equals(store.bytes(`copy-${name}`)!), name);
  }

  const late = await copy('/theirs', 0, '/late', 0, 4 * MIB);
  store.putForeign('theirs', 'changed elsewhere');
  t.equal(await errnoOf(late.close()), 'ESTALE');
});

t.test('W13 append', async t => {
  const { kernel, store } = makeFileSystem();
  const [one, two] = [
    await kernel.open('/log', O_WRONLY | O_CREAT | O_APPEND),
    await kernel.open('/log', O_WRONLY | O_APPEND),
  ];
  for (let i = 0; i < 5; i++) {
    await kernel.write(one, 0, Buffer.from(`a${i} `));
    await kernel.write(two, 0, Buffer.from(`b${i} `));
  }
  await kernel.close(one);
  await kernel.close(two);
  t.equal(store.text('log'), 'a0 b0 a1 b1 a2 b2 a3 b3 a4 b4 ');
});

t.test('W14 too large', async t => {
  const { kernel, store } = makeFileSystem();
  t.equal(store.limits.maxObjectSize, 10_000 * 5 * 1024 * MIB);
  const open = await kernel.open('/f', O_WRONLY | O_CREAT);
  t.equal(await errnoOf(() => kernel.write(open, store.limits.maxObjectSize, Buffer.from('x'))), 'EFBIG');
  t.equal(await errnoOf(kernel.ftruncate(open, store.limits.maxObjectSize + 1)), 'EFBIG');
  await kernel.close(open);
});

/** A file of 12 MiB with memory for two, so that most of it has left. */
async function leftMemory(): Promise<{ system: TestFileSystem; file: Descriptor; bytes: Buffer }> {
  const system = makeFileSystem({ ...SMALL_PARTS, budget: 4 * MIB });
  const file = await system.kernel.open('/f', O_RDWR | O_CREAT);
  const bytes = Buffer.alloc(12 * MIB, 'what is written');
  for (let at = 0; at < bytes.length; at += 128 * KIB) {
    await system.kernel.write(file, at, bytes.subarray(at, at + 128 * KIB));
  }
  return { system, file, bytes };
}

t.test('W17 bytes that have left memory are had back by a save', async t => {
  const { system, file, bytes } = await leftMemory();
  const { kernel, store } = system;
  t.notOk(store.bytes('f'));
  t.ok((await kernel.read(file, 4 * MIB, 4096)).equals(bytes.subarray(4 * MIB, 4 * MIB + 4096)));
  t.ok(bytes.equals(store.bytes('f')!), 'others see it');
  await kernel.write(file, 5 * MIB, Buffer.from('changed'));
  await kernel.close(file);
  bytes.write('changed', 5 * MIB);
  t.ok(bytes.equals(store.bytes('f')!));

  const second = await leftMemory();
  await second.system.kernel.rename('/f', '/g');
  t.ok(second.bytes.equals(second.system.store.bytes('g')!), 'saved before it was renamed');
  await second.system.kernel.close(second.file);
});

t.test('W18 an upload that somebody else ends', async t => {
  const { system, file, bytes } = await leftMemory();
  const { kernel, store, clock } = system;
  await clock.advance(12 * 3600 * 1000);
  t.ok(bytes.equals(store.bytes('f')!), 'it is completed in time');
  await kernel.close(file);

  const lost = await leftMemory();
  const { kernel: program, store: s3 } = lost.system;
  s3.failNext('CompleteMultipartUpload', 'no-such-upload', { times: 100 });
  s3.failNext('UploadPart', 'no-such-upload', { times: 1000 });
  t.equal(await errnoOf(program.fsync(lost.file)), 'EIO');
  t.equal(await errnoOf(program.read(lost.file, 4 * MIB, 4096)), 'EIO');
  t.equal(await errnoOf(program.write(lost.file, 4 * MIB, Buffer.from('x'))), 'EIO');
  t.notOk(s3.bytes('f'), 'nothing is pretended');
  await program.ftruncate(lost.file, 0);
  await program.write(lost.file, 0, Buffer.from('again'));
  await program.close(lost.file);
  t.equal(s3.text('f'), 'again');
});

t.test('W16 a lost answer', async t => {
  const { kernel, store, clock } = makeFileSystem();
  store.failNext('PutObject', 'timeout', { workDone: true });
  t.equal(await errnoOf(kernel.writeFile('/f', 'done all the same')), 'ETIMEDOUT');
  await clock.advance(1100);
  t.same(store.keys(), ['f'], 'no conflict copy of our own bytes');
  const open = await kernel.open('/f', O_WRONLY | O_APPEND);
  await kernel.write(open, 0, Buffer.from('!'));
  await kernel.close(open);
  t.equal(store.text('f'), 'done all the same!');
});
