import t from 'tap';
import { helpScreen, optionList } from '../../src/cli/help.ts';
import { readCommand } from '../../src/cli/main.ts';
import { OPTION_NAMES } from '../../src/cli/option-table.ts';

t.test('commands', async t => {
  t.match(readCommand([]), { kind: 'help' });
  t.match(readCommand(['--help']), { kind: 'help' });
  t.match(readCommand(['-h']), { kind: 'help' });
  t.match(readCommand(['--version']), { kind: 'version' });
  t.match(readCommand(['options']), { kind: 'options' });
  t.match(readCommand(['umount', '/mnt']), { kind: 'umount', mountPoint: '/mnt', lazy: false });
  t.match(readCommand(['umount', '-l', '/mnt']), { kind: 'umount', mountPoint: '/mnt', lazy: true });
  t.throws(() => readCommand(['umount']), /unmount what\?/);
  t.throws(() => readCommand(['-l', 'b', '/mnt']), /unknown option -l/);
});

t.test('flags are words of -o', async t => {
  t.same(
    readCommand([
      'my-bucket',
      '/mnt',
      '-f',
      '--umask',
      '0022',
      '--allow-other',
      '--endpoint=eu-west-1',
      '--no-check-certificate',
    ]),
    {
      kind: 'mount',
      given: {
        positional: ['my-bucket', '/mnt'],
        words: [
          { name: 'endpoint', value: 'eu-west-1' },
          { name: 'allow_other' },
          { name: 'umask', value: '0022' },
          { name: 'no_check_certificate' },
          { name: 'foreground' },
        ],
      },
    },
  );
});

t.test('a bucket that looks like a number, and a flag in front of the bucket', async t => {
  t.match(readCommand(['0123', '/mnt']), { given: { positional: ['0123', '/mnt'] } });
  t.match(readCommand(['--allow-other', 'b-1', '/mnt']), {
    given: { positional: ['b-1', '/mnt'], words: [{ name: 'allow_other' }] },
  });
});

t.test('unknown flags name the nearest', async t => {
  t.throws(
    () => readCommand(['--allow-othr', 'b', '/mnt']),
    /unknown option --allow-othr; did you mean --allow-other\?/,
  );
  t.throws(() => readCommand(['-x', 'b', '/mnt']), /unknown option -x/);
  t.throws(() => readCommand(['b', '/mnt', '--umask']), /s3mount --help/);
});

t.test('the first help screen fits a screen, the list has every option', async t => {
  const lines = helpScreen().split('\n');
  t.ok(lines.length <= 40, `${lines.length} lines`);
  t.ok(lines.every(line => line.length <= 80));
  for (const name of OPTION_NAMES) t.match(optionList(), name);
});
