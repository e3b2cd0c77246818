/** `write_back` on real mounts: what close has promised outlives a daemon that is killed at any moment. */
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { CrashWorkload } from '../support/crash-workload.ts';
import { seededRandom } from '../support/random.ts';
import { aPlace, BUCKET, eventually, type Place } from '../support/s3mount-command.ts';

/** More by KILLS= for a soak. */
const KILLS = Number(process.env['KILLS'] ?? 5);
const SEED = Number(process.env['SEED'] ?? 1);
const LATENCY = { get: 5, put: 15, head: 5, list: 8 };

async function killed(t: Test, place: Place): Promise<void> {
  process.kill(await place.daemonPid(), 'SIGKILL');
  const isDead = (): Promise<boolean> =>
    stat(place.mountPoint).then(
      () => false,
      error => error.code === 'ENOTCONN',
    );
  await eventually(t, isDead, 'dead');
}

const journals = async ({ directory }: Place): Promise<string[]> => {
  const names = await readdir(join(directory, 'state/journal'), { recursive: true });
  return names.filter(name => name.endsWith('.journal'));
};

t.test('killed at any moment: what close, rename and unlink have answered is there', async t => {
  const place = await aPlace(t, { latency: LATENCY });
  const random = seededRandom(SEED);
  const work = new CrashWorkload(join(place.mountPoint, 'w'), random, { small: 60_000, large: 3_000_000 });
  await place.mount('write_back');
  await mkdir(join(place.mountPoint, 'w'));
  for (let i = 0; i < KILLS; i++) {
    const working = work.run();
    await new Promise(resolve => setTimeout(resolve, 30 + random() * 500));
    await killed(t, place);
    const { message } = await working;
    t.match(message, /ENOTCONN|ECONNABORTED|EIO/, 'programs get an error');
    await place.mount('write_back');
    t.same(await work.verify(), [], `whole after ${i + 1} kills, ${work.operations} operations`);
  }
  t.ok(work.operations > KILLS, `${work.operations} operations`);
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  const keys = place.server.listKeys(BUCKET);
  t.same(keys, ['w/', ...[...work.told.keys()].map(name => `w/${name}`)].sort(), 'and no conflict copy');
  for (const [name, bytes] of work.told) {
    if (!place.server.getObject(BUCKET, `w/${name}`)!.bytes().equals(bytes)) t.fail(`${name} has other bytes in S3`);
  }
  t.same(await journals(place), [], 'nothing is left in the journal');
});

t.test('S3 takes nothing until the end: the journal keeps it, and a mount without write_back sends it', async t => {
  const place = await aPlace(t);
  place.server.faults.add({ kind: 'status', status: 503, operation: 'PutObject' });
  await place.mount('write_back,retries=1');
  await writeFile(join(place.mountPoint, 'f'), 'hello');
  t.equal(await readFile(join(place.mountPoint, 'f'), 'utf8'), 'hello');
  const { code } = await place.run(['umount', place.mountPoint]);
  t.equal(code, 20);
  t.equal((await journals(place)).length, 1);
  place.server.faults.clear();
  await place.mount();
  t.equal(await readFile(join(place.mountPoint, 'f'), 'utf8'), 'hello');
  await writeFile(join(place.mountPoint, 'g'), 'now');
  t.equal(place.server.getObject(BUCKET, 'g')?.bytes().toString(), 'now', 'close waits for S3 again');
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.equal(place.server.getObject(BUCKET, 'f')?.bytes().toString(), 'hello');
  t.same(await journals(place), []);
});

t.test('killed in the midst of a large file: what was being uploaded is aborted by the next mount', async t => {
  const place = await aPlace(t);
  await place.mount();
  const file = await open(join(place.mountPoint, 'large'), 'w');
  for (let i = 0; i < 40; i++) await file.write(Buffer.alloc(1 << 20, i));
  await eventually(t, async () => place.server.openUploads(BUCKET).length === 1, 'an upload is in progress');
  await killed(t, place);
  await t.rejects(file.write(Buffer.alloc(10)), { code: /ENOTCONN|ECONNABORTED/ });
  await file.close().catch(() => {});
  await place.mount();
  await eventually(t, async () => place.server.openUploads(BUCKET).length === 0, 'aborted');
  t.same(place.server.listKeys(BUCKET), [], 'nobody was told that it is saved');
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.same(await journals(place), []);
});

t.test('two mounts of one bucket have two journals', async t => {
  const place = await aPlace(t);
  await place.mount('write_back');
  const second = join(place.directory, 'second');
  await mkdir(second);
  const { code } = await place.run([BUCKET, second, '-o', place.options, '-o', 'write_back']);
  t.equal(code, 0);
  await writeFile(join(place.mountPoint, 'a'), '1');
  await writeFile(join(second, 'b'), '2');
  const directories = await readdir(join(place.directory, 'state/journal'));
  t.equal(directories.length, 2);
  t.match(await place.run(['umount', second]), { code: 0 });
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.same(place.server.listKeys(BUCKET), ['a', 'b']);
});
