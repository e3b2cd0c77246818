import fc from 'fast-check';
import t from 'tap';
import { compareKeys, compareNames, inoOf, isShowable } from '../../src/fs/keys.ts';

const text = fc.string({ unit: 'binary', maxLength: 12 });
/** Where the order of UTF-16 and that of UTF-8 part: around the surrogates. */
const tricky = fc.string({
  unit: fc.constantFrom('a', '-', '/', 'é', '\uD7FF', '\uE000', '\uFFA0', '😀', '𐀀'),
  maxLength: 6,
});

t.test('keys compare as their UTF-8 bytes do', async () => {
  fc.assert(
    fc.property(fc.oneof(text, tricky), fc.oneof(text, tricky), (a, b) => {
      if (/[\uD800-\uDFFF]/u.test(a + b)) return; // lone surrogates have no UTF-8
      if (Math.sign(compareKeys(a, b)) !== Buffer.compare(Buffer.from(a), Buffer.from(b))) throw new Error(`${a} ${b}`);
    }),
    { numRuns: 2000 },
  );
});

t.test('a directory sorts as name/', async t => {
  t.ok(compareNames('a-b', 'a') < 0);
  t.ok(compareNames('a', 'a0') < 0);
  t.ok(compareKeys('\u{1F600}', '\uFFA0') > 0, 'S3 has U+1F600 after U+FFA0');
});

t.test('what a filesystem cannot show', async t => {
  for (const name of ['', '.', '..', 'a/b', 'nul\0', 'x'.repeat(256), '한'.repeat(86)]) t.notOk(isShowable(name), name);
  for (const name of ['a', '...', '한'.repeat(85), 'x'.repeat(255), 'tab\t', '\u0001']) t.ok(isShowable(name), name);
});

t.test('inode numbers differ', async t => {
  const seen = new Set<bigint>();
  for (let i = 0; i < 200_000; i++) seen.add(inoOf(`dir/d${i % 100}/f${i}`));
  t.equal(seen.size, 200_000);
  t.not(inoOf('a'), inoOf('a/'));
});
