/**
 * A load program: carries out one job on a mount and prints what came of it. A process of its own, so that a mount that hangs
 * does not take the benchmark with it, and so that Node's threads for files (UV_THREADPOOL_SIZE) are as many as readers.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { generatedBytes } from '../../src/embedded-s3/generator.ts';
import type { LoadJob, LoadOrder, LoadResult, ReadFile } from './load-jobs.ts';
import { STAMPED, writtenBlock, writtenBytes } from './written-bytes.ts';

const MIB = 1024 * 1024;

/** Counts; `errors` and `wrong` are no reason to stop. */
class Tally {
  done = 0;
  errors = 0;
  wrong = 0;
  firstError: string | undefined;
  /** Seconds by the program's own clock, where it has one. */
  seconds: number | undefined;
  readonly #end: number;

  constructor(limit: number) {
    this.#end = performance.now() + limit * 1000;
  }

  get late(): boolean {
    return performance.now() > this.#end;
  }

  failed(error: unknown): void {
    this.errors++;
    this.firstError ??= error instanceof Error ? error.message : String(error);
  }

  /** Looks at both ends of what was read: cheap, and a range in the wrong place is found. */
  check(file: ReadFile, offset: number, bytes: Buffer): void {
    const length = Math.min(8, bytes.length);
    const last = bytes.length - length;
    const right =
      generatedBytes(file.seed, offset, length).equals(bytes.subarray(0, length)) &&
      generatedBytes(file.seed, offset + last, length).equals(bytes.subarray(last));
    if (!right) this.wrong++;
  }
}

function readAsync(fd: number, buffer: Buffer, length: number, offset: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, buffer, 0, length, offset, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

async function readWhole(tally: Tally, file: ReadFile): Promise<void> {
  const fd = fs.openSync(file.path, 'r');
  const buffer = Buffer.allocUnsafeSlow(MIB);
  let offset = 0;
  for (;;) {
    if (tally.late) throw new Error('out of time');
    const count = await readAsync(fd, buffer, MIB, offset);
    if (count === 0) break;
    tally.check(file, offset, buffer.subarray(0, count));
    offset += count;
  }
  fs.closeSync(fd);
  if (offset !== file.size) tally.wrong++;
  tally.done++;
}

/** mulberry32: the same offsets at each run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function readRandomly(tally: Tally, job: Extract<LoadJob, { do: 'random' }>): Promise<void> {
  const { file, block } = job;
  const fd = fs.openSync(file.path, 'r');
  const places = Math.floor((file.size - block) / 4096);
  const end = performance.now() + job.seconds * 1000;
  const reader = async (number: number): Promise<void> => {
    const next = random(number + 1);
    const buffer = Buffer.allocUnsafeSlow(block);
    while (performance.now() < end) {
      const offset = Math.floor(next() * places) * 4096;
      const count = await readAsync(fd, buffer, block, offset);
      if (count === block) tally.check(file, offset, buffer);
      else tally.wrong++;
      tally.done++;
    }
  };
  await Promise.all(Array.from({ length: job.readers }, (_, i) => reader(i)));
  fs.closeSync(fd);
}

function readEach(tally: Tally, job: Extract<LoadJob, { do: 'read-each' }>): void {
  const buffer = Buffer.allocUnsafeSlow(MIB);
  for (const file of job.files) {
    if (tally.late) return;
    try {
      const fd = fs.openSync(file.path, 'r');
      const wanted = Math.min(job.first ?? file.size, file.size);
      let offset = 0;
      while (offset < wanted) {
        const count = fs.readSync(fd, buffer, 0, Math.min(MIB, wanted - offset), offset);
        if (count === 0) break;
        tally.check(file, offset, buffer.subarray(0, count));
        offset += count;
      }
      if (offset !== wanted) tally.wrong++;
      fs.closeSync(fd);
      tally.done++;
    } catch (error) {
      tally.failed(error);
    }
  }
}

/** In turns, so that the files grow side by side; the closes too are at once, as those of several programs would be. */
async function writeFiles(tally: Tally, job: Extract<LoadJob, { do: 'write' }>): Promise<void> {
  const write = (fd: number, bytes: Buffer): Promise<number> =>
    new Promise((resolve, reject) => {
      fs.write(fd, bytes, 0, bytes.length, (error, count) => (error ? reject(error) : resolve(count)));
    });
  const one = async (path: string): Promise<void> => {
    const fd = fs.openSync(path, 'w');
    const own = Buffer.allocUnsafeSlow(STAMPED);
    for (let offset = 0; offset < job.size; offset += STAMPED) {
      if (tally.late) throw new Error('out of time');
      // Other files write from threads meanwhile: each has a copy of its own, but only the stamp differs.
      if (offset === 0) writtenBlock(0).copy(own);
      own.writeDoubleLE(offset / STAMPED, 0);
      const length = Math.min(STAMPED, job.size - offset);
      const count = await write(fd, own.subarray(0, length));
      if (count !== length) throw new Error(`only ${count} of ${length} bytes were written`);
    }
    await new Promise<void>((resolve, reject) => fs.close(fd, error => (error ? reject(error) : resolve())));
    tally.done++;
  };
  await Promise.all(job.paths.map(one));
}

function inTurn(tally: Tally, paths: readonly string[], action: (path: string) => void): void {
  for (const path of paths) {
    if (tally.late) return;
    try {
      action(path);
      tally.done++;
    } catch (error) {
      tally.failed(error);
    }
  }
}

function writeAt(path: string, flags: string, offset: number | null, bytes: Buffer): void {
  const fd = fs.openSync(path, flags);
  try {
    fs.writeSync(fd, bytes, 0, bytes.length, offset);
  } finally {
    fs.closeSync(fd);
  }
}

function runProgram(tally: Tally, job: Extract<LoadJob, { do: 'run' }>, limit: number): Promise<void> {
  const [program = '', ...args] = job.command;
  const output = job.output === undefined ? ('pipe' as const) : fs.openSync(job.output, 'w');
  return new Promise(resolve => {
    const child = spawn(program, args, {
      stdio: ['ignore', output, 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    let said = '';
    let complaints = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), limit * 1000);
    child.once('error', error => tally.failed(error));
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) tally.done++;
      else if (signal === null) tally.failed(complaints.trim().split('\n')[0] || `exit ${code}`);
      if (job.timesItself && code === 0) tally.seconds = Number(said.trim().split('\n').at(-1));
      resolve();
    });
  });
}

async function awaitMount(tally: Tally, directory: string): Promise<void> {
  const before = fs.statSync(directory).dev;
  while (fs.statSync(directory).dev === before) {
    if (tally.late) return;
    await sleep(1);
  }
  fs.readdirSync(directory);
  tally.done++;
}

function makeFiles(tally: Tally, job: Extract<LoadJob, { do: 'make-files' }>): void {
  for (const { key, size, seed } of job.files) {
    const path = join(job.directory, key);
    fs.mkdirSync(dirname(path), { recursive: true });
    fs.writeFileSync(path, generatedBytes(seed, 0, size));
    tally.done++;
  }
}

async function carryOut(tally: Tally, { job, limit }: LoadOrder): Promise<void> {
  switch (job.do) {
    case 'read':
      await Promise.all(job.files.map(file => readWhole(tally, file)));
      return;
    case 'random':
      return await readRandomly(tally, job);
    case 'read-each':
      return readEach(tally, job);
    case 'write':
      return await writeFiles(tally, job);
    case 'create': {
      const bytes = writtenBytes(0, job.size);
      return inTurn(tally, job.paths, path => fs.writeFileSync(path, bytes));
    }
    case 'stat':
      return inTurn(tally, job.paths, path => {
        if (fs.statSync(path).size !== job.size) tally.wrong++;
      });
    case 'unlink':
      return inTurn(tally, job.paths, path => fs.unlinkSync(path));
    case 'append':
      return inTurn(tally, [job.path], path => writeAt(path, 'a', null, writtenBytes(0, job.bytes)));
    case 'patch':
      return inTurn(tally, [job.path], path => writeAt(path, 'r+', job.offset, writtenBytes(0, job.bytes)));
    case 'rename':
      return inTurn(tally, [job.from], from => fs.renameSync(from, job.to));
    case 'run':
      return await runProgram(tally, job, limit);
    case 'await-mount':
      return await awaitMount(tally, job.directory);
    case 'make-files':
      return makeFiles(tally, job);
  }
}

/** User and system seconds of this process and of those that it has waited for: getrusage tells Node only the first. */
function cpuSeconds(): number {
  const fields = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1]!.split(' ');
  // utime, stime, cutime, cstime in clock ticks, of which Linux shows 100 per second.
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

let input = '';
for await (const text of process.stdin.setEncoding('utf8')) input += text;
const order = JSON.parse(input) as LoadOrder;
const tally = new Tally(order.limit);
// Whoever waits for the start needs to know that nothing of it is still to come.
fs.writeSync(1, 'ready\n');
const cpuBefore = cpuSeconds();
const began = Date.now();
const start = performance.now();
await carryOut(tally, order).catch((error: unknown) => tally.failed(error));
const seconds = tally.seconds ?? (performance.now() - start) / 1000;
const { done, errors, wrong, firstError } = tally;
const cpu = cpuSeconds() - cpuBefore;
const result: LoadResult = { began, seconds, done, errors, wrong, firstError, cpuSeconds: cpu };
fs.writeSync(1, `${JSON.stringify(result)}\n`);
// Threads that hang in a mount must not keep the process.
process.exit();
