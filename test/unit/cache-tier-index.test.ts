import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { planSources } from '../../src/cache/block-tier.ts';
import {
  contentName,
  decodeEntries,
  decodeHead,
  decodeRecord,
  ENTRY_BYTES,
  encodeEntry,
  encodeHead,
  encodeRecord,
  recordBytes,
  type TierEntry,
} from '../../src/cache/tier-format.ts';
import { TierIndex } from '../../src/cache/tier-index.ts';

const nameOf = (text: string): Buffer => createHash('sha256').update(text).digest().subarray(0, 16);

t.test('the table finds what a map finds, whatever was removed or has died', async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('set' as const),
      name: fc.nat(5),
      index: fc.nat(400),
      file: fc.integer({ min: 1, max: 4 }),
    }),
    fc.record({
      do: fc.constant('remove' as const),
      name: fc.nat(5),
      index: fc.nat(400),
      file: fc.integer({ min: 1, max: 4 }),
    }),
    fc.record({
      do: fc.constant('die' as const),
      name: fc.constant(0),
      index: fc.constant(0),
      file: fc.integer({ min: 1, max: 4 }),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 3000 }), steps => {
      // Numbers of files are never used again: a file that dies is followed by another.
      const current = [0, 1, 2, 3, 4];
      let next = 5;
      const dead = new Set<number>();
      const index = new TierIndex(file => file !== 0xffff_ffff && !dead.has(file));
      const model = new Map<string, { file: number; at: number }>();
      for (const [at, { do: what, name, index: block, file: slot }] of steps.entries()) {
        const file = current[slot]!;
        const key = `${name}.${block}`;
        if (what === 'set') {
          index.set(nameOf(String(name)), block, { file, at });
          model.set(key, { file, at });
        } else if (what === 'remove') {
          index.remove(nameOf(String(name)), block, file);
          if (model.get(key)?.file === file) model.delete(key);
        } else {
          dead.add(file);
          for (const [known, place] of model) if (place.file === file) model.delete(known);
          current[slot] = next++;
        }
      }
      for (let name = 0; name <= 5; name++) {
        for (let block = 0; block <= 400; block += 1) {
          const found = index.get(nameOf(String(name)), block);
          const expected = model.get(`${name}.${block}`);
          if (expected?.file !== found?.file || expected?.at !== found?.at) return false;
        }
      }
      return true;
    }),
    { numRuns: 30 },
  );
});

t.test('the table grows with what lives and not with what has died', async t => {
  let oldest = 1;
  const index = new TierIndex(file => file >= oldest);
  const name = nameOf('large');
  for (let i = 0; i < 200_000; i++) {
    const file = 1 + Math.floor(i / 1000);
    oldest = Math.max(1, file - 3);
    index.set(name, i, { file, at: i });
  }
  t.ok(index.bytes <= 16 * 16_384, `${index.bytes} bytes for 4,000 blocks`);
  t.equal(index.get(name, 199_999)?.at, 199_999);
  t.notOk(index.has(name, 1000));
  t.notOk(index.isUsed(name, 199_999, { file: 200, at: 199_999 }));
  index.use(name, 199_999);
  t.ok(index.isUsed(name, 199_999, { file: 200, at: 199_999 }));
  t.same(index.get(name, 199_999), { file: 200, at: 199_999 }, 'the mark is not part of the place');
});

t.test('a record is whole and the one asked for, or it is nothing', async t => {
  const name = nameOf('a');
  const bytes = Buffer.from('some bytes of a block');
  const buffer = Buffer.alloc(200, 0xaa);
  const end = encodeRecord(buffer, 32, name, 7, bytes);
  t.equal(end, 32 + recordBytes(bytes.length));
  t.ok(decodeRecord(buffer, 32, name, 7, bytes.length) !== undefined);
  t.equal(decodeRecord(buffer, 32, name, 8, bytes.length), undefined, 'another block');
  t.equal(decodeRecord(buffer, 32, nameOf('b'), 7, bytes.length), undefined, 'another content');
  t.equal(decodeRecord(buffer, 32, name, 7, bytes.length - 1), undefined, 'another length');
  t.equal(decodeRecord(buffer.subarray(0, end - 12), 32, name, 7, bytes.length), undefined, 'cut off');
  for (let at = 32; at < 32 + 32 + bytes.length; at++) {
    // Filling.
    if (at >= 60 && at < 64) continue;
    buffer[at] = buffer[at]! ^ 0x10;
    t.equal(decodeRecord(buffer, 32, name, 7, bytes.length), undefined, `a bit of byte ${at}`);
    buffer[at] = buffer[at]! ^ 0x10;
  }
});

t.test('a list is read as far as it is whole', async t => {
  const entries: TierEntry[] = [
    { kind: 'block', name: nameOf('a'), index: 3, length: 131_072, at: 1 },
    { kind: 'alias', name: nameOf('b'), of: nameOf('a') },
    { kind: 'block', name: nameOf('a'), index: 4, length: 5, at: 4098 },
  ];
  const list = Buffer.concat(entries.map(encodeEntry));
  const read = (bytes: Buffer): TierEntry[] => {
    const found: TierEntry[] = [];
    decodeEntries(bytes, 0, entry => found.push(entry));
    return found;
  };
  t.same(read(list), entries);
  t.same(read(list.subarray(0, list.length - 1)), entries.slice(0, 2), 'the last is not whole yet');
  list[ENTRY_BYTES + 3] = list[ENTRY_BYTES + 3]! ^ 1;
  t.same(read(list), entries.slice(0, 1), 'what comes after a broken one is not believed');
  const head = encodeHead(nameOf('g'), 12_345);
  t.same(decodeHead(head), { generation: nameOf('g'), createdMs: 12_345 });
  t.equal(decodeHead(Buffer.from(`x${head.subarray(1)}`)), undefined);
});

t.test('a name stands for bucket, whole key, ETag and size', async t => {
  const version = { key: 'a/b', etag: '"1"', size: 5 };
  const name = contentName('s3\0bucket\0', version);
  t.ok(contentName('s3\0bucket\0a/', { ...version, key: 'b' }).equals(name), 'mounts of two prefixes share');
  const others = [
    contentName('s3\0other\0', version),
    contentName('s3\0bucket\0', { ...version, key: 'a/c' }),
    contentName('s3\0bucket\0', { ...version, etag: '"2"' }),
    contentName('s3\0bucket\0', { ...version, size: 6 }),
  ];
  for (const other of others) t.notOk(other.equals(name));
});

t.test('what is fetched and what the tier gives', async t => {
  const plan = (pattern: string, worth = 2) =>
    planSources(10, 10 + pattern.length, index => pattern[index - 10] === 't', worth).map(
      ({ from, to, tier }) => `${tier ? 't' : '-'}${from}-${to}`,
    );
  t.same(plan('tttt'), ['t10-14']);
  t.same(plan('----'), ['-10-14']);
  t.same(plan('t--t'), ['t10-11', '-11-13', 't13-14'], 'at the ends it costs no request');
  t.same(plan('--t--'), ['-10-15'], 'one GET rather than two');
  t.same(plan('--tt--'), ['-10-12', 't12-14', '-14-16']);
  t.same(plan('-t-t-tt-'), ['-10-15', 't15-17', '-17-18']);
});
