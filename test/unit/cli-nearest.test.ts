import fc from 'fast-check';
import t from 'tap';
import { editDistance, nearest } from '../../src/cli/nearest.ts';

t.test('the usual slips', async t => {
  const known = ['allow_other', 'umask', 'fmask', 'dmask', 'uid', 'gid', 'ro', 'region'];
  t.equal(nearest('allow-other', known), 'allow_other');
  t.equal(nearest('alow_othr', known), 'allow_other');
  t.equal(nearest('umaks', known), 'umask');
  t.equal(nearest('UMASK', known), 'umask');
  t.equal(nearest('reigon', known), 'region');
  t.equal(nearest('completely_else', known), undefined);
  t.equal(nearest('zz', known), undefined, 'a short word is not changed into another altogether');
});

t.test('the distance is a metric where that matters', async () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 7 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      const least = Math.abs(a.length - b.length);
      const most = Math.max(a.length, b.length);
      return editDistance(a, a) === 0 && distance === editDistance(b, a) && distance >= least && distance <= most;
    }),
  );
});
