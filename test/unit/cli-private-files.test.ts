/** What other users of the machine may have put where we write: links, pipes, files, directories of theirs. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { keepMemoryOutOfDumps } from '../../src/cli/core-dump.ts';
import { jsonLine } from '../../src/cli/json-line.ts';
import { terminalLine } from '../../src/cli/log.ts';
import { openLogFile } from '../../src/cli/log-file.ts';
import { openToAppend, readSmallFile } from '../../src/cli/private-files.ts';
import { RunFile } from '../../src/cli/run-file.ts';
import { ensureStateDirectory } from '../../src/cli/state-directory.ts';

const NOBODY = 65534;
// Only root can leave behind what belongs to somebody else.
const isRoot = process.getuid!() === 0;

t.test('the log goes into no file that somebody else has put there', async t => {
  const place = t.testdir();
  chmodSync(place, 0o1777);
  const victim = join(place, 'victim');
  writeFileSync(victim, 'precious');
  const append = (path: string): void => {
    const descriptor = openToAppend(path);
    writeSync(descriptor, 'x');
    closeSync(descriptor);
  };
  const own = join(place, 'own');
  append(own);
  append(own);
  t.equal(readFileSync(own, 'utf8'), 'xx');
  t.equal(statSync(own).mode & 0o777, 0o600);
  symlinkSync(own, join(place, 'own-link'));
  append(join(place, 'own-link'));
  t.equal(readFileSync(own, 'utf8'), 'xxx', 'a link of ours is meant');
  execFileSync('mkfifo', [join(place, 'pipe')]);
  t.throws(() => openToAppend(join(place, 'pipe')), /pipe|no such device/i, 'at once: nobody reads it');
  if (isRoot) {
    const link = join(place, 'link');
    symlinkSync(victim, link);
    lchownSync(link, NOBODY, NOBODY);
    t.throws(() => openLogFile(link), { message: /symbolic link of another user.*give another as logfile=/ });
    t.equal(readFileSync(victim, 'utf8'), 'precious');
    const theirs = join(place, 'theirs');
    writeFileSync(theirs, '');
    chownSync(theirs, NOBODY, NOBODY);
    t.throws(() => openToAppend(theirs), /belongs to another user/);
    chmodSync(place, 0o755);
    append(theirs);
    t.equal(readFileSync(theirs, 'utf8'), 'x', 'where only we can put files, we did: logrotate gives logs to syslog');
  }
});

t.test('a file of another user is read only if it has an end', async t => {
  const place = t.testdir({ small: 'text', large: 'x'.repeat(200) });
  t.equal(readSmallFile(join(place, 'small'), 100), 'text');
  t.equal(readSmallFile(join(place, 'large'), 100), undefined);
  t.equal(readSmallFile(join(place, 'none'), 100), undefined);
  t.equal(readSmallFile(place, 100), undefined);
  t.equal(readSmallFile('/dev/zero', 100), undefined);
  symlinkSync(join(place, 'small'), join(place, 'link'));
  t.equal(readSmallFile(join(place, 'link'), 100), undefined);
  execFileSync('mkfifo', [join(place, 'pipe')]);
  t.equal(readSmallFile(join(place, 'pipe'), 100), undefined, 'does not wait for a writer');
});

t.test('a run file in somebody’s home holds nobody up, and is never written through a link', async t => {
  const place = t.testdir({ victim: 'precious' });
  const run = join(place, 'state', 'run');
  const file = RunFile.announce(join(place, 'state'), '/mnt');
  t.equal(file.read()?.pid, process.pid);
  const path = file.socket.replace(/sock$/, 'json');
  rmSync(path);
  execFileSync('mkfifo', [path]);
  t.equal(file.read(), undefined);
  t.same(RunFile.allIn(join(place, 'state')), []);
  rmSync(path);
  symlinkSync(join(place, 'victim'), path);
  RunFile.announce(join(place, 'state'), '/mnt');
  t.equal(readFileSync(join(place, 'victim'), 'utf8'), 'precious');
  t.equal(file.read()?.pid, process.pid);
  t.equal(statSync(run).mode & 0o777, 0o700);
  t.equal(statSync(path).mode & 0o777, 0o600);
});

t.test('what was planted in the state directory is not taken over', async t => {
  const place = t.testdir({ elsewhere: {}, file: '' });
  const state = join(place, 'state');
  mkdirSync(state);
  chmodSync(state, 0o777);
  symlinkSync(join(place, 'elsewhere'), join(state, 'spool'));
  t.throws(() => ensureStateDirectory(state, 'spool'), { message: /is not a directory/ });
  symlinkSync(join(place, 'file'), join(state, 'index'));
  t.throws(() => ensureStateDirectory(state, 'index'), { message: /index/ });
  mkdirSync(join(state, 'log'));
  chmodSync(join(state, 'log'), 0o777);
  ensureStateDirectory(state, 'log');
  t.equal(statSync(join(state, 'log')).mode & 0o777, 0o700, 'closed');
  t.equal(statSync(state).mode & 0o777, 0o700, 'closed');
  if (isRoot) {
    mkdirSync(join(state, 'cache'));
    chownSync(join(state, 'cache'), NOBODY, NOBODY);
    t.throws(() => ensureStateDirectory(state, 'cache'), { message: /belongs to another user/ });
    chownSync(state, NOBODY, NOBODY);
    t.throws(() => ensureStateDirectory(state), { message: /belongs to another user/ }, 'root is not an exception');
  }
});

t.test('memory is kept out of core dumps', async t => {
  const path = join(t.testdir({ filter: '00000033' }), 'filter');
  t.ok(keepMemoryOutOfDumps(path));
  t.equal(Number(readFileSync(path, 'utf8')), 0);
  t.notOk(keepMemoryOutOfDumps(join(path, 'none')));
});

t.test('what a bucket holds does not reach a terminal as it is', async t => {
  const evil = 'a\u001b[2J\u009b31m\u202egpj.exe\r\nfake line';
  const line = terminalLine(
    JSON.stringify({
      level: 40,
      time: '2026-11-21T10:11:12Z',
      pid: 1,
      key: evil,
      list: [evil],
      err: { stack: `Error: ${evil}\n    at x` },
      msg: `cannot save ${evil}`,
    }),
  );
  t.notMatch(line.replaceAll('\n', ''), /[\p{Cc}\p{Cf}]/u);
  t.match(line, /^10:11:12 warn cannot save a\?\[2J/);
  const json = jsonLine({ path: evil, zero: '\u200d\u{e0001}' });
  t.notMatch(json, /[\p{Cc}\p{Cf}]/u);
  t.same(JSON.parse(json), { path: evil, zero: '\u200d\u{e0001}' }, 'and nothing is lost of it');
});
