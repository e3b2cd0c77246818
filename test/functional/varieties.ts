/**
 * What a mount does, in short: each kind of operation once, with listings of several pages (the server gives 20 keys a page).
 * For stores that differ from S3, where the long functional tests would take minutes.
 */
import {
  appendFileSync,
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { patternBytes } from '../support/pattern.ts';
import { run, shell } from '../support/processes.ts';
import type { FunctionalTest } from './functional.ts';
import { codeOf, inByteOrder, streamed } from './names.ts';

const MIB = 1024 * 1024;
/** Three pages of 20. */
const MANY = 50;

const numbered = (count: number, prefix = 'f'): string[] =>
  Array.from({ length: count }, (_, i) => `${prefix}${String(i).padStart(3, '0')}`);

export const varieties: readonly FunctionalTest[] = [
  {
    name: 'create, read, overwrite, append, truncate, delete',
    async run(t, { dir, prefix, client }) {
      const path = join(dir, 'file');
      writeFileSync(path, 'one');
      t.equal(await client.text(`${prefix}file`), 'one');
      writeFileSync(path, 'two and more');
      appendFileSync(path, '!');
      t.equal(await client.text(`${prefix}file`), 'two and more!');
      truncateSync(path, 3);
      t.equal(readFileSync(path, 'utf8'), 'two');
      t.equal(await client.text(`${prefix}file`), 'two');
      run('chmod', ['600', path]);
      t.equal(statSync(path).mode & 0o777, 0o600);
      unlinkSync(path);
      t.equal(await client.text(`${prefix}file`), undefined);
      t.equal(
        codeOf(() => readFileSync(path)),
        'ENOENT',
      );
    },
  },
  {
    name: 'objects of others: listed in pages, each once and in order, read, changed, deleted',
    async prepare(client, prefix) {
      for (const name of numbered(MANY)) await client.put(prefix + name, name);
      for (const key of ['a', 'a-b', 'a/x', 'sub/deep/one', 'sub/two', 'z-last/']) await client.put(prefix + key, key);
    },
    async run(t, { dir, prefix, client }) {
      t.same(streamed(dir), inByteOrder(['a', 'a-b', 'sub', 'z-last', ...numbered(MANY)]));
      t.ok(statSync(join(dir, 'a')).isDirectory(), 'a directory shadows a file of its name');
      t.equal(readFileSync(join(dir, 'f037'), 'utf8'), 'f037');
      const found = run('find', [dir, '-type', 'f', '-printf', '%P\n']).trim().split('\n').sort();
      t.same(found, ['a-b', 'a/x', 'sub/deep/one', 'sub/two', ...numbered(MANY)].sort());
      t.match(run('ls', ['-l', dir]), /f049/);
      appendFileSync(join(dir, 'f010'), '+');
      t.equal(await client.text(`${prefix}f010`), 'f010+');
      for (const name of numbered(MANY)) unlinkSync(join(dir, name));
      t.same(readdirSync(dir).sort(), ['a', 'a-b', 'sub', 'z-last']);
    },
  },
  {
    name: 'mkdir, rmdir, rename of a file and of a tree, rm -r',
    async run(t, { dir, prefix, client }) {
      mkdirSync(join(dir, 'tree/below'), { recursive: true });
      for (const name of numbered(30)) writeFileSync(join(dir, 'tree', name), name);
      writeFileSync(join(dir, 'tree/below/b'), 'below');
      t.equal(
        codeOf(() => rmdirSync(join(dir, 'tree'))),
        'ENOTEMPTY',
      );
      renameSync(join(dir, 'tree/f000'), join(dir, 'tree/f001'));
      t.equal(readFileSync(join(dir, 'tree/f001'), 'utf8'), 'f000', 'over another');
      renameSync(join(dir, 'tree'), join(dir, 'moved'));
      t.same(streamed(join(dir, 'moved')), inByteOrder(['below', ...numbered(30).slice(1)]));
      t.equal(await client.text(`${prefix}moved/below/b`), 'below');
      t.same(await client.keys(`${prefix}tree/`), []);
      mkdirSync(join(dir, 'empty'));
      rmdirSync(join(dir, 'empty'));
      rmSync(join(dir, 'moved'), { recursive: true });
      t.same(readdirSync(dir), []);
      t.same(
        (await client.keys(prefix)).filter(key => key !== prefix),
        [],
      );
    },
  },
  {
    name: 'cp -a of a tree: bytes, modes, times',
    run(t, { dir }) {
      const from = join(dir, 'from');
      mkdirSync(join(from, 'sub'), { recursive: true });
      for (const name of numbered(25)) writeFileSync(join(from, name), name, { mode: 0o640 });
      writeFileSync(join(from, 'sub/x'), 'x');
      run('touch', ['-d', '2001-02-03 04:05:06.5', join(from, 'f003')]);
      run('ln', ['-s', 'f003', join(from, 'link')]);
      run('cp', ['-a', from, join(dir, 'to')]);
      t.equal(shell('diff -r "$1" "$2" && echo same', { args: [from, join(dir, 'to')] }), 'same\n');
      t.equal(statSync(join(dir, 'to/f003')).mtimeMs, statSync(join(from, 'f003')).mtimeMs);
      t.equal(run('readlink', [join(dir, 'to/link')]), 'f003\n');
    },
  },
  {
    name: 'a large file in parts: written, changed in the middle, read back, renamed',
    async run(t, { dir, prefix, client }) {
      const size = 34 * MIB + 5;
      const bytes = patternBytes(size, 3);
      const path = join(dir, 'large');
      writeFileSync(path, bytes);
      const file = openSync(path, 'r+');
      bytes.write('changed', 20 * MIB);
      writeSync(file, 'changed', 20 * MIB);
      closeSync(file);
      renameSync(path, join(dir, 'renamed'));
      t.ok((await client.get(`${prefix}renamed`))!.equals(bytes), 'in S3');
      t.ok(readFileSync(join(dir, 'renamed')).equals(bytes), 'through the mount');
      // A program that goes back while its parts are on their way, and one that leaves a hole.
      const again = openSync(join(dir, 'back'), 'w');
      writeSync(again, bytes, 0, 26 * MIB, 0);
      writeSync(again, 'head', 0);
      writeSync(again, 'tail', 40 * MIB);
      closeSync(again);
      const expected = Buffer.alloc(40 * MIB + 4);
      bytes.copy(expected, 0, 0, 26 * MIB);
      expected.write('head', 0);
      expected.write('tail', 40 * MIB);
      t.ok((await client.get(`${prefix}back`))!.equals(expected), 'with a changed head and a hole');
      t.equal(await client.openUploads(), 0, 'no upload is left open');
    },
  },
  {
    name: 'two clients change one file: both versions are kept',
    async run(t, { dir, prefix, client }) {
      const path = join(dir, 'shared');
      writeFileSync(path, 'first');
      const file = openSync(path, 'r+');
      writeSync(file, 'ours!');
      await client.put(`${prefix}shared`, 'theirs, longer');
      t.equal(
        codeOf(() => fsyncSync(file)),
        'ESTALE',
      );
      closeSync(file);
      t.equal(await client.text(`${prefix}shared`), 'theirs, longer');
      const copies = (await client.keys(prefix)).filter(key => key.includes('_conflict.'));
      t.equal(copies.length, 1);
      t.equal(await client.text(copies[0]!), 'ours!');
      t.equal(readFileSync(path, 'utf8'), 'theirs, longer');
    },
  },
];

/** The same again after the daemon's end, from the index on disk; `before` makes what `after` looks at. */
export const kept = {
  before(dir: string): void {
    mkdirSync(join(dir, 'kept/inner'), { recursive: true });
    for (const name of numbered(25)) writeFileSync(join(dir, 'kept', name), name, { mode: 0o604 });
    writeFileSync(join(dir, 'kept/inner/x'), 'x');
  },
  /** Names, modes and bytes as one text. */
  after(dir: string): string {
    const kept = join(dir, 'kept');
    const modes = run('find', [kept, '-type', 'f', '-printf', '%P %m %s\n']).trim().split('\n').sort();
    return [...modes, readFileSync(join(kept, 'f020'), 'utf8')].join('\n');
  },
  expected: [...[...numbered(25).map(name => `${name} 604 4`), 'inner/x 644 1'].sort(), 'f020'].join('\n'),
};
