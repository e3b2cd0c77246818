import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import type { Attributes, Entry } from '../../src/fuse/ops.ts';
import { IN, OPCODE, opcodeName, REQUEST_CAPACITY } from '../../src/fuse/protocol.ts';
import { decodeBatchForget, decodeSetAttributes, RequestReader } from '../../src/fuse/protocol-decode.ts';
import {
  DirectoryWriter,
  encodeInvalidateEntry,
  encodeInvalidateInode,
  ReplyWriter,
} from '../../src/fuse/protocol-encode.ts';
import { body, requestBuffer } from '../support/fake-device.ts';

const unique = { uniqueLow: 7, uniqueHigh: 1 };
const plain = { noNullPrototype: true } as const;
const timestamp = fc.record(
  {
    sec: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    nsec: fc.integer({ min: 0, max: 999_999_999 }),
  },
  plain,
);
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const size = fc.maxSafeNat();
const attributes: fc.Arbitrary<Attributes> = fc.record(
  {
    ino: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    mode: u32,
    nlink: u32,
    uid: u32,
    gid: u32,
    rdev: u32,
    size,
    blocks: size,
    blksize: u32,
    atime: timestamp,
    mtime: timestamp,
    ctime: timestamp,
  },
  plain,
);
const entry: fc.Arbitrary<Entry> = fc.record(
  {
    nodeid: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    entryTtl: fc.integer({ min: 0, max: 10 ** 9 }),
    attributesTtl: fc.integer({ min: 0, max: 10 ** 9 }),
    attributes,
  },
  plain,
);

/** Reads `fuse_attr` back, independently of the writer: by DataView at the header's offsets. */
function readAttributes(bytes: Uint8Array, at: number): Attributes {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  const time = (sec: number, nsec: number) => ({
    sec: Number(view.getBigInt64(sec, true)),
    nsec: view.getUint32(nsec, true),
  });
  return {
    ino: view.getBigUint64(0, true),
    size: Number(view.getBigUint64(8, true)),
    blocks: Number(view.getBigUint64(16, true)),
    atime: time(24, 48),
    mtime: time(32, 52),
    ctime: time(40, 56),
    mode: view.getUint32(60, true),
    nlink: view.getUint32(64, true),
    uid: view.getUint32(68, true),
    gid: view.getUint32(72, true),
    rdev: view.getUint32(76, true),
    blksize: view.getUint32(80, true),
  };
}

function readEntry(bytes: Uint8Array, at: number): Entry {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at);
  const ttl = (sec: number, nsec: number) =>
    Number(view.getBigUint64(sec, true)) * 1000 + view.getUint32(nsec, true) / 1e6;
  return {
    nodeid: Number(view.getBigUint64(0, true)),
    entryTtl: ttl(16, 32),
    attributesTtl: ttl(24, 36),
    attributes: readAttributes(bytes, at + 40),
  };
}

t.test('attributes and entries survive the way to the kernel', async t => {
  const reply = new ReplyWriter(4096);
  fc.assert(
    fc.property(entry, wanted => {
      const length = reply.entry(unique, wanted);
      assert.equal(length, 144);
      assert.deepEqual(readEntry(reply.bytes, 16), wanted);
      assert.equal(reply.bytes.readBigUInt64LE(8), (1n << 32n) + 7n);
      assert.equal(reply.attributes(unique, wanted), 120);
      assert.deepEqual(readAttributes(reply.bytes, 32), wanted.attributes);
    }),
    { numRuns: 200 },
  );
  reply.entry(unique, { ...fc.sample(entry, 1)[0]!, entryTtl: Number.POSITIVE_INFINITY, attributesTtl: Number.NaN });
  t.ok(reply.bytes.readBigUInt64LE(16 + 16) > 10n ** 9n, 'for ever is long');
  t.equal(reply.bytes.readBigUInt64LE(16 + 24), 0n);
});

t.test('errors, counts and empty answers', async t => {
  const reply = new ReplyWriter(4096);
  t.equal(reply.error(unique, 2), 16);
  t.equal(reply.bytes.readInt32LE(4), -2);
  t.equal(reply.count32(unique, 4_000_000_000), 24);
  t.equal(reply.bytes.readUInt32LE(16), 4_000_000_000);
  t.equal(reply.count64(unique, 2 ** 52 + 1), 24);
  t.equal(reply.bytes.readBigUInt64LE(16), 2n ** 52n + 1n);
  t.equal(reply.bytes.readInt32LE(4), 0, 'an earlier error leaves no trace');
  t.equal(reply.negativeEntry(unique, 2500), 144);
  t.match(readEntry(reply.bytes, 16), { nodeid: 0, entryTtl: 2500 });
});

t.test('directory entries are laid out as the kernel walks them', async () => {
  const name = fc.string({ minLength: 1, maxLength: 60, unit: 'binary' }).filter(text => !/\p{Surrogate}/u.test(text));
  const writer = new DirectoryWriter(8192);
  fc.assert(
    fc.property(fc.array(fc.tuple(name, entry, fc.boolean()), { maxLength: 80 }), fc.boolean(), (all, plus) => {
      writer.begin(plus, 4096);
      let taken = 0;
      for (const [text, known, given] of all) {
        const ino = known.attributes.ino;
        const added = { name: text, ino, type: 8, cookie: taken + 1, ...(given ? { entry: known } : {}) };
        if (!writer.add(added)) break;
        taken++;
      }
      const { written } = writer;
      assert.ok(written.length <= 4096 && written.length % 8 === 0);
      const view = Buffer.from(written.buffer, written.byteOffset, written.length);
      let at = 0;
      for (let i = 0; i < taken; i++) {
        const [text, known, given] = all[i]!;
        if (plus) {
          if (given) assert.deepEqual(readEntry(view, at), known);
          else assert.equal(view.readBigUInt64LE(at), 0n);
          at += 128;
        }
        assert.equal(view.readBigUInt64LE(at), known.attributes.ino);
        assert.equal(view.readBigUInt64LE(at + 8), BigInt(i + 1));
        const length = view.readUInt32LE(at + 16);
        assert.equal(view.toString('utf8', at + 24, at + 24 + length), text);
        at = (at + 24 + length + 7) & ~7;
      }
      assert.equal(at, written.length);
      assert.equal(writer.lookedUp.length, plus ? all.slice(0, taken).filter(([, , given]) => given).length : 0);
    }),
    { numRuns: 100 },
  );
});

t.test('names are strict UTF-8', async t => {
  const read = (bytes: Uint8Array) => requestBuffer({ opcode: OPCODE.LOOKUP, body: bytes }).lastName(IN.LOOKUP.name);
  for (const name of ['a', '한글', '\u{1F600}', '\ufeffbom', 'é'.normalize('NFD')]) t.equal(read(body(name)), name);
  for (const bytes of [
    [0xb0, 0xa1],
    [0xc0, 0x80],
    [0xed, 0xa0, 0x80],
    [0xf8, 0x88, 0x80, 0x80, 0x80],
    [0x61, 0xff],
  ]) {
    t.equal(read(Uint8Array.from([...bytes, 0])), undefined);
  }
  t.equal(read(Buffer.from('no end')), false);
  t.equal(read(Buffer.from('two\0ends\0')), false);
  t.equal(read(Buffer.alloc(0)), false);
});

t.test('SETATTR', async t => {
  const request = (valid: number) =>
    decodeSetAttributes(
      requestBuffer({
        opcode: OPCODE.SETATTR,
        body: body(valid, 0, 77n, 5_000_000_000n, 0n, -5n, 6n, 7n, 1, 2, 3, 0o755, 0, 10, 20, 0),
      }),
    );
  t.same(request(0), {});
  t.same(request(1 | 2 | 4 | 8 | 64), { mode: 0o755, uid: 10, gid: 20, size: 5_000_000_000, fh: 77 });
  t.same(request(16 | 32 | 1024), {
    atime: { sec: -5, nsec: 1 },
    mtime: { sec: 6, nsec: 2 },
    ctime: { sec: 7, nsec: 3 },
  });
  t.same(request(16 | 128 | 32 | 256 | 2048), { atime: 'now', mtime: 'now', killSuidgid: true });
});

t.test('BATCH_FORGET', async t => {
  const items: [number, number][] = [];
  const take = (...fields: (number | bigint)[]) =>
    decodeBatchForget(requestBuffer({ opcode: OPCODE.BATCH_FORGET, body: body(...fields) }), (...item) =>
      items.push(item),
    );
  t.equal(take(2, 0, 5n, 1n, 6n, 2n), true);
  t.same(items, [
    [5, 1],
    [6, 2],
  ]);
  t.equal(take(3, 0, 5n, 1n, 6n, 2n), false, 'longer than the request');
  t.equal(take(0xffff_ffff, 0), false);
});

t.test('no bytes make the reader throw', async t => {
  const reader = new RequestReader(new ArrayBuffer(REQUEST_CAPACITY));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(64), fc.nat(60), (bytes, opcode, offset) => {
      reader.bytes.fill(0xff, 0, 400);
      reader.bytes.set(bytes);
      reader.bytes.writeUInt32LE(bytes.length, 0);
      reader.bytes.writeUInt32LE(opcode, 4);
      if (!reader.begin(bytes.length)) return bytes.length < 40;
      const name = reader.name(offset);
      reader.lastName(offset);
      const data = reader.data(offset, bytes.length);
      decodeBatchForget(reader, () => {});
      return (name === undefined || name.next <= bytes.length) && (offset === 0 || data === undefined);
    }),
    { numRuns: 3000 },
  );
  t.equal(reader.begin(10), false);
  t.equal(reader.begin(REQUEST_CAPACITY + 1), false);
});

t.test('notifications', async t => {
  const inode = encodeInvalidateInode(2 ** 40 + 5, false);
  t.equal(inode.length, 40);
  t.equal(inode.readUInt32LE(0), 40);
  t.equal(inode.readInt32LE(4), 2);
  t.equal(inode.readBigUInt64LE(8), 0n);
  t.equal(inode.readBigUInt64LE(16), 2n ** 40n + 5n);
  t.equal(inode.readBigInt64LE(24), -1n);
  t.equal(encodeInvalidateInode(5, true).readBigInt64LE(24), 0n);
  const named = encodeInvalidateEntry(9, '한글');
  t.equal(named.length, 16 + 16 + 7);
  t.equal(named.readUInt32LE(24), 6);
  t.equal(named.toString('utf8', 32, 38), '한글');
  t.equal(named[38], 0);
});

t.test('opcodes have names', async t => {
  t.equal(opcodeName(15), 'READ');
  t.equal(opcodeName(999), 'opcode 999');
  // What an installed header says stands above what we remember.
  const header = existsSync('/usr/include/linux/fuse.h') ? readFileSync('/usr/include/linux/fuse.h', 'utf8') : '';
  for (const [, name, code] of header.matchAll(/^\s*FUSE_([A-Z0-9_]+)\s*= (\d+),/gm)) {
    const known = OPCODE[name as keyof typeof OPCODE] as number | undefined;
    if (known !== undefined) t.equal(known, Number(code), name!);
  }
});
