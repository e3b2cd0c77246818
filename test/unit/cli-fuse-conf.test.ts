import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { allowOthersIn, allowsOthers } from '../../src/cli/fuse-conf.ts';

t.test('user_allow_other counts as fusermount3 reads it', async t => {
  for (const text of ['user_allow_other', '# a\n  user_allow_other  \n', 'user_allow_other # for s3mount\n']) {
    t.ok(allowsOthers(text), JSON.stringify(text));
  }
  for (const text of [
    '',
    '#user_allow_other\n',
    'user_allow_other_too\n',
    'user_allow_other = 1\n',
    '# user_allow_other',
  ]) {
    t.notOk(allowsOthers(text), JSON.stringify(text));
  }
});

t.test('the line is added on a line of its own, once', async t => {
  const path = join(t.testdir(), 'fuse.conf');
  for (const before of ['', 'mount_max = 1000\n', 'mount_max = 1000', '# user_allow_other']) {
    writeFileSync(path, before);
    t.ok(allowOthersIn(path));
    const after = readFileSync(path, 'utf8');
    t.equal(after, `${before}${before === '' || before.endsWith('\n') ? '' : '\n'}user_allow_other\n`);
    t.notOk(allowOthersIn(path), 'it is there');
    t.equal(readFileSync(path, 'utf8'), after);
  }
});
