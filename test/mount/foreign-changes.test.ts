/** Other clients' changes on a real mount: seen by `stat` and `ls` after the TTL, by `open` always. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs';
import t from 'tap';
import { codeOf, errorCode } from '../functional/names.ts';
import { aMount, eventually } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';

const MIB = 1024 * 1024;
/** s of `stat_cache_expire`; short enough to wait for. */
const TTL = 1;
/** ms: TTL, and a busy machine. */
const SEEN_BY = 5_000;

t.test('stat and ls after the TTL', async t => {
  const mount = await aMount(t, {
    options: `stat_cache_expire=${TTL}`,
    async prepare(client) {
      await client.put('changed', 'old');
      await client.put('deleted', 'old');
      await client.put('dir/file', 'old');
    },
  });
  const { client } = mount;
  t.same(readdirSync(mount.dir), ['changed', 'deleted', 'dir']);
  t.equal(statSync(mount.path('changed')).size, 3);
  t.equal(
    codeOf(() => statSync(mount.path('new'))),
    'ENOENT',
  );
  await client.put('changed', 'a longer one');
  await client.delete('deleted');
  await client.put('new', 'new');
  await client.put('dir2/file', 'new');
  await client.delete('dir/file');
  t.ok(await eventually(() => statSync(mount.path('changed')).size === 12, SEEN_BY), 'the new size');
  t.ok(await eventually(() => codeOf(() => statSync(mount.path('deleted'))) === 'ENOENT', SEEN_BY), 'gone');
  t.ok(
    await eventually(() => codeOf(() => statSync(mount.path('new'))) === undefined, SEEN_BY),
    'a miss is asked again',
  );
  t.ok(await eventually(() => readdirSync(mount.dir).join() === 'changed,dir2,new', SEEN_BY), 'the listing');
  t.equal(readFileSync(mount.path('changed'), 'utf8'), 'a longer one');
});

t.test('open sees a change although attributes are fresh', async t => {
  const mount = await aMount(t, {
    options: 'stat_cache_expire=600,open_check=0',
    prepare: client => client.put('f', 'version 1'),
  });
  const { client } = mount;
  t.equal(readFileSync(mount.path('f'), 'utf8'), 'version 1');
  await client.put('f', 'version 2');
  t.equal(readFileSync(mount.path('f'), 'utf8'), 'version 2', 'same size');
  await client.put('f', 'the third version');
  t.equal(readFileSync(mount.path('f'), 'utf8'), 'the third version', 'another size');
  await client.delete('f');
  t.equal(
    codeOf(() => readFileSync(mount.path('f'))),
    'ENOENT',
  );
  await client.put('f', 'again');
  writeFileSync(mount.path('ours'), 'ours');
  await client.put('ours', 'changed by another');
  t.equal(readFileSync(mount.path('ours'), 'utf8'), 'changed by another', 'also of what we wrote');
});

t.test('a reader of the old version gets ESTALE, never a mix; who opens again has the new one', async t => {
  const SIZE = 24 * MIB;
  const mount = await aMount(t, {
    options: 'stat_cache_expire=600,open_check=0,memory=64MiB',
    prepare: client => client.put('f', patternBytes(SIZE, 1)),
  });
  const old = patternBytes(SIZE, 1);
  const reader = openSync(mount.path('f'), 'r');
  const into = Buffer.alloc(64 * 1024);
  readSync(reader, into, 0, into.length, 0);
  t.ok(into.equals(old.subarray(0, into.length)));
  const changed = patternBytes(SIZE, 2);
  await mount.client.put('f', changed);
  t.ok(readFileSync(mount.path('f')).equals(changed), 'opened anew');
  let stale = 0;
  for (let place = 0; place + into.length <= SIZE; place += MIB) {
    try {
      const got = readSync(reader, into, 0, into.length, place);
      if (!into.subarray(0, got).equals(old.subarray(place, place + got)))
        t.fail(`another version's bytes at ${place}`);
    } catch (error) {
      stale++;
      if (errorCode(error) !== 'ESTALE') t.fail(`at ${place}: ${String(error)}`);
    }
  }
  t.ok(stale > 0, 'what was not cached is gone for good');
  closeSync(reader);
  t.ok(readFileSync(mount.path('f')).equals(changed));
});

t.test('a change made elsewhere meanwhile is not overwritten: both versions are kept', async t => {
  const mount = await aMount(t, {
    options: 'stat_cache_expire=600',
    prepare: client => client.put('f', 'base'),
  });
  const file = openSync(mount.path('f'), 'r+');
  const into = Buffer.alloc(4);
  readSync(file, into, 0, 4, 0);
  t.equal(into.toString(), 'base');
  await mount.client.put('f', 'theirs');
  writeSync(file, 'ours', 0);
  t.equal(
    codeOf(() => closeSync(file)),
    'ESTALE',
    'the close says so',
  );
  t.equal(await mount.client.text('f'), 'theirs');
  const copies = (await mount.client.keys()).filter(key => key.startsWith('_conflict.'));
  t.equal(copies.length, 1);
  t.equal(await mount.client.text(copies[0]!), 'ours');
  t.same(readdirSync(mount.dir).sort(), [copies[0], 'f'].sort());
  t.equal(readFileSync(mount.path('f'), 'utf8'), 'theirs');
});
