/** What can be asked of a mount and what it keeps out: virtual attributes, archives, indexers. */
import t from 'tap';
import { parseRestore } from '../../src/fs/archives.ts';
import { Indexers } from '../../src/fs/indexers.ts';
import { VIRTUAL_XATTRS } from '../../src/fs/virtual-xattrs.ts';
import { Counters, silentTelemetry } from '../../src/telemetry.ts';
import { makeFileSystem } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { errnoOf } from './support.ts';

t.test('M15 attributes of what S3 has, by name', async t => {
  const { kernel, store } = makeFileSystem({ options: { xattr: false, address: { bucket: 'bk', prefix: 'pre/' } } });
  store.putForeign('d/f', '12345', { storageClass: 'STANDARD_IA', contentType: 'text/csv', tags: [['a', 'b']] });
  const get = async (name: string, path = '/d/f'): Promise<string> =>
    String(await kernel.getxattr(path, `user.s3mount.${name}`));
  const info = store.info('d/f')!;
  t.equal(await get('etag'), info.etag.slice(1, -1));
  t.equal(await get('size'), '5');
  t.equal(await get('storage_class'), 'STANDARD_IA');
  t.equal(await get('content_type'), 'text/csv');
  t.equal(await get('tag_count'), '1');
  t.equal(await get('last_modified'), new Date(info.lastModified).toISOString());
  t.equal(await get('restore'), 'online');
  store.resetCalls();
  t.equal(await get('key'), 'pre/d/f');
  t.equal(await get('uri'), 's3://bk/pre/d/f');
  t.equal(await get('key', '/d'), 'pre/d/');
  t.equal(await get('unsaved'), '0');
  const heads = store.calls.filter(({ operation, key }) => operation === 'HeadObject' && key === 'd/f');
  t.equal(heads.length, 0, 'what is known here is not asked for');
  t.equal(await errnoOf(get('nothing')), 'ENODATA');
  t.equal(await errnoOf(get('constructor')), 'ENODATA');
  t.equal(await errnoOf(get('etag', '/d')), 'ENODATA', 'a directory is no object');
  t.equal(await errnoOf(get('version_id')), 'ENODATA', 'this bucket has no versions');
  t.equal(await errnoOf(kernel.setxattr('/d/f', 'user.s3mount.etag', Buffer.from('x'))), 'EPERM');
  t.equal(await errnoOf(kernel.setxattr('/d/f', 'user.mine', Buffer.from('x'))), 'EOPNOTSUPP', 'use_xattr=0');

  const stored = makeFileSystem();
  // Written by somebody who copied them: still not shown as if they were stored.
  const theirs = encodeURIComponent(JSON.stringify({ 'user.s3mount.etag': 'eA==', 'user.a': 'eA==' }));
  stored.store.putForeign('g', 'x', { metadata: { xattr: theirs } });
  t.same(await stored.kernel.listxattr('/g'), ['user.a']);
  t.equal(await errnoOf(stored.kernel.removexattr('/g', 'user.s3mount.etag')), 'EPERM');
  t.ok(VIRTUAL_XATTRS.includes('etag'));
});

t.test('R5 an archived object is restored and then read', async t => {
  const { kernel, store } = makeFileSystem();
  store.putForeign('old', 'bytes', { storageClass: 'GLACIER' });
  store.putForeign('new', 'x');
  const state = async (): Promise<string> => String(await kernel.getxattr('/old', 'user.s3mount.restore'));
  const ask = (value: string, path = '/old'): Promise<void> =>
    kernel.setxattr(path, 'user.s3mount.restore', Buffer.from(value));
  t.equal(await errnoOf(kernel.readFile('/old')), 'EACCES');
  t.equal(await state(), 'archived');
  for (const value of ['', '0d', 'soon', '7d:Quick', '-1']) t.equal(await errnoOf(ask(value)), 'EINVAL', value);
  t.equal(store.count('RestoreObject'), 0);
  await ask('7d:Bulk');
  t.equal(store.count('RestoreObject'), 1);
  t.match(await state(), /^restored/);
  t.equal(String(await kernel.readFile('/old')), 'bytes');
  t.equal(await errnoOf(ask('7d', '/new')), 'EINVAL', 'what is in no archive');
  t.same(parseRestore('30'), { days: 30, tier: 'Standard' });
  t.same(parseRestore(' 7D:expedited\n'), { days: 7, tier: 'Expedited' });
});

t.test('D5 indexers are kept out, and told of once', async t => {
  const clock = new ManualClock();
  const said: string[] = [];
  const telemetry = new Counters({ ...silentTelemetry.log, info: (_, message) => void said.push(message) });
  const { environment } = makeFileSystem({ options: { indexers: 'refuse' }, telemetry });
  let asked = 0;
  const names: Record<number, string> = { 1: 'updatedb', 2: 'updatedb.plocat', 3: 'find', 4: 'baloo_file_extr' };
  const named = (thread: number): string => {
    asked++;
    return names[thread] ?? '';
  };
  const indexers = new Indexers({ ...environment, clock }, named);
  const listing = (thread: number): Promise<string | undefined> => errnoOf(() => indexers.check(thread));
  t.equal(await listing(1), 'EACCES');
  t.equal(await listing(1), 'EACCES');
  t.equal(asked, 1, 'its name is remembered for a moment');
  t.equal(said.length, 1);
  t.equal(await listing(2), 'EACCES');
  t.equal(await listing(4), 'EACCES');
  for (const name of ['tracker-miner-f', 'tracker-extract', 'localsearch-3', 'localsearch', 'baloo_file']) {
    names[9] = name;
    await clock.advance(2000);
    t.equal(await listing(9), 'EACCES', name);
  }
  for (const name of ['find', 'du', 'nautilus', 'dolphin', 'tracker-dashboa', 'updatedbx', 'localsearcher', '']) {
    names[9] = name;
    await clock.advance(2000);
    t.equal(await listing(9), undefined, name);
  }
  t.equal(await listing(0), undefined, 'of another pid namespace');
  const open = new Indexers({ ...environment, clock, options: { ...environment.options, indexers: 'allow' } }, named);
  t.equal(await errnoOf(() => open.check(1)), undefined);
});
