import fc from 'fast-check';
import t from 'tap';
import { parseListing, quotedEtag } from '../../src/s3/listing.ts';
import { eachElement, rootElement, textsIn, unescapeXml, XmlError } from '../../src/s3/xml.ts';

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const formEncode = (text: string): string => encodeURIComponent(text).replaceAll('%20', '+').replaceAll('%2F', '/');

interface Entry {
  readonly key: string;
  readonly size: number;
}

function document(entries: readonly Entry[], prefixes: readonly string[], next?: string, encoded = true): string {
  const name = (key: string): string => escapeXml(encoded ? formEncode(key) : key);
  return `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><MaxKeys>1000</MaxKeys>${
    encoded ? '<EncodingType>url</EncodingType>' : ''
  }<IsTruncated>${next !== undefined}</IsTruncated>${
    next === undefined ? '' : `<NextContinuationToken>${escapeXml(next)}</NextContinuationToken>`
  }${entries
    .map(
      entry =>
        `<Contents><Key>${name(entry.key)}</Key><LastModified>2024-03-01T12:34:56.789Z</LastModified><ETag>&quot;${'a'.repeat(32)}&quot;</ETag><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><Size>${entry.size}</Size><Owner><ID>x</ID><DisplayName>y</DisplayName></Owner><StorageClass>STANDARD</StorageClass><RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>`,
    )
    .join(
      '',
    )}${prefixes.map(prefix => `<CommonPrefixes><Prefix>${name(prefix)}</Prefix></CommonPrefixes>`).join('')}</ListBucketResult>
`;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

t.test('a listing as S3 writes it', async t => {
  const xml = document(
    [
      { key: 'p/a b+c%&<한>', size: 12 },
      { key: 'p/', size: 0 },
    ],
    ['p/d/'],
    'tok&en=',
  );
  const listing = parseListing(bytes(xml), 'p/');
  t.same(listing, {
    objects: [
      {
        key: 'a b+c%&<한>',
        etag: `"${'a'.repeat(32)}"`,
        size: 12,
        lastModified: Date.UTC(2024, 2, 1, 12, 34, 56),
        storageClass: 'STANDARD',
      },
      {
        key: '',
        etag: `"${'a'.repeat(32)}"`,
        size: 0,
        lastModified: Date.UTC(2024, 2, 1, 12, 34, 56),
        storageClass: 'STANDARD',
      },
    ],
    prefixes: ['d/'],
    next: 'tok&en=',
    unreadable: 0,
  });
});

t.test('a store that does not encode keys', async t => {
  const listing = parseListing(bytes(document([{ key: 'a+b%20한', size: 1 }], [], undefined, false)), '');
  t.equal(listing.objects[0]?.key, 'a+b%20한', 'is taken at its word');
});

t.test('an empty listing', async t => {
  t.same(parseListing(bytes(document([], [])), 'x/').objects, []);
  t.same(parseListing(bytes('<ListBucketResult/>'), ''), { objects: [], prefixes: [], unreadable: 0 });
});

t.test('keys that are no UTF-8 are left out and counted', async t => {
  const xml = document([{ key: 'good', size: 1 }], []).replace('<Key>good</Key>', '<Key>b%FFd</Key>');
  t.match(parseListing(bytes(xml), ''), { objects: [], unreadable: 1 });
});

t.test('ETags have quotes, whatever the store writes', async t => {
  t.equal(quotedEtag('abc'), '"abc"');
  t.equal(quotedEtag('"abc"'), '"abc"');
  const xml = document([{ key: 'k', size: 1 }], []).replaceAll('&quot;', '');
  t.equal(parseListing(bytes(xml), '').objects[0]?.etag, `"${'a'.repeat(32)}"`);
});

t.test('what is no complete listing is refused', async t => {
  const good = document([{ key: 'k', size: 1 }], ['p/'], 'next');
  const bad: Record<string, string> = {
    'a web page': '<!DOCTYPE html><html><body>Sign in</body></html>',
    'an error': '<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>',
    nothing: '',
    'half of it': good.slice(0, good.length / 2),
    'all but the end': good.slice(0, -5),
    'something after the end': `${good}<html>`,
    'a size that is none': good.replace('<Size>1<', '<Size>1e9<'),
    'a time that is none': good.replace('2024-03', 'soon'),
    'an object without key': good.replace('<Key>k</Key>', ''),
    'a key not asked for': good.replace('<Key>k<', '<Key>../k<').replace('<Prefix>p/', '<Prefix>'),
    'a comment': good.replace('<Key>', '<!-- x --><Key>'),
    CDATA: good.replace('<Key>k</Key>', '<![CDATA[<Key>k</Key>]]>'),
    'an unknown entity': good.replace('<Key>k', '<Key>&bomb;'),
    'no token to go on': good.replace(/<NextContinuationToken>.*<\/NextContinuationToken>/, ''),
  };
  for (const [what, xml] of Object.entries(bad)) {
    const prefix = what === 'a key not asked for' ? 'p' : '';
    t.throws(() => parseListing(bytes(xml), prefix), XmlError, what);
  }
});

t.test('any keys come back', async t => {
  const key = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(fc.record({ key, size: fc.nat() })), fc.array(key), (entries, prefixes) => {
      const listing = parseListing(bytes(document(entries, prefixes)), '');
      t.same(
        listing.objects.map(object => [object.key, object.size]),
        entries.map(entry => [entry.key, entry.size]),
      );
      t.same(listing.prefixes, prefixes);
    }),
    { numRuns: 60 },
  );
});

t.test('no document, however broken, does anything but parse or throw XmlError', async t => {
  const good = document(
    [
      { key: 'some/key', size: 3 },
      { key: 'b', size: 4 },
    ],
    ['p/'],
    'next',
  );
  let refused = 0;
  const feed = (xml: string): void => {
    try {
      const listing = parseListing(bytes(xml), '');
      for (const object of listing.objects) {
        if (!Number.isSafeInteger(object.size) || Number.isNaN(object.lastModified)) t.fail('nonsense got through');
      }
    } catch (error) {
      refused++;
      if (!(error instanceof XmlError)) throw error;
    }
  };
  fc.assert(
    fc.property(fc.nat(good.length), fc.nat(40), fc.string({ unit: 'binary', maxLength: 10 }), (at, cut, junk) => {
      feed(good.slice(0, at) + junk + good.slice(at + cut));
    }),
    { numRuns: 3_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), raw => {
      try {
        parseListing(raw, '');
      } catch (error) {
        if (!(error instanceof XmlError)) throw error;
      }
    }),
    { numRuns: 1_000 },
  );
  t.ok(refused > 100, 'most of them were refused');
});

t.test('XML in small', async t => {
  t.equal(unescapeXml('&lt;&amp;&#xD55C;&#65;&apos;'), "<&한A'");
  for (const bad of ['&', '&#xD800;', '&#x110000;', '&nbsp;', '&amp']) t.throws(() => unescapeXml(bad), XmlError, bad);
  t.same(
    [...textsIn('<Error><Code>A</Code><Empty/><Deep><X>1</X></Deep></Error>', 'Error')],
    [
      ['Code', 'A'],
      ['Empty', ''],
    ],
  );
  t.throws(() => rootElement('<a></b>', 'a'), XmlError);
  const names: string[] = [];
  eachElement('<a x="1">t</a><b/><c><d>1</d></c>', 0, 33, name => names.push(name));
  t.same(names, ['a', 'b', 'c']);
});
