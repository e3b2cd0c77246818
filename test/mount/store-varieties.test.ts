/** Stores that differ from S3, each a mode of the embedded server: the functional tests in short on a real mount of each. */
import { closeSync, fsyncSync, openSync, readdirSync, readFileSync, statSync, writeFileSync, writeSync } from 'node:fs';
import t, { type Test } from 'tap';
import { runFunctional } from '../functional/functional.ts';
import { codeOf } from '../functional/names.ts';
import { kept, varieties } from '../functional/varieties.ts';
import { aMount, type MountTestOptions, type RealMount } from '../support/mount.ts';
import { run, shell } from '../support/processes.ts';

interface Variety {
  readonly title: string;
  /** As `src/embedded-s3/modes.ts` has them. */
  readonly modes: readonly string[];
  /** A name that tells the kind of bucket. */
  readonly bucket?: string;
  /** The other client must send checksums. */
  readonly checksums?: boolean;
  /** What is to be seen of it on the mount that was mounted again. */
  readonly more?: (t: Test, mount: RealMount) => Promise<void>;
}

const VARIETIES: readonly Variety[] = [
  { title: 'unordered listings without start-after', modes: ['unorderedListing'] },
  { title: 'no conditions', modes: ['noConditionalPut', 'noConditionalComplete', 'noConditionalDelete'] },
  { title: 'conditions refused', modes: ['noConditionalPut=refuse', 'noConditionalComplete=refuse'] },
  { title: 'unquoted ETags', modes: ['unquotedEtags'] },
  { title: 'no encoding-type', modes: ['noEncodingType'] },
  {
    title: 'no DeleteObjects',
    modes: ['noDeleteObjects'],
    async more(t, mount) {
      const { answers } = await mount.s3.stats();
      t.ok((answers['DeleteObjects 501'] ?? 0) > 0, 'a batch was refused');
      t.notOk(answers['DeleteObjects 200'], 'what was deleted was deleted one by one');
    },
  },
  { title: 'versions kept', modes: ['versioning'], more: versionsKept },
  {
    title: 'Object Lock',
    modes: ['objectLock'],
    checksums: true,
    async more(t, mount) {
      const { answers } = await mount.s3.stats();
      t.notOk(answers['PutObject 400'] ?? answers['UploadPart 400'], 'nothing was sent without a checksum');
    },
  },
  { title: 'KMS by default', modes: ['kms'] },
  {
    title: 'a directory bucket (S3 Express)',
    modes: [],
    bucket: 'works--use1-az4--x-s3',
    async more(t, mount) {
      const { requests, answers } = await mount.s3.stats();
      t.ok((requests['CreateSession'] ?? 0) >= 1, 'by sessions');
      t.notOk(
        Object.keys(answers).some(answer => / 40[03]$/.test(answer)),
        'nothing that it does not take was asked for',
      );
    },
  },
];

/** An overwrite makes a version, a delete a marker; which version a file is, an attribute tells. */
async function versionsKept(t: Test, mount: RealMount): Promise<void> {
  const path = mount.path('versioned');
  const versionId = (): string =>
    run('getfattr', ['--absolute-names', '--only-values', '-n', 'user.s3mount.version_id', path]);
  writeFileSync(path, 'one');
  const first = versionId();
  writeFileSync(path, 'two');
  t.not(versionId(), first);
  run('rm', [path]);
  t.equal(
    codeOf(() => statSync(path)),
    'ENOENT',
  );
  t.equal(await mount.client.text('versioned'), undefined);
  t.equal(await mount.client.text('versioned', first), 'one', 'the old version is there still');
}

const serverArgs = (modes: readonly string[]): string[] => ['--page=20', ...modes.map(mode => `--mode=${mode}`)];

function optionsOf({ modes, bucket, checksums }: Variety): MountTestOptions {
  return {
    serverArgs: serverArgs(modes),
    ...(bucket === undefined ? {} : { bucket }),
    ...(checksums === undefined ? {} : { checksums }),
  };
}

/** Mounted again, then with write_back: what close has answered is there, and S3 has it in the end. */
async function again(t: Test, variety: Variety): Promise<void> {
  const options = optionsOf(variety);
  const first = await aMount(t, options);
  kept.before(first.dir);
  run('mkdir', [first.path('gone')]);
  shell('cd "$1"; for i in $(seq 30); do echo $i > $i; done', { args: [first.path('gone')] });
  run('mv', [first.path('gone'), first.path('moved')]);
  await first.remount();
  t.equal(kept.after(first.dir), kept.expected, 'from the index');
  await variety.more?.(t, first);
  await first.stop();
  const second = await aMount(t, { ...options, access: first.access, options: 'write_back' });
  for (let i = 0; i < 30; i++) writeFileSync(second.path(`back${i}`), `${i}`);
  for (let i = 0; i < 30; i += 2) run('rm', [second.path(`back${i}`)]);
  t.equal(readdirSync(second.dir).filter(name => name.startsWith('back')).length, 15);
  t.same(await second.stop(), { code: 0, signal: null });
  const left = (await second.client.keys('')).filter(key => key.startsWith('back')).sort();
  t.same(left, Array.from({ length: 15 }, (_, i) => `back${2 * i + 1}`).sort(), 'S3 has it');
}

/** One of them only, by its first mode. */
const only = process.env['VARIETY'];

for (const variety of VARIETIES) {
  const { title, modes } = variety;
  if (only !== undefined && !modes.includes(only) && only !== variety.bucket) continue;
  t.test(title, async t => {
    await runFunctional(t, varieties, optionsOf(variety));
    await t.test('mounted again, and with write_back', t => again(t, variety));
  });
}

t.test('a key of KMS that may not be used: EACCES, and why says which right is missing', async t => {
  const mount = await aMount(t, {
    serverArgs: serverArgs(['kmsDenied']),
    prepare: async (_, s3) => s3!.fill('works-bucket', { key: 'sealed', size: 1000 }),
  });
  const sealed = mount.path('sealed');
  t.equal(statSync(sealed).size, 1000, 'its attributes are told');
  t.equal(
    codeOf(() => readFileSync(sealed)),
    'EACCES',
  );
  const why = (path: string): string => run('env', mount.commandLine(['why', path]));
  t.match(why(sealed), /Permission denied[\s\S]*lack kms:Decrypt on the KMS key/);
  const fresh = openSync(mount.path('fresh'), 'w');
  writeSync(fresh, 'x');
  t.equal(
    codeOf(() => fsyncSync(fresh)),
    'EACCES',
  );
  t.match(why(mount.path('fresh')), /lack kms:GenerateDataKey on the KMS key/);
  t.equal(
    codeOf(() => closeSync(fresh)),
    'EACCES',
    'close tries again',
  );
  run('rm', [mount.path('fresh')]);
});
