/** One run of one workload with one contender: prepared, measured, settled, verified, taken down. */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Contender } from './contenders.ts';
import { BUCKETS_OF_NAMES } from './data-sets.ts';
import type { LoadResult } from './load-jobs.ts';
import { runLoad, runRaw } from './load-run.ts';
import { Mounted } from './mounted.ts';
import { cpuSeconds, machineSeconds, memoryBytes } from './process-tree.ts';
import { CONNECTIONS, type Profile } from './profiles.ts';
import type { BenchServer, Contents, ServerStats } from './server.ts';
import { extrapolate } from './statistics.ts';
import { verifyObjects } from './verify.ts';
import type { Place, Workload } from './workload.ts';

export interface Run {
  /** `cut-off`: stopped at the limit, `value` reckoned from what was done; absent where nothing could be. */
  readonly status: 'ok' | 'cut-off' | 'failed';
  readonly note?: string;
  /** In the workload's unit. */
  readonly value?: number;
  /** Seconds until S3 had the outcome. */
  readonly settledSeconds?: number;
  readonly done: number;
  /** Seconds that it was really measured. */
  readonly seconds: number;
  /** CPU seconds of the daemon (for `raw`: of the program), of the server, of the load program, and of the rest of the machine. */
  readonly cpu: number;
  readonly serverCpu: number;
  readonly loadCpu: number;
  readonly otherCpu: number;
  /** Most resident memory of the daemon, in bytes. */
  readonly peakBytes: number;
  /** By S3's name of the operation. */
  readonly requests: Readonly<Record<string, number>>;
  /** Bytes of bodies from S3 and to it. */
  readonly fetched: number;
  readonly sent: number;
}

export interface Surroundings {
  /** Of names and of bytes. */
  readonly servers: { readonly names: BenchServer; readonly bytes: BenchServer };
  /** A directory of the benchmark's own on a local disk. */
  readonly work: string;
  /** The tree that is copied in. */
  readonly tree: string;
  /** Seconds after which a run is cut off, and the one in which S3 must have everything after it. */
  readonly limit: number;
}

/** No latency, no limit: while data is prepared and checked. */
const UNPACED: Profile = {
  name: 'none',
  title: '',
  latency: {},
  bandwidth: Number.POSITIVE_INFINITY,
  copyBandwidth: Number.POSITIVE_INFINITY,
};

/** What a fresh mount does beside answering is over by then, in ms. */
const SETTLE_IN = 200;
/** ms until a mount counts as idle. */
const IDLE = 2000;
/** Between looks at what S3 has, in ms. */
const POLL = 20;

let mountNumber = 0;

function serverOf(surroundings: Surroundings, workload: Workload): BenchServer {
  return BUCKETS_OF_NAMES.has(workload.bucket) ? surroundings.servers.names : surroundings.servers.bytes;
}

interface Meter {
  readonly stats: ServerStats;
  readonly cpu: number;
  readonly machine: number;
}

async function readMeter(server: BenchServer, pid: number | undefined): Promise<Meter> {
  return {
    stats: await server.stats(),
    cpu: pid === undefined ? 0 : cpuSeconds(pid),
    machine: machineSeconds(),
  };
}

function difference(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  const result: Record<string, number> = {};
  for (const [name, count] of Object.entries(after)) {
    const more = count - (before[name] ?? 0);
    if (more > 0) result[name] = more;
  }
  return result;
}

function countFiles(directory: string): number {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile()).length;
  } catch {
    return 0;
  }
}

function countLines(file: string): number {
  try {
    return readFileSync(file, 'latin1').split('\n').length - 1;
  } catch {
    return 0;
  }
}

async function countDone(
  workload: Workload,
  result: LoadResult | undefined,
  place: Place,
  server: BenchServer,
): Promise<number> {
  switch (workload.count) {
    case 'in-bucket':
      return Math.min(workload.total, (await server.contents(workload.bucket)).files);
    case 'gone-from-bucket':
      return workload.total - (await server.contents(workload.bucket)).files;
    case 'in-scratch':
      return countFiles(place.scratch);
    case 'lines':
      return Math.max(0, countLines(join(place.scratch, 'output.txt')) - (workload.extraLines ?? 0));
    default:
      return result?.done ?? 0;
  }
}

/** Seconds since `began` (ms) when S3 had everything, or `undefined` if it did not within `limit` seconds. */
async function settle(
  workload: Workload,
  server: BenchServer,
  before: Contents,
  began: number,
  limit: number,
): Promise<number | undefined> {
  const { outcome } = workload;
  while ((Date.now() - began) / 1000 < limit) {
    if (outcome!.settled(await server.contents(workload.bucket), before)) return (Date.now() - began) / 1000;
    await sleep(POLL);
  }
  return undefined;
}

/** The run's value and how it ended, from what the load program told and what was found to be done. */
function judge(
  workload: Workload,
  result: LoadResult | undefined,
  done: number,
  limit: number,
): Pick<Run, 'status' | 'value' | 'note' | 'seconds'> {
  const seconds = result?.seconds ?? limit;
  if (result && result.errors > 0 && result.firstError !== 'out of time') {
    return { status: 'failed', note: `${result.errors} errors, the first: ${result.firstError}`, seconds };
  }
  if (result && result.wrong > 0) return { status: 'failed', note: `${result.wrong} reads with wrong bytes`, seconds };
  if (workload.unit === '/s') {
    if (!result || done === 0) return { status: 'failed', note: `no read within ${limit} s`, seconds };
    return { status: 'ok', value: done / seconds, seconds };
  }
  if (result && done >= workload.total) return { status: 'ok', value: seconds, seconds };
  if (result && seconds < limit * 0.95) {
    return { status: 'failed', note: `ended with ${done} of ${workload.total} done`, seconds };
  }
  const value = workload.total > 1 ? extrapolate(seconds, done, workload.total) : undefined;
  const note = `cut off after ${Math.round(seconds)} s with ${done} of ${workload.total} done`;
  return { status: 'cut-off', note, seconds, ...(value === undefined ? {} : { value }) };
}

export async function runRawCell(workload: Workload, profile: Profile, surroundings: Surroundings): Promise<Run> {
  const server = serverOf(surroundings, workload);
  await server.pace(UNPACED);
  await server.fill(workload.bucket, workload.changes ?? false);
  await server.pace(profile);
  await server.reset();
  const before = await readMeter(server, undefined);
  const { url } = server;
  const { limit } = surroundings;
  const order = { job: workload.raw!, url, bucket: workload.bucket, connections: CONNECTIONS, limit };
  const result = await runRaw(order).result;
  const after = await readMeter(server, undefined);
  if (workload.changes) await server.clear(workload.bucket);
  const total =
    workload.raw!.do === 'plan' ? workload.raw!.plan.reduce((sum, { requests }) => sum + requests.length, 0) : 0;
  const done = result?.done ?? 0;
  return {
    ...judge({ ...workload, total }, result, done, limit),
    done,
    ...measured(before, after, result, result?.cpuSeconds ?? 0),
    peakBytes: 0,
  };
}

function measured(
  before: Meter,
  after: Meter,
  result: LoadResult | undefined,
  cpu: number,
): Pick<Run, 'cpu' | 'serverCpu' | 'loadCpu' | 'otherCpu' | 'requests' | 'fetched' | 'sent'> {
  const serverCpu = after.stats.cpuSeconds - before.stats.cpuSeconds;
  const loadCpu = result?.cpuSeconds ?? 0;
  return {
    cpu,
    serverCpu,
    loadCpu,
    otherCpu: Math.max(0, after.machine - before.machine - serverCpu - (cpu === loadCpu ? cpu : cpu + loadCpu)),
    requests: difference(before.stats.requests, after.stats.requests),
    fetched: after.stats.bytesOut - before.stats.bytesOut,
    sent: after.stats.bytesIn - before.stats.bytesIn,
  };
}

/** A fresh directory for each mount: one that hangs does not spoil the next. */
function mountPoint(work: string): string {
  const directory = join(work, 'mnt', String(++mountNumber));
  mkdirSync(directory, { recursive: true });
  return directory;
}

export async function runMountCell(
  workload: Workload,
  contender: Contender,
  profile: Profile,
  surroundings: Surroundings,
): Promise<Run> {
  const { work, tree, limit } = surroundings;
  const server = serverOf(surroundings, workload);
  const state = join(work, 'state');
  const scratch = join(work, 'scratch');
  for (const directory of [state, scratch]) {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
  }
  await server.pace(UNPACED);
  await server.fill(workload.bucket, workload.changes ?? false);
  await server.pace(profile);
  await server.reset();

  const environment = { PATH: process.env['PATH'], HOME: work, TMPDIR: work, LANG: 'C.UTF-8' };
  const mount = (): Promise<Mounted> => {
    const directory = mountPoint(work);
    const place = { bucket: workload.bucket, url: server.url, directory, state, cache: workload.cache ?? false };
    return Mounted.mount(contender.mount(place), directory, join(work, 'daemon.log'), environment);
  };
  const start = await readMeter(server, undefined);
  let mounted = await mount();
  try {
    if (workload.kind !== undefined) return await measureMount(workload, mounted, server, start);
    const placeOf = (): Place => ({ mount: mounted.directory, scratch, tree });
    if (workload.before !== undefined) {
      await runLoad(workload.job(placeOf()), limit).result;
      if (workload.before === 'other-mount') {
        await mounted.leave();
        mounted = await mount();
      }
    }
    await sleep(SETTLE_IN);
    await server.reset();
    const contents = workload.outcome ? await server.contents(workload.bucket) : undefined;
    const before = await readMeter(server, mounted.pid);
    const began = Date.now();
    const result = await runLoad(workload.job(placeOf()), limit).result;
    const untilSettled = (): Promise<number | undefined> =>
      settle(workload, server, contents!, result?.began ?? began, limit + 60);
    let settledSeconds: number | undefined;
    // Who writes back is done before S3 has it all: what follows in its own time counts.
    const follows =
      contender.writesBack && result !== undefined && result.errors === 0 && result.seconds < limit * 0.95;
    if (workload.outcome && follows) settledSeconds = await untilSettled();
    const done = await countDone(workload, result, placeOf(), server);
    let judged = judge(workload, result, done, limit);
    if (workload.outcome && judged.status === 'ok' && settledSeconds === undefined) {
      settledSeconds = await untilSettled();
      if (settledSeconds === undefined) {
        const { files, bytes } = await server.contents(workload.bucket);
        const note = `S3 never had what it should: at last ${files} files of ${bytes} bytes in all`;
        judged = { ...judged, status: 'failed', note };
      }
    }
    const after = await readMeter(server, mounted.pid);
    const peakBytes = memoryBytes(mounted.pid, 'VmHWM');
    const run = {
      done,
      ...measured(before, after, result, after.cpu - before.cpu),
      peakBytes,
      ...(settledSeconds === undefined ? {} : { settledSeconds }),
    };
    if (!mounted.alive) judged = { ...judged, status: 'failed', note: `the daemon died: ${mounted.lastWords()}` };
    else if (judged.status === 'failed')
      judged = { ...judged, note: `${judged.note}; its log: ${mounted.lastWords()}` };
    const complaint = await mounted.leave();
    if (judged.status === 'ok' && workload.outcome) {
      await server.pace(UNPACED);
      const wrong = await verifyObjects(server.url, workload.bucket, workload.outcome.objects);
      if (wrong !== undefined) judged = { ...judged, status: 'failed', note: wrong };
    }
    return { ...judged, ...(complaint === undefined || judged.note !== undefined ? {} : { note: complaint }), ...run };
  } finally {
    await mounted.leave();
    if (workload.changes) await server.clear(workload.bucket);
  }
}

async function measureMount(workload: Workload, mounted: Mounted, server: BenchServer, start: Meter): Promise<Run> {
  if (workload.kind === 'idle-memory') await sleep(IDLE);
  const after = await readMeter(server, mounted.pid);
  const resident = memoryBytes(mounted.pid, 'VmRSS');
  return {
    status: 'ok',
    value: workload.kind === 'idle-memory' ? resident / 2 ** 20 : mounted.mountSeconds,
    seconds: mounted.mountSeconds,
    done: 1,
    ...measured(start, after, undefined, after.cpu),
    peakBytes: memoryBytes(mounted.pid, 'VmHWM'),
  };
}
