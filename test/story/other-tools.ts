/** The same objects by others: the AWS CLI, boto3, awswrangler. */
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { eventually } from '../support/mount.ts';
import { type Requests, type Scene, total } from './scene.ts';

/** ms after which everything that others did is seen: `stat_cache_expire`, and some for a busy machine. */
export const SEEN = 20_000;

const MB = 1_000_000;

/** Seconds that attributes and listings are kept, `stat_cache_expire`. */
const KEPT = 10;
/** Of the tree below, with its root. */
const DIRECTORIES = 5;

/** A tree as people have it: names in their language, a large file, small ones. */
function makeTree(directory: string): void {
  for (const name of ['원본 자료', 'scripts', 'scripts/deep/er']) mkdirSync(join(directory, name), { recursive: true });
  for (let i = 0; i < 30; i++)
    writeFileSync(join(directory, '원본 자료', `${i}월 매출+세금.csv`), `day,amount\n${i},${i * 3}\n`);
  writeFileSync(join(directory, 'scripts/plot.R'), 'plot(1:10)\n');
  writeFileSync(join(directory, 'scripts/deep/er/empty'), '');
  const large = Buffer.alloc(20 * MB);
  for (let i = 0; i < large.length; i += 4) large.writeUInt32LE((i * 2654435761) >>> 0, i);
  writeFileSync(join(directory, 'large.bin'), large);
}

const told = (requests: Requests): string =>
  `${total(requests)}: ${Object.entries(requests)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')}`;

const FRAME = `
import numpy as np, pandas as pd
frame = pd.DataFrame({'id': np.arange(20_000), 'city': ['서울', '부산', '대구 시', 'a=b'] * 5_000, 'amount': np.sqrt(np.arange(20_000))})
frame.loc[7, 'amount'] = np.nan
`;

/** Somebody with awswrangler and boto3 makes a partitioned table and objects of all sizes. */
const LAKE = `${FRAME}
import awswrangler as wr, boto3, os
wr.s3.to_parquet(frame, path='s3://victor-seoul/lake/events/', dataset=True, partition_cols=['city'])
wr.s3.to_csv(frame, 's3://victor-seoul/lake/events.csv', index=False)
s3 = boto3.client('s3')
body = os.urandom(12_000_000)
with open('a.bin', 'wb') as f: f.write(body)
s3.upload_file('a.bin', 'victor-seoul', 'lake/boto/a.bin')
s3.put_object(Bucket='victor-seoul', Key='lake/boto/메모.txt', Body='안녕\\n'.encode(), ContentType='text/plain', Metadata={'note': 'kept'})
print('written')
`;

/** The user of the mount reads that, adds a partition and writes a table of their own. */
const AT_THE_BOX = `${FRAME}
import hashlib, os, sys
d = sys.argv[1] + '/lake'
def same(a):
    a = a.assign(city=a.city.astype(str)).sort_values('id').reset_index(drop=True)[list(frame.columns)]
    pd.testing.assert_frame_equal(a, frame, check_dtype=False)
same(pd.read_parquet(d + '/events'))
same(pd.read_csv(d + '/events.csv'))
assert len(pd.read_parquet(d + '/events', filters=[('city', '==', 'a=b')])) == 5_000
with open(d + '/boto/a.bin', 'rb') as f: digest = hashlib.md5(f.read()).hexdigest()
with open(d + '/boto/a.md5', 'w') as f: f.write(digest)
with open(d + '/boto/메모.txt', 'a') as f: f.write('더하기\\n')
frame.assign(id=frame.id + 20_000, city='제주').to_parquet(d + '/events', partition_cols=['city'])
frame.to_parquet(d + '/ours', partition_cols=['city'])
with open(d + '/big.bin', 'wb') as f: f.write(bytes(range(256)) * 70_000)
print('read and written')
`;

/** The first one reads what came back. */
const BACK = `${FRAME}
import awswrangler as wr, boto3, hashlib, urllib.parse
events = wr.s3.read_parquet('s3://victor-seoul/lake/events/', dataset=True)
# pyarrow writes names of partitions as in a URL, awswrangler as they are.
assert len(events) == 40_000 and events.city.map(lambda name: urllib.parse.unquote(str(name))).eq('제주').sum() == 20_000
ours = wr.s3.read_parquet('s3://victor-seoul/lake/ours/', dataset=True)
assert np.allclose(ours.sort_values('id').amount.to_numpy(dtype=float, na_value=np.nan), frame.amount, equal_nan=True) and len(ours) == 20_000
s3 = boto3.client('s3')
get = lambda key: s3.get_object(Bucket='victor-seoul', Key='lake/' + key)
digest = hashlib.md5(open('a.bin', 'rb').read()).hexdigest()
assert get('boto/a.md5')['Body'].read().decode() == digest
note = get('boto/메모.txt')
assert note['Body'].read().decode() == '안녕\\n더하기\\n'
assert note['ContentType'] == 'text/plain' and note['Metadata']['note'] == 'kept', note
s3.download_file('victor-seoul', 'lake/big.bin', 'big.bin')
assert open('big.bin', 'rb').read() == bytes(range(256)) * 70_000
keys = [each['Key'] for page in s3.get_paginator('list_objects_v2').paginate(Bucket='victor-seoul', Prefix='lake/boto/') for each in page['Contents']]
assert keys == ['lake/boto/a.bin', 'lake/boto/a.md5', 'lake/boto/메모.txt'], keys
print('read')
`;

export const otherTools = {
  async 'aws s3 sync, both ways'(t: Test, scene: Scene): Promise<void> {
    const { rstudio, laptop } = scene;
    makeTree(join(rstudio.home, 'tmp'));
    rstudio.shell('mv tmp data && mkdir tmp');
    const began = performance.now();
    const copied = await scene.s3.during(() => void rstudio.shell('cp -r data works/up'));
    const expiries = Math.floor((performance.now() - began) / 1000 / KEPT);
    const fetched = await scene.s3.during(() => void scene.aws('s3', 'sync', '--quiet', 's3://victor-seoul/up', 'up'));
    laptop.run('diff', ['-r', join(rstudio.home, 'data'), 'up']);
    t.equal(scene.aws('s3', 'sync', 's3://victor-seoul/up', 'up'), '', 'once more: nothing to do');

    const sent = await scene.s3.during(
      () => void scene.aws('s3', 'sync', '--quiet', 'up', 's3://victor-seoul/aws/down'),
    );
    const read = await scene.s3.during(() => void rstudio.shell('cp -r works/aws/down copied'));
    rstudio.run('diff', ['-r', 'data', 'copied']);

    t.comment(`33 files written by the mount ${told(copied)}`);
    t.comment(`… by aws s3 sync ${told(sent)}`);
    t.comment(`33 files read by the mount ${told(read)}`);
    t.comment(`… by aws s3 sync ${told(fetched)}`);
    t.equal(
      copied['PutObject'],
      sent['PutObject']! + DIRECTORIES,
      'a PUT for each file, as the CLI does, and for each directory',
    );
    t.equal(copied['UploadPart'], sent['UploadPart'], 'the same parts');
    const looks = (copied['HeadObject'] ?? 0) + (copied['ListObjectsV2'] ?? 0);
    t.equal(total(copied) - looks, total(sent) - sent['ListObjectsV2']! + DIRECTORIES, 'and nothing else');
    t.ok(looks <= 2 * DIRECTORIES * expiries, 'a directory is looked at again when what is known of it has expired');
    // Files younger than S3's clock can tell apart are asked for twice.
    t.ok(
      total(read) <= 2 * 33 + 3 * DIRECTORIES,
      'reading costs a GET, at most a HEAD, and what is asked of each directory',
    );
  },

  async 'aws s3 cp, mv, rm, ls'(t: Test, scene: Scene): Promise<void> {
    const { rstudio } = scene;
    t.equal(scene.aws('s3', 'cp', 's3://victor-seoul/first.csv', '-'), 'day,amount\n');
    writeFileSync(join(scene.laptop.home, 'second.csv'), 'day,amount\n1,2\n');
    scene.aws('s3', 'cp', 'second.csv', 's3://victor-seoul/first.csv');
    t.equal(
      readFileSync(scene.path('first.csv'), 'utf8'),
      'day,amount\n1,2\n',
      'an overwritten file, at its next open',
    );
    rstudio.shell(`
      mkdir -p "works/mine/한 글"
      head -c 3000000 /dev/zero > works/mine/zeros
      for i in 1 2 3; do echo $i > "works/mine/한 글/$i.csv"; done`);
    const listed = scene
      .aws('s3', 'ls', '--recursive', 's3://victor-seoul/mine')
      .trimEnd()
      .split('\n')
      .map(line => line.slice(20).trim())
      .filter(line => !line.endsWith('/'));
    const found = rstudio.shell(`cd works && find mine -type f -printf '%s %p\\n'`).trimEnd().split('\n');
    t.same(listed.sort(), found.sort(), 'the same names and sizes');
    scene.aws('s3', 'mv', '--quiet', 's3://victor-seoul/mine/zeros', 's3://victor-seoul/mine/moved');
    scene.aws('s3', 'rm', '--quiet', '--recursive', 's3://victor-seoul/mine/한 글');
    const done = (): boolean => existsSync(scene.path('mine/moved')) && !existsSync(scene.path('mine/한 글'));
    t.ok(await eventually(done, SEEN), 'moved and removed by others');
    t.notOk(existsSync(scene.path('mine/zeros')));
    t.equal(statSync(scene.path('mine/moved')).size, 3_000_000);
  },

  async 'boto3 and awswrangler, both ways'(t: Test, scene: Scene): Promise<void> {
    t.equal(scene.laptop.python(LAKE), 'written\n');
    t.equal(scene.rstudio.python(AT_THE_BOX, scene.works), 'read and written\n');
    t.equal(scene.laptop.python(BACK), 'read\n');
  },
};
