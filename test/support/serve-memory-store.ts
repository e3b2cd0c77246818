/**
 * A child process that serves the real filesystem over a store in memory, on a real mount: for conformance runs that want
 * the kernel but no network. Arguments: mount point, options of the filesystem as JSON (may be left out).
 */

import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { Budget } from '../../src/cache/budget.ts';
import { Spool } from '../../src/cache/spool.ts';
import { UnsavedMemory } from '../../src/cache/unsaved-memory.ts';
import { systemClock } from '../../src/concurrency.ts';
import { S3FileSystem } from '../../src/fs/filesystem.ts';
import { DevFuseBinding } from '../../src/fuse/dev-fuse-binding.ts';
import { observed } from '../../src/fuse/observed.ts';
import { Counters, type Log } from '../../src/telemetry.ts';
import { DEFAULT_OPTIONS } from './filesystem.ts';
import { MemoryStore } from './memory-store.ts';

const [mountPoint, given = '{}'] = process.argv.slice(2);
const say = (fields: object, message: string): void => console.error(message, fields);
const verbose = process.env['VERBOSE'] !== undefined;
const log: Log = { debug: verbose ? say : () => {}, info: () => {}, warn: say, error: say };
const telemetry = new Counters(log);
const uid = process.getuid!();
const gid = process.getgid!();
const store = new MemoryStore();
const budget = new Budget(256 * 1024 * 1024);
const pool = new BlockPool();
const filesystem = new S3FileSystem({
  store,
  blocks: new BlockCache({ store, budget, pool, telemetry, clock: systemClock }),
  budget,
  pool,
  spool: new Spool(new UnsavedMemory(budget, pool), {}),
  telemetry,
  clock: systemClock,
  notifier: undefined,
  options: { ...DEFAULT_OPTIONS, mounterUid: uid, mounterGid: gid, allowOther: true, ...JSON.parse(given) },
  mimeTypes: '',
});
const binding = new DevFuseBinding({
  telemetry,
  uid,
  gid,
  onBug: error => console.error('bug', error),
});
const mounted = await binding.mount(observed(filesystem, telemetry), {
  mountPoint: mountPoint!,
  fsname: 'memory',
  subtype: 's3mount',
  readOnly: false,
  allowOther: true,
  defaultPermissions: true,
  kernelOptions: ['suid', 'dev'],
  posixAcl: false,
});
console.log('mounted');
process.on('SIGTERM', () => {
  filesystem.drain().then(() => mounted.unmount({ lazy: true }));
});
await mounted.ended;
await filesystem.destroy();
process.exit(0);
