/** A program that never stops writing: fsync, close and the end of the mount wait for what was there when they were called. */
import t from 'tap';
import type { Descriptor } from '../support/fake-kernel.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';

const O_WRONLY = 1;
const O_RDWR = 2;
const O_CREAT = 0o100;
const RENAME_EXCHANGE = 2;

const KIB = 1024;
const PART = 128 * KIB;

/** So many saves that nobody waits for them: then the writer stops, and whoever ran after it comes to an end all the same. */
const TOO_MANY = 30;

/** While any save is under way one more byte is written, until it is told to stop. */
function writesOn({ kernel, store }: TestFileSystem, file: Descriptor): () => void {
  let written = 0;
  return store.intercept(async (call, proceed) => {
    const isSave = call.operation === 'PutObject' || call.operation === 'CompleteMultipartUpload';
    if (isSave && written++ < TOO_MANY) await kernel.write(file, 1, Buffer.from(`${written % 10}`));
    return proceed();
  });
}

const saves = ({ store }: TestFileSystem): number => store.count('PutObject') + store.count('CompleteMultipartUpload');

async function written(system: TestFileSystem, text: string): Promise<Descriptor> {
  const file = await system.kernel.open('/f', O_RDWR | O_CREAT);
  await system.kernel.write(file, 0, Buffer.from(text));
  return file;
}

t.test('fsync: one save, and what is written meanwhile is left to the next', async t => {
  const system = makeFileSystem();
  const { kernel, store } = system;
  const file = await written(system, 'a-');
  const stop = writesOn(system, file);
  await kernel.fsync(file);
  t.equal(saves(system), 1);
  t.equal(store.text('f'), 'a-');
  stop();
  await kernel.close(file);
  t.equal(store.text('f'), 'a1');
});

t.test('fsync during a save that began before the last write: one more, however long the writing goes on', async t => {
  const system = makeFileSystem();
  const { kernel, store } = system;
  const file = await written(system, 'a-');
  const first = store.hold('PutObject', 'f');
  const early = kernel.fsync(file);
  await first.reached;
  await kernel.write(file, 0, Buffer.from('b'));
  const late = [kernel.fsync(file), kernel.fsync(file)];
  const stop = writesOn(system, file);
  first.release();
  await early;
  await Promise.all(late);
  t.equal(saves(system), 2);
  t.match(store.text('f'), /^b/, 'what was written before the call is there');
  stop();
  await kernel.close(file);
});

t.test('a save under way that has all of it is the only one that is waited for', async t => {
  const system = makeFileSystem();
  const { kernel, store } = system;
  const file = await written(system, 'a-');
  const first = store.hold('PutObject', 'f');
  const saved = [kernel.fsync(file), kernel.fsync(file)];
  await first.reached;
  await kernel.write(file, 1, Buffer.from('b'));
  first.release();
  await Promise.all(saved);
  t.equal(saves(system), 1);
  t.equal(store.text('f'), 'a-');
  await kernel.close(file);
  t.equal(store.text('f'), 'ab');
});

t.test('flush of a path during a save that began before the last write', async t => {
  const system = makeFileSystem();
  const { kernel, store, filesystem } = system;
  const file = await written(system, 'a-');
  const first = store.hold('PutObject', 'f');
  const early = kernel.fsync(file);
  await first.reached;
  await kernel.write(file, 0, Buffer.from('b'));
  const flushed = filesystem.flushBelow('f', () => {}, new AbortController().signal);
  first.release();
  await early;
  t.same(await flushed, { saved: 1, failed: [] });
  t.equal(store.text('f'), 'b-');
  await kernel.close(file);
});

t.test('close of one of two writers', async t => {
  const system = makeFileSystem();
  const { kernel, store } = system;
  const other = await written(system, 'a-');
  const file = await kernel.open('/f', O_WRONLY);
  await kernel.write(file, 0, Buffer.from('b'));
  const stop = writesOn(system, other);
  await kernel.close(file);
  t.equal(saves(system), 1);
  t.equal(store.text('f'), 'b-');
  stop();
  await kernel.close(other);
  t.equal(store.text('f'), 'b1', 'what was left is saved at the last close');
  t.same(system.filesystem.unsaved().names, []);
});

t.test('a mode that was changed after the upload had begun goes along with the same fsync', async t => {
  const sizes = { singlePut: PART, part: PART, copyPart: PART, maxCopyPart: 4 * PART, copies: 2, zeros: 64 * PART };
  const system = makeFileSystem({ sizes, storeOptions: { limits: { minPartSize: 8 * KIB } } });
  const { kernel, store } = system;
  const file = await kernel.open('/f', O_RDWR | O_CREAT);
  for (let i = 0; i < 8; i++) await kernel.write(file, i * PART, Buffer.alloc(PART, 'x'));
  for (let i = 0; i < 50; i++) await new Promise(resolve => setImmediate(resolve));
  t.equal(store.count('CreateMultipartUpload'), 1, 'the metadata of the upload is fixed');
  await kernel.setattr('/f', { mode: 0o600 });
  const stop = writesOn(system, file);
  await kernel.fsync(file);
  t.ok(saves(system) <= 2, `${saves(system)} saves`);
  t.equal(Number(store.info('f')?.description.metadata.mode) & 0o777, 0o600);
  stop();
  await kernel.close(file);
});

t.test('an exchange of names, and a copy by link(2), of a file that is being written', async t => {
  const system = makeFileSystem({ options: { link: 'copy' } });
  const { kernel, store } = system;
  const file = await written(system, 'a-');
  await kernel.writeFile('/other', 'other');
  store.resetCalls();
  const stop = writesOn(system, file);
  await kernel.rename('/f', '/other', RENAME_EXCHANGE);
  t.equal(saves(system), 1);
  t.equal(store.text('other'), 'a-');
  const { nodeid } = file;
  await system.filesystem.link(nodeid, 1, 'copy', kernel.ctx);
  t.equal(saves(system), 2);
  t.equal(store.text('copy'), 'a1');
  stop();
  await kernel.close(file);
  t.equal(store.text('other'), 'a2');
});

t.test('the end of the mount saves what was unsaved when it began, and no more', async t => {
  const system = makeFileSystem();
  const { kernel, store, filesystem } = system;
  const file = await written(system, 'a-');
  const quiet = await kernel.open('/quiet', O_WRONLY | O_CREAT);
  await kernel.write(quiet, 0, Buffer.from('quiet'));
  const stop = writesOn(system, file);
  await filesystem.drain();
  t.ok(saves(system) <= 4, `${saves(system)} saves`);
  t.match(store.text('f'), /^a/);
  t.equal(store.text('quiet'), 'quiet');
  t.same(filesystem.unsaved().names, ['f'], 'what came meanwhile is known to be left');
  stop();
  await filesystem.drain();
  t.same(filesystem.unsaved().names, []);
});
