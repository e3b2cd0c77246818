/** What a daemon that died has left under hidden names. */
import t from 'tap';
import { keyAside, Leftovers } from '../../src/fs/leftovers.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { makeFileSystem, type TestFileSystem } from '../support/filesystem.ts';

const DAY = 24 * 3600 * 1000;

async function sweep({ store, clock }: TestFileSystem, hostname = 'host'): Promise<void> {
  const environment = { store, clock, telemetry: silentTelemetry, options: { hostname } };
  await new Leftovers(environment as unknown as ConstructorParameters<typeof Leftovers>[0]).sweep();
}

t.test('what is of no use goes, once nobody can be at work with it', async t => {
  const system = makeFileSystem();
  const { store, clock } = system;
  const put = (key: string, age: number): unknown => store.putForeign(key, 'x', { lastModified: clock.now() - age });
  put('_s3mount/unlinked/host/old', 8 * DAY);
  put('_s3mount/unlinked/host/young', 6 * DAY);
  put('_s3mount/unlinked/other/old', 8 * DAY);
  put('_s3mount/zeros/host/old', 2 * DAY);
  put('_s3mount/zeros/host/young', DAY / 2);
  put('file', 100 * DAY);
  await sweep(system);
  t.same(store.keys(), [
    '_s3mount/unlinked/host/young',
    '_s3mount/unlinked/other/old',
    '_s3mount/zeros/host/young',
    'file',
  ]);
});

t.test('what another client wrote comes back', async t => {
  const system = makeFileSystem();
  const { store, clock } = system;
  const aside = (key: string, body: string, age = 2 * DAY): void => {
    store.putForeign(keyAside('host', key, 1024), body, {
      lastModified: clock.now() - age,
      contentType: 'text/x-theirs',
    });
  };
  aside('dir/there', 'theirs');
  store.putForeign('dir/there', 'theirs');
  aside('dir/free', 'theirs');
  aside('dir/taken', 'theirs');
  store.putForeign('dir/taken', 'ours');
  aside('dir/busy', 'theirs', DAY / 2);
  await sweep(system);
  t.equal(store.text('dir/there'), 'theirs');
  t.equal(store.text('dir/free'), 'theirs', 'under its name, which was free');
  t.equal(store.text('dir/taken'), 'ours');
  const beside = store.keys().find(key => key.startsWith('dir/_conflict.host.') && key.endsWith('.taken'));
  t.equal(beside && store.text(beside), 'theirs', 'beside it');
  t.equal(store.info(beside!)?.description.headers.contentType, 'text/x-theirs');
  const left = store.keys().filter(key => key.startsWith('_s3mount/'));
  t.equal(left.length, 1);
  t.ok(left[0]?.endsWith('/dir/busy'), 'somebody may be at work with it');
});

t.test('a key too long to be told stays where it is', async t => {
  const system = makeFileSystem();
  const { store, clock } = system;
  const key = keyAside('host', 'k'.repeat(1000), 1024);
  t.notOk(key.includes('kkk'));
  store.putForeign(key, 'theirs', { lastModified: clock.now() - 9 * DAY });
  await sweep(system);
  t.equal(store.text(key), 'theirs');
});

t.test('what S3 refuses is left for the next time', async t => {
  const system = makeFileSystem();
  const { store, clock } = system;
  store.putForeign(keyAside('host', 'f', 1024), 'theirs', { lastModified: clock.now() - 9 * DAY });
  store.failNext('CopyObject', 'forbidden');
  await sweep(system);
  t.equal(store.keys().length, 1);
  await sweep(system);
  t.same(store.keys(), ['f']);
});
