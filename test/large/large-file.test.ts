/** More than memory: a file of 3 GiB in and out, and a walk over a million keys, in a control group of 256 MiB. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { MemoryCgroup } from '../support/memory-cgroup.ts';
import { aMount, BUCKET, type MountTestOptions, type RealMount } from '../support/mount.ts';
import { patternBytes } from '../support/pattern.ts';
import { run } from '../support/processes.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const LIMIT = 256 * MIB;
const SIZE = 3 * GIB;
const PIECE = 4 * MIB;
const KEYS = 1_000_000;

/** The mount and the programs that use it live in one control group, as in a container. */
async function inLimit(t: Test, options: MountTestOptions): Promise<{ mount: RealMount; cgroup: MemoryCgroup }> {
  const cgroup = MemoryCgroup.make(LIMIT);
  // Called last: the mount has gone by then.
  t.teardown(() => cgroup.remove());
  // Without a group the machine's memory counts: then the mount is told.
  const told = cgroup.exists ? '' : `memory=${LIMIT / 4}`;
  const mount = await aMount(t, {
    ...options,
    options: [options.options, told].filter(Boolean).join(','),
    within: cgroup.command,
  });
  return { mount, cgroup };
}

function withinLimit(t: Test, { mount, cgroup }: { mount: RealMount; cgroup: MemoryCgroup }, what: string): void {
  const own = mount.mostMemory();
  const all = cgroup.peak === undefined ? 'not counted' : `${Math.round(cgroup.peak / MIB)} MiB with the page cache`;
  t.comment(`${what}: ${Math.round(own / MIB)} MiB of the daemon at most, ${all}`);
  t.ok(own < LIMIT, `${what}: within the limit`);
  t.equal(cgroup.killed, 0, `${what}: nobody was killed`);
}

t.test('3 GiB written and read back', async t => {
  // No MD5 of what is uploaded: it would cost the server, not what is tested, 5 s.
  const { mount, cgroup } = await inLimit(t, { serverArgs: ['--etag=fast'] });
  const path = mount.path('large');
  const command = (...args: string[]): [string, string[]] => {
    const [program = '', ...rest] = [...cgroup.command, ...args];
    return [program, rest];
  };
  const piece = patternBytes(PIECE, 11);
  const written = createHash('sha1');
  const writer = spawn(...command('dd', `of=${path}`, 'bs=1M', 'iflag=fullblock', 'status=none'), {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const writerEnded = once(writer, 'exit');
  for (let place = 0; place < SIZE; place += PIECE) {
    // Each piece tells its place in its first bytes, so that no two are alike.
    const bytes = Buffer.from(piece);
    bytes.writeDoubleLE(place, 0);
    written.update(bytes);
    if (!writer.stdin!.write(bytes)) await Promise.race([once(writer.stdin!, 'drain'), writerEnded]);
  }
  writer.stdin!.end();
  t.same(await writerEnded, [0, null]);
  t.equal((await mount.client.head('large'))!.size, SIZE);
  t.equal(await mount.client.openUploads(), 0);
  withinLimit(t, { mount, cgroup }, 'written');

  await mount.remount();
  const read = createHash('sha1');
  const reader = spawn(...command('dd', `if=${path}`, 'bs=1M', 'status=none'), {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const readerEnded = once(reader, 'exit');
  for await (const bytes of reader.stdout!) read.update(bytes as Buffer);
  t.same(await readerEnded, [0, null]);
  t.equal(read.digest('hex'), written.digest('hex'), 'the same bytes');
  withinLimit(t, { mount, cgroup }, 'read');
});

t.test('a walk over a million keys in a thousand directories', async t => {
  const { mount, cgroup } = await inLimit(t, {
    // On a busy machine the walk takes longer than a listing is believed by default.
    options: 'stat_cache_expire=600',
    // Too large for a link: names alone tell what they are.
    prepare: async (_client, s3) => await s3!.fill(BUCKET, { prefix: 'tree/', count: KEYS, fan: 1000, size: 10_000 }),
  });
  const [program = '', ...args] = [
    ...cgroup.command,
    'sh',
    '-c',
    'find "$1" -type f | wc -l',
    'sh',
    mount.path('tree'),
  ];
  const requests = await mount.s3.during(() => {
    t.equal(run(program, args).trim(), String(KEYS));
  });
  t.comment(JSON.stringify(requests));
  // One each for a thousand directories, and some that were asked for ahead and had to be let go of.
  t.ok(requests['ListObjectsV2']! < 2500, 'listed about once');
  withinLimit(t, { mount, cgroup }, 'walked');
});
