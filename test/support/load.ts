/**
 * Many processes that do everything at once in a mount, each in a directory of its own, and what the daemon takes meanwhile.
 * Each keeps what its files should hold, so that every byte can be compared afterwards.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { RealMount } from './mount.ts';
import { withEnvironment } from './processes.ts';
import { type Allowance, type Steadiness, steadiness } from './steadiness.ts';

export const PROCESSES = 64;
/** `memory=` of the mount: less than the files take together, so that blocks are let go of all the time. */
export const MEMORY = 96 * 1024 * 1024;
/** Resident at most: twice what the option limits, with Node, V8's heap and the code beside. */
export const MOST_RESIDENT = 2 * MEMORY + 160 * 1024 * 1024;

/** Points of a series: as many as a plot has room for; a minute gives enough for each third. */
const SAMPLES = 400;
/** Seconds from one to the next at least: the daemon is asked each time. */
const LEAST_PAUSE = 0.5;

/** In a directory of its own; what it has in the end is told as `NAME SHA1`. */
const WORKER = `
import hashlib, os, random, sys, time
d, seed, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
draw = random.Random(seed)
files = {}
end = time.time() + seconds
count = operations = 0
while time.time() < end:
    operations += 1
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
print('operations', operations)
`;

/** Of the daemon, at a moment. */
export interface Sample {
  /** Since the load began. */
  readonly seconds: number;
  /** Bytes. */
  readonly resident: number;
  readonly descriptors: number;
  /** That the kernel holds. */
  readonly inodes: number;
}

export type Measure = Exclude<keyof Sample, 'seconds'>;

/** Files that a process has at most, before the one that it removes for that. */
const FILES = 13;

/**
 * Descriptors swing by the connections to S3, memory by V8's heap, inodes by the files that are just there. They fill to
 * 100 descriptors, 90 MiB of a fresh daemon beside the blocks, and every file with its directory: on a busy machine a minute is over before.
 */
export const ALLOWED: Readonly<Record<Measure, Allowance>> = {
  resident: { times: 1.15, plus: 16 * 1024 * 1024, fill: MEMORY + 90 * 1024 * 1024 },
  descriptors: { times: 1.25, plus: 20, fill: 100 },
  inodes: { times: 1.15, plus: PROCESSES, fill: PROCESSES * (FILES + 1) + 1 },
};

/** Each measure of a series, judged. */
export function steadinessOf(series: readonly Sample[]): (Steadiness & { readonly measure: Measure })[] {
  return (Object.keys(ALLOWED) as Measure[]).map(measure => ({
    measure,
    ...steadiness(
      series.map(sample => sample[measure]),
      ALLOWED[measure],
    ),
  }));
}

export interface LoadOptions {
  readonly seconds: number;
  /** Of the first process; the others follow. */
  readonly seed: number;
  readonly onSample?: (sample: Sample) => void;
}

export interface LoadOutcome {
  /** Of each process that met an error, or other bytes than its own: its seed and what it said. */
  readonly failed: readonly string[];
  /** SHA-1 by name, as it must be after the load. */
  readonly files: ReadonlyMap<string, string>;
  readonly operations: number;
  readonly series: readonly Sample[];
}

export async function load(mount: RealMount, options: LoadOptions): Promise<LoadOutcome> {
  const { seconds, seed } = options;
  const seeds = Array.from({ length: PROCESSES }, (_, i) => seed + i);
  for (const one of seeds) mkdirSync(mount.path(directoryOf(one)));
  // Before the first sample: starting 64 processes takes seconds on a busy machine, and the daemon waits for a request no longer.
  const working = seeds.map(one => work(mount, one, seconds));
  const over = new AbortController();
  const sampling = sample(mount, options, over.signal);
  // Who samples may fail first: it is heard of below, when no process is left.
  sampling.catch(() => {});
  const ends = await Promise.all(working);
  over.abort();
  const files = new Map<string, string>();
  let operations = 0;
  for (const { seed: one, lines } of ends) {
    for (const line of lines) {
      const [name = '', value = ''] = line.split(' ');
      if (name === 'operations') operations += Number(value);
      else files.set(`${directoryOf(one)}/${name}`, value);
    }
  }
  const failed = ends.flatMap(end => (end.code === 0 ? [] : `seed ${end.seed}: ${end.complained}`));
  return { failed, files, operations, series: await sampling };
}

function directoryOf(seed: number): string {
  return `w${seed}`;
}

interface End {
  readonly seed: number;
  readonly code: number | null;
  readonly lines: readonly string[];
  readonly complained: string;
}

function work(mount: RealMount, seed: number, seconds: number): Promise<End> {
  return new Promise(resolve => {
    const args = ['python3', '-c', WORKER, mount.path(directoryOf(seed)), String(seed), String(seconds)];
    // TMPDIR tells whose it is: `npm test` and `npm run soak` end by it what was left behind.
    const environment = { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'] };
    const child = spawn('env', [...withEnvironment(environment), ...args]);
    let [said, complained] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complained += text));
    child.once('close', code => {
      resolve({ seed, code, lines: said.split('\n').filter(Boolean), complained: complained.slice(-500) });
    });
  });
}

async function sample(mount: RealMount, { seconds, onSample }: LoadOptions, over: AbortSignal): Promise<Sample[]> {
  const series: Sample[] = [];
  const begin = Date.now();
  const interval = Math.max(LEAST_PAUSE, seconds / SAMPLES) * 1000;
  while (!over.aborted) {
    const { inodes } = await mount.status();
    const one = {
      seconds: (Date.now() - begin) / 1000,
      resident: mount.residentMemory(),
      descriptors: readdirSync(`/proc/${mount.pid}/fd`).length,
      inodes,
    };
    series.push(one);
    onSample?.(one);
    await pause(interval, undefined, { signal: over }).catch(() => {});
  }
  return series;
}

/** What of `files` is not in the mount as it must be, and what else is there; best in a fresh mount, which has to ask S3. */
export function differences(mount: RealMount, files: ReadonlyMap<string, string>): string[] {
  const there = readdirSync(mount.dir).flatMap(place => readdirSync(mount.path(place)).map(name => `${place}/${name}`));
  const more = there.filter(name => !files.has(name)).map(name => `${name}: nobody made it`);
  const names = new Set(there);
  const wrong = [...files].flatMap(([name, digest]) => {
    if (!names.has(name)) return `${name}: gone`;
    const found = createHash('sha1')
      .update(readFileSync(mount.path(name)))
      .digest('hex');
    return found === digest ? [] : `${name}: other bytes`;
  });
  return [...more, ...wrong];
}
