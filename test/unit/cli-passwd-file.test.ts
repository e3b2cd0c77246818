import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { parsePasswd, readPasswdFile } from '../../src/cli/passwd-file.ts';

const parse = (text: string): unknown => parsePasswd(text, '/home/me/.passwd-s3fs').get('mine');

t.test("s3fs's formats", async t => {
  const keys = { accessKeyId: 'AK', secretAccessKey: 'S/+=K' };
  t.same(parse('AK:S/+=K\n'), keys);
  t.same(parse('# comment\n\nother:X:Y\nmine:AK:S/+=K\nDEF:AULT\n'), keys, 'those of the bucket go first');
  t.same(parse('other:X:Y\nAK:S/+=K\n'), keys, 'else the default ones');
  t.same(parse('AWSAccessKeyId=AK\r\nAWSSecretKey=S/+=K\r\n'), keys);
});

t.test('what is wrong is told by line, with exit code 11', async t => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['AK:SEC RET', /line 1: there must be no space or tab/],
    ['#\n[default]', /line 2: this is a file of the AWS CLI; use profile=/],
    ['AK', /line 1: it should be KEY:SECRET/],
    ['a:b:SECRET:d', /line 1: it should be/],
    ['AK:SECRET\nAK2:SECRET', /line 2: the default keys stand there twice/],
    ['b:AK:SECRET\nb:AK:SECRET', /line 2: bucket 'b' stands there twice/],
  ];
  for (const [text, message] of cases) {
    t.throws(() => parse(text), { exitCode: 11, message });
  }
});

t.test('a file that others may read is refused', async t => {
  const path = join(t.testdir(), 'passwd');
  writeFileSync(path, 'AK:SK\n');
  for (const [mode, isGood] of [
    [0o600, true],
    [0o400, true],
    [0o640, false],
    [0o604, false],
    [0o700, false],
  ] as const) {
    chmodSync(path, mode);
    if (isGood)
      t.same(await readPasswdFile(path, 'b'), { accessKeyId: 'AK', secretAccessKey: 'SK', source: path, inFile: true });
    else await t.rejects(readPasswdFile(path, 'b'), { exitCode: 11, message: /chmod 0600/ });
  }
  writeFileSync(path, 'other:AK:SK\n');
  chmodSync(path, 0o600);
  await t.rejects(readPasswdFile(path, 'mine'), { exitCode: 11, message: /holds no keys for bucket 'mine'/ });
  await t.rejects(readPasswdFile('/nonexistent', 'b'), { exitCode: 11, message: /cannot be read/ });
});
