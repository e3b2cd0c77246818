/** One bucket, used by Debian's s3fs and by s3mount in turn: what one writes, the other shows. */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  type BigIntStats,
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BUCKET, prepareMount, type RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';
import { EmbeddedChild } from '../support/s3-child.ts';
import { S3fsMount } from '../support/s3fs.ts';
import { storedWith } from '../support/stored-with.ts';
import { getxattr, listxattr, setxattr } from '../support/syscalls.ts';

const MIB = 1024 * 1024;

/** Above what either sends as one PUT (s3fs 25 MiB, s3mount 16 MiB), with an odd end. */
const LARGE = 26 * MIB + 12_345;

/**
 * What stat, readlink, read and listxattr tell of one name, in a form that can be compared. Not the number of links: s3fs
 * has one for each directory, we as on a local disk.
 */
function shown(path: string): Record<string, unknown> {
  const stat: BigIntStats = lstatSync(path, { bigint: true });
  const common = {
    mode: stat.mode.toString(8),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: stat.mtimeNs,
    atime: stat.atimeNs,
    ctime: stat.ctimeNs,
  };
  if (stat.isSymbolicLink()) return { ...common, size: stat.size, target: readlinkSync(path) };
  const xattrs = Object.fromEntries(
    listxattr(path)
      .sort()
      .map(name => [name, getxattr(path, name).value.toString('hex')]),
  );
  if (!stat.isFile()) return { ...common, xattrs };
  const content = createHash('md5').update(readFileSync(path)).digest('hex');
  return { ...common, size: stat.size, content, xattrs };
}

/** Everything below a directory, by path; the directory itself is not shown: a mount point has its own rules. */
function tree(directory: string, below = ''): Record<string, Record<string, unknown>> {
  const all: Record<string, Record<string, unknown>> = {};
  for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    all[path] = shown(join(directory, path));
    if (entry.isDirectory()) Object.assign(all, tree(directory, path));
  }
  return all;
}

/** All that both can keep. s3fs 1.90 keeps no device numbers: there are fifos, but no devices. */
function writeTree(dir: string): void {
  const at = (...names: string[]): string => join(dir, ...names);
  mkdirSync(at('dir'));
  mkdirSync(at('dir', '아래 + %20'), 0o700);
  writeFileSync(at('plain.txt'), 'hello\n');
  writeFileSync(at('empty'), '');
  writeFileSync(at('dir', '아래 + %20', '파일 [1] & ~.txt'), 'names\n');
  writeFileSync(at('large.bin'), patternBytes(LARGE, 7));
  for (const [name, mode] of [
    ['m0600', 0o600],
    ['m0755', 0o755],
    ['m4755', 0o4755],
    ['m2711', 0o2711],
    ['m0444', 0o444],
  ] as const) {
    writeFileSync(at(name), name);
    // After chown, which takes the setuid bit.
    chownSync(at(name), 1234, 4321);
    chmodSync(at(name), mode);
  }
  mkdirSync(at('sticky'));
  chmodSync(at('sticky'), 0o1777);
  chownSync(at('sticky'), 65_534, 3);
  for (const [name, time] of [
    ['t2001', '2001-02-03 04:05:06.789012345'],
    ['t1970', '1970-01-01 00:00:01'],
    ['t2040', '2040-05-06 07:08:09.000000001'],
  ] as const) {
    writeFileSync(at(name), name);
    run('touch', ['-d', time, at(name)]);
  }
  run('touch', ['-d', '1999-12-31 23:59:59.5', at('dir')]);
  symlinkSync('plain.txt', at('link'));
  symlinkSync('../어디/../없는 곳', at('dir', 'dangling'));
  lchownSync(at('link'), 7, 8);
  run('mkfifo', ['-m', '0640', at('fifo')]);
  writeFileSync(at('xattrs'), 'x');
  setxattr(at('xattrs'), 'user.note', Buffer.from('한글'));
  setxattr(at('xattrs'), 'user.binary', Buffer.from([0, 255, 10, 13]));
  setxattr(at('xattrs'), 'user.empty', Buffer.alloc(0));
  setxattr(at('sticky'), 'user.of-directory', Buffer.from('d'));
}

function startS3fs(mount: RealMount, options?: string): Promise<S3fsMount> {
  const { access, directory, guard } = mount;
  return S3fsMount.start({ access, bucket: BUCKET, directory, guard, ...(options ? { options } : {}) });
}

/** The same in both, name by name, so that a failure says what differs. */
function sameTrees(t: Test, found: ReturnType<typeof tree>, wanted: ReturnType<typeof tree>): void {
  t.same(Object.keys(found).sort(), Object.keys(wanted).sort(), 'the same names');
  for (const [path, expected] of Object.entries(wanted)) t.strictSame(found[path], expected, path);
}

t.test('s3mount shows what s3fs wrote, and s3fs what s3mount changed in it', async t => {
  const mount = await prepareMount(t);
  const writer = await startS3fs(mount);
  writeTree(writer.dir);
  await writer.stop();
  const fresh = await startS3fs(mount);
  const wanted = tree(fresh.dir);
  await fresh.stop();
  t.equal(Object.keys(wanted).length, 19, 'all were written');

  await mount.start();
  sameTrees(t, tree(mount.dir), wanted);

  chmodSync(mount.path('plain.txt'), 0o604);
  chownSync(mount.path('empty'), 11, 12);
  utimesSync(mount.path('m0600'), 1, 1_000_000_000.25);
  appendFileSync(mount.path('large.bin'), 'and more');
  truncateSync(mount.path('m0755'), 3);
  renameSync(mount.path('dir'), mount.path('moved'));
  lutimesSync(mount.path('link'), 5, 6);
  unlinkSync(mount.path('t1970'));
  setxattr(mount.path('xattrs'), 'user.note', Buffer.from('changed'));
  // Its object is `/`, which nobody may show as a name.
  chmodSync(mount.dir, 0o751);
  await mount.remount();
  t.equal(lstatSync(mount.dir).mode & 0o7777, 0o751);
  const changed = tree(mount.dir);
  await mount.stop();
  const reader = await startS3fs(mount);
  sameTrees(t, tree(reader.dir), changed);
  await reader.stop();
});

t.test('s3fs shows what s3mount wrote, and s3mount what s3fs changed in it', async t => {
  const mount = await prepareMount(t);
  await mount.start();
  writeTree(mount.dir);
  await mount.remount();
  const wanted = tree(mount.dir);
  await mount.stop();
  t.equal(Object.keys(wanted).length, 19, 'all were written');

  const s3fs = await startS3fs(mount);
  sameTrees(t, tree(s3fs.dir), wanted);

  chmodSync(s3fs.path('plain.txt'), 0o604);
  chownSync(s3fs.path('empty'), 11, 12);
  utimesSync(s3fs.path('m0600'), 1, 1_000_000_000.25);
  appendFileSync(s3fs.path('large.bin'), 'and more');
  truncateSync(s3fs.path('m0755'), 3);
  renameSync(s3fs.path('dir'), s3fs.path('moved'));
  unlinkSync(s3fs.path('t1970'));
  setxattr(s3fs.path('xattrs'), 'user.note', Buffer.from('changed'));
  await s3fs.stop();
  const fresh = await startS3fs(mount);
  const changed = tree(fresh.dir);
  await fresh.stop();
  await mount.start();
  sameTrees(t, tree(mount.dir), changed);
});

/** What an option decides about one name. */
function owner(path: string): string {
  const { mode, uid, gid } = lstatSync(path);
  return `${mode.toString(8)} ${uid}:${gid}`;
}

const NAMES = ['.', 'bare', 'own', 'marked', 'link'] as const;

t.test('options about owner and mode give what they give with s3fs', async t => {
  const s3 = await EmbeddedChild.start({ buckets: [BUCKET] });
  t.teardown(() => s3.stop());
  for (const options of [
    '',
    'umask=0022',
    'umask=0077',
    'uid=1001,gid=1002',
    'umask=0027,uid=1001,gid=1002,allow_other',
    'allow_other',
    'allow_other,mp_umask=0022',
    'mp_umask=0022',
    'allow_other,umask=0022,mp_umask=0077',
  ]) {
    await t.test(options === '' ? 'none' : options, async t => {
      const mount = await prepareMount(t, {
        access: s3.access,
        options,
        prepare: async client => {
          await client.put('bare', 'no metadata');
          const metadata = { uid: '7', gid: '8', mtime: '1000000000' };
          await client.put('own', 'x', { metadata: { ...metadata, mode: String(0o100604) } });
          await client.put('marked/', '', {
            contentType: 'application/x-directory',
            metadata: { ...metadata, mode: String(0o041775) },
          });
          await client.put('link', 'own', { metadata: { ...metadata, mode: String(0o120777) } });
        },
      });
      const s3fs = await startS3fs(mount, options);
      await mount.start();
      for (const [each, dir] of [
        ['s3fs', s3fs.dir],
        ['s3mount', mount.dir],
      ] as const) {
        run('sh', ['-c', 'umask 027; : > "$1/new-$2"; mkdir "$1/newdir-$2"', 'sh', dir, each]);
      }
      for (const name of NAMES) t.equal(owner(mount.path(name)), owner(s3fs.path(name)), name);
      for (const [name, key] of [
        ['new', ''],
        ['newdir', '/'],
      ] as const) {
        t.equal(owner(mount.path(`${name}-s3mount`)), owner(s3fs.path(`${name}-s3fs`)), name);
        const ours = await storedWith(s3.access, BUCKET, `${name}-s3mount${key}`);
        const theirs = await storedWith(s3.access, BUCKET, `${name}-s3fs${key}`);
        // s3fs 1.90 leaves a new directory's type out of its mode until the first chmod.
        t.equal(
          Number(ours.metadata['mode']) & 0o7777,
          Number(theirs.metadata['mode']) & 0o7777,
          `${name}: stored mode`,
        );
        for (const id of ['uid', 'gid']) t.equal(ours.metadata[id], theirs.metadata[id], `${name}: stored ${id}`);
        t.equal(ours.contentType, theirs.contentType, `${name}: content type`);
      }
      for (const key of ['new-s3fs', 'new-s3mount', 'newdir-s3fs/', 'newdir-s3mount/']) await mount.client.delete(key);
      await s3fs.stop();
    });
  }
});
