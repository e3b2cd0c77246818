/** rename(2) of a directory beside other clients: what they put under either name is theirs, whatever becomes of the rename. */
import t from 'tap';
import { StoreError, toFsError } from '../../src/errors.ts';
import { Counters, silentTelemetry } from '../../src/telemetry.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import type { StoreCall } from '../support/memory-store.ts';

function withFiles(count: number): TestFileSystem & { readonly warnings: string[] } {
  const warnings: string[] = [];
  const log = { ...silentTelemetry.log, warn: (_fields: object, message: string) => warnings.push(message) };
  const fs = makeFileSystem({ telemetry: new Counters(log) });
  for (let i = 0; i < count; i++) fs.store.putForeign(`d/${i}`, `ours ${i}`);
  return { ...fs, warnings };
}

const errnoOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    error => toFsError(error)?.code ?? String(error),
  );

const below = ({ store }: TestFileSystem, prefix: string): readonly string[] =>
  store.keys().filter(key => key.startsWith(prefix));

/** Runs `then` once, before the first call that fits. */
function before({ store }: TestFileSystem, fits: (call: StoreCall) => boolean, then: () => void): void {
  let isDone = false;
  store.intercept(async (call, proceed) => {
    if (!isDone && fits(call)) {
      isDone = true;
      then();
    }
    return proceed();
  });
}

const isCopyTo =
  (key: string) =>
  (call: StoreCall): boolean =>
    call.operation === 'CopyObject' && call.key === key;

t.test(
  'another client has saved a file under the new name that nobody here has seen: it stays, and so does the directory',
  async t => {
    for (const isEmptyThere of [false, true]) {
      const fs = withFiles(5);
      if (isEmptyThere) fs.store.putForeign('n/', '');
      t.equal(await fs.kernel.exists('/n'), isEmptyThere, 'listed, and believed for 10 s');
      await fs.kernel.names('/d');
      if (isEmptyThere) t.same(await fs.kernel.names('/n'), []);
      before(fs, isCopyTo('n/3'), () => fs.store.putForeign('n/3', 'theirs'));
      t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'ENOTEMPTY');
      t.equal(fs.store.text('n/3'), 'theirs');
      await fs.clock.advance(2000);
      t.same(below(fs, 'n/'), isEmptyThere ? ['n/', 'n/3'] : ['n/3'], 'the copies are taken back');
      t.same(
        below(fs, 'd/').map(key => fs.store.text(key)),
        [0, 1, 2, 3, 4].map(i => `ours ${i}`),
      );
      t.match(fs.warnings, [/n\/3/]);
      t.same(await fs.kernel.names('/n'), ['3'], 'it shows at once');
      t.equal(String(await fs.kernel.readFile('/n/3')), 'theirs');
      t.equal(String(await fs.kernel.readFile('/d/3')), 'ours 3');
      t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'ENOTEMPTY', 'now by what is known here');
    }
  },
);

t.test('another client replaces a copy before another copy fails: what is taken back is ours alone', async t => {
  const fs = withFiles(5);
  fs.store.failNext('CopyObject', 'forbidden', { key: 'n/4' });
  const held = fs.store.hold('CopyObject', 'n/4');
  const renamed = errnoOf(fs.kernel.rename('/d', '/n'));
  await held.reached;
  for (let i = 0; i < 50; i++) await Promise.resolve();
  t.equal(fs.store.text('n/0'), 'ours 0');
  fs.store.putForeign('n/0', 'theirs');
  held.release();
  t.equal(await renamed, 'EACCES');
  t.same(
    below(fs, 'n/').map(key => fs.store.text(key)),
    ['theirs'],
  );
  t.equal(below(fs, 'd/').length, 5);
});

t.test('a copy that fails may have been made: it is looked at, and taken back if it is ours', async t => {
  const fs = withFiles(5);
  fs.store.failNext('CopyObject', 'timeout', { key: 'n/4', workDone: true });
  t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'ETIMEDOUT');
  t.same(below(fs, 'n/'), []);
  t.same(fs.warnings, []);
  fs.store.failNext('CopyObject', 'timeout', { key: 'n/4' });
  before(fs, isCopyTo('n/4'), () => fs.store.putForeign('n/4', 'their own'));
  t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'ETIMEDOUT');
  t.same(
    below(fs, 'n/').map(key => fs.store.text(key)),
    ['their own'],
  );
});

t.test('what may be a copy of ours or not stays, and the log says so', async t => {
  const fs = withFiles(2);
  fs.store.failNext('CopyObject', 'timeout', { key: 'n/1' });
  before(fs, isCopyTo('n/1'), () => fs.store.putForeign('n/1', 'same 1'));
  t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'ETIMEDOUT');
  t.same(
    below(fs, 'n/').map(key => fs.store.text(key)),
    ['same 1'],
  );
  t.match(fs.warnings, [/n\/1 may be a copy of d\/1 or of another client/]);
});

t.test('the source changes while it is copied', async t => {
  const fs = withFiles(5);
  before(fs, isCopyTo('n/2'), () => fs.store.putForeign('d/2', 'theirs'));
  t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'EBUSY');
  t.same(below(fs, 'n/'), []);
  t.equal(fs.store.text('d/2'), 'theirs');
});

t.test('where nobody is in the way it costs what it did', async t => {
  const fs = withFiles(1000);
  await fs.kernel.rename('/d', '/n');
  t.equal(below(fs, 'n/').length, 1000);
  t.equal(fs.store.count('CopyObject'), 1000);
  t.equal(fs.store.count('DeleteObjects'), 1);
  t.equal(fs.store.count('DeleteObject'), 0);
  t.equal(fs.store.count('ListObjectsV2'), 3, 'one of the parent, and the names twice');
  t.equal(fs.store.count('HeadObject'), 2, 'none for a file');
});

t.test('the old names are deleted a page at a time, each as it has just been listed', async t => {
  const fs = withFiles(2500);
  let pages = 0;
  fs.store.intercept(async (call, proceed) => {
    const answer = await proceed();
    if (call.operation !== 'ListObjectsV2' || call.key !== 'd/' || fs.store.count('CopyObject') < 2500) return answer;
    // Between the second page of names to delete and the third another client changes what is on the third.
    if (++pages === 2) fs.store.putForeign('d/999', 'theirs');
    return answer;
  });
  const order: string[] = [];
  fs.store.intercept(async (call, proceed) => {
    if (fs.store.count('CopyObject') === 2500 && /^List|^DeleteObjects/.test(call.operation))
      order.push(call.operation);
    return proceed();
  });
  await fs.kernel.rename('/d', '/n');
  t.same(below(fs, 'd/'), ['d/999']);
  t.equal(fs.store.text('d/999'), 'theirs');
  t.equal(fs.store.text('n/999'), 'ours 999');
  t.equal(order.filter(each => each === 'ListObjectsV2').length, 3);
  t.equal(order.filter(each => each === 'DeleteObjects').length, 3);
  t.same(order.slice(0, 2), ['ListObjectsV2', 'DeleteObjects']);
});

t.test(
  'a change while an earlier page is deleted: what comes later is not deleted by what was known before',
  async t => {
    const fs = withFiles(2500);
    before(
      fs,
      ({ operation }) => operation === 'DeleteObjects',
      () => fs.store.putForeign('d/999', 'theirs'),
    );
    await fs.kernel.rename('/d', '/n');
    t.same(
      below(fs, 'd/').map(key => fs.store.text(key)),
      ['theirs'],
    );
    t.match(fs.warnings, [/1 objects appeared or changed while d\/ was renamed, d\/999 first/]);
  },
);

t.test('a page that cannot be deleted: the others are, and the program is told', async t => {
  const fs = withFiles(2500);
  const errors: string[] = [];
  fs.counters.log.error = (_fields: object, message: string) => void errors.push(message);
  let calls = 0;
  const { store } = fs;
  const deleteMany = store.deleteMany.bind(store);
  store.deleteMany = async keys => {
    if (++calls !== 2) return deleteMany(keys);
    return keys.map(key => ({ key, error: new StoreError('forbidden', `${key}: not allowed`) }));
  };
  t.equal(await errnoOf(fs.kernel.rename('/d', '/n')), 'EACCES');
  t.equal(below(fs, 'n/').length, 2500);
  t.equal(below(fs, 'd/').length, 1000);
  t.match(errors, [/1000 objects were copied but not deleted at the old name/]);
});
