/**
 * What every `KernelBinding` must do, told as tests against a `MemoryFs` that another process serves. A second binding
 * plugs in by its own `makeMount`; what it is known not to do is asserted as such, so that a defect that goes away is seen.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { ERRNO } from '../../src/errors.ts';
import { EVENTUALLY } from '../support/limits.ts';
import { PATTERN_SIZE } from '../support/memory-fs.ts';
import type { ChildOptions, MountedChild } from '../support/mounted-child.ts';
import {
  copyFileRange,
  fallocate,
  getxattr,
  listxattr,
  lseek,
  mapShared,
  removexattr,
  renameat2,
  setxattr,
} from '../support/syscalls.ts';

export type MakeMount = (options?: Omit<ChildOptions, 'binding'>) => Promise<MountedChild>;

const MIB = 1024 * 1024;
/** Some of the codes that a `FileSystemOps` fails with. */
const CODES = ['EACCES', 'EIO', 'ESTALE', 'ENOSPC', 'ETIMEDOUT', 'ENAMETOOLONG', 'ELOOP', 'EBUSY'] as const;
const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_KEEP_SIZE = 1;
const FALLOC_PUNCH_HOLE_KEEP_SIZE = 3;

/** What a binding may be known for, each with its line in docs/BINDINGS.md. */
export type Defect =
  /** renameat2(2) with flags is EINVAL. */
  | 'rename-flags'
  /** fallocate(2) is EOPNOTSUPP, and a file has no holes. */
  | 'holes'
  /** copy_file_range(2) passes the bytes through the caller. */
  | 'copies'
  /** utimensat(2) sets mtime to atime; nothing lies before 1970. */
  | 'times'
  /** Inode numbers are those of libfuse: counted, new with each mount. */
  | 'inode-numbers'
  /** A buffer too small for an attribute is EIO. */
  | 'attribute-size'
  /** A file that is removed while it is open stays under a hidden name until it is closed. */
  | 'hidden-names';

type Has = (defect: Defect) => boolean;
type Body = (t: Test, mount: MountedChild, path: (name: string) => string, has: Has) => Promise<void> | void;

interface Under {
  readonly makeMount: MakeMount;
  readonly defects: ReadonlySet<Defect>;
}

/** Runs `body` on a mount of its own, gone afterwards. */
async function onMount(t: Test, under: Under, name: string, body: Body, options: ChildOptions = {}) {
  await t.test(name, async t => {
    const mount = await under.makeMount(options);
    try {
      await body(
        t,
        mount,
        name => join(mount.dir, name),
        defect => under.defects.has(defect),
      );
    } finally {
      await mount.stop();
    }
  });
}

export async function bindingContract(t: Test, makeMount: MakeMount, defects: readonly Defect[] = []): Promise<void> {
  const under: Under = { makeMount, defects: new Set(defects) };
  for (const delayed of [false, true]) {
    const when = delayed ? 'answers that come later' : 'answers at once';
    // A mount takes a second to start, so these share one; the names that they make are different.
    await onMount(
      t,
      under,
      when,
      async (t, mount, path, has) => {
        for (const [name, body] of Object.entries(SHARED)) await t.test(name, async t => body(t, mount, path, has));
      },
      { delayed },
    );
  }
  await onMount(t, under, 'what the filesystem tells the kernel', notifications, { ttl: 3_600_000 });
  await onMount(t, under, 'a signal interrupts a reader', interrupted);
  await onMount(t, under, 'lookups are given back', forgets);
  await onMount(t, under, 'unmounted from outside', externalUnmount);
  await onMount(t, under, 'unmounted while somebody stands in it', busyUnmount);
  await onMount(t, under, 'read-only', readOnly, { mount: { readOnly: true } });
}

const namespace: Body = (t, mount, path, has) => {
  fs.mkdirSync(path('d'));
  fs.mkdirSync(path('d/e'));
  fs.writeFileSync(path('d/a'), 'one');
  fs.writeFileSync(path('d/b'), 'two');
  fs.symlinkSync('d/a', path('link'));
  t.equal(fs.readlinkSync(path('link')), 'd/a');
  t.equal(fs.readFileSync(path('link'), 'utf8'), 'one');
  t.throws(() => fs.mkdirSync(path('d')), { code: 'EEXIST' });
  t.throws(() => fs.rmdirSync(path('d')), { code: 'ENOTEMPTY' });
  t.throws(() => fs.writeFileSync(path('d/a'), 'x', { flag: 'wx' }), { code: 'EEXIST' });

  fs.renameSync(path('d/a'), path('d/e/moved'));
  t.notOk(fs.existsSync(path('d/a')));
  t.equal(fs.readFileSync(path('d/e/moved'), 'utf8'), 'one');
  if (has('rename-flags')) {
    t.throws(() => renameat2(path('d/e/moved'), path('d/new'), RENAME_NOREPLACE), { code: 'EINVAL' });
    t.throws(() => renameat2(path('d/e/moved'), path('d/b'), RENAME_EXCHANGE), { code: 'EINVAL' });
    fs.renameSync(path('d/b'), path('aside'));
    fs.renameSync(path('d/e/moved'), path('d/b'));
    fs.renameSync(path('aside'), path('d/e/moved'));
  } else {
    t.throws(() => renameat2(path('d/e/moved'), path('d/b'), RENAME_NOREPLACE), { code: 'EEXIST' });
    renameat2(path('d/e/moved'), path('d/b'), RENAME_EXCHANGE);
  }
  t.equal(fs.readFileSync(path('d/e/moved'), 'utf8'), 'two');
  t.equal(fs.readFileSync(path('d/b'), 'utf8'), 'one');
  fs.renameSync(path('d/e/moved'), path('d/b'));
  t.equal(fs.readFileSync(path('d/b'), 'utf8'), 'two');

  fs.linkSync(path('d/b'), path('hard'));
  t.equal(fs.statSync(path('hard')).nlink, 2);
  const open = fs.openSync(path('hard'), 'r+');
  fs.unlinkSync(path('hard'));
  fs.unlinkSync(path('d/b'));
  t.equal(fs.readFileSync(open, 'utf8'), 'two', 'an open file outlives its names');
  const hidden = [...fs.readdirSync(path('d')), ...fs.readdirSync(mount.dir)].filter(name =>
    /^\.fuse_hidden/.test(name),
  );
  t.equal(hidden.length > 0, has('hidden-names'), 'nothing is left in its place');
  fs.closeSync(open);
  fs.rmdirSync(path('d/e'));
  fs.rmdirSync(path('d'));
  t.throws(() => fs.statSync(path('d')), { code: 'ENOENT' });
};

const contents: Body = async (t, mount, path, has) => {
  // 1 MiB and a bit at odd offsets: more than one request, and none aligned.
  const bytes = randomBytes(5 * MIB + 12345);
  fs.writeFileSync(path('big'), bytes);
  t.ok(fs.readFileSync(path('big')).equals(bytes), 'written and read back');
  const fd = fs.openSync(path('big'), 'r+');
  const patch = randomBytes(2 * MIB + 1);
  fs.writeSync(fd, patch, 0, patch.length, 777_777);
  patch.copy(bytes, 777_777);
  fs.fsyncSync(fd);
  fs.fdatasyncSync(fd);
  t.ok(fs.readFileSync(path('big')).equals(bytes), 'overwritten in the middle');
  fs.ftruncateSync(fd, 100);
  t.equal(fs.fstatSync(fd).size, 100);
  fs.ftruncateSync(fd, 200);
  const whole = fs.readFileSync(path('big'));
  t.ok(whole.equals(Buffer.concat([bytes.subarray(0, 100), Buffer.alloc(100)])), 'cut and grown');
  fs.closeSync(fd);

  fs.writeFileSync(path('big'), 'short');
  t.equal(fs.readFileSync(path('big'), 'utf8'), 'short', 'O_TRUNC');
  fs.appendFileSync(path('big'), ' and more');
  const a = fs.openSync(path('big'), 'a');
  const b = fs.openSync(path('big'), 'a');
  fs.writeSync(a, '1');
  fs.writeSync(b, '2');
  fs.writeSync(a, '3');
  fs.closeSync(a);
  fs.closeSync(b);
  t.equal(fs.readFileSync(path('big'), 'utf8'), 'short and more123', 'O_APPEND');

  const x = fs.openSync(path('x'), 'w+');
  if (has('holes')) t.throws(() => fallocate(x, 0, 0, 8192), { code: 'EOPNOTSUPP' });
  else {
    fallocate(x, 0, 0, 8192);
    t.equal(fs.fstatSync(x).size, 8192);
    fallocate(x, FALLOC_KEEP_SIZE, 0, 16384);
    t.equal(fs.fstatSync(x).size, 8192);
  }
  fs.writeSync(x, Buffer.alloc(8192, 7), 0, 8192, 0);
  if (has('holes')) t.throws(() => fallocate(x, FALLOC_PUNCH_HOLE_KEEP_SIZE, 4096, 4096), { code: 'EOPNOTSUPP' });
  else {
    fallocate(x, FALLOC_PUNCH_HOLE_KEEP_SIZE, 4096, 4096);
    t.ok(fs.readFileSync(path('x')).equals(Buffer.concat([Buffer.alloc(4096, 7), Buffer.alloc(4096)])));
  }
  t.equal(lseek(x, 10, SEEK_DATA), 10);
  t.equal(lseek(x, 10, SEEK_HOLE), 8192);
  t.throws(() => lseek(x, 9000, SEEK_DATA), { code: 'ENXIO' });

  const source = fs.openSync(path('big'), 'r');
  const target = fs.openSync(path('copy'), 'w');
  t.equal(copyFileRange(source, target, 1000), 17);
  fs.closeSync(source);
  fs.closeSync(target);
  t.equal(fs.readFileSync(path('copy'), 'utf8'), 'short and more123');

  const map = mapShared(x, 8192);
  t.equal(map.bytes[0], 7);
  map.bytes[8191] = 9;
  map.sync();
  map.unmap();
  fs.closeSync(x);
  t.equal(fs.readFileSync(path('x'))[8191], 9, 'written by mmap');

  const counts = await mount.counts();
  t.equal(counts['copyFileRange'] === undefined, has('copies'), 'copied without passing the caller');
  t.ok(counts['fsync']);
  t.ok(counts['fdatasync']);
  t.ok(counts['flush']);
};

const attributes: Body = async (t, mount, path, has) => {
  process.umask(0o027);
  fs.writeFileSync(path('f'), 'x', { mode: 0o666 });
  process.umask(0o022);
  t.equal((await mount.counts())['lastMode'], 0o100640, 'the umask is applied once');
  fs.chmodSync(path('f'), 0o4751);
  t.equal(fs.statSync(path('f')).mode, 0o104751);
  fs.chownSync(path('f'), 12, 34);
  const { uid, gid } = fs.statSync(path('f'));
  t.same([uid, gid], [12, 34]);
  // A number below 0 would be the present to Node.
  fs.utimesSync(path('f'), new Date(-5000), 1234567890.123);
  const stat = fs.statSync(path('f'), { bigint: true });
  t.equal(stat.atimeNs, has('times') ? 0n : -5_000_000_000n, 'before 1970');
  // Node hands times over as a double, which is exact to a microsecond here.
  t.equal((stat.mtimeNs + 500_000n) / 1_000_000n, has('times') ? 0n : 1234567890123n);
  t.equal(stat.ino <= 0x1_0000_0000n, has('inode-numbers'), 'inode numbers have 64 bits');
  fs.utimesSync(path('f'), Date.now() / 1000, Date.now() / 1000);
  t.ok(Math.abs(fs.statSync(path('f')).mtimeMs - Date.now()) < 60_000);

  const statfs = fs.statfsSync(mount.dir);
  t.match(statfs, { blocks: 1000, bfree: 600, bavail: 500, files: 40, ffree: 30, bsize: 4096 });

  setxattr(path('f'), 'user.one', Buffer.from('value'));
  setxattr(path('f'), 'user.large', Buffer.alloc(60_000, 3));
  t.equal(getxattr(path('f'), 'user.one').value.toString(), 'value');
  t.equal(getxattr(path('f'), 'user.one', 0).size, 5);
  t.throws(() => getxattr(path('f'), 'user.one', 3), { code: has('attribute-size') ? 'EIO' : 'ERANGE' });
  t.ok(getxattr(path('f'), 'user.large').value.equals(Buffer.alloc(60_000, 3)));
  t.throws(() => setxattr(path('f'), 'user.one', Buffer.from('again'), 1), { code: 'EEXIST' });
  t.same(listxattr(path('f')).sort(), ['user.large', 'user.one']);
  removexattr(path('f'), 'user.one');
  t.throws(() => getxattr(path('f'), 'user.one'), { code: 'ENODATA' });
};

const directories: Body = (t, mount, path) => {
  fs.mkdirSync(path('many'));
  const names: string[] = [];
  for (let i = 0; i < 1500; i++) names.push(`${'파일-long-name-'.repeat(1 + (i % 12))}${i}`);
  for (const name of names) fs.closeSync(fs.openSync(path(`many/${name}`), 'w'));
  t.same(fs.readdirSync(path('many')).sort(), names.sort());
  const types = fs.readdirSync(mount.dir, { withFileTypes: true });
  t.equal(types.find(entry => entry.name === 'many')?.isDirectory(), true);
  t.equal(types.find(entry => entry.name === 'pattern')?.isFile(), true);
  for (const name of names) t.equal(fs.statSync(path(`many/${name}`)).size, 0);
  fs.rmSync(path('many'), { recursive: true });
  t.notOk(fs.existsSync(path('many')));
};

/** Offset and length of the i-th read, all over the file. */
const place = (i: number): [number, number] => [(i * 7_654_321) % (PATTERN_SIZE - MIB), 1 + ((i * 30_011) % MIB)];

const manyReaders: Body = async (t, _mount, path) => {
  const file = await fs.promises.open(path('pattern'));
  const expected = (offset: number): number => Math.imul((offset % (32 * MIB)) >> 2, 2654435761) >>> 0;
  const wrong: number[] = [];
  await Promise.all(
    Array.from({ length: 64 }, async (_, i) => {
      const [start, length] = place(i);
      const offset = start - (start % 4);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length + 8), 0, length + 8, offset);
      for (let at = 0; at + 4 <= bytesRead; at += 4) {
        if (buffer.readUInt32LE(at) !== expected(offset + at)) wrong.push(offset + at);
      }
      if (bytesRead !== length + 8) wrong.push(-1);
    }),
  );
  await file.close();
  t.same(wrong, []);
};

const manyWriters: Body = async (t, _mount, path) => {
  // More than the transport has buffers for, small and large: no request may be read into another's data.
  await Promise.all(
    Array.from({ length: 48 }, async (_, i) => {
      const bytes = randomBytes(i % 3 === 0 ? 1.5 * MIB : 3000 + i);
      await fs.promises.writeFile(path(`w${i}`), bytes);
      if (!(await fs.promises.readFile(path(`w${i}`))).equals(bytes)) t.fail(`w${i} differs`);
    }),
  );
  t.equal(fs.readdirSync(path('.')).filter(name => name.startsWith('w')).length, 48);
};

const errors: Body = (t, _mount, path) => {
  for (const code of CODES) {
    // By number: Node has no name for ESTALE.
    let errno: number | undefined;
    try {
      fs.statSync(path(`errno-${code}`));
    } catch (error) {
      ({ errno } = error as NodeJS.ErrnoException);
    }
    t.equal(errno, -ERRNO[code], code);
  }
  t.throws(() => fs.readFileSync(path('nothing')), { code: 'ENOENT' });
  t.throws(() => fs.truncateSync(path('blocked'), 2 ** 40), { code: 'EFBIG' });
  t.throws(() => fs.rmdirSync(path('blocked')), { code: 'ENOTDIR' });
  t.throws(() => fs.writeFileSync(path('x'.repeat(256)), ''), { code: 'ENAMETOOLONG' });
};

const oddNames: Body = (t, mount, path) => {
  const raw = Buffer.concat([Buffer.from(`${mount.dir}/`), Buffer.from([0xb0, 0xa1, 0x2e, 0x74])]);
  t.throws(() => fs.writeFileSync(raw, 'x'), { code: 'EILSEQ' });
  t.throws(() => fs.mkdirSync(raw), { code: 'EILSEQ' });
  t.throws(() => fs.statSync(raw), { code: 'ENOENT' });
  const names = ['\u{1F600}', '한글', '한글'.normalize('NFD'), '\ufeffwith a BOM', '\uffa0', 'new\nline', '%20+&='];
  for (const name of names) fs.writeFileSync(path(name), name);
  for (const name of names) t.equal(fs.readFileSync(path(name), 'utf8').length, name.length);
  const listed = fs.readdirSync(mount.dir);
  for (const name of names) t.ok(listed.includes(name), JSON.stringify(name));
};

const interrupted: Body = async (t, _mount, path) => {
  const reader = spawn('cat', [path('blocked')], { stdio: 'ignore' });
  // Until it sleeps in the read, a signal would only meet a program that is still starting.
  while (!/fuse|wait|request/.test(fs.readFileSync(`/proc/${reader.pid}/wchan`, 'utf8'))) {
    await new Promise(resolve => setTimeout(resolve, 10));
    if (reader.exitCode !== null) break;
  }
  // No other answer ever comes to it.
  reader.kill('SIGINT');
  const [, signal] = await once(reader, 'exit');
  t.equal(signal, 'SIGINT');
  t.ok(fs.statSync(path('pattern')).size, 'the mount serves on');
};

const bug: Body = async (t, mount, path) => {
  t.throws(() => fs.statSync(path('bug')), { code: 'EIO' });
  t.match(await mount.bug, /deliberate/);
};

const notifications: Body = async (t, mount, path) => {
  fs.writeFileSync(path('f'), 'old');
  t.equal(fs.readFileSync(path('f'), 'utf8'), 'old');
  const fd = fs.openSync(path('f'), 'r');
  // Reading has made the kernel's atime unsure: from this answer on it knows everything.
  t.equal(fs.fstatSync(fd).size, 3);
  await mount.call({ do: 'set-content', path: 'f', content: 'newer' });
  t.equal(fs.fstatSync(fd).size, 3, 'the kernel keeps what it knows');
  await mount.call({ do: 'invalidate-inode', path: 'f', pages: true });
  await until(() => fs.fstatSync(fd).size === 5);
  t.equal(fs.readFileSync(fd, 'utf8'), 'newer');
  fs.closeSync(fd);

  const lookups = async (): Promise<number> => (await mount.counts())['op.lookup'] ?? 0;
  fs.statSync(path('f'));
  const before = await lookups();
  fs.statSync(path('f'));
  t.equal(await lookups(), before, 'the kernel keeps the entry');
  await mount.call({ do: 'invalidate-entry', name: 'f' });
  await until(async () => {
    fs.statSync(path('f'));
    return (await lookups()) > before;
  });
  t.ok((await lookups()) > before);
};

const forgets: Body = async (t, mount, path) => {
  fs.mkdirSync(path('d'));
  for (let i = 0; i < 300; i++) fs.writeFileSync(path(`d/${i}`), 'x');
  fs.readdirSync(path('d'), { withFileTypes: true });
  for (let i = 0; i < 300; i++) fs.statSync(path(`d/${i}`));
  fs.rmSync(path('d'), { recursive: true });
  // What was removed is forgotten soon after, in the background.
  await until(async () => ((await mount.counts())['lookups'] ?? 0) <= 2);
  const { lookups } = await mount.counts();
  t.ok((lookups ?? 0) <= 2 && (lookups ?? 0) >= 0, `${lookups} lookups are left`);
};

const externalUnmount: Body = async (t, mount) => {
  const command = spawn('umount', [mount.dir], { stdio: 'inherit' });
  const [code] = await once(command, 'exit');
  t.equal(code, 0);
  t.equal(await mount.ended, 'unmounted');
};

const busyUnmount: Body = async (t, mount, path) => {
  const fd = fs.openSync(path('pattern'), 'r');
  await t.rejects(mount.call({ do: 'unmount', lazy: false }), { message: 'EBUSY' });
  await mount.call({ do: 'unmount', lazy: true });
  t.equal(fs.readSync(fd, Buffer.alloc(10), 0, 10, 4), 10, 'an open file is served until it is closed');
  t.notOk(fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(mount.dir));
  fs.closeSync(fd);
  t.equal(await mount.ended, 'unmounted');
};

const readOnly: Body = (t, _mount, path) => {
  t.throws(() => fs.writeFileSync(path('f'), 'x'), { code: 'EROFS' });
  t.ok(fs.statSync(path('pattern')).size);
};

const SHARED: Readonly<Record<string, Body>> = {
  namespace,
  contents,
  attributes,
  directories,
  '64 readers at once': manyReaders,
  '48 writers at once': manyWriters,
  'errors become errno': errors,
  'names that are not UTF-8': oddNames,
  'a bug in an operation': bug,
};

/** Looks again every 10 ms, for what the kernel does in its own time; gives up after a while and lets the test judge. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + EVENTUALLY; Date.now() < end; ) {
    if (await holds()) return;
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}
