/** Random operations over a store that fails, or does what it is asked and never says so. */
import fc from 'fast-check';
import t from 'tap';
import { command } from './commands.ts';
import { type Fault, type Faulty, runFaulty } from './faults.ts';
import { checkProperty } from './property.ts';

const fault: fc.Arbitrary<Fault> = fc.record({
  // Most operations make one or two.
  request: fc.constantFrom(0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 5),
  kind: fc.constantFrom('unavailable', 'timeout'),
  isDone: fc.boolean(),
});
const faulty: fc.Arbitrary<Faulty> = fc.record({
  command,
  faults: fc.array(fault, { minLength: 1, maxLength: 1 }),
});
const step = fc.oneof({ weight: 2, arbitrary: command }, { weight: 3, arbitrary: faulty });

t.test('a store that fails costs no byte', t => checkProperty(t, runFaulty, step, { runs: 200, maxLength: 40 }));
