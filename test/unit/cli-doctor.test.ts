/** Each finding of `s3mount doctor`, on machines and buckets that have what it is about. */
import { type LifecycleRule, PutBucketLifecycleConfigurationCommand, S3Client } from '@aws-sdk/client-s3';
import t from 'tap';
import { modes } from '../../src/cli/doctor.ts';
import { examineBucket } from '../../src/cli/doctor-bucket.ts';
import { examineMachine, type Machine } from '../../src/cli/doctor-machine.ts';
import { exitCodeOfFindings, type Finding, findingLine } from '../../src/cli/findings.ts';
import { iamPolicy } from '../../src/cli/iam-policy.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { openS3Store, type S3StoreOptions } from '../../src/s3/open-store.ts';

const GOOD_FILES: Readonly<Record<string, string>> = {
  '/etc/fuse.conf': '# mount_max = 1000\nuser_allow_other\n',
  '/proc/self/limits': 'Max open files            65536                1048576              files\n',
  '/proc/self/status': 'Name:\tnode\nNoNewPrivs:\t0\n',
  '/etc/updatedb.conf': 'PRUNEFS="NFS nfs fuse.s3mount"\n',
};

function machine(state: string, changes: Partial<Machine> & { files?: Record<string, string> } = {}): Finding[] {
  const files = { ...GOOD_FILES, ...changes.files };
  const good: Machine = {
    uid: 1000,
    nodeVersion: '20.20.0',
    kernel: '6.1.0-18-cloud-amd64',
    path: '/usr/local/bin:/usr/bin',
    text: path => files[path],
    stat: path => (path === '/dev/fuse' || path === '/usr/bin/fusermount3' ? { mode: 0o104755, uid: 0 } : undefined),
    mayReadAndWrite: () => true,
    free: () => 50e9,
  };
  return examineMachine({ ...good, ...changes }, { state_dir: state });
}

t.test('a machine that has all', async t => {
  const findings = machine(t.testdir());
  t.same(findings.filter(({ level }) => level !== 'ok').map(findingLine), []);
  t.equal(exitCodeOfFindings(findings), 0);
});

t.test('a machine that lacks something', async t => {
  const state = t.testdir();
  const cases: readonly (readonly [Parameters<typeof machine>[1], RegExp, number])[] = [
    [{ stat: () => undefined }, /^fail {2}\/dev\/fuse +it is not there: run: modprobe fuse/m, 15],
    [
      { stat: path => (path === '/.dockerenv' ? { mode: 0, uid: 0 } : undefined) },
      /^fail {2}\/dev\/fuse .*--device \/dev\/fuse/m,
      15,
    ],
    [{ mayReadAndWrite: () => false }, /^fail {2}\/dev\/fuse +it may not be opened: run: chmod 0666/m, 15],
    [{ path: '/opt' }, /^fail {2}fusermount3 +it is not there: install fuse3/m, 15],
    [{ path: '/opt', uid: 0 }, /^warn {2}fusermount3 +it is not there: root mounts without it/m, 0],
    [{ stat: () => ({ mode: 0o100755, uid: 0 }) }, /^fail {2}fusermount3 .* is not setuid root: run: chmod u\+s/m, 15],
    [{ files: { '/proc/self/status': 'NoNewPrivs:\t1\n' } }, /^fail {2}fusermount3 .*NoNewPrivileges=/m, 15],
    [{ files: { '/etc/fuse.conf': '#user_allow_other\n' } }, /^warn {2}fuse\.conf .*tee -a \/etc\/fuse\.conf/m, 0],
    [
      { files: { '/proc/self/limits': 'Max open files   256   256  files\n' } },
      /^warn {2}limits +only 256 open files/m,
      0,
    ],
    [
      { files: { '/etc/updatedb.conf': 'PRUNEFS="NFS nfs"\n' } },
      /^warn {2}updatedb .*add fuse\.s3mount to PRUNEFS/m,
      0,
    ],
    [{ kernel: '4.14.336' }, /^warn {2}system +Linux 4\.14\.336/m, 0],
    [{ free: () => 100e6 }, /^warn {2}state_dir .* has 95 MiB free/m, 0],
  ];
  for (const [changes, expected, exitCode] of cases) {
    const findings = machine(state, changes);
    t.match(findings.map(findingLine).join('\n'), expected);
    t.equal(exitCodeOfFindings(findings), exitCode, String(expected));
  }
  t.match(
    findingLine(
      examineMachine(
        {
          ...({} as Machine),
          uid: 1000,
          path: '',
          kernel: '6',
          nodeVersion: '20',
          stat: () => undefined,
          text: () => undefined,
          mayReadAndWrite: () => false,
          free: () => 0,
        },
        { allow_other: true, state_dir: state },
      )[3]!,
    ),
    /allow_other needs user_allow_other/,
  );
});

t.test('what others will see', async t => {
  t.match(findingLine(modes({}, 1000)), /^ok .*show 0640, directories 0750, owner 1000; for this user and root only/);
  t.match(findingLine(modes({ allow_other: true }, 1000)), /^warn .*can look but not read: add umask=0022/);
  t.match(
    findingLine(modes({ allow_other: true, umask: 0o022, uid: 5 }, 1000)),
    /^ok .*files show 0755.* owner 5; other users can read/,
  );
});

interface Setting {
  readonly prepare?: (s3: EmbeddedS3) => Promise<void>;
  readonly server?: EmbeddedS3Options;
  readonly store?: Partial<S3StoreOptions>;
  readonly readOnly?: boolean;
}

/** What is found on a bucket, and what is left in it. */
async function bucket({ prepare, server = {}, store: options = {}, readOnly = false }: Setting = {}) {
  const s3 = await startEmbeddedS3({ buckets: ['works'], ...server });
  s3.putObject('works', 'there', 'theirs');
  await prepare?.(s3);
  const store = await openS3Store({
    bucket: 'works',
    url: s3.url,
    region: 'us-east-1',
    credentials: async () => ({ ...s3.credential, source: '/home/me/.passwd-s3fs' }),
    retry: { attempts: 1 },
    ...options,
  });
  const findings: Finding[] = [];
  await examineBucket({ store, readOnly, anonymous: options.anonymous ?? false, tell: found => findings.push(found) });
  await store.close();
  const keys = s3.listKeys('works');
  await s3.close();
  return { findings, text: findings.map(findingLine).join('\n'), keys, exitCode: exitCodeOfFindings(findings) };
}

t.test('a bucket that allows all: every right is tried, and nothing stays behind', async t => {
  const { findings, text, keys, exitCode } = await bucket();
  t.equal(exitCode, 0, text);
  t.same(keys, ['there']);
  const tried = findings.map(({ about }) => about);
  for (const about of ['credentials', 'region', 'list', 'clock', 'write', 'read', 'copy', 'tags', 'upload', 'delete']) {
    t.ok(tried.includes(about), about);
  }
  t.match(text, /^ok {4}credentials +from \/home\/me\/\.passwd-s3fs$/m);
  t.match(text, /^ok {4}conditions +kept/m);
  t.match(text, /^ok {4}encryption +by S3 \(SSE-S3\)$/m);
  t.match(text, /^ok {4}latency /m);
});

t.test('each right that is missing is named', async t => {
  const policy = iamPolicy({ source: 'works', readOnly: false });
  const cases: readonly (readonly [string, RegExp])[] = [
    ['s3:PutObject', /^fail {2}write .*s3:PutObject is missing/m],
    ['s3:GetObject', /^fail {2}read .*s3:GetObject is missing/m],
    ['s3:GetObjectTagging', /^fail {2}tags .*is missing/m],
    ['s3:PutObjectTagging', /^fail {2}tags .*is missing/m],
    ['s3:AbortMultipartUpload', /^fail {2}upload .*is missing/m],
    ['s3:DeleteObject', /^fail {2}delete .*s3:DeleteObject is missing/m],
    ['s3:ListBucket', /^fail {2}bucket .*the keys came from \/home\/me\/\.passwd-s3fs/m],
  ];
  for (const [action, expected] of cases) {
    const text = JSON.stringify(policy).replace(`"${action}"`, '"s3:Nothing"');
    const found = await bucket({
      server: { credentials: [{ accessKeyId: 'LIMITED', secretAccessKey: 'x', policy: text }] },
    });
    t.match(found.text, expected, action);
    t.equal(found.exitCode, 12, action);
  }
});

t.test('read only: nothing is written, and less is needed', async t => {
  const policy = JSON.stringify(iamPolicy({ source: 'works', readOnly: true }));
  const { text, exitCode } = await bucket({
    server: { credentials: [{ accessKeyId: 'LIMITED', secretAccessKey: 'x', policy }] },
    readOnly: true,
  });
  t.equal(exitCode, 0, text);
  t.match(text, /^ok {4}read +s3:GetObject$/m);
});

t.test('read only: a key of KMS that may not be used is found, an archived object is no failure', async t => {
  const denied = await bucket({ server: { modes: { kmsDenied: true } }, readOnly: true });
  t.equal(denied.exitCode, 12, denied.text);
  t.match(denied.text, /^fail {2}read /m);
  const archived = await bucket({
    prepare: async s3 => void s3.putObject('works', 'there', 'theirs', { storageClass: 'GLACIER' }),
    readOnly: true,
  });
  t.equal(archived.exitCode, 0, archived.text);
});

t.test('kinds of buckets', async t => {
  t.match(
    (await bucket({ server: { modes: { versioning: true } } })).text,
    /^warn {2}versioning +on: what is overwritten/m,
  );
  t.match(
    (await bucket({ server: { modes: { noConditionalPut: true } } })).text,
    /^warn {2}conditions +the store ignores them/m,
  );
  t.match((await bucket({ server: { modes: { kms: true } } })).text, /^ok {4}encryption +by KMS/m);
});

/** As an administrator of the bucket does it. */
function lifecycle(rule: string): (s3: EmbeddedS3) => Promise<void> {
  return async s3 => {
    const credentials = { accessKeyId: s3.credential.accessKeyId, secretAccessKey: s3.credential.secretAccessKey };
    const client = new S3Client({ endpoint: s3.url, region: 'us-east-1', forcePathStyle: true, credentials });
    const { Rules } = JSON.parse(rule) as { Rules: LifecycleRule[] };
    await client.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: 'works', LifecycleConfiguration: { Rules } }),
    );
    client.destroy();
  };
}

t.test('unfinished uploads and locks: what a rule or nobody does about them', async t => {
  const warning = /^warn {2}lifecycle +no rule removes unfinished uploads/m;
  t.match((await bucket()).text, warning, 'no rules at all');
  const expiring = '{"Rules":[{"ID":"a","Status":"Enabled","Filter":{"Prefix":"tmp/"},"Expiration":{"Days":7}}]}';
  t.match((await bucket({ prepare: lifecycle(expiring) })).text, warning, 'rules of another kind');
  const aborting =
    '{"Rules":[{"ID":"b","Status":"Enabled","Filter":{"Prefix":""},"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":7}}]}';
  t.notMatch((await bucket({ prepare: lifecycle(aborting) })).text, /lifecycle/);
  const may = { Effect: 'Allow', Action: ['s3:*Object*', 's3:ListBucket', 's3:AbortMultipartUpload'], Resource: '*' };
  const policy = JSON.stringify({ Version: '2012-10-17', Statement: [may] });
  const limited = await bucket({ server: { credentials: [{ accessKeyId: 'LIMITED', secretAccessKey: 'x', policy }] } });
  t.notMatch(limited.text, /lifecycle/, 'who may not ask is told nothing');

  t.match(
    (await bucket({ server: { modes: { objectLock: true } } })).text,
    /^warn {2}object lock +on: versions under/m,
  );
  t.notMatch((await bucket()).text, /object lock/);
});

t.test('wrong keys, no bucket, nobody there', async t => {
  const wrong = await bucket({ store: { credentials: async () => ({ accessKeyId: 'X', secretAccessKey: 'x' }) } });
  t.match(wrong.text, /^fail {2}credentials .*InvalidAccessKeyId/m);
  t.equal(wrong.exitCode, 11);
  t.equal((await bucket({ store: { bucket: 'other' } })).exitCode, 10);
  const nobody = await bucket({ store: { url: 'http://127.0.0.1:1' } });
  t.match(nobody.text, /^fail {2}network /m);
  t.equal(nobody.exitCode, 13);
});

t.test('a clock that is wrong', async t => {
  const { text } = await bucket({ server: { clock: { ...laggard() } } });
  t.match(text, /^warn {2}clock +\d+ s ahead of S3's: run: timedatectl/m);
});

/** S3's clock, half an hour behind ours. */
function laggard() {
  return {
    now: () => Date.now() - 1_800_000,
    monotonic: () => performance.now(),
    after(ms: number, callback: () => void) {
      const timer = setTimeout(callback, ms);
      return () => clearTimeout(timer);
    },
  };
}
