/** Metadata: one test for each statement of docs/SEMANTICS.md, named by it. */
import t from 'tap';
import { S_IFIFO } from '../../src/fs/modes.ts';
import type { FileSystemOptions } from '../../src/fs/options.ts';
import type { DirectoryEntry, Entry } from '../../src/fuse/ops.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import { errnoOf, O_CREAT, O_WRONLY, withLog } from './support.ts';

/** Longer than a change of metadata waits for the next one. */
const SOON = 60;

t.test('M1 kept as s3fs has it', async t => {
  const fs = makeFileSystem();
  await fs.kernel.writeFile('/f', 'x');
  await fs.kernel.setattr('/f', {
    mode: 0o604,
    uid: 7,
    gid: 8,
    mtime: { sec: 5, nsec: 6 },
    atime: { sec: 7, nsec: 8 },
  });
  await fs.kernel.setxattr('/f', 'user.note', Buffer.from('한글'));
  await fs.clock.advance(SOON);
  const { metadata } = fs.store.info('f')!.description;
  t.match(metadata, { mode: String(0o100604), uid: '7', gid: '8', mtime: '5.000000006', atime: '7.000000008' });
  t.same(JSON.parse(decodeURIComponent(metadata['xattr']!)), { 'user.note': Buffer.from('한글').toString('base64') });
  await fs.clock.advance(30_000);
  const { kernel } = fs.remount();
  const { mode, uid, gid, mtime, atime } = await kernel.stat('/f');
  t.same([mode, uid, gid, mtime, atime], [0o100604, 7, 8, { sec: 5, nsec: 6 }, { sec: 7, nsec: 8 }]);
  t.equal(String(await kernel.getxattr('/f', 'user.note')), '한글');
});

t.test('M2 what has none', async t => {
  const lastModified = Date.UTC(2025, 1, 3);
  const shown = async (options: Parameters<typeof makeFileSystem>[0]): Promise<unknown[]> => {
    const { kernel, store } = makeFileSystem(options);
    store.putForeign('d/f', 'x', { lastModified });
    const [file, directory] = [await kernel.stat('/d/f'), await kernel.stat('/d')];
    t.equal(file.mtime.sec, lastModified / 1000);
    return [(file.mode & 0o7777).toString(8), (directory.mode & 0o7777).toString(8), file.uid, file.gid];
  };
  t.same(await shown({}), ['640', '750', 1000, 1000]);
  t.same(await shown({ options: { umask: 0o022, uid: 5, gid: 6 } }), ['755', '755', 5, 6]);
  t.same(await shown({ options: { fmask: 0o133, dmask: 0o022 } }), ['644', '755', 1000, 1000]);
  t.same(await shown({ options: { fileMode: 0o600, dirMode: 0o700 } }), ['600', '700', 1000, 1000]);
});

t.test('M3 several changes are one copy, a moment later', async t => {
  const { kernel, store, clock } = makeFileSystem();
  for (const name of ['f', 'synced', 'renamed']) await kernel.writeFile(`/${name}`, 'x');
  store.resetCalls();
  await kernel.setattr('/f', { mode: 0o600 });
  await kernel.setattr('/f', { uid: 7, gid: 8 });
  await kernel.setattr('/f', { mtime: { sec: 5, nsec: 6 } });
  t.equal(store.count(), 0, 'answered before');
  await clock.advance(SOON);
  t.same(
    store.calls.map(({ operation }) => operation),
    ['CopyObject'],
  );
  await kernel.setattr('/synced', { mode: 0o600 });
  const open = await kernel.open('/synced', O_WRONLY);
  await kernel.fsync(open);
  t.equal(store.info('synced')!.description.metadata['mode'], String(0o100600));
  await kernel.setattr('/renamed', { mode: 0o600 });
  store.resetCalls();
  await kernel.rename('/renamed', '/n');
  await clock.advance(SOON);
  t.equal(store.count('CopyObject'), 1, 'goes with the rename');
  t.equal(store.info('n')!.description.metadata['mode'], String(0o100600));
});

t.test('M3 the end takes it along', async t => {
  const { kernel, store, filesystem } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  await kernel.mkdir('/d');
  await kernel.setattr('/f', { mode: 0o600 });
  await kernel.setattr('/d', { mode: 0o700 });
  await filesystem.drain();
  t.equal(store.info('f')!.description.metadata['mode'], String(0o100600));
  t.equal(store.info('d/')!.description.metadata['mode'], String(0o040700));
});

t.test('M4 nothing changed, no request', async t => {
  const { kernel, store, clock } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  await kernel.setattr('/f', { mode: 0o640, uid: 3, gid: 4, mtime: { sec: 5, nsec: 6 } });
  await clock.advance(SOON);
  store.resetCalls();
  await kernel.setattr('/f', { mode: 0o640 });
  await kernel.setattr('/f', { uid: 3, gid: 4 });
  await kernel.setattr('/f', { mtime: { sec: 5, nsec: 6 } });
  await clock.advance(SOON);
  t.equal(store.count(), 0);
});

t.test('M5 goes with the save of an unsaved file', async t => {
  const { kernel, store, clock } = makeFileSystem();
  const open = await kernel.open('/f', O_WRONLY | O_CREAT);
  await kernel.write(open, 0, Buffer.from('x'));
  await kernel.setattr('/f', { mode: 0o600, mtime: { sec: 5, nsec: 6 } });
  await kernel.close(open);
  await clock.advance(SOON);
  t.equal(store.count('CopyObject'), 0);
  t.match(store.info('f')!.description.metadata, { mode: String(0o100600), mtime: '5.000000006' });
});

t.test('M6 too much of it', async t => {
  const { kernel, store, clock } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  t.equal(await errnoOf(kernel.setxattr('/f', 'user.big', Buffer.alloc(3000))), 'ENOSPC');
  await kernel.setattr('/f', { mode: 0o600 });
  await clock.advance(SOON);
  t.equal(store.info('f')!.description.metadata['mode'], String(0o100600), 'the rest goes on');
});

t.test('M7 refused by S3 afterwards', async t => {
  const fs = makeFileSystem();
  const lines = withLog(fs.counters);
  await fs.kernel.writeFile('/f', 'x');
  fs.store.failNext('CopyObject', 'forbidden');
  await fs.kernel.setattr('/f', { mode: 0o600 });
  t.equal((await fs.kernel.stat('/f')).mode & 0o777, 0o600);
  await fs.clock.advance(SOON);
  t.ok(lines.some(line => line.includes('mode, owner or times not saved')));
  t.equal((await fs.kernel.stat('/f')).mode & 0o777, 0o644);
});

t.test('M8 reading', async t => {
  const { kernel, store, clock } = makeFileSystem();
  await kernel.writeFile('/f', 'x');
  const { atime } = await kernel.stat('/f');
  await clock.advance(5000);
  store.resetCalls();
  await kernel.readFile('/f');
  await clock.advance(SOON);
  t.same((await kernel.stat('/f')).atime, atime);
  t.equal(store.count('CopyObject') + store.count('PutObject'), 0);
});

t.test('M9 extended attributes', async t => {
  const off = makeFileSystem({ options: { xattr: false } });
  await off.kernel.writeFile('/f', 'x');
  t.equal(await errnoOf(off.kernel.setxattr('/f', 'user.a', Buffer.from('1'))), 'EOPNOTSUPP');
  t.equal(await errnoOf(off.kernel.getxattr('/f', 'user.a')), 'EOPNOTSUPP');
  const on = makeFileSystem();
  await on.kernel.writeFile('/f', 'x');
  t.equal(await errnoOf(on.kernel.getxattr('/f', 'security.selinux')), 'EOPNOTSUPP');
  t.equal(await errnoOf(on.kernel.getxattr('/f', 'security.other')), 'ENODATA');
  for (const name of ['user.a', 'security.b', 'trusted.c', 'security.selinux'])
    await on.kernel.setxattr('/f', name, Buffer.from('1'));
  t.equal(await errnoOf(on.kernel.setxattr('/f', 'other.a', Buffer.from('1'))), 'EOPNOTSUPP');
  // user::rw-, user:7:rw-, group::r--, mask::rw-, other::---: the mask shows as the group's bits.
  const entries = [
    [1, 6, -1],
    [2, 6, 7],
    [4, 4, -1],
    [16, 6, -1],
    [32, 0, -1],
  ] as const;
  const acl = Buffer.alloc(4 + entries.length * 8);
  acl.writeUInt32LE(2, 0);
  entries.forEach(([tag, perm, id], i) => {
    acl.writeUInt16LE(tag, 4 + i * 8);
    acl.writeUInt16LE(perm, 6 + i * 8);
    acl.writeInt32LE(id, 8 + i * 8);
  });
  await on.kernel.setxattr('/f', 'system.posix_acl_access', acl);
  t.equal((await on.kernel.stat('/f')).mode, 0o100660);
  await on.kernel.setattr('/f', { mode: 0o640 });
  const changed = Buffer.from(await on.kernel.getxattr('/f', 'system.posix_acl_access'));
  t.equal(changed.readUInt16LE(6 + 3 * 8), 4, 'chmod sets the mask');

  await on.kernel.writeFile('/g', 'x');
  t.equal(await errnoOf(on.kernel.getxattr('/g', 'system.posix_acl_access')), 'ENODATA');
  for (const override of ['umask', 'fmask', 'dmask', 'uid', 'gid']) {
    const masked = makeFileSystem({ options: { [override]: 0 } });
    await masked.kernel.writeFile('/f', 'x');
    for (const name of ['system.posix_acl_access', 'system.posix_acl_default'])
      t.equal(await errnoOf(masked.kernel.getxattr('/f', name)), 'EOPNOTSUPP', override);
    t.equal(await errnoOf(masked.kernel.getxattr('/f', 'user.a')), 'ENODATA');
    await masked.kernel.setxattr('/f', 'system.posix_acl_access', acl);
    t.equal((await masked.kernel.getxattr('/f', 'system.posix_acl_access')).length, acl.length, 'it is kept');
  }
});

t.test('M10 times of a directory', async t => {
  const fs = makeFileSystem();
  await fs.kernel.mkdir('/d');
  const { mtime, ino } = await fs.kernel.stat('/d');
  // The kernel holds what somebody uses; without that the inode, and its times, are forgotten at once.
  const held = await fs.filesystem.lookup(1, 'd', fs.kernel.ctx);
  t.equal('attributes' in held && held.attributes.ino, ino);
  await fs.clock.advance(3000);
  fs.store.resetCalls();
  await fs.kernel.writeFile('/d/f', 'x');
  t.equal((await fs.kernel.stat('/d')).mtime.sec, mtime.sec + 3);
  await fs.clock.advance(SOON);
  t.notOk(fs.store.calls.some(({ key, operation }) => key === 'd/' && operation === 'PutObject'));
  t.same((await fs.remount().kernel.stat('/d')).mtime, mtime);
});

t.test('M11 links, fifos, sockets, devices', async t => {
  const fs = makeFileSystem();
  const { kernel, filesystem, store } = fs;
  await kernel.symlink('some/대상', '/l');
  await filesystem.mknod(1, 'fifo', S_IFIFO | 0o600, 0, kernel.ctx);
  await filesystem.mknod(1, 'null', 0o020666, 0x0103, kernel.ctx);
  t.equal(store.text('l'), 'some/대상');
  t.equal(store.info('fifo')!.description.metadata['mode'], String(S_IFIFO | 0o600));
  await fs.clock.advance(30_000);
  const after = fs.remount().kernel;
  t.equal(await after.readlink('/l'), 'some/대상');
  t.equal((await after.stat('/fifo')).mode, S_IFIFO | 0o600);
  const device = await after.stat('/null');
  t.same([device.mode, device.rdev], [0o020666, 0x0103]);
});

t.test('M12 stat=list', async t => {
  const { kernel, filesystem, store } = makeFileSystem({ options: { stat: 'list' } });
  for (let i = 0; i < 20; i++) store.putForeign(`f${i}`, 'x', { metadata: { mode: String(0o100600) } });
  for (const { name } of await kernel.readdir('/', { plus: true })) {
    t.equal((await kernel.stat(`/${name}`)).mode & 0o777, 0o640);
  }
  t.equal(store.count('HeadObject'), 0);
  t.equal(await errnoOf(kernel.symlink('x', '/l')), 'EOPNOTSUPP');
  t.equal(await errnoOf(filesystem.mknod(1, 'p', S_IFIFO | 0o600, 0, kernel.ctx)), 'EOPNOTSUPP');
  for (const name of ['system.posix_acl_access', 'system.posix_acl_default']) {
    t.equal(await errnoOf(kernel.getxattr('/f1', name)), 'EOPNOTSUPP');
    t.equal(await errnoOf(kernel.setxattr('/f1', name, Buffer.alloc(4))), 'EOPNOTSUPP');
  }
  const none = makeFileSystem({ options: { metadata: 'none' } });
  t.equal(await errnoOf(none.kernel.symlink('x', '/l')), 'EOPNOTSUPP');
});

t.test('M13 whose headers are written', async t => {
  const namesFor = async (metadata: 's3fs' | 'aws' | 'both' | 'none'): Promise<string[]> => {
    const { kernel, store } = makeFileSystem({ options: { metadata } });
    await kernel.writeFile('/f', 'x');
    return Object.keys(store.info('f')!.description.metadata).sort();
  };
  const s3fs = ['atime', 'ctime', 'gid', 'mode', 'mtime', 'uid'];
  const aws = ['file-atime', 'file-ctime', 'file-group', 'file-mtime', 'file-owner', 'file-permissions'];
  const [own, theirs, both] = [await namesFor('s3fs'), await namesFor('aws'), await namesFor('both')];
  t.same(own, s3fs);
  t.ok(theirs.every(name => name.startsWith('file-')) && theirs.includes('file-permissions'), `${theirs} of ${aws}`);
  t.same(both, [...own, ...theirs].sort());
  t.same(await namesFor('none'), []);
  const none = makeFileSystem({ options: { metadata: 'none' } });
  await none.kernel.writeFile('/f', 'x');
  t.equal((await none.kernel.stat('/f')).mtime.sec * 1000, none.store.info('f')!.lastModified);
});

t.test('M14 df', async t => {
  const { filesystem, store } = makeFileSystem({ options: { bucketSize: 1e12 } });
  const { blocks, bavail, frsize } = filesystem.statfs();
  t.equal(blocks * frsize, 1e12);
  t.equal(bavail, blocks);
  t.equal(store.count(), 0);
});

t.test('M17 metadata is kept over a remount', async t => {
  const fs = makeFileSystem({ indexRoot: t.testdir() });
  const { store, clock } = fs;
  const theirs = (uid: string): { metadata: Record<string, string> } => ({ metadata: { mode: '33188', uid } });
  store.putForeign('kept', 'x', theirs('7'));
  store.putForeign('changed', 'x', theirs('7'));
  await clock.advance(5000);
  store.putForeign('young', 'x', theirs('7'));
  for (const name of ['kept', 'changed', 'young']) t.equal((await fs.kernel.stat(`/${name}`)).uid, 7);
  await fs.filesystem.drain();
  // The same bytes with other metadata: the ETag stays.
  store.putForeign('young', 'x', theirs('8'));
  await clock.advance(5000);
  store.putForeign('changed', 'x', theirs('8'));
  await clock.advance(5000);
  const { kernel } = fs.remount();
  store.resetCalls();
  t.equal((await kernel.stat('/kept')).uid, 7);
  t.equal(store.count('HeadObject'), 0, 'kept');
  t.equal((await kernel.stat('/changed')).uid, 8);
  t.equal((await kernel.stat('/young')).uid, 8);
  t.equal(store.count('HeadObject'), 2, 'asked for');
});

t.test('M18 the owner that a name comes with', async t => {
  const theirs = { metadata: { mode: String(0o100644), uid: '2000', gid: '2000' } };
  const mounted = (options: Partial<FileSystemOptions>): TestFileSystem => {
    const fs = makeFileSystem({ options });
    for (const name of ['a', 'b', 'c']) fs.store.putForeign(name, Buffer.alloc(10_000), theirs);
    return fs;
  };
  const ownerOf = async ({ filesystem, kernel }: TestFileSystem, name: string, uid: number): Promise<number> => {
    const entry = await filesystem.lookup(1, name, { ...kernel.ctx, uid });
    return (entry as Entry).attributes.uid;
  };
  const shared = mounted({ allowOther: true });
  t.equal(await ownerOf(shared, 'a', 1000), 1000, 'guessed for the mounter');
  t.equal(await ownerOf(shared, 'b', 0), 1000, 'and for root, whom no owner stops');
  t.equal(shared.store.count('HeadObject'), 0);
  t.equal(await ownerOf(shared, 'a', 2000), 2000, 'its own for others, also after a guess');
  t.equal(await ownerOf(shared, 'c', 3000), 2000);
  t.equal(shared.store.count('HeadObject'), 2);
  t.equal(await ownerOf(shared, 'c', 2000), 2000);
  t.equal(shared.store.count('HeadObject'), 2, 'once');
  // READDIRPLUS brings names to the kernel too.
  const listed = mounted({ allowOther: true });
  const entriesFor = async (uid: number): Promise<number> => {
    let entries = 0;
    const { filesystem, kernel } = listed;
    const ctx = { ...kernel.ctx, uid };
    const { fh } = filesystem.opendir(1, 0, ctx);
    const add = ({ name, entry }: DirectoryEntry): boolean => {
      if (entry && name !== '.' && name !== '..') entries++;
      return true;
    };
    await filesystem.readdir(1, fh, 0, { plus: true, add }, ctx);
    filesystem.releasedir(1, fh);
    return entries;
  };
  t.equal(await entriesFor(2000), 0, 'names and types alone');
  t.equal(await entriesFor(1000), 3);
  t.equal(await entriesFor(2000), 0, 'also of what others hold');
  t.equal(listed.store.count('HeadObject'), 0);
  for (const options of [{}, { allowOther: true, uid: 7 }]) {
    const alone = mounted(options);
    await ownerOf(alone, 'a', 2000);
    t.equal(alone.store.count('HeadObject'), 0, 'nobody else comes here, or all is of one owner');
  }
});
