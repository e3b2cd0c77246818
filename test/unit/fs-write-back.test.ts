/** `write_back` as programs see it: in process, over a store in memory, with a journal on a disk that can die. */
import t from 'tap';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import type { LossyDisk } from '../support/lossy-disk.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { Walker } from '../support/walker.ts';
import { makeWriteBack, type TestWriteBack } from '../support/write-back.ts';

interface Mount extends TestFileSystem {
  readonly writeBack: TestWriteBack;
  /** Waits for `work`, letting time pass. */
  drive<T>(work: Promise<T>): Promise<T>;
  /** The daemon is killed, and another one mounts the bucket. `through`: without `write_back`. */
  kill(through?: boolean): Promise<Mount>;
}

async function mount(
  store?: MemoryStore,
  disk?: LossyDisk,
  clock = new ManualClock(),
  through = false,
): Promise<Mount> {
  const inner = store ?? new MemoryStore({ clock });
  const writeBack = await makeWriteBack({ store: inner, clock, through, ...(disk && { disk }) });
  const made = makeFileSystem({ store: inner, clock, writeBack: writeBack.store });
  return {
    ...made,
    writeBack,
    async drive(work) {
      let isSettled = false;
      const done = (): void => {
        isSettled = true;
      };
      work.then(done, done);
      while (!isSettled) await clock.advance(5);
      return work;
    },
    async kill(isThrough) {
      writeBack.store.abandon();
      const left = writeBack.disk.now();
      writeBack.disk.before = () => {
        throw new Error('the daemon is dead');
      };
      await clock.advance(0);
      return mount(inner, left, clock, isThrough);
    },
  };
}

t.test('close returns before S3 has the bytes, and everything shows as if it had', async t => {
  const { kernel, store, drive, filesystem } = await mount();
  await kernel.mkdir('/d');
  await kernel.writeFile('/d/f', 'hello');
  t.equal(store.count('PutObject'), 0);
  t.same(await kernel.names('/d'), ['f']);
  t.equal((await kernel.readFile('/d/f')).toString(), 'hello');
  t.equal((await kernel.stat('/d/f')).size, 5);
  t.equal(filesystem.unsaved().names.length, 2);
  await drive(filesystem.drain());
  t.same(store.keys(), ['d/', 'd/f']);
  t.equal(store.text('d/f'), 'hello');
  t.same(filesystem.unsaved().names, []);
});

t.test('a file that is saved faster than its saves are sent goes to S3 all the same', async t => {
  const { kernel, store, drive, clock } = await mount();
  for (let i = 0; clock.monotonic() < 5000; i++) {
    await drive(kernel.writeFile('/f', `${i}`));
    await clock.advance(35);
  }
  const sent = store.count('PutObject');
  t.ok(sent >= 4 && sent <= 10, `${sent} PUTs in five seconds`);
});

t.test('listings and lookups that S3 answers include what is queued', async t => {
  const { kernel, store, clock } = await mount();
  store.putForeign('d/theirs', 'x');
  store.putForeign('d/gone', 'x');
  await kernel.writeFile('/d/ours', 'y');
  const held = store.hold('PutObject');
  await clock.advance(11_000);
  t.same(await kernel.names('/d'), ['gone', 'ours', 'theirs']);
  await kernel.unlink('/d/gone');
  t.same(await kernel.names('/d'), ['ours', 'theirs']);
  held.release();
});

t.test('what S3 has made of it is no foreign change: nothing is fetched, no inode is new', async t => {
  const { kernel, store, clock, drive, filesystem } = await mount();
  await kernel.writeFile('/f', 'hello');
  const before = await kernel.stat('/f');
  await drive(filesystem.drain());
  await clock.advance(11_000);
  t.equal((await kernel.readFile('/f')).toString(), 'hello');
  t.equal((await kernel.stat('/f')).ino, before.ino);
  t.equal(store.count('GetObject'), 0);
  await kernel.writeFile('/f', 'again');
  await drive(filesystem.drain());
  t.equal(store.text('f'), 'again');
  t.same(store.keys(), ['f'], 'no conflict copy');
});

t.test('fsync waits for S3 and tells its error', async t => {
  const { kernel, store, drive } = await mount();
  await kernel.writeFile('/f', 'one');
  const file = await kernel.open('/f', 1);
  await kernel.write(file, 0, Buffer.from('two'));
  await drive(kernel.fsync(file));
  t.equal(store.text('f'), 'two');
  await kernel.write(file, 0, Buffer.from('six'));
  store.failNext('PutObject', 'forbidden');
  await t.rejects(drive(kernel.fsync(file)), /forbidden/);
  await drive(kernel.fsync(file));
  t.equal(store.text('f'), 'six', 'asked for once more, it is sent once more');
  await kernel.close(file);
});

t.test('what becomes something else before it is sent costs nothing more', async t => {
  const { kernel, store, drive, filesystem } = await mount();
  await kernel.writeFile('/tmp1', 'x');
  await kernel.rename('/tmp1', '/f');
  await kernel.writeFile('/gone', 'x');
  await kernel.unlink('/gone');
  await drive(filesystem.drain());
  t.same(store.keys(), ['f']);
  t.equal(store.count('PutObject'), 1);
  t.equal(store.count('DeleteObject') + store.count('DeleteObjects') + store.count('CopyObject'), 0);
});

t.test('rm a; echo > a and mv a b; echo > a come out right', async t => {
  const { kernel, store, drive, filesystem, clock } = await mount();
  store.putForeign('a', 'old');
  await kernel.unlink('/a');
  await kernel.writeFile('/a', 'new');
  await drive(filesystem.drain());
  t.equal(store.text('a'), 'new');
  await clock.advance(100);
  await drive(kernel.rename('/a', '/b'));
  await kernel.writeFile('/a', 'newer');
  await drive(filesystem.drain());
  t.equal(store.text('a'), 'newer');
  t.equal(store.text('b'), 'new');
  t.same(store.keys(), ['a', 'b']);
});

t.test('files that come one after the other share the syncs of the journal', async t => {
  const { kernel, store, drive, filesystem, clock, writeBack } = await mount();
  await kernel.mkdir('/d');
  await drive(filesystem.drain());
  const syncs = (): number => writeBack.disk.events.filter(({ kind }) => kind === 'sync').length;
  const before = syncs();
  for (let i = 0; i < 200; i++) {
    await kernel.writeFile(`/d/${i}`, 'x');
    await clock.advance(2);
  }
  await drive(filesystem.drain());
  t.equal(store.keys().length, 201);
  t.ok(syncs() - before <= 25, `${syncs() - before} syncs in 400 ms, 200 files`);
});

t.test('a slow rm -r of many directories: few requests for deletes, no LIST for each directory', async t => {
  const { kernel, store, clock, drive, filesystem } = await mount();
  for (let i = 0; i < 40; i++) {
    for (let j = 0; j < 5; j++) store.putForeign(`d/s${i}/f${j}`, Buffer.alloc(5000));
  }
  const walker = new Walker(filesystem, kernel.ctx, () => Promise.resolve());
  const top = (await walker.node('/d')).nodeid;
  const from = clock.monotonic();
  for (const directory of await walker.names('/d', 'listing')) {
    const names = await walker.names(`/d/${directory}`, 'listing');
    for (const name of names) {
      await walker.node(`/d/${directory}/${name}`);
      await filesystem.unlink((await walker.node(`/d/${directory}`)).nodeid, name, kernel.ctx);
      await clock.advance(7);
    }
    await filesystem.rmdir(top, directory, kernel.ctx);
  }
  await drive(filesystem.drain());
  t.same(store.keys(), ['d/'], 'what was a directory stays one until it is removed');
  const deletes = store.count('DeleteObject') + store.count('DeleteObjects');
  t.ok(
    deletes <= 2 + (clock.monotonic() - from) / 250,
    `${deletes} requests for 200 deletes in ${clock.monotonic() - from} ms`,
  );
  const lists = store.count('ListObjectsV2');
  t.ok(lists <= 50, `${lists} LISTs for 41 directories`);
});

t.test('rm -r goes out in batches', async t => {
  const { kernel, store, drive, filesystem } = await mount();
  for (let i = 0; i < 50; i++) store.putForeign(`d/${i}`, 'x');
  for (const name of await kernel.names('/d')) await kernel.unlink(`/d/${name}`);
  await drive(kernel.rmdir('/d'));
  await drive(filesystem.drain());
  t.same(store.keys(), []);
  t.ok(store.count('DeleteObject') + store.count('DeleteObjects') <= 4);
});

t.test('a rename of a directory takes along what is queued below', async t => {
  const { kernel, store, drive, filesystem } = await mount();
  await kernel.mkdir('/d');
  store.putForeign('d/theirs', 'x');
  await kernel.writeFile('/d/ours', 'y');
  await drive(kernel.rename('/d', '/e'));
  t.same(await kernel.names('/e'), ['ours', 'theirs']);
  await drive(filesystem.drain());
  t.same(store.keys(), ['e/', 'e/ours', 'e/theirs']);
});

t.test('a directory renamed while what was just written below it is on its way leaves nothing behind', async t => {
  const clock = new ManualClock();
  // Long enough that the files are queued when the rename lists them, and saved when it lists what it may delete.
  const { kernel, store, drive, filesystem } = await mount(new MemoryStore({ clock, latency: 30 }), undefined, clock);
  await drive(kernel.mkdir('/d'));
  for (const name of ['a', 'b', 'c']) await drive(kernel.writeFile(`/d/${name}`, name));
  const open = await drive(kernel.open('/d/b', 0));
  await drive(kernel.rename('/d', '/e'));
  await drive(filesystem.drain());
  t.same(store.keys(), ['e/', 'e/a', 'e/b', 'e/c']);
  t.equal((await drive(kernel.read(open, 0, 10))).toString(), 'b', 'the handle reads on');
  await clock.advance(20_000);
  t.same(await drive(kernel.names('/')), ['e']);
});

t.test('killed: the next mount shows and sends what was closed', async t => {
  const first = await mount();
  first.store.putForeign('old', 'x');
  await first.kernel.mkdir('/d');
  await first.kernel.writeFile('/d/f', 'hello');
  await first.kernel.unlink('/old');
  const second = await first.kill();
  t.equal(second.writeBack.resumed, 3);
  t.equal((await second.kernel.readFile('/d/f')).toString(), 'hello');
  t.same(await second.drive(second.kernel.names('/')), ['d']);
  await second.drive(second.filesystem.drain());
  t.same(second.store.keys(), ['d/', 'd/f']);
  t.equal(second.store.text('d/f'), 'hello');
  t.equal((await second.kill()).writeBack.resumed, 0);
});

t.test('another client was faster: a conflict copy, told once', async t => {
  const { kernel, store, drive, filesystem, writeBack } = await mount();
  store.putForeign('f', 'base');
  await kernel.readFile('/f');
  await kernel.writeFile('/f', 'ours');
  const file = await kernel.open('/f', 2);
  store.putForeign('f', 'theirs');
  await drive(filesystem.drain());
  t.equal(store.text('f'), 'theirs');
  const copy = store.keys().find(key => key.startsWith('_conflict.'))!;
  t.equal(store.text(copy), 'ours');
  t.equal(writeBack.telemetry.get('conflict'), 1);
  t.equal((await kernel.readFile('/f')).toString(), 'theirs');
  t.equal((await kernel.read(file, 0, 100)).toString(), 'ours', 'who has it open goes on');
  await t.rejects(kernel.fsync(file), { code: 'ESTALE' });
  await drive(kernel.fsync(file));
  await kernel.write(file, 0, Buffer.from('more'));
  await kernel.close(file);
  await drive(filesystem.drain());
  t.equal(store.text(copy), 'more');
  t.equal(store.text('f'), 'theirs');
});

t.test('S3 is gone: everything stays, is shown as unsaved, and goes when it is back', async t => {
  const { kernel, store, drive, filesystem, clock, writeBack } = await mount();
  const back = store.failNext('PutObject', 'unavailable', { times: 1000 });
  await kernel.writeFile('/f', 'hello');
  await clock.advance(5000);
  await drive(filesystem.drain());
  t.same(filesystem.unsaved(), { bytes: 5, names: ['f'], journal: { names: 1, path: '/lossy' } });
  t.equal(writeBack.store.state.failing, 1);
  t.ok(writeBack.store.state.oldest >= 5000);
  back();
  await clock.advance(61_000);
  t.equal(store.text('f'), 'hello');
  t.same(filesystem.unsaved().names, []);
});

t.test('a save that S3 refuses is told once to who opens the file to write', async t => {
  const { kernel, store, drive, filesystem, clock } = await mount();
  const allowed = store.failNext('PutObject', 'forbidden', { times: 100 });
  await kernel.writeFile('/f', 'four');
  await clock.advance(1000);
  t.equal((await kernel.readFile('/f')).toString(), 'four', 'readers are not disturbed');
  await t.rejects(kernel.open('/f', 1), /forbidden/);
  const file = await kernel.open('/f', 1);
  await kernel.write(file, 0, Buffer.from('five'));
  allowed();
  await kernel.close(file);
  await drive(filesystem.drain());
  t.equal(store.text('f'), 'five');
});

for (const through of [false, true]) {
  const how = through ? 'without write_back' : 'with write_back';
  t.test(`a file of a killed daemon that S3 refused is sent when it is written again, ${how}`, async t => {
    const first = await mount();
    await first.kernel.writeFile('/f', 'one');
    first.store.failNext('PutObject', 'forbidden');
    const { kernel, store, clock } = await first.kill(through);
    await clock.advance(500);
    t.same(store.keys(), []);
    const written = kernel.writeFile('/f', 'two').then(
      () => 'closed',
      (error: Error) => error.message,
    );
    for (let i = 0; i < 40; i++) await clock.advance(50);
    t.equal(await Promise.race([written, 'waits']), 'closed');
    t.equal(store.text('f'), 'two');
    t.same(store.keys(), ['f'], 'no conflict copy');
  });

  t.test(`a file of a killed daemon that S3 still refuses is tried at each write, ${how}`, async t => {
    const first = await mount();
    await first.kernel.writeFile('/f', 'one');
    const allowed = first.store.failNext('PutObject', 'forbidden', { times: 100 });
    const { kernel, store, clock, drive, filesystem } = await first.kill(through);
    await clock.advance(500);
    const before = store.count('PutObject');
    const written = kernel.writeFile('/f', 'two').then(
      () => 'closed',
      (error: Error) => error.message,
    );
    for (let i = 0; i < 40; i++) await clock.advance(50);
    t.match(await Promise.race([written, 'waits']), through ? /forbidden/ : 'closed');
    t.ok(store.count('PutObject') > before, 'it was tried again');
    t.match(filesystem.unsaved().names, ['f']);
    allowed();
    await kernel.unlink('/f').catch(() => {});
    for (let i = 0; i < 40; i++) await clock.advance(50);
    await drive(filesystem.drain());
    t.same(store.keys(), [], 'the unlink is behind it no longer');
    t.same(filesystem.unsaved().names, []);
  });
}

t.test('a truncate by path that waits for room is not lost when others read the file meanwhile', async t => {
  const clock = new ManualClock();
  const inner = new MemoryStore({ clock });
  const writeBack = await makeWriteBack({ store: inner, clock, limit: 1 << 20 });
  const { room } = writeBack.journal;
  const closeRooms = { room, most: 1 << 18 };
  const { kernel, filesystem } = makeFileSystem({ store: inner, clock, writeBack: writeBack.store, closeRooms });
  inner.putForeign('f', 'x'.repeat(5000));
  await kernel.stat('/f');
  let taken = 0;
  while (room.tryPromise(4096, false)) taken += 4096;
  const truncating = kernel.setattr('/f', { size: 10 });
  await clock.advance(50);
  t.equal((await kernel.readFile('/f')).length, 5000);
  room.giveBack(taken);
  t.equal((await truncating).size, 10);
  t.equal((await kernel.stat('/f')).size, 10);
  t.equal((await kernel.readFile('/f')).length, 10);
  const drained = filesystem.drain();
  for (let i = 0; i < 40; i++) await clock.advance(50);
  await drained;
  t.equal(inner.text('f'), 'x'.repeat(10));
  t.equal(room.promised, 0, 'nothing of it keeps room');
});

t.test('S3 refuses a delete: the file is there again', async t => {
  const { kernel, store, drive, filesystem } = await mount();
  store.putForeign('f', 'x');
  await kernel.readFile('/f');
  store.failNext('DeleteObjects', 'forbidden');
  store.failNext('DeleteObject', 'forbidden');
  await kernel.unlink('/f');
  await drive(filesystem.drain());
  t.same(await kernel.names('/'), ['f']);
});

t.test('a large file goes to S3 by itself, after what is queued under its name', async t => {
  const { kernel, store, drive } = await mount();
  await kernel.writeFile('/f', 'small');
  const large = Buffer.alloc(17 * 1024 * 1024, 7);
  await drive(kernel.writeFile('/f', large));
  t.equal(store.bytes('f')?.length, large.length);
  t.same(store.keys(), ['f']);
});
