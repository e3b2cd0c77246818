/** 64 processes that do everything at once: memory and descriptors of the daemon stay where they are, and so does every byte. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { aMount } from '../support/mount.ts';
import { withEnvironment } from '../support/processes.ts';

const PROCESSES = 64;
const { LOAD_SECONDS = '45' } = process.env;
const MEMORY = 96 * 1024 * 1024;
/** Of Node, V8's heap and the code, beside what the memory option limits. */
const REST = 160 * 1024 * 1024;

/** In a directory of its own; what it has in the end is told as `NAME SHA1`. */
const WORKER = `
import hashlib, os, random, sys, time
d, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
draw = random.Random(seed)
files = {}
end = time.time() + seconds
count = 0
while time.time() < end:
    way = draw.choice(['make', 'make', 'append', 'change', 'read', 'read', 'rename', 'unlink', 'truncate', 'list'])
    name = draw.choice(sorted(files)) if files else None
    if way == 'make' or name is None:
        count += 1
        name = 'f%d' % count
        files[name] = draw.randbytes(draw.choice([0, 100, 5000, 5000, 200_000, 1_500_000]))
        with open(d + '/' + name, 'wb') as f: f.write(files[name])
    elif way == 'append':
        more = draw.randbytes(draw.randrange(1, 3000))
        with open(d + '/' + name, 'ab') as f: f.write(more)
        files[name] += more
    elif way == 'change':
        at = draw.randrange(len(files[name]) + 1)
        more = draw.randbytes(700)
        with open(d + '/' + name, 'r+b') as f:
            f.seek(at)
            f.write(more)
            os.fsync(f.fileno())
        files[name] = files[name][:at] + more + files[name][at + 700:]
    elif way == 'read': assert open(d + '/' + name, 'rb').read() == files[name], name
    elif way == 'rename':
        os.rename(d + '/' + name, d + '/r' + name)
        files['r' + name] = files.pop(name)
    elif way == 'unlink':
        os.unlink(d + '/' + name)
        del files[name]
    elif way == 'truncate':
        size = draw.randrange(len(files[name]) + 1)
        os.truncate(d + '/' + name, size)
        files[name] = files[name][:size]
    else: assert sorted(os.listdir(d)) == sorted(files)
    if len(files) > 12: os.unlink(d + '/' + sorted(files)[0]); del files[sorted(files)[0]]
for name in sorted(files): print(name, hashlib.sha1(files[name]).hexdigest())
`;

t.test(`${PROCESSES} processes for ${LOAD_SECONDS} s`, async t => {
  const mount = await aMount(t, { options: `memory=${MEMORY / 2 ** 20}MiB`, seconds: Number(LOAD_SECONDS) + 180 });
  const seeds = Array.from({ length: PROCESSES }, (_, i) => i + 1);
  for (const seed of seeds) mkdirSync(mount.path(`w${seed}`));
  const descriptors: number[] = [];
  const sampling = setInterval(() => descriptors.push(readdirSync(`/proc/${mount.pid}/fd`).length), 500);
  const ends = await Promise.all(
    seeds.map(
      seed =>
        new Promise<{ code: number | null; said: string; complained: string }>(resolve => {
          const args = ['python3', '-c', WORKER, mount.path(`w${seed}`), String(seed), LOAD_SECONDS];
          const child = spawn('env', [...withEnvironment({ PATH: process.env['PATH'] }), ...args]);
          let [said, complained] = ['', ''];
          child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
          child.stderr.setEncoding('utf8').on('data', (text: string) => (complained += text));
          child.once('close', code => resolve({ code, said, complained }));
        }),
    ),
  );
  clearInterval(sampling);
  const failed = ends.filter(({ code }) => code !== 0).map(({ complained }) => complained.slice(-500));
  t.same(failed, [], 'no process has met an error or other bytes than its own');
  const third = Math.floor(descriptors.length / 3);
  const most = (list: readonly number[]): number => Math.max(...list);
  const [before, after] = [most(descriptors.slice(third, 2 * third)), most(descriptors.slice(-third))];
  t.ok(third > 3 && after <= before * 1.25 + 20, `descriptors: at most ${before}, then ${after}`);
  const memory = mount.mostMemory();
  t.ok(memory < 2 * MEMORY + REST, `resident: at most ${Math.round(memory / 2 ** 20)} MiB`);
  const expected = ends.flatMap(({ said }, i) =>
    said
      .trim()
      .split('\n')
      .filter(Boolean)
      .map(line => `w${i + 1}/${line}`),
  );
  t.ok(expected.length > PROCESSES, `${expected.length} files`);
  await mount.remount();
  const wrong = expected.filter(line => {
    const [name, digest] = line.split(' ');
    return (
      createHash('sha1')
        .update(readFileSync(mount.path(name!)))
        .digest('hex') !== digest
    );
  });
  t.same(wrong, [], 'every byte is there in a fresh mount');
  const names = seeds.flatMap(seed => readdirSync(mount.path(`w${seed}`)).map(name => `w${seed}/${name}`));
  t.same(names.sort(), expected.map(line => line.split(' ')[0]).sort(), 'and nothing else');
  t.equal(await mount.client.openUploads(), 0, 'no upload is left');
});
