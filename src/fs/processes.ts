/** What /proc tells of those who call. */
import { readdirSync, readFileSync } from 'node:fs';

/** ms for which what /proc tells of a thread is remembered: numbers come round after some 32,000 threads at the earliest. */
const THREAD_HOLDS = 1000;
/** As many programs as call at the same time. */
const MAX_THREADS = 256;

/** What `read` tells of each thread, asked for once a second: it takes 100 µs, and some calls ask thousands of times. */
export class PerThread<T> {
  readonly #read: (thread: number) => T;
  readonly #now: () => number;
  readonly #known = new Map<number, { readonly value: T; readonly at: number }>();

  /** `now`: ms of a clock that never goes back. */
  constructor(read: (thread: number) => T, now: () => number = () => performance.now()) {
    this.#read = read;
    this.#now = now;
  }

  of(thread: number): T {
    const now = this.#now();
    const known = this.#known.get(thread);
    if (known !== undefined && now - known.at < THREAD_HOLDS) return known.value;
    const value = this.#read(thread);
    this.#known.delete(thread);
    this.#known.set(thread, { value, at: now });
    if (this.#known.size > MAX_THREADS) this.#known.delete(this.#known.keys().next().value!);
    return value;
  }
}

/** The process of a thread: FUSE tells threads. Undefined where /proc does not tell. */
export function processOf(thread: number): number | undefined {
  if (thread <= 0) return undefined;
  try {
    const match = /^Tgid:\s*(\d+)/m.exec(readFileSync(`/proc/${thread}/status`, 'latin1'));
    return match ? Number(match[1]) : undefined;
  } catch {
    return undefined;
  }
}

/** The process of a thread with its command, not the thread's own: threads of a pool are named for the pool. Undefined where it is gone. */
export function callerOf(thread: number): { readonly pid: number; readonly command: string } | undefined {
  try {
    const pid = processOf(thread) ?? thread;
    return { pid, command: readFileSync(`/proc/${pid}/comm`, 'utf8').trim() };
  } catch {
    return undefined;
  }
}

/** Whether a process has a descriptor of this inode; undefined where /proc does not tell. Does not touch the mount. */
export function holdsDescriptor(pid: number, ino: bigint): boolean | undefined {
  const wanted = `ino:\t${ino}\n`;
  try {
    for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
      try {
        if (readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1').includes(wanted)) return true;
      } catch {
        // Closed meanwhile.
      }
    }
    return false;
  } catch {
    return undefined;
  }
}
