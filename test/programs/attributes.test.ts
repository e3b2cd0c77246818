/** Copies that keep everything: cp -a, cp -p, tar, rsync -a, with modes, owners and times in nanoseconds compared. */
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run, shell } from '../support/processes.ts';
import { makeTree, treeContents } from '../support/tree.ts';

const isRoot = process.getuid!() === 0;

/** Mode, owner, group and mtime of everything below `root`. */
function treeAttributes(root: string, below = ''): string[] {
  return readdirSync(join(root, below))
    .sort()
    .flatMap(name => {
      const path = join(below, name);
      const { mode, uid, gid, mtimeNs } = lstatSync(join(root, path), { bigint: true });
      const line = `${path} ${mode.toString(8)} ${uid}:${gid} ${mtimeNs}`;
      return (mode & 0o170000n) === 0o040000n ? [line, ...treeAttributes(root, path)] : [line];
    });
}

/** Modes of all kinds, owners where root may give them, times in the past, the future, and before 1970. */
function spread(root: string): void {
  shell(
    'cd "$1"; ln -s needle.txt link; ln -s nowhere broken; mkfifo fifo; mkdir -m 1777 sticky; mkdir -m 2775 group',
    {
      args: [root],
    },
  );
  symlinkSync('../needle.txt', join(root, 'sticky/up'));
  const modes = [0o644, 0o600, 0o755, 0o444, 0o640, 0o400, 0o4755, 0o2755];
  let count = 0;
  const visit = (directory: string): void => {
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      const path = join(directory, entry.name);
      count++;
      if (entry.isDirectory()) visit(path);
      if (isRoot && count % 3 === 0) lchownSync(path, count % 5, count % 7);
      // After the owner, which takes setuid away.
      if (entry.isFile()) chmodSync(path, modes[count % modes.length]!);
      const seconds = [1_000_000_000, 1_600_000_000.123456, 2_000_000_000.5, -86_400 * 365][count % 4]! + count;
      // Node takes a negative number for the present, but not a Date.
      const time = new Date(seconds * 1000);
      if (entry.isSymbolicLink()) lutimesSync(path, time, time);
      else utimesSync(path, time, time);
    }
  };
  visit(root);
  if (isRoot) chownSync(join(root, 'group'), 7, 8);
  utimesSync(join(root, 'group'), 1_234_567_890.25, 1_234_567_890.25);
}

t.test('everything is kept', async t => {
  const mount = await aMount(t, { options: 'suid,dev' });
  const source = join(mount.directory, 'source');
  makeTree(source, { directories: 9, filesEach: 9, largest: 30_000 });
  spread(source);
  const files = treeContents(source);
  const attributes = treeAttributes(source);
  const archive = join(mount.directory, 'source.tar');
  run('tar', ['--format=posix', '-cpf', archive, '-C', source, '.']);

  run('cp', ['-a', source, mount.path('cp')]);
  mkdirSync(mount.path('tar'));
  run('tar', ['-xpf', archive, '-C', mount.path('tar')]);
  run('rsync', ['-aD', `${source}/`, mount.path('rsync')]);
  run('cp', ['-p', join(source, 'needle.txt'), mount.path('needle.txt')]);
  const { mtimeNs, mode } = lstatSync(join(source, 'needle.txt'), { bigint: true });
  for (const when of ['by the mount that wrote it', 'by a fresh mount']) {
    for (const name of ['cp', 'tar', 'rsync']) {
      t.same(treeAttributes(mount.path(name)), attributes, `${name}: attributes, ${when}`);
      t.same(treeContents(mount.path(name)), files, `${name}: contents, ${when}`);
    }
    const copy = lstatSync(mount.path('needle.txt'), { bigint: true });
    t.same([copy.mtimeNs, copy.mode], [mtimeNs, mode], `cp -p, ${when}`);
    const again = (): string => run('rsync', ['-aD', '--itemize-changes', `${source}/`, mount.path('rsync')]);
    const moved = await mount.s3.during(() => void t.equal(again(), '', `rsync -a moves nothing, ${when}`));
    t.same(
      ['PutObject', 'CopyObject', 'DeleteObject'].filter(name => moved[name]),
      [],
      'and changes nothing in S3',
    );
    if (when.startsWith('by the mount')) await mount.remount();
  }
  run('tar', ['-df', archive, '-C', mount.path('tar')]);
  const back = join(mount.directory, 'back');
  run('cp', ['-a', mount.path('cp'), back]);
  t.same(treeAttributes(back), attributes, 'copied back');
  // What others have is newer or older by its time alone.
  run('touch', ['-d', '2030-01-01', mount.path('rsync/needle.txt')]);
  t.equal(
    run('rsync', ['-au', '--itemize-changes', `${source}/`, mount.path('rsync')]),
    '',
    'rsync -u leaves the newer',
  );
  t.match(run('rsync', ['-a', '--itemize-changes', `${source}/`, mount.path('rsync')]), /needle\.txt/);
});
