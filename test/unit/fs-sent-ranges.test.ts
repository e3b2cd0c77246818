/** Files whose sent parts have left memory: names that change or go, other clients, and uploads that somebody aborts. */
import t, { type Test } from 'tap';
import type { SpoolOptions } from '../../src/cache/spool.ts';
import { StoreError } from '../../src/errors.ts';
import type { Descriptor } from '../support/fake-kernel.ts';
import { pattern } from '../support/file-contents.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import type { StoreOperation } from '../support/memory-store.ts';

const O_RDONLY = 0;
const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;

const KIB = 1024;
const MIB = 1024 * KIB;
const PART = 128 * KIB;

/** Room for eight parts, and no disk: what is written beyond that has to leave by the network. */
const make = (spool: SpoolOptions = {}): TestFileSystem =>
  makeFileSystem({
    spool,
    budget: 2 * MIB,
    sizes: { singlePut: 2 * PART, part: PART, copyPart: 2 * PART, maxCopyPart: 4 * PART, copies: 2, zeros: 64 * PART },
    storeOptions: { limits: { maxParts: 2000, minPartSize: 8 * KIB, maxPartSize: 512 * KIB, maxCopySize: 64 * MIB } },
  });

const turns = async (count = 50): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve));
};

const equal = (a: Uint8Array | undefined, b: Uint8Array): boolean => a !== undefined && Buffer.compare(a, b) === 0;

const rejectsWith = async (t: Test, work: Promise<unknown>, code: string): Promise<void> => {
  await t.rejects(work, { code }, code);
};

async function write({ kernel }: TestFileSystem, file: Descriptor, offset: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += 64 * KIB) {
    await kernel.write(file, offset + at, bytes.subarray(at, at + 64 * KIB));
  }
}

async function read({ kernel }: TestFileSystem, file: Descriptor, length: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < length; at += PART) pieces.push(await kernel.read(file, at, Math.min(PART, length - at)));
  return Buffer.concat(pieces);
}

/** A file of 4 MiB under `path`, open and unsaved, of which most has left memory. */
async function large(system: TestFileSystem, path: string): Promise<{ file: Descriptor; bytes: Uint8Array }> {
  const file = await system.kernel.open(path, O_RDWR | O_CREAT);
  const bytes = pattern(4 * MIB, 1);
  await write(system, file, 0, bytes);
  await turns();
  return { file, bytes };
}

/** Two versions, wherever they are: under their names, beside them, or aside. */
function isSomewhere({ store }: TestFileSystem, bytes: Uint8Array): boolean {
  return store.keys().some(key => equal(store.bytes(key), bytes));
}

t.test('a file much larger than memory, without a disk', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  t.equal((await system.kernel.stat('/f')).size, 4 * MIB);
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('f'), bytes));
  t.equal(system.store.count('UploadPart'), 32);
  t.equal(system.store.openUploads, 0);
});

t.test('another program reads it from the start while it is written', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  const reader = await system.kernel.open('/f', O_RDONLY);
  t.ok(equal(await read(system, reader, 4 * MIB), bytes));
  t.equal(system.store.count('CompleteMultipartUpload'), 1);
  const more = pattern(MIB, 2);
  await write(system, file, 4 * MIB, more);
  await system.kernel.close(file);
  await system.kernel.close(reader);
  t.ok(equal(system.store.bytes('f'), Buffer.concat([bytes, more])));
});

t.test('renamed while it is written', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  await system.kernel.rename('/f', '/g');
  t.ok(equal(system.store.bytes('g'), bytes), 'what was there is stored under the new name');
  const more = pattern(3 * MIB, 2);
  await write(system, file, 4 * MIB, more);
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('g'), Buffer.concat([bytes, more])));
  t.same(system.store.keys(), ['g']);
  await turns();
  t.equal(system.store.openUploads, 0);
});

t.test('written on while it is renamed', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  const hold = system.store.hold('CopyObject');
  const renaming = system.kernel.rename('/f', '/g');
  await hold.reached;
  const more = pattern(3 * MIB, 2);
  const writing = write(system, file, 4 * MIB, more);
  await turns(200);
  hold.release();
  await renaming;
  await writing;
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('g'), Buffer.concat([bytes, more])));
  t.same(system.store.keys(), ['g']);
});

t.test('a rename that fails leaves it as it was', async t => {
  // What has become of an upload whose completion failed is not known, so nothing leaves memory for it meanwhile.
  const system = make({ directory: t.testdir(), minFreeBytes: 0 });
  const { file, bytes } = await large(system, '/f');
  system.store.failNext('CompleteMultipartUpload', 'unavailable');
  await t.rejects(system.kernel.rename('/f', '/g'));
  const more = pattern(MIB, 2);
  await write(system, file, 4 * MIB, more);
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('f'), Buffer.concat([bytes, more])));
  t.same(system.store.keys(), ['f']);
});

t.test('its directory is renamed while it is written', async t => {
  const system = make();
  await system.kernel.mkdir('/d');
  const { file, bytes } = await large(system, '/d/f');
  const hold = system.store.hold('CopyObject');
  const renaming = system.kernel.rename('/d', '/e');
  await hold.reached;
  const more = pattern(3 * MIB, 2);
  const writing = write(system, file, 4 * MIB, more);
  await turns(200);
  hold.release();
  await renaming;
  await writing;
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('e/f'), Buffer.concat([bytes, more])));
  t.same(system.store.keys(), ['e/', 'e/f']);
  await turns();
  t.equal(system.store.openUploads, 0);
});

t.test('exchanged with another file', async t => {
  const system = make();
  await system.kernel.writeFile('/g', 'other');
  const { file, bytes } = await large(system, '/f');
  await system.kernel.rename('/f', '/g', 2);
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('g'), bytes));
  t.equal(system.store.text('f'), 'other');
  t.same(system.store.keys(), ['f', 'g']);
});

t.test('unlinked or replaced while it is open: its handle still reads all of it', async t => {
  for (const how of ['unlink', 'replace'] as const) {
    const system = make();
    const { file, bytes } = await large(system, '/f');
    await system.kernel.writeFile('/other', 'other');
    if (how === 'unlink') await system.kernel.unlink('/f');
    else await system.kernel.rename('/other', '/f');
    t.equal(system.store.text('f'), how === 'unlink' ? undefined : 'other');
    t.ok(equal(await read(system, file, 4 * MIB), bytes), how);
    await system.kernel.close(file);
    t.same(system.store.keys(), how === 'unlink' ? ['other'] : ['f']);
    await turns();
    t.equal(system.store.openUploads, 0);
  }
});

t.test('a save that fails is tried again without the bytes', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  system.store.failNext('CompleteMultipartUpload', 'unavailable');
  await t.rejects(system.kernel.fsync(file));
  t.notOk(system.store.keys().includes('f'));
  await system.clock.advance(5000);
  await turns();
  t.ok(equal(system.store.bytes('f'), bytes));
  await system.kernel.close(file);
  t.equal(system.store.count('CreateMultipartUpload'), 1);
});

t.test("another client's version and ours are both kept", async t => {
  const system = make();
  const { kernel, store } = system;
  const { file, bytes } = await large(system, '/f');
  store.putForeign('f', 'theirs', { metadata: { who: 'they' }, contentType: 'text/x-theirs' });
  await rejectsWith(t, kernel.fsync(file), 'ESTALE');
  t.equal(store.text('f'), 'theirs');
  t.equal(store.info('f')?.description.metadata['who'], 'they');
  t.equal(store.info('f')?.description.headers.contentType, 'text/x-theirs');
  const copy = store.keys().find(key => key.startsWith('_conflict.testhost.'))!;
  t.ok(equal(store.bytes(copy), bytes));
  t.same([...store.keys()].sort(), [copy, 'f'].sort(), 'and nothing is left aside');
  await turns();
  t.equal(store.openUploads, 0);
  t.equal(String(await kernel.readFile('/f')), 'theirs');
  t.ok(equal(await read(system, file, 4 * MIB), bytes), 'the handle reads ours');
  await write(system, file, 0, pattern(100, 9));
  await kernel.close(file);
  bytes.set(pattern(100, 9));
  t.ok(equal(store.bytes(copy), bytes), 'and goes on writing the copy');
  t.equal(store.text('f'), 'theirs');
});

t.test('a version that is changed once more, or deleted, while the conflict is resolved', async t => {
  for (const last of ['changed', 'deleted'] as const) {
    const system = make();
    const { kernel, store } = system;
    const { file, bytes } = await large(system, '/f');
    store.putForeign('f', 'theirs');
    const hold = store.hold('CopyObject');
    const saving = kernel.fsync(file);
    saving.catch(() => {});
    await hold.reached;
    if (last === 'changed') store.putForeign('f', 'theirs, newer');
    else store.deleteForeign('f');
    hold.release();
    if (last === 'changed') {
      await rejectsWith(t, saving, 'ESTALE');
      t.equal(store.text('f'), 'theirs, newer');
    } else {
      await saving;
      t.ok(equal(store.bytes('f'), bytes), 'the name was free again');
    }
    t.ok(isSomewhere(system, bytes));
    t.notOk(store.keys().some(key => key.startsWith('_s3mount/')));
    await kernel.close(file);
  }
});

t.test('a conflict that ends at any request leaves both versions in S3', async t => {
  const theirs = pattern(300 * KIB, 5);
  const steps: readonly [StoreOperation, number][] = [
    ['HeadObject', 1],
    ['CopyObject', 1],
    ['CompleteMultipartUpload', 2],
    ['CopyObject', 2],
    ['CopyObject', 3],
    ['DeleteObject', 1],
  ];
  for (const workDone of [false, true]) {
    for (const [operation, nth] of steps) {
      const system = make();
      const { kernel, store, clock } = system;
      const { file, bytes } = await large(system, '/f');
      store.putForeign('f', theirs);
      let seen = 0;
      store.intercept(async (call, proceed) => {
        if (call.operation !== operation || ++seen !== nth) return proceed();
        if (workDone) await proceed();
        throw new StoreError('timeout', `${operation} of ${call.key}: no answer`);
      });
      await t.rejects(kernel.fsync(file));
      const at = `${operation} ${nth}${workDone ? ', done' : ''}`;
      t.equal(seen >= nth, true, `${at}: reached`);
      t.ok(isSomewhere(system, theirs), `${at}: theirs`);
      await kernel.close(file).catch(() => {});
      for (let i = 0; i < 4; i++) {
        await clock.advance(61_000);
        await turns();
      }
      t.ok(isSomewhere(system, theirs), `${at}: theirs in the end`);
      t.ok(isSomewhere(system, bytes), `${at}: ours in the end`);
      t.equal(system.filesystem.unsaved().bytes, 0, `${at}: nothing is left to save`);
    }
  }
});

t.test('an upload that somebody has aborted: told once, not tried for ever, and no name is stuck', async t => {
  const system = make();
  const { kernel, store, clock } = system;
  const { file } = await large(system, '/f');
  store.abortUploads();
  await t.rejects(kernel.fsync(file), { kind: 'no-such-upload', message: /lifecycle rule/ });
  await t.rejects(kernel.fsync(file), { message: /lifecycle rule/ });
  const requests = store.count();
  await clock.advance(600_000);
  await turns();
  t.equal(store.count(), requests, 'no further request');
  await t.rejects(kernel.read(file, 2 * MIB, 100), { message: /are lost/ });
  t.ok(equal(await kernel.read(file, 0, 100), pattern(100, 1)), 'what is at hand is read');
  await t.rejects(kernel.rename('/f', '/g'), { message: /are lost/ });
  await kernel.ftruncate(file, 0);
  await write(system, file, 0, pattern(3 * MIB, 4));
  await kernel.fsync(file);
  t.ok(equal(store.bytes('f'), pattern(3 * MIB, 4)), 'written again');
  await kernel.close(file);
  const again = await large(system, '/g');
  store.abortUploads();
  await kernel.unlink('/g');
  t.same(store.keys(), ['f']);
  await t.rejects(kernel.read(again.file, 2 * MIB, 100));
  await kernel.close(again.file);
});

t.test('a header written at the end, and a reader of the end, cost no save', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  const reader = await system.kernel.open('/f', O_RDONLY);
  t.ok(equal(await system.kernel.read(reader, 4 * MIB - 1000, 1000), bytes.subarray(4 * MIB - 1000)));
  await system.kernel.write(file, 0, Buffer.from('header'));
  t.equal(system.store.count('CompleteMultipartUpload'), 0);
  await system.kernel.close(file);
  bytes.set(Buffer.from('header'));
  t.ok(equal(system.store.bytes('f'), bytes));
  t.equal(system.store.count('CompleteMultipartUpload'), 1);
  await system.kernel.close(reader);
});

t.test('a file that lost its name to another version takes large writes', async t => {
  const system = make();
  const { kernel, store, clock } = system;
  await kernel.writeFile('/f', 'ours');
  const file = await kernel.open('/f', O_WRONLY);
  store.putForeign('f', 'theirs');
  await clock.advance(20_000);
  t.equal(String(await kernel.readFile('/f')), 'theirs');
  const bytes = pattern(7 * PART, 3);
  await write(system, file, 0, bytes);
  await rejectsWith(t, kernel.close(file), 'ESTALE');
  const copy = store.keys().find(key => key.startsWith('_conflict.testhost.'));
  t.ok(copy !== undefined && equal(store.bytes(copy), bytes));
  t.equal(store.text('f'), 'theirs');
});

t.test('an upload that holds bytes is completed before anybody can think it was forgotten', async t => {
  const system = make();
  const { file, bytes } = await large(system, '/f');
  t.equal(system.store.count('CompleteMultipartUpload'), 0);
  await system.clock.advance(12 * 3600 * 1000);
  await turns();
  t.ok(equal(system.store.bytes('f'), bytes), 'what was written so far is saved');
  const more = pattern(3 * MIB, 2);
  await write(system, file, 4 * MIB, more);
  await system.kernel.close(file);
  t.ok(equal(system.store.bytes('f'), Buffer.concat([bytes, more])));
  t.equal(system.store.openUploads, 0);
});
