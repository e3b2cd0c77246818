/** Trees of files: cp, ls, find, du, grep, tar, rsync, zip, dpkg-deb, with all contents compared. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run, shell } from '../support/processes.ts';
import { makeTree, treeContents } from '../support/tree.ts';

t.test('a tree of thousands of files: copied in, looked at, copied out', async t => {
  const mount = await aMount(t);
  const source = join(mount.directory, 'source');
  makeTree(source, { directories: 60, filesEach: 36, largest: 40_000 });
  const expected = treeContents(source);
  const files = expected.filter(line => !line.endsWith('/')).length;
  t.ok(files > 2000, `${files} files`);
  const copy = mount.path('copy');
  run('cp', ['-r', source, copy]);
  t.same(treeContents(copy), expected, 'through the mount that wrote it');
  await mount.remount();
  t.equal(run('ls', ['-lR', copy]).match(/^-/gm)?.length, files, 'ls -lR');
  t.equal(run('find', [copy, '-type', 'f', '-printf', '.']).length, files, 'find');
  t.equal(
    run('find', [copy, '-type', 'f', '-empty', '-printf', '.']).length,
    run('find', [source, '-type', 'f', '-empty', '-printf', '.']).length,
  );
  const size = (path: string): string => run('du', ['-s', '--apparent-size', '-b', path]).split('\t')[0]!;
  const bytes = (path: string): string =>
    run('find', [path, '-type', 'f', '-printf', '%s\n'])
      .split('\n')
      .reduce((sum, n) => sum + Number(n), 0)
      .toString();
  t.equal(bytes(copy), bytes(source), 'sizes');
  t.ok(Number(size(copy)) >= Number(bytes(source)), 'du');
  t.equal(run('grep', ['-rl', 'needle in', copy]).trim(), join(copy, 'needle.txt'), 'grep -r');
  const back = join(mount.directory, 'back');
  run('cp', ['-r', copy, back]);
  t.same(treeContents(back), expected, 'copied back by a fresh mount');
  run('diff', ['-r', source, copy]);
  run('rm', ['-r', copy]);
  t.same(readdirSync(mount.dir), []);
  t.same(await mount.client.keys(), []);
});

t.test('archives and rsync', async t => {
  const mount = await aMount(t);
  const source = join(mount.directory, 'source');
  makeTree(source, { directories: 12, filesEach: 24, largest: 60_000 });
  shell('ln -s needle.txt "$1/link"; chmod 0751 "$1/needle.txt"; touch -d "2001-02-03 04:05:06" "$1/needle.txt"', {
    args: [source],
  });
  const expected = treeContents(source);

  await t.test('tar in and out', t => {
    const archive = join(mount.directory, 'source.tar');
    run('tar', ['-cf', archive, '-C', source, '.']);
    mkdirSync(mount.path('untarred'));
    run('tar', ['-xf', archive, '-C', mount.path('untarred')]);
    t.same(treeContents(mount.path('untarred')), expected, 'extracted in the mount');
    t.equal(run('stat', ['-c', '%a %Y', mount.path('untarred/needle.txt')]), '751 981173106\n', 'mode and time');
    run('tar', ['-cf', mount.path('archive.tar.gz'), '-z', '-C', mount.path('untarred'), '.']);
    mkdirSync(join(mount.directory, 'again'));
    run('tar', ['-xf', mount.path('archive.tar.gz'), '-C', join(mount.directory, 'again')]);
    t.same(treeContents(join(mount.directory, 'again')), expected, 'made from the mount, in the mount');
    t.end();
  });

  await t.test('rsync -r and -a, the second time moves nothing', async t => {
    run('rsync', ['-rl', `${source}/`, mount.path('r')]);
    t.same(treeContents(mount.path('r')), expected, '-r');
    run('rsync', ['-a', `${source}/`, mount.path('a')]);
    t.same(treeContents(mount.path('a')), expected, '-a');
    const moved = (): string => run('rsync', ['-a', '--itemize-changes', `${source}/`, mount.path('a')]);
    t.equal(moved(), '', 'the same mount');
    await mount.remount();
    t.equal(moved(), '', 'a fresh mount');
    run('rsync', ['-a', mount.path('a/'), join(mount.directory, 'back')]);
    t.same(treeContents(join(mount.directory, 'back')), expected, 'and back');
    t.equal(run('rsync', ['-a', '--itemize-changes', '--checksum', `${source}/`, join(mount.directory, 'back')]), '');
    run('rm', [mount.path('a/needle.txt')]);
    t.match(moved(), /^>f\+{9} needle\.txt$/m, 'what is missing is moved');
    run('rsync', ['-a', '--delete', `${join(source, 'empty directory')}/`, mount.path('a')]);
    t.same(readdirSync(mount.path('a')), [], '--delete');
  });

  await t.test('zip', t => {
    shell('cd "$1" && zip -qr "$2" .', { args: [source, mount.path('source.zip')] });
    run('unzip', ['-q', mount.path('source.zip'), '-d', mount.path('unzipped')]);
    t.same(
      treeContents(mount.path('unzipped')).filter(line => !line.startsWith('link')),
      expected.filter(line => !line.startsWith('link')),
    );
    t.end();
  });

  await t.test('dpkg-deb', t => {
    const tree = mount.path('package');
    mkdirSync(join(tree, 'DEBIAN'), { recursive: true });
    mkdirSync(join(tree, 'usr/share/s3mount-test'), { recursive: true });
    writeFileSync(
      join(tree, 'DEBIAN/control'),
      'Package: s3mount-test\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: test\n',
    );
    writeFileSync(join(tree, 'usr/share/s3mount-test/file'), 'packed\n');
    shell('chmod 0755 "$1" "$1/DEBIAN"; chmod 0644 "$1/DEBIAN/control"', { args: [tree] });
    run('dpkg-deb', ['--root-owner-group', '-b', tree, mount.path('test.deb')]);
    run('dpkg-deb', ['-x', mount.path('test.deb'), mount.path('unpacked')]);
    t.same(
      treeContents(mount.path('unpacked')),
      treeContents(tree).filter(line => !line.startsWith('DEBIAN')),
    );
    t.end();
  });
});
