import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readHeaderRules } from '../../src/cli/header-rules.ts';
import { makeFileSystem } from '../support/filesystem.ts';

function rules(t: Test, text: string) {
  const path = join(t.testdir(), 'ahbe.conf');
  writeFileSync(path, text);
  return readHeaderRules(path);
}

t.test('by suffix, by expression, for all; the last that fits counts', async t => {
  const of = rules(
    t,
    `# comment
.gz   Content-Encoding  gzip
 Cache-Control  max-age=60, public
reg:^/logs/(.*)\\.txt$  Content-Type  text/x-log
.txt  X-AMZ-Meta-Kind  text
.log.gz Cache-Control no-store
`,
  );
  t.same(of('a.csv'), { headers: { cacheControl: 'max-age=60, public' }, metadata: {} });
  t.same(of('logs/b.txt'), {
    headers: { cacheControl: 'max-age=60, public', contentType: 'text/x-log' },
    metadata: { kind: 'text' },
  });
  t.same(of('b.log.gz').headers, { contentEncoding: 'gzip', cacheControl: 'no-store' });
});

t.test('what is wrong is told with its line', async t => {
  t.throws(() => rules(t, '.gz'), { exitCode: 1, message: /ahbe\.conf, line 1: it should be/ });
  t.throws(() => rules(t, '#\n.gz Authorization x'), { message: /line 2: Authorization cannot be set/ });
  t.throws(() => rules(t, 'reg:( Content-Type x'), { message: /line 1: Invalid regular expression/ });
  t.throws(() => readHeaderRules('/nonexistent'), { message: /cannot be read/ });
});

t.test('a file is written with them, also over what others gave it', async t => {
  const objectHeaders = rules(t, '.csv Content-Type text/plain\n.csv x-amz-meta-kind table\n');
  const { kernel, store } = makeFileSystem({ options: { objectHeaders } });
  store.putForeign('theirs.csv', 'x');
  await kernel.writeFile('/ours.csv', 'y');
  await kernel.writeFile('/theirs.csv', 'y');
  await kernel.writeFile('/other.txt', 'y');
  for (const key of ['ours.csv', 'theirs.csv']) {
    const { description } = await store.head(key);
    t.equal(description.headers.contentType, 'text/plain', key);
    t.equal(description.metadata['kind'], 'table', key);
  }
  t.equal((await store.head('other.txt')).description.metadata['kind'], undefined);
});
