import { mkdtempSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { writeParquet } from '../../src/cli/demo-parquet.ts';
import { CliError } from '../../src/cli/exit-codes.ts';
import { openLog, terminalLine } from '../../src/cli/log.ts';
import { defaultMemory, memoryPlan } from '../../src/cli/memory.ts';
import { diedSilently, pipeToParent, waitForDaemon } from '../../src/cli/ready-pipe.ts';
import { RunFile } from '../../src/cli/run-file.ts';
import { ensureStateDirectory, mountName } from '../../src/cli/state-directory.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

t.test('memory: an eighth of what the machine or a cgroup above us allows, within bounds', async t => {
  const none = (): undefined => undefined;
  t.equal(defaultMemory(64 * GIB, none), 256 * MIB);
  t.equal(defaultMemory(GIB, none), 128 * MIB);
  t.equal(defaultMemory(256 * MIB, none), 64 * MIB);
  const files: Record<string, string> = {
    '/proc/self/cgroup': '4:memory:/docker/abc\n0::/user.slice/job\n',
    '/sys/fs/cgroup/user.slice/job/memory.max': 'max\n',
    '/sys/fs/cgroup/user.slice/memory.max': `${GIB}\n`,
  };
  t.equal(
    defaultMemory(64 * GIB, path => files[path]),
    128 * MIB,
    'version 2, of the parent',
  );
  files['/sys/fs/cgroup/memory/memory.limit_in_bytes'] = String(768 * MIB);
  t.equal(
    defaultMemory(64 * GIB, path => files[path]),
    96 * MIB,
    'version 1, of a container',
  );
});

t.test('names and attributes get an eighth too, and no more than bytes do', async t => {
  const none = (): undefined => undefined;
  t.same(memoryPlan(undefined, 256 * MIB, none), { limit: 256 * MIB, budget: 64 * MIB, metadata: 32 * MIB });
  t.same(memoryPlan(undefined, 64 * GIB, none), { limit: 64 * GIB, budget: 256 * MIB, metadata: 256 * MIB });
  t.same(memoryPlan(64 * MIB, 64 * GIB, none).metadata, 64 * MIB, 'memory= is for both');
  t.same(memoryPlan(4 * GIB, 8 * GIB, none), { limit: 8 * GIB, budget: 4 * GIB, metadata: GIB });
});

t.test('the pipe between daemon and command', async t => {
  const file = join(t.testdir(), 'pipe');
  const through = async (tell: (listener: ReturnType<typeof pipeToParent>) => void): Promise<string[]> => {
    tell(pipeToParent(openSync(file, 'w')));
    const notes: string[] = [];
    await waitForDaemon(
      Readable.from([readFileSync(file)]),
      note => notes.push(note),
      () => diedSilently('/log'),
    );
    return notes;
  };
  t.same(
    await through(listener => {
      listener.note('the region is ap-northeast-2');
      listener.ready();
      listener.failed(new Error('too late to matter'));
    }),
    ['the region is ap-northeast-2'],
  );
  await t.rejects(
    through(listener => listener.failed(new CliError(10, "there is no bucket 'b'."))),
    { exitCode: 10, message: "there is no bucket 'b'." },
  );
  await t.rejects(
    through(() => {}),
    { exitCode: 4, message: /ended before the mount answered; its last words are in \/log/ },
  );
});

t.test('the log file is private, reopened by its name, and its level can be cycled', async t => {
  const path = join(t.testdir(), 'x.log');
  const log = openLog('info', path);
  log.info({ key: 'a/b' }, 'one');
  log.debug({}, 'not shown');
  renameSync(path, `${path}.1`);
  log.reopen();
  t.equal(log.cycleLevel(), 'debug');
  log.debug({}, 'two');
  t.equal(log.cycleLevel(), 'fatal');
  t.equal(statSync(path).mode & 0o777, 0o600);
  t.match(JSON.parse(readFileSync(`${path}.1`, 'utf8')), { level: 30, msg: 'one', key: 'a/b' });
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  t.match(
    lines.map(line => JSON.parse(line)),
    [
      { level: 30, msg: 'log level', to: 'debug' },
      { level: 20, msg: 'two' },
      { level: 30, msg: 'log level', to: 'fatal' },
    ],
  );
  t.throws(() => openLog('info', '/nonexistent/x.log'), { exitCode: 16, message: /cannot be opened/ });
});

t.test('lines for the journal of systemd have their levels', async t => {
  const path = join(t.testdir(), 'stderr');
  const stderr = openSync(path, 'a');
  const { dev, ino } = statSync(path, { bigint: true });
  const log = openLog('debug', undefined, `${dev}:${ino}`, stderr);
  log.debug({}, 'asked');
  log.info({}, 'mounted');
  log.warn({}, 'slow');
  log.error({ key: 'a\nb' }, 'a save failed');
  log.fatal({}, 'a bug');
  openLog('info', undefined, `${dev}:${ino + 1n}`, stderr).error({}, 'of another stream');
  openLog('info', undefined, undefined, stderr).error({}, 'no journal');
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  t.same(
    lines.map(line => line.slice(0, line.indexOf('{'))),
    ['<7>', '<6>', '<4>', '<3>', '<2>', '', ''],
  );
  t.match(JSON.parse(lines[3]!.slice(3)), { level: 50, msg: 'a save failed', key: 'a\nb' });
});

t.test('a line for a terminal', async t => {
  const json = '{"level":40,"time":"2026-11-21T10:11:12.345Z","pid":1,"key":"a b","n":2,"msg":"slow down"}\n';
  t.equal(terminalLine(json), '10:11:12 warn slow down key=a b n=2\n');
});

t.test('who serves a mount, and how it ended', async t => {
  const state = mkdtempSync(join(tmpdir(), 's3mount-state-'));
  const file = RunFile.announce(state, '/mnt/works');
  t.match(new RunFile(state, '/mnt/works').read(), { pid: process.pid, mountPoint: '/mnt/works' });
  t.equal(new RunFile(state, '/mnt/other').read(), undefined);
  file.ended('/mnt/works', 20, '3 unsaved bytes');
  t.match(file.read(), { ended: { exitCode: 20, message: '3 unsaved bytes' } });
  file.remove();
  t.equal(file.read(), undefined);
  t.equal(statSync(state).mode & 0o777, 0o700);
});

t.test('the state directory', async t => {
  const directory = t.testdir({ file: '' });
  t.equal(statSync(ensureStateDirectory(join(directory, 'a/b'), 'log')).mode & 0o777, 0o700);
  t.throws(() => ensureStateDirectory(join(directory, 'file/x')), {
    exitCode: 16,
    message: /cannot be used .* state_dir=/,
  });
  const arn = { bucket: 'arn:aws:s3:eu-west-1:1:accesspoint/mine', prefix: '', mountPoint: '/m' };
  t.match(mountName(arn), /^[A-Za-z0-9._-]+-[0-9a-f]{8}$/);
  t.not(mountName(arn), mountName({ ...arn, mountPoint: '/n' }));
});

t.test('the demo writes Parquet: magic, footer, magic', async t => {
  const bytes = writeParquet([
    { name: 'id', type: 'int64', values: [1n, 2n] },
    { name: 'city', type: 'text', values: ['서울', 'x'] },
  ]);
  t.equal(bytes.subarray(0, 4).toString(), 'PAR1');
  t.equal(bytes.subarray(-4).toString(), 'PAR1');
  const footer = bytes.readUInt32LE(bytes.length - 8);
  t.ok(footer > 50 && footer < bytes.length);
  t.ok(bytes.includes(Buffer.from('서울')));
});
