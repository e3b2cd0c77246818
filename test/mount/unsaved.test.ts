/** `journal=DIR` on real mounts: what `write` has answered outlives a daemon that is killed at any moment. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { seededRandom } from '../support/random.ts';
import { aPlace, BUCKET, eventually, type Place } from '../support/s3mount-command.ts';

/** More by KILLS= for a soak. */
const KILLS = Number(process.env['KILLS'] ?? 4);
const SEED = Number(process.env['SEED'] ?? 1);
const MIB = 1024 * 1024;

async function killed(t: Test, place: Place): Promise<void> {
  process.kill(await place.daemonPid(), 'SIGKILL');
  const isDead = (): Promise<boolean> =>
    stat(place.mountPoint).then(
      () => false,
      error => error.code === 'ENOTCONN',
    );
  await eventually(t, isDead, 'dead');
}

/** Until the running mount has done what an earlier one was at: a mount that takes long over it answers before. */
async function recovered(t: Test, place: Place): Promise<void> {
  const logs = join(place.directory, 'state/log');
  const isTold = async (): Promise<boolean> => {
    const texts = await Promise.all((await readdir(logs)).map(name => readFile(join(logs, name), 'utf8')));
    return texts.some(text => text.includes('took up what an earlier mount was writing'));
  };
  await eventually(t, isTold, 'what an earlier mount was writing has been taken up');
}

const journalled = (place: Place): string => `journal=${join(place.directory, 'j')}`;

async function journals(place: Place): Promise<string[]> {
  const names = await readdir(join(place.directory, 'j'), { recursive: true });
  return names.filter(name => name.endsWith('.journal'));
}

async function abandoned(file: FileHandle): Promise<void> {
  await file.close().catch(() => {});
}

t.test('what was written and not closed is there after a kill, of small files and of large ones', async t => {
  const place = await aPlace(t);
  await place.mount(journalled(place));
  await writeFile(join(place.mountPoint, 'old'), 'old contents');
  const small = await open(join(place.mountPoint, 'small'), 'w');
  await small.write('first ');
  await small.write('second');
  const old = await open(join(place.mountPoint, 'old'), 'r+');
  await old.write('OLD', 0);
  const large = await open(join(place.mountPoint, 'large'), 'w');
  const bytes = randomBytes(41 * MIB + 123);
  for (let at = 0; at < bytes.length; at += MIB) await large.write(bytes, at, Math.min(MIB, bytes.length - at), at);
  await eventually(t, async () => place.server.openUploads(BUCKET).length === 1, 'parts are on their way');
  await killed(t, place);
  for (const file of [small, old, large]) await abandoned(file);
  await place.mount(journalled(place));
  await recovered(t, place);
  t.equal(await readFile(join(place.mountPoint, 'small'), 'utf8'), 'first second');
  t.equal(await readFile(join(place.mountPoint, 'old'), 'utf8'), 'OLD contents');
  t.ok(bytes.equals(await readFile(join(place.mountPoint, 'large'))), 'the large one');
  t.same(place.server.openUploads(BUCKET), [], 'no upload is left');
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.same(place.server.listKeys(BUCKET), ['large', 'old', 'small']);
  t.same(await journals(place), [], 'nothing is left in the journal');
});

t.test('killed at any moment of appends, overwrites and large writes', async t => {
  const place = await aPlace(t, { latency: { get: 3, put: 10, head: 3, list: 5 } });
  const random = seededRandom(SEED);
  await place.mount(journalled(place));
  for (let round = 0; round < KILLS; round++) {
    const told = new Map<string, { text: Buffer; next: Buffer }>();
    const files: FileHandle[] = [];
    const working = (async (): Promise<void> => {
      for (let i = 0; ; i++) {
        const name = `r${round}-${i % 5}`;
        files[i % 5] ??= await open(join(place.mountPoint, name), 'w+');
        const before = told.get(name)?.text ?? Buffer.alloc(0);
        const isAppending = random() < 0.7;
        const at = isAppending ? before.length : Math.floor(random() * before.length);
        const data = randomBytes(1 + Math.floor(random() * (i % 5 === 0 ? 2 * MIB : 40_000)));
        const next = Buffer.alloc(Math.max(before.length, at + data.length));
        before.copy(next);
        data.copy(next, at);
        told.set(name, { text: before, next });
        for (let done = 0; done < data.length; ) {
          done += (await files[i % 5]!.write(data, done, data.length - done, at + done)).bytesWritten;
        }
        told.set(name, { text: next, next });
        if (random() < 0.05) await files[i % 5]!.datasync();
      }
    })();
    const failed = working.catch((error: Error) => error.message);
    await new Promise(resolve => setTimeout(resolve, 100 + random() * 900));
    await killed(t, place);
    t.match(await failed, /ENOTCONN|ECONNABORTED|EIO/, 'programs get an error');
    for (const file of files) await abandoned(file);
    await place.mount(journalled(place));
    for (const [name, { text, next }] of told) {
      const isWhole = async (): Promise<boolean> => {
        const now = await readFile(join(place.mountPoint, name)).catch(() => Buffer.alloc(0));
        if (now.equals(text) || now.equals(next)) return true;
        // A write(2) above 1 MiB is several for the daemon: some of them were answered.
        if (now.length < text.length || now.length > next.length) return false;
        return now.every((byte, i) => byte === text[i] || byte === next[i]);
      };
      await eventually(t, isWhole, `${name}, of which ${text.length} bytes were answered`);
    }
    await eventually(t, async () => place.server.openUploads(BUCKET).length === 0, 'no upload is left');
  }
  t.match(await place.run(['umount', place.mountPoint]), { code: 0 });
  t.same(await journals(place), []);
  t.notOk(
    place.server.listKeys(BUCKET).some(key => key.includes('_conflict')),
    'no conflict copy',
  );
});
