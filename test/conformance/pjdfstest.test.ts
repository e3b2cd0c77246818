/**
 * pjdfstest, the POSIX conformance suite that grew out of FreeBSD's, as it comes from crates.io: all its cases on a real
 * mount, and on tmpfs to learn which of them this machine skips anyway.
 */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';
import { cargoProgram } from './cargo.ts';
import { KNOWN } from './known.ts';

const CONFIG = `
[features]
posix_fallocate = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.01
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["games", "games"]]
`;

interface Case {
  readonly result: 'ok' | 'FAILED' | 'skipped';
  readonly said: string;
}

/** Runs all cases below `directory`. */
function pjdfstest(directory: string, config: string): Map<string, Case> {
  const output = run(cargoProgram('pjdfstest'), ['-c', config, '-p', directory], { cwd: directory, codes: [0, 1] });
  const cases = new Map<string, Case>();
  const lines = output.split('\n');
  lines.forEach((line, i) => {
    const match = /^(\w+(?:::\w+)+)\s+(ok|FAILED|skipped)$/.exec(line);
    if (match) cases.set(match[1]!, { result: match[2] as Case['result'], said: lines[i + 1] ?? '' });
  });
  return cases;
}

t.test('pjdfstest', async t => {
  if (process.getuid!() !== 0)
    throw new Error('pjdfstest changes owners and makes devices: run it as root (sudo npm test)');
  // The address of a socket has room for a path of 107 bytes (unix(7)), and the cases' own names are long.
  process.env['TMPDIR'] = '/tmp';
  const mount = await aMount(t, { options: 'allow_other,suid,dev' });
  const config = join(mount.directory, 'pjdfstest.toml');
  writeFileSync(config, CONFIG);
  const tmpfs = mkdtempSync('/dev/shm/s3mount-pjdfstest-');
  t.teardown(() => run('rm', ['-rf', tmpfs]));
  const reference = pjdfstest(tmpfs, config);
  const directory = mount.path('p');
  mkdirSync(directory);
  const cases = pjdfstest(directory, config);
  t.equal(cases.size, reference.size, 'all cases ran');
  t.ok(cases.size >= 398, `${cases.size} cases`);
  for (const [name, { result, said }] of [...cases].sort()) {
    const known = KNOWN.find(each => each.cases.test(name));
    if (result === 'skipped') t.equal(reference.get(name)?.result, 'skipped', `${name}: skipped on tmpfs too`);
    else if (result === 'FAILED' && known) t.match(said, known.says, `${name}: ${known.why}`);
    else t.equal(result, 'ok', `${name} ${result === 'ok' ? '' : said.trim()}`);
  }
  for (const { why, cases: which, count } of KNOWN) {
    const failed = [...cases].filter(([name, { result }]) => which.test(name) && result === 'FAILED');
    t.ok(failed.length <= count, `${failed.length} of ${count} fail because ${why}`);
  }
});
