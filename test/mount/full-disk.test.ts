/** A local disk that is full, or fills up under the daemon: reading goes on, writing says so, and close loses nothing. */
import { closeSync, fsyncSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import t from 'tap';
import { aMount, type RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';
import { SmallDisk } from '../support/small-disk.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
/** Small, so that bytes go to the disk soon. */
const MEMORY = 'memory=32MiB';

function reported(mount: RealMount): { places: { spool: { used: number } }; diskCache?: { bytes: number } } {
  return JSON.parse(run('env', mount.commandLine(['status', '--json', mount.dir])));
}

/**
 * Writes every second MiB of a file, so that no part of an upload is ever whole, until a write fails or `most` are written;
 * `at` is called with their number before each. The pieces that were taken, and the error.
 */
function writeInGaps(
  file: number,
  most: number,
  at: (pieces: number) => void,
): { pieces: number; code: string | undefined } {
  for (let pieces = 0; pieces < most; pieces++) {
    at(pieces);
    try {
      writeSync(file, piece(pieces), 0, MIB, pieces * 2 * MIB);
    } catch (error) {
      return { pieces, code: (error as NodeJS.ErrnoException).code };
    }
  }
  return { pieces: most, code: undefined };
}

const piece = (number: number): Buffer => patternBytes(MIB, number + 1);

/** The first piece that is not in the bucket as it was written. */
async function firstWrong(mount: RealMount, key: string, pieces: number): Promise<number | undefined> {
  const object = (await mount.client.get(key))!;
  for (let i = 0; i < pieces; i++) {
    if (!object.subarray(i * 2 * MIB, i * 2 * MIB + MIB).equals(piece(i))) return i;
  }
  return undefined;
}

t.test('cache, index and journal on a disk that fills up: reading and saving go on', async t => {
  const disk = new SmallDisk(t, import.meta.url, 4 * GIB);
  const bytes = patternBytes(33 * MIB, 7);
  const mount = await aMount(t, {
    // To the last byte of it.
    options: `state_dir=${disk.directory},cache_size=256MiB,ensure_diskfree=0,${MEMORY}`,
    prepare: async client => {
      for (const name of ['a', 'b']) await client.put(name, bytes);
      for (let i = 0; i < 20; i++) await client.put(`small/${i}`, String(i));
    },
  });
  t.ok(readFileSync(mount.path('a')).equals(bytes));
  t.ok(reported(mount).diskCache!.bytes > 0, 'some of it is on the disk');
  disk.fill();
  t.throws(() => writeFileSync(`${disk.directory}/more`, 'x'.repeat(5000)), { code: 'ENOSPC' });
  t.ok(readFileSync(mount.path('b')).equals(bytes), 'what is not on the disk');
  t.ok(readFileSync(mount.path('a')).equals(bytes), 'what is there in part');
  const small = Array.from({ length: 20 }, (_, i) => readFileSync(mount.path('small', String(i)), 'utf8'));
  t.same(small, [...small.keys()].map(String));
  writeFileSync(mount.path('ours'), 'saved');
  t.equal(await mount.client.text('ours'), 'saved');
  t.notMatch(mount.log(), /"level":(50|60)/, 'it is no error');
  disk.resize(4 * GIB);
  await mount.remount();
  t.ok(readFileSync(mount.path('a')).equals(bytes), 'what was written last is not torn');
});

t.test('the spool’s disk fills up: write says ENOSPC, close saves what was taken', async t => {
  const disk = new SmallDisk(t, import.meta.url, 4 * GIB);
  const mount = await aMount(t, { options: `state_dir=${disk.directory},${MEMORY}` });
  const file = openSync(mount.path('gaps'), 'w');
  const { pieces, code } = writeInGaps(file, 100, written => {
    // Some 8 MiB are spooled when the disk is full to its last page: the kernel's own ENOSPC, not our limit.
    if (written === 20) disk.fill(MIB);
  });
  t.equal(code, 'ENOSPC');
  t.ok(pieces >= 20 && pieces < 60, `${pieces} MiB were taken`);
  t.ok(reported(mount).places.spool.used > 4 * MIB);
  closeSync(file);
  t.equal(await firstWrong(mount, 'gaps', pieces), undefined, 'each piece that was taken is in the bucket');
  t.equal(reported(mount).places.spool.used, 0);
  disk.resize(4 * GIB);
  const again = openSync(mount.path('again'), 'w');
  t.same(
    writeInGaps(again, 24, () => {}),
    { pieces: 24, code: undefined },
    'there is room again',
  );
  fsyncSync(again);
  closeSync(again);
  t.equal(await firstWrong(mount, 'again', 24), undefined);
});

t.test('a disk with less than 1 GiB free: nothing is spooled, and nothing else needs it', async t => {
  const disk = new SmallDisk(t, import.meta.url, 64 * MIB);
  const mount = await aMount(t, {
    options: `state_dir=${disk.directory},cache_size=256MiB,${MEMORY}`,
    prepare: client => client.put('theirs', patternBytes(3 * MIB, 3)),
  });
  t.ok(readFileSync(mount.path('theirs')).equals(patternBytes(3 * MIB, 3)));
  const file = openSync(mount.path('gaps'), 'w');
  const { pieces, code } = writeInGaps(file, 40, () => {});
  t.equal(code, 'ENOSPC');
  closeSync(file);
  t.equal(await firstWrong(mount, 'gaps', pieces), undefined);
  // In order it goes out in parts, and needs no disk.
  writeFileSync(mount.path('in-order'), patternBytes(24 * MIB, 9));
  t.ok((await mount.client.get('in-order'))!.equals(patternBytes(24 * MIB, 9)));
  t.ok(disk.used < MIB, `${disk.used} bytes`);
});
