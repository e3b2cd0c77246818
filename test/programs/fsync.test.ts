/** A database server's way with its files: a log that is appended to and synced, pages that are written at random and synced. */
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, statSync, writeSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run, withEnvironment } from '../support/processes.ts';

/**
 * One backend: for each transaction a record with its length and CRC goes to the log by fdatasync, then pages of 8 KiB, each
 * with its number, version and CRC, are written where they belong; every tenth transaction is a checkpoint that syncs them
 * and writes by rename what the log has reached. It tells on stdout what is durable.
 */
const BACKEND = `
import os, random, struct, sys, zlib
d, name, transactions = sys.argv[1], sys.argv[2], int(sys.argv[3])
draw = random.Random(name)
log = os.open(d + '/wal-' + name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
base = os.open(d + '/base-' + name, os.O_RDWR | os.O_CREAT, 0o600)
os.posix_fallocate(base, 0, 48 * 8192)
def page(number, version):
    body = struct.pack('<II', number, version) + random.Random(number * 1000 + version).randbytes(8180)
    return body + struct.pack('<I', zlib.crc32(body))
for i in range(1, transactions + 1):
    changed = sorted(draw.sample(range(48), 3))
    record = struct.pack('<I3I', i, *changed) + draw.randbytes(draw.randrange(20, 2000))
    os.write(log, struct.pack('<II', len(record), zlib.crc32(record)) + record)
    os.fdatasync(log)
    print('committed', i, flush=True)
    for number in changed: os.pwrite(base, page(number, i), number * 8192)
    if i % 10 == 0:
        os.fdatasync(base)
        with open(d + '/control-' + name + '.tmp', 'w') as f:
            f.write(str(i))
            f.flush()
            os.fsync(f.fileno())
        os.rename(d + '/control-' + name + '.tmp', d + '/control-' + name)
        fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        os.close(fd)
`;

/** Reads the log to its end, plays it on the pages of the last checkpoint, and checks each page; says what it found. */
const RECOVERY = `
import os, struct, sys, zlib, random
d, name = sys.argv[1], sys.argv[2]
log = open(d + '/wal-' + name, 'rb').read()
control = int(open(d + '/control-' + name).read())
at, last, versions = 0, 0, {}
while at < len(log):
    length, crc = struct.unpack_from('<II', log, at)
    record = log[at + 8:at + 8 + length]
    assert len(record) == length and zlib.crc32(record) == crc, 'torn record at %d' % at
    i, *changed = struct.unpack_from('<I3I', record)
    assert i == last + 1, 'record %d follows %d' % (i, last)
    last = i
    for number in changed: versions.setdefault(number, []).append(i)
    at += 8 + length
base = open(d + '/base-' + name, 'rb').read()
assert len(base) == 48 * 8192
for number in range(48):
    page = base[number * 8192:(number + 1) * 8192]
    known = versions.get(number, [])
    if not any(page):
        assert not [v for v in known if v <= control], 'page %d is lost' % number
        continue
    got, version = struct.unpack_from('<II', page)
    assert zlib.crc32(page[:-4]) == struct.unpack('<I', page[-4:])[0], 'page %d is torn' % number
    assert got == number and version in known and version >= max([v for v in known if v <= control], default=0)
print('recovered', last)
`;

t.test('logs and pages: what was synced is there after the daemon was killed', async t => {
  const mount = await aMount(t);
  const names = ['a', 'b', 'c'];
  const committed = new Map(names.map(name => [name, 0]));
  const backends = names.map(name => {
    const child = spawn('env', [
      ...withEnvironment({ PATH: process.env['PATH'] }),
      'python3',
      '-c',
      BACKEND,
      mount.dir,
      name,
      '100000',
    ]);
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const [last] = text.trim().split('\n').slice(-1);
      committed.set(name, Number(last!.split(' ')[1]));
    });
    return { child, ended: new Promise(resolve => child.once('close', resolve)) };
  });
  const isBusy = (): boolean => names.every(name => committed.get(name)! >= 40);
  while (!isBusy()) await Promise.race([new Promise(resolve => setTimeout(resolve, 20)), backends[0]!.ended]);
  mount.kill('SIGKILL');
  await mount.ended;
  // Their next call fails: the filesystem is gone.
  await Promise.all(backends.map(({ ended }) => ended));
  await mount.start();
  for (const name of names) {
    const recovered = Number(/recovered (\d+)/.exec(run('python3', ['-c', RECOVERY, mount.dir, name]))![1]);
    t.ok(recovered >= committed.get(name)!, `${name}: ${recovered} of ${committed.get(name)} that were committed`);
  }
});

t.test('small appends, each synced, by several descriptors', async t => {
  const mount = await aMount(t);
  const path = mount.path('log');
  const { O_WRONLY, O_CREAT, O_APPEND, O_DSYNC } = constants;
  const descriptors = [0, 0, O_DSYNC].map(flags => openSync(path, O_WRONLY | O_CREAT | O_APPEND | flags, 0o644));
  let expected = '';
  for (let i = 0; i < 150; i++) {
    const line = `${i} ${'#'.repeat(i)}\n`;
    writeSync(descriptors[i % 3]!, line);
    expected += line;
    // What O_DSYNC has written is in S3 when write returns.
    if (i % 30 === 2) t.equal(await mount.client.text('log'), expected, `${i} lines in S3`);
  }
  for (const fd of descriptors) closeSync(fd);
  t.equal(statSync(path).size, expected.length);
  t.equal(readFileSync(path, 'utf8'), expected);
  await mount.remount();
  t.equal(readFileSync(path, 'utf8'), expected, 'by a fresh mount');
});
