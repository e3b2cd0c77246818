/** RENAME_EXCHANGE where replies get lost: each of both files is somewhere whatever is known of the copies. */
import t from 'tap';
import { StoreError, toFsError } from '../../src/errors.ts';
import { RENAME_EXCHANGE } from '../../src/fuse/ops.ts';
import { Counters, silentTelemetry } from '../../src/telemetry.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';
import type { StoreCall } from '../support/memory-store.ts';

async function withFiles(): Promise<TestFileSystem & { readonly errors: string[] }> {
  const errors: string[] = [];
  const log = { ...silentTelemetry.log, error: (_fields: object, message: string) => errors.push(message) };
  const fs = makeFileSystem({ telemetry: new Counters(log) });
  await fs.kernel.writeFile('/a', 'x');
  await fs.kernel.writeFile('/b', 'yy');
  return { ...fs, errors };
}

const isCopyTo =
  (key: RegExp) =>
  (call: StoreCall): boolean =>
    call.operation === 'CopyObject' && key.test(call.key);

/** The replies to such calls are lost; the work is done. */
function lose({ store }: TestFileSystem, isLost: (call: StoreCall) => boolean): void {
  store.intercept(async (call, proceed) => {
    if (!isLost(call)) return proceed();
    await proceed();
    throw new StoreError('unavailable', `${call.operation} of ${call.key}: no reply`);
  });
}

/** Such calls are not carried out. */
function refuse({ store }: TestFileSystem, isRefused: (call: StoreCall) => boolean): void {
  store.intercept(async (call, proceed) => {
    if (!isRefused(call)) return proceed();
    throw new StoreError('unavailable', `${call.operation} of ${call.key}: not done`);
  });
}

const errnoOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'ok',
    error => toFsError(error)?.code ?? String(error),
  );

for (const key of ['a', 'b']) {
  t.test(`the reply to the copy to ${key} is lost: it was done, and the exchange goes on`, async t => {
    const fs = await withFiles();
    lose(fs, isCopyTo(new RegExp(`^${key}$`)));
    await fs.kernel.rename('/a', '/b', RENAME_EXCHANGE);
    t.same(fs.store.keys(), ['a', 'b']);
    t.same([fs.store.text('a'), fs.store.text('b')], ['yy', 'x']);
    t.same([String(await fs.kernel.readFile('/a')), String(await fs.kernel.readFile('/b'))], ['yy', 'x']);
    await fs.kernel.writeFile('/a', 'changed');
    t.same([fs.store.text('a'), fs.store.text('b')], ['changed', 'x'], 'its version is known');
    t.same(fs.errors, []);
  });

  t.test(`the copy to ${key} fails and was not done: nothing has changed`, async t => {
    const fs = await withFiles();
    let left = 1;
    refuse(fs, call => isCopyTo(new RegExp(`^${key}$`))(call) && left-- > 0);
    t.equal(await errnoOf(fs.kernel.rename('/a', '/b', RENAME_EXCHANGE)), 'EIO');
    t.same(fs.store.keys(), ['a', 'b']);
    t.same([fs.store.text('a'), fs.store.text('b')], ['x', 'yy']);
    t.same([String(await fs.kernel.readFile('/a')), String(await fs.kernel.readFile('/b'))], ['x', 'yy']);
    t.same(fs.errors, []);
  });

  for (const [what, break_] of [
    ['was done', lose],
    ['was not done', refuse],
  ] as const) {
    t.test(`nobody can tell whether the copy to ${key} ${what}: all copies stay, and the log names them`, async t => {
      const fs = await withFiles();
      break_(fs, isCopyTo(new RegExp(`^${key}$`)));
      let isDown = true;
      refuse(fs, call => isDown && call.operation === 'HeadObject');
      t.equal(await errnoOf(fs.kernel.rename('/a', '/b', RENAME_EXCHANGE)), 'EIO');
      const texts = fs.store.keys().map(each => fs.store.text(each));
      t.ok(texts.includes('x') && texts.includes('yy'), `both are somewhere: ${texts}`);
      const hidden = fs.store.keys().find(each => each.startsWith('_s3mount/exchange/'));
      t.equal(hidden && fs.store.text(hidden), 'x');
      t.match(fs.errors, [new RegExp(`how far a and b were exchanged, what was a is kept as ${hidden}`)]);
      isDown = false;
      for (const name of ['a', 'b']) {
        t.equal(String(await fs.kernel.readFile(`/${name}`)), fs.store.text(name), `${name} is read as it is there`);
      }
    });
  }
}

t.test('the reply to the copy that takes the first half back is lost: it was done', async t => {
  const fs = await withFiles();
  refuse(fs, isCopyTo(/^b$/));
  lose(fs, ({ operation, key, source }) => operation === 'CopyObject' && key === 'a' && source?.key !== 'b');
  t.equal(await errnoOf(fs.kernel.rename('/a', '/b', RENAME_EXCHANGE)), 'EIO');
  t.same(fs.store.keys(), ['a', 'b']);
  t.same([fs.store.text('a'), fs.store.text('b')], ['x', 'yy']);
  await fs.kernel.writeFile('/a', 'changed');
  t.same(fs.store.text('a'), 'changed');
  t.same(fs.errors, []);
});

t.test('another client replaces either while it is exchanged: theirs stays', async t => {
  for (const key of ['a', 'b']) {
    const fs = await withFiles();
    fs.store.intercept(async (call, proceed) => {
      if (isCopyTo(new RegExp(`^${key}$`))(call)) fs.store.putForeign(key, 'theirs');
      return proceed();
    });
    t.equal(await errnoOf(fs.kernel.rename('/a', '/b', RENAME_EXCHANGE)), 'ESTALE');
    t.equal(fs.store.text(key), 'theirs');
    t.same(
      fs.store.keys().filter(each => each.startsWith('_')),
      [],
    );
    t.equal(fs.store.text(key === 'a' ? 'b' : 'a'), key === 'a' ? 'yy' : 'x');
  }
});
