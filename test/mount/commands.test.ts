/** status, why and flush on a real mount, and what umount shows while it saves. */
import { existsSync, readdirSync } from 'node:fs';
import { chown, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { diskSpace, LEAST_FREE } from '../../src/cache/disk-space.ts';
import type { MountReport } from '../../src/cli/mount-report.ts';
import { RunFile } from '../../src/cli/run-file.ts';
import { statusText } from '../../src/cli/status-text.ts';
import { installUnit } from '../../src/cli/unit-install.ts';
import { INDEX_BYTES } from '../../src/fs/index-space.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { AS_ORDINARY_USER, aPlace, BUCKET, eventually, output } from '../support/s3mount-command.ts';

t.test('status: a mount, as text and as JSON, and all of them', async t => {
  const place = await aPlace(t);
  const { mountPoint, server } = place;
  server.putObject(BUCKET, 'theirs.csv', Buffer.from('a,b\n'));
  await place.mount();
  await mkdir(join(mountPoint, 'd'));
  await writeFile(join(mountPoint, 'd/ours'), 'x'.repeat(5000));
  await readFile(join(mountPoint, 'theirs.csv'));
  const file = await open(join(mountPoint, 'd/open'), 'w');
  await file.write('unsaved!');
  const { code, stdout } = await place.run(['status', '--json', join(mountPoint, 'd')]);
  t.equal(code, 0);
  const report = JSON.parse(stdout) as MountReport;
  t.match(report, {
    bucket: BUCKET,
    mountPoint,
    pid: await place.daemonPid(),
    region: 'us-east-1',
    unsaved: { bytes: 8, files: 1, largest: [{ path: 'd/open', bytes: 8, failedSaves: 0 }] },
    openFiles: 1,
    places: { state: join(place.directory, 'state') },
    failures: { count: 0 },
  });
  t.ok(report.requests.byKind['PutObject']! >= 2, 'the directory and the file');
  t.ok(report.requests.bytesOut >= 5000);
  t.ok(report.cost.dollars > 0);
  t.ok(report.operations['write']! >= 2);
  t.ok(
    report.processes.some(({ pid }) => pid === process.pid),
    'this process is among those that use it',
  );
  const { index, journal, cache, spool } = report.disk;
  t.match(index, { directory: join(place.directory, 'state/index'), limit: INDEX_BYTES });
  t.match(journal, { directory: new RegExp(`^${place.directory}/state/journal/`) });
  t.match(spool, { directory: join(place.directory, 'state/spool'), used: 0, limit: undefined });
  t.equal(cache, undefined, 'no cache was asked for');
  t.same(
    [index, journal, spool].map(each => each!.keepsFree),
    [LEAST_FREE, LEAST_FREE, LEAST_FREE],
  );
  const { total } = await diskSpace(place.directory);
  t.ok(index.limit! + journal!.limit! <= total / 10, 'a tenth of the disk at most');
  t.ok(journal!.used! <= journal!.limit!);

  const text = await place.run(['status']);
  t.match(
    text.stdout,
    / disk +index [^\n]*at most 256 MiB; leaves 1 GiB free; [^\n]*state\/index\n +journal [^\n]*, at most /,
  );
  // Its exit code is that of all mounts of the machine, others' too.
  t.match(text.stdout, new RegExp(`^${BUCKET} on ${mountPoint}\n`, 'm'));
  t.match(text.stdout, /unsaved +8 bytes in 1 file\n +d\/open, 8 bytes/);
  t.match(text.stdout, /cost +about \$0\.0000\d+ \(requests only; S3 Standard, us-east-1\)/);
  await file.close();
  t.match(await place.run(['status', place.directory]), { code: 14, stderr: /is not in a mount of s3mount/ });
  t.match(await place.run(['umount', mountPoint]), { code: 0, stderr: '' });
  t.match(await place.run(['status', mountPoint]), { code: 14 });
});

t.test('status of a daemon that does not answer; of an older version; and no trust in what users write', async t => {
  const place = await aPlace(t);
  const state = join(place.directory, '.local/state/s3mount');
  const env = { HOME: place.directory };
  await place.mount();
  const runFile =
    process.getuid!() === 0 ? new RunFile('/var/lib/s3mount', place.mountPoint) : new RunFile(state, place.mountPoint);
  const mine = runFile.read();
  t.equal(mine?.pid, await place.daemonPid());
  const { stdout } = await place.run(['status', '--json', place.mountPoint], { env });
  const report = JSON.parse(stdout) as MountReport;
  process.kill(mine!.pid, 'SIGSTOP');
  try {
    t.match(await place.run(['status', place.mountPoint], { env }), { code: 32, stderr: /does not answer/ });
  } finally {
    process.kill(mine!.pid, 'SIGCONT');
  }
  t.match(await place.run(['umount', place.mountPoint], { env }), { code: 0 });

  const shown = statusText({ ...report, version: '0.0.9', bucket: 'b\u001b[2J' }, '0.1.0');
  t.match(shown, /still runs s3mount 0\.0\.9; 0\.1\.0 is installed\. To change over: s3mount umount/);
  const { places: _, cost: __, ...less } = report;
  t.match(statusText(less as MountReport, '0.1.0'), /unsaved +nothing/, 'what another version leaves out is not shown');
  t.notOk(shown.includes('\u001b'), 'nothing in an answer reaches the terminal as it is');

  if (process.getuid!() !== 0) return;
  // A file that names somebody else's process is not believed: root would signal whatever it says.
  const forged = new RunFile(state, place.mountPoint);
  await mkdir(join(state, 'run'), { recursive: true });
  const own = {
    pid: process.pid,
    startTime: startTimeOf(await readFile(`/proc/${process.pid}/stat`, 'latin1')),
    mountPoint: place.mountPoint,
  };
  const path = forged.socket.replace(/sock$/, 'json');
  await writeFile(path, JSON.stringify(own));
  t.equal(forged.read()?.pid, process.pid, 'believed of its owner');
  await chown(path, 65534, 65534);
  t.equal(forged.read(), undefined, 'not of another');
});

function startTimeOf(stat: string): string {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]!;
}

t.test('why: what S3 refused, with the request id and the action that is missing', async t => {
  const place = await aPlace(t);
  const { mountPoint, server } = place;
  server.putObject(BUCKET, 'dir/a', Buffer.from('1'));
  await place.mount('stat_cache_expire=0');
  const path = join(mountPoint, 'dir/a');
  const fine = await place.run(['why', path]);
  t.match(fine, { code: 0, stdout: /nothing .* has failed since/ });
  t.match(fine.stdout, /Its mode is 0640, its owner \d+:\d+; you \(\d+\) may read it and may write it/);
  t.match((await place.run(['why', join(mountPoint, 'none')])).stdout, /There is no such file/);
  server.faults.add({ kind: 'status', status: 403, code: 'AccessDenied', operation: 'PutObject', key: 'dir/a' });
  await t.rejects(writeFile(path, 'changed'), { code: 'EACCES' });
  const why = await place.run(['why', path]);
  t.match(why.stdout, /close failed with EACCES \(Permission denied\) at /);
  t.match(why.stdout, /S3's answer to PutObject: 403 AccessDenied, request id [A-Za-z0-9]+/);
  t.match(why.stdout, `lack s3:PutObject on arn:aws:s3:::${BUCKET}/dir/a`);
  const log = await readFile(
    join(place.directory, 'state/log', readdirSync(join(place.directory, 'state/log'))[0]!),
    'utf8',
  );
  const refused = log.split('\n').find(line => line.includes('"op":"flush"'));
  t.match(JSON.parse(refused!), { requestId: /./, s3Code: 'AccessDenied', status: 403, key: 'dir/a', code: 'EACCES' });

  server.putObject(BUCKET, 'slow', 'x');
  server.faults.add({ kind: 'status', status: 503, code: 'SlowDown', operation: 'GetObject', key: 'slow', count: 2 });
  t.equal(await readFile(join(mountPoint, 'slow'), 'utf8'), 'x');
  const slow = await place.run(['why', join(mountPoint, 'slow')]);
  t.match(slow.stdout, /slow: an attempt of GetObject failed at .* \(2 times\) and is tried again\.\n .*503 SlowDown/);
  t.match(
    (await place.run(['status', mountPoint])).stdout,
    /2 tried again \(2 because S3 .*\n +the last tried again at .*SlowDown/,
  );

  const stuck = await place.run(['flush', mountPoint]);
  t.match(stuck, { code: 20, stderr: /not saved: .*dir\/a \(.*AccessDenied/ });
  const { stdout } = await place.run(['status', mountPoint]);
  t.match(stdout, /dir\/a, 7 bytes; not saved \d+ times?: PutObject of "dir\/a" failed/);
  t.match(stdout, /failures +\d+; the last/);
  server.faults.clear();
  t.match(await place.run(['flush', path]), { code: 0, stdout: /1 file saved/ });
  t.equal(server.getObject(BUCKET, 'dir/a')?.bytes().toString(), 'changed');
  t.match(await place.run(['flush', mountPoint]), { code: 0, stdout: /nothing was unsaved/ });
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});

t.test('flush saves what a program keeps open; umount shows what is left', async t => {
  const clock = new ManualClock(Date.now());
  const place = await aPlace(t, { clock });
  const { mountPoint, server } = place;
  await place.mount();
  const file = await open(join(mountPoint, 'log'), 'w');
  await file.write('one');
  t.match(await place.run(['flush', join(mountPoint, 'log')]), { code: 0, stdout: /1 file saved/ });
  t.equal(server.getObject(BUCKET, 'log')?.bytes().toString(), 'one');
  await file.close();
  server.faults.add({ kind: 'slow', ms: 4000, operation: 'PutObject' });
  const writing = writeFile(join(mountPoint, 'slow'), 'x'.repeat(100_000));
  await eventually(
    t,
    async () => JSON.parse((await place.run(['status', '--json', mountPoint])).stdout).unsaved.files === 1,
    'it is being saved',
  );
  // S3 answers when the line is there, however long that takes.
  let tell!: () => void;
  const told = new Promise<void>(resolve => {
    tell = resolve;
  });
  const said = (text: string): void => {
    if (text.includes(': saving ')) tell();
  };
  const umount = place.run(['umount', '-l', mountPoint], { said });
  await Promise.race([told, umount]);
  await clock.advance(4000);
  const { code, stderr } = await umount;
  t.equal(code, 0);
  t.match(stderr, /^s3mount: saving .*works: 97\.7 KiB in 1 file left$/m);
  await writing;
  t.equal(server.getObject(BUCKET, 'slow')?.size, 100_000);
});

t.test('warm reads files and directories into the cache, and says what it cannot keep', async t => {
  const place = await aPlace(t);
  const { mountPoint, server } = place;
  const bytes = Buffer.alloc(300_000, 'x');
  for (const key of ['d/a', 'd/e/b', 'c', 'not/asked']) server.putObject(BUCKET, key, bytes);
  server.putObject(BUCKET, 'frozen/x', 'x', { storageClass: 'GLACIER' });
  server.putObject(BUCKET, 'large', Buffer.alloc(40 * 1024 * 1024));
  await place.mount('memory=32MiB');
  const gets = async (): Promise<number> => {
    const { stdout } = await place.run(['status', '--json', mountPoint]);
    return (JSON.parse(stdout) as MountReport).requests.byKind['GetObject'] ?? 0;
  };
  const warm = await place.run(['warm', join(mountPoint, 'd'), join(mountPoint, 'c')]);
  t.match(warm, { code: 0, stdout: '3 files read, 879 KiB.\n', stderr: '' });
  const before = await gets();
  t.ok(before >= 3);
  t.equal((await readFile(join(mountPoint, 'd/e/b'))).length, 300_000);
  t.equal(await gets(), before, 'no GET is left to send');
  const large = await place.run(['warm', join(mountPoint, 'large')]);
  t.match(large, { code: 0, stderr: /40 MiB are more than the cache of .* keeps \(32 MiB of memory, no disk cache\)/ });
  const frozen = await place.run(['warm', join(mountPoint, 'frozen')]);
  t.match(frozen, { code: 13, stdout: /^0 files read/, stderr: /not read: .*frozen\/x \(EACCES.*s3mount why PATH/ });
  t.match(await place.run(['warm', place.directory]), { code: 14 });
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});

t.test('write_back: what is in the journal is shown, explained and flushed', async t => {
  const place = await aPlace(t);
  const { mountPoint, server } = place;
  await place.mount('write_back');
  server.faults.add({ kind: 'status', status: 403, code: 'AccessDenied', operation: 'PutObject', key: 'f' });
  await writeFile(join(mountPoint, 'f'), 'later');
  await eventually(
    t,
    async () => (await place.run(['why', join(mountPoint, 'f')])).stdout.includes('lack s3:PutObject'),
    'what failed after close had returned',
  );
  const { stdout } = await place.run(['status', mountPoint]);
  t.match(stdout, /unsaved +5 bytes in 1 file\n/);
  t.match(stdout, /queue +1 file in the journal, 5 bytes, the oldest for \d+ s; the last attempt of 1 failed/);
  t.match(await place.run(['flush', mountPoint]), { code: 20, stderr: /not saved: .*\/f \(.*AccessDenied/ });
  server.faults.clear();
  t.match(await place.run(['flush', mountPoint]), { code: 0, stdout: /1 file saved/ });
  t.equal(server.getObject(BUCKET, 'f')?.bytes().toString(), 'later');
  t.match((await place.run(['status', mountPoint])).stdout, /queue +empty/);
  t.match(await place.run(['umount', mountPoint]), { code: 0 });
});

t.test('an ordinary user asks their own mount, and nobody else does', async t => {
  const place = await aPlace(t);
  const home = join(place.directory, 'home');
  const mine = join(home, 'works');
  const [program, ...args] = [...AS_ORDINARY_USER, 'mkdir', '-p', mine];
  t.match(await output(program!, args, {}), { code: 0 });
  const by = { as: AS_ORDINARY_USER, env: { HOME: home } };
  const options = place.options.replace(/state_dir=[^,]*/, `state_dir=${join(home, 'state')}`);
  t.match(await place.run([BUCKET, mine, '-o', options], by), { code: 0, stderr: '' });
  t.match(await place.run(['status', mine], by), { code: 0, stdout: new RegExp(`^${BUCKET} on ${mine}\n`) });
  t.match(await place.run(['status', '--json'], by), { code: 0, stdout: /^\[\{"version":/ });
  t.match(await place.run(['flush', mine], by), { code: 0, stdout: /nothing was unsaved/ });
  if (process.getuid!() === 0) {
    const other = ['setpriv', '--reuid=65533', '--regid=65533', '--clear-groups'];
    const refused = await place.run(['status', mine], { ...by, as: other });
    t.match(refused, { code: 14, stderr: /it may be of another user: try it with sudo/ });
  }
  // Root may not look into a mount without allow_other, and is told the true reason all the same.
  const units = join(place.directory, 'units');
  const installing = installUnit({
    spec: {
      source: BUCKET,
      mountPoint: mine,
      program: ['/usr/bin/s3mount'],
      options: '',
      runsAs: { kind: 'user', name: 'rstudio' },
      fusermount: '/usr/bin/fusermount3',
    },
    account: undefined,
    nonempty: false,
    directory: units,
    systemctl: () => undefined,
    say: () => {},
  });
  await t.rejects(installing, {
    exitCode: 14,
    message: `is mounted already (${BUCKET}, fuse.s3mount); unmount it first: s3mount umount ${mine}.`,
  });
  t.notOk(existsSync(units), 'a unit would be started again for ever');
  t.match(await place.run(['umount', mine], by), { code: 0, stderr: '' });
});
