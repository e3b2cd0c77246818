/** The file operations of the fault matrix: what each needs, does, and must leave in the bucket. */
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../src/fuse/ops.ts';
import { BUCKET, EXCHANGED, type FaultyWorld, marked, PART } from './world.ts';

/** Keys with their bytes. */
export type Contents = Readonly<Record<string, Buffer>>;

export interface FileOperation {
  readonly name: string;
  /** In the bucket before, unless `prepare` says otherwise. */
  readonly before: Contents;
  /** After success. */
  readonly after: Contents;
  /** What may be there as well after an error: a rename that was not finished leaves both names. */
  readonly between?: readonly Contents[];
  /** Bytes that this mount writes: an error may not lose them. */
  readonly written?: Buffer;
  /** The key that another client may replace or delete meanwhile. */
  readonly contested?: string;
  /** Deletes or replaces whatever is there (SEMANTICS, C7). */
  readonly unconditional?: boolean;
  /** Further errnos that are right for it. */
  readonly errors?: readonly string[];
  /** The store has not found out yet what the server keeps. */
  readonly unlearned?: boolean;
  prepare?(world: FaultyWorld): Promise<void>;
  /** Rejects with what a program is told; throws `WrongBytes` for bytes that never were. */
  run(world: FaultyWorld): Promise<void>;
}

/** Bytes that are no version's. */
export class WrongBytes extends Error {}

const SMALL = marked('base', 5000);
const NEW_SMALL = marked('ours', 6000);
const LARGE = marked('base', 6 * PART + 100);
const NEW_LARGE = marked('ours', 4 * PART + 100);
/** What another client puts there. */
export const THEIRS = marked('them', 5500);

/** More than is kept in memory of a file without a name. */
const HUGE = marked('base', 9 * 1024 * 1024);

const changed = Buffer.from(LARGE);
marked('ours', PART).copy(changed, PART);

const RDWR = 2;
const WRITE = 1;
const CREATE = 0o100;
const TRUNCATE = 0o1000;

/** Between the first copy and the last delete of a directory's rename. */
const DIRECTORY_COPIED: readonly Contents[] = [
  { 'd/a': SMALL, 'd/b': NEW_SMALL, 'e/a': SMALL, 'e/b': NEW_SMALL },
  { 'd/a': SMALL, 'd/b': NEW_SMALL, 'e/a': SMALL },
  { 'd/a': SMALL, 'd/b': NEW_SMALL, 'e/b': NEW_SMALL },
  { 'd/a': SMALL, 'e/a': SMALL, 'e/b': NEW_SMALL },
  { 'd/b': NEW_SMALL, 'e/a': SMALL, 'e/b': NEW_SMALL },
];

async function readWhole(world: FaultyWorld, path: string, ...expected: Buffer[]): Promise<void> {
  const bytes = await world.kernel.readFile(path);
  if (!expected.some(version => version.equals(bytes)))
    throw new WrongBytes(`${path}: ${bytes.length} bytes of no version`);
}

async function writeAndClose(world: FaultyWorld, path: string, flags: number, data: Buffer, at = 0): Promise<void> {
  const { kernel } = world;
  const descriptor = await kernel.open(path, flags);
  let failed = true;
  try {
    for (let done = 0; done < data.length; done += PART / 2) {
      await kernel.write(descriptor, at + done, data.subarray(done, done + PART / 2));
    }
    failed = false;
    world.accepted = true;
  } finally {
    if (failed) await kernel.close(descriptor).catch(() => {});
    else await kernel.close(descriptor);
  }
}

export const OPERATIONS: readonly FileOperation[] = [
  {
    name: 'stat',
    before: { 'd/f': SMALL },
    after: { 'd/f': SMALL },
    contested: 'd/f',
    run: async world => void (await world.kernel.stat('/d/f')),
  },
  {
    name: 'ls -l',
    before: { 'd/f': SMALL, 'd/g': SMALL },
    after: { 'd/f': SMALL, 'd/g': SMALL },
    run: async world => {
      const names = (await world.kernel.readdir('/d', { plus: true })).map(({ name }) => name);
      if (names.join() !== 'f,g') throw new WrongBytes(`names ${names.join()}`);
    },
  },
  {
    name: 'read a small file',
    before: { f: SMALL },
    after: { f: SMALL },
    contested: 'f',
    run: world => readWhole(world, '/f', SMALL, THEIRS),
  },
  {
    name: 'read a large file',
    before: { f: LARGE },
    after: { f: LARGE },
    contested: 'f',
    run: world => readWhole(world, '/f', LARGE, THEIRS),
  },
  {
    name: 'readlink',
    before: {},
    // What is there is not known to be a link where its metadata cannot be read.
    errors: ['EINVAL'],
    after: { link: Buffer.from('target') },
    async prepare(world) {
      world.s3.putObject(BUCKET, 'link', 'target', { metadata: { mode: '41471' } });
    },
    run: async world => {
      const target = await world.kernel.readlink('/link');
      if (target !== 'target') throw new WrongBytes(target);
    },
  },
  {
    name: 'write a new small file',
    before: {},
    after: { f: NEW_SMALL },
    written: NEW_SMALL,
    contested: 'f',
    run: world => writeAndClose(world, '/f', WRITE | CREATE, NEW_SMALL),
  },
  {
    name: 'replace a small file',
    before: { f: SMALL },
    after: { f: NEW_SMALL },
    written: NEW_SMALL,
    contested: 'f',
    run: world => writeAndClose(world, '/f', WRITE | CREATE | TRUNCATE, NEW_SMALL),
  },
  {
    name: 'replace a small file, first save',
    before: { f: SMALL },
    after: { f: NEW_SMALL },
    written: NEW_SMALL,
    contested: 'f',
    unlearned: true,
    run: world => writeAndClose(world, '/f', WRITE | CREATE | TRUNCATE, NEW_SMALL),
  },
  {
    name: 'replace a tagged file',
    before: {},
    after: { f: NEW_SMALL },
    written: NEW_SMALL,
    async prepare(world) {
      world.s3.putObject(BUCKET, 'f', SMALL, { tags: { team: 'a' } });
    },
    run: world => writeAndClose(world, '/f', WRITE | CREATE | TRUNCATE, NEW_SMALL),
  },
  {
    name: 'write a new large file',
    before: {},
    after: { f: NEW_LARGE },
    written: NEW_LARGE,
    contested: 'f',
    run: world => writeAndClose(world, '/f', WRITE | CREATE, NEW_LARGE),
  },
  {
    name: 'change a part of a large file',
    before: { f: LARGE },
    after: { f: changed },
    written: changed.subarray(PART, 2 * PART),
    contested: 'f',
    run: world => writeAndClose(world, '/f', RDWR, changed.subarray(PART, 2 * PART), PART),
  },
  {
    name: 'give up a new large file',
    before: {},
    after: {},
    run: async world => {
      const { kernel } = world;
      const descriptor = await kernel.open('/f', WRITE | CREATE);
      try {
        for (let at = 0; at < NEW_LARGE.length; at += PART / 2) {
          await kernel.write(descriptor, at, NEW_LARGE.subarray(at, at + PART / 2));
        }
        await kernel.unlink('/f');
      } finally {
        await kernel.close(descriptor);
      }
    },
  },
  {
    name: 'chmod',
    before: { f: SMALL },
    after: { f: SMALL },
    contested: 'f',
    run: async world => {
      await world.kernel.setattr('/f', { mode: 0o600 });
      const descriptor = await world.kernel.open('/f', RDWR);
      try {
        await world.kernel.fsync(descriptor);
      } finally {
        await world.kernel.close(descriptor);
      }
    },
  },
  {
    name: 'mkdir',
    before: {},
    after: { 'd/': Buffer.alloc(0) },
    run: world => world.kernel.mkdir('/d'),
  },
  {
    name: 'symlink',
    before: {},
    after: { link: Buffer.from('target') },
    run: world => world.kernel.symlink('target', '/link'),
  },
  {
    name: 'rmdir',
    before: { 'd/': Buffer.alloc(0) },
    after: {},
    run: world => world.kernel.rmdir('/d'),
  },
  {
    name: 'unlink',
    before: { f: SMALL },
    after: {},
    contested: 'f',
    unconditional: true,
    run: world => world.kernel.unlink('/f'),
  },
  {
    name: 'unlink a large file that is open, and read it',
    before: { f: HUGE },
    after: {},
    unconditional: true,
    run: async world => {
      const { kernel } = world;
      const descriptor = await kernel.open('/f', 0);
      try {
        await kernel.unlink('/f');
        const at = 8 * 1024 * 1024;
        const bytes = await kernel.read(descriptor, at, 1000);
        if (!bytes.equals(HUGE.subarray(at, at + 1000))) throw new WrongBytes('after unlink');
      } finally {
        await kernel.close(descriptor);
      }
    },
  },
  {
    name: 'rename a file',
    before: { f: SMALL },
    after: { g: SMALL },
    between: [{ f: SMALL, g: SMALL }],
    contested: 'f',
    run: world => world.kernel.rename('/f', '/g', RENAME_NOREPLACE),
  },
  {
    name: 'rename a file onto another',
    before: { f: NEW_SMALL, g: SMALL },
    after: { g: NEW_SMALL },
    between: [{ f: NEW_SMALL, g: NEW_SMALL }],
    contested: 'f',
    run: world => world.kernel.rename('/f', '/g'),
  },
  {
    name: 'exchange two files',
    before: { f: SMALL, g: NEW_SMALL },
    after: { f: NEW_SMALL, g: SMALL },
    // Whatever stays hidden, there is no state with one of both alone.
    between: [
      { f: SMALL, g: NEW_SMALL, [EXCHANGED]: SMALL },
      { f: NEW_SMALL, g: NEW_SMALL, [EXCHANGED]: SMALL },
      { f: NEW_SMALL, g: SMALL, [EXCHANGED]: SMALL },
    ],
    contested: 'g',
    run: world => world.kernel.rename('/f', '/g', RENAME_EXCHANGE),
  },
  {
    name: 'rename a directory',
    before: { 'd/a': SMALL, 'd/b': NEW_SMALL },
    after: { 'e/a': SMALL, 'e/b': NEW_SMALL },
    between: DIRECTORY_COPIED,
    contested: 'd/a',
    run: world => world.kernel.rename('/d', '/e'),
  },
  {
    name: 'rename a directory to a name that another client takes',
    before: { 'd/a': SMALL, 'd/b': NEW_SMALL },
    after: { 'e/a': SMALL, 'e/b': NEW_SMALL },
    between: DIRECTORY_COPIED,
    contested: 'e/a',
    async prepare(world) {
      // What is believed for ten seconds from now on.
      if (await world.kernel.exists('/e')) throw new WrongBytes('e');
    },
    run: world => world.kernel.rename('/d', '/e'),
  },
];
