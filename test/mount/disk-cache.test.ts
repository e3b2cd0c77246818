/** The cache on disk under a real mount: what a remount costs in requests, and that it never costs more than that. */
import { chmodSync, lstatSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { LEAST_FREE } from '../../src/cache/disk-space.ts';
import { aMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';

const MIB = 1024 * 1024;

t.test('a remount reads from the disk: each open asks once whether it is the same, no byte is fetched', async t => {
  const bytes = patternBytes(20 * MIB, 1);
  // In its own state directory: no limit but the default's.
  const mount = await aMount(t, {
    options: 'cache_size=256MiB',
    prepare: async client => {
      await client.put('large', bytes);
      await client.put('small', 'a few bytes');
    },
  });
  const cache = join(mount.directory, 'state/cache', `s3mount-blocks-${process.getuid!()}`);
  t.ok(readFileSync(mount.path('large')).equals(bytes));
  t.equal(readFileSync(mount.path('small'), 'utf8'), 'a few bytes');
  const { disk, diskCache } = JSON.parse(run('env', mount.commandLine(['status', '--json', mount.dir])));
  t.match(disk.cache, { directory: join(mount.directory, 'state/cache'), limit: 256 * MIB });
  t.ok(disk.cache.keepsFree >= LEAST_FREE, 'on the disk of the state directory');
  t.equal(diskCache.limitBytes, 256 * MIB);
  writeFileSync(mount.path('ours'), bytes.subarray(0, 3 * MIB));
  await mount.remount();
  t.equal(statSync(cache).mode & 0o777, 0o700);
  t.ok(readdirSync(cache).every(name => (lstatSync(join(cache, name)).mode & 0o777) === 0o600));
  const requests = await mount.s3.during(() => {
    t.ok(readFileSync(mount.path('large')).equals(bytes));
    t.equal(readFileSync(mount.path('small'), 'utf8'), 'a few bytes');
    t.ok(readFileSync(mount.path('ours')).equals(bytes.subarray(0, 3 * MIB)), 'what was written here');
  });
  t.equal(requests['GetObject'] ?? 0, 0, JSON.stringify(requests));
  t.ok((requests['HeadObject'] ?? 0) <= 6, 'attributes and the check at open, of three files');
  // Another client's version, of the same size.
  await mount.client.put('small', 'other bytes');
  await mount.remount();
  t.equal(readFileSync(mount.path('small'), 'utf8'), 'other bytes');
});

t.test('files of the cache that are cut off or not to be read do no harm', async t => {
  const bytes = patternBytes(4 * MIB, 2);
  const mount = await aMount(t, {
    options: 'cache_size=256MiB',
    prepare: client => client.put('a', bytes),
  });
  const cache = join(mount.directory, 'state/cache', `s3mount-blocks-${process.getuid!()}`);
  t.ok(readFileSync(mount.path('a')).equals(bytes));
  await mount.remount();
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    if (name.endsWith('.blocks')) truncateSync(path, 3 * MIB - 77);
  }
  t.ok(readFileSync(mount.path('a')).equals(bytes), 'half from the disk, half from S3');
  await mount.remount();
  for (const name of readdirSync(cache)) chmodSync(join(cache, name), 0);
  t.ok(readFileSync(mount.path('a')).equals(bytes));
});
