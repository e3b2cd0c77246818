import t from 'tap';
import { InodeNumbers } from '../../src/fs/inode-numbers.ts';
import { inoBelow, inoOf, ROOT_INO } from '../../src/fs/keys.ts';

const place = (name: string, parent = ROOT_INO): { parent: bigint; name: string } => ({ parent, name });

t.test('a number comes from the place', t => {
  const numbers = new InodeNumbers();
  t.equal(numbers.of(place('f')), inoOf('f'));
  t.equal(numbers.of(place('f', inoOf('d/'))), inoOf('d/f'));
  t.end();
});

t.test('it goes along with a rename, and the old place gets another one', t => {
  const numbers = new InodeNumbers();
  const ino = numbers.of(place('log'));
  numbers.moved(ino, place('log'), place('log.1'));
  t.equal(numbers.of(place('log.1')), ino);
  const fresh = numbers.of(place('log'));
  t.not(fresh, ino);
  t.equal(numbers.of(place('log')), fresh, 'and keeps it');
  numbers.moved(ino, place('log.1'), place('log.2'));
  numbers.moved(fresh, place('log'), place('log.1'));
  const third = numbers.of(place('log'));
  t.equal(new Set([ino, fresh, third]).size, 3);
  t.equal(numbers.of(place('log.2')), ino);
  t.equal(numbers.of(place('log.1')), fresh);
  t.end();
});

t.test('back at its own place it needs no memory', t => {
  const numbers = new InodeNumbers();
  const ino = numbers.of(place('a'));
  numbers.moved(ino, place('a'), place('b'));
  numbers.moved(ino, place('b'), place('a'));
  t.equal(numbers.of(place('a')), ino);
  t.equal(numbers.of(place('b')), inoOf('b'));
  t.end();
});

t.test('an exchange', t => {
  const numbers = new InodeNumbers();
  const [a, b] = [numbers.of(place('a')), numbers.of(place('b'))];
  numbers.moved(a, place('a'), place('b'));
  numbers.moved(b, place('b'), place('a'));
  t.equal(numbers.of(place('a')), b);
  t.equal(numbers.of(place('b')), a);
  t.end();
});

t.test('what is unlinked while open keeps its number to itself', t => {
  const numbers = new InodeNumbers();
  const ino = numbers.of(place('f'));
  numbers.nameless(ino, place('f'));
  const second = numbers.of(place('f'));
  t.not(second, ino);
  numbers.released(ino);
  t.equal(numbers.of(place('f')), second);
  t.end();
});

t.test('what lies below a renamed directory keeps its number', t => {
  const numbers = new InodeNumbers();
  const directory = numbers.of(place('d/'));
  const below = numbers.of(place('f', directory));
  numbers.moved(directory, place('d/'), place('e/'));
  t.equal(numbers.of(place('f', numbers.of(place('e/')))), below);
  t.equal(below, inoBelow(directory, 'f'));
  t.end();
});
