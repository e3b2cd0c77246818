import { chmodSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { findHolders, holdersText } from '../../src/cli/holders.ts';
import { prepareMountPoint } from '../../src/cli/mount-point.ts';

const strict = { nonempty: false };

t.test('an empty directory is as good as its path through links', async t => {
  const directory = realpathSync(t.testdir({ real: {} }));
  symlinkSync(join(directory, 'real'), join(directory, 'link'));
  t.equal(await prepareMountPoint(join(directory, 'real'), strict), join(directory, 'real'));
  t.equal(await prepareMountPoint(join(directory, 'link'), strict), join(directory, 'real'));
});

t.test('each reason against it is one sentence with exit code 14', async t => {
  const directory = t.testdir({ file: 'x', full: { 'a.csv': '1' } });
  const cases: readonly (readonly [string, RegExp])[] = [
    ['missing', /missing does not exist; make it first: mkdir -p /],
    ['file', /file is no directory/],
    ['file/below', /is no directory/],
    ['full', /full is not empty \(it has 'a.csv'\).* give -o nonempty/],
  ];
  for (const [name, message] of cases) {
    await t.rejects(prepareMountPoint(join(directory, name), strict), { exitCode: 14, message }, name);
  }
  await t.rejects(prepareMountPoint('/', strict), { exitCode: 14, message: /covered whole/ });
  t.ok(await prepareMountPoint(join(directory, 'full'), { nonempty: true }));
});

t.test('what is mounted there is told', async t => {
  // A kernel filesystem that is there on every Linux is no bucket; it is refused for its contents only.
  await t.rejects(prepareMountPoint('/proc', strict), { exitCode: 14, message: /not empty/ });
});

t.test('holders are found by links of /proc alone', async t => {
  const directory = t.testdir({
    proc: { '12': { fd: {}, comm: 'bash\n' }, '13': { fd: {}, comm: 'less\n' }, '14': { fd: {} } },
  });
  const proc = join(directory, 'proc');
  symlinkSync('/mnt/works/sub', join(proc, '12/cwd'));
  symlinkSync('/', join(proc, '13/cwd'));
  symlinkSync('/mnt/works/a.csv', join(proc, '13/fd/3'));
  symlinkSync('/mnt/worksheets', join(proc, '14/cwd'));
  const holders = await findHolders('/mnt/works', proc);
  t.same(
    holders.sort((a, b) => a.pid - b.pid),
    [
      { pid: 12, command: 'bash', how: 'stands in it' },
      { pid: 13, command: 'less', how: 'has files open in it' },
    ],
  );
  t.equal(holdersText(holders), 'bash (12) stands in it, less (13) has files open in it');
  t.match(holdersText([]), /a process that is not ours to see/);
});

t.test('one that may not be written is not yours', async t => {
  const directory = t.testdir({ theirs: {} });
  const path = join(directory, 'theirs');
  chmodSync(path, 0o555);
  const getuid = process.getuid!;
  t.teardown(() => {
    process.getuid = getuid;
  });
  // Root may write everywhere, so the sticky bit decides here: the directory belongs to another uid than ours.
  chmodSync(path, 0o1777);
  process.getuid = () => 12_345;
  await t.rejects(prepareMountPoint(path, strict), { exitCode: 14, message: /is not yours \(its owner has uid \d+\)/ });
  mkdirSync(join(path, 'x'));
  writeFileSync(join(path, 'x/y'), '');
});
