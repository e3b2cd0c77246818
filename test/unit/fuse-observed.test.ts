import t from 'tap';
import { FsError, StoreError } from '../../src/errors.ts';
import { DeviceNotifier } from '../../src/fuse/notifier.ts';
import { observed } from '../../src/fuse/observed.ts';
import type { FileSystemOps, RequestContext } from '../../src/fuse/ops.ts';
import { Counters } from '../../src/telemetry.ts';
import { MemoryFs } from '../support/memory-fs.ts';

const context: RequestContext = { uid: 0, gid: 0, pid: 0, signal: new AbortController().signal };

function setUp(overrides: Partial<FileSystemOps>, trace = false) {
  const lines: string[] = [];
  const log =
    (level: string) =>
    (fields: Readonly<Record<string, unknown>>, message: string): void =>
      void lines.push(`${level} ${fields['op']} ${fields['code'] ?? 'ok'} ${message}`);
  const counters = new Counters({ debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') });
  const memory = new MemoryFs();
  return { lines, counters, memory, ops: observed(Object.assign(memory, overrides), counters, { trace }) };
}

t.test('an answer at once stays one, and is counted', async t => {
  const { ops, counters, lines } = setUp({});
  const reply = ops.getattr(1, undefined, context);
  t.notOk(reply instanceof Promise);
  t.equal(counters.get('op.getattr'), 1);
  t.equal(counters.get('op.getattr.count'), 0, 'its time is not taken');
  t.same(lines, []);
});

t.test('an answer that comes later is timed', async t => {
  const { ops, counters } = setUp({ flush: async () => {} });
  await ops.flush(1, 1, context);
  t.equal(counters.get('op.flush'), 1);
  t.equal(counters.get('op.flush.count'), 1);
});

t.test('failures are mapped, counted, and logged by what they mean', async t => {
  const archived = new StoreError('unavailable', 'GetObject of k: 503');
  const { ops, counters, lines } = setUp({
    rmdir: () => {
      throw new FsError('ENOTEMPTY');
    },
    read: () => Promise.reject(archived),
    unlink: () => {
      throw new TypeError('bug');
    },
  });
  t.throws(() => ops.rmdir(1, 'x', context), { code: 'ENOTEMPTY' });
  await t.rejects(Promise.resolve(ops.read(1, 1, 0, 1, context)), { name: 'FsError', code: 'EIO', cause: archived });
  t.throws(() => ops.unlink(1, 'x', context), { name: 'TypeError' }, 'a bug stays a bug');
  t.equal(counters.get('op.rmdir.ENOTEMPTY'), 1);
  t.equal(counters.get('op.read.EIO'), 1);
  t.same(lines, ['warn read EIO GetObject of k: 503']);
});

t.test('with trace every operation is logged', async t => {
  const { ops, lines } = setUp({ fsync: async () => {} }, true);
  await ops.getattr(1, undefined, context);
  await ops.fsync(1, 1, false, context);
  t.throws(() => ops.lookup(1, 'none', context));
  t.same(lines, ['debug getattr ok done', 'debug fsync ok done', 'debug lookup ENOENT ENOENT']);
});

t.test('every operation is passed on', async t => {
  const { ops, memory } = setUp({});
  for (const name of Object.getOwnPropertyNames(MemoryFs.prototype)) {
    if (name in ops || ['constructor', 'at', 'setContent', 'lookups'].includes(name)) continue;
    t.fail(`${name} is not passed on`);
  }
  ops.lookup(1, 'pattern', context);
  t.equal(memory.lookups, 1);
  ops.forget(3, 1);
  t.equal(memory.lookups, 0);
  await ops.destroy();
});

t.test('notifications: one at a time, the same only once while it waits', async t => {
  const written: Buffer[] = [];
  const release: (() => void)[] = [];
  const notifier = new DeviceNotifier(
    {
      notify(message) {
        written.push(message);
        return new Promise(resolve => release.push(resolve));
      },
    },
    45,
  );
  const turn = async (): Promise<void> => new Promise(resolve => setImmediate(resolve));
  notifier.invalidateInode(5);
  t.equal(written.length, 0, 'not before the operation has returned');
  notifier.invalidateInode(5);
  notifier.invalidateInode(5, true);
  await turn();
  t.equal(written.length, 1);
  notifier.invalidateInode(5);
  notifier.invalidateEntry(1, 'a');
  release.shift()!();
  await turn();
  t.equal(written.length, 2);
  for (let i = 0; i < 5; i++) {
    release.shift()?.();
    await turn();
  }
  t.same(
    written.map(message => message.readInt32LE(4)),
    [2, 2, 2, 3],
  );
  notifier.invalidateInode(6);
  await turn();
  t.equal(written.length, 5, 'after a rest it goes on');
  release.shift()!();
  await turn();
  notifier.prune!([7, 2 ** 40 + 9]);
  await turn();
  const prune = written[5]!;
  t.same([prune.readUInt32LE(0), prune.readInt32LE(4), prune.readUInt32LE(16)], [48, 9, 2]);
  t.same([prune.readBigUInt64LE(32), prune.readBigUInt64LE(40)], [7n, 2n ** 40n + 9n]);
  const old = new DeviceNotifier({ notify: () => Promise.resolve() }, 44);
  t.equal(old.prune, undefined, 'an older kernel does not know it');
});
