import { readFileSync } from 'node:fs';
import t from 'tap';
import { atHome, unitCommand } from '../../src/cli/unit.ts';
import { askersEnvironment, missingVariables } from '../../src/cli/unit-environment.ts';

const UNIT = 's3mount-mnt.service';
const missing = (env: Record<string, string>, values = {}, own = false): string[] => [
  ...missingVariables(env, values, UNIT, own),
];

t.test('variables that the unit does not have are told, with where they go', async t => {
  t.same(
    missing({ HOME: '/root', LANG: 'C', AWS_PAGER: 'less', AWS_EXECUTION_ENV: 'CloudShell', https_proxy: '' }),
    [],
  );
  t.match(missing({ AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'secret' }), [
    /^AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY of this shell are not in the unit: a service reads the files of its user/,
  ]);
  t.same(missing({ AWS_REGION: 'eu-west-1', AWS_PROFILE: 'work', S3MOUNT_UMASK: '0022' }), [
    'AWS_REGION, AWS_PROFILE, S3MOUNT_UMASK of this shell are not in the unit; say it after -o: region=eu-west-1,profile=work,umask=0022',
  ]);
  t.same(missing({ AWS_REGION: 'eu-west-1' }, { region: 'us-east-1' }), [], 'an option says it');
  const proxies = missing({ https_proxy: 'http://me:password@proxy:3128', NO_PROXY: 'x', AWS_CA_BUNDLE: '/ca.pem' });
  t.match(proxies, [
    `if the mount needs them: systemctl edit ${UNIT}, and below [Service] Environment=https_proxy=…, Environment=NO_PROXY=…, Environment=AWS_CA_BUNDLE=…`,
  ]);
  t.notMatch(proxies.join(), /password/);
  t.match(missing({ NODE_EXTRA_CA_CERTS: '/ca.pem' }, {}, true), [`needs it: systemctl --user edit ${UNIT}, `]);
});

t.test('under sudo the variables are those of who called it', async t => {
  const files: Record<string, string> = {
    '7/comm': 'sudo\n',
    '7/environ': 'HOME=/home/u\0https_proxy=http://a=b\0\0',
    '8/comm': 'bash\n',
  };
  const read = (pid: number, file: string): string => {
    const text = files[`${pid}/${file}`];
    if (text === undefined) throw new Error('ENOENT');
    return text;
  };
  const env = { SUDO_UID: '1000', HOME: '/root' };
  t.same(askersEnvironment(env, 7, read), { SUDO_UID: '1000', HOME: '/root', https_proxy: 'http://a=b' });
  t.same(askersEnvironment(env, 8, read), env);
  t.same(askersEnvironment(env, 9, read), env);
  t.same(askersEnvironment({ HOME: '/root' }, 7, read), { HOME: '/root' }, 'no sudo');
});

t.test('~ is the home of who runs the unit', async t => {
  t.same(
    atHome(
      [
        { name: 'passwd_file', value: '~/k' },
        { name: 'use_sse', value: 'custom:~/sse' },
        { name: 'use_cache', value: '/var/~/x' },
        { name: 'profile', value: '~/x' },
        { name: 'ro' },
      ],
      '/home/rstudio',
    ),
    [
      { name: 'passwd_file', value: '/home/rstudio/k' },
      { name: 'use_sse', value: 'custom:/home/rstudio/sse' },
      { name: 'use_cache', value: '/var/~/x' },
      { name: 'profile', value: '~/x' },
      { name: 'ro' },
    ],
  );
});

t.test('s3mount unit says so, and names files of the account', async t => {
  const printed: string[] = [];
  const said: string[] = [];
  const mount = { positional: ['my-bucket', '/mnt/works'], words: [{ name: 'passwd_file', value: '~/keys' }] };
  await unitCommand(
    { mount, user: 'daemon', install: false },
    {
      print: line => void printed.push(line),
      say: line => void said.push(line),
      env: { AWS_REGION: 'eu-west-1', no_proxy: 'x' },
    },
  );
  const home = readFileSync('/etc/passwd', 'utf8').match(/^daemon:.*:(.*):[^:]*$/m)![1]!;
  t.match(printed.join('\n'), ` -o passwd_file=${home}/keys,`);
  t.match(said.join('\n'), /AWS_REGION .*region=eu-west-1/);
  t.match(said.join('\n'), /no_proxy .*systemctl edit s3mount-mnt-works\.service/);
});
