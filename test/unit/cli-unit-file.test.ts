import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { EXIT } from '../../src/cli/exit-codes.ts';
import { readConfig } from '../../src/cli/options.ts';
import { unitOptions } from '../../src/cli/unit.ts';
import { escapePath, quoteWord, type RunsAs, unitFile, unitName } from '../../src/cli/unit-file.ts';

const spec = (runsAs: RunsAs, options = '') => ({
  source: 'my-bucket',
  mountPoint: '/home/rstudio/works',
  program: ['/usr/bin/s3mount'],
  options,
  runsAs,
  fusermount: '/usr/bin/fusermount3',
});

t.test('names of units are those of systemd-escape --path', async t => {
  t.equal(unitName('/home/rstudio/works'), 's3mount-home-rstudio-works.service');
  t.equal(escapePath('/'), '-');
  t.equal(escapePath('//a//b/'), 'a-b');
  t.equal(escapePath('/a-b/.c/한'), 'a\\x2db-.c-\\xed\\x95\\x9c');
  t.equal(escapePath('/.hidden'), '\\x2ehidden');
});

t.test('words that systemd would split or expand are quoted', async t => {
  t.equal(quoteWord('allow_other,umask=0022'), 'allow_other,umask=0022');
  t.equal(quoteWord('a b'), '"a b"');
  t.equal(quoteWord('50%$HOME'), '50%%$$HOME');
  t.equal(quoteWord('say "hi" \\'), '"say \\"hi\\" \\\\"');
  t.equal(quoteWord(''), '""');
});

/** How systemd reads a line of words, systemd.service(5): what quoteWord has to come through. */
function words(line: string): string[] {
  const found: string[] = [];
  for (const [, quoted, bare] of line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/gs)) {
    const text =
      quoted === undefined ? bare! : quoted.replace(/\\(.)/gs, (_, c) => ({ n: '\n', t: '\t' })[c as 'n'] ?? c);
    found.push(text.replaceAll('%%', '%').replaceAll('$$', '$'));
  }
  return found;
}

t.test('any word comes back as it was', async t => {
  fc.assert(
    fc.property(fc.array(fc.string()), list => {
      t.same(words(list.map(quoteWord).join(' ')), list);
    }),
  );
});

t.test('a unit of the system', async t => {
  const unit = unitFile(spec({ kind: 'root' }));
  t.match(unit, /^ExecStart=\/usr\/bin\/s3mount my-bucket \/home\/rstudio\/works -f$/m);
  t.match(unit, /^Type=notify$/m);
  t.match(unit, /^WantedBy=remote-fs\.target$/m);
  t.match(unit, /^RequiresMountsFor=\/home\/rstudio$/m);
  t.match(unit, /^NoNewPrivileges=yes$/m);
  t.match(unit, /Only root can use it/);
});

t.test('what time may mend is tried again', async t => {
  const unit = unitFile(spec({ kind: 'root' }));
  const never = /^RestartPreventExitStatus=(.*)$/m.exec(unit)?.[1]?.split(' ').map(Number);
  t.same(never, [EXIT.usage, EXIT.unsaved], "a new role's policy is not known everywhere at once: its 403 passes");
  t.match(unit, /^Restart=on-failure$/m);
  t.match(unit, /^StartLimitIntervalSec=0$/m, 'for ever');
});

t.test('a unit that runs as a user', async t => {
  const unit = unitFile(spec({ kind: 'user', name: 'rstudio' }, 'allow_other,umask=0022'));
  t.match(unit, /^User=rstudio$/m);
  t.match(unit, / -f -o allow_other,umask=0022$/m);
  t.notMatch(unit, /^NoNewPrivileges=/m, 'fusermount3 is setuid');
  t.match(unit, /Every user of this machine/);
});

t.test('no unit gives itself a mount namespace', async t => {
  for (const runsAs of [{ kind: 'root' }, { kind: 'user', name: 'u' }, { kind: 'user-manager' }] as const) {
    const set = unitFile(spec(runsAs))
      .split('\n')
      .filter(line =>
        /^(Private|Protect|ReadWrite|ReadOnly|Inaccessible|Bind|Temporary|Root|MountFlags|DynamicUser)/.test(line),
      );
    t.same(set, []);
  }
});

t.test('systemd finds nothing wrong with them', async t => {
  const directory = mkdtempSync(join(tmpdir(), 's3mount-unit-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const version = spawnSync('systemd-analyze', ['--version']);
  for (const runsAs of [{ kind: 'root' }, { kind: 'user', name: 'root' }] as const) {
    const file = join(directory, unitName('/mnt/a b'));
    const unit = unitFile({ ...spec(runsAs), mountPoint: '/mnt/a b', program: ['/bin/true'], fusermount: '/bin/true' });
    writeFileSync(file, unit);
    t.match(unit, /"\/mnt\/a b"/);
    if (version.status !== 0) continue;
    const { stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', file], { encoding: 'utf8' });
    t.notMatch(stderr, /unit-|s3mount-mnt/, stderr);
  }
});

t.test('what a user unit says after -o', async t => {
  const mount = (words: { name: string; value?: string }[]) => {
    const given = { positional: ['my-bucket', '/mnt'], words };
    return unitOptions(words, readConfig(given, { env: {}, cwd: '/home/u' }), { uid: 1001, gid: 100 });
  };
  t.same(mount([]), [
    { name: 'allow_other' },
    { name: 'umask', value: '0022' },
    { name: 'uid', value: '1001' },
    { name: 'gid', value: '100' },
  ]);
  t.same(
    mount([
      { name: 'umask', value: '0077' },
      { name: 'uid', value: '5' },
    ]).slice(0, 3),
    [{ name: 'umask', value: '0077' }, { name: 'uid', value: '5' }, { name: 'allow_other' }],
  );
  t.match(
    mount([{ name: 'logfile', value: 'log' }]),
    [{ name: 'logfile', value: '/home/u/log' }],
    'a service has no cwd',
  );
});

t.test('a unit for a configuration file names it by its path', async t => {
  const directory = mkdtempSync(join(tmpdir(), 's3mount-unit-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'works.toml'), 'bucket = "my-bucket"\nmountpoint = "/mnt/works"\numask = "0022"\n');
  const surroundings = { env: {}, cwd: '/home/u', configDirectories: [directory] };
  const config = readConfig({ positional: ['works'], words: [] }, surroundings);
  t.match(config, { source: 'my-bucket', mountPoint: '/mnt/works' });
  t.same(unitOptions([], config, undefined), [{ name: 'config', value: join(directory, 'works.toml') }]);
  t.notOk(
    unitOptions([], config, { uid: 1, gid: 1 }).some(({ name }) => name === 'umask'),
    'the file says it',
  );
});
