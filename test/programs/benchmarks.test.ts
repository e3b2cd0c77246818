/** dbench and bonnie++: what many programs do at once, as others have written it down. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';

/** s; each of dbench's clients repeats its script until then. */
const SECONDS = 8;
/** Lines of the recorded office session that dbench plays: it has 600,000, and the first hold each kind of call. */
const LINES = 3000;
const SCRIPT = '/usr/share/dbench/client.txt';

t.test('dbench', async t => {
  const mount = await aMount(t);
  // It stops at the first call whose outcome is not the recorded one, and at a file whose size is not.
  const script = join(mount.directory, 'client.txt');
  writeFileSync(script, readFileSync(SCRIPT, 'utf8').split('\n').slice(0, LINES).join('\n'));
  writeFileSync(mount.path('bystander'), patternBytes(2_000_000, 3));
  const said = run('dbench', ['-c', script, '-D', mount.dir, '-t', String(SECONDS), '4']);
  t.match(said, /Throughput [\d.]+ MB\/sec/);
  t.notMatch(said, /fail|error|cannot/i);
  const calls = new Map([...said.matchAll(/^ +(\w+) +(\d+) /gm)].map(([, name, count]) => [name, Number(count)]));
  for (const name of ['NTCreateX', 'Close', 'Rename', 'Unlink', 'WriteX', 'ReadX', 'Flush']) {
    t.ok((calls.get(name) ?? 0) > 0, `${calls.get(name)} of ${name}`);
  }
  t.ok(readFileSync(mount.path('bystander')).equals(patternBytes(2_000_000, 3)), 'a file beside it is as it was');
  await mount.remount();
  const left = (await mount.client.keys()).filter(key => !key.endsWith('/'));
  t.same(left, ['bystander'], 'it leaves directories behind, no files');
  t.equal(run('find', [mount.dir, '-type', 'f', '-printf', '%P']), 'bystander');
  t.notMatch(mount.log(), /"level":(50|60)/, 'nothing was logged as an error');
});

t.test('bonnie++', async t => {
  const mount = await aMount(t);
  mkdirSync(mount.path('b'));
  const user = process.getuid!() === 0 ? ['-u', 'root'] : [];
  // 48 MB in one file by characters, blocks and rewriting; 512 files of up to 8 KB in 4 directories, in order and at random.
  const sizes = ['-r', '16', '-s', '48:64k', '-n', '1:8192:0:4', '-x', '1', '-q', '-f'];
  const said = run('bonnie++', ['-d', mount.path('b'), ...sizes, ...user]);
  const figures = said.trim().split(',');
  t.equal(figures[0], '1.98', 'its CSV');
  t.ok(figures.length > 40, `${figures.length} figures`);
  t.same(readdirSync(mount.path('b')), [], 'it has cleaned up');
  await mount.remount();
  t.same(await mount.client.keys(), ['b/']);
  t.notMatch(mount.log(), /"level":(50|60)/, 'nothing was logged as an error');
});
