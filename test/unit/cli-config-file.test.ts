import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseOptionList } from '../../src/cli/option-words.ts';
import { type Config, daemonArguments, readConfig } from '../../src/cli/options.ts';

interface Given {
  readonly file?: string;
  readonly name?: string;
  readonly positional: readonly string[];
  readonly list?: string;
  readonly env?: Record<string, string>;
  readonly mode?: number;
}

function config(t: Test, { file = '', name = 'works', positional, list = '', env = {}, mode = 0o644 }: Given): Config {
  const directory = join(t.testdir(), 's3mount');
  mkdirSync(directory);
  writeFileSync(join(directory, `${name}.toml`), file);
  chmodSync(join(directory, `${name}.toml`), mode);
  return readConfig(
    { positional, words: parseOptionList(list.replaceAll('DIR', directory)) },
    { env, cwd: '/home/me', configDirectories: ['/nonexistent', directory] },
  );
}

const FILE = `
# what RStudio needs
bucket = "victor-seoul:/team"
mountpoint = "/mnt/works"
allow-other = true
umask = "0022"
stat_cache_expire = 2.5
retries = 3
`;
const VALUES = { allow_other: true, umask: 0o022, stat_cache_expire: 2500, retries: 3 };

t.test('a name stands for all that the file says', async t => {
  const { bucket, prefix, mountPoint, values } = config(t, { file: FILE, positional: ['works'] });
  t.match(
    { bucket, prefix, mountPoint, values },
    { bucket: 'victor-seoul', prefix: 'team/', mountPoint: '/mnt/works' },
  );
  t.match(values, VALUES);
});

t.test('the command line goes before the environment, that before the file', async t => {
  const { mountPoint, values } = config(t, {
    file: FILE,
    positional: ['works', 'here'],
    list: 'retries=5,allow_other=0',
    env: { S3MOUNT_RETRIES: '4', S3MOUNT_UMASK: '0077' },
  });
  t.equal(mountPoint, '/home/me/here');
  t.match(values, { retries: 5, umask: 0o077, allow_other: false, stat_cache_expire: 2500 });
});

t.test('a bucket of the same name, without the word bucket', async t => {
  t.match(config(t, { file: 'ro = true', positional: ['works', '/mnt'] }), {
    bucket: 'works',
    mountPoint: '/mnt',
    values: { ro: true },
  });
  t.match(config(t, { name: 'other', file: 'ro = true', positional: ['works', '/mnt'] }).values, { ro: undefined });
});

t.test('config= names one, and the daemon reads the same', async t => {
  const given = { name: 'any', file: FILE, list: 'config=DIR/any.toml' };
  for (const [positional, place] of [
    [[], ['victor-seoul', '/mnt/works']],
    [['/mnt/there'], ['victor-seoul', '/mnt/there']],
    [
      ['mine', '/mnt/there'],
      ['mine', '/mnt/there'],
    ],
  ] as const) {
    const found = config(t, { ...given, positional });
    t.same([found.bucket, found.mountPoint], place);
    t.match(found.values, VALUES);
    const [, list, ...rest] = daemonArguments({ positional, words: [] }, found);
    t.match(list, /config=.*\/any\.toml/);
    t.same(rest, ['--', place[0] === 'mine' ? 'mine' : 'victor-seoul:/team', place[1]]);
  }
});

t.test('what is wrong is told with the file', async t => {
  const cases: readonly (readonly [string, RegExp, number])[] = [
    ['umask = 22', /works\.toml: write umask as a text, such as umask = "0022"/, 1],
    ['umsk = "0022"', /unknown option umsk \(in .*works\.toml\); did you mean umask\?/, 1],
    ['retries = "many"', /retries \(in .*\)=many is no whole number/, 1],
    ['allow_other = [1]', /allow_other should be a string, a number, true or false/, 1],
    ['allow_other = ', /works\.toml, line 1: /, 1],
    ['secret_access_key = "x"', /holds 'secret_access_key': secrets do not belong here/, 11],
    ['accessKeyId = "x"', /secrets do not belong here/, 11],
    ['proxy = "http://me:word@proxy"', /must not hold a user or a password/, 1],
    ['config = "other.toml"', /names no other/, 1],
  ];
  for (const [file, message, exitCode] of cases) {
    t.throws(() => config(t, { file, positional: ['works', '/mnt'] }), { message, exitCode }, file);
  }
  t.throws(() => config(t, { file: FILE, positional: ['works'], mode: 0o666 }), { message: /chmod go-w/ });
  t.throws(() => config(t, { positional: ['x', '/mnt'], list: 'config=/nonexistent.toml' }), {
    message: /cannot be read: ENOENT/,
  });
});
