/** Where two clients meet: a base that is gone, a rename over what nobody here has seen, two mounts of one host. */
import t from 'tap';
import { pattern, TINY_LIMITS, TINY_SIZES } from '../support/file-contents.ts';
import { makeFileSystem } from '../support/filesystem.ts';
import type { MemoryStore } from '../support/memory-store.ts';
import { errnoOf, O_RDWR, O_WRONLY, withLog } from './support.ts';

const SIZE = 3 * 1024 * 1024;

const isCopy = (key: string): boolean => key.startsWith('_conflict.');

t.test('C10 the version that was changed is gone', async t => {
  for (const [title, others] of [
    ['replaced', (store: MemoryStore) => void store.putForeign('log', 'theirs')],
    ['deleted', (store: MemoryStore) => store.deleteForeign('log')],
  ] as const) {
    const { kernel, store, counters } = makeFileSystem();
    const lines = withLog(counters);
    // More than an open brings along.
    store.putForeign('log', 'x'.repeat(SIZE));
    const open = await kernel.open('/log', O_WRONLY);
    await kernel.write(open, SIZE, Buffer.from(' ours'));
    others(store);
    t.equal(await errnoOf(kernel.close(open)), 'ESTALE', title);
    const key = store.keys().find(isCopy)!;
    t.same(store.keys(), title === 'replaced' ? [key, 'log'] : [key], 'the name is not for what is incomplete');
    const saved = store.text(key)!;
    t.equal(saved.length, SIZE + 5);
    t.match(saved, /^x*\0+ ours$/, 'nothing of another version');
    t.ok(
      lines.some(line => /[1-9]\d+ of its bytes .* are zeros/.test(line)),
      'the log says so',
    );
    t.ok(
      lines.some(line => line.includes(`log was ${title === 'replaced' ? 'changed' : 'deleted'} by another client`)),
    );
  }
});

t.test('C10 a large file, of which a part is in memory', async t => {
  const { kernel, store } = makeFileSystem({ sizes: TINY_SIZES, storeOptions: { limits: TINY_LIMITS } });
  const base = pattern(600 * 1024, 3);
  store.putForeign('f', base);
  const open = await kernel.open('/f', O_RDWR);
  const known = await kernel.read(open, 0, 4096);
  t.equal(Buffer.compare(known, base.subarray(0, 4096)), 0);
  await kernel.write(open, 400_000, Buffer.from('ours'));
  store.putForeign('f', 'theirs');
  t.equal(await errnoOf(kernel.close(open)), 'ESTALE');
  const saved = Buffer.from(store.bytes(store.keys().find(isCopy)!)!);
  t.equal(saved.length, base.length);
  t.equal(Buffer.compare(saved.subarray(0, 4096), base.subarray(0, 4096)), 0, 'what was in memory');
  t.equal(saved.toString('latin1', 400_000, 400_004), 'ours');
  const wrong: number[] = [];
  saved.forEach((byte, at) => {
    const isOurs = at >= 400_000 && at < 400_004;
    if (byte !== 0 && byte !== base[at] && !isOurs) wrong.push(at);
  });
  t.same(wrong, [], 'nothing of another version');
  t.equal(store.text('f'), 'theirs');
});

t.test('C10 the object of which all is in memory may be deleted: it is saved again', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', 'base');
  const open = await kernel.open('/f', O_RDWR);
  t.equal((await kernel.read(open, 0, 10)).toString(), 'base');
  await kernel.write(open, 4, Buffer.from(' ours'));
  store.deleteForeign('f');
  t.equal(await errnoOf(kernel.close(open)), undefined);
  t.same([store.keys(), store.text('f')], [['f'], 'base ours']);
});

t.test('C10 deleted, where parts have been sent and left memory', async t => {
  const { kernel, store } = makeFileSystem({
    sizes: TINY_SIZES,
    storeOptions: { limits: TINY_LIMITS },
    budget: 1024 * 1024,
  });
  const base = pattern(3 * 1024 * 1024, 3);
  store.putForeign('f', base);
  const open = await kernel.open('/f', O_RDWR);
  const ours = pattern(2 * 1024 * 1024, 4);
  for (let at = 0; at < ours.length; at += 128 * 1024) await kernel.write(open, at, ours.subarray(at, at + 128 * 1024));
  t.ok(store.openUploads > 0, 'parts are sent');
  store.deleteForeign('f');
  t.equal(await errnoOf(kernel.close(open)), 'ESTALE');
  const key = store.keys().find(isCopy)!;
  t.same(store.keys(), [key]);
  const saved = Buffer.from(store.bytes(key)!);
  t.equal(saved.length, base.length);
  t.equal(Buffer.compare(saved.subarray(0, ours.length), ours), 0, 'all that was written');
});

t.test('C11 a rename over what another client has just put there', async t => {
  const { kernel, store, clock, counters } = makeFileSystem();
  const lines = withLog(counters);
  await kernel.writeFile('/f', 'known');
  await kernel.writeFile('/new', 'ours');
  store.putForeign('f', 'theirs');
  await kernel.rename('/new', '/f');
  t.equal(store.text('f'), 'ours');
  const copies = store.keys().filter(isCopy);
  t.same(
    copies.map(key => store.text(key)),
    ['theirs'],
  );
  t.ok(lines.some(line => /theirs is kept as _conflict/.test(line)));
  t.same((await kernel.names('/')).sort(), [...copies, 'f'].sort(), 'it shows at once');
  // Onto a name that nobody had, in the same second.
  t.notOk(await kernel.exists('/g'));
  await kernel.writeFile('/newer', 'ours');
  store.putForeign('g', 'theirs too');
  await kernel.rename('/newer', '/g');
  t.equal(store.text('g'), 'ours');
  const kept = (): (string | undefined)[] => store.keys().filter(isCopy).map(store.text.bind(store)).sort();
  t.same(kept(), ['theirs', 'theirs too']);
  // What was known is replaced, as on a disk.
  await kernel.writeFile('/newest', 'newest');
  await kernel.rename('/newest', '/g');
  t.equal(store.text('g'), 'newest');
  t.same(kept(), ['theirs', 'theirs too']);
  // A directory.
  store.putForeign('d/x', 'ours');
  store.putForeign('d/y', 'ours');
  await clock.advance(11_000);
  await kernel.names('/d');
  t.notOk(await kernel.exists('/e'));
  store.putForeign('e/y', 'theirs');
  t.equal(await errnoOf(kernel.rename('/d', '/e')), 'ENOTEMPTY');
  const inside = store.keys().filter(key => key.includes('/'));
  t.same(inside, ['d/x', 'd/y', 'e/y']);
  t.equal(store.text('e/y'), 'theirs');
  t.ok(lines.some(line => line.startsWith('e/y was put there by another client')));
});

t.test('C4 two mounts of one host, in one second', async t => {
  const one = makeFileSystem();
  await one.kernel.writeFile('/f', 'base');
  const two = one.remount();
  const opened = [];
  for (const { kernel } of [one, two]) {
    const open = await kernel.open('/f', O_RDWR);
    await kernel.read(open, 0, 4);
    await kernel.write(open, 4, Buffer.from(opened.length === 0 ? ' one' : ' two'));
    opened.push([kernel, open] as const);
  }
  const { store } = one;
  store.putForeign('f', 'theirs');
  for (const [kernel, open] of opened) t.equal(await errnoOf(kernel.close(open)), 'ESTALE');
  t.same(store.keys().map(store.text.bind(store)).sort(), ['base one', 'base two', 'theirs']);
});
