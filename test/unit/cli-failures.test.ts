import t from 'tap';
import { explainFailure } from '../../src/cli/failures.ts';
import { fileSystemOptions, kernelMountOptions, uploadSizes } from '../../src/cli/filesystem-options.ts';
import { parseOptionList } from '../../src/cli/option-words.ts';
import { type Config, readConfig } from '../../src/cli/options.ts';
import { StoreError } from '../../src/errors.ts';
import { MountError } from '../../src/fuse/mount-error.ts';

t.test('each failure of a start has its exit code', async t => {
  const cases: readonly (readonly [Error, number])[] = [
    [new StoreError('no-such-bucket', 'x'), 10],
    [new StoreError('forbidden', 'no AWS credentials'), 11],
    [new StoreError('forbidden', 'x', { status: 403, s3Code: 'InvalidAccessKeyId' }), 11],
    [new StoreError('forbidden', 'x', { status: 403, s3Code: 'AccessDenied' }), 12],
    [new StoreError('unavailable', 'x'), 13],
    [new StoreError('timeout', 'x'), 13],
    [new StoreError('corrupt', 'x'), 13],
    [new MountError('missing', 'x'), 14],
    [new MountError('allow-other', 'x'), 15],
    [new MountError('no-device', 'x'), 15],
  ];
  for (const [error, exitCode] of cases) t.match(explainFailure(error), { exitCode, message: /\.$/ });
  const bug = new TypeError('x is undefined');
  t.equal(explainFailure(bug), bug);
});

function config(list: string): Config {
  return readConfig({ positional: ['b-1:/p', '/m'], words: parseOptionList(list) }, { env: {}, cwd: '/' });
}

t.test('options reach the filesystem and the kernel', async t => {
  const mounter = { uid: 1000, gid: 1001, hostname: 'box' };
  const plain = fileSystemOptions(config('').values, mounter);
  t.match(plain, { stat: 'exact', metadata: 's3fs', ttl: 10_000, openCheck: 1_000, xattr: true, mounterUid: 1000 });
  t.notOk('umask' in plain || 'uid' in plain);
  const given = config(
    'umask=0022,fmask=0133,dmask=0022,file_mode=0644,dir_mode=0755,mp_umask=0027,uid=5,gid=6,ro,allow_other,stat=list,metadata=aws,link=copy,use_xattr,stat_cache_expire=3,open_check=0,bucket_size=1TB,noexec,multipart_size=64,fsname=x',
  );
  t.match(fileSystemOptions(given.values, mounter), {
    umask: 0o022,
    fmask: 0o133,
    dmask: 0o022,
    fileMode: 0o644,
    dirMode: 0o755,
    mountPointUmask: 0o027,
    uid: 5,
    gid: 6,
    readOnly: true,
    allowOther: true,
    stat: 'list',
    metadata: 'aws',
    link: 'copy',
    xattr: true,
    ttl: 3000,
    openCheck: 0,
    bucketSize: 1e12,
  });
  t.same(kernelMountOptions(given, '/m'), {
    mountPoint: '/m',
    fsname: 'x',
    subtype: 's3mount',
    readOnly: true,
    allowOther: true,
    defaultPermissions: true,
    kernelOptions: ['noexec'],
    posixAcl: false,
  });
  t.match(kernelMountOptions(config(''), '/m'), { posixAcl: true, fsname: 'b-1:/p' });
  t.match(kernelMountOptions(config('use_xattr=0'), '/m'), { posixAcl: false });
  t.match(uploadSizes(given.values), { part: 64 * 1024 * 1024, singlePut: 64 * 1024 * 1024 });
});
