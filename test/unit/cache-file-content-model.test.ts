/**
 * Random operations on a `FileContent` against a plain array of bytes: writes, truncates, zeros, copies and reads, also
 * while a save is under way, saves that fail at any request, foreign readers of the object, and files opened anew.
 */
import t from 'tap';
import type { FileContent, Saved } from '../../src/cache/file-content.ts';
import { StoreError } from '../../src/errors.ts';
import {
  bytesOf,
  eager,
  KIB,
  MIB,
  pattern,
  type Setup,
  type SetupOptions,
  seeded,
  setup,
} from '../support/file-contents.ts';
import type { StoreOperation } from '../support/memory-store.ts';

const MAX_SIZE = 640 * KIB;

const FAILING: readonly StoreOperation[] = [
  'PutObject',
  'GetObject',
  'CreateMultipartUpload',
  'UploadPart',
  'UploadPartCopy',
  'CompleteMultipartUpload',
];

class Model {
  bytes = new Uint8Array(0);

  write(offset: number, data: Uint8Array): void {
    if (offset + data.length > this.bytes.length) this.truncate(offset + data.length);
    this.bytes.set(data, offset);
  }

  truncate(size: number): void {
    const next = new Uint8Array(size);
    next.set(this.bytes.subarray(0, size));
    this.bytes = next;
  }

  zero(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
  }
}

interface Saving {
  readonly expected: Uint8Array;
  readonly done: Promise<Saved | undefined>;
  /** Saves that reads and writes had called for when it began: later ones may store newer bytes right after it. */
  readonly recalls: number;
}

interface Run {
  /** Chooses places as programs do that write in sequence: whole cells of the upload come about. */
  readonly sequential?: boolean;
}

async function run(
  t: { teardown(callback: () => void): void },
  seed: number,
  operations: number,
  options: SetupOptions,
  { sequential = false }: Run = {},
): Promise<Setup> {
  const random = seeded(seed);
  const s = setup(t, options);
  const model = new Model();
  let file: FileContent = s.open();
  let saving: Saving | undefined;
  /** Another file, from which is copied. */
  const source = { file: s.openOther('source', pattern(300 * KIB, 7)), bytes: pattern(300 * KIB, 7) };
  let tag = 0;
  /** A save in doubt asks first what has become of the one before, and captures what there is after that. */
  let doubt = false;

  const what: string[] = [];
  const fail = (message: string): never => {
    throw new Error(`seed ${seed}: ${message} after ${what.slice(-12).join(', ')}`);
  };
  const same = (actual: Uint8Array, expected: Uint8Array, name: string): void => {
    if (Buffer.compare(actual, expected) === 0) return;
    const at = expected.findIndex((value, i) => value !== actual[i]);
    fail(`${name}: ${actual.length} bytes instead of ${expected.length}, first difference at ${at}`);
  };

  const settle = async (): Promise<void> => {
    if (!saving) return;
    const { expected, done, recalls } = saving;
    saving = undefined;
    try {
      const saved = await done;
      if (!saved) return;
      if (recalls === s.owner.recalls) {
        same(s.store.bytes(s.target.key)!, expected, 'stored');
        if (s.store.info(s.target.key)!.etag !== saved.content.version.etag) fail('the base is not what is stored');
        if (file.stored !== saved.content) fail('the base was not switched');
      }
      doubt = false;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      what.push(`(${error.kind})`);
      if (error.kind === 'precondition-failed') fail('a conflict with nobody');
      doubt = true;
    }
  };

  /** Changes the file and the model alike, or, where bytes that it needs cannot be had back now, neither. */
  const change = async (task: () => unknown, then: () => void): Promise<void> => {
    try {
      await task();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      what.push(`(${error.kind})`);
      if (!file.hasSentRanges) fail(`${error.message}, though all is at hand`);
      return;
    }
    then();
  };
  const place = (): number => {
    if (sequential && random.below(8) > 0) return model.bytes.length < MAX_SIZE ? model.bytes.length : 0;
    const kind = random.below(4);
    if (kind === 0) return model.bytes.length;
    if (kind === 1) return Math.floor(random.below(MAX_SIZE) / (32 * KIB)) * 32 * KIB;
    return random.below(Math.max(1, model.bytes.length));
  };
  const length = (): number => [1, 100, 4096, 5000, 33 * KIB, 150 * KIB][random.below(6)]! * (1 + random.below(2));

  for (let step = 0; step < operations; step++) {
    const kind = random.below(100);
    if (kind < 40) {
      const offset = Math.min(place(), MAX_SIZE);
      const data = pattern(Math.min(length(), MAX_SIZE - offset), ++tag);
      what.push(`write ${offset}+${data.length}`);
      if (random.below(8) === 0) {
        const at = await file.append(data);
        if (at !== model.bytes.length) fail(`appended at ${at}`);
        model.write(at, data);
      } else {
        await change(
          () => file.write(offset, data),
          () => {
            if (data.length > 0) model.write(offset, data);
          },
        );
      }
      data.fill(0xee);
    } else if (kind < 48) {
      const size = random.below(3) === 0 ? random.below(MAX_SIZE) : Math.min(MAX_SIZE, place());
      what.push(`truncate ${size}`);
      await change(
        () => file.truncate(size),
        () => model.truncate(size),
      );
    } else if (kind < 54) {
      const offset = place();
      const bytes = length();
      what.push(`zero ${offset}+${bytes}`);
      await change(
        () => file.zero(offset, bytes),
        () => model.zero(offset, bytes),
      );
    } else if (kind < 55) {
      const whole = random.below(2) === 0;
      if (whole && random.below(2) === 0) {
        file.reset();
        model.truncate(0);
      }
      const from = whole ? Math.min(model.bytes.length, source.bytes.length) : random.below(source.bytes.length);
      const to = whole ? from : place();
      const bytes = Math.max(0, Math.min(random.below(3) === 0 ? length() : 400 * KIB, MAX_SIZE - to));
      what.push(`copy from the other ${from}→${to}+${bytes}`);
      try {
        const copied = await file.copyRange(source.file, from, to, bytes);
        const expected = Math.min(bytes, source.bytes.length - from);
        if (copied > expected || (copied === 0 && expected > 0)) fail(`copied ${copied} instead of ${expected}`);
        if (copied > 0) model.write(to, source.bytes.slice(from, from + copied));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        what.push(`(${error.kind})`);
      }
    } else if (kind < 56) {
      what.push('the other is replaced');
      const bytes = pattern(random.below(400 * KIB) + 1, ++tag);
      try {
        await source.file.stored!.leave(async () => {
          source.file.reset();
          await source.file.write(0, bytes);
          source.bytes = bytes.slice();
          await source.file.save();
        });
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        what.push(`(${error.kind})`);
        // Nobody refers to it where it stays as it was; where it is unsaved the next one saves it.
      }
    } else if (kind < 57) {
      const from = random.below(model.bytes.length + 1);
      const to = random.below(MAX_SIZE);
      const bytes = Math.min(length(), Math.abs(to - from), MAX_SIZE - to);
      what.push(`copy ${from}→${to}+${bytes}`);
      try {
        const copied = await file.copyRange(file, from, to, bytes);
        const expected = Math.min(bytes, model.bytes.length - from);
        // Fewer where a request failed after the first step.
        if (copied > expected || (copied === 0 && expected > 0)) fail(`copied ${copied} instead of ${expected}`);
        if (copied > 0) model.write(to, model.bytes.slice(from, from + copied));
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
      }
    } else if (kind < 59) {
      what.push('reset');
      file.reset();
      model.truncate(0);
    } else if (kind < 80) {
      const offset = place();
      const bytes = length();
      what.push(`read ${offset}+${bytes}`);
      const expected = model.bytes.slice(offset, offset + bytes);
      try {
        same(bytesOf(await file.read(offset, bytes)), expected, 'read');
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        what.push(`(${error.kind})`);
      }
    } else if (kind < 90) {
      await settle();
      what.push('save');
      saving = { expected: model.bytes.slice(), done: file.save(), recalls: s.owner.recalls };
      saving.done.catch(() => {});
      if (doubt || s.owner.failed || random.below(2) === 0) await settle();
    } else if (kind < 94) {
      const operation = FAILING[random.below(FAILING.length)]!;
      const error = (['unavailable', 'timeout', 'no-such-upload', 'conflict'] as const)[random.below(4)]!;
      // Only an upload can vanish, and only what writes a whole object meets another that does.
      const possible =
        // Of what was let go nothing would be left: that has a test of its own.
        (error === 'no-such-upload' && !options.keepSent) ||
        (error === 'no-such-upload' && operation !== 'UploadPart' && operation !== 'CompleteMultipartUpload') ||
        (error === 'conflict' && operation !== 'PutObject' && operation !== 'CompleteMultipartUpload')
          ? 'unavailable'
          : error;
      what.push(`fail ${operation}`);
      s.store.failNext(operation, possible, { workDone: possible === 'timeout' && random.below(2) === 0 });
    } else if (kind < 96) {
      what.push('seek');
      const offset = random.below(model.bytes.length + 1);
      const data = file.seek(offset, 'data');
      const end = data ?? model.bytes.length;
      if (model.bytes.subarray(offset, end).some(value => value !== 0)) fail(`data before ${data}`);
    } else if (kind < 98) {
      // A turn or two for what is under way.
      await new Promise(resolve => setImmediate(resolve));
    } else {
      await settle();
      if (!file.unsaved) {
        what.push('reopen');
        const { stored } = file;
        await file.discard();
        file = s.open(stored);
      }
    }
    if (file.size !== model.bytes.length) fail(`size ${file.size} instead of ${model.bytes.length}`);
    if (s.spool.memory.held > s.budget.used) fail('more is held than the budget knows of');
  }
  await settle();
  for (let tries = 0; file.unsaved; tries++) {
    if (tries > 20) fail('nothing can be saved any more');
    saving = { expected: model.bytes.slice(), done: file.save(), recalls: s.owner.recalls };
    await settle();
  }
  if (s.store.bytes(s.target.key)) same(s.store.bytes(s.target.key)!, model.bytes, 'at the end');
  let read: Uint8Array = new Uint8Array(0);
  for (let tries = 0; tries < 10; tries++) {
    try {
      read = bytesOf(await file.read(0, model.bytes.length));
      break;
    } catch {}
  }
  same(read, model.bytes, 'read at the end');
  await file.discard();
  if (source.file.stored!.borrowers.size > 0) fail('a discarded file refers to another');
  await source.file.discard();
  if (s.store.keys().some(key => key.startsWith('aside/'))) fail('an object of zeros was left');
  if (s.spool.memory.held !== 0) fail(`${s.spool.memory.held} bytes are still held`);
  if (s.spool.used !== 0) fail(`${s.spool.used} bytes are still spooled`);
  return s;
}

t.test('with memory to spare', async t => {
  for (let seed = 1; seed <= 5; seed++) await run(t, seed, 800, { clock: eager, keepSent: true });
  t.pass();
});

t.test('with so little memory that most of the file is spooled', async t => {
  for (let seed = 101; seed <= 105; seed++) await run(t, seed, 800, { clock: eager, budget: 2 * MIB, keepSent: true });
  t.pass();
});

t.test('with one PUT for everything', async t => {
  const sizes = { singlePut: MIB, part: 512 * KIB, copyPart: MIB, maxCopyPart: MIB, copies: 1, zeros: MIB };
  for (let seed = 201; seed <= 204; seed++)
    await run(t, seed, 800, { clock: eager, sizes, budget: 3 * MIB, keepSent: true });
  t.pass();
});

t.test('with parts that leave memory once they were sent', async t => {
  let recalls = 0;
  const limits = [MIB, 1.25 * MIB, 1.5 * MIB];
  for (let seed = 301; seed <= 306; seed++) {
    const options = { clock: eager, budget: limits[seed % 3]! };
    const s = await run(t, seed, 800, options, { sequential: true });
    recalls += s.owner.recalls;
  }
  t.ok(recalls > 5, `${recalls} times bytes were wanted back`);
});

t.test('with parts of whole blocks that leave memory once they were sent', async t => {
  let recalls = 0;
  const sizes = {
    singlePut: 200 * KIB,
    part: 128 * KIB,
    copyPart: 256 * KIB,
    maxCopyPart: 512 * KIB,
    copies: 2,
    zeros: MIB,
  };
  for (let seed = 401; seed <= 405; seed++) {
    const s = await run(t, seed, 600, { clock: eager, sizes, budget: 1.25 * MIB }, { sequential: true });
    recalls += s.owner.recalls;
  }
  t.ok(recalls > 2, `${recalls} times bytes were wanted back`);
});
