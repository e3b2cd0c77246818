import t from 'tap';
import { readCommandLine } from '../../src/cli/command-line.ts';
import { CliError } from '../../src/cli/exit-codes.ts';

t.test('a flag by the name under which yargs keeps what is no flag is unknown like any other', async t => {
  // The first was found by the fuzzer of `npm run soak`: seed -2021085346.
  const lines = [
    ['-_ ,'],
    ['--_=x'],
    ['--_', 'x'],
    ['-_'],
    ['-f_', 'b', '/m'],
    ['-_=1', 'b'],
    ['status', '--_'],
    ['why', '-_', 'x'],
  ];
  for (const args of lines) {
    try {
      readCommandLine(args);
      t.fail(`${args.join(' ')} was taken`);
    } catch (error) {
      t.ok(error instanceof CliError, `${args.join(' ')}: ${(error as Error).message}`);
      t.match((error as Error).message, /unknown option --?_/);
    }
  }
  const line = readCommandLine(['a_bucket', '/m_', '-foallow_other', '-oumask=0022,use_cache=/a_b', '--', '-_']);
  t.match(line, { kind: 'mount', given: { positional: ['a_bucket', '/m_', '-_'] } });
  t.match(JSON.stringify(line), /"allow_other"/);
});
