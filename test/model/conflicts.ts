/**
 * Another client that writes between two requests of one operation.
 *
 * What is there afterwards depends on who was faster, so only this is asked for: no object is a mix; what the other client
 * wrote is there, unless the operation was to take away or to replace whatever is under that name; what was written here
 * is in S3, under its name or beside it, or is still kept as unsaved and an error was reported.
 */
import { HIDDEN_PREFIX } from '../../src/fs/keys.ts';
import { pattern } from '../support/file-contents.ts';
import type { StoreOperation } from '../support/memory-store.ts';
import { actionOf, type Command, pathOf } from './commands.ts';
import { ModelFile } from './reference.ts';
import { runCommand, turns } from './run.ts';
import { realOutcomeOf, type Setting, World } from './world.ts';

export interface Meddling {
  readonly command: Command;
  /** Before which request of the operation, counted from 0. */
  readonly request: number;
  /** What the other client does with the file of the operation. */
  readonly does: 'put' | 'delete';
  readonly length: number;
}

export interface ConflictRun {
  readonly before: readonly Command[];
  readonly meddling: Meddling;
}

/** Operations that take away or replace whatever has a name. */
const REPLACING: readonly Command['do'][] = ['unlink', 'rename', 'rmdir', 'link'];

/** Those with an outcome that is told here. */
const NOT_TOLD: readonly Command['do'][] = ['remount', 'drain', 'foreignPut', 'foreignDelete'];

/** ms; longer than the longest wait between two tries of a save. */
const RECOVERY = 130_000;

export async function runConflict(setting: Setting, run: ConflictRun): Promise<void> {
  const world = new World(setting);
  const contents = new Contents();
  for (const command of run.before) {
    await runCommand(world, command);
    contents.take(world);
  }
  const met = await meddle(world, run.meddling, contents);
  await end(world);
  check(world, run.meddling, contents, met);
}

/** Every content that a file had between two commands, or that the other client wrote. */
class Contents {
  readonly #known: Buffer[] = [Buffer.alloc(0)];

  take(world: World): void {
    for (const [, entry] of world.model.paths()) if (entry instanceof ModelFile) this.add(entry.bytes);
    for (const { file } of world.model.handles.values()) this.add(file.bytes);
    for (const key of world.store.keys()) this.add(world.store.bytes(key)!);
  }

  add(bytes: Uint8Array): void {
    if (!this.has(bytes)) this.#known.push(Buffer.from(bytes));
  }

  has(bytes: Uint8Array): boolean {
    return this.#known.some(each => isWithHoles(each, bytes));
  }
}

/** The same, or with zeros where a version that is gone was not in memory (SEMANTICS, C10). */
function isWithHoles(content: Uint8Array, bytes: Uint8Array): boolean {
  return content.length === bytes.length && bytes.every((byte, i) => byte === content[i] || byte === 0);
}

interface Met {
  readonly theirs: Uint8Array | undefined;
  /** What was unsaved here, before the operation and after it. */
  readonly ours: readonly Uint8Array[];
  /** What the other client replaced or deleted, perhaps just saved: it could be seen by then. */
  readonly replaced?: Uint8Array | undefined;
}

async function meddle(world: World, { command, request, does, length }: Meddling, contents: Contents): Promise<Met> {
  const action = NOT_TOLD.includes(command.do) ? undefined : actionOf(world, command);
  const file = action?.files ? world.model.handles.get(action.files.at(-1)!)?.file : undefined;
  const path = 'at' in command ? pathOf(world.model, command.at) : nameOf(world, file);
  const entry = path === undefined ? undefined : world.model.peek(path);
  if (!action || !path || !(entry instanceof ModelFile)) return { theirs: undefined, ours: [] };
  const key = path.slice(1);
  const bytes = pattern(length, 251);
  let theirs: Uint8Array | undefined;
  let replaced: Uint8Array | undefined;
  let requests = 0;
  const undo = world.store.intercept(async ({ operation }, proceed) => {
    if (requests++ !== request) return proceed();
    world.history.push(`  before request ${request} (${operation}) of the next: ${does} ${key}`);
    replaced = world.store.bytes(key);
    if (does === 'delete') world.store.deleteForeign(key);
    else {
      world.store.putForeign(key, bytes);
      // Who looks after that, and then cuts it off, does what was asked for; truncate(2) looks again after ESTALE.
      const isSeen = command.do === 'truncate' || (SEEING.includes(operation) && command.do === 'open');
      if (!isSeen) theirs = bytes;
      contents.add(bytes);
      if (command.do === 'truncate') contents.add(cut(bytes, command.size));
    }
    return proceed();
  });
  const outcome = await realOutcomeOf(action);
  undo();
  world.history.push(`${action.label}: ${'error' in outcome ? outcome.error : 'done'}`);
  // What the operation itself would have made of it.
  const ours = entry.isUnsaved ? [entry.bytes] : [];
  const expected = world.model.clone();
  try {
    action.expect(expected);
    for (const [, each] of expected.paths()) {
      if (!(each instanceof ModelFile)) continue;
      contents.add(each.bytes);
      if (each.id === entry.id && entry.isUnsaved) ours.push(each.bytes);
    }
    for (const { file: each } of expected.handles.values()) contents.add(each.bytes);
  } catch {
    // Refused.
  }
  await turns(5);
  return { theirs, ours, replaced };
}

const SEEING: readonly StoreOperation[] = ['HeadObject', 'GetObject', 'ListObjectsV2'];

function cut(bytes: Uint8Array, size: number): Uint8Array {
  const result = Buffer.alloc(size);
  result.set(bytes.subarray(0, size));
  return result;
}

function nameOf(world: World, file: ModelFile | undefined): string | undefined {
  for (const [path, entry] of world.model.paths()) if (entry === file) return path;
  return undefined;
}

/** Closes all, lets time pass and drains; errors are allowed now. */
async function end(world: World): Promise<void> {
  for (const [id, file] of world.files) {
    world.files.delete(id);
    await realOutcomeOf({ label: '', expect: () => undefined, run: () => world.kernel.close(file) });
  }
  await world.clock.advance(RECOVERY);
  await turns(20);
  world.kernel.forgetNames();
  await world.fs.filesystem.drain();
  await turns(20);
}

function check(world: World, { command }: Meddling, contents: Contents, { theirs, ours, replaced }: Met): void {
  const stored = world.store.keys().filter(key => !key.endsWith('/') && !key.startsWith(HIDDEN_PREFIX));
  const isIn = (bytes: Uint8Array): boolean => stored.some(key => isWithHoles(bytes, world.store.bytes(key)!));
  for (const key of stored) if (!contents.has(world.store.bytes(key)!)) world.fail(`${key} is no whole content`);
  if (REPLACING.includes(command.do)) return;
  if (theirs && !isIn(theirs)) world.fail(`what the other client wrote is gone; there is ${stored.join(', ')}`);
  const { names } = world.fs.filesystem.unsaved();
  const wasSaved = replaced !== undefined && ours.some(bytes => Buffer.compare(bytes, replaced) === 0);
  if (ours.length > 0 && !wasSaved && !ours.some(isIn) && names.length === 0) {
    world.fail(`what was written here is gone; there is ${stored.join(', ')}`);
  }
}
