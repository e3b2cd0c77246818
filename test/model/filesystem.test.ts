/** Random operations on the whole filesystem against the reference. */
import t from 'tap';
import { checkProperty } from './property.ts';
import { runCommands } from './run.ts';

t.test('the filesystem does what POSIX says', t => checkProperty(t, runCommands, { runs: 300, maxCommands: 60 }));
