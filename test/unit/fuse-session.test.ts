import fc from 'fast-check';
import t from 'tap';
import { ERRNO, FsError, StoreError } from '../../src/errors.ts';
import type { FileSystemOps, RequestContext } from '../../src/fuse/ops.ts';
import { OPCODE } from '../../src/fuse/protocol.ts';
import { Session, type SessionOptions } from '../../src/fuse/session.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { body, FakeDevice, type RequestFields, requestBuffer } from '../support/fake-device.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { delayed, MemoryFs } from '../support/memory-fs.ts';

function setUp(overrides: Partial<FileSystemOps> = {}, posixAcl = false, more: Partial<SessionOptions> = {}) {
  const device = new FakeDevice();
  const memory = new MemoryFs();
  const bugs: unknown[] = [];
  const ops = new Proxy<FileSystemOps>(memory, {
    get(target, name) {
      const own = Reflect.get(overrides, name) as unknown;
      return own ?? (Reflect.get(target, name) as () => unknown).bind(target);
    },
  });
  const onBug = (error: unknown): void => void bugs.push(error);
  const session = new Session(device, ops, {
    ...{ telemetry: silentTelemetry, posixAcl, onBug },
    wantsInterrupt: () => true,
    ...more,
  });
  const send = (fields: RequestFields, channel = 3) => {
    const buffer = requestBuffer(fields);
    session.handle(buffer, channel);
    return buffer;
  };
  return { device, memory, session, bugs, send, answers: device.answers };
}

const settled = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await new Promise(resolve => setImmediate(resolve));
};

const init = (minor: number, flags: number, flags2 = 0, major = 7): RequestFields => ({
  opcode: OPCODE.INIT,
  body: body(major, minor, 131072, flags, flags2, new Uint8Array(44)),
});

t.test('INIT takes what is offered and wanted', async t => {
  const { send, answers, session } = setUp();
  send(init(45, 0xffff_ffff, 0xffff_ffff));
  const { payload } = answers[0]!;
  t.equal(payload.length, 64);
  t.equal(payload.readUInt32LE(0), 7);
  t.equal(payload.readUInt32LE(4), 45);
  t.equal(payload.readUInt32LE(8), 1024 * 1024, 'readahead');
  const flags = payload.readUInt32LE(12);
  for (const [bit, wanted] of [
    [0, 1],
    [3, 1],
    [12, 0],
    [13, 1],
    [16, 0],
    [20, 0],
    [6, 0],
    [28, 1],
    [1, 0],
    [10, 0],
  ]) {
    t.equal((flags >>> bit!) & 1, wanted, `flag ${bit}`);
  }
  t.ok(payload.readUInt16LE(16) >= 256, 'background');
  t.equal(payload.readUInt32LE(20), 1024 * 1024, 'largest write');
  t.equal(payload.readUInt16LE(28), 256, 'pages');
  const negotiated = await session.negotiated;
  t.ok(negotiated?.flags.has('DIRECT_IO_ALLOW_MMAP'));
});

t.test('INIT of other kernels', async t => {
  const old = setUp();
  old.send(init(30, 0xffff_ffff));
  t.equal(old.answers[0]?.errno, 71);
  t.equal(await old.session.negotiated, undefined);
  const acl = setUp({}, true);
  acl.send(init(31, 0xffff_ffff));
  t.equal((acl.answers[0]!.payload.readUInt32LE(12) >>> 20) & 1, 1);
  t.equal(acl.answers[0]!.payload.readUInt32LE(4), 31);
  t.equal(acl.session.masksModes, true);
  const next = setUp();
  next.send(init(1, 0, 0, 8));
  t.equal(next.answers[0]?.payload.readUInt32LE(0), 7);
  next.send(init(45, 0));
  t.same((await next.session.negotiated)?.flags, new Set());
  const gone = setUp();
  gone.session.end();
  t.equal(await gone.session.negotiated, undefined);
});

t.test('answers go to where the request came from, at once or later', async t => {
  const { send, answers, session } = setUp({ getattr: async () => Promise.reject(new FsError('ESTALE')) });
  send({ opcode: OPCODE.LOOKUP, unique: 8n, body: body('pattern') }, 5);
  t.match(answers[0], { channel: 5, errno: 0, unique: 8n });
  send({ opcode: OPCODE.GETATTR, unique: 10n, body: body(0, 0, 0n) }, 6);
  t.equal(answers.length, 1);
  t.equal(session.pending, 1);
  await settled();
  t.match(answers[1], { channel: 6, errno: ERRNO.ESTALE, unique: 10n });
  t.equal(session.pending, 0);
});

t.test('failures become errnos, bugs become EIO and are told', async t => {
  const failures: [unknown, number][] = [
    [new FsError('ENOTEMPTY'), ERRNO.ENOTEMPTY],
    [new StoreError('precondition-failed', 'x'), ERRNO.ESTALE],
    [new TypeError('oops'), ERRNO.EIO],
    ['not even an error', ERRNO.EIO],
  ];
  for (const later of [false, true]) {
    for (const [failure, errno] of failures) {
      const { send, answers, bugs } = setUp({
        rmdir: () => {
          if (later) return Promise.reject(failure);
          throw failure;
        },
      });
      send({ opcode: OPCODE.RMDIR, body: body('d') });
      await settled();
      t.equal(answers.length, 1);
      t.equal(answers[0]?.errno, errno);
      t.equal(bugs.length, errno === ERRNO.EIO ? 1 : 0);
    }
  }
});

t.test('an interrupt reaches the operation that waits', async t => {
  let context!: RequestContext;
  const { send, answers } = setUp({
    flush: (_nodeid, _fh, ctx) => {
      context = ctx;
      return new Promise((_resolve, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason)));
    },
  });
  send({ opcode: OPCODE.FLUSH, unique: 20n, body: body(1n, 0, 0, 0n) });
  send({ opcode: OPCODE.INTERRUPT, unique: 21n, body: body(20n) });
  await settled();
  t.equal(context.signal.aborted, true);
  t.same(
    answers.map(({ unique, errno }) => [unique, errno]),
    [[20n, ERRNO.EINTR]],
  );

  send({ opcode: OPCODE.INTERRUPT, unique: 41n, body: body(40n) }, 9);
  t.match(answers[1], { unique: 41n, errno: ERRNO.EAGAIN, channel: 100 }, 'not known (yet)');
});

t.test('a harmless signal ends nothing, and does not hide the one that follows', async t => {
  const clock = new ManualClock();
  const asked: number[] = [];
  let isMeant = false;
  const wantsInterrupt = (thread: number): boolean => {
    asked.push(thread);
    return isMeant;
  };
  const { send, answers } = setUp(
    {
      flush: (_nodeid, _fh, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    },
    false,
    { clock, wantsInterrupt },
  );
  send({ opcode: OPCODE.FLUSH, unique: 20n, pid: 77, body: body(1n, 0, 0, 0n) });
  send({ opcode: OPCODE.INTERRUPT, unique: 21n, body: body(20n) }, 5);
  await clock.advance(249);
  t.same(answers, [], 'it waits on');
  await clock.advance(1);
  t.match(answers, [{ unique: 21n, errno: ERRNO.EAGAIN, channel: 3 }], 'the kernel is asked to tell again');
  isMeant = true;
  send({ opcode: OPCODE.INTERRUPT, unique: 21n, body: body(20n) });
  await settled();
  t.match(answers[1], { unique: 20n, errno: ERRNO.EINTR });
  t.same(asked, [77, 77], 'the thread that waits');
  isMeant = false;
  send({ opcode: OPCODE.INTERRUPT, unique: 21n, body: body(20n) });
  t.equal(answers.length, 3, 'that one is answered');
  await clock.advance(1000);
  t.equal(answers.length, 3);
});

t.test('a signal that is asked for late is aborted already; a release is never interrupted', async t => {
  const contexts: RequestContext[] = [];
  const wait = (_nodeid: number, _fh: number, ctx: RequestContext) => {
    contexts.push(ctx);
    return new Promise<void>(() => {});
  };
  const { send, session } = setUp({ flush: wait, release: wait });
  send({ opcode: OPCODE.FLUSH, unique: 20n, body: body(1n, 0, 0, 0n) });
  send({ opcode: OPCODE.RELEASE, unique: 22n, body: body(1n, 0, 0, 0n) });
  send({ opcode: OPCODE.INTERRUPT, unique: 21n, body: body(20n) });
  session.end();
  t.same(
    contexts.map(({ signal }) => signal.aborted),
    [true, false],
  );
});

t.test('data of a write stays until it is answered', async t => {
  let finish!: (count: number) => void;
  let seen!: Uint8Array;
  const { send, answers, device } = setUp({
    write: (_nodeid, _fh, _offset, data) => {
      seen = data;
      return new Promise<number>(resolve => {
        finish = resolve;
      });
    },
  });
  const write = { opcode: OPCODE.WRITE, body: body(1n, 0n, 5, 0, 0n, 0, 0, Buffer.from('hello')) };
  const buffer = send(write);
  t.equal(buffer.pinned, true);
  t.equal(seen.buffer, buffer.memory, 'not copied');
  finish(5);
  await settled();
  t.equal(buffer.pinned, false);
  t.equal(device.pinned, 0);
  t.equal(answers[0]?.payload.readUInt32LE(0), 5);
  device.crowded = true;
  const other = send(write);
  t.equal(other.pinned, false);
  t.not(seen.buffer, other.memory, 'copied when many wait');
  finish(5);
});

t.test('what nobody received is taken back', async t => {
  const forgotten: [number, number][] = [];
  const released: number[] = [];
  const { send, device, memory } = setUp({
    forget: (nodeid, count) => void forgotten.push([nodeid, count]),
    release: (_nodeid, fh) => void released.push(fh),
  });
  memory.mknod(1, 'a', 0o100644, 0, { uid: 0, gid: 0, pid: 0, signal: new AbortController().signal });
  const { fh } = memory.opendir(1);
  device.refuse = ERRNO.ENOENT;
  send({ opcode: OPCODE.LOOKUP, body: body('a') });
  t.same(forgotten, [[4, 1]]);
  send({ opcode: OPCODE.OPEN, nodeid: 4, body: body(0, 0) });
  t.equal(released.length, 1);
  send({ opcode: OPCODE.CREATE, body: body(0, 0o100644, 0, 0, 'b') });
  t.equal(released.length, 2);
  t.same(forgotten[1], [5, 1]);
  forgotten.length = 0;
  send({ opcode: OPCODE.READDIRPLUS, body: body(BigInt(fh), 0n, 4096, 0, 0n, 0, 0) });
  t.same(forgotten, [
    [2, 1],
    [3, 1],
    [4, 1],
  ]);
  forgotten.length = 0;
  device.refuse = 0;
  send({ opcode: OPCODE.READDIRPLUS, body: body(BigInt(fh), 0n, 4096, 0, 0n, 0, 0) });
  t.same(forgotten, []);
});

t.test('a close that would ask nothing', async t => {
  const flags: number[] = [];
  for (const noFlush of [true, false]) {
    const { send, answers } = setUp({ open: () => ({ fh: 7, keepCache: true, noFlush }) });
    send({ opcode: OPCODE.OPEN, nodeid: 4, body: body(0, 0) });
    flags.push(answers.at(-1)!.payload.readUInt32LE(8));
  }
  t.same(flags, [2 | 32, 2]);
});

t.test('the umask, where the kernel leaves it to us', async t => {
  const { send, memory } = setUp({}, true);
  const mkdir = (name: string) => send({ opcode: OPCODE.MKDIR, body: body(0o777, 0o027, name) });
  mkdir('before');
  t.equal(memory.lastMode & 0o777, 0o777, 'the kernel has done it');
  send(init(45, 0xffff_ffff));
  mkdir('a');
  t.equal(memory.lastMode & 0o777, 0o750);
  memory.setxattr(1, 'system.posix_acl_default', new Uint8Array(4), 0);
  mkdir('b');
  t.equal(memory.lastMode & 0o777, 0o777, 'a default ACL stands in its place');
  const later = setUp({ getxattr: async () => Promise.reject(new FsError('ENODATA')) }, true);
  later.send(init(45, 0xffff_ffff));
  later.send({ opcode: OPCODE.MKNOD, body: body(0o100666, 0, 0o022, 0, 'f') });
  await settled();
  t.equal(later.memory.lastMode, 0o100644);
});

t.test('xattrs: how large, too large, and names that are no text', async t => {
  const { send, answers, memory } = setUp();
  memory.setxattr(1, 'user.a', Buffer.from('value'), 0);
  send({ opcode: OPCODE.GETXATTR, body: body(0, 0, 'user.a') });
  t.equal(answers[0]?.payload.readUInt32LE(0), 5);
  send({ opcode: OPCODE.GETXATTR, body: body(4, 0, 'user.a') });
  t.equal(answers[1]?.errno, ERRNO.ERANGE);
  send({ opcode: OPCODE.LISTXATTR, body: body(100, 0) });
  t.equal(answers[2]?.payload.toString(), 'user.a\0');
  send({ opcode: OPCODE.GETXATTR, body: body(4, 0, Uint8Array.of(0xff, 0)) });
  t.equal(answers[3]?.errno, ERRNO.ENODATA);
  send({ opcode: OPCODE.SETXATTR, body: body(1, 0, Uint8Array.of(0xff, 0), Uint8Array.of(1)) });
  t.equal(answers[4]?.errno, ERRNO.EILSEQ);
  send({ opcode: OPCODE.SETXATTR, body: body(5, 0, 'user.b', Uint8Array.of(1)) });
  t.equal(answers[5]?.errno, ERRNO.EINVAL, 'value cut short');
});

t.test('what is not done, and misses', async t => {
  const { send, answers } = setUp({ lookup: () => ({ nodeid: 0, entryTtl: 5000 }) });
  for (const opcode of [OPCODE.POLL, OPCODE.BMAP, OPCODE.STATX, OPCODE.TMPFILE, OPCODE.SYNCFS, 63, 4096]) {
    send({ opcode, body: new Uint8Array(100) });
    t.equal(answers.pop()?.errno, ERRNO.ENOSYS);
  }
  send({ opcode: OPCODE.IOCTL, body: new Uint8Array(100) });
  t.equal(answers.pop()?.errno, ERRNO.ENOTTY);
  send({ opcode: OPCODE.LOOKUP, body: body('none') });
  t.equal(answers.pop()?.payload.length, 128, 'a miss that may be remembered');
  const forgetful = setUp({ lookup: () => ({ nodeid: 0, entryTtl: 0 }) });
  forgetful.send({ opcode: OPCODE.LOOKUP, body: body('none') });
  t.equal(forgetful.answers[0]?.errno, ERRNO.ENOENT);
});

t.test('a read that gives more than was asked for is a bug, and its buffers are released', async t => {
  let released = 0;
  const { send, answers, bugs } = setUp({
    read: () => ({ slices: [new Uint8Array(10), new Uint8Array(10)], release: () => void released++ }),
  });
  const read = (size: number) => send({ opcode: OPCODE.READ, nodeid: 3, body: body(1n, 0n, size, 0, 0n, 0, 0) });
  read(20);
  t.equal(answers[0]?.payload.length, 20);
  read(19);
  t.equal(answers[1]?.errno, ERRNO.EIO);
  t.equal(bugs.length, 1);
  t.equal(released, 2);
});

t.test('any bytes get at most one answer, and no throw', async t => {
  const silent: ReadonlySet<number> = new Set([
    OPCODE.FORGET,
    OPCODE.BATCH_FORGET,
    OPCODE.NOTIFY_REPLY,
    OPCODE.INTERRUPT,
  ]);
  const anyBody = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    // Long enough for every struct, with small numbers, so that operations are reached.
    fc
      .array(fc.oneof(fc.nat(4), fc.bigInt({ min: 0n, max: 5n }), fc.constantFrom('a', 'pattern', '')), {
        maxLength: 16,
      })
      .map(fields => body(...fields)),
  );
  for (const later of [false, true]) {
    const device = new FakeDevice();
    const memory = new MemoryFs();
    const bugs: unknown[] = [];
    const session = new Session(device, later ? delayed(memory) : memory, {
      telemetry: silentTelemetry,
      posixAcl: false,
      onBug: error => bugs.push(error),
    });
    let sent = 0;
    fc.assert(
      fc.property(fc.nat(60), fc.nat(4), anyBody, (opcode, nodeid, bytes) => {
        const before = device.answers.length;
        const answered = session.handle(requestBuffer({ opcode, nodeid, unique: BigInt(++sent * 2), body: bytes }), 3);
        const answers = device.answers.length - before;
        return silent.has(opcode) ? answers <= 1 : answered ? answers === 1 : answers === 0;
      }),
      { numRuns: 1500 },
    );
    await settled();
    await settled();
    session.end();
    await settled();
    t.equal(session.pending, 0, 'all are answered in the end');
    t.same(bugs, []);
    t.equal(device.pinned, 0);
  }
});
