/** Random calls at the same time, over a store whose answers come in any order. */
import fc from 'fast-check';
import t from 'tap';
import { command } from './commands.ts';
import { checkProperty } from './property.ts';
import { type Group, runSteps } from './together.ts';

const group: fc.Arbitrary<Group> = fc.record({
  commands: fc.array(command, { minLength: 2, maxLength: 3 }),
  delays: fc.array(fc.nat(4), { minLength: 1, maxLength: 5 }),
});
const step = fc.oneof({ weight: 2, arbitrary: command }, { weight: 1, arbitrary: group });

t.test('calls at the same time are as calls in some order', t =>
  checkProperty(t, runSteps, step, { runs: 200, maxLength: 30 }),
);
