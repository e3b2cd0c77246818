/** What options change on a real mount, where no other test shows it. */
import { existsSync, mkdirSync, readdirSync, readFileSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { aMount, prepareMount, type RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';

const MIB = 1024 * 1024;

t.test('file_mode, dir_mode, fsname, subtype, multipart_size', async t => {
  const options = 'file_mode=0604,dir_mode=0711,fsname=mine,subtype=ours,multipart_size=12';
  const mount = await aMount(t, { options, prepare: client => client.put('d/theirs', 'x') });
  t.equal(statSync(mount.path('d/theirs')).mode & 0o777, 0o604);
  t.equal(statSync(mount.path('d')).mode & 0o777, 0o711);
  const line = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .find(each => each.split(' ')[1] === mount.dir);
  t.match(line, /^mine \S+ fuse\.ours /);
  const bytes = patternBytes(25 * MIB, 5);
  const requests = await mount.s3.during(() => writeFileSync(mount.path('large'), bytes));
  t.equal(requests['UploadPart'], 3, 'parts of 12, 12 and 1 MiB');
  t.ok(readFileSync(mount.path('large')).equals(bytes));
});

t.test('memory, state_dir, debug', async t => {
  const mount = await aMount(t, { options: 'memory=40MiB,debug' });
  writeFileSync(mount.path('large'), patternBytes(45 * MIB, 5));
  const { memory } = JSON.parse(run('env', mount.commandLine(['status', '--json', mount.dir])));
  t.equal(memory.limit, 40 * MIB);
  t.ok(existsSync(join(mount.directory, 'state/index')), 'state_dir= is where the index of metadata lies');
  t.match(mount.log(), /"level":20,.*"msg":"saved"/, 'each save is told of');
  t.ok(memory.used <= 40 * MIB, `${memory.used} bytes after 45 MiB were written`);
});

t.test('allow_other: the programs of other users come in, or they do not', async t => {
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', 'cat'];
  for (const options of ['umask=0022', 'umask=0022,allow_other']) {
    const mount = await aMount(t, { options, prepare: client => client.put('theirs', 'bytes') });
    // Only root may become another user; whoever else runs this sees at least the word in the table of mounts.
    const isRoot = process.getuid!() === 0;
    const read = (): string =>
      run(isRoot ? nobody[0]! : 'cat', [...(isRoot ? nobody.slice(1) : []), mount.path('theirs')]);
    const line = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .find(each => each.split(' ')[1] === mount.dir);
    t.equal(line?.includes('allow_other'), options.includes('allow_other'));
    if (isRoot && !options.includes('allow_other')) t.throws(read, /Permission denied/);
    else t.equal(read(), 'bytes');
  }
});

/** What lies in the cache of a mount after 3 MiB were read, in bytes. */
async function cached(t: Test, mount: RealMount, cache: string): Promise<number> {
  t.equal(readFileSync(mount.path('f')).length, 3 * MIB);
  // The end of the daemon writes what is still to be written.
  t.same(await mount.stop(), { code: 0, signal: null });
  return Number(run('du', ['-sb', '--exclude=lock', cache]).split('\t')[0]);
}

t.test('use_cache, ensure_diskfree, free_space_ratio, del_cache, check_cache_dir_exist', async t => {
  const first = await prepareMount(t, { prepare: client => client.put('f', patternBytes(3 * MIB, 1)) });
  const cache = join(first.directory, 'cache');
  mkdirSync(cache);
  const withOptions = async (options: string): Promise<number> => {
    const mount = await aMount(t, { access: first.access, options: `use_cache=${cache},${options}` });
    return await cached(t, mount, cache);
  };
  t.ok((await withOptions('cache_size=128MiB')) > 3 * MIB, 'kept in the directory that was named');
  t.ok((await withOptions('del_cache')) < MIB, 'emptied at the end');
  t.ok((await withOptions('ensure_diskfree=999999999')) < MIB, 'no disk leaves so much free');
  t.ok((await withOptions('free_space_ratio=99')) < MIB, 'nor nearly all of it');
  const { bavail, blocks } = statfsSync(cache);
  t.ok(bavail / blocks < 0.99, 'of this disk less than that is free');
  const refused = await prepareMount(t, {
    access: first.access,
    options: `use_cache=${cache}/missing,check_cache_dir_exist`,
  });
  await t.rejects(refused.start(), /exit 16[\s\S]*cache\/missing cannot be used/);
  t.notOk(existsSync(join(cache, 'missing')));
});

t.test('journal and journal_size: where it lies, and that close waits for S3 when it is full', async t => {
  // With room for all of it the journal needs no S3; with room for two it has to wait for it.
  for (const [size, bytes, fault] of [
    ['16MiB', 6 * MIB, 'slow=300ms:op=PutObject'],
    ['64MiB', 1000, 'status=503:op=PutObject'],
  ] as const) {
    const first = await prepareMount(t);
    const journal = join(first.directory, 'the-journal');
    const options = `write_back,journal=${journal},journal_size=${size}`;
    const mount = await aMount(t, { access: first.access, options });
    await first.s3.addFault(fault);
    for (const name of ['a', 'b', 'c', 'd']) writeFileSync(mount.path(name), Buffer.alloc(bytes, 'x'));
    const there = (await mount.client.keys()).length;
    await first.s3.clearFaults();
    const files = readdirSync(journal, { recursive: true }).map(String);
    t.ok(
      files.some(name => name.endsWith('.journal')),
      'in the directory that was named',
    );
    if (size === '16MiB') t.ok(there > 0, 'S3 has had to take some before the last close');
    else t.equal(there, 0, 'S3 took none of them');
    t.same(await mount.stop(), { code: 0, signal: null });
    t.equal((await mount.client.keys()).length, 4);
  }
});
