/** Ranges of a large directory: what they tell of a name, and when listing one is worth it. */
import fc from 'fast-check';
import t from 'tap';
import { compareKeys } from '../../src/fs/keys.ts';
import { justBefore, ListedRanges } from '../../src/fs/listed-ranges.ts';
import { parsePage } from '../../src/fs/listing.ts';
import type { ListPage } from '../../src/s3/store.ts';

function page(objects: readonly string[], prefixes: readonly string[] = []): ListPage {
  return {
    objects: objects.map(key => ({ key, etag: '"e"', size: 1, lastModified: 0 })),
    prefixes,
    serverDate: 0,
  };
}

t.test('a place just before a name is before it, and nothing short lies between', async t => {
  const name = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }).filter(each => !each.includes('\uFFFD'));
  fc.assert(
    fc.property(name, each => {
      const before = justBefore('d/', each);
      return compareKeys(before, each) < 0 && (before === '' || Buffer.from(before).toString() === before);
    }),
  );
  t.equal(justBefore('', 'f0010'), 'f001/~');
  t.equal(justBefore('', 'a b'), 'a a~');
  t.equal(justBefore('', 'x\u{1F600}'), 'x\u{1F5FF}~');
  t.equal(justBefore('', 'x\uE000'), 'x\uD7FF~');
  t.equal(justBefore('', '\u0001'), '');
  const long = 'n'.repeat(255);
  t.ok(Buffer.byteLength('k'.repeat(769) + justBefore('k'.repeat(769), long)) <= 1024, 'within the longest key');
});

t.test('a range tells of the names in it, also of those that are not there', async t => {
  const ranges = new ListedRanges();
  ranges.add('b~', parsePage('d/', page(['d/c', 'd/e'], ['d/f/'])), false, 100, 0);
  t.equal(ranges.find('c', 50)?.listed?.object?.key, 'd/c');
  t.same(ranges.find('d', 50), { listed: undefined, at: 100 }, 'it is not there');
  t.equal(ranges.find('f', 50)?.listed?.directory, true);
  t.equal(ranges.find('a', 50), undefined, 'before the range');
  t.equal(ranges.find('g', 50), undefined, 'behind it');
  t.equal(ranges.find('c', 100), undefined, 'too old');
  ranges.add('f0', parsePage('d/', page(['d/g'])), true, 200, 0);
  t.same(ranges.find('zz', 150), { listed: undefined, at: 200 }, 'the last range goes to the end');
  ranges.change('c', undefined);
  t.same(ranges.find('c', 50), { listed: undefined, at: 100 });
  ranges.change('d', { name: 'd', directory: true });
  t.equal(ranges.find('d', 50)?.listed?.directory, true);
});

t.test('a name at the end of a range may be a directory in the next', async t => {
  const ranges = new ListedRanges();
  ranges.add('', parsePage('', page(['a', 'a-1'])), false, 100, 0);
  t.equal(ranges.find('a', 50), undefined, 'a/ comes behind a-1');
  ranges.add('a-1', parsePage('', page(['b'], ['a/'])), false, 120, 0);
  t.same(ranges.find('a', 50)?.listed?.directory, true);
  t.equal(ranges.find('a', 50)?.at, 100, 'as old as the older of both');
});

t.test('only who asks in order, or for very many, is worth a listing', async t => {
  const walked = (names: readonly string[], size?: number): boolean[] => {
    const ranges = new ListedRanges();
    ranges.size = size;
    return names.map((name, i) => ranges.isWalked(name, i, 10_000));
  };
  t.same(walked(['m']), [false], 'a stray access');
  t.same(walked(['a', 'b', 'c', 'd']), [false, false, true, true]);
  t.same(walked(['d', 'c', 'b', 'a']), [false, false, false, false]);
  t.same(walked(['d', 'c', 'b', 'a'], 3000), [false, false, false, true], 'more than listing it all would cost');
  const ranges = new ListedRanges();
  ranges.isWalked('a', 0, 10_000);
  ranges.isWalked('b', 1, 10_000);
  t.equal(ranges.isWalked('c', 20_000, 10_000), false, 'long ago');
});

t.test('a file that ends one range and lies within another is a file', async t => {
  const ranges = new ListedRanges();
  ranges.add('a~', parsePage('d/', page(['d/b', 'd/c'])), false, 100, 0);
  // Asked for from c on; and then, newer, from before c on to its end: each knows the name, one alone the place of `c/`.
  ranges.add('b~', parsePage('d/', page(['d/c', 'd/d'])), false, 110, 0);
  ranges.add('a~', parsePage('d/', page(['d/b', 'd/c'])), false, 120, 0);
  const found = ranges.find('c', 50)?.listed;
  t.equal(found?.directory, false);
  t.equal(found?.object?.key, 'd/c');
  ranges.add('c.', parsePage('d/', page([], ['d/c/'])), false, 130, 0);
  t.equal(ranges.find('c', 50)?.listed?.directory, true, 'a directory of the same name shadows it');
});
