/** What the random tests do: commands as plain data (so that a failure shrinks and can be written down), and their meaning. */
import fc from 'fast-check';
import { O_ACCMODE, O_APPEND, O_EXCL, O_RDONLY, O_TRUNC, O_WRONLY } from '../../src/fs/modes.ts';
import type { Attributes } from '../../src/fuse/ops.ts';
import { SEEK_DATA, SEEK_HOLE } from '../../src/fuse/ops.ts';
import { KIB, pattern } from '../support/file-contents.ts';
import {
  isWriter,
  ModelDirectory,
  type ModelEntry,
  ModelFile,
  ModelSpecial,
  O_CREAT,
  type ReferenceFileSystem,
} from './reference.ts';
import { type Action, difference, MAX_FILE, OWNER, type World } from './world.ts';

const O_RDWR = 2;

/** Something that is there, by its place among all of its kind; or a name below a directory that is there. */
export type Spot =
  | { readonly existing: 'file' | 'directory' | 'special' | 'any'; readonly index: number }
  | { readonly below: number; readonly name: string };

export type Command =
  | { readonly do: 'open'; readonly at: Spot; readonly flags: number; readonly mode: number }
  | { readonly do: 'close' | 'fsync' | 'fstat'; readonly file: number }
  | {
      readonly do: 'write';
      readonly file: number;
      readonly offset: number;
      readonly length: number;
      readonly tag: number;
    }
  | { readonly do: 'read'; readonly file: number; readonly offset: number; readonly length: number }
  | { readonly do: 'ftruncate'; readonly file: number; readonly size: number }
  | {
      readonly do: 'fallocate';
      readonly file: number;
      readonly mode: number;
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly do: 'copyRange';
      readonly from: number;
      readonly file: number;
      readonly offset: number;
      readonly target: number;
      readonly length: number;
    }
  | { readonly do: 'seek'; readonly file: number; readonly offset: number; readonly whence: number }
  | { readonly do: 'truncate'; readonly at: Spot; readonly size: number }
  | { readonly do: 'stat' | 'readlink' | 'unlink' | 'rmdir' | 'readFile' | 'xattrs'; readonly at: Spot }
  | { readonly do: 'mkdir' | 'mkfifo' | 'chmod'; readonly at: Spot; readonly mode: number }
  | { readonly do: 'symlink'; readonly at: Spot; readonly target: string }
  | { readonly do: 'rename'; readonly at: Spot; readonly to: Spot; readonly flags: number }
  | { readonly do: 'link'; readonly at: Spot; readonly to: Spot }
  | { readonly do: 'readdir'; readonly at: Spot; readonly plus: boolean; readonly atOnce: number }
  | { readonly do: 'chown'; readonly at: Spot; readonly uid: number; readonly gid: number }
  | { readonly do: 'utimens'; readonly at: Spot; readonly ms: number }
  | {
      readonly do: 'setxattr';
      readonly at: Spot;
      readonly name: string;
      readonly value: string;
      readonly flags: number;
    }
  | { readonly do: 'removexattr'; readonly at: Spot; readonly name: string }
  | { readonly do: 'forgetNames' | 'remount' | 'drain' }
  | { readonly do: 'advance'; readonly ms: number }
  | { readonly do: 'foreignPut'; readonly at: Spot; readonly length: number; readonly tag: number }
  | { readonly do: 'foreignDelete'; readonly at: Spot };

// --- what may come ------------------------------------------------------------------------------------------------------

/** Few names, so that they meet; `-` sorts before `/` and letters after it. */
const names = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('a', '-', 'aa', 'a-') },
  { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom('a', '-'), minLength: 1, maxLength: 3 }) },
);
const index = fc.nat(30);
const newName: fc.Arbitrary<Spot> = fc.record({ below: fc.nat(6), name: names });
const existing = (of: 'file' | 'directory' | 'special' | 'any'): fc.Arbitrary<Spot> =>
  fc.record({ existing: fc.constant(of), index });
const anywhere = fc.oneof(
  { weight: 3, arbitrary: existing('any') },
  { weight: 2, arbitrary: existing('file') },
  { weight: 2, arbitrary: newName },
);
const fileSpot = fc.oneof({ weight: 5, arbitrary: existing('file') }, { weight: 1, arbitrary: anywhere });
const directorySpot = fc.oneof({ weight: 4, arbitrary: existing('directory') }, { weight: 1, arbitrary: anywhere });
const file = fc.nat(8);

/** The edges of what is cut into pieces: kernel pages, parts, single PUTs, blocks. Negative: from the end of the file. */
const offset = fc.oneof(
  fc.constantFrom(0, 1, 100, 4095, 4096, 8 * KIB, 32 * KIB, 32 * KIB - 1, 48 * KIB, 48 * KIB + 1, 64 * KIB),
  fc.constantFrom(128 * KIB - 1, 128 * KIB, 128 * KIB + 1, 200_000, 256 * KIB),
  fc.constantFrom(-1, -1, -1, -2, -5000),
);
const length = fc.constantFrom(1, 3, 100, 4096, 5000, 16 * KIB, 32 * KIB, 48 * KIB, 70_000, 128 * KIB);
const size = fc.constantFrom(0, 0, 1, 50, 4096, 8 * KIB, 32 * KIB, 48 * KIB, 48 * KIB + 1, 100_000, 128 * KIB, 300_000);
const tag = fc.nat(200);
const mode = fc.constantFrom(0o644, 0o600, 0o755, 0o444, 0o4755, 0o2755, 0o2644, 0o1777);
const xattrName = fc.constantFrom('user.a', 'user.b');

const openFlags = fc.constantFrom(
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  O_RDWR | O_APPEND,
  O_RDWR | O_TRUNC,
  O_RDWR | O_CREAT,
  O_RDWR | O_CREAT,
  O_WRONLY | O_CREAT | O_TRUNC,
  O_RDWR | O_CREAT | O_EXCL,
  O_WRONLY | O_CREAT | O_APPEND,
);

const weighted: readonly (readonly [number, fc.Arbitrary<Command>])[] = [
  [14, fc.record({ do: fc.constant('open'), at: fc.oneof(fileSpot, newName), flags: openFlags, mode })],
  [10, fc.record({ do: fc.constant('close'), file })],
  [16, fc.record({ do: fc.constant('write'), file, offset, length, tag })],
  [8, fc.record({ do: fc.constant('read'), file, offset, length })],
  [4, fc.record({ do: fc.constant('ftruncate'), file, size })],
  [3, fc.record({ do: fc.constant('fallocate'), file, mode: fc.constantFrom(0, 1, 3, 16, 17), offset, length })],
  [3, fc.record({ do: fc.constant('copyRange'), from: file, file, offset, target: offset, length })],
  [2, fc.record({ do: fc.constant('seek'), file, offset, whence: fc.constantFrom(SEEK_DATA, SEEK_HOLE) })],
  [3, fc.record({ do: fc.constant('fsync'), file })],
  [2, fc.record({ do: fc.constant('fstat'), file })],
  [3, fc.record({ do: fc.constant('truncate'), at: fileSpot, size })],
  [5, fc.record({ do: fc.constantFrom('stat', 'readFile', 'xattrs'), at: anywhere })],
  [1, fc.record({ do: fc.constant('readlink'), at: fc.oneof(existing('special'), anywhere) })],
  [7, fc.record({ do: fc.constant('unlink'), at: fileSpot })],
  [4, fc.record({ do: fc.constant('rmdir'), at: directorySpot })],
  [6, fc.record({ do: fc.constant('mkdir'), at: newName, mode })],
  [1, fc.record({ do: fc.constant('mkfifo'), at: newName, mode })],
  [2, fc.record({ do: fc.constant('symlink'), at: newName, target: fc.constantFrom('a', '../-', '없는/곳') })],
  [10, fc.record({ do: fc.constant('rename'), at: anywhere, to: anywhere, flags: fc.constantFrom(0, 0, 0, 1, 2) })],
  [4, fc.record({ do: fc.constant('rename'), at: existing('directory'), to: anywhere, flags: fc.constant(0) })],
  [1, fc.record({ do: fc.constant('link'), at: anywhere, to: newName })],
  [
    5,
    fc.record({
      do: fc.constant('readdir'),
      at: directorySpot,
      plus: fc.boolean(),
      atOnce: fc.constantFrom(1, 3, 100),
    }),
  ],
  [3, fc.record({ do: fc.constant('chmod'), at: anywhere, mode })],
  [
    2,
    fc.record({ do: fc.constant('chown'), at: anywhere, uid: fc.constantFrom(1000, 7), gid: fc.constantFrom(1000, 8) }),
  ],
  [3, fc.record({ do: fc.constant('utimens'), at: anywhere, ms: fc.constantFrom(0, 5, 1_600_000_000_123) })],
  [
    2,
    fc.record({
      do: fc.constant('setxattr'),
      at: anywhere,
      name: xattrName,
      value: fc.constantFrom('', 'v', '값'),
      flags: fc.constantFrom(0, 0, 1, 2),
    }),
  ],
  [1, fc.record({ do: fc.constant('removexattr'), at: anywhere, name: xattrName })],
  [2, fc.record({ do: fc.constant('forgetNames') })],
  [2, fc.record({ do: fc.constant('remount') })],
  [1, fc.record({ do: fc.constant('drain') })],
  [5, fc.record({ do: fc.constant('advance'), ms: fc.constantFrom(1, 60, 1100, 12_000) })],
  [3, fc.record({ do: fc.constant('foreignPut'), at: fc.oneof(fileSpot, newName), length, tag })],
  [2, fc.record({ do: fc.constant('foreignDelete'), at: existing('file') })],
] as readonly (readonly [number, fc.Arbitrary<Command>])[];

export const command: fc.Arbitrary<Command> = fc.oneof(
  ...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })),
);

// --- what it means ------------------------------------------------------------------------------------------------------

/** The path of a spot, an empty one for the root; undefined where there is none of the kind. */
export function pathOf(model: ReferenceFileSystem, spot: Spot): string | undefined {
  const all = model.paths();
  if ('below' in spot) {
    const directories = all.filter(([, entry]) => entry instanceof ModelDirectory);
    return `${directories[spot.below % directories.length]![0]}/${spot.name}`;
  }
  const kinds = { file: ModelFile, directory: ModelDirectory, special: ModelSpecial, any: Object };
  const found = all.filter(([path, entry]) => path !== '' && entry instanceof kinds[spot.existing]);
  return found.length === 0 ? undefined : found[spot.index % found.length]![0];
}

function placeIn(bytes: Uint8Array, at: number): number {
  return at >= 0 ? at : Math.max(0, bytes.length + 1 + at);
}

/** The handle that a command means, among those that `may` be used for it. */
function handleOf(world: World, wanted: number, may: (flags: number) => boolean = () => true): number | undefined {
  const ids = [...world.model.handles].filter(([, { flags }]) => may(flags)).map(([id]) => id);
  return ids.length === 0 ? undefined : ids[wanted % ids.length];
}

const mayWrite = (flags: number): boolean => isWriter({ flags });
const mayRead = (flags: number): boolean => (flags & O_ACCMODE) !== O_WRONLY;

/** The call that a command stands for here and now; undefined where it means nothing. */
export function actionOf(world: World, command: Command): Action | undefined {
  if ('file' in command) return fileAction(world, command);
  if ('at' in command) {
    const path = pathOf(world.model, command.at);
    return path === undefined || path === '' ? undefined : pathAction(world, command, path);
  }
  return undefined;
}

function fileAction(world: World, command: Extract<Command, { file: number }>): Action | undefined {
  const needsWrite = ['write', 'ftruncate', 'fallocate', 'copyRange'].includes(command.do);
  const id = handleOf(world, command.file, needsWrite ? mayWrite : command.do === 'read' ? mayRead : undefined);
  const action = id === undefined ? undefined : actionOn(world, command, id);
  return action && { files: [id!], ...action };
}

function actionOn(world: World, command: Extract<Command, { file: number }>, id: number): Action | undefined {
  const file = world.files.get(id)!;
  const { kernel } = world;
  const { bytes } = world.model.handle(id).file;
  const now = world.now();
  const label = `#${id} ${JSON.stringify(command)}`;
  switch (command.do) {
    case 'close':
      return {
        label,
        expect: model => model.close(id),
        run: () => {
          world.files.delete(id);
          return kernel.close(file);
        },
      };
    case 'fsync':
      return { label, expect: model => model.fsync(model.handle(id)), run: () => kernel.fsync(file) };
    case 'fstat':
      return statAction(
        world,
        label,
        model => model.handle(id).file,
        () => kernel.fstat(file),
      );
    case 'write': {
      const at = placeIn(bytes, command.offset);
      const data = pattern(Math.min(command.length, Math.max(0, MAX_FILE - at)), command.tag);
      return {
        label: `${label} at ${at}`,
        expect: model => model.write(model.handle(id), at, data, now),
        run: () => kernel.write(file, at, data),
      };
    }
    case 'read': {
      const at = placeIn(bytes, command.offset);
      return {
        label: `${label} at ${at}`,
        expect: model => model.read(model.handle(id), at, command.length),
        run: () => kernel.read(file, at, command.length),
      };
    }
    case 'ftruncate':
      return {
        label,
        expect: model => model.ftruncate(model.handle(id), command.size, now),
        run: () => kernel.ftruncate(file, command.size),
      };
    case 'fallocate': {
      const at = placeIn(bytes, command.offset);
      return {
        label: `${label} at ${at}`,
        expect: model => model.fallocate(model.handle(id), command.mode, at, command.length, now),
        run: () => kernel.fallocate(file, command.mode, at, command.length),
      };
    }
    case 'copyRange': {
      const from = handleOf(world, command.from, mayRead);
      if (from === undefined) return undefined;
      const source = world.model.handle(from).file;
      const offset = placeIn(source.bytes, command.offset);
      const target = placeIn(bytes, command.target);
      // The kernel refuses ranges that overlap in one file.
      const isOverlapping = source.bytes === bytes && Math.abs(offset - target) < command.length;
      if (isOverlapping || target + command.length > MAX_FILE) return undefined;
      const sourceFile = world.files.get(from)!;
      return {
        files: [from, id],
        label: `${label} from #${from} ${offset} to ${target}`,
        expect: model => model.copyRange(model.handle(from), model.handle(id), offset, target, command.length, now),
        run: () => kernel.copyRange(sourceFile, file, offset, target, command.length),
      };
    }
    case 'seek': {
      const at = placeIn(bytes, command.offset);
      return {
        label: `${label} at ${at}`,
        expect: () => undefined,
        run: () => kernel.lseek(file, at, command.whence).catch(error => (error.code === 'ENXIO' ? 'ENXIO' : error)),
        agrees: (_, found) => wrongPlace(bytes, at, command.whence, found),
      };
    }
  }
}

/** Whether SEEK_DATA or SEEK_HOLE from `at` may have found this: between data there may be zeros, in holes only zeros. */
function wrongPlace(bytes: Buffer, at: number, whence: number, found: unknown): string | undefined {
  if (found === 'ENXIO') {
    const isZero = bytes.subarray(at).every(byte => byte === 0);
    return at >= bytes.length || (whence === SEEK_DATA && isZero) ? undefined : 'ENXIO before the end of data';
  }
  if (typeof found !== 'number') return `failed: ${found}`;
  if (found < at || found > bytes.length) return `${found} is out of range`;
  if (whence === SEEK_HOLE) return found === bytes.length || bytes[found] === 0 ? undefined : `no hole at ${found}`;
  return bytes.subarray(at, found).every(byte => byte === 0) ? undefined : `data before ${found}`;
}

interface Shown {
  readonly entry: ModelEntry;
}

function statAction(
  world: World,
  label: string,
  entryOf: (model: ReferenceFileSystem) => ModelEntry,
  run: () => Promise<Attributes>,
): Action {
  return {
    label,
    expect: model => ({ entry: entryOf(model) }) satisfies Shown,
    run,
    agrees: (expected, actual) => wrongAttributes(world, (expected as Shown).entry, actual as Attributes),
  };
}

/** Compares what stat(2) shows; where the model leaves the time open, from now on it is this one. */
export function wrongAttributes(world: World, entry: ModelEntry, actual: Attributes): string | undefined {
  const { mode, uid, gid, size, nlink } = actual;
  const isFile = entry instanceof ModelFile;
  if (entry.isUntold && entry.mode >> 12 === mode >> 12) {
    Object.assign(entry, { mode, uid, gid });
    // Compared where the bytes are.
    if (isFile && entry.isUnsaved) entry.bytes = Buffer.alloc(size);
  }
  const expected = {
    mode: `0${entry.mode.toString(8)}`,
    uid: entry.uid,
    gid: entry.gid,
    size: isFile ? entry.bytes.length : entry instanceof ModelSpecial ? Buffer.byteLength(entry.target ?? '') : 0,
    ...(!(entry instanceof ModelDirectory) && { nlink: isFile && !entry.isLinked ? 0 : 1 }),
  };
  const shown = {
    mode: `0${mode.toString(8)}`,
    uid,
    gid,
    size,
    ...(!(entry instanceof ModelDirectory) && { nlink }),
  };
  const wrong = difference(expected, shown);
  if (wrong) return wrong;
  const mtime = BigInt(actual.mtime.sec) * 1_000_000_000n + BigInt(actual.mtime.nsec);
  const { possible, isExact } = entry.mtime;
  const allowed = isExact ? possible.slice(-1) : possible;
  if (allowed.length > 0 && !allowed.includes(mtime)) return `mtime ${mtime} instead of ${allowed.join(' or ')}`;
  if (isFile && !entry.isUnsaved && allowed.length > 0) entry.mtime = { possible: [mtime], isExact: true };
  const ino = world.inos.get(entry.id);
  if (ino !== undefined && ino !== actual.ino) return `st_ino ${actual.ino} instead of ${ino}`;
  world.inos.set(entry.id, actual.ino);
  return undefined;
}

function pathAction(world: World, command: Extract<Command, { at: Spot }>, path: string): Action | undefined {
  const { kernel } = world;
  const now = world.now();
  const label = `${path} ${JSON.stringify(command)}`;
  const entry = world.model.peek(path);
  switch (command.do) {
    case 'open': {
      // The kernel follows links by itself, and opens of fifos never come here.
      if (entry instanceof ModelSpecial) return undefined;
      const id = world.newFile();
      return {
        label: `#${id} = ${label}`,
        expect: model => model.open(id, path, command.flags, command.mode, now),
        run: async () => void world.files.set(id, await kernel.open(path, command.flags, command.mode)),
      };
    }
    case 'stat':
      return statAction(
        world,
        label,
        model => model.entry(path),
        () => kernel.stat(path),
      );
    case 'readFile': {
      if (!(entry instanceof ModelFile)) return undefined;
      return {
        label,
        expect: model => (model.entry(path) as ModelFile).bytes,
        run: async () => {
          const opened = await kernel.open(path, O_RDONLY, 0);
          try {
            return await kernel.read(opened, 0, MAX_FILE * 2);
          } finally {
            await kernel.close(opened);
          }
        },
      };
    }
    case 'xattrs':
      return {
        label,
        expect: model => new Map(model.entry(path).xattrs),
        run: () => kernel.xattrs(path),
        agrees: sameMap,
      };
    case 'readlink':
      return { label, expect: model => model.readlink(path), run: () => kernel.readlink(path) };
    case 'unlink':
      return { label, expect: model => model.unlink(path), run: () => kernel.unlink(path) };
    case 'rmdir':
      return { label, expect: model => model.rmdir(path), run: () => kernel.rmdir(path) };
    case 'mkdir':
      return {
        label,
        expect: model => model.mkdir(path, command.mode, now),
        run: () => kernel.mkdir(path, command.mode),
      };
    case 'mkfifo':
      return {
        label,
        expect: model => model.mkfifo(path, command.mode, now),
        run: () => kernel.mknod(path, 0o010000 | command.mode),
      };
    case 'symlink':
      return {
        label,
        expect: model => model.symlink(command.target, path, now),
        run: () => kernel.symlink(command.target, path),
      };
    case 'rename': {
      const to = pathOf(world.model, command.to);
      if (to === undefined || to === '') return undefined;
      return {
        label: `${label} to ${to}`,
        expect: model => model.rename(path, to, command.flags),
        run: () => kernel.rename(path, to, command.flags),
      };
    }
    case 'link': {
      const to = pathOf(world.model, command.to);
      if (to === undefined || to === '') return undefined;
      return { label: `${label} to ${to}`, expect: model => model.link(path, to), run: () => kernel.link(path, to) };
    }
    case 'readdir':
      return {
        label,
        expect: model => model.directory(path),
        run: () => kernel.readdir(path, command),
        agrees: (expected, actual) => wrongEntries(expected as ModelDirectory, actual as never),
      };
    case 'chmod':
      return {
        label,
        expect: model => model.chmod(path, command.mode),
        run: () => kernel.setattr(path, { mode: command.mode }),
      };
    case 'chown': {
      const { uid, gid } = command;
      return {
        label,
        expect: model => model.chown(path, uid, gid),
        run: () => kernel.setattr(path, { uid, gid }),
      };
    }
    case 'utimens': {
      const time = { sec: Math.floor(command.ms / 1000), nsec: (command.ms % 1000) * 1_000_000 + 7 };
      return {
        label,
        expect: model => model.utimens(path, BigInt(time.sec) * 1_000_000_000n + BigInt(time.nsec)),
        run: () => kernel.setattr(path, { mtime: time, atime: time }),
      };
    }
    case 'setxattr': {
      const { name, value, flags } = command;
      return {
        label,
        expect: model => model.setxattr(path, name, value, flags),
        run: () => kernel.setxattr(path, name, value, flags),
      };
    }
    case 'removexattr':
      return {
        label,
        expect: model => model.removexattr(path, command.name),
        run: () => kernel.removexattr(path, command.name),
      };
    case 'truncate':
      if (entry instanceof ModelSpecial) return undefined;
      return {
        label,
        expect: model => model.truncate(path, command.size, now),
        run: () => kernel.setattr(path, { size: command.size, killSuidgid: true }),
      };
    case 'foreignPut':
      return foreignPut(world, command, path, label);
    case 'foreignDelete': {
      if (!(entry instanceof ModelFile) || entry.opens > 0 || entry.isUnsaved) return undefined;
      const parent = world.model.entry(path.slice(0, path.lastIndexOf('/'))) as ModelDirectory;
      // Whether it stays is not told by POSIX.
      if (parent.marked === 'unsure' && parent.children.size === 1) return undefined;
      return {
        label,
        expect: model => model.deleteForeign(path),
        run: () => elsewhere(world, () => world.store.deleteForeign(path.slice(1))),
      };
    }
  }
}

function foreignPut(
  world: World,
  command: Extract<Command, { do: 'foreignPut' }>,
  path: string,
  label: string,
): Action | undefined {
  const entry = world.model.peek(path);
  if (entry instanceof ModelDirectory || (entry instanceof ModelFile && (entry.opens > 0 || entry.isUnsaved))) {
    return undefined;
  }
  const bytes = pattern(command.length, command.tag);
  // Time goes on before it, as in `elsewhere`; S3's times have whole seconds.
  const now = (BigInt(world.clock.now() + SETTLING) / 1000n) * 1_000_000_000n;
  return {
    label,
    expect: model => model.putForeign(path, bytes, OWNER, now),
    run: () => elsewhere(world, () => void world.store.putForeign(path.slice(1), bytes)),
  };
}

/** Longer than anything is remembered or waits. */
export const SETTLING = 20_000;

/** Something that another client does, at a moment when nothing waits here; and then nothing old holds any more. */
async function elsewhere(world: World, work: () => void): Promise<void> {
  await world.clock.advance(SETTLING);
  work();
  await world.clock.advance(SETTLING);
}

function sameMap(expected: unknown, actual: unknown): string | undefined {
  const sorted = (map: unknown): unknown => [...(map as Map<string, string>)].sort();
  return difference(sorted(expected), sorted(actual));
}

export function wrongEntries(
  directory: ModelDirectory,
  entries: readonly { readonly name: string; readonly type: number }[],
): string | undefined {
  const wrong = difference([...directory.children.keys()].sort(), entries.map(({ name }) => name).sort());
  if (wrong) return wrong;
  for (const { name, type } of entries) {
    const expected = directory.children.get(name)!.mode >> 12;
    if (type !== 0 && type !== expected) return `${name} has type ${type} instead of ${expected}`;
  }
  return undefined;
}
