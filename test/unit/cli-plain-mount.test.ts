import fc from 'fast-check';
import t from 'tap';
import { readCommandLine } from '../../src/cli/command-line.ts';
import { COMMANDS } from '../../src/cli/commands.ts';
import { readPlainMount } from '../../src/cli/plain-mount.ts';

/** The words that a parser makes of it, or that it refuses. */
function byParser(args: readonly string[]): unknown {
  try {
    return readCommandLine(args);
  } catch (error) {
    return String(error);
  }
}

t.test('what is read without the parser is what the parser reads', async t => {
  const word = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('bucket', '/mnt', 's3://b/p', '0123', 'a=b', '', '-', '.') },
    { weight: 3, arbitrary: fc.constantFrom('-f', '-d', '-fd', '-s', '-o', 'ro,umask=0022', '-oallow_other', '-fo') },
    {
      weight: 2,
      arbitrary: fc.constantFrom(
        '--umask=0022',
        '--ready-fd=3',
        '--allow-other',
        '--umask',
        '--',
        '-x',
        '-h',
        '--help',
      ),
    },
    fc.constantFrom(...COMMANDS.map(({ name }) => name)),
    fc.string({ maxLength: 5 }),
  );
  let plain = 0;
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), args => {
      let quick: ReturnType<typeof readPlainMount>;
      try {
        quick = readPlainMount(args);
      } catch (error) {
        return String(error) === byParser(args);
      }
      if (quick === undefined) return true;
      plain++;
      t.same(quick, byParser(args), JSON.stringify(args));
      return true;
    }),
    { numRuns: 600 },
  );
  t.ok(plain > 20, `${plain} of them were plain`);
});

t.test('the usual ones need no parser', async t => {
  for (const args of [
    ['bucket', '/mnt'],
    ['bucket:/prefix', '/mnt', '-o', 'url=http://127.0.0.1,allow_other', '-f'],
    ['--ready-fd=3', '-o', 'ro', '--', 'bucket', '/mnt'],
  ]) {
    t.ok(readPlainMount(args) !== undefined, args.join(' '));
  }
  t.equal(readPlainMount(['umount', '/mnt']), undefined);
  t.equal(readPlainMount(['--allow-other', 'b', '/mnt']), undefined);
});
