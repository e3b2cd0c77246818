import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type InstallParts, installUnit } from '../../src/cli/unit-install.ts';

const UID = process.getuid!();

function installation(t: Test, options: { place?: string; active?: boolean; uid?: number; systemctl?: string } = {}) {
  const directory = join(t.testdir(), 'units');
  const place = options.place ?? join(t.testdirName, 'works');
  const told: string[] = [];
  const said: string[] = [];
  const parts: InstallParts = {
    spec: {
      source: 'my-bucket',
      mountPoint: place,
      program: ['/usr/bin/s3mount'],
      options: '',
      runsAs: { kind: 'user', name: 'rstudio' },
      fusermount: '/usr/bin/fusermount3',
    },
    account: { name: 'rstudio', uid: options.uid ?? UID, gid: process.getgid!(), home: '/home/rstudio' },
    nonempty: false,
    directory,
    systemctl: (...words) => {
      if (words[0] === 'is-active') return options.active ? undefined : '';
      told.push(words.slice(0, 2).join(' '));
      return options.systemctl;
    },
    say: line => void said.push(line),
  };
  return {
    parts,
    place,
    directory,
    told,
    said,
    install: (more: Partial<InstallParts> = {}) => installUnit({ ...parts, ...more }),
  };
}

t.test('the directory is made, the unit written and started', async t => {
  const { place, directory, told, said, install } = installation(t);
  await install();
  t.equal(statSync(place).uid, UID);
  t.match(readFileSync(said[0]!.replace('s3mount: wrote ', ''), 'utf8'), `my-bucket ${place} -f`);
  t.match(said[0], directory);
  t.same(told, ['daemon-reload', 'enable --now']);
  t.match(said.at(-1), /is mounted at .*, now and at each boot/);
});

t.test('a place that cannot be mounted on is said before anything is written', async t => {
  const { place, directory, install } = installation(t);
  mkdirSync(place);
  writeFileSync(join(place, 'notes'), '');
  await t.rejects(install(), { exitCode: 14, message: /is not empty \(it has 'notes'\).*nonempty/ });
  t.notOk(existsSync(directory));
  await install({ nonempty: true });
  t.ok(existsSync(directory));
});

t.test('so is one on which that user may not mount', async t => {
  const { place, install, directory } = installation(t, { uid: UID + 1 });
  mkdirSync(place);
  chmodSync(place, 0o755);
  await t.rejects(install(), { exitCode: 14, message: /does not belong to rstudio .* run: chown rstudio / });
  t.notOk(existsSync(directory));
  chmodSync(place, 0o777);
  await install();
});

t.test('what the unit itself has mounted does not stand in its way, and is told to be older', async t => {
  const { place, said, install, parts } = installation(t, { active: true });
  mkdirSync(place);
  await install();
  writeFileSync(join(place, 'of-the-bucket'), '');
  said.length = 0;
  await install();
  t.notMatch(said.join('\n'), /restart/, 'nothing is new');
  await install({ spec: { ...parts.spec, options: 'ro' } });
  t.match(said.join('\n'), /after: systemctl restart s3mount-.*\.service/);
});

t.test('what systemctl and the disk say is passed on, with what to do', async t => {
  const failing = installation(t, { systemctl: 'Access denied' });
  await t.rejects(failing.install(), {
    exitCode: 32,
    message: /^systemctl daemon-reload failed: Access denied; see systemctl status s3mount-/,
  });
  const { directory, install } = installation(t);
  writeFileSync(directory, 'no directory');
  const advice = UID === 0 ? /; leave out --install/ : /; run it as root, or leave out --install/;
  await t.rejects(install(), { exitCode: 32, message: advice });
});
