/** What comes next in a tree, how far ahead, and what is given up. No request, no clock. */
import fc from 'fast-check';
import t from 'tap';
import { type Coming, Forecast } from '../../src/fs/forecast.ts';
import { Listing } from '../../src/fs/listing.ts';
import { Habits, type Order } from '../../src/fs/walk-habits.ts';

function listingOf(names: readonly string[]): Listing {
  const listing = new Listing(0);
  const listed = names.map(name =>
    name.endsWith('/')
      ? { name: name.slice(0, -1), directory: true }
      : { name, directory: false, object: { key: name, etag: '"e"', size: 100, lastModified: 0 } },
  );
  listing.add({ names: listed, marker: undefined, unshowable: [], last: names.at(-1), unordered: false }, 0);
  listing.complete = true;
  return listing;
}

function readerOf(tree: Readonly<Record<string, readonly string[]>>, order: Order = 'listing') {
  const listings = new Map(Object.entries(tree).map(([key, names]) => [key, listingOf(names)]));
  const habits = new Habits();
  for (let each = habits, depth = 0; depth < 5; each = each.below, depth++) {
    for (const habit of [each.reads, each.descends]) {
      habit.seen();
      habit.done();
    }
  }
  const frames = [{ key: '', listing: listings.get('')!, habits, next: 0 }];
  const forecast = new Forecast({ order, frames, now: 0, isWanted: () => true }, key => listings.get(key));
  return { forecast, listings };
}

const keyOf = ({ directory, listed }: Coming): string => directory + listed.name;

function all(forecast: Forecast): string[] {
  const keys: string[] = [];
  for (let item = forecast.next(); item; item = forecast.next()) keys.push(keyOf(item));
  return keys;
}

const TREE = { '': ['a', 'b/', 'c'], 'b/': ['d', 'e/', 'f'], 'b/e/': ['g'] };

t.test('directories are gone into where their names come, and left for what follows', async t => {
  t.same(all(readerOf(TREE).forecast), ['a', 'b', 'b/d', 'b/e', 'b/e/g', 'b/f', 'c']);
});

t.test('it waits for a listing, and goes on when that is there', async t => {
  const { forecast, listings } = readerOf({ '': TREE[''] });
  t.same(all(forecast), ['a', 'b']);
  t.equal(forecast.blockedBy?.name, 'b');
  listings.set('b/', listingOf(['d']));
  t.same(all(forecast), ['b/d', 'c']);
  t.equal(forecast.blockedBy, undefined);
});

t.test('in any order of a tree the next name is the first of those to come', async () => {
  const name = fc.constantFrom('a', 'b', 'c-', 'd.', 'e');
  fc.assert(
    fc.property(
      fc.uniqueArray(name),
      fc.uniqueArray(name),
      fc.constantFrom<Order>('listing', 'ino'),
      (top, below, order) => {
        const tree: Record<string, string[]> = { '': top.map((each, i) => (i % 2 ? `${each}/` : each)) };
        for (const each of tree['']!) if (each.endsWith('/')) tree[each] = below;
        const expected = all(readerOf(tree, order).forecast);
        const { forecast } = readerOf(tree, order);
        forecast.next();
        for (const [i, key] of expected.entries()) {
          if (!forecast.expects(key) || !forecast.reached(key, i)) return false;
          forecast.next();
        }
        return forecast.size === 0 && forecast.next() === undefined;
      },
    ),
  );
});

t.test('as far ahead as the program comes in a quarter of a second, also behind a directory', async t => {
  const names = Array.from({ length: 900 }, (_, i) => (i % 10 === 5 ? `d${1000 + i}/` : `d${1000 + i}`));
  const tree: Record<string, string[]> = { '': names };
  for (const name of names) if (name.endsWith('/')) tree[name] = [];
  for (const pace of [5, 25, 100]) {
    const { forecast } = readerOf(tree);
    for (let i = 0, now = 0; i < 300; i++, now += pace) {
      while (forecast.size < 40) {
        const item = forecast.next()!;
        item.askedAt = now;
      }
      forecast.reached(names[i]!.replace('/', ''), now);
    }
    t.ok(Math.abs(forecast.window - 250 / pace) <= 1 + 25 / pace, `${forecast.window} names at ${pace} ms each`);
  }
});

t.test('what was asked for and passed over ends it, what was not asked for does not', async t => {
  const names = Array.from({ length: 30 }, (_, i) => `f${100 + i}`);
  for (const isAsked of [true, false]) {
    const { forecast } = readerOf({ '': names });
    for (let i = 0; i < 20; i++) {
      const item = forecast.next()!;
      if (isAsked) item.askedAt = 0;
    }
    t.equal(forecast.reached(names[2]!, 1), true);
    t.equal(forecast.reached(names[12]!, 2), !isAsked);
  }
});

t.test('bytes ahead are counted until the program has come to them; what is too old is told', async t => {
  const { forecast } = readerOf({ '': ['a', 'b', 'c'] });
  for (const [i, item] of [forecast.next()!, forecast.next()!, forecast.next()!].entries()) {
    item.askedAt = i * 100;
    forecast.take(item, 10);
  }
  t.equal(forecast.bytes, 30);
  t.same(forecast.outdated(50, 50).map(keyOf), ['a']);
  forecast.reached('b', 300);
  t.equal(forecast.bytes, 10);
  t.same(forecast.outdated(50, 50).map(keyOf), []);
});
