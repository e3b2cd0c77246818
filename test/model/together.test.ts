/** Random calls at the same time, over a store whose answers come in any order. */
import fc from 'fast-check';
import t from 'tap';
import { type Command, command } from './commands.ts';
import { checkProperty } from './property.ts';
import { checkInvariants, finish, runCommand, turns } from './run.ts';
import { type Group, runGroup } from './together.ts';
import { type Setting, World } from './world.ts';

const group: fc.Arbitrary<Group> = fc.record({
  commands: fc.array(command, { minLength: 2, maxLength: 3 }),
  delays: fc.array(fc.nat(4), { minLength: 1, maxLength: 5 }),
});
const step = fc.oneof({ weight: 2, arbitrary: command }, { weight: 1, arbitrary: group });

async function run(setting: Setting, steps: readonly (Command | Group)[]): Promise<void> {
  const world = new World(setting);
  for (const each of steps) {
    if ('commands' in each) await runGroup(world, each);
    else await runCommand(world, each);
    await turns(3);
    checkInvariants(world);
  }
  await finish(world);
}

t.test('calls at the same time are as calls in some order', t =>
  checkProperty(t, run, step, { runs: 200, maxLength: 30 }),
);
