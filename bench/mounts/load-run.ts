/** Starts load programs and waits for their answers, but not for ever. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LoadJob, LoadOrder, LoadResult } from './load-jobs.ts';
import type { RawOrder } from './raw-jobs.ts';

/** More threads than readers, or they would wait for each other and not for the mount. */
const THREADS = '32';

/** Seconds that a job gets beyond its limit to stop by itself, and a killed one to be gone. */
const GRACE = 5;

export interface RunningLoad {
  /** The program runs and has its order. */
  readonly started: Promise<void>;
  /** `undefined` where it had to be killed, or hangs in the mount. */
  readonly result: Promise<LoadResult | undefined>;
  kill(): void;
}

const running = new Set<ChildProcess>();

/** Ends what runs now, so that the benchmark can be ended in order. */
export function killLoads(): void {
  for (const child of running) killGroup(child);
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

/** The bundles lie beside that of this file. */
function start(script: 'load.js' | 'raw.js', order: LoadOrder | RawOrder, limit: number): RunningLoad {
  const child = spawn(process.execPath, [fileURLToPath(new URL(`./${script}`, import.meta.url))], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: THREADS },
    // A group of its own: what it runs is killed with it.
    detached: true,
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  let said = '';
  let tellStarted!: () => void;
  const started = new Promise<void>(resolve => {
    tellStarted = resolve;
  });
  const result = new Promise<LoadResult | undefined>(resolve => {
    const timers = [
      setTimeout(() => killGroup(child), (limit + GRACE) * 1000),
      // In a system call that only the end of the daemon will end.
      setTimeout(() => finish(), (limit + 2 * GRACE) * 1000),
    ];
    const finish = (): void => {
      for (const timer of timers) clearTimeout(timer);
      tellStarted();
      const line = said.split('\n').find(text => text.startsWith('{'));
      resolve(line === undefined ? undefined : (JSON.parse(line) as LoadResult));
    };
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      tellStarted();
      // Not its end: what it ran may hold the pipe open, hanging in the mount.
      if (/^\{.*\}\n/m.test(said)) finish();
    });
    child.once('error', finish);
    child.once('close', finish);
  });
  child.stdin!.on('error', () => {});
  child.stdin!.end(JSON.stringify(order));
  return { started, result, kill: () => killGroup(child) };
}

/** `limit` in seconds. */
export function runLoad(job: LoadJob, limit: number): RunningLoad {
  return start('load.js', { job, limit }, limit);
}

export function runRaw(order: RawOrder): RunningLoad {
  return start('raw.js', order, order.limit);
}
