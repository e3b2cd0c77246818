import fc from 'fast-check';
import t from 'tap';
import { fromByteString, percentDecode, percentEncode, toByteString } from '../../src/embedded-s3/byte-string.ts';
import { Content } from '../../src/embedded-s3/content.ts';
import { listPage } from '../../src/embedded-s3/listing.ts';
import { ObjectIndex } from '../../src/embedded-s3/object-index.ts';
import { Bucket, PLAIN_ATTRIBUTES, type StoredObject } from '../../src/embedded-s3/state.ts';

const object = (key: string): StoredObject => ({
  key: toByteString(key),
  content: Content.empty,
  etag: '',
  lastModified: 0,
  attributes: PLAIN_ATTRIBUTES,
  checksum: undefined,
  parts: undefined,
  versionId: undefined,
  deleteMarker: false,
  previous: undefined,
});

t.test('byte strings have the order of UTF-8 and come back as they were', async t => {
  // Characters of one to four bytes, and those where UTF-16's order is another.
  const unit = fc.constantFrom('a', '/', '\x7f', 'é', '한', '\ud7ff', '\ue000', '\uff5e', '😀', '\u{10ffff}');
  const text = fc.string({ unit, maxLength: 6 });
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(text, text, (a, b) => {
        const order = Buffer.compare(Buffer.from(a), Buffer.from(b));
        const [x, y] = [toByteString(a), toByteString(b)];
        const same = (x < y ? -1 : x > y ? 1 : 0) === order;
        return same && fromByteString(x) === Buffer.from(a).toString() && percentDecode(percentEncode(x, false)) === x;
      }),
    ),
  );
});

t.test('percentDecode refuses what is no UTF-8 and broken escapes', async t => {
  t.equal(percentDecode('%ff'), undefined);
  t.equal(percentDecode('%C3'), undefined);
  t.equal(percentDecode('100%'), undefined);
  t.equal(percentDecode('%ED%95%9C'), toByteString('한'));
});

t.test('the index is a sorted map, through splits and empty leaves', async t => {
  const index = new ObjectIndex<StoredObject>();
  const model = new Map<string, StoredObject>();
  // A fixed sequence that hits every number below 4,096 in a scattered order, so that leaves split in the middle.
  for (let i = 0, n = 1; i < 6000; i++, n = (n * 1229 + 4099) % 4096) {
    const entry = object(`k${n}`);
    if (i % 3 === 2) {
      if (index.delete(entry.key) !== model.delete(entry.key)) t.fail(`delete of ${entry.key}`);
    } else {
      index.set(entry);
      model.set(entry.key, entry);
    }
  }
  const sorted = [...model.keys()].sort();
  t.same(
    [...index].map(one => one.key),
    sorted,
  );
  t.equal(index.size, sorted.length);
  for (const key of ['', 'k', 'k2', 'k2000', 'k999', 'z']) {
    t.equal(
      index.cursor(key).next()?.key,
      sorted.find(one => one >= key),
      `first at or after '${key}'`,
    );
    t.equal(index.get(key), model.get(key));
  }
  for (const key of sorted) index.delete(key);
  t.equal(index.size, 0);
  t.equal(index.cursor().next(), undefined);
});

t.test('appending in order leaves full leaves, and inserts at both ends work', async t => {
  const index = new ObjectIndex<StoredObject>();
  for (let i = 1000; i < 3000; i++) index.set(object(`${i}`));
  for (let i = 999; i >= 100; i--) index.set(object(`0${i}`));
  const keys = [...index].map(one => one.key);
  t.same(keys, [...keys].sort());
  t.equal(keys.length, 2900);
});

/** The definition of a listing, without any search. */
function naivePage(keys: readonly string[], prefix: string, delimiter: string, after: string | undefined, max: number) {
  const names: string[] = [];
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue;
    const at = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    const name = at < 0 ? key : key.slice(0, at + delimiter.length);
    if (after !== undefined) {
      if (name <= after) continue;
      // A place within a common prefix leaves all of that prefix behind.
      if (at >= 0 && after.startsWith(name)) continue;
    }
    if (!names.includes(name)) names.push(name);
  }
  return { names: names.slice(0, max), more: max > 0 && names.length > max };
}

t.test('pages are those of the definition, with any prefix, delimiter and place to go on', async t => {
  const key = fc.string({ unit: fc.constantFrom('a', 'b', '/', '-', 'é'), minLength: 1, maxLength: 5 });
  const place = fc.option(key, { nil: undefined });
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.uniqueArray(key, { maxLength: 25 }),
        fc.constantFrom('', 'a', 'a/', '/'),
        fc.constantFrom('', '/', '-', 'b/'),
        place,
        fc.integer({ min: 0, max: 6 }),
        (keys, prefix, delimiter, after, max) => {
          const bucket = new Bucket('b', 'us-east-1', 0);
          for (const one of keys) bucket.objects.set(object(one));
          const from = after === undefined ? undefined : toByteString(after);
          const page = listPage(bucket, prefix, delimiter, from, max);
          const names = [...page.entries.map(one => one.key), ...page.prefixes].sort();
          const expected = naivePage(keys.map(toByteString).sort(), prefix, delimiter, from, max);
          const complete = (page.next !== undefined) === expected.more;
          return complete && JSON.stringify(names) === JSON.stringify(expected.names);
        },
      ),
      { numRuns: 500 },
    ),
  );
});

t.test('going on from page to page finds everything once', async t => {
  const key = fc.string({ unit: fc.constantFrom('a', 'b', '/'), minLength: 1, maxLength: 4 });
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.uniqueArray(key, { maxLength: 20 }), fc.integer({ min: 1, max: 3 }), (keys, max) => {
        const bucket = new Bucket('b', 'us-east-1', 0);
        for (const one of keys) bucket.objects.set(object(one));
        const found: string[] = [];
        let after: string | undefined;
        do {
          const page = listPage(bucket, '', '/', after, max);
          found.push(...[...page.entries.map(one => one.key), ...page.prefixes].sort());
          after = page.next;
        } while (after !== undefined);
        return JSON.stringify(found) === JSON.stringify(naivePage([...keys].sort(), '', '/', undefined, 100).names);
      }),
    ),
  );
});
