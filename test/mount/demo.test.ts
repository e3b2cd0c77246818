/** The demo's check passes on a good server, and proves itself: each planted fault is found and the file named. */
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { output } from '../support/s3mount-command.ts';

const SCRIPT = fileURLToPath(new URL('../../scripts/demo.mjs', import.meta.url));

function check(faults: string): ReturnType<typeof output> {
  const environment = ['PATH', 'HOME', 'TMPDIR'].map(name => `${name}=${process.env[name] ?? ''}`);
  const command = [process.execPath, SCRIPT, '--prepared', '--check', `--faults=${faults}`];
  return output('env', ['-i', ...environment, ...command], {});
}

t.test('without a fault', async t => {
  const { code, stdout } = await check('');
  t.equal(code, 0, stdout);
  t.match(stdout, /ok {5}compare the bucket itself: \d{3} objects\n/);
  t.match(stdout, /demo: all checks passed\n$/);
});

t.test('a byte altered, an object missing, a rename undone: each is found', async t => {
  const { code, stdout } = await check(
    'altered:key=written/large.bin;missing:key=copies/한글/보고서;undone:key=deep/leaf',
  );
  t.equal(code, 1);
  for (const named of [
    "written/large.bin: the object's bytes are not what was written",
    'copies/한글/보고서 2026.csv: the bucket has no such object',
    'deep/leaf, moved.txt: the bucket has no such object',
  ]) {
    t.ok(stdout.includes(`\n  ${named}\n`), stdout);
  }
});

t.test('nothing is left behind', async t => {
  t.same(
    (await readdir(tmpdir())).filter(name => name.startsWith('s3mount-demo-')),
    [],
  );
});
