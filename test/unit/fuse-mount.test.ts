import fc from 'fast-check';
import t from 'tap';
import { fusermountWords, isMountWord, mountData, mountFlags } from '../../src/fuse/mount-options.ts';
import { mountStateOf, runCommand } from '../../src/fuse/mount-state.ts';
import { parseMountTable } from '../../src/fuse/mount-table.ts';
import type { MountOptions } from '../../src/fuse/ops.ts';

const options = (overrides: Partial<MountOptions> = {}): MountOptions => ({
  mountPoint: '/mnt/bucket',
  fsname: 'bucket',
  subtype: 's3mount',
  readOnly: false,
  allowOther: false,
  defaultPermissions: false,
  kernelOptions: [],
  posixAcl: false,
  ...overrides,
});

t.test('words of the mount become flags, the later one wins', async t => {
  const NOSUID_NODEV = 6;
  t.equal(mountFlags(options()), NOSUID_NODEV);
  t.equal(mountFlags(options({ kernelOptions: ['noexec', 'noatime'] })), NOSUID_NODEV | 8 | 1024);
  t.equal(mountFlags(options({ kernelOptions: ['suid', 'dev'] })), 0);
  t.equal(mountFlags(options({ kernelOptions: ['noexec', 'exec', 'sync'] })), NOSUID_NODEV | 16);
  t.equal(mountFlags(options({ readOnly: true, kernelOptions: ['rw'] })), NOSUID_NODEV | 1);
  for (const word of ['nonsense', 'toString', '']) {
    t.equal(isMountWord(word), false);
    t.throws(() => mountFlags(options({ kernelOptions: [word] })), { code: 'option' });
    t.throws(() => fusermountWords(options({ kernelOptions: [word] })), { code: 'option' });
  }
});

t.test('what the kernel and fusermount3 are told', async t => {
  t.equal(mountData(options(), { fd: 5, uid: 1, gid: 2 }), 'fd=5,rootmode=40000,user_id=1,group_id=2');
  t.match(
    mountData(options({ allowOther: true, defaultPermissions: true }), { fd: 5, uid: 0, gid: 0 }),
    /,allow_other,default_permissions$/,
  );
  t.equal(
    fusermountWords(options({ fsname: 'a,b\\c', readOnly: true, kernelOptions: ['noatime'] })),
    'ro,nosuid,nodev,noatime,ro,fsname=a\\,b\\\\c,subtype=s3mount',
  );
});

t.test('the table of mounts', async t => {
  const table = parseMountTable(
    [
      '36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue',
      '40 35 0:52 / /mnt/with\\040space\\134 rw,nosuid - fuse.s3mount \\355\\225\\234 rw,user_id=0',
      'nonsense',
      '41 35 0:53 / /dash - tmpfs - rw',
      '',
    ].join('\n'),
  );
  t.same(table, [
    { id: 36, device: '98:0', mountPoint: '/mnt2', type: 'ext3', source: '/dev/root' },
    { id: 40, device: '0:52', mountPoint: '/mnt/with space\\', type: 'fuse.s3mount', source: '한' },
  ]);
});

t.test('a path written as the kernel writes it is read back', async () => {
  const escaped = (path: string): string =>
    path.replaceAll(/[ \t\n\\]/g, char => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), name => {
      const path = `/${name}`;
      const [entry] = parseMountTable(`1 2 0:3 / ${escaped(path)} rw - fuse.x source rw`);
      return entry?.mountPoint === path;
    }),
  );
});

t.test('where nothing is mounted', async t => {
  t.same(await mountStateOf(t.testdir()), { state: 'none' });
  await t.rejects(mountStateOf(`${t.testdirName}/missing`), { code: 'ENOENT' });
});

t.test('commands end with their code, are missed, or are given up', async t => {
  t.match(await runCommand('sh', ['-c', 'echo no >&2; exit 3']), { code: 3, found: true, stderr: 'no' });
  t.match(await runCommand('no-such-program-here', []), { code: undefined, found: false });
  const start = performance.now();
  t.match(await runCommand('sleep', ['60'], { limit: 50 }), { code: undefined, found: true });
  t.ok(performance.now() - start < 30_000);
});
