import fc from 'fast-check';
import t from 'tap';
import { FsError } from '../../src/errors.ts';
import type { Entry, RequestContext } from '../../src/fuse/ops.ts';
import { PathInodes } from '../../src/fuse/path-inodes.ts';

const CTX: RequestContext = { uid: 0, gid: 0, pid: 0, signal: new AbortController().signal };
const TIME = { sec: 0, nsec: 0 };
const TTL = 1000;

/** Any path leads somewhere: a number for each, until it is moved to another. */
class Tree {
  readonly counts = new Map<number, number>();
  readonly numbers = new Map<string, number>();
  readonly missing = new Set<string>();
  lookups = 0;
  next = 2;

  entryOf(nodeid: number): Entry {
    this.counts.set(nodeid, (this.counts.get(nodeid) ?? 0) + 1);
    const attributes = { ino: 1n, mode: 0o40755, nlink: 1, uid: 0, gid: 0, rdev: 0, size: 0, blocks: 0, blksize: 512 };
    return {
      nodeid,
      entryTtl: TTL,
      attributesTtl: TTL,
      attributes: { ...attributes, atime: TIME, mtime: TIME, ctime: TIME },
    };
  }

  lookup(parent: number, name: string | undefined): Promise<Entry> | Entry {
    if (parent !== 1 && (this.counts.get(parent) ?? 0) <= 0)
      throw new Error(`lookup below ${parent}, which is forgotten`);
    if (name === undefined || this.missing.has(name)) throw new FsError('ENOENT');
    this.lookups++;
    const key = `${parent}/${name}`;
    if (!this.numbers.has(key)) this.numbers.set(key, this.next++);
    const entry = this.entryOf(this.numbers.get(key)!);
    return this.lookups % 2 === 0 ? entry : Promise.resolve(entry);
  }

  forget(nodeid: number, count: number): void {
    const left = (this.counts.get(nodeid) ?? 0) - count;
    if (left < 0) throw new Error(`${nodeid} is given back too often`);
    this.counts.set(nodeid, left);
  }

  get held(): number {
    return [...this.counts.values()].reduce((sum, count) => sum + count, 0);
  }
}

t.test('names are looked up once in their TTL', async t => {
  const tree = new Tree();
  let now = 0;
  const inodes = new PathInodes(tree, { now: () => now });
  const first = await inodes.take('/a/b', CTX);
  const again = await inodes.take('/a/b', CTX);
  t.equal(first, again);
  t.equal(tree.lookups, 2);
  now += TTL + 1;
  inodes.release(await inodes.take('/a/b', CTX));
  t.equal(tree.lookups, 4);
  for (const each of [first, again]) inodes.release(each);
  inodes.clear();
  t.equal(tree.held, 0, 'all is given back');
});

t.test('what is in use is not forgotten when its name leads elsewhere', async t => {
  const tree = new Tree();
  const inodes = new PathInodes(tree);
  const held = await inodes.take('/a/b', CTX);
  inodes.drop('/a');
  t.equal(tree.counts.get(held.nodeid), 1);
  const { parent, name } = await inodes.takeParent('/a/b', CTX);
  t.equal(name, 'b');
  inodes.release(parent);
  inodes.release(held);
  t.equal(tree.counts.get(held.nodeid), 0);
});

t.test('a name that is gone is dropped, and one that is no UTF-8 never asked for', async t => {
  const tree = new Tree();
  let now = 0;
  const inodes = new PathInodes(tree, { now: () => now });
  inodes.release(await inodes.take('/a', CTX));
  now += TTL + 1;
  tree.missing.add('a');
  await t.rejects(inodes.take('/a', CTX), { code: 'ENOENT' });
  t.equal(tree.held, 0);
  t.same((await inodes.takeParent('/b\ufffd', CTX)).name, undefined);
  await t.rejects(inodes.takeParent('/', CTX), { code: 'EBUSY' });
});

t.test('whatever happens at once, lookups and forgets are in balance', async () => {
  const path = fc
    .array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 4 })
    .map(names => `/${names.join('/')}`);
  const action = fc.record({ path, does: fc.constantFrom('take', 'drop', 'entry', 'wait', 'move'), holds: fc.nat(3) });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), async actions => {
      const tree = new Tree();
      let now = 0;
      const inodes = new PathInodes(tree, { now: () => now, capacity: 4 });
      await Promise.all(
        actions.map(async ({ path, does, holds }) => {
          if (does === 'drop') inodes.drop(path);
          else if (does === 'entry') inodes.dropEntry(holds + 1, 'a');
          else if (does === 'wait') now += TTL / 2;
          else if (does === 'move')
            for (const key of [...tree.numbers.keys()].slice(0, 2)) tree.numbers.set(key, tree.next++);
          else {
            const inode = await inodes.take(path, CTX);
            for (let i = 0; i < holds; i++) await null;
            if (inode.nodeid !== 1 && !((tree.counts.get(inode.nodeid) ?? 0) > 0)) throw new Error('forgotten in use');
            inodes.release(inode);
          }
        }),
      );
      inodes.clear();
      if (tree.held !== 0) throw new Error(`${tree.held} lookups are left`);
    }),
  );
});
