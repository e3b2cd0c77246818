/** Renames of files and directories, in place and over others. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { patternBytes } from '../support/pattern.ts';
import { renameat2 } from '../support/syscalls.ts';
import type { FunctionalTest } from './functional.ts';
import { codeOf } from './names.ts';

const RENAME_NOREPLACE = 1;

export const renaming: readonly FunctionalTest[] = [
  {
    name: 'a file, over another, into another directory',
    async run(t, { dir, prefix, client }) {
      writeFileSync(join(dir, 'a'), 'a');
      writeFileSync(join(dir, 'b'), 'b');
      mkdirSync(join(dir, 'd'));
      renameSync(join(dir, 'a'), join(dir, 'b'));
      t.same(readdirSync(dir), ['b', 'd']);
      t.equal(readFileSync(join(dir, 'b'), 'utf8'), 'a');
      renameSync(join(dir, 'b'), join(dir, 'd/가'));
      t.equal(readFileSync(join(dir, 'd/가'), 'utf8'), 'a');
      t.same(await client.keys(prefix), [prefix, `${prefix}d/`, `${prefix}d/가`]);
      mkdirSync(join(dir, 'other'));
      t.equal(
        codeOf(() => renameSync(join(dir, 'missing'), join(dir, 'x'))),
        'ENOENT',
      );
      t.equal(
        codeOf(() => renameSync(join(dir, 'd/가'), join(dir, 'other'))),
        'EISDIR',
      );
      t.equal(
        codeOf(() => renameSync(join(dir, 'other'), join(dir, 'd/가'))),
        'ENOTDIR',
      );
      t.equal(
        codeOf(() => renameSync(join(dir, 'd'), join(dir, 'd/below'))),
        'EINVAL',
      );
    },
  },
  {
    name: 'RENAME_NOREPLACE',
    run(t, { dir }) {
      writeFileSync(join(dir, 'a'), 'a');
      writeFileSync(join(dir, 'b'), 'b');
      t.equal(
        codeOf(() => renameat2(join(dir, 'a'), join(dir, 'b'), RENAME_NOREPLACE)),
        'EEXIST',
      );
      renameat2(join(dir, 'a'), join(dir, 'c'), RENAME_NOREPLACE);
      t.same(readdirSync(dir), ['b', 'c']);
    },
  },
  {
    name: 'a directory with all that is below it',
    async prepare(client, prefix) {
      for (let i = 0; i < 60; i++) await client.put(`${prefix}old/${i % 7}/file ${i}`, `content ${i}`);
      await client.put(`${prefix}old/large`, patternBytes(6_000_000, 5));
    },
    async run(t, { dir, prefix, client }) {
      writeFileSync(join(dir, 'old/unsaved elsewhere'), 'new');
      renameSync(join(dir, 'old'), join(dir, 'new'));
      t.same(readdirSync(dir), ['new']);
      t.same(readdirSync(join(dir, 'new')), ['0', '1', '2', '3', '4', '5', '6', 'large', 'unsaved elsewhere']);
      for (let i = 0; i < 60; i++) {
        if (readFileSync(join(dir, `new/${i % 7}/file ${i}`), 'utf8') !== `content ${i}`) t.fail(`file ${i}`);
      }
      t.ok(readFileSync(join(dir, 'new/large')).equals(patternBytes(6_000_000, 5)));
      t.same(await client.keys(`${prefix}old`), []);
      t.equal((await client.keys(`${prefix}new/`)).filter(key => !key.endsWith('/')).length, 62);
    },
  },
  {
    name: 'a directory over another: only over an empty one',
    run(t, { dir }) {
      for (const name of ['from', 'empty', 'full']) mkdirSync(join(dir, name));
      writeFileSync(join(dir, 'from/x'), 'x');
      writeFileSync(join(dir, 'full/y'), 'y');
      t.equal(
        codeOf(() => renameSync(join(dir, 'from'), join(dir, 'full'))),
        'ENOTEMPTY',
      );
      renameSync(join(dir, 'from'), join(dir, 'empty'));
      t.equal(readFileSync(join(dir, 'empty/x'), 'utf8'), 'x');
      t.notOk(existsSync(join(dir, 'from')));
    },
  },
  {
    name: 'open handles follow',
    async run(t, { dir, prefix, client }) {
      mkdirSync(join(dir, 'd'));
      const file = openSync(join(dir, 'd/open'), 'w+');
      writeSync(file, 'before');
      renameSync(join(dir, 'd/open'), join(dir, 'd/renamed'));
      writeSync(file, ' between');
      renameSync(join(dir, 'd'), join(dir, 'e'));
      writeSync(file, ' after');
      const into = Buffer.alloc(64);
      t.equal(into.toString('utf8', 0, readSync(file, into, 0, 64, 0)), 'before between after');
      closeSync(file);
      t.equal(readFileSync(join(dir, 'e/renamed'), 'utf8'), 'before between after');
      t.equal(await client.text(`${prefix}e/renamed`), 'before between after');
      t.same(await client.keys(`${prefix}d`), []);
      const reader = openSync(join(dir, 'e/renamed'), 'r');
      renameSync(join(dir, 'e/renamed'), join(dir, 'e/again'));
      t.equal(into.toString('utf8', 0, readSync(reader, into, 0, 64, 0)), 'before between after');
      closeSync(reader);
    },
  },
  {
    name: 'saving as editors do: write aside, rename over',
    async run(t, { dir, prefix, client }) {
      const path = join(dir, 'document');
      writeFileSync(path, 'version 0');
      const reader = openSync(path, 'r');
      for (let i = 1; i <= 10; i++) {
        writeFileSync(`${path}.tmp`, `version ${i}`);
        renameSync(`${path}.tmp`, path);
        if (readFileSync(path, 'utf8') !== `version ${i}`) t.fail(`version ${i}`);
      }
      const into = Buffer.alloc(64);
      t.equal(
        into.toString('utf8', 0, readSync(reader, into, 0, 64, 0)),
        'version 0',
        'who has the old one open keeps it',
      );
      closeSync(reader);
      t.same(await client.keys(prefix), [prefix, `${prefix}document`]);
      t.equal(await client.text(`${prefix}document`), 'version 10');
    },
  },
  {
    name: 'rename and make anew in turns',
    run(t, { dir }) {
      for (let i = 0; i < 10; i++) {
        mkdirSync(join(dir, 'work'));
        writeFileSync(join(dir, 'work/result'), `${i}`);
        renameSync(join(dir, 'work'), join(dir, `done ${i}`));
      }
      for (let i = 0; i < 10; i++) t.equal(readFileSync(join(dir, `done ${i}/result`), 'utf8'), `${i}`);
      t.equal(
        codeOf(() => rmdirSync(join(dir, 'done 3'))),
        'ENOTEMPTY',
      );
    },
  },
];
