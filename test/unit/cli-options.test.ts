import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { CliError } from '../../src/cli/exit-codes.ts';
import { environmentName, OPTION_NAMES, OPTION_OF_WORD, specOf } from '../../src/cli/option-table.ts';
import { accountLine } from '../../src/cli/option-values.ts';
import { parseOptionList } from '../../src/cli/option-words.ts';
import { type Config, daemonArguments, readConfig } from '../../src/cli/options.ts';

const ACCOUNTS: Readonly<Record<string, string>> = {
  'passwd rstudio': 'rstudio:x:1005:1006::/home/rstudio:/bin/bash',
  'group staff': 'staff:x:50:rstudio',
};

function config(list: string, env: Record<string, string> = {}): Config {
  const given = { positional: ['my-bucket', 'works'], words: parseOptionList(list) };
  return readConfig(given, { env, cwd: '/home/rstudio', account: (database, name) => ACCOUNTS[`${database} ${name}`] });
}

t.test('the story of an RStudio box', async t => {
  const { bucket, prefix, mountPoint, values, warnings } = config('allow_other,umask=0022,uid=rstudio,gid=staff');
  t.same({ bucket, prefix, mountPoint }, { bucket: 'my-bucket', prefix: '', mountPoint: '/home/rstudio/works' });
  t.same(values, { allow_other: true, umask: 0o022, uid: 1005, gid: 50 });
  t.same(warnings, []);
});

t.test('values are read in their units', async t => {
  const { values } = config(
    'stat_cache_expire=2.5,multipart_size=16,memory=128,bucket_size=100GB,host=http://localhost:9000/,endpoint=eu-west-1,multireq_max=7,dbglevel=crit,use_sse,use_xattr=0,logfile=log/s3.log',
  );
  t.same(values, {
    stat_cache_expire: 2500,
    multipart_size: 16 * 1024 * 1024,
    memory: 128 * 1024 * 1024,
    bucket_size: 100e9,
    url: 'http://localhost:9000',
    region: 'eu-west-1',
    max_thread_count: 7,
    dbglevel: 'fatal',
    use_sse: '1',
    use_xattr: false,
    logfile: '/home/rstudio/log/s3.log',
  });
});

t.test('what is wrong is told in one sentence, with exit code 1', async t => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['umask=9', /umask=9 is no octal number from 0 to 0777; a usual one is umask=0022\./],
    ['umask=01777', /umask=01777 is no octal/],
    ['umask', /umask needs a value, such as umask=0022/],
    ['umask=', /umask needs a value/],
    ['uid=nobody2', /there is no user 'nobody2' on this machine; a number works too\./],
    ['gid=nogroup2', /there is no group 'nogroup2' on this machine/],
    ['umsk=0022', /unknown option umsk; did you mean umask\?/],
    ['use_path_request_stile', /did you mean use_path_request_style\?/],
    ['blubb_blubb', /unknown option blubb_blubb; s3mount options lists all/],
    ['__proto__', /unknown option __proto__/],
    ['url=s3.amazonaws.com', /url=s3.amazonaws.com is no address; write it as https:/],
    ['url=ftp://x', /must start with https:\/\/ or http:\/\//],
    ['url=https://me:secret@host', /must not hold a user or a password/],
    ['retries=0', /retries=0 is no whole number from 1 to 100/],
    ['retries=two', /retries=two is no whole number/],
    ['stat_cache_expire=-1', /no number of seconds from 0/],
    ['memory=1', /memory=1 is no size from 32 MiB to 1 TiB/],
    ['multipart_size=4', /from 5 MiB to 5 GiB/],
    ['stat=maybe', /stat=maybe is not known; it is one of exact, list/],
    ['allow_other=maybe', /allow_other is on or off/],
    ['accessKeyId=AKIA', /accessKeyId is refused/],
    ['use_sse=kms', /use_sse=kms is not known/],
    ['public_bucket=1,profile=x', /public_bucket sends no credentials/],
  ];
  for (const [list, expected] of cases) {
    try {
      config(list);
      t.fail(`${list} was taken`);
    } catch (error) {
      t.ok(error instanceof CliError && error.exitCode === 1, list);
      t.match((error as Error).message, expected);
      t.notMatch((error as Error).message, /secret|\n/);
    }
  }
});

t.test("words of mount(8), systemd, libfuse and s3fs's past", async t => {
  const { kernelOptions, warnings, values } = config(
    'rw,nosuid,nodev,noexec,noatime,_netdev,nofail,noauto,user,x-systemd.automount,x-systemd.idle-timeout=60,big_writes,nocopyapi,nonempty,ahbe_conf=/tmp/c,-o'.replace(
      ',-o',
      '',
    ),
  );
  t.same(kernelOptions, ['nosuid', 'nodev', 'noexec', 'noatime']);
  t.equal(values.nonempty, true);
  t.equal(warnings.length, 2, 'one warning for each word that does nothing');
  t.equal(values.ahbe_conf, '/tmp/c');
  t.match(warnings.join('\n'), /big_writes is always on; it is ignored/);
});

t.test('a word twice warns once, rw undoes ro, the later spelling wins', async t => {
  t.equal(config('big_writes,big_writes').warnings.length, 1);
  t.equal(config('ro,rw').values.ro, false);
  t.equal(config('rw,ro').values.ro, true);
  t.equal(config('max_thread_count=3,parallel_count=4').values.max_thread_count, 4);
});

t.test('the environment, below the command line', async t => {
  const env = { S3MOUNT_UMASK: '0077', S3MOUNT_REGION: 'eu-west-1', S3MOUNT_UMSAK: '1', HOME: '/' };
  const { values, warnings } = config('umask=0022', env);
  t.same(values, { umask: 0o022, region: 'eu-west-1' });
  t.match(warnings, [/S3MOUNT_UMSAK is no variable of s3mount and is ignored; did you mean S3MOUNT_UMASK\?/]);
  t.throws(() => config('', { S3MOUNT_UMASK: 'x' }), /S3MOUNT_UMASK=x is no octal/);
});

t.test('bucket and mount point', async t => {
  const at = (positional: string[], list = ''): Config =>
    readConfig({ positional, words: parseOptionList(list) }, { env: {}, cwd: '/w' });
  t.match(at(['here'], 'bucket=b-1:/p'), { bucket: 'b-1', prefix: 'p/', mountPoint: '/w/here' });
  t.throws(() => at([]), /which bucket\?/);
  t.throws(() => at(['b-1']), /where to mount 'b-1'\?/);
  t.throws(() => at(['b-1', 'c', 'd']), /too many arguments/);
});

t.test('the daemon gets the same, with absolute paths', async t => {
  const given = {
    positional: ['my-bucket', 'works'],
    words: parseOptionList('umask=0022,fsname=a\\,b,logfile=x.log,noexec,use_sse=custom:keys'),
  };
  const before = readConfig(given, { env: { S3MOUNT_STATE_DIR: 'state' }, cwd: '/home/me' });
  const args = daemonArguments(given, before);
  t.equal(args[0], '-o');
  const after = readConfig(
    { positional: args.slice(args.indexOf('--') + 1), words: parseOptionList(args[1]!) },
    { env: { S3MOUNT_STATE_DIR: 'state' }, cwd: '/' },
  );
  t.same({ ...after, source: '' }, { ...before, source: '' });
});

t.test('the table', async t => {
  const names = [...OPTION_OF_WORD.keys()];
  const spellings = OPTION_NAMES.reduce((sum, name) => sum + 1 + (specOf(name).aliases?.length ?? 0), 0);
  t.equal(names.length, spellings, 'no name stands for two options');
  for (const name of OPTION_NAMES) {
    t.match(environmentName(name), /^S3MOUNT_[A-Z_0-9]+$/);
    t.notMatch(specOf(name).help, /\.$/);
  }
});

t.test('users and groups are asked for where the machine keeps them, in LDAP too', async t => {
  t.match(accountLine('passwd', 'root'), /^root:[^:]*:0:0:/, 'of a file');
  t.equal(accountLine('passwd', 'no-such-user-here'), undefined);
  const directory = t.testdir({ getent: `#!/bin/sh\necho "$3:*:70001:70000:$1 of LDAP:/home/$3:/bin/bash"\n` });
  chmodSync(join(directory, 'getent'), 0o755);
  const { PATH } = process.env;
  t.teardown(() => {
    process.env['PATH'] = PATH;
  });
  process.env['PATH'] = directory;
  t.equal(accountLine('passwd', 'alice'), 'alice:*:70001:70000:passwd of LDAP:/home/alice:/bin/bash');
});
