/**
 * What other tools leave in a bucket, as they leave it, and what we leave to them: in process, over the store in memory.
 * (s3fs itself, for real, is in `s3fs.test.ts`.)
 */
import t from 'tap';
import { S_IFIFO, S_IFLNK, S_IFMT } from '../../src/fs/modes.ts';
import type { MetadataStyle } from '../../src/fs/posix.ts';
import type { Timestamp } from '../../src/fuse/ops.ts';
import { makeFileSystem } from '../support/filesystem.ts';

/** Longer than a change of metadata waits for the next one. */
const SOON = 60;

const LAST_MODIFIED = Date.UTC(2025, 1, 3, 4, 5, 6);
const OBJECT_TIME: Timestamp = { sec: LAST_MODIFIED / 1000, nsec: 0 };

interface Case {
  readonly key?: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** What stat shows; what is not named is as for an object without metadata. */
  readonly shows: { readonly mode?: number; readonly uid?: number; readonly gid?: number; readonly mtime?: Timestamp };
  readonly target?: string;
}

const CASES: Readonly<Record<string, Case>> = {
  'nothing at all': { metadata: {}, shows: {} },
  's3fs, now': {
    metadata: { mode: '33261', uid: '7', gid: '8', mtime: '981173106.789012345', ctime: '1.5', atime: '2' },
    shows: { mode: 0o100755, uid: 7, gid: 8, mtime: { sec: 981173106, nsec: 789012345 } },
  },
  's3fs before 1.87: whole seconds, no ctime': {
    metadata: { mode: '33188', uid: '0', gid: '0', mtime: '981173106' },
    shows: { mode: 0o100644, uid: 0, gid: 0, mtime: { sec: 981173106, nsec: 0 } },
  },
  's3fs: numbers in another base': {
    metadata: { mode: '0100640', uid: '0x10', gid: '010' },
    shows: { mode: 0o100640, uid: 16, gid: 8 },
  },
  's3fs: link': {
    body: '../어디/x',
    metadata: { mode: '41471', uid: '7', gid: '8' },
    shows: { mode: 0o120777, uid: 7, gid: 8 },
    target: '../어디/x',
  },
  's3fs: directory': {
    key: 'o/',
    body: '',
    contentType: 'application/x-directory',
    metadata: { mode: '16877', uid: '7', gid: '8', mtime: '5' },
    shows: { mode: 0o040755, uid: 7, gid: 8, mtime: { sec: 5, nsec: 0 } },
  },
  's3fs 1.90: directory whose mode has no type': {
    key: 'o/',
    body: '',
    contentType: 'application/x-directory',
    metadata: { mode: '488' },
    shows: { mode: 0o040750 },
  },
  's3fs before 1.5: directory without a slash': {
    body: '',
    contentType: 'application/x-directory',
    metadata: { mode: '16832', uid: '7', gid: '8' },
    shows: { mode: 0o040700, uid: 7, gid: 8 },
  },
  'S3 console: folder': {
    key: 'o/',
    body: '',
    contentType: 'application/x-directory; charset=UTF-8',
    metadata: {},
    shows: { mode: 0o040750 },
  },
  'Nextcloud: folder': { body: '', contentType: 'httpd/unix-directory', metadata: {}, shows: { mode: 0o040750 } },
  'Hadoop: folder': { key: 'o_$folder$', body: '', metadata: {}, shows: { mode: 0o040750 } },
  rclone: { metadata: { mtime: '1700000000.123456789' }, shows: { mtime: { sec: 1700000000, nsec: 123456789 } } },
  'rclone: fewer digits': {
    metadata: { mtime: '1700000000.5' },
    shows: { mtime: { sec: 1700000000, nsec: 500_000_000 } },
  },
  'rclone: before 1970': { metadata: { mtime: '-1.25' }, shows: { mtime: { sec: -2, nsec: 750_000_000 } } },
  'rclone -M': {
    metadata: { mtime: '1700000000.1', mode: '100664', uid: '7', gid: '8', rdev: '0', atime: '2023-11-14T22:13:20Z' },
    shows: { mode: 0o100664, uid: 7, gid: 8, mtime: { sec: 1700000000, nsec: 100_000_000 } },
  },
  geesefs: {
    metadata: { mode: '33204', uid: '7', gid: '8', mtime: '1700000000' },
    shows: { mode: 0o100664, uid: 7, gid: 8, mtime: { sec: 1700000000, nsec: 0 } },
  },
  'geesefs: only what differs from its own': { metadata: { uid: '7' }, shows: { uid: 7 } },
  'geesefs: link': {
    body: '',
    metadata: { '--symlink-target': 'a%20b' },
    shows: { mode: S_IFLNK | 0o640 },
    target: 'a b',
  },
  'S3 Files, FSx for Lustre': {
    metadata: {
      'file-permissions': '0100664',
      'file-owner': '500',
      'file-group': '501',
      'file-mtime': '1595002920000000007ns',
      'file-atime': '1595002921000000000ns',
    },
    shows: { mode: 0o100664, uid: 500, gid: 501, mtime: { sec: 1595002920, nsec: 7 } },
  },
  'DataSync, File Gateway: no type, milliseconds': {
    metadata: { 'file-permissions': '0600', 'file-owner': '500', 'file-group': '501', 'file-mtime': '1595002920250' },
    shows: { mode: 0o100600, uid: 500, gid: 501, mtime: { sec: 1595002920, nsec: 250_000_000 } },
  },
  'S3 Files: link': {
    body: 'target',
    metadata: { 'file-permissions': '0120777', 'file-owner': '0', 'file-group': '0' },
    shows: { mode: 0o120777, uid: 0, gid: 0 },
    target: 'target',
  },
  'S3 Files: directory': {
    key: 'o/',
    body: '',
    metadata: { 'file-permissions': '0040711', 'file-owner': '5', 'file-group': '6', 'file-mtime': '7000000000ns' },
    shows: { mode: 0o040711, uid: 5, gid: 6, mtime: { sec: 7, nsec: 0 } },
  },
  s3sync: { metadata: { permissions: '420', owner: '7', group: '8' }, shows: { mode: 0o100644, uid: 7, gid: 8 } },
  'Google Cloud Storage': {
    metadata: {
      'goog-reserved-posix-mode': '0604',
      'goog-reserved-posix-uid': '7',
      'goog-reserved-posix-gid': '8',
      'goog-reserved-file-mtime': '1700000000',
    },
    shows: { mode: 0o100604, uid: 7, gid: 8, mtime: { sec: 1700000000, nsec: 0 } },
  },
  'both families: what s3fs says goes first': {
    metadata: {
      mode: '33152',
      mtime: '5',
      'file-permissions': '0100777',
      'file-owner': '9',
      'file-mtime': '6000000000ns',
    },
    shows: { mode: 0o100600, uid: 9, mtime: { sec: 5, nsec: 0 } },
  },
  'what is no metadata of files at all': {
    metadata: {
      mode: 'fast',
      owner: 'data-team',
      group: 'a',
      permissions: 'all',
      mtime: 'yesterday',
      'file-mtime': 'x',
    },
    shows: {},
  },
  'a type that the size contradicts': { body: 'x', metadata: { mode: '16877' }, shows: { mode: 0o100755 } },
};

for (const [name, { key = 'o', body = 'bytes', contentType, metadata, shows, target }] of Object.entries(CASES)) {
  t.test(`read: ${name}`, async t => {
    const { kernel, store } = makeFileSystem();
    store.putForeign(key, body, { metadata, lastModified: LAST_MODIFIED, ...(contentType ? { contentType } : {}) });
    const { mode, uid, gid, mtime } = await kernel.stat('/o');
    const expected = { mode: 0o100640, uid: 1000, gid: 1000, mtime: OBJECT_TIME, ...shows };
    t.strictSame({ mode: mode.toString(8), uid, gid, mtime }, { ...expected, mode: expected.mode.toString(8) });
    if (target !== undefined) t.equal(await kernel.readlink('/o'), target);
    else if ((mode & S_IFMT) === 0o100000) t.equal((await kernel.readFile('/o')).toString(), body);
  });
}

/** Everything that a program may do to an object's metadata, one by one; then a save. */
for (const style of ['s3fs', 'aws', 'both', 'none'] as const satisfies readonly MetadataStyle[]) {
  t.test(`changed with metadata=${style}: shows the same after a remount`, async t => {
    for (const [name, { key = 'o', body = 'bytes', contentType, metadata, target }] of Object.entries(CASES)) {
      // Where nothing may be written, what an object has is kept up to date, but nothing begun.
      if (style === 'none' && !/^\d/.test(metadata['mode'] ?? metadata['file-permissions'] ?? '')) continue;
      const fs = makeFileSystem({ options: { metadata: style } });
      fs.store.putForeign(key, body, {
        metadata,
        lastModified: LAST_MODIFIED,
        ...(contentType ? { contentType } : {}),
      });
      await fs.kernel.setattr('/o', { mode: 0o711, uid: 21, gid: 22, mtime: { sec: 31, nsec: 32 } });
      await fs.clock.advance(SOON);
      const again = fs.remount({ metadata: style });
      const { mode, uid, gid, mtime } = await again.kernel.stat('/o');
      t.strictSame([mode & 0o777, uid, gid, mtime], [0o711, 21, 22, { sec: 31, nsec: 32 }], name);
      if (target !== undefined) t.equal(await again.kernel.readlink('/o'), target, `${name}: still a link`);
    }
  });
}

t.test('written: what each reader finds', async t => {
  const written = async (metadata: MetadataStyle): Promise<Record<string, Readonly<Record<string, string>>>> => {
    const fs = makeFileSystem({ options: { metadata } });
    await fs.kernel.writeFile('/file', 'x');
    await fs.kernel.mkdir('/dir');
    if (metadata !== 'none') {
      await fs.kernel.symlink('where', '/link');
      await fs.filesystem.mknod(1, 'fifo', S_IFIFO | 0o600, 0, fs.kernel.ctx);
    }
    for (const { name } of await fs.kernel.readdir('/')) {
      await fs.kernel.setattr(`/${name}`, { uid: 7, gid: 8, mtime: { sec: 5, nsec: 6 }, atime: { sec: 7, nsec: 0 } });
    }
    await fs.clock.advance(SOON);
    return Object.fromEntries(
      fs.store.keys().map(key => {
        const { ctime: _, ...rest } = fs.store.info(key)!.description.metadata;
        return [key, rest];
      }),
    );
  };
  const s3fs = (mode: number): Record<string, string> => ({
    mode: String(mode),
    uid: '7',
    gid: '8',
    mtime: '5.000000006',
    atime: '7.000000000',
  });
  const aws = (mode: string): Record<string, string> => ({
    'file-permissions': mode,
    'file-owner': '7',
    'file-group': '8',
    'file-mtime': '5000000006ns',
    'file-atime': '7000000000ns',
  });
  const [own, theirs] = [
    { 'dir/': s3fs(0o040755), fifo: s3fs(S_IFIFO | 0o600), file: s3fs(0o100644), link: s3fs(0o120777) },
    { 'dir/': aws('040755'), fifo: aws('010600'), file: aws('0100644'), link: aws('0120777') },
  ];
  t.strictSame(await written('s3fs'), own);
  t.strictSame(await written('aws'), theirs);
  t.strictSame(
    await written('both'),
    Object.fromEntries(
      Object.entries(own).map(([key, each]) => [key, { ...each, ...theirs[key as keyof typeof own] }]),
    ),
  );
  t.strictSame(await written('none'), { 'dir/': {}, file: {} });
});

t.test("others' own headers are kept right, and those of strangers alone", async t => {
  const change = async (metadata: Readonly<Record<string, string>>): Promise<Readonly<Record<string, string>>> => {
    const { kernel, store, clock } = makeFileSystem();
    store.putForeign('o', 'x', { metadata });
    await kernel.setattr('/o', { mode: 0o604, uid: 7, gid: 8, mtime: { sec: 1700000000, nsec: 5 } });
    await clock.advance(SOON);
    return store.info('o')!.description.metadata;
  };
  t.match(await change({ permissions: '420', owner: '1', group: '2' }), { permissions: '388', owner: '7', group: '8' });
  t.match(await change({ 'goog-reserved-posix-mode': '644', 'goog-reserved-file-mtime': '1' }), {
    'goog-reserved-posix-mode': '604',
    'goog-reserved-file-mtime': '1700000000',
  });
  t.match(await change({ 'file-mtime': '5ns' }), { 'file-mtime': '1700000000000000005ns' });
  const strangers = { owner: 'data-team', group: '5', note: 'kept', 's3cmd-attrs': 'md5:0123/mode:33188' };
  t.match(await change(strangers), strangers);
  const aws = makeFileSystem({ options: { metadata: 'aws' } });
  aws.store.putForeign('o', 'x', { metadata: { mode: 'fast', mtime: 'never' } });
  await aws.kernel.setattr('/o', { mode: 0o604 });
  await aws.clock.advance(SOON);
  t.match(aws.store.info('o')!.description.metadata, { mode: 'fast', mtime: 'never', 'file-permissions': '0100604' });
});

t.test('a checksum that somebody kept of the bytes goes when the bytes do', async t => {
  const { kernel, store, clock } = makeFileSystem();
  const metadata = {
    md5chksum: 'XrY7u+Ae7tCTyyK7j1rNww==',
    's3cmd-attrs': 'atime:1/md5:0123/mode:33188',
    note: 'kept',
  };
  store.putForeign('o', 'hello world', { metadata });
  await kernel.setattr('/o', { mode: 0o604 });
  await clock.advance(SOON);
  await kernel.rename('/o', '/n');
  t.match(store.info('n')!.description.metadata, metadata, 'the same bytes');
  const O_WRONLY = 1;
  await kernel.writeFile('/n', 'other', O_WRONLY);
  const after = store.info('n')!.description.metadata;
  t.notOk('md5chksum' in after);
  t.match(after, { 's3cmd-attrs': 'atime:1/mode:33188', note: 'kept' });
});
