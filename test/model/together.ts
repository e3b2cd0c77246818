/**
 * Calls made at the same time: what they answer, and what is there afterwards, must be as if they had come one after
 * another in some order.
 */
import type { Attributes } from '../../src/fuse/ops.ts';
import { actionOf, type Command } from './commands.ts';
import type { ReferenceFileSystem } from './reference.ts';
import { checkInvariants, checkTree, finish, runCommand, turns } from './run.ts';
import {
  type Action,
  Difference,
  disagreement,
  type Outcome,
  outcomeOf,
  realOutcomeOf,
  type Setting,
  World,
} from './world.ts';

/** Commands that may run beside others. */
const ALONE: readonly Command['do'][] = ['remount', 'drain', 'foreignPut', 'foreignDelete'];
/** What these see may lie between two states: a read of several pages, a listing of several pages. */
const SEEING: readonly Command['do'][] = ['read', 'readFile', 'readdir', 'seek', 'xattrs'];

export interface Group {
  readonly commands: readonly Command[];
  /** How many turns each request to the store waits, in order of their arrival, again and again. */
  readonly delays: readonly number[];
}

export async function runSteps(setting: Setting, steps: readonly (Command | Group)[]): Promise<void> {
  const world = new World(setting);
  for (const step of steps) {
    if ('commands' in step) await runGroup(world, step);
    else await runCommand(world, step);
    // What was begun by the way comes to its end.
    await turns(3);
    checkInvariants(world);
  }
  await finish(world);
}

export async function runGroup(world: World, group: Group): Promise<void> {
  world.isTimeMoving = group.commands.some(command => command.do === 'advance');
  const actions = actionsOf(world, group.commands);
  world.isTimeMoving = false;
  if (actions.length < 2) {
    for (const command of group.commands) await runCommand(world, command);
    return;
  }
  world.history.push(`together: ${actions.map(({ label }) => label).join(' | ')} (delays ${group.delays.join(' ')})`);
  let calls = 0;
  const undo = world.store.intercept(async (_, proceed) => {
    const turns = group.delays[calls++ % group.delays.length] ?? 0;
    for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve));
    return proceed();
  });
  const outcomes = await Promise.all(actions.map(realOutcomeOf));
  undo();
  await choose(world, actions, outcomes);
}

function actionsOf(world: World, commands: readonly Command[]): Action[] {
  const actions: Action[] = [];
  const closed = new Set<number>();
  const used = new Set<number>();
  for (const command of commands) {
    if (ALONE.includes(command.do)) continue;
    if (command.do === 'advance') {
      actions.push({ label: `${command.ms} ms`, expect: () => undefined, run: () => world.clock.advance(command.ms) });
      continue;
    }
    if (command.do === 'forgetNames') {
      actions.push({ label: command.do, expect: () => undefined, run: async () => world.kernel.forgetNames() });
      continue;
    }
    const action = actionOf(world, command);
    if (!action) continue;
    // A descriptor that is being closed is used by nobody else.
    const files = action.files ?? [];
    if (files.some(id => closed.has(id)) || (command.do === 'close' && files.some(id => used.has(id)))) continue;
    for (const id of files) (command.do === 'close' ? closed : used).add(id);
    const { agrees } = action;
    if (command.do === 'stat' && agrees) {
      // It may have found the name just before that went, and looked just after.
      const linked = (actual: unknown): unknown => ({ ...(actual as Attributes), nlink: 1 });
      actions.push({ ...action, agrees: (expected, actual, model) => agrees(expected, linked(actual), model) });
    } else if (SEEING.includes(command.do)) actions.push({ ...action, agrees: () => undefined });
    else actions.push({ ...action, isAnyError: 'to' in command });
  }
  return actions;
}

/** Takes the order of events that explains all; fails if there is none. */
async function choose(world: World, actions: readonly Action[], outcomes: readonly Outcome[]): Promise<void> {
  const before = world.model;
  const inos = new Map(world.inos);
  const problems: string[] = [];
  for (const order of permutations(actions.map((_, index) => index))) {
    const model = before.clone();
    world.inos.clear();
    for (const [id, ino] of inos) world.inos.set(id, ino);
    const problem = explained(model, order, actions, outcomes) ?? (await isThere(world, model));
    if (problem === undefined) return;
    problems.push(`in order ${order.join(' ')}: ${problem}`);
  }
  world.model = before;
  world.fail(`no order of events explains what happened\n  ${[...new Set(problems)].join('\n  ')}`);
}

function explained(
  model: ReferenceFileSystem,
  order: readonly number[],
  actions: readonly Action[],
  outcomes: readonly Outcome[],
): string | undefined {
  for (const index of order) {
    const action = actions[index]!;
    const expected = outcomeOf(() => action.expect(model));
    const problem = disagreement(action, expected, outcomes[index]!, model);
    if (problem !== undefined) return `${action.label}: ${problem}`;
  }
  return undefined;
}

async function isThere(world: World, model: ReferenceFileSystem): Promise<string | undefined> {
  world.model = model;
  try {
    await checkTree(world);
    return undefined;
  } catch (error) {
    if (error instanceof Difference) return error.message.split('\n')[0]!;
    throw error;
  }
}

function* permutations(items: readonly number[]): Generator<readonly number[]> {
  if (items.length <= 1) {
    yield items;
    return;
  }
  for (const first of items) {
    for (const rest of permutations(items.filter(item => item !== first))) yield [first, ...rest];
  }
}
