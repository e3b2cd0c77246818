/** Several pages of a large directory at once: every name once and in order, whatever the names are, and few requests for nothing. */
import fc from 'fast-check';
import t from 'tap';
import { compareKeys } from '../../src/fs/keys.ts';
import { nameAt, numberIn, numberingOf } from '../../src/fs/page-places.ts';
import { PagesAhead } from '../../src/fs/pages-ahead.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { MemoryStore } from '../support/memory-store.ts';

interface Read {
  readonly keys: string[];
  readonly lists: number;
  readonly ms: number;
  readonly pages: number;
}

async function readAll(keys: readonly string[]): Promise<Read> {
  const clock = new ManualClock();
  const store = new MemoryStore({ clock, latency: 40 });
  for (const key of keys) store.putForeign(key, '');
  const found: string[] = [];
  let done = false;
  const work = (async () => {
    const first = await store.list({ prefix: 'd/', delimiter: '/' });
    const take = (page: typeof first): void =>
      void found.push(...[...page.objects.map(({ key }) => key), ...page.prefixes].sort(compareKeys));
    take(first);
    const names = found.map(key => key.slice(2));
    if (first.next === undefined) return;
    const pages = new PagesAhead(store, clock, 'd/', names, names.at(-1)!, first.next);
    for (;;) {
      const { page } = await pages.next();
      take(page);
      if (page.next === undefined) return;
    }
  })().finally(() => {
    done = true;
  });
  while (!done) await clock.advance(1);
  await work;
  const { length: pages } = Array.from({ length: Math.ceil(found.length / 1000) });
  return { keys: found, lists: store.count('ListObjectsV2'), ms: clock.monotonic(), pages };
}

const pad = (i: number, width = 6): string => String(i).padStart(width, '0');
function hashed(i: number): string {
  return `${((Math.imul(i + 1, 2654435761) ^ (i << 7)) >>> 0).toString(16).padStart(8, '0')}-${i}`;
}

const KINDS: readonly { name: string; key: (i: number) => string; lists: number; ms: number }[] = [
  { name: 'numbered', key: i => `d/file-${pad(i)}.dat`, lists: 1.21, ms: 0.35 },
  { name: 'numbered with gaps', key: i => `d/part-${pad(i * 37, 8)}`, lists: 1.21, ms: 0.35 },
  { name: 'hashed', key: i => `d/${hashed(i)}`, lists: 1.4, ms: 0.5 },
  { name: 'directories', key: i => `d/year-${pad(i)}/x`, lists: 1.21, ms: 0.35 },
  { name: 'not padded', key: i => `d/${i}`, lists: 1.45, ms: 1.1 },
  {
    name: 'by day',
    key: i => `d/2024-${pad(1 + ((i / 2500) | 0), 2)}-${pad(1 + (((i / 90) | 0) % 28), 2)}T${i}`,
    lists: 1.3,
    ms: 1.1,
  },
  { name: 'of two kinds', key: i => (i % 2 ? `d/b-${pad(i)}` : `d/a-${pad(i)}`), lists: 1.35, ms: 0.8 },
];

for (const { name, key, lists, ms } of KINDS) {
  t.test(`names ${name}`, async t => {
    const keys = Array.from({ length: 30_000 }, (_, i) => key(i));
    const expected = keys.map(each => (name === 'directories' ? each.slice(0, -1) : each)).sort(compareKeys);
    const read = await readAll(keys);
    t.ok(read.keys.join() === expected.join(), 'every name, once, in order');
    t.ok(read.lists <= lists * read.pages, `${read.lists} LISTs for ${read.pages} pages`);
    t.ok(read.ms <= ms * 40 * read.pages, `${read.ms} ms, in turn ${40 * read.pages}`);
  });
}

t.test('ten pages', async t => {
  const read = await readAll(Array.from({ length: 10_000 }, (_, i) => `d/file-${pad(i)}`));
  t.ok(read.lists <= 14, `${read.lists} LISTs`);
  t.ok(read.ms <= 8 * 41, `${read.ms} ms`);
});

t.test('any names', async () => {
  const part = fc.constantFrom('0', '1', '9', 'a', 'z', '-', '/', '\u{1F600}', '\u{FFA0}');
  const stem = fc.array(part, { maxLength: 3 }).map(parts => parts.join(''));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(stem, fc.integer({ min: 1, max: 900 }), fc.integer({ min: 1, max: 9 }), stem), {
        minLength: 1,
        maxLength: 6,
      }),
      async stems => {
        const keys = new Set<string>();
        for (const [before, count, width, after] of stems) {
          for (let i = 0; i < count; i++) keys.add(`d/${before}${pad(i, width)}${after}`);
        }
        const expected = new Set(
          [...keys].map(each => (each.indexOf('/', 2) < 0 ? each : each.slice(0, each.indexOf('/', 2) + 1))),
        );
        const { keys: found } = await readAll([...keys]);
        return found.join() === [...expected].sort(compareKeys).join();
      },
    ),
    { numRuns: 25 },
  );
});

t.test('places lie in the order of their numbers, and a name has the number of its place', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 99_000 }), fc.integer({ min: 2, max: 999 }), (from, count) => {
      const names = Array.from({ length: count }, (_, i) => `file-${pad(from + i)}.dat`);
      const numbering = numberingOf(names)!;
      const at = numberIn(names[0]!, numbering)!;
      return numbering.step === 1 && `file-${pad(from + count)}`.startsWith(nameAt(at + count, numbering) ?? '?');
    }),
  );
});

t.test('a page with nothing in it is no end, and is asked for once', async t => {
  const clock = new ManualClock();
  const store = new MemoryStore({ clock });
  let asked = 0;
  // Keys that are no UTF-8 are left out of a page; stores whose deleted keys leave marks give empty ones too.
  store.intercept(async (call, proceed) => {
    if (call.list?.continuation !== 'empty') return proceed();
    if (asked++ > 0) throw new Error('asked for again');
    return { objects: [], prefixes: [], next: 'kd/b', serverDate: 0 };
  });
  store.putForeign('d/c', 'x');
  const pages = new PagesAhead(store, clock, 'd/', ['a'], 'a', 'empty');
  const empty = await pages.next();
  t.equal(empty.page.objects.length, 0);
  t.ok(empty.page.next !== undefined);
  const { page } = await pages.next();
  t.strictSame(
    page.objects.map(({ key }) => key),
    ['d/c'],
  );
  t.equal(page.next, undefined);
});

t.test('names that lie denser than the first of them cost no more LISTs for that', async t => {
  const sparse = Array.from({ length: 4000 }, (_, i) => `d/${pad(i * 5000, 8)}`);
  const dense = Array.from({ length: 30_000 }, (_, i) => `d/${pad(20_000_000 + i, 8)}`);
  const read = await readAll([...sparse, ...dense]);
  t.equal(read.keys.length, 34_000);
  t.ok(read.lists <= 1.5 * read.pages, `${read.lists} LISTs for ${read.pages} pages`);
});
