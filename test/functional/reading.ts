/** Objects that other tools wrote: every style of directory, odd keys, ranges. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { patternBytes } from '../support/pattern.ts';
import type { FunctionalTest } from './functional.ts';

const MIB = 1024 * 1024;
const LARGE = 9 * MIB + 4321;

export const reading: readonly FunctionalTest[] = [
  {
    name: 'every style of directory marker',
    async prepare(client, prefix) {
      await client.put(`${prefix}marker/`);
      await client.put(`${prefix}implicit/below/file`, 'x');
      await client.put(`${prefix}hadoop_$folder$`);
      await client.put(`${prefix}hadoop/part-0`, '0');
      await client.put(`${prefix}lonely_$folder$`);
      await client.put(`${prefix}typed`, '', { contentType: 'application/x-directory' });
      await client.put(`${prefix}file`, 'f');
    },
    run(t, { dir }) {
      const shown = readdirSync(dir, { withFileTypes: true });
      t.same(
        shown.map(entry => entry.name),
        ['file', 'hadoop', 'implicit', 'lonely', 'marker', 'typed'],
      );
      for (const name of ['hadoop', 'implicit', 'lonely', 'marker', 'typed']) {
        t.ok(statSync(join(dir, name)).isDirectory(), `${name} is a directory`);
      }
      t.same(readdirSync(join(dir, 'hadoop')), ['part-0']);
      t.same(readdirSync(join(dir, 'implicit')), ['below']);
      t.same(readdirSync(join(dir, 'marker')), []);
      t.same(readdirSync(join(dir, 'typed')), []);
      t.ok(statSync(join(dir, 'file')).isFile());
    },
  },
  {
    name: 'a key that is file and prefix shows as the directory',
    async prepare(client, prefix) {
      await client.put(`${prefix}both`, 'the file');
      await client.put(`${prefix}both-more`, 'sorts between both and both/');
      await client.put(`${prefix}both/inner`, 'inner');
    },
    run(t, { dir }) {
      t.same(readdirSync(dir), ['both', 'both-more'].sort());
      t.ok(statSync(join(dir, 'both')).isDirectory());
      t.equal(readFileSync(join(dir, 'both/inner'), 'utf8'), 'inner');
    },
  },
  {
    name: 'keys that no filesystem can show are left out, and said once',
    async prepare(client, prefix) {
      await client.put(`${prefix}good`, '1');
      await client.put(`${prefix}/leading-slash`, '2');
      await client.put(`${prefix}a//b`, '3');
      await client.put(`${prefix}./dot`, '4');
      await client.put(`${prefix}../dots`, '5');
      await client.put(`${prefix}${'n'.repeat(256)}`, '6');
      await client.put(`${prefix}${'가'.repeat(86)}`, '7');
    },
    run(t, { dir, log, shown }) {
      for (let pass = 0; pass < 2; pass++) t.same(readdirSync(dir), ['a', 'good']);
      t.same(readdirSync(join(dir, 'a')), []);
      const lines = log()
        .split('\n')
        .filter(line => line.includes('no filesystem can show'));
      for (const key of [`${shown}/`, `${shown}a//`, `${shown}./`, `${shown}../`, shown + 'n'.repeat(256)]) {
        t.equal(lines.filter(line => line.includes(`"${key}"`)).length, 1, `one warning of ${key.slice(0, 40)}`);
      }
    },
  },
  {
    name: 'sequential, random and short reads',
    prepare: (client, prefix) => client.put(`${prefix}large`, patternBytes(LARGE, 7)),
    run(t, { dir }) {
      const path = join(dir, 'large');
      const expected = patternBytes(LARGE, 7);
      t.equal(statSync(path).size, LARGE);
      const file = openSync(path, 'r');
      const into = Buffer.alloc(300_000);
      let place = 12_345;
      for (let i = 0; i < 60; i++) {
        place = (place * 69_069 + 1) % LARGE;
        const want = 1 + (place % into.length);
        const got = readSync(file, into, 0, want, place);
        const right = expected.subarray(place, Math.min(LARGE, place + want));
        if (got !== right.length || Buffer.compare(into.subarray(0, got), right) !== 0) {
          t.fail(`${want} bytes at ${place}`);
        }
      }
      t.equal(readSync(file, into, 0, 10, LARGE), 0, 'nothing after the end');
      t.equal(readSync(file, into, 0, 10, LARGE - 3), 3);
      closeSync(file);
      t.ok(readFileSync(path).equals(expected), 'from the beginning to the end');
    },
  },
  {
    name: 'metadata and content type of others do not disturb',
    prepare: (client, prefix) =>
      client.put(`${prefix}odd`, 'body', { contentType: 'text/html', metadata: { mode: 'nonsense', mtime: '-1e400' } }),
    run(t, { dir }) {
      t.equal(readFileSync(join(dir, 'odd'), 'utf8'), 'body');
      t.ok(statSync(join(dir, 'odd')).isFile());
    },
  },
];
