/** Directories that are read while they change, and large ones. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  opendirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DirectoryStream } from '../support/directory-stream.ts';
import type { ForeignClient } from '../support/s3-client.ts';
import type { FunctionalTest } from './functional.ts';
import { codeOf } from './names.ts';

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `f${String(i).padStart(4, '0')}`);

/** More than one page of S3's 1,000 and more than one answer to the kernel. */
const MANY = 1010;

async function putMany(client: ForeignClient, prefix: string, count: number): Promise<void> {
  const names = numbered(count);
  for (let i = 0; i < count; i += 50) {
    await Promise.all(names.slice(i, i + 50).map(name => client.put(prefix + name, name)));
  }
}

export const directories: readonly FunctionalTest[] = [
  {
    name: 'mkdir, rmdir, ENOTEMPTY told truly',
    prepare: (client, prefix) => client.put(`${prefix}theirs/`),
    async run(t, { dir, prefix, client }) {
      const theirs = join(dir, 'theirs');
      t.ok(statSync(theirs).isDirectory());
      await client.put(`${prefix}theirs/new`, 'x');
      t.equal(
        codeOf(() => rmdirSync(theirs)),
        'ENOTEMPTY',
        'what another client put there counts',
      );
      await client.delete(`${prefix}theirs/new`);
      rmdirSync(theirs);
      const inner = join(dir, 'inner');
      mkdirSync(inner);
      t.same(await client.keys(prefix), [`${prefix}inner/`]);
      t.equal(
        codeOf(() => mkdirSync(inner)),
        'EEXIST',
      );
      const unsaved = openSync(join(inner, 'unsaved'), 'w');
      t.equal(
        codeOf(() => rmdirSync(inner)),
        'ENOTEMPTY',
        'an unsaved file counts',
      );
      closeSync(unsaved);
      unlinkSync(join(inner, 'unsaved'));
      rmdirSync(inner);
      t.equal(
        codeOf(() => statSync(inner)),
        'ENOENT',
      );
      t.equal(
        codeOf(() => rmdirSync(inner)),
        'ENOENT',
      );
      t.equal(
        codeOf(() => rmdirSync(`${dir}/.`)),
        'EINVAL',
      );
      t.same(await client.keys(prefix), []);
    },
  },
  {
    name: 'a directory without a marker stays when its last file goes',
    async prepare(client, prefix) {
      await client.put(`${prefix}implicit/only`, 'x');
    },
    run(t, { dir }) {
      unlinkSync(join(dir, 'implicit/only'));
      t.same(readdirSync(join(dir, 'implicit')), []);
      t.same(readdirSync(dir), ['implicit']);
      rmdirSync(join(dir, 'implicit'));
      t.same(readdirSync(dir), []);
    },
  },
  {
    name: 'everything is deleted while it is read',
    prepare: (client, prefix) => putMany(client, prefix, MANY),
    async run(t, { dir, prefix, client }) {
      const stream = opendirSync(dir, { bufferSize: 1 });
      const seen: string[] = [];
      for (let entry = stream.readSync(); entry; entry = stream.readSync()) {
        seen.push(entry.name);
        unlinkSync(join(dir, entry.name));
      }
      stream.closeSync();
      t.same(seen, numbered(MANY), 'each once, none skipped');
      t.same(readdirSync(dir), []);
      t.same(
        (await client.keys(prefix)).filter(key => key !== prefix),
        [],
      );
    },
  },
  {
    name: 'everything is renamed while it is read',
    prepare: (client, prefix) => putMany(client, prefix, 300),
    run(t, { dir }) {
      const stream = opendirSync(dir, { bufferSize: 1 });
      const seen: string[] = [];
      for (let entry = stream.readSync(); entry; entry = stream.readSync()) {
        if (!entry.name.startsWith('f')) continue;
        seen.push(entry.name);
        renameSync(join(dir, entry.name), join(dir, `renamed ${entry.name}`));
      }
      stream.closeSync();
      t.same(seen, numbered(300), 'each once, none skipped');
      t.same(
        readdirSync(dir),
        numbered(300).map(name => `renamed ${name}`),
      );
      t.equal(readFileSync(join(dir, 'renamed f0123'), 'utf8'), 'f0123');
    },
  },
  {
    name: 'files are made while it is read: none of the old ones is lost or doubled',
    prepare: (client, prefix) => putMany(client, prefix, 300),
    run(t, { dir }) {
      const stream = opendirSync(dir, { bufferSize: 1 });
      const seen: string[] = [];
      for (let entry = stream.readSync(); entry; entry = stream.readSync()) {
        seen.push(entry.name);
        if (seen.length % 50 === 0) writeFileSync(join(dir, `a${seen.length}`), '');
      }
      stream.closeSync();
      t.same(
        seen.filter(name => name.startsWith('f')),
        numbered(300),
      );
      t.equal(new Set(seen).size, seen.length);
      t.equal(readdirSync(dir).length, 306);
    },
  },
  {
    name: 'telldir, seekdir, rewinddir',
    prepare: (client, prefix) => putMany(client, prefix, 400),
    run(t, { dir }) {
      const all = numbered(400);
      const stream = new DirectoryStream(dir);
      const first = Array.from({ length: 200 }, () => stream.next());
      t.same(first, all.slice(0, 200));
      const place = stream.tell();
      t.same(stream.rest(), all.slice(200));
      stream.seek(place);
      t.same(stream.rest(), all.slice(200), 'back to the place that telldir told');
      for (const name of all.slice(0, 100)) unlinkSync(join(dir, name));
      stream.seek(place);
      t.same(stream.rest(), all.slice(200), 'the place holds although entries before it went');
      stream.rewind();
      t.same(stream.rest(), all.slice(100), 'rewinddir shows what is there now');
      writeFileSync(join(dir, 'new'), '');
      t.notOk(stream.rest().includes('new'), 'at the end it stays at the end');
      stream.rewind();
      t.ok(stream.rest().includes('new'));
      stream.close();
    },
  },
  {
    name: 'rm -r of a tree of several pages',
    async prepare(client, prefix) {
      await putMany(client, `${prefix}tree/`, MANY);
      await putMany(client, `${prefix}tree/below/`, 30);
    },
    async run(t, { dir, prefix, client }) {
      t.equal(readdirSync(join(dir, 'tree')).length, MANY + 1);
      rmSync(join(dir, 'tree'), { recursive: true });
      t.notOk(existsSync(join(dir, 'tree')));
      t.same(await client.keys(`${prefix}tree`), []);
    },
  },
];
