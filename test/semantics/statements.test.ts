/** docs/SEMANTICS.md and the tests of its statements: each has the other. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** Statements that tests of real mounts or of the daemon prove already: where, and by which words in a test's title. */
const ELSEWHERE: Readonly<Record<string, readonly [file: string, title: string]>> = {
  W15: ['test/mount/requests.test.ts', '500 children that write into one descriptor cost at most 3 PUTs'],
  Q1: ['test/unit/fs-write-back.test.ts', 'close returns before S3 has the bytes, and everything shows as if it had'],
  Q2: ['test/mount/write-back.test.ts', 'killed at any moment: what close, rename and unlink have answered is there'],
  Q3: ['test/model/queue.test.ts', 'synced in groups: nothing is lost by kills, and up to a second by power cuts'],
  Q4: ['test/unit/fs-write-back.test.ts', 'fsync waits for S3 and tells its error'],
  Q5: ['test/unit/fs-write-back.test.ts', 'what becomes something else before it is sent costs nothing more'],
  Q6: ['test/unit/fs-write-back.test.ts', 'rm a; echo > a and mv a b; echo > a come out right'],
  Q7: ['test/unit/fs-write-back.test.ts', 'another client was faster: a conflict copy, told once'],
  Q8: ['test/unit/fs-write-back.test.ts', 'S3 refuses a delete: the file is there again'],
  Q9: ['test/unit/fs-unsaved.test.ts', 'write_back, full while S3 takes nothing: ENOSPC at write, never at close'],
  Q10: ['test/unit/fs-write-back.test.ts', 'a large file goes to S3 by itself, after what is queued under its name'],
  Q11: [
    'test/mount/write-back.test.ts',
    'killed in the midst of a large file: what was being uploaded is aborted by the next mount',
  ],
  J1: [
    'test/mount/unsaved.test.ts',
    'what was written and not closed is there after a kill, of small files and of large ones',
  ],
  J2: ['test/unit/fs-unsaved.test.ts', 'changed by another client meanwhile: a conflict copy'],
  J3: ['test/model/unsaved-deaths.test.ts', 'the power is cut at calls'],
  J4: ['test/unit/fs-unsaved.test.ts', 'parts that S3 has are not sent again'],
  J5: [
    'test/unit/fs-unsaved.test.ts',
    'full: write waits, then fails with ENOSPC, close does not; what S3 takes makes room',
  ],
  J6: ['test/unit/fs-unsaved.test.ts', 'a copy of a whole file does not refer to its source'],
  E1: ['test/mount/cli-life.test.ts', 'in the foreground'],
  E2: ['test/unit/cli-lifecycle.test.ts', 'what could not be saved is named, with an exit code of its own'],
  E3: ['test/mount/cli-life.test.ts', 'after SIGKILL the same command mounts again'],
};

const statements = [...read('docs/SEMANTICS.md').matchAll(/^- \*\*([A-Z]\d+)\*\* \S/gm)].map(([, id]) => id!);

const files = [
  ...readdirSync(join(root, 'test/semantics'))
    .filter(name => name.endsWith('.test.ts') && name !== 'statements.test.ts')
    .map(name => `test/semantics/${name}`),
  'test/mount/semantics.test.ts',
];
const titles = files.flatMap(file => [...read(file).matchAll(/^t\.test\('([A-Z]\d+) /gm)].map(([, id]) => id!));

t.test('no statement twice', async t => {
  t.ok(statements.length > 50);
  t.same(
    statements.filter((id, index) => statements.indexOf(id) !== index),
    [],
  );
});

t.test('every statement has a test', async t => {
  const tested = new Set([...titles, ...Object.keys(ELSEWHERE)]);
  t.same(
    statements.filter(id => !tested.has(id)),
    [],
  );
});

t.test('every test has a statement', async t => {
  t.same(
    [...titles, ...Object.keys(ELSEWHERE)].filter(id => !statements.includes(id)),
    [],
  );
});

t.test('tests elsewhere are there', async t => {
  for (const [id, [file, title]] of Object.entries(ELSEWHERE)) {
    t.ok(
      read(file)
        .split('\n')
        .some(line => line.includes('t.test(') && line.includes(title)),
      `${id}: ${file}, "${title}"`,
    );
    t.notOk(titles.includes(id), `${id} is tested in one place`);
  }
});
