import { mkdtempSync, rmSync, statSync, writevSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { isLocalDisk } from '../../src/cache/disk-space.ts';
import { Journal, type JournalOptions } from '../../src/cache/journal.ts';
import { NodeJournalDirectory, QuickCalls } from '../../src/cache/journal-files.ts';
import { encodeRecord, fileHeader, HEADER_BYTES, scanFile } from '../../src/cache/journal-record.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { LossyDisk } from '../support/lossy-disk.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { seededRandom } from '../support/random.ts';

/** Inputs of the fuzzer; millions by FUZZ= for a soak. */
const FUZZ = Number(process.env['FUZZ'] ?? 20_000);
const OWNER = new Uint8Array(32).fill(7);

function options(directory: JournalOptions['directory'], more: Partial<JournalOptions> = {}): JournalOptions {
  const { log } = silentTelemetry;
  return { directory, owner: 'bucket', limit: 1 << 20, sync: 'group', clock: new ManualClock(), log, ...more };
}

const open = (directory: JournalOptions['directory'], more: Partial<JournalOptions> = {}) =>
  Journal.open(options(directory, more));

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve));

/** A file with a record of each body, and where they lie. */
function fileOf(bodies: readonly Uint8Array[], synced?: number): { bytes: Buffer; ends: number[] } {
  const { seed, bytes } = fileHeader(OWNER);
  const parts: Uint8Array[] = [bytes];
  const ends: number[] = [];
  let at = bytes.length;
  bodies.forEach((body, n) => {
    const record = encodeRecord(seed, { t: 'x', n }, [body]);
    parts.push(...record.buffers);
    at += record.length;
    ends.push(at);
    if (n !== synced) return;
    const mark = encodeRecord(seed, { t: 'synced', to: at }, []);
    parts.push(...mark.buffers);
    at += mark.length;
  });
  return { bytes: Buffer.concat(parts), ends };
}

const bodies = fc.array(fc.uint8Array({ maxLength: 700 }), { minLength: 1, maxLength: 8 });

t.test('what was appended is there for the next daemon, in order, with its bodies', async t => {
  const disk = new LossyDisk();
  const { journal, found } = await open(disk);
  t.equal(found.length, 0);
  await Promise.all([
    journal.append([{ meta: { t: 'a' }, body: [Buffer.from('one '), Buffer.from('two')] }, { meta: { t: 'b' } }]),
    journal.append([{ meta: { t: 'c' }, body: [Buffer.from('three')] }]),
  ]);
  const again = await open(disk.now());
  t.same(
    again.found.map(({ meta }) => meta.t),
    ['a', 'b', 'c'],
  );
  t.equal(Buffer.from(await again.journal.body(again.found[0]!.entry)).toString(), 'one two');
  t.equal(Buffer.from(await again.journal.body(again.found[2]!.entry, 2, 2)).toString(), 're');
});

t.test('another bucket’s journal is refused', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk);
  await journal.append([{ meta: { t: 'a' } }]);
  await t.rejects(open(disk, { owner: 'another' }), /belongs to another bucket/);
});

t.test('a reply waits for the sync that it promises', async t => {
  for (const sync of ['group', 'close'] as const) {
    const disk = new LossyDisk();
    const { journal } = await open(disk, { sync });
    await journal.append([{ meta: { t: 'first' } }]);
    let letGo = (): void => {};
    const gate = new Promise<void>(resolve => {
      letGo = resolve;
    });
    disk.before = event => (event === 'sync' ? gate : undefined);
    let isAnswered = false;
    const appended = journal.append([{ meta: { t: 'a' } }]).then(() => {
      isAnswered = true;
    });
    for (let i = 0; i < 5; i++) await turn();
    t.equal(isAnswered, sync === 'group', sync);
    letGo();
    await appended;
  }
});

t.test('in groups everything is synced within a second', async t => {
  const disk = new LossyDisk();
  const clock = new ManualClock();
  const { journal } = await open(disk, { clock });
  await journal.append([{ meta: { t: 'a' } }]);
  const before = disk.events.length;
  await clock.advance(1000);
  t.ok(disk.events.slice(before).some(({ kind }) => kind === 'sync'));
  await journal.append([{ meta: { t: 'b' } }]);
  await clock.advance(1000);
  const { found } = await open(disk.after(disk.events.length, () => 0.4));
  t.same(
    found.map(({ meta }) => meta.t).filter(type => type !== 'synced'),
    ['a', 'b'],
  );
});

t.test('it is bounded: who finds no room hears of it, and what is done gives its room back', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk, { limit: 256 * 1024 });
  const body = [new Uint8Array(10_000)];
  const entries = [];
  while (journal.hasRoom(10_512)) entries.push(...(await journal.append([{ meta: { t: 'a' }, body }])));
  t.ok(entries.length > 15);
  await t.rejects(journal.append([{ meta: { t: 'a' }, body }]), { code: 'ENOSPC' });
  for (const entry of entries) {
    journal.note({ t: 'done' });
    journal.release(entry);
  }
  for (let i = 0; i < 50; i++) await turn();
  t.ok(disk.used < 64 * 1024, `${disk.used} bytes are left`);
  t.ok(journal.hasRoom(10_512));
  t.ok(disk.used <= 256 * 1024);
});

t.test('what is still needed does not keep the rest: it is written once more', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk, { limit: 256 * 1024 });
  const [stuck] = await journal.append([{ meta: { t: 'stuck' }, body: [Buffer.from('precious')] }]);
  for (let i = 0; i < 200; i++) {
    if (!journal.hasRoom(5000)) await turn();
    const [entry] = await journal.append([{ meta: { t: 'a', i }, body: [new Uint8Array(4000)] }]);
    journal.release(entry!);
  }
  t.equal(Buffer.from(await journal.body(stuck!)).toString(), 'precious');
  const { found, journal: next } = await open(disk.now(), { limit: 256 * 1024 });
  const again = found.filter(({ meta }) => meta.t === 'stuck');
  t.equal(again.length, 1);
  t.equal(Buffer.from(await next.body(again[0]!.entry)).toString(), 'precious');
});

t.test('a disk that fails to sync is not trusted any more', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk, { sync: 'close' });
  await journal.append([{ meta: { t: 'a' } }]);
  disk.before = event => {
    if (event === 'sync') throw new Error('EIO');
  };
  await t.rejects(journal.append([{ meta: { t: 'b' } }]), { code: 'EIO' });
  disk.before = () => {};
  await t.rejects(journal.append([{ meta: { t: 'c' } }]), { code: 'EIO' });
  t.notOk(journal.hasRoom(1));
});

t.test('a full disk is ENOSPC, and the journal goes on when there is room again', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk);
  await journal.append([{ meta: { t: 'a' } }]);
  disk.before = event => {
    if (event === 'write') throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
  };
  await t.rejects(journal.append([{ meta: { t: 'b' } }]), { code: 'ENOSPC' });
  disk.before = () => {};
  await journal.append([{ meta: { t: 'c' } }]);
  const { found } = await open(disk.now());
  t.same(
    found.map(({ meta }) => meta.t),
    ['a', 'c'],
  );
});

t.test('an end with nothing left leaves nothing behind', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk);
  const [entry] = await journal.append([{ meta: { t: 'a' } }]);
  journal.release(entry!);
  await journal.close();
  t.same(await disk.list(), []);
});

t.test('power cut: after every prefix of a history all that was promised is found, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(3000), { minLength: 1, maxLength: 12 }), fc.integer(), async (sizes, seed) => {
      const disk = new LossyDisk();
      const { journal } = await open(disk, { sync: 'close', limit: 64 * 1024 });
      const promised: { readonly n: number; readonly at: number; released?: number }[] = [];
      const random = seededRandom(seed);
      for (const [n, size] of sizes.entries()) {
        const [entry] = await journal.append([{ meta: { t: 'x', n }, body: [new Uint8Array(size).fill(n)] }]);
        const record: (typeof promised)[number] = { n, at: disk.events.length };
        promised.push(record);
        if (random() < 0.5) {
          record.released = disk.events.length;
          journal.release(entry!);
        }
      }
      for (let count = 0; count <= disk.events.length; count++) {
        const { journal: next, found } = await open(disk.after(count, random), { limit: 64 * 1024 });
        const numbers = found.filter(({ meta }) => meta.t === 'x').map(({ meta }) => meta['n'] as number);
        for (const { n, at, released } of promised) {
          if (at <= count && (released === undefined || released > count)) {
            if (!numbers.includes(n)) throw new Error(`record ${n} is gone after ${count} events`);
          }
        }
        for (const { meta, entry } of found) {
          if (meta.t !== 'x') continue;
          const body = await next.body(entry);
          if (!body.every(byte => byte === meta['n'])) throw new Error('a body is torn');
        }
      }
    }),
    { numRuns: 40 },
  );
});

t.test('a record beyond a gap that was not synced is not believed, now or by the daemon after the next', async t => {
  const { bytes, ends } = fileOf([Buffer.from('a'), Buffer.from('b'), Buffer.from('c')], 0);
  const gap = Buffer.from(bytes);
  // The second record, behind the mark that says that the first is synced.
  gap.fill(0, ends[1]! - 10, ends[1]!);
  const scanned = scanFile(gap, true);
  t.same(
    scanned.records.filter(({ offset }) => offset < scanned.end).map(({ meta }) => meta['n'] ?? meta.t),
    [0, 'synced'],
  );
  t.equal(scanFile(gap, false).end, gap.length, 'in a file with a successor it is rot, and the rest counts');
});

t.test('what was believed stays believed over restarts', async t => {
  const disk = new LossyDisk();
  const first = await open(disk);
  await first.journal.append([{ meta: { t: 'a' } }]);
  await first.journal.append([{ meta: { t: 'lost', fill: 'x'.repeat(100) } }]);
  await first.journal.append([{ meta: { t: 'beyond' } }]);
  const bytes = Buffer.from(await disk.readAll('00000001.journal'));
  disk.damage('00000001.journal', bytes.indexOf('xxxxx'), Buffer.from('yyyy'));
  const types = (found: readonly { meta: { t: string } }[]): string[] => found.map(({ meta }) => meta.t);
  const second = await open(disk);
  t.same(types(second.found), ['a']);
  await second.journal.append([{ meta: { t: 'b' } }]);
  const third = await open(disk.now());
  t.same(
    types(third.found).filter(type => type !== 'ended'),
    ['a', 'b'],
  );
  t.ok(
    (await disk.list()).some(name => name.endsWith('.damaged')),
    'a copy is kept for a person',
  );
});

t.test('damage in one place of what was synced costs the records there and no other', async () => {
  fc.assert(
    fc.property(bodies, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 600 }), (all, place, damage) => {
      const { bytes, ends } = fileOf(all, all.length - 1);
      const at = HEADER_BYTES + (place % (ends.at(-1)! - HEADER_BYTES));
      const damaged = Buffer.from(bytes);
      damaged.set(damage.subarray(0, bytes.length - at), at);
      const found = new Set(scanFile(damaged, false).records.map(({ meta }) => meta['n']));
      ends.forEach((end, n) => {
        const start = n === 0 ? HEADER_BYTES : ends[n - 1]!;
        const isHit = at < end && at + damage.length > start;
        if (!isHit && !found.has(n)) throw new Error(`record ${n} is gone`);
      });
    }),
    { numRuns: 2000 },
  );
});

t.test('fuzz: of whatever bytes it makes no record that was not written', async () => {
  fc.assert(
    fc.property(
      bodies,
      fc.array(fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 40 })), { maxLength: 6 }),
      fc.option(fc.nat()),
      fc.boolean(),
      (all, damages, cut, isLast) => {
        const { bytes } = fileOf(all, 0);
        const mutated = Buffer.from(bytes.subarray(0, cut === null ? bytes.length : cut % bytes.length));
        for (const [place, damage] of damages) {
          const at = mutated.length === 0 ? 0 : place % mutated.length;
          mutated.set(damage.subarray(0, mutated.length - at), at);
        }
        for (const { meta, offset, length, bodyLength } of scanFile(mutated, isLast).records) {
          if (meta.t === 'synced') continue;
          const body = mutated.subarray(offset + length - bodyLength, offset + length);
          if (!body.equals(Buffer.from(all[meta['n'] as number]!))) throw new Error('a record that nobody wrote');
        }
      },
    ),
    { numRuns: FUZZ },
  );
});

t.test('a journal within a file is not taken for one', async t => {
  const inner = fileOf([Buffer.from('forged')]).bytes;
  const { bytes, ends } = fileOf([inner, Buffer.from('real')], 1);
  // The record around it is damaged: what is inside must not come to light.
  bytes[HEADER_BYTES + 8] = bytes[HEADER_BYTES + 8]! ^ 1;
  const { records } = scanFile(bytes, false);
  t.same(
    records.map(({ meta }) => meta['n'] ?? meta.t),
    [1, 'synced'],
  );
  t.ok(ends.length === 2);
});

t.test('on a real disk: for its owner only, and there for the next one', async t => {
  const path = mkdtempSync(join(tmpdir(), 's3mount-journal-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  const directory = new NodeJournalDirectory(join(path, 'new'));
  const { journal } = await open(directory, { sync: 'close' });
  const body = Array.from({ length: 3000 }, (_, i) => Buffer.from(`${i} `));
  await journal.append([{ meta: { t: 'a' }, body }]);
  t.equal(statSync(join(path, 'new')).mode & 0o777, 0o700);
  t.equal(statSync(join(path, 'new/00000001.journal')).mode & 0o777, 0o600);
  await journal.close();
  const again = await open(directory);
  t.equal(Buffer.from(await again.journal.body(again.found[0]!.entry)).toString(), body.join(''));
  await again.journal.close();
});

t.test('small writes are done at once until the disk makes one wait', async t => {
  let now = 0;
  const quick = new QuickCalls(() => now);
  const take = (ms: number): void =>
    quick.run(() => {
      now += ms;
    });
  t.ok(quick.allow(4096));
  t.notOk(quick.allow(1024 * 1024), 'large ones go to the thread pool');
  take(1);
  t.ok(quick.allow(4096));
  take(200);
  t.notOk(quick.allow(4096), 'others than the writer would wait');
  now += 9999;
  t.notOk(quick.allow(4096));
  now += 1;
  t.ok(quick.allow(4096));
  t.throws(() => quick.run(() => writevSync(-1, [Buffer.alloc(1)])), { code: 'ERR_OUT_OF_RANGE' });
});

t.test('while a sync takes long, and where the disk is another machine’s, the pool writes', async t => {
  let now = 0;
  const quick = new QuickCalls(() => now);
  let done!: () => void;
  const syncing = quick.sync(
    () =>
      new Promise(resolve => {
        done = resolve;
      }),
  );
  now = 19;
  t.ok(quick.allow(10), 'most are over soon');
  now = 20;
  t.notOk(quick.allow(10), 'a disk that hangs is met by a sync');
  done();
  await syncing;
  t.ok(quick.allow(10));
  await t.rejects(
    quick.sync(() => Promise.reject(new Error('EIO'))),
    /EIO/,
  );
  t.ok(quick.allow(10));
  quick.isLocal = false;
  t.notOk(quick.allow(10));
  t.equal(await isLocalDisk(tmpdir()), true);
});

for (const sync of ['group', 'close'] as const) {
  t.test(`${sync}: a sync that begins during a write does not count for it`, async t => {
    const disk = new LossyDisk();
    const clock = new ManualClock();
    const { journal } = await open(disk, { clock, sync, limit: 1 << 24 });
    await journal.append([{ meta: { t: 'a' } }], { unsynced: true });
    let goOn!: () => void;
    disk.before = event => {
      if (event !== 'write') return;
      return new Promise<void>(resolve => {
        goOn = resolve;
      });
    };
    const appended = journal.append([{ meta: { t: 'b' }, body: [new Uint8Array(100_000)] }]);
    await turn();
    disk.before = () => {};
    // That of the group: half a second after the first record.
    await clock.advance(1000);
    goOn();
    await appended;
    await journal.sync();
    // What is not synced is lost.
    const left = disk.after(disk.events.length, () => 0.4);
    const { found } = await open(left);
    t.same(
      found.map(({ meta }) => meta.t),
      ['a', 'b'],
      'a power cut takes nothing that was promised',
    );
  });
}

for (const sync of ['group', 'close'] as const) {
  t.test(`${sync}: a sync waits for what was asked for before it, and for nobody who comes later`, async t => {
    const disk = new LossyDisk();
    // Each takes so many turns of the loop: who is answered has asked again before the next batch is done.
    const takes = async (turns: number): Promise<void> => {
      for (let i = 0; i < turns; i++) await turn();
    };
    disk.before = event => takes(event === 'sync' ? 5 : 2);
    const { journal } = await open(disk, { sync, limit: 1 << 24 });
    let isOver = false;
    const program = async (begin: number): Promise<void> => {
      await takes(begin);
      while (!isOver) {
        await journal.append([{ meta: { t: 'x' } }], { unsynced: sync === 'group' });
        await turn();
      }
    };
    const programs = [program(0), program(1)];
    await takes(50);
    const begun = disk.events.length;
    const writes = (): number => disk.events.slice(begun).filter(({ kind }) => kind === 'write').length;
    const synced = journal.sync().then(writes);
    for (let i = 0; i < 500; i++) await turn();
    isOver = true;
    await Promise.all(programs);
    const after = await synced;
    t.ok(after <= (sync === 'close' ? 3 : 5), `it is safe after ${after} batches, of ${writes()}`);
  });
}

t.test('whoever asks during a sync shares the next one, also while others write', async t => {
  const disk = new LossyDisk();
  const { journal } = await open(disk);
  await journal.append([{ meta: { t: 'a' } }]);
  const gates: (() => void)[] = [];
  let syncs = 0;
  disk.before = event => {
    if (event !== 'sync') return;
    syncs++;
    return new Promise<void>(resolve => void gates.push(resolve));
  };
  const first = journal.sync();
  await turn();
  await journal.append([{ meta: { t: 'b' } }]);
  const others = Promise.all([journal.sync(), journal.sync(), journal.sync()]);
  gates.shift()!();
  await first;
  await turn();
  await journal.append([{ meta: { t: 'c' } }]);
  gates.shift()!();
  await turn();
  t.equal(syncs, 2, 'what came meanwhile is not theirs');
  for (const letGo of gates) letGo();
  await others;
});
