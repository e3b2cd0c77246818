/** fio writes in several patterns and verifies every block by its checksum. */
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { run } from '../support/processes.ts';

const JOBS: readonly (readonly [name: string, ...args: string[]])[] = [
  ['sequential', '--rw=write', '--bs=128k', '--size=64M'],
  ['random 4 KiB', '--rw=randwrite', '--bs=4k', '--size=16M'],
  ['random, mixed sizes, fsync now and then', '--rw=randwrite', '--bsrange=1k-64k', '--size=16M', '--fsync=200'],
  ['mmap', '--ioengine=mmap', '--rw=randwrite', '--bs=4k', '--size=8M'],
  ['four files at once', '--rw=randwrite', '--bs=16k', '--size=8M', '--numjobs=4'],
  ['direct', '--rw=randwrite', '--bs=64k', '--size=16M', '--direct=1'],
];

t.test('fio', async t => {
  const mount = await aMount(t);
  JOBS.forEach(([name, ...args], i) => {
    const common = [
      `--name=job${i}`,
      `--directory=${mount.dir}`,
      '--verify=crc32c',
      '--do_verify=1',
      '--verify_fatal=1',
    ];
    t.doesNotThrow(() => run('fio', [...common, ...args], { cwd: mount.directory }), name);
  });
});
