import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { IndexFiles } from '../../src/fs/index-files.ts';

function aDirectory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 's3mount-index-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  mkdirSync(join(path, 'ab'));
  writeFileSync(join(path, 'ab/old'), '');
  return path;
}

t.test('what is there may be there, what is not is not', async t => {
  const files = new IndexFiles(aDirectory(t));
  t.equal(await files.mayBe('ab', 'old'), true);
  t.equal(files.mayBe('ab', 'new'), false, 'at once');
  t.equal(files.mayBe('cd', 'old'), false);
  files.wrote('cd', 'new');
  t.equal(await files.mayBe('cd', 'new'), false, 'nobody has made it: its directory is read');
});

t.test('what is written while its directory is read is known', async t => {
  for (const isFirst of [true, false]) {
    const files = new IndexFiles(aDirectory(t));
    if (!isFirst) await files.mayBe('cd', 'x');
    const asked = files.mayBe('ab', 'old');
    files.wrote('ab', 'new');
    t.equal(await asked, true);
    t.equal(await files.mayBe('ab', 'new'), true);
  }
});
