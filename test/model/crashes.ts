/**
 * The daemon dies between two requests of an operation, or while one is on its way.
 *
 * What was reported saved is whole, under its name; what was being done is done, not done, or (a rename) both; nothing is a
 * mix. What was never saved may be gone: a journal is not there yet.
 */
import { HIDDEN_PREFIX } from '../../src/fs/keys.ts';
import { hiddenPlace } from '../../src/fs/leftovers.ts';
import { RENAME_EXCHANGE } from '../../src/fuse/ops.ts';
import { DEFAULT_OPTIONS } from '../support/filesystem.ts';
import { actionOf, type Command, pathOf } from './commands.ts';
import { ModelDirectory, ModelFile, ModelSpecial, type ReferenceFileSystem } from './reference.ts';
import { runCommand, turns } from './run.ts';
import { type Action, outcomeOf, realOutcomeOf, type Setting, World } from './world.ts';

export interface CrashRun {
  readonly before: readonly Command[];
  readonly command: Command;
  /** Which request of the operation is the last, counted from 0. */
  readonly request: number;
  /** Whether that one still reaches the store. */
  readonly isDone: boolean;
}

/** ms in which what waits for its moment is sent. */
const SOON = 2000;

export async function runCrash(setting: Setting, run: CrashRun): Promise<void> {
  const world = new World(setting);
  for (const command of run.before) {
    await runCommand(world, command);
    noteSaved(world.model, command.do === 'drain');
  }
  const { command } = run;
  const action: Action | undefined =
    command.do === 'advance'
      ? { label: `${SOON} ms`, expect: () => undefined, run: () => world.clock.advance(SOON) }
      : actionOf(world, command);
  if (!action || command.do === 'foreignPut' || command.do === 'foreignDelete') return;
  const before = world.model.clone();
  const after = world.model.clone();
  outcomeOf(() => action.expect(after));
  const stored = world.store.keys().map(key => Buffer.from(world.store.bytes(key)!));
  await dieWithin(world, action, run);
  world.history.push('mount');
  world.mount();
  checkWhole(world, stored, before, after);
  checkFiles(world, before, after, command);
  checkDirectories(world, before, command);
  await checkTreeIsWhole(world);
}

/** What S3 is known to have of each file; after a drain `all`. */
function noteSaved(model: ReferenceFileSystem, all: boolean): void {
  for (const [, entry] of model.paths()) {
    if (entry instanceof ModelFile && (all || !entry.isUnsaved)) entry.saved = Buffer.from(entry.bytes);
  }
}

async function dieWithin(world: World, action: Action, { request, isDone }: CrashRun): Promise<void> {
  let requests = 0;
  let died!: () => void;
  const death = new Promise<void>(resolve => {
    died = resolve;
  });
  const undo = world.store.intercept(async ({ operation, key }, proceed) => {
    if (requests++ !== request) return proceed();
    world.history.push(`dies ${isDone ? 'after' : 'before'} ${operation} ${key}, within the next`);
    world.life.isOver = true;
    const result = isDone ? await proceed() : undefined;
    died();
    return result;
  });
  await Promise.race([death, realOutcomeOf(action)]);
  world.life.isOver = true;
  undo();
  await turns(5);
  world.history.push(action.label);
  world.files.clear();
  world.model.handles.clear();
}

/** Every object is one that there was, or one that was being made. */
function checkWhole(
  world: World,
  stored: readonly Uint8Array[],
  before: ReferenceFileSystem,
  after: ReferenceFileSystem,
): void {
  const known: Uint8Array[] = [Buffer.alloc(0), ...stored];
  for (const [, entry] of [...before.paths(), ...after.paths()]) {
    if (entry instanceof ModelFile) known.push(entry.bytes);
    else if (entry instanceof ModelSpecial) known.push(Buffer.from(entry.target ?? ''));
  }
  for (const key of world.store.keys()) {
    const bytes = world.store.bytes(key)!;
    // Cut off, an object of zeros is still that; a later mount takes it away (`Leftovers`).
    if (key.startsWith(hiddenPlace('zeros', DEFAULT_OPTIONS.hostname)) && bytes.every(byte => byte === 0)) continue;
    if (!key.endsWith('/') && !known.some(each => Buffer.compare(each, bytes) === 0)) world.fail(`${key} is torn`);
  }
}

/** Whether a path is, or lies below, one that the operation takes away, gives or moves. */
function isTouched(before: ReferenceFileSystem, command: Command, path: string): boolean {
  const touched = ['at' in command ? command.at : undefined, 'to' in command ? command.to : undefined];
  return touched.some(spot => {
    const place = spot && pathOf(before, spot);
    return place !== undefined && (path === place || path.startsWith(`${place}/`));
  });
}

function checkFiles(world: World, before: ReferenceFileSystem, after: ReferenceFileSystem, command: Command): void {
  const isExchange = command.do === 'rename' && (command.flags & RENAME_EXCHANGE) !== 0;
  for (const [path, entry] of before.paths()) {
    if (!(entry instanceof ModelFile) || !entry.saved) continue;
    const contents = [entry.saved, entry.bytes];
    const places = [path];
    for (const [other, each] of after.paths()) {
      if (each.id !== entry.id || !(each instanceof ModelFile)) continue;
      places.push(other);
      contents.push(each.bytes);
    }
    const isThere =
      places.some(place => has(world.store.bytes(place.slice(1)), contents)) ||
      (isExchange && world.store.keys().some(key => isHidden(key) && has(world.store.bytes(key), contents)));
    const isTakenAway = isTouched(before, command, path) && !after.paths().some(([, each]) => each.id === entry.id);
    if (!isThere && !isTakenAway) world.fail(`${path}, which was saved, is not there any more`);
  }
}

function isHidden(key: string): boolean {
  return key.startsWith(HIDDEN_PREFIX);
}

function has(bytes: Uint8Array | undefined, contents: readonly Uint8Array[]): boolean {
  return bytes !== undefined && contents.some(each => Buffer.compare(each, bytes) === 0);
}

function checkDirectories(world: World, before: ReferenceFileSystem, command: Command): void {
  for (const [path, entry] of before.paths()) {
    if (!(entry instanceof ModelDirectory) || path === '' || entry.marked !== 'yes') continue;
    if (isTouched(before, command, path)) continue;
    const prefix = `${path.slice(1)}/`;
    if (!world.store.keys().some(key => key.startsWith(prefix))) world.fail(`the directory ${path} is gone`);
  }
}

/** Whoever mounts next can list, stat and read all that there is. */
async function checkTreeIsWhole(world: World): Promise<void> {
  const visit = async (path: string): Promise<void> => {
    for (const { name } of await world.kernel.readdir(path, { plus: true, atOnce: 100 })) {
      const below = `${path}/${name}`;
      const { mode, size } = await world.kernel.stat(below);
      if (mode >> 12 === 4) await visit(below);
      if (mode >> 12 !== 8) continue;
      const file = await world.kernel.open(below, 0, 0);
      const bytes = await world.kernel.read(file, 0, size + 1);
      await world.kernel.close(file);
      if (bytes.length !== size) world.fail(`${below} has ${bytes.length} bytes and says ${size}`);
    }
  };
  await visit('');
}
