import fc from 'fast-check';
import t from 'tap';
import { S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG } from '../../src/fs/modes.ts';
import {
  decodePosix,
  decodeXattrs,
  encodePosix,
  encodeXattrs,
  type FullPosix,
  formatTime,
  objectType,
  parseTime,
} from '../../src/fs/posix.ts';

const time = fc.record({
  sec: fc.integer({ min: -2_000_000_000, max: 4_000_000_000 }),
  nsec: fc.integer({ min: 0, max: 999_999_999 }),
});
const posix: fc.Arbitrary<FullPosix> = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }).map(mode => S_IFREG | mode),
  uid: fc.integer({ min: 0, max: 0xfffffffe }),
  gid: fc.integer({ min: 0, max: 0xfffffffe }),
  rdev: fc.constantFrom(0, 0x801),
  atime: time,
  mtime: time,
  ctime: time,
  xattrs: fc
    .dictionary(fc.string({ minLength: 1, maxLength: 5 }), fc.uint8Array({ maxLength: 9 }))
    .map(d => new Map(Object.entries(d).filter(([k]) => k !== '__proto__'))),
});

t.test('s3fs metadata: what is written is read', async () => {
  fc.assert(
    fc.property(posix, fc.constantFrom('s3fs' as const, 'both' as const), (full, style) => {
      const decoded = decodePosix(encodePosix(full, style));
      for (const name of ['mode', 'uid', 'gid'] as const) if (decoded[name] !== full[name]) throw new Error(name);
      for (const name of ['atime', 'mtime', 'ctime'] as const) {
        if (decoded[name]?.sec !== full[name].sec || decoded[name]?.nsec !== full[name].nsec) throw new Error(name);
      }
      if ((decoded.rdev ?? 0) !== full.rdev) throw new Error('rdev');
      if ((decoded.xattrs?.size ?? 0) !== full.xattrs.size) throw new Error('xattrs');
      for (const [key, value] of full.xattrs)
        if (Buffer.compare(decoded.xattrs!.get(key)!, value) !== 0) throw new Error(key);
    }),
  );
});

t.test('the exact headers of s3fs', async t => {
  const full: FullPosix = {
    mode: 0o100644,
    uid: 1000,
    gid: 100,
    rdev: 0,
    atime: { sec: 1, nsec: 5 },
    mtime: { sec: 1700000000, nsec: 123456789 },
    ctime: { sec: 2, nsec: 0 },
    xattrs: new Map([['user.a', Buffer.from('b')]]),
  };
  t.same(encodePosix(full, 's3fs', { other: 'kept' }), {
    other: 'kept',
    mode: '33188',
    uid: '1000',
    gid: '100',
    mtime: '1700000000.123456789',
    ctime: '2.000000000',
    atime: '1.000000005',
    xattr: '%7B%22user.a%22%3A%22Yg%3D%3D%22%7D',
  });
  t.same(encodePosix({ ...full, xattrs: new Map() }, 'aws'), {
    'file-permissions': '0100644',
    'file-owner': '1000',
    'file-group': '100',
    'file-mtime': '1700000000123456789ns',
    'file-atime': '1000000005ns',
  });
  t.same(encodePosix({ ...full, xattrs: new Map() }, 'none', { a: 'b' }), { a: 'b' });
});

t.test('a family that is there already is kept up to date', async t => {
  const full = {
    mode: S_IFREG | 0o600,
    uid: 1,
    gid: 2,
    rdev: 0,
    atime: { sec: 1, nsec: 0 },
    mtime: { sec: 3, nsec: 0 },
    ctime: { sec: 4, nsec: 0 },
    xattrs: new Map(),
  };
  const metadata = encodePosix(full, 's3fs', { 'file-permissions': '0100777', 'file-mtime': '5ns' });
  t.equal(metadata['file-mtime'], '3000000000ns');
  t.equal(metadata['file-permissions'], '0100600');
});

t.test('what others wrote', async t => {
  t.same(decodePosix({ mtime: '1700000000.5' }).mtime, { sec: 1700000000, nsec: 500_000_000 }, 'rclone');
  t.same(decodePosix({ 'file-mtime': '1700000000123ns', 'file-permissions': '0100600', 'file-owner': '7' }), {
    mode: 0o100600,
    uid: 7,
    mtime: { sec: 1700, nsec: 123 },
  });
  t.same(decodePosix({ 'file-mtime': '1700000000123' }).mtime, { sec: 1700000000, nsec: 123_000_000 }, 'no ns: ms');
  t.equal(decodePosix({ 'goog-reserved-posix-mode': '644' }).mode, 0o644);
  t.equal(decodePosix({ permissions: '33188', owner: '5' }).uid, 5, 's3sync');
  t.equal(decodePosix({ mode: '0100644' }).mode, 0o100644, 'octal');
  t.equal(decodePosix({ mode: '0x81a4' }).mode, 0o100644, 'hexadecimal');
  t.equal(decodePosix({ '--symlink-target': 'a%20b' }).symlinkTarget, 'a b', 'geesefs');
});

t.test('hostile metadata is no metadata', async t => {
  const hostile = {
    mode: '99999999',
    uid: '-1',
    gid: '4294967295',
    mtime: '1e99',
    atime: 'NaN',
    ctime: '',
    xattr: '%zz',
    rdev: 'x',
  };
  t.same(decodePosix(hostile), {});
  t.equal(decodeXattrs('%5B1%5D'), undefined);
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom('mode', 'uid', 'mtime', 'xattr', 'file-mtime', 'file-permissions'), fc.string()),
      d => void decodePosix(d),
    ),
  );
  fc.assert(fc.property(fc.string(), s => void parseTime(s)));
});

t.test('times before the epoch', async t => {
  for (const stamp of [
    { sec: -1, nsec: 1 },
    { sec: -1, nsec: 0 },
    { sec: -5, nsec: 999_999_999 },
  ])
    t.same(parseTime(formatTime(stamp)), stamp);
  t.same(parseTime('-0.5'), { sec: -1, nsec: 500_000_000 });
});

t.test('the type of an object', async t => {
  t.equal(objectType({ mode: S_IFLNK | 0o777 }, undefined, 5), S_IFLNK);
  t.equal(objectType({ mode: S_IFLNK | 0o777 }, undefined, 5000), S_IFREG, 'too large for a link');
  t.equal(objectType({ mode: S_IFDIR | 0o755 }, undefined, 5), S_IFREG, 'with bytes it is a file');
  t.equal(objectType({}, 'application/x-directory; charset=UTF-8', 0), S_IFDIR);
  t.equal(objectType({ mode: S_IFIFO | 0o600 }, undefined, 0), S_IFIFO);
});

t.test('xattrs survive', async t => {
  const map = new Map([['user.한', Buffer.from([0, 255])]]);
  t.same(decodeXattrs(encodeXattrs(map)), map);
});
