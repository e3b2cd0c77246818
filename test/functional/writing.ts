/** Every kind of write, and what other programs of the same mount see of it. */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { patternBytes } from '../support/pattern.ts';
import { run, shell } from '../support/processes.ts';
import { copyFileRange, fallocate, lseek, mapShared } from '../support/syscalls.ts';
import type { FunctionalTest } from './functional.ts';
import { codeOf } from './names.ts';

const MIB = 1024 * 1024;

/** fallocate(2), lseek(2). */
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const SEEK_SET = 0;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

export const writing: readonly FunctionalTest[] = [
  {
    name: 'sequential, empty, and saved when close has returned',
    async run(t, { dir, prefix, client }) {
      const file = openSync(join(dir, 'a'), 'w');
      for (let i = 0; i < 100; i++) writeSync(file, `line ${i}\n`);
      t.equal(await client.text(`${prefix}a`), undefined, 'not before close');
      closeSync(file);
      const expected = Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join('');
      t.equal(await client.text(`${prefix}a`), expected);
      writeFileSync(join(dir, 'empty'), '');
      t.equal(await client.text(`${prefix}empty`), '');
      t.equal(statSync(join(dir, 'empty')).size, 0);
    },
  },
  {
    name: 'fsync saves while the file stays open',
    async run(t, { dir, prefix, client }) {
      const file = openSync(join(dir, 'a'), 'w');
      writeSync(file, 'one');
      fsyncSync(file);
      t.equal(await client.text(`${prefix}a`), 'one');
      writeSync(file, ' two');
      fsyncSync(file);
      t.equal(await client.text(`${prefix}a`), 'one two');
      closeSync(file);
    },
  },
  {
    name: 'random writes, holes, truncate and append match a model',
    async run(t, { dir, prefix, client }) {
      const path = join(dir, 'model');
      let model = Buffer.alloc(0);
      let state = 42;
      const random = (limit: number): number => {
        state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
        return state % limit;
      };
      const grown = (size: number): Buffer =>
        size <= model.length ? model : Buffer.concat([model, Buffer.alloc(size - model.length)]);
      for (let round = 0; round < 12; round++) {
        const file = openSync(path, constants.O_RDWR | constants.O_CREAT);
        for (let i = 0; i < 12; i++) {
          const kind = random(10);
          if (kind < 6) {
            const offset = random(400_000);
            const bytes = patternBytes(1 + random(60_000), state);
            model = Buffer.from(grown(offset + bytes.length));
            bytes.copy(model, offset);
            writeSync(file, bytes, 0, bytes.length, offset);
          } else if (kind < 8) {
            const size = random(450_000);
            model = Buffer.from(size < model.length ? model.subarray(0, size) : grown(size));
            ftruncateSync(file, size);
          } else {
            const into = Buffer.alloc(50_000);
            const offset = random(450_000);
            const got = readSync(file, into, 0, into.length, offset);
            const right = model.subarray(offset, offset + into.length);
            if (got !== right.length || !into.subarray(0, got).equals(right))
              t.fail(`round ${round}: read at ${offset}`);
          }
          if (fstatSync(file).size !== model.length) t.fail(`round ${round}: size`);
        }
        closeSync(file);
        appendFileSync(path, 'end');
        model = Buffer.concat([model, Buffer.from('end')]);
      }
      t.ok(readFileSync(path).equals(model), 'through the mount');
      t.ok((await client.get(`${prefix}model`))!.equals(model), 'in S3');
    },
  },
  {
    name: 'objects of others are overwritten, appended to, changed in the middle, cut',
    async prepare(client, prefix) {
      for (const name of ['over', 'append', 'middle', 'cut', 'grow']) await client.put(prefix + name, '0123456789');
    },
    async run(t, { dir, prefix, client }) {
      writeFileSync(join(dir, 'over'), 'new');
      appendFileSync(join(dir, 'append'), 'abc');
      const file = openSync(join(dir, 'middle'), 'r+');
      writeSync(file, 'XY', 4);
      closeSync(file);
      truncateSync(join(dir, 'cut'), 3);
      truncateSync(join(dir, 'grow'), 12);
      const expected = {
        over: 'new',
        append: '0123456789abc',
        middle: '0123XY6789',
        cut: '012',
        grow: '0123456789\0\0',
      };
      for (const [name, text] of Object.entries(expected)) {
        t.equal(readFileSync(join(dir, name), 'utf8'), text, `${name} here`);
        t.equal(await client.text(prefix + name), text, `${name} in S3`);
      }
    },
  },
  {
    name: 'a large file goes out in parts, and a change within it copies the rest',
    async run(t, { dir, prefix, client }) {
      const size = 40 * MIB + 17;
      const bytes = patternBytes(size, 3);
      writeFileSync(join(dir, 'large'), bytes);
      t.match((await client.head(`${prefix}large`))!.etag, /-\d+"$/, 'a multipart ETag');
      const file = openSync(join(dir, 'large'), 'r+');
      bytes.write('changed', 20 * MIB);
      writeSync(file, 'changed', 20 * MIB);
      writeSync(file, 'the end', size);
      closeSync(file);
      const expected = Buffer.concat([bytes, Buffer.from('the end')]);
      t.ok((await client.get(`${prefix}large`))!.equals(expected), 'in S3');
      t.ok(readFileSync(join(dir, 'large')).equals(expected), 'through the mount');
      t.equal(await client.openUploads(), 0, 'no upload is left open');
    },
  },
  {
    name: 'what is written is visible at once, saved or not',
    run(t, { dir }) {
      const path = join(dir, 'seen');
      const writer = openSync(path, 'w');
      writeSync(writer, 'unsaved');
      t.equal(readFileSync(path, 'utf8'), 'unsaved', 'by another handle');
      t.equal(run('cat', [path]), 'unsaved', 'by another process');
      t.equal(run('stat', ['-c', '%s', path]), '7\n');
      t.ok(run('ls', [dir]).includes('seen'));
      const second = openSync(path, 'r+');
      writeSync(second, 'UN', 0);
      t.equal(readFileSync(path, 'utf8'), 'UNsaved', 'two writers, one content');
      closeSync(second);
      writeSync(writer, '!');
      closeSync(writer);
      t.equal(readFileSync(path, 'utf8'), 'UNsaved!');
    },
  },
  {
    name: 'a reader that holds the file open over fifty saves never sees an old byte',
    run(t, { dir }) {
      const path = join(dir, 'held');
      writeFileSync(path, 'v00');
      const reader = openSync(path, 'r');
      const into = Buffer.alloc(16);
      for (let i = 1; i <= 50; i++) {
        const text = `v${String(i).padStart(2, '0')}${'+'.repeat(i % 5)}`;
        writeFileSync(path, text);
        const got = readSync(reader, into, 0, into.length, 0);
        if (into.toString('latin1', 0, got) !== text) t.fail(`save ${i}: read ${into.toString('latin1', 0, got)}`);
        if (fstatSync(reader).size !== text.length) t.fail(`save ${i}: size ${fstatSync(reader).size}`);
      }
      closeSync(reader);
      t.equal(readFileSync(path, 'utf8'), 'v50');
    },
  },
  {
    name: 'tail -f follows',
    run(t, { dir }) {
      const path = join(dir, 'log');
      writeFileSync(path, 'line 0\n');
      // GNU tail polls what inotify cannot tell of; the writer opens and closes for each line.
      const out = shell(
        `tail -n +1 -s 0.05 ---disable-inotify -f "$1" > "$2" & tail=$!
         for i in $(seq 20); do echo "line $i" >> "$1"; sleep 0.02; done
         for i in $(seq 100); do [ "$(wc -l < "$2")" -ge 21 ] && break; sleep 0.05; done
         kill $tail; cat "$2"`,
        { args: [path, join(dir, '..', `${Date.now()}.tail`)] },
      );
      t.same(
        out.trimEnd().split('\n'),
        Array.from({ length: 21 }, (_, i) => `line ${i}`),
      );
    },
  },
  {
    name: 'O_APPEND of several processes loses nothing',
    run(t, { dir }) {
      const path = join(dir, 'appended');
      shell(`for p in 1 2 3 4; do (for i in $(seq 50); do echo "$p $i" >> "$1"; done) & done; wait`, { args: [path] });
      const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
      t.equal(lines.length, 200);
      t.equal(new Set(lines).size, 200);
    },
  },
  {
    name: 'unlink while open: the bytes stay for who has it open',
    async run(t, { dir, prefix, client }) {
      const path = join(dir, 'gone');
      writeFileSync(path, 'still here');
      const file = openSync(path, 'r+');
      unlinkSync(path);
      t.notOk(existsSync(path));
      t.equal(await client.text(`${prefix}gone`), undefined);
      const into = Buffer.alloc(10);
      t.equal(readSync(file, into, 0, 10, 0), 10);
      t.equal(into.toString(), 'still here');
      writeSync(file, 'more', 10);
      t.equal(fstatSync(file).size, 14);
      writeFileSync(path, 'another');
      closeSync(file);
      t.equal(readFileSync(path, 'utf8'), 'another', 'the name belongs to the new file');
      t.equal(await client.text(`${prefix}gone`), 'another');
    },
  },
  {
    name: 'mmap, shared and written',
    run(t, { dir }) {
      const path = join(dir, 'mapped');
      writeFileSync(path, Buffer.alloc(10_000, 'a'));
      const file = openSync(path, 'r+');
      const map = mapShared(file, 10_000);
      t.equal(map.bytes[9_999], 97);
      map.bytes.set(Buffer.from('mapped'), 5_000);
      map.sync();
      t.equal(readFileSync(path).toString('latin1', 4_999, 5_007), 'amappeda');
      map.unmap();
      closeSync(file);
      t.equal(readFileSync(path).toString('latin1', 4_999, 5_007), 'amappeda');
    },
  },
  {
    name: 'chmod, times and copies answer sensibly',
    run(t, { dir }) {
      const path = join(dir, 'meta');
      writeFileSync(path, 'x', { mode: 0o600 });
      chmodSync(path, 0o640);
      utimesSync(path, 1_000_000_000, 1_234_567_890.5);
      const seen = statSync(path);
      t.equal(seen.mode & 0o777, 0o640);
      t.equal(seen.mtimeMs, 1_234_567_890_500);
      run('cp', ['-p', path, `${path} copy`]);
      t.equal(statSync(`${path} copy`).mtimeMs, 1_234_567_890_500);
      t.equal(statSync(`${path} copy`).mode & 0o777, 0o640);
      copyFileSync(path, `${path} 2`);
      t.equal(readFileSync(`${path} 2`, 'utf8'), 'x');
    },
  },
  {
    name: 'links, and what S3 has not',
    async run(t, { dir, prefix, client }) {
      writeFileSync(join(dir, 'file'), 'x');
      symlinkSync('../somewhere/없는', join(dir, 'link'));
      symlinkSync('file', join(dir, 'to file'));
      t.equal(readlinkSync(join(dir, 'link')), '../somewhere/없는');
      t.equal(readFileSync(join(dir, 'to file'), 'utf8'), 'x');
      t.ok(lstatSync(join(dir, 'link')).isSymbolicLink());
      unlinkSync(join(dir, 'link'));
      t.equal(
        codeOf(() => linkSync(join(dir, 'file'), join(dir, 'hard'))),
        'EPERM',
      );
      run('mkfifo', [join(dir, 'fifo')]);
      t.ok(lstatSync(join(dir, 'fifo')).isFIFO());
      t.same(await client.keys(prefix), [prefix, `${prefix}fifo`, `${prefix}file`, `${prefix}to file`]);
    },
  },
  {
    name: 'fallocate, holes, copy_file_range, direct I/O',
    run(t, { dir }) {
      const path = join(dir, 'holes');
      const file = openSync(path, 'w+');
      fallocate(file, 0, 0, 1_000_000);
      t.equal(fstatSync(file).size, 1_000_000);
      writeSync(file, patternBytes(200_000, 8), 0, 200_000, 300_000);
      fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 350_000, 50_000);
      const data = lseek(file, 0, SEEK_DATA);
      t.ok(data <= 300_000, `data at ${data}`);
      t.ok(lseek(file, 300_000, SEEK_HOLE) <= 1_000_000);
      const expected = Buffer.alloc(1_000_000);
      patternBytes(200_000, 8).copy(expected, 300_000);
      expected.fill(0, 350_000, 400_000);
      t.ok(readFileSync(path).equals(expected));
      lseek(file, 0, SEEK_SET);
      const copy = openSync(join(dir, 'copy'), 'w');
      let copied = 0;
      for (let got = 1; got > 0 && copied < 1_000_000; copied += got)
        got = copyFileRange(file, copy, 1_000_000 - copied);
      closeSync(copy);
      closeSync(file);
      t.equal(copied, 1_000_000);
      t.ok(readFileSync(join(dir, 'copy')).equals(expected));
      const direct = join(dir, 'direct');
      run('dd', [`if=${path}`, `of=${direct}`, 'bs=64k', 'iflag=direct', 'oflag=direct', 'status=none']);
      t.ok(readFileSync(direct).equals(expected), 'by O_DIRECT');
    },
  },
  {
    name: 'errors of open',
    run(t, { dir }) {
      writeFileSync(join(dir, 'file'), 'x');
      t.equal(
        codeOf(() => openSync(join(dir, 'missing'), 'r')),
        'ENOENT',
      );
      t.equal(
        codeOf(() => openSync(join(dir, 'file'), 'wx')),
        'EEXIST',
      );
      t.equal(
        codeOf(() => openSync(join(dir, 'file/below'), 'r')),
        'ENOTDIR',
      );
      t.equal(
        codeOf(() => openSync(dir, 'r+')),
        'EISDIR',
      );
      t.equal(
        codeOf(() => unlinkSync(dir)),
        'EISDIR',
      );
    },
  },
];
