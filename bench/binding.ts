/**
 * How fast the kernel binding is with nothing behind it: a filesystem in memory, served by another process, touched by
 * threads of this one. Needs root and /dev/fuse: `node --import=tsx bench/binding.ts [seconds per figure]`.
 *
 * Each figure is the best of three rounds: the machine's other work only ever makes it worse.
 */
import fs from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { PATTERN_SIZE } from '../test/support/memory-fs.ts';
import { mountChild } from '../test/support/mounted-child.ts';

type Load = 'stat' | 'random-read' | 'sequential-read' | 'write';

interface Figure {
  readonly name: string;
  readonly load: Load;
  readonly threads: number;
  readonly unit: 'ops/s' | 'MB/s';
  readonly binding?: 'dev-fuse-plain';
  readonly delayed?: boolean;
}

const FIGURES: readonly Figure[] = [
  { name: 'stat, 1 thread', load: 'stat', threads: 1, unit: 'ops/s' },
  { name: 'stat, 4 threads', load: 'stat', threads: 4, unit: 'ops/s' },
  { name: 'random 4 KiB read, 1 thread', load: 'random-read', threads: 1, unit: 'ops/s' },
  { name: 'random 4 KiB read, 16 threads', load: 'random-read', threads: 16, unit: 'ops/s' },
  {
    name: 'random 4 KiB read, 16 threads, answered later',
    load: 'random-read',
    threads: 16,
    unit: 'ops/s',
    delayed: true,
  },
  {
    name: 'random 4 KiB read, 16 threads, no koffi',
    load: 'random-read',
    threads: 16,
    unit: 'ops/s',
    binding: 'dev-fuse-plain',
  },
  { name: 'sequential read of 1 MiB', load: 'sequential-read', threads: 1, unit: 'MB/s' },
  { name: 'write of 1 MiB', load: 'write', threads: 1, unit: 'MB/s' },
  { name: 'write of 1 MiB, answered later', load: 'write', threads: 1, unit: 'MB/s', delayed: true },
];

const ROUNDS = 3;

/**
 * What each thread runs, as plain JavaScript of its own: it posts how much it has done (operations or bytes) after
 * `seconds`. O_DIRECT, or the kernel would answer out of its page cache.
 */
const LOADS = `
const { parentPort, workerData } = require('node:worker_threads');
const fs = require('node:fs');
const { load, dir, size, seconds, index } = workerData;
const MIB = 1024 * 1024;
const { O_RDONLY, O_RDWR, O_CREAT, O_DIRECT } = fs.constants;
const pattern = dir + '/pattern';
const small = Buffer.alloc(4096);
const large = Buffer.alloc(MIB, 7);
let seed = 12345 + index * 999;
const random = below => {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return seed % below;
};
const start = {
  stat: () => () => (fs.statSync(pattern), 1),
  'random-read': () => {
    const fd = fs.openSync(pattern, O_RDONLY | O_DIRECT);
    return () => (fs.readSync(fd, small, 0, 4096, random(size / 4096) * 4096), 1);
  },
  'sequential-read': () => {
    const fd = fs.openSync(pattern, O_RDONLY | O_DIRECT);
    let at = 0;
    return () => {
      const read = fs.readSync(fd, large, 0, MIB, at);
      at = (at + MIB) % size;
      return read;
    };
  },
  write: () => {
    const fd = fs.openSync(dir + '/out' + index, O_RDWR | O_CREAT);
    let at = 0;
    return () => {
      const written = fs.writeSync(fd, large, 0, MIB, at);
      at = (at + MIB) % (256 * MIB);
      return written;
    };
  },
}[load]();
let done = 0;
const end = performance.now() + seconds * 1000;
while (performance.now() < end) for (let i = 0; i < 16; i++) done += start();
parentPort.postMessage(done);
`;

function runThread(load: Load, dir: string, seconds: number, index: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(LOADS, { eval: true, workerData: { load, dir, size: PATTERN_SIZE, seconds, index } });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

/** CPU seconds that a process has used: utime and stime of /proc/PID/stat, in ticks of 10 ms. */
function cpuSeconds(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(figure: Figure, seconds: number): Promise<void> {
  const mount = await mountChild({ binding: figure.binding ?? 'dev-fuse', delayed: figure.delayed ?? false, ttl: 0 });
  try {
    let best = 0;
    let cpu = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const before = cpuSeconds(mount.pid);
      const threads = Array.from({ length: figure.threads }, (_, i) => runThread(figure.load, mount.dir, seconds, i));
      const done = (await Promise.all(threads)).reduce((sum, count) => sum + count, 0);
      if (done <= best) continue;
      best = done;
      cpu = (cpuSeconds(mount.pid) - before) / seconds;
    }
    const rate = best / seconds / (figure.unit === 'MB/s' ? 1e6 : 1);
    console.log(
      `${figure.name.padEnd(48)} ${Math.round(rate).toLocaleString('en').padStart(9)} ${figure.unit}  ${cpu.toFixed(2)} cores of the server`,
    );
  } finally {
    fs.rmSync(join(mount.dir, 'out0'), { force: true });
    await mount.stop();
  }
}

const seconds = Number(process.argv[2] ?? 1);
for (const figure of FIGURES) await measure(figure, seconds);
