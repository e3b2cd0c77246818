/** Names in all listings together are bounded: the ones that nobody used go first, and nothing but requests is lost. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { Listing } from '../../src/fs/listing.ts';
import { ListingLimit } from '../../src/fs/listing-limit.ts';
import { makeFileSystem } from '../support/filesystem.ts';

function listingOf(names: number, name: string): Listing {
  const listing = new Listing(0);
  for (let i = 0; i < names; i++) listing.names.set(`${name}${i}`, { name: `${name}${i}`, directory: true });
  return listing;
}

t.test('those that were not used for longest go, the newest stays', async t => {
  const limit = new ListingLimit(100);
  const there = new Map<string, Listing>();
  const keep = (name: string, names: number): Listing => {
    const listing = there.get(name) ?? listingOf(names, name);
    there.set(name, listing);
    limit.keep(
      listing,
      () => there.get(name) === listing,
      () => void there.delete(name),
    );
    return listing;
  };
  const first = keep('a', 30);
  keep('b', 30);
  keep('c', 30);
  t.equal(limit.names, 90);
  first.used = true;
  keep('d', 30);
  t.same([...there.keys()], ['a', 'd'], 'b and c went: a was used');
  // What went by itself is found out when room is needed.
  there.delete('d');
  keep('e', 20);
  t.ok(there.has('e'));
  const large = keep('f', 500);
  t.same([...there.keys()], ['f'], 'however large the newest is');
  t.equal(limit.names, 500);
  for (let i = 0; i < 50; i++) large.names.delete(`f${i}`);
  keep('f', 0);
  t.equal(limit.names, 450, 'counted anew');
});

t.test('a listing that another one has replaced is let go of, however far the limit', async t => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const limit = new ListingLimit(100_000_000);
  const there = new Map<string, Listing>();
  const round = (): number => {
    for (let i = 0; i < 2000; i++) {
      const name = `d${i % 10}`;
      const listing = listingOf(100, name);
      there.set(name, listing);
      limit.keep(
        listing,
        () => there.get(name) === listing,
        () => void there.delete(name),
      );
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const first = round();
  const grown = round() - first;
  t.ok(grown < 3 * 2 ** 20, `${grown} bytes more after 2,000 more`);
  t.equal(there.size, 10, 'those that are in use stay');
});

t.test('a walk beyond the limit of names lists again what it comes back to, and is told the truth', async t => {
  const { kernel, store, filesystem } = makeFileSystem({ options: { stat: 'list' }, limits: { listedNames: 200 } });
  for (let d = 0; d < 20; d++) for (let f = 0; f < 50; f++) store.putForeign(`d${d}/f${f}`, 'x');
  for (let round = 0; round < 2; round++) {
    for (let d = 0; d < 20; d++) t.equal((await kernel.readdir(`/d${d}`)).length, 50);
  }
  t.ok(filesystem.namespace.listings.limit.names <= 200 + 50, `${filesystem.namespace.listings.limit.names} names`);
  t.ok(store.count('ListObjectsV2') > 21, 'the second round had to list');
  t.equal((await kernel.stat('/d3/f7')).size, 1);
  await t.rejects(kernel.stat('/d3/none'), { code: 'ENOENT' });
});

t.test('names that this mount makes count too', async t => {
  const { kernel, filesystem, store } = makeFileSystem({ limits: { listedNames: 100 } });
  for (let d = 0; d < 4; d++) {
    await kernel.mkdir(`/d${d}`);
    for (let f = 0; f < 60; f++) await kernel.writeFile(`/d${d}/f${f}`, 'x');
  }
  t.ok(filesystem.namespace.listings.limit.names <= 160, `${filesystem.namespace.listings.limit.names} names`);
  for (let d = 0; d < 4; d++) t.equal((await kernel.readdir(`/d${d}`)).length, 60);
  t.equal(store.keys().length, 244);
});

t.test('far above the limit of inodes a directory shows names, and a lookup makes the inode', async t => {
  const { filesystem, kernel, store } = makeFileSystem({ options: { stat: 'list' }, limits: { inodes: 100 } });
  for (let i = 0; i < 400; i++) store.putForeign(`d/f${i}`, 'x');
  const { nodeid } = await filesystem.lookup(1, 'd', kernel.ctx);
  const { fh } = filesystem.opendir(nodeid, 0, kernel.ctx);
  let withInode = 0;
  let names = 0;
  const add = (entry: { entry?: { nodeid: number } }): boolean => {
    names++;
    if (entry.entry) {
      withInode++;
      filesystem.namespace.claim(filesystem.namespace.inode(entry.entry.nodeid));
    }
    return true;
  };
  await filesystem.readdir(nodeid, fh, 2, { plus: true, add }, kernel.ctx);
  t.equal(names, 400);
  t.ok(withInode >= 100 && withInode <= 130, `${withInode} inodes`);
  t.equal((await kernel.stat('/d/f399')).size, 1);
});
