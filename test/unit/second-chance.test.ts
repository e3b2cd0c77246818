import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import t from 'tap';
import { SecondChance } from '../../src/second-chance.ts';

t.test('what was asked for stays longer than what was not', async t => {
  const map = new SecondChance<string, number>(3);
  for (const [i, key] of ['a', 'b', 'c'].entries()) map.set(key, i);
  t.equal(map.get('a'), 0);
  t.equal(map.peek('b'), 1, 'a look is no use');
  map.set('d', 3);
  t.same(
    ['a', 'b', 'c', 'd'].filter(key => map.has(key)),
    ['a', 'c', 'd'],
  );
  map.set('c', 5);
  map.set('e', 4);
  const kept = ['a', 'c', 'd', 'e'].filter(key => map.has(key));
  t.same(kept, ['c', 'd', 'e'], 'what was set again was used; what was passed over needs a new use');
  t.equal(map.get('c'), 5);
  t.equal(map.get('x'), undefined);
  t.equal(map.peek('x'), undefined);
  t.equal(map.delete('c'), true);
  t.equal(map.delete('c'), false);
  t.equal(map.size, 2);
});

t.test('it holds as many as it may, of what was set last and not deleted', async () => {
  const op = fc.record({ do: fc.constantFrom('set', 'get', 'delete'), key: fc.nat(12) });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 6 }), fc.array(op, { maxLength: 80 }), (max, ops) => {
      const map = new SecondChance<number, number>(max);
      const all = new Map<number, number>();
      ops.forEach((each, i) => {
        if (each.do === 'set') {
          map.set(each.key, i);
          all.set(each.key, i);
          if (map.peek(each.key) !== i) throw new Error('what was just set is gone');
        } else if (each.do === 'delete') {
          map.delete(each.key);
          all.delete(each.key);
        } else {
          const value = map.get(each.key);
          if (value !== undefined && value !== all.get(each.key)) throw new Error(`${value} is old`);
        }
        if (map.size > map.max) throw new Error('too many');
      });
      return true;
    }),
  );
});

t.test('what comes and goes leaves nothing behind', async t => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const map = new SecondChance<string, number>(100_000);
  for (let i = 0; i < 5000; i++) map.set(`stays ${i}`, i);
  const round = (): number => {
    for (let i = 0; i < 200_000; i++) {
      map.set(`goes ${i}`, i);
      map.delete(`goes ${i}`);
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const first = round();
  const grown = round() - first;
  t.ok(grown < 3 * 2 ** 20, `${grown} bytes more after 200,000 more`);
  t.equal(map.size, 5000);
});

t.test('a million entries through a full one take no time to speak of', async t => {
  const map = new SecondChance<number, number>(50_000);
  const before = process.cpuUsage();
  for (let i = 0; i < 1_000_000; i++) map.set(i, i);
  const { user } = process.cpuUsage(before);
  t.ok(user < 5_000_000, `${user} µs: stepping over what was deleted at the beginning would take minutes`);
  t.equal(map.size, 50_000);
});
