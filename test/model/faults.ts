/**
 * Operations whose requests to the store fail, or whose answers are lost.
 *
 * An operation that reports success has done all of its work. One that reports an error has done it or has not (a rename
 * may have left both names), nothing in between, and nothing else has changed; what was written stays the file's content
 * and is saved as soon as the store answers again.
 */
import type { StoreErrorKind } from '../../src/errors.ts';
import { StoreError } from '../../src/errors.ts';
import { RENAME_EXCHANGE } from '../../src/fuse/ops.ts';
import type { StoreOperation } from '../support/memory-store.ts';
import { actionOf, type Command, pathOf } from './commands.ts';
import { cloned, ModelDirectory, ModelFile, type ReferenceFileSystem } from './reference.ts';
import { checkInvariants, checkTree, finish, runCommand, turns } from './run.ts';
import { type Action, Difference, disagreement, outcomeOf, realOutcomeOf, type Setting, World } from './world.ts';

export interface Fault {
  /** Which request of the operation fails, counted from 0. */
  readonly request: number;
  readonly kind: StoreErrorKind;
  /** The work is done, only the answer is lost. */
  readonly isDone: boolean;
}

export interface Faulty {
  readonly command: Command;
  readonly faults: readonly Fault[];
}

/** Longer than the longest wait between two tries of a save. */
const RECOVERY = 130_000;

/** Commands with an outcome that the model can tell of when a request fails. */
const TOLD: readonly Command['do'][] = [
  'open',
  'close',
  'fsync',
  'write',
  'read',
  'readFile',
  'ftruncate',
  'fallocate',
  'truncate',
  'stat',
  'fstat',
  'readdir',
  'readlink',
  'xattrs',
  'unlink',
  'rmdir',
  'mkdir',
  'mkfifo',
  'symlink',
  'rename',
  'link',
  'chmod',
  'chown',
  'utimens',
  'setxattr',
  'removexattr',
  'advance',
];

export async function runFaulty(setting: Setting, steps: readonly (Command | Faulty)[]): Promise<void> {
  const world = new World(setting);
  for (const step of steps) {
    if (!('command' in step)) await runCommand(world, step);
    else if (TOLD.includes(step.command.do)) await perform(world, step);
    await turns(3);
    checkInvariants(world);
  }
  await finish(world);
}

async function perform(world: World, { command, faults }: Faulty): Promise<void> {
  const action = command.do === 'advance' ? timePasses(world, command.ms) : actionOf(world, command);
  if (!action) return;
  const inject = injecting(world, faults, mayBeDone(world, command));
  const before = world.model.clone();
  const expected = outcomeOf(() => action.expect(world.model));
  const actual = await realOutcomeOf(action);
  await turns(5);
  const happened = inject.end();
  world.history.push(`${action.label}${happened.map(each => ` [${each}]`).join('')}`);
  if (happened.length === 0 || !('error' in actual)) {
    const problem = disagreement(action, expected, actual, world.model);
    if (problem !== undefined) world.fail(`${action.label}: ${problem}`);
    return;
  }
  // What is tried again is tried now, and what was remembered is asked for.
  world.history.push(`  failed with ${actual.error}, then the store answers again`);
  await world.clock.advance(RECOVERY);
  await turns(20);
  await adopt(world, command, before, actual.error);
}

/** An unlink that was done and says that it was not leaves open files like one by another client: not told here. */
function mayBeDone(world: World, command: Command): boolean {
  return (command.do !== 'unlink' && command.do !== 'rename') || world.model.handles.size === 0;
}

function timePasses(world: World, ms: number): Action {
  return { label: `${ms} ms`, expect: () => undefined, run: () => world.clock.advance(ms) };
}

/** Lets requests fail as told; `end` stops it and tells which did. */
function injecting(world: World, faults: readonly Fault[], mayBeDone: boolean): { end(): string[] } {
  const happened: string[] = [];
  let requests = 0;
  const undo = world.store.intercept(async ({ operation, key }, proceed) => {
    const number = requests++;
    const fault = faults.find(each => each.request === number);
    if (!fault) return proceed();
    const isDone = fault.isDone && mayBeDone && CHANGING.includes(operation);
    happened.push(`${operation} ${key}: ${fault.kind}${isDone ? ', but done' : ''}`);
    if (operation === 'CreateMultipartUpload' || operation === 'AbortMultipartUpload') world.mayLeaveUploads = true;
    if (operation === 'DeleteObject' || operation === 'CopyObject') world.mayLeaveHidden = true;
    if (isDone) await proceed();
    throw new StoreError(fault.kind, `${operation} of ${key}: injected`, { operation, key });
  });
  return {
    end() {
      undo();
      return happened;
    },
  };
}

const CHANGING: readonly StoreOperation[] = [
  'PutObject',
  'CopyObject',
  'DeleteObject',
  'DeleteObjects',
  'CreateMultipartUpload',
  'UploadPart',
  'UploadPartCopy',
  'CompleteMultipartUpload',
  'AbortMultipartUpload',
];

/** Takes the state that there is after a failed operation, if it is one of those that may be. */
async function adopt(world: World, command: Command, before: ReferenceFileSystem, error: string): Promise<void> {
  const inos = new Map(world.inos);
  const problems: string[] = [];
  for (const [name, model] of possibleStates(world, command, before)) {
    world.model = model;
    world.inos.clear();
    for (const [id, ino] of inos) world.inos.set(id, ino);
    try {
      await checkTree(world);
      return;
    } catch (problem) {
      if (!(problem instanceof Difference)) throw problem;
      problems.push(`${name}: ${problem.message.split('\n')[0]}`);
    }
  }
  world.fail(`after ${error} there is neither the old state nor the new one\n  ${problems.join('\n  ')}`);
}

function possibleStates(
  world: World,
  command: Command,
  before: ReferenceFileSystem,
): [name: string, ReferenceFileSystem][] {
  const after = world.model;
  // Unsaved bytes stay the content, and the descriptor is gone whatever close says.
  if (command.do === 'close' || command.do === 'fsync' || command.do === 'truncate') {
    const unsaved = after.clone();
    for (const [, entry] of unsaved.paths())
      if (entry instanceof ModelFile) entry.isUnsaved = wasUnsaved(before, entry);
    return [['done, unsaved', unsaved], ...(command.do === 'truncate' ? ([['not done', before]] as const) : [])] as [
      string,
      ReferenceFileSystem,
    ][];
  }
  if (command.do === 'open') return [['not done', before]];
  const states: [string, ReferenceFileSystem][] = [
    ['done', after],
    ['not done', before],
  ];
  if (command.do === 'rename' && !(command.flags & RENAME_EXCHANGE)) {
    const [from, to] = [pathOf(before, command.at), pathOf(before, command.to)];
    if (from && to) states.push(['copied', withCopy(before, from, to)], ['left behind', withCopy(after, to, from)]);
  }
  return states;
}

function wasUnsaved(before: ReferenceFileSystem, file: ModelFile): boolean {
  for (const [, entry] of before.paths())
    if (entry.id === file.id) return entry instanceof ModelFile && entry.isUnsaved;
  return file.isUnsaved;
}

/** With a copy of `from` under the name `to`: a rename whose copy was not taken back, or whose delete failed. */
function withCopy(state: ReferenceFileSystem, from: string, to: string): ReferenceFileSystem {
  const both = state.clone();
  const source = both.peek(from);
  const parent = both.peek(to.slice(0, to.lastIndexOf('/')));
  if (!source || !(parent instanceof ModelDirectory)) return both;
  const name = to.slice(to.lastIndexOf('/') + 1);
  const replaced = parent.children.get(name);
  if (replaced instanceof ModelFile) replaced.isLinked = false;
  const copy = cloned(source, new Map());
  renumber(copy);
  parent.children.set(name, copy);
  return both;
}

/** A copy is another file. Its times may be those of the copy, and what was changed just before may be missing in it. */
function renumber(entry: ReturnType<typeof cloned>): void {
  entry.id = -entry.id;
  entry.isUntold = true;
  entry.mtime = { possible: [], isExact: true };
  if (entry instanceof ModelFile) Object.assign(entry, { opens: 0, writers: 0 });
  if (entry instanceof ModelDirectory) for (const child of entry.children.values()) renumber(child);
}
