import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { formatOptionList, type OptionWord, parseOptionList, splitOptionWords } from '../../src/cli/option-words.ts';

const known = (name: string): boolean => name === 'umask' || name === 'allow_other';

t.test('every spelling of -o gives the same words', async t => {
  for (const args of [
    ['-o', 'umask=0022,allow_other'],
    ['-oumask=0022,allow_other'],
    ['-o=umask=0022,allow_other'],
    ['-o', 'umask=0022', '-oallow_other'],
    ['--umask=0022', '-o', 'allow_other'],
  ]) {
    t.same(
      splitOptionWords(args, known).words,
      [{ name: 'umask', value: '0022' }, { name: 'allow_other' }],
      args.join(' '),
    );
  }
});

t.test('short flags in one cluster with -o stay flags', async t => {
  t.same(splitOptionWords(['-fdo', 'ro', 'b'], known), { words: [{ name: 'ro' }], rest: ['-fd', 'b'] });
});

t.test('escapes as libfuse has them', async t => {
  t.same(parseOptionList('fsname=a\\,b,x=\\\\,y=\\054z'), [
    { name: 'fsname', value: 'a,b' },
    { name: 'x', value: '\\' },
    { name: 'y', value: ',z' },
  ]);
  t.same(parseOptionList('a,,b,'), [{ name: 'a' }, { name: 'b' }]);
});

t.test('-o at the end is told', async t => {
  t.throws(() => splitOptionWords(['b', '/mnt', '-o'], known), /-o needs a list/);
});

t.test('nothing after -- is an option', async t => {
  t.same(splitOptionWords(['--', '-o', 'ro'], known), { words: [], rest: ['--', '-o', 'ro'] });
});

t.test('whatever the words and however they are grouped and spelled, they come back in order', async () => {
  const letters = fc.constantFrom(...'abcxyz_09.,\\= 한글/:'.split(''));
  const name = fc.string({ unit: fc.constantFrom(...'abc_,\\ 한'.split('')), minLength: 1, maxLength: 8 });
  const word: fc.Arbitrary<OptionWord> = fc.oneof(
    name.map(value => ({ name: value })),
    fc.record({ name, value: fc.string({ unit: letters, maxLength: 8 }) }, { noNullPrototype: true }),
  );
  const spelled = fc.record({
    words: fc.array(word, { minLength: 1, maxLength: 4 }),
    spelling: fc.constantFrom<'-o LIST' | '-oLIST' | '-o=LIST' | '-foLIST'>('-o LIST', '-oLIST', '-o=LIST', '-foLIST'),
  });
  const other = fc.constantFrom('bucket', '/mnt', '-d', '--nonempty', '--url', 'it');
  fc.assert(
    fc.property(fc.array(fc.oneof(spelled, other), { maxLength: 6 }), items => {
      const args: string[] = [];
      const expected: OptionWord[] = [];
      const rest: string[] = [];
      for (const item of items) {
        if (typeof item === 'string') {
          args.push(item);
          rest.push(item);
          continue;
        }
        const list = formatOptionList(item.words);
        if (item.spelling === '-o LIST') args.push('-o', list);
        else args.push(item.spelling.replace('LIST', () => list));
        if (item.spelling === '-foLIST') rest.push('-f');
        expected.push(...item.words);
      }
      const split = splitOptionWords(args, known);
      assert.deepEqual(split, { words: expected, rest });
    }),
  );
});
