import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  conflictsBelow,
  conflictsCommand,
  conflictsIn,
  parseConflictName,
  shellWord,
} from '../../src/cli/conflicts.ts';
import { makeFileSystem } from '../support/filesystem.ts';

t.test('names that a mount gives, and others', async t => {
  t.same(parseConflictName('_conflict.a.b.20260102T030405Z.x.csv'), {
    host: 'a.b',
    time: '2026-01-02T03:04:05Z',
    names: ['x.csv'],
  });
  t.same(parseConflictName('_conflict.h.20260102T030405Z.2.x')?.names, ['2.x', 'x']);
  for (const other of ['x', '_conflict.x', '_conflict.h.20260102.x', 'a_conflict.h.20260102T030405Z.x']) {
    t.equal(parseConflictName(other), undefined, other);
  }
});

t.test('a word for the shell is one word, and shows nothing to a terminal', async () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom('a', "'", '\\', '$', '`', ' ', '\n', '\x1b', '\u202e', 'é', '-', '*') }),
      text => {
        const word = shellWord(text);
        if (/[\x00-\x1f\u202e]/.test(word)) throw new Error('a control character');
        if (text === '') return;
        const said = execFileSync('bash', ['-c', `printf %s ${word}`], { encoding: 'utf8' });
        if (said !== text) throw new Error(`${JSON.stringify(said)} from ${word}`);
      },
    ),
    { numRuns: 40 },
  );
});

t.test('the commands that are printed for a directory do what they say', async t => {
  const top = mkdtempSync(join(tmpdir(), 's3mount-conflicts-'));
  t.teardown(() => rmSync(top, { recursive: true }));
  mkdirSync(join(top, "it's"));
  const copy = '_conflict.box.20260102T030405Z.';
  writeFileSync(join(top, "it's", 'a'), 'theirs');
  writeFileSync(join(top, "it's", `${copy}a`), 'ours');
  writeFileSync(join(top, `${copy}gone`), 'only ours');
  const lines: string[] = [];
  const output = { print: (line: string) => lines.push(line), say: () => {}, env: {} };
  await conflictsCommand([top], [], output);
  t.match(lines.join('\n'), /of another client: .*\/a \(6 bytes, 20/);
  t.match(lines.join('\n'), /not there any more/);
  for (const line of lines.filter(each => each.includes('keep what was written'))) {
    execFileSync('sh', ['-c', line.slice(line.indexOf('mv --'))]);
  }
  t.equal(readFileSync(join(top, "it's", 'a'), 'utf8'), 'ours');
  t.equal(readFileSync(join(top, 'gone'), 'utf8'), 'only ours');
  t.same(
    conflictsBelow(top, () => {}),
    [],
  );
  await conflictsCommand([top], [], output);
  t.equal(lines.at(-1), 'no conflict copies');
});

t.test('a conflict of a mount is found in its bucket', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('f', 'theirs before');
  const open = await kernel.open('/f', 0o1001);
  await kernel.write(open, 0, Buffer.from('OURS'));
  store.putForeign('f', 'theirs after');
  await t.rejects(kernel.close(open), { code: 'ESTALE' });
  const [conflict, ...others] = await conflictsIn(store);
  t.same(others, []);
  t.same([conflict?.name, conflict?.host, conflict?.theirs?.size], ['f', 'testhost', 12]);
  t.match(conflict?.ours.path, /^_conflict\.testhost\.\d{8}T\d{6}Z\.f$/);
});
