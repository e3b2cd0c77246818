/** What developers do in a directory: git, editors, compilers. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run, shell } from '../support/processes.ts';

const IDENTITY = {
  GIT_AUTHOR_NAME: 'A',
  GIT_AUTHOR_EMAIL: 'a@example.com',
  GIT_COMMITTER_NAME: 'A',
  GIT_COMMITTER_EMAIL: 'a@example.com',
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'init.defaultBranch',
  GIT_CONFIG_VALUE_0: 'main',
};

t.test('git: clone, commit, branch, merge, gc, fsck, clone back', async t => {
  const mount = await aMount(t);
  const origin = join(mount.directory, 'origin');
  mkdirSync(origin);
  const git = (cwd: string, ...args: string[]): string => run('git', args, { cwd, env: IDENTITY });
  git(origin, 'init', '-q');
  for (let i = 0; i < 12; i++) {
    mkdirSync(join(origin, `d${i}`));
    for (let j = 0; j < 12; j++) writeFileSync(join(origin, `d${i}/f${j}`), `${i} ${j}\n`.repeat(20));
  }
  writeFileSync(join(origin, 'large.bin'), patternBytes(3_000_000, 9));
  git(origin, 'add', '.');
  git(origin, 'commit', '-qm', 'first');
  const work = mount.path('work');
  git(mount.directory, 'clone', '-q', '--no-hardlinks', origin, work);
  t.equal(git(work, 'status', '--porcelain'), '', 'clean after the clone');
  writeFileSync(join(work, 'd3/f3'), 'changed\n');
  git(work, 'checkout', '-qb', 'topic');
  git(work, 'commit', '-qam', 'second');
  git(work, 'checkout', '-q', 'main');
  git(work, 'mv', 'd4', 'renamed');
  git(work, 'commit', '-qm', 'third');
  git(work, 'merge', '-q', '--no-edit', 'topic');
  git(work, 'gc', '-q', '--prune=now');
  git(work, 'fsck', '--full', '--strict');
  t.equal(git(work, 'status', '--porcelain'), '');

  // Two branches change one line: a conflict, solved; what was put aside comes back; history is written anew.
  git(work, 'checkout', '-qb', 'left');
  writeFileSync(join(work, 'd5/f5'), 'left\n');
  git(work, 'commit', '-qam', 'left');
  git(work, 'checkout', '-q', 'main');
  writeFileSync(join(work, 'd5/f5'), 'right\n');
  git(work, 'commit', '-qam', 'right');
  t.throws(() => git(work, 'merge', 'left'), /CONFLICT/);
  t.match(readFileSync(join(work, 'd5/f5'), 'utf8'), /^<{7} HEAD\nright\n={7}\nleft\n>{7} left\n$/);
  writeFileSync(join(work, 'd5/f5'), 'both\n');
  git(work, 'commit', '-qam', 'merged');
  writeFileSync(join(work, 'd6/f6'), 'aside\n');
  git(work, 'stash', '-q');
  git(work, 'checkout', '-qb', 'rebased', 'HEAD~1');
  writeFileSync(join(work, 'd7/f7'), 'rebased\n');
  git(work, 'commit', '-qam', 'rebased');
  git(work, 'rebase', '-q', 'main');
  git(work, 'checkout', '-q', 'main');
  git(work, 'merge', '-q', '--ff-only', 'rebased');
  git(work, 'stash', 'pop', '-q');
  t.equal(git(work, 'status', '--porcelain'), ' M d6/f6\n');
  git(work, 'commit', '-qam', 'aside');
  git(work, 'repack', '-qad');
  git(work, 'gc', '-q', '--prune=now', '--aggressive');
  git(work, 'fsck', '--full', '--strict');

  await mount.remount();
  t.equal(git(work, 'status', '--porcelain'), '', 'clean in a fresh mount');
  const back = join(mount.directory, 'back');
  git(mount.directory, 'clone', '-q', work, back);
  t.equal(readFileSync(join(back, 'd3/f3'), 'utf8'), 'changed\n');
  t.ok(readFileSync(join(back, 'large.bin')).equals(patternBytes(3_000_000, 9)));
  t.equal(git(back, 'rev-list', '--count', 'HEAD').trim(), '9');
  t.equal(readFileSync(join(back, 'd5/f5'), 'utf8') + readFileSync(join(back, 'd6/f6'), 'utf8'), 'both\naside\n');
  t.equal(git(back, 'rev-parse', 'HEAD'), git(work, 'rev-parse', 'HEAD'));
});

t.test('editors and filters in place', async t => {
  const mount = await aMount(t);
  const path = mount.path('text.txt');
  const lines = (count: number): string => Array.from({ length: count }, (_, i) => `line ${i}\n`).join('');
  writeFileSync(path, lines(2000), { mode: 0o644 });
  run('sed', ['-i', 's/^line 1000$/changed by sed/', path]);
  t.equal(readFileSync(path, 'utf8'), lines(2000).replace('line 1000\n', 'changed by sed\n'));
  run('sed', ['-i.bak', '1d', path]);
  t.equal(readFileSync(`${path}.bak`, 'utf8').split('\n').length, 2001);
  run('vim', [
    '-es',
    '-u',
    'NONE',
    '-c',
    '%s/^line 5$/changed by vim/',
    '-c',
    'normal Gochanged at the end',
    '-c',
    'wq',
    path,
  ]);
  t.match(readFileSync(path, 'utf8'), /^changed by vim$/m);
  t.match(readFileSync(path, 'utf8'), /\nchanged at the end\n$/);
  t.equal(await mount.client.text('text.txt'), readFileSync(path, 'utf8'), 'in S3');
  run('sort', ['-o', path, path]);
  run('sort', ['-c', path]);
  shell('patch -s "$1" <<"END"\n--- a\n+++ b\n@@ -1,2 +1,2 @@\n-changed at the end\n+patched\n changed by sed\nEND', {
    args: [path],
  });
  t.match(readFileSync(path, 'utf8'), /^patched\nchanged by sed\n/);
  t.same(readdirSync(mount.dir), ['text.txt', 'text.txt.bak'], 'no swap file is left');
});

t.test('dd at offsets', async t => {
  const mount = await aMount(t);
  const path = mount.path('disk.img');
  const model = Buffer.alloc(12 * 1024 * 1024);
  run('dd', ['if=/dev/zero', `of=${path}`, 'bs=1M', 'count=12', 'status=none']);
  for (const [seek, count] of [
    [3, 5],
    [2000, 100],
    [3000, 72],
    [0, 1],
  ] as const) {
    const bytes = patternBytes(count * 4096, seek);
    bytes.copy(model, seek * 4096);
    run('dd', [`of=${path}`, 'bs=4k', `seek=${seek}`, 'conv=notrunc', 'status=none'], { input: bytes });
  }
  run('dd', [`of=${path}`, 'bs=1', 'seek=1000001', 'conv=notrunc,fsync', 'status=none'], { input: 'odd place' });
  model.write('odd place', 1_000_001);
  t.ok(readFileSync(path).equals(model));
  t.ok((await mount.client.get('disk.img'))!.equals(model), 'in S3');
  t.equal(run('dd', [`if=${path}`, 'bs=1', 'skip=1000001', 'count=9', 'status=none']), 'odd place');
});

t.test('gcc and make', async t => {
  const mount = await aMount(t);
  const dir = mount.path('program');
  mkdirSync(dir);
  const units = ['one', 'two', 'three'];
  for (const unit of units) {
    writeFileSync(join(dir, `${unit}.c`), `int ${unit}(void) { return ${units.indexOf(unit) + 1}; }\n`);
  }
  writeFileSync(
    join(dir, 'main.c'),
    '#include <stdio.h>\nint one(void), two(void), three(void);\nint main(void) { printf("%d\\n", one() + two() + three()); }\n',
  );
  writeFileSync(
    join(dir, 'Makefile'),
    'objects = main.o one.o two.o lib.a\nmain: $(objects)\n\tgcc -o $@ $(objects)\nlib.a: three.o\n\tar rc $@ $^\n%.o: %.c\n\tgcc -g -c -o $@ $<\n',
  );
  t.match(run('make', ['-j4'], { cwd: dir }), /gcc -o main/);
  t.equal(run('./main', [], { cwd: dir }), '6\n', 'the program runs in the mount');
  t.match(run('make', ['-j4'], { cwd: dir }), /up to date/, 'times are right');
  writeFileSync(join(dir, 'two.c'), 'int two(void) { return 20; }\n');
  const again = run('make', ['-j4'], { cwd: dir });
  t.match(again, /two\.c/);
  t.notMatch(again, /one\.c/, 'only what changed is built');
  t.equal(run('./main', [], { cwd: dir }), '24\n');
  // A header that is older or newer by less than a second.
  writeFileSync(join(dir, 'Makefile'), 'out: in\n\tcp in out\n', { flag: 'w' });
  writeFileSync(join(dir, 'in'), '1');
  run('make', [], { cwd: dir });
  shell('cd "$1"; touch -d "2024-05-06 07:08:09.100000001" in; touch -d "2024-05-06 07:08:09.100000002" out', {
    args: [dir],
  });
  t.match(run('make', [], { cwd: dir }), /up to date/, 'a nanosecond younger than what it is made of');
  run('touch', ['-d', '2024-05-06 07:08:09.100000003', join(dir, 'in')]);
  t.match(run('make', [], { cwd: dir }), /cp in out/, 'a nanosecond older');
  await mount.remount();
  t.match(run('make', [], { cwd: dir }), /up to date/, 'in a fresh mount too');
  t.equal(run('./main', [], { cwd: dir }), '24\n', 'still executable');
});
