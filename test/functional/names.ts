/** Names are bytes until proven UTF-8; every name that can be a key works, and every other one is refused in time. */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { DirectoryStream } from '../support/directory-stream.ts';
import type { FunctionalTest } from './functional.ts';

/** The code of the error that `action` throws. */
export function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return errorCode(error);
  }
}

/** By errno's name; libuv has none for ESTALE. */
export function errorCode(error: unknown): string | undefined {
  const { code, errno } = error as NodeJS.ErrnoException;
  return errno === -116 ? 'ESTALE' : code;
}

/** In the order of UTF-8 bytes, each as a directory `name/`: what S3 gives and what the mount shows. */
export function inByteOrder(names: readonly string[]): string[] {
  return [...names].sort((a, b) => Buffer.compare(Buffer.from(`${a}/`), Buffer.from(`${b}/`)));
}

/** Names in the order in which the mount gives them; `readdirSync` sorts by itself. */
export function streamed(path: string): string[] {
  const stream = new DirectoryStream(path);
  const names = stream.rest();
  stream.close();
  return names;
}

const ODD_NAMES = [
  ' leading and trailing ',
  'plus+plus',
  'percent%20%',
  'equals=and&',
  'question?hash#',
  'quote"\'`',
  'back\\slash',
  'colon:semi;',
  'star*[a]{b}',
  'new\nline',
  'tab\tbell\u0007',
  '가나다',
  'emoji \u{1F600}',
  'halfwidth \uFFA0',
  '...',
  '-rf',
  '~',
  'x'.repeat(255),
];

/** Hangul as Linux and Windows write it, and as a Mac does. */
const NFC = '한글.txt'.normalize('NFC');
const NFD = '한글.txt'.normalize('NFD');

/** `한글.txt` in CP949, as a zip made on Korean Windows has it. */
const CP949 = Buffer.from([0xc7, 0xd1, 0xb1, 0xdb, 0x2e, 0x74, 0x78, 0x74]);

function writtenAndRead(t: Test, dir: string, name: string): void {
  const path = join(dir, name);
  writeFileSync(path, name);
  t.equal(readFileSync(path, 'utf8'), name, JSON.stringify(name.slice(0, 30)));
}

export const names: readonly FunctionalTest[] = [
  {
    name: 'odd names are written, listed and read, and are the keys in S3',
    async run(t, { dir, prefix, client }) {
      for (const name of ODD_NAMES) writtenAndRead(t, dir, name);
      t.same(streamed(dir), inByteOrder(ODD_NAMES));
      t.same((await client.keys(prefix)).sort(), [prefix, ...ODD_NAMES.map(name => prefix + name)].sort());
    },
  },
  {
    name: 'odd names of others are listed and read',
    async prepare(client, prefix) {
      for (const name of ODD_NAMES) await client.put(prefix + name, name);
    },
    run(t, { dir }) {
      t.same(streamed(dir), inByteOrder(ODD_NAMES));
      for (const name of ODD_NAMES) t.equal(readFileSync(join(dir, name), 'utf8'), name);
    },
  },
  {
    name: 'the order of names is that of UTF-8 bytes, a directory being name/',
    async prepare(client, prefix) {
      for (const key of ['a', 'a-b', 'b/x', 'b-c', 'b.d', '\u{1F600}', '\uFFA0', 'Z', 'z'])
        await client.put(prefix + key);
    },
    run(t, { dir }) {
      t.same(streamed(dir), ['Z', 'a-b', 'a', 'b-c', 'b.d', 'b', 'z', '\uFFA0', '\u{1F600}']);
      // Merged with what is not saved yet: none lost, none twice.
      const file = openSync(join(dir, 'a.unsaved'), 'w');
      mkdirSync(join(dir, 'a0'));
      t.same(
        readdirSync(dir).sort(),
        ['Z', 'a', 'a-b', 'a.unsaved', 'a0', 'b', 'b-c', 'b.d', 'z', '\uFFA0', '\u{1F600}'].sort(),
      );
      closeSync(file);
      t.same(readdirSync(dir).length, 11);
    },
  },
  {
    name: 'a name that is not UTF-8 is refused with EILSEQ and a line in the log',
    run(t, { dir, log }) {
      const bad = Buffer.concat([Buffer.from(`${dir}/`), CP949]);
      t.throws(() => writeFileSync(bad, 'x'), /EILSEQ|illegal byte sequence/i);
      t.throws(() => mkdirSync(bad), /EILSEQ|illegal byte sequence/i);
      t.throws(() => symlinkSync('target', bad), /EILSEQ|illegal byte sequence/i);
      writeFileSync(join(dir, 'good'), 'x');
      t.throws(() => renameSync(join(dir, 'good'), bad), /EILSEQ|illegal byte sequence/i);
      t.same(readdirSync(dir), ['good'], 'nothing was made under another name');
      t.equal(
        codeOf(() => statSync(bad)),
        'ENOENT',
      );
      t.match(log(), /is not UTF-8/);
    },
  },
  {
    name: 'NFC and NFD Hangul are two names',
    async prepare(client, prefix) {
      await client.put(prefix + NFC, 'nfc');
      await client.put(prefix + NFD, 'nfd');
      await client.put(`${prefix}mac/${NFD}`, 'from a mac');
    },
    run(t, { dir, log }) {
      t.not(NFC, NFD);
      t.same(readdirSync(dir).sort(), [NFC, NFD, 'mac'].sort());
      t.equal(readFileSync(join(dir, NFC), 'utf8'), 'nfc');
      t.equal(readFileSync(join(dir, NFD), 'utf8'), 'nfd');
      t.same(readdirSync(join(dir, 'mac')), [NFD]);
      for (let pass = 0; pass < 3; pass++) t.notOk(existsSync(join(dir, 'mac', NFC)), 'only the other form is there');
      const lines = log()
        .split('\n')
        .filter(line => /normali[sz]/i.test(line));
      t.equal(lines.length, 1, 'said once');
    },
  },
  {
    name: 'a name too long for its key fails at create',
    run(t, { dir, prefix }) {
      t.equal(
        codeOf(() => writeFileSync(join(dir, 'x'.repeat(256)), '')),
        'ENAMETOOLONG',
      );
      t.equal(
        codeOf(() => writeFileSync(join(dir, '가'.repeat(86)), '')),
        'ENAMETOOLONG',
      );
      let deep = dir;
      let key = prefix;
      while (key.length + 201 + 1 <= 1024) {
        deep = join(deep, 'd'.repeat(200));
        key += `${'d'.repeat(200)}/`;
        mkdirSync(deep);
      }
      const room = 1024 - key.length;
      t.ok(room > 1 && room < 254, `room for ${room} bytes`);
      writeFileSync(join(deep, 'f'.repeat(room)), 'fits');
      t.equal(readFileSync(join(deep, 'f'.repeat(room)), 'utf8'), 'fits');
      t.equal(
        codeOf(() => openSync(join(deep, 'f'.repeat(room + 1)), 'w')),
        'ENAMETOOLONG',
      );
      t.equal(
        codeOf(() => mkdirSync(join(deep, 'e'.repeat(room)))),
        'ENAMETOOLONG',
        'a directory has a slash more',
      );
      t.equal(
        codeOf(() => renameSync(join(deep, 'f'.repeat(room)), join(deep, 'g'.repeat(room + 1)))),
        'ENAMETOOLONG',
      );
      t.same(readdirSync(deep), ['f'.repeat(room)]);
    },
  },
];
