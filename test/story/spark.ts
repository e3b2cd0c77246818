/**
 * Spark, as it was recorded: what it leaves through the S3 API (S3A's committer, and EMR's folders), and what it does when it
 * writes to the mount as to a local disk. Both with the bytes of real Parquet.
 */
import { existsSync, readdirSync } from 'node:fs';
import type { Test } from 'tap';
import { eventually } from '../support/mount.ts';
import { SEEN } from './other-tools.ts';
import type { Scene } from './scene.ts';

/** One Parquet file of ids from `$first`, and the names that Spark gives. */
const PARTS = `
import io, pyarrow as pa, pyarrow.parquet as pq
JOB = '202611211823405951544146916011252_0000'
UUID = '0b3d9b9a-d04b-49a7-a772-6df5620d3648'
def part(first, count=500):
    body = io.BytesIO()
    pq.write_table(pa.table({'id': range(first, first + count), 'v': [x ** 0.5 for x in range(first, first + count)]}), body)
    return body.getvalue()
def name(task): return 'part-%05d-%s.c000.snappy.parquet' % (task, UUID)
`;

/** A job on a cluster: each task writes below `_temporary`, its commit and the job's copy and delete; folders by all styles. */
const CLUSTER = `${PARTS}
import boto3, sys
s3 = boto3.client('s3')
B, table = 'victor-seoul', 'spark/table/'
put = lambda key, body=b'': s3.put_object(Bucket=B, Key=table + key, Body=body)
def move(source, target):
    s3.copy_object(Bucket=B, Key=table + target, CopySource={'Bucket': B, 'Key': table + source})
    s3.delete_object(Bucket=B, Key=table + source)
tasks = [(task, year) for task in range(2) for year in (2024, 2025)]
attempt = lambda task: '_temporary/0/_temporary/attempt_%s_m_%06d_%d/' % (JOB, task, task)
done = lambda task: '_temporary/0/task_%s_m_%06d/' % (JOB, task)
if sys.argv[1] == 'run':
    put('_temporary/0/')
    s3.put_object(Bucket=B, Key='spark/table_$folder$', Body=b'')
    for task, year in tasks: put(attempt(task) + 'year=%d/' % year + name(task), part(1000 * year + 500 * task))
else:
    for task, year in tasks:
        move(attempt(task) + 'year=%d/' % year + name(task), done(task) + 'year=%d/' % year + name(task))
    for task, year in tasks:
        move(done(task) + 'year=%d/' % year + name(task), 'year=%d/' % year + name(task))
    put('year=2024_$folder$')
    put('year=2025/')
    s3.delete_object(Bucket=B, Key=table + '_temporary/0/')
    put('_SUCCESS')
print('ok')
`;

const READ = `
import os, pandas as pd, sys
frame = pd.read_parquet(sys.argv[1])
assert len(frame) == 2000 and frame.id.is_unique and set(frame.year.astype(int)) == {2024, 2025}, frame
assert len(pd.read_parquet(sys.argv[1], filters=[('year', '==', 2025)])) == 1000
print('read')
`;

/**
 * Spark's local writer, by `$2` the version of its committer. Modes are set by chmod(1), while files are open; a delete
 * first tries unlink, then rmdir, then goes through the directory.
 */
const LOCAL = `${PARTS}
import os, subprocess, sys, zlib
table, version = sys.argv[1], sys.argv[2]
def chmod(mode, path): subprocess.run(['chmod', mode, path], check=True)
def mkdirs(path):
    if not os.path.isdir(path):
        mkdirs(os.path.dirname(path))
        os.mkdir(path, 0o777)
        chmod('0755', path)
def create(path, body):
    directory, file = os.path.split(path)
    mkdirs(directory)
    with open(path, 'wb') as data:
        chmod('0644', path)
        with open(os.path.join(directory, '.' + file + '.crc'), 'wb') as crc:
            chmod('0644', crc.name)
            crc.write(b'crc\\0' + (512).to_bytes(4, 'big'))
            for at in range(0, len(body), 512):
                data.write(body[at:at + 512])
                crc.write(zlib.crc32(body[at:at + 512]).to_bytes(4, 'big'))
def delete(path):
    try: os.unlink(path); return
    except IsADirectoryError: pass
    try: os.rmdir(path); return
    except OSError: pass
    for each in os.listdir(path): delete(os.path.join(path, each))
    os.rmdir(path)
def merge(source, target):
    if not os.path.isdir(source) or not os.path.exists(target):
        os.rename(source, target)
        return
    for each in os.listdir(source): merge(os.path.join(source, each), os.path.join(target, each))
if os.path.exists(table): delete(table)
job = table + '/_temporary/0'
mkdirs(job)
for task in range(2):
    attempt = '%s/_temporary/attempt_%s_m_%06d_%d' % (job, JOB, task, task)
    for year in (2024, 2025): create('%s/year=%d/%s' % (attempt, year, name(task)), part(1000 * year + 500 * task))
    if version == '1': os.rename(attempt, '%s/task_%s_m_%06d' % (job, JOB, task))
    else: merge(attempt, table)
if version == '1':
    for task in sorted(os.listdir(job)):
        if task.startswith('task_'): merge(job + '/' + task, table)
delete(table + '/_temporary')
create(table + '/_SUCCESS', b'')
print('ok')
`;

/**
 * The other side: all of the table by the API; each file has the checksums that Spark left beside it.
 * Without threads: pyarrow's hold the Python object that they read for a while after `read_table`, and abort where the
 * interpreter ends meanwhile (apache/arrow issues 34314 and 50482; 22 of 240 runs on two loaded cores).
 */
const BACK = `
import boto3, io, pyarrow.parquet as pq, sys, zlib
s3 = boto3.client('s3')
keys = [each['Key'] for each in s3.list_objects_v2(Bucket='victor-seoul', Prefix=sys.argv[1])['Contents']]
get = lambda key: s3.get_object(Bucket='victor-seoul', Key=key)['Body'].read()
ids = []
for key in keys:
    if not key.endswith('.parquet'): continue
    body, (directory, file) = get(key), key.rsplit('/', 1)
    sums = b''.join(zlib.crc32(body[at:at + 512]).to_bytes(4, 'big') for at in range(0, len(body), 512))
    assert get(directory + '/.' + file + '.crc')[8:] == sums, key
    ids += pq.read_table(io.BytesIO(body), use_threads=False, pre_buffer=False).column('id').to_pylist()
assert len(set(ids)) == 2000
print(len(keys), [key for key in keys if '_temporary' in key])
`;

export const spark = {
  async "Spark's table by the S3 API, read here while and after it is written"(t: Test, scene: Scene): Promise<void> {
    scene.laptop.python(CLUSTER, 'run');
    t.ok(await eventually(() => existsSync(scene.path('spark/table/_temporary')), SEEN), 'a job that runs');
    scene.rstudio.run('find', [scene.path('spark/table'), '-ls']);
    scene.laptop.python(CLUSTER, 'commit');
    t.ok(await eventually(() => existsSync(scene.path('spark/table/_SUCCESS')), SEEN), '_SUCCESS: the table is there');
    t.equal(scene.rstudio.python(READ, scene.path('spark/table')), 'read\n');
    t.same(readdirSync(scene.path('spark/table')).sort(), ['_SUCCESS', 'year=2024', 'year=2025']);
    t.notOk(
      readdirSync(scene.path('spark')).some(name => name.includes('$folder$')),
      'no folder shows twice',
    );
  },

  async "Spark's local writer, by both of its committers, read by the S3 API"(t: Test, scene: Scene): Promise<void> {
    const table = 'spark/local';
    // The second one overwrites what the first one wrote.
    for (const version of ['1', '2']) {
      t.equal(scene.rstudio.python(LOCAL, scene.path(table), version), 'ok\n');
      t.equal(scene.rstudio.python(READ, scene.path(table)), 'read\n');
      // 4 files, _SUCCESS, a .crc for each, and 3 directories.
      t.equal(scene.laptop.python(BACK, `${table}/`), '13 []\n', 'one object for each file, nothing temporary');
    }
  },
};
