import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import t from 'tap';
import type { BlockCache } from '../../src/cache/block-cache.ts';
import { DiskTier, type DiskTierOptions } from '../../src/cache/disk-tier.ts';
import type { StoredContent } from '../../src/cache/stored-content.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { DirectoryTierDisk, prepareTierDirectory, type TierDisk } from '../../src/cache/tier-disk.ts';
import { systemClock } from '../../src/concurrency.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { bytesOf, setup } from '../support/block-cache.ts';
import { makeFileSystem } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { patternBytes, settle } from '../support/manual-store.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { MemoryTierDisk } from '../support/tier-disk.ts';

const MIB = 1024 * 1024;

function tierOn(disk: TierDisk, options: Partial<DiskTierOptions> = {}): DiskTier {
  return new DiskTier({
    disk,
    scope: 'here\0bucket\0',
    limitBytes: 64 * MIB,
    minFreeBytes: 0,
    minFreeShare: 0,
    telemetry: silentTelemetry,
    clock: systemClock,
    fileBytes: MIB,
    ...options,
  });
}

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 's3mount-tier-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function readAll(cache: BlockCache, content: StoredContent): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let at = 0; at < content.size; at += MIB) {
    const reply = await cache.read(content, at, MIB);
    pieces.push(bytesOf(reply));
    reply.release?.();
  }
  return Buffer.concat(pieces);
}

/** What waits for the disk is on it. */
async function written(clock: ManualClock): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await clock.advance(200);
    await settle();
  }
}

t.test('what was read once is there after a restart: not one GET', async t => {
  const path = await prepareTierDirectory(join(directory(t), 'cache'), false);
  const store = new MemoryStore();
  const body = patternBytes(5 * MIB + 1234);
  const version = store.putForeign('a', body);
  const first = setup(store, 64 * MIB, { tier: tierOn(new DirectoryTierDisk(path)) });
  t.ok((await readAll(first.cache, first.cache.contentOf(version))).equals(body));
  await first.cache.close();
  const before = store.count('GetObject');
  const tier = tierOn(new DirectoryTierDisk(path));
  await tier.start();
  const second = setup(store, 64 * MIB, { tier });
  const content = second.cache.contentOf(version);
  t.ok(second.cache.isLocal(content, 0));
  t.ok((await readAll(second.cache, content)).equals(body));
  t.equal(store.count('GetObject'), before);
  t.equal(tier.stats.hitBytes, body.length);
  t.equal(second.cache.stats.demandRequests, 0);
  const other = second.cache.contentOf(store.putForeign('a', patternBytes(body.length, 2)));
  t.notOk(second.cache.isLocal(other, 0), 'another version is another content');
  await second.cache.close();
});

t.test('remounted, a file is opened by one HEAD and read from the disk', async t => {
  const path = await prepareTierDirectory(directory(t), true);
  const body = patternBytes(3 * MIB);
  const tier = tierOn(new DirectoryTierDisk(path));
  const one = makeFileSystem({ tier });
  one.store.putForeign('d/a', body);
  t.ok((await one.kernel.readFile('/d/a')).equals(body));
  await one.kernel.writeFile('/d/written', patternBytes(MIB, 3));
  await one.kernel.rename('/d/written', '/d/renamed');
  await one.filesystem.destroy();
  const gets = one.store.count('GetObject');
  const again = tierOn(new DirectoryTierDisk(path));
  await again.start();
  const two = one.remount({}, again);
  t.ok((await two.kernel.readFile('/d/a')).equals(body));
  t.ok(
    (await two.kernel.readFile('/d/renamed')).equals(patternBytes(MIB, 3)),
    'what this mount wrote, under its new name',
  );
  t.equal(two.store.count('GetObject'), gets, 'no GET at all');
  await two.filesystem.destroy();
});

t.test('what is not to be trusted is not found any more, by nobody', async t => {
  const path = await prepareTierDirectory(join(directory(t), 'cache'), false);
  const store = new MemoryStore();
  const body = patternBytes(2 * MIB);
  const version = store.putForeign('a', body);
  const tier = tierOn(new DirectoryTierDisk(path));
  const first = setup(store, 64 * MIB, { tier });
  const content = first.cache.contentOf(version);
  await readAll(first.cache, content);
  t.ok(tier.has(content, 0) || first.cache.has(content, 0));
  tier.distrust(content);
  t.notOk(tier.has(content, 0));
  await first.cache.close();
  const again = tierOn(new DirectoryTierDisk(path));
  await again.start();
  const second = setup(store, 64 * MIB, { tier: again });
  t.notOk(again.has(second.cache.contentOf(version), 0), 'nor after a restart');
  t.ok((await readAll(second.cache, second.cache.contentOf(version))).equals(body));
  await second.cache.close();
  const third = tierOn(new DirectoryTierDisk(path));
  await third.start();
  t.ok(third.has(setup(store, 64 * MIB, { tier: third }).cache.contentOf(version), 0), 'what came later is found');
  await third.close();
});

t.test('two mounts share what each has fetched', async t => {
  const clock = new ManualClock();
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const body = patternBytes(2 * MIB);
  const version = store.putForeign('a', body);
  const tiers = [tierOn(disk, { clock }), tierOn(disk, { clock })];
  for (const tier of tiers) await tier.start();
  const [one, two] = tiers.map(tier => setup(store, 64 * MIB, { tier }));
  await readAll(one!.cache, one!.cache.contentOf(version));
  await written(clock);
  const content = two!.cache.contentOf(version);
  t.notOk(two!.cache.isLocal(content, 0), 'not known here yet');
  await clock.advance(2000);
  await settle();
  t.ok(two!.cache.isLocal(content, 0), 'it looks when something was missing');
  const gets = store.count('GetObject');
  t.ok((await readAll(two!.cache, content)).equals(body));
  t.equal(store.count('GetObject'), gets);
});

t.test('the bound holds at every moment, for all mounts together', async t => {
  const clock = new ManualClock();
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const limitBytes = 6 * MIB;
  const tiers = [tierOn(disk, { clock, limitBytes }), tierOn(disk, { clock, limitBytes })];
  const mounts = tiers.map(tier => setup(store, 16 * MIB, { tier }));
  for (let i = 0; i < 20; i++) {
    const version = store.putForeign(`f${i}`, patternBytes(MIB, i));
    await readAll(mounts[i % 2]!.cache, mounts[i % 2]!.cache.contentOf(version));
    await written(clock);
  }
  t.ok(disk.peak <= limitBytes, `${disk.peak} bytes at the most`);
  t.ok(disk.peak >= 3 * MIB, 'and it was used');
  // What was fetched last by each is there; the first is not.
  const content = mounts[1]!.cache.contentOf({ ...store.putForeign('f19', patternBytes(MIB, 19)) });
  t.ok(content.size === MIB);
});

t.test('a scan passes through; what is read again and again stays', async t => {
  const clock = new ManualClock();
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const tier = tierOn(disk, { clock, limitBytes: 8 * MIB });
  const hot = store.putForeign('hot', patternBytes(MIB / 2));
  // Each with memory of its own: only the tier remembers.
  const read = async (version: typeof hot): Promise<number> => {
    const before = store.count('GetObject');
    const { cache } = setup(store, 16 * MIB, { tier });
    await readAll(cache, cache.contentOf(version));
    await written(clock);
    return store.count('GetObject') - before;
  };
  t.ok((await read(hot)) > 0);
  let fetched = 0;
  for (let i = 0; i < 40; i++) {
    await read(store.putForeign(`scan${i}`, patternBytes(MIB, i)));
    if (i % 3 === 0) fetched += await read(hot);
  }
  t.equal(fetched, 0, '40 MiB went through 8 MiB');
});

t.test('a damaged block is missing, and fetched', async t => {
  const path = await prepareTierDirectory(directory(t), true);
  const store = new MemoryStore();
  const body = patternBytes(4 * BLOCK_SIZE);
  const version = store.putForeign('a', body);
  const first = setup(store, 64 * MIB, { tier: tierOn(new DirectoryTierDisk(path)) });
  await readAll(first.cache, first.cache.contentOf(version));
  await first.cache.close();
  const blocks = join(path, readdirSync(path).find(name => name.endsWith('.blocks'))!);
  const bytes = readFileSync(blocks);
  bytes[32 + (BLOCK_SIZE + 32) + 500] = bytes[32 + (BLOCK_SIZE + 32) + 500]! ^ 1;
  writeFileSync(blocks, bytes.subarray(0, bytes.length - 100));
  const tier = tierOn(new DirectoryTierDisk(path));
  await tier.start();
  const second = setup(store, 64 * MIB, { tier });
  const gets = store.count('GetObject');
  t.ok((await readAll(second.cache, second.cache.contentOf(version))).equals(body));
  t.equal(tier.stats.failedBlocks, 1, 'the flipped bit');
  t.equal(store.count('GetObject'), gets + 1, 'one GET for the rest of that run');
  await second.cache.close();
});

t.test('a file that another mount has replaced answers nothing wrong', async t => {
  const clock = new ManualClock();
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const a = store.putForeign('a', patternBytes(MIB / 2, 1));
  const b = store.putForeign('b', patternBytes(MIB / 2, 2));
  const tier = tierOn(disk, { clock });
  const { cache } = setup(store, 16 * MIB, { tier });
  await readAll(cache, cache.contentOf(a));
  await written(clock);
  const reader = tierOn(disk, { clock });
  await reader.start();
  // Number 0 goes, and another mount takes it.
  await disk.remove(0);
  const other = setup(store, 16 * MIB, { tier: tierOn(disk, { clock }) });
  await readAll(other.cache, other.cache.contentOf(b));
  await written(clock);
  const late = setup(store, 16 * MIB, { tier: reader });
  t.ok(late.cache.isLocal(late.cache.contentOf(a), 0), 'as far as it knows');
  t.ok((await readAll(late.cache, late.cache.contentOf(a))).equals(patternBytes(MIB / 2, 1)));
});

t.test('a disk that hangs delays three reads by a fifth of a second, and none after them', async t => {
  const clock = new ManualClock();
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const body = patternBytes(MIB);
  const version = store.putForeign('a', body);
  const first = setup(store, 16 * MIB, { tier: tierOn(disk, { clock }) });
  await readAll(first.cache, first.cache.contentOf(version));
  await written(clock);
  const tier = tierOn(disk, { clock });
  await tier.start();
  let release = (): void => {};
  disk.hold = new Promise(resolve => {
    release = resolve;
  });
  const mounts = [1, 2, 3].map(() => setup(store, 16 * MIB, { tier }));
  const gets = store.count('GetObject');
  for (const [i, { cache }] of mounts.entries()) {
    const reading = readAll(cache, cache.contentOf(version));
    await settle();
    t.equal(store.count('GetObject'), gets + i);
    await clock.advance(200);
    t.ok((await reading).equals(body));
    t.equal(store.count('GetObject'), gets + i + 1);
  }
  const { cache } = setup(store, 16 * MIB, { tier });
  t.notOk(cache.isLocal(cache.contentOf(version), 0), 'it is left alone for a while');
  await clock.advance(10_000);
  t.ok(cache.isLocal(cache.contentOf(version), 0), 'and tried again');
  release();
  await settle();
  for (const { pool, budget } of mounts) t.equal(pool.taken, budget.used, 'what came too late has touched nothing');
});

t.test('a full disk and a failing one fail nothing', async t => {
  const clock = new ManualClock();
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const tier = tierOn(disk, { clock, minFreeBytes: 100 * MIB, minFreeShare: 0.1 });
  const { cache } = setup(store, 16 * MIB, { tier });
  const read = async (key: string): Promise<void> => {
    const body = patternBytes(MIB / 2, key.length);
    t.ok((await readAll(cache, cache.contentOf(store.putForeign(key, body)))).equals(body));
    await written(clock);
  };
  await tier.start();
  await read('a');
  t.ok(disk.used > MIB / 2);
  await read('bb');
  await read('ccc');
  // Others fill the disk: what is cached makes room, and nothing is added.
  disk.total = 1000 * MIB;
  disk.foreign = disk.total - 100 * MIB - disk.used;
  const full = disk.used;
  await clock.advance(10_000);
  await settle();
  t.ok(disk.used <= full);
  await read('dddd');
  t.ok(disk.total - disk.foreign - disk.used >= 100 * MIB, 'what was to stay free is free');
  disk.foreign = 0;
  disk.failWrites = true;
  await clock.advance(10_000);
  await read('eeeee');
  t.ok(tier.stats.droppedBytes > 0);
  disk.failWrites = false;
  await clock.advance(10_000);
  const before = tier.stats.writtenBytes;
  await read('ffffff');
  t.ok(tier.stats.writtenBytes > before, 'when the disk works again it is used again');
});

t.test('whose directory it is', async t => {
  const parent = directory(t);
  await t.rejects(prepareTierDirectory(join(parent, 'missing'), true), { code: 'ENOENT' });
  const path = await prepareTierDirectory(join(parent, 'new'), false);
  t.equal(lstatSync(path).mode & 0o777, 0o700);
  t.equal(lstatSync(join(parent, 'new')).mode & 0o777, 0o700);
  const disk = new DirectoryTierDisk(path);
  const pair = await disk.claim(0, Buffer.alloc(32));
  await pair!.close();
  t.equal(await disk.claim(0, Buffer.alloc(32)), undefined, 'one process only');
  t.same(
    readdirSync(path).map(name => lstatSync(join(path, name)).mode & 0o777),
    [0o600, 0o600],
  );
  const target = join(parent, 'precious');
  writeFileSync(target, 'mine');
  symlinkSync(target, join(path, '000001.blocks'));
  t.equal(await disk.claim(1, Buffer.alloc(32)), undefined, 'a link is not written through');
  await t.rejects(disk.open(1), { code: 'ELOOP' });
  t.equal(readFileSync(target, 'utf8'), 'mine');
  chmodSync(path, 0o755);
  await t.rejects(prepareTierDirectory(join(parent, 'new'), true), /open to others/);
  chmodSync(path, 0o700);
  renameSync(path, join(parent, 'moved'));
  symlinkSync(join(parent, 'moved'), path);
  await t.rejects(prepareTierDirectory(join(parent, 'new'), true), /no directory/);
  mkdirSync(join(parent, 'other'));
});

t.test('del_cache: nothing is there at the start nor at the end', async t => {
  const disk = new MemoryTierDisk();
  const store = new MemoryStore();
  const version = store.putForeign('a', patternBytes(MIB / 2));
  const first = setup(store, 16 * MIB, { tier: tierOn(disk) });
  await readAll(first.cache, first.cache.contentOf(version));
  await first.cache.close();
  t.ok(disk.used > 0);
  const tier = tierOn(disk, { clearAtEnd: true });
  await tier.clear();
  t.equal(disk.used, 0);
  const second = setup(store, 16 * MIB, { tier });
  await readAll(second.cache, second.cache.contentOf(version));
  await second.cache.close();
  t.equal(disk.used, 0);
});
