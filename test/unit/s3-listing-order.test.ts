/** Stores that list in no order are found out, and what is made of their pages. */
import t from 'tap';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { ListingOrder } from '../../src/s3/listing-order.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { ListPage } from '../../src/s3/store.ts';
import { silentTelemetry } from '../../src/telemetry.ts';

const page = (...keys: string[]): ListPage => ({
  objects: keys.map(key => ({ key, etag: '"e"', size: 1, lastModified: 0 })),
  prefixes: [],
  serverDate: 0,
});

t.test('the order of UTF-8 is no disorder, although it is not that of JavaScript', async t => {
  const order = new ListingOrder(silentTelemetry, true);
  const first = page('a', 'b', '\uffa0', '\u{1f600}');
  t.equal(order.page(first), first);
  t.ok(order.ordered);
  t.same(
    order.page(page('b', 'a', '\u{1f600}', '\uffa0')).objects.map(({ key }) => key),
    ['a', 'b', '\uffa0', '\u{1f600}'],
  );
  t.notOk(order.ordered);
  t.equal(order.page(first).unordered, true, 'from then on each page is marked');
});

t.test('prefixes tell too', async t => {
  const order = new ListingOrder(silentTelemetry, true);
  t.same(order.page({ ...page('a'), prefixes: ['c/', 'b/'] }).prefixes, ['b/', 'c/']);
  t.notOk(order.ordered);
});

t.test('so does a refused start-after', async t => {
  const s3 = await startEmbeddedS3({ buckets: ['works'], modes: { unorderedListing: true } });
  const store = await openS3Store({ bucket: 'works', url: s3.url, credentials: async () => s3.credential });
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  s3.putObject('works', 'one', '');
  t.equal((await store.list({ prefix: '' })).unordered, undefined, 'one name is in order');
  t.ok(store.features.orderedListing);
  await t.rejects(store.list({ prefix: '', startAfter: 'a' }), /ListObjectsV2/);
  t.notOk(store.features.orderedListing);
});
