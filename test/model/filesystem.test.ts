/** Random operations on the whole filesystem against the reference. */
import t from 'tap';
import { command } from './commands.ts';
import { checkProperty } from './property.ts';
import { runCommands } from './run.ts';

t.test('the filesystem does what POSIX says', t =>
  checkProperty(t, runCommands, command, { runs: 300, maxLength: 60 }),
);
