import t from 'tap';
import { readCommandLine } from '../../src/cli/command-line.ts';
import { COMMANDS, findCommand } from '../../src/cli/commands.ts';
import { helpScreen, optionList } from '../../src/cli/help.ts';
import { OPTION_NAMES } from '../../src/cli/option-table.ts';

t.test('commands', async t => {
  const help = { kind: 'text', text: /^Usage: s3mount BUCKET/ };
  t.match(readCommandLine([]), help);
  t.match(readCommandLine(['--help']), help);
  t.match(readCommandLine(['-h']), help);
  t.match(readCommandLine(['--version']), { kind: 'text', text: /^s3mount / });
  t.match(readCommandLine(['options']), { kind: 'command', command: { name: 'options' } });
  const umount = { kind: 'command', command: { name: 'umount' } };
  t.match(readCommandLine(['umount', '/mnt']), {
    ...umount,
    given: { positional: ['/mnt'], flags: { lazy: undefined } },
  });
  t.match(readCommandLine(['umount', '-l', '/mnt']), {
    ...umount,
    given: { positional: ['/mnt'], flags: { lazy: true } },
  });
  t.match(readCommandLine(['unmount', '/mnt', '--lazy']), { ...umount, given: { flags: { lazy: true } } });
  t.throws(() => readCommandLine(['umount']), /umount needs more words; write s3mount umount \[-l\] MOUNTPOINT\./);
  t.throws(() => readCommandLine(['umount', '/a', '/b']), /does not take '\/b'/);
  t.throws(() => readCommandLine(['umount', '--lasy', '/a']), /unknown option --lasy .* did you mean --lazy\?/);
  t.throws(() => readCommandLine(['-l', 'b', '/mnt']), /unknown option -l/);
  t.match(readCommandLine(['s3://options', '/mnt']), {
    kind: 'mount',
    given: { positional: ['s3://options', '/mnt'] },
  });
});

t.test('each command has help of its own, and a name that no other has', async t => {
  const names = COMMANDS.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
  t.equal(new Set(names).size, names.length);
  for (const name of names) {
    t.match(readCommandLine([name, '--help']), {
      kind: 'text',
      text: new RegExp(`^Usage: s3mount ${findCommand(name)!.name}`),
    });
  }
});

t.test('flags are words of -o', async t => {
  t.same(
    readCommandLine([
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
  t.match(readCommandLine(['0123', '/mnt']), { given: { positional: ['0123', '/mnt'] } });
  t.match(readCommandLine(['--allow-other', 'b-1', '/mnt']), {
    given: { positional: ['b-1', '/mnt'], words: [{ name: 'allow_other' }] },
  });
});

t.test('unknown flags name the nearest', async t => {
  t.throws(
    () => readCommandLine(['--allow-othr', 'b', '/mnt']),
    /unknown option --allow-othr; did you mean --allow-other\?/,
  );
  t.throws(() => readCommandLine(['-x', 'b', '/mnt']), /unknown option -x/);
  t.throws(() => readCommandLine(['b', '/mnt', '--umask']), /s3mount --help/);
});

t.test('the first help screen fits a screen, the list has every option', async t => {
  const lines = helpScreen().split('\n');
  t.ok(lines.length <= 45, `${lines.length} lines`);
  t.ok(lines.every(line => line.length <= 80));
  for (const name of OPTION_NAMES) t.match(optionList(), name);
});
