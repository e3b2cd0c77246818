/** What /proc tells of those who call. */
import { readdirSync, readFileSync } from 'node:fs';

/** ms for which the process of a thread is remembered: numbers come round after some 32,000 threads at the earliest. */
const THREAD_HOLDS = 1000;
/** As many programs as call at the same time. */
const MAX_THREADS = 256;

/** Which processes threads belong to. To ask /proc takes 100 µs, and each file that is written asks twice. */
export class Threads {
  readonly #now: () => number;
  readonly #read: (thread: number) => number | undefined;
  readonly #known = new Map<number, { readonly process: number | undefined; readonly at: number }>();

  /** `now`: ms of a clock that never goes back. */
  constructor(now: () => number = () => performance.now(), read = processOf) {
    this.#now = now;
    this.#read = read;
  }

  /** The process of a thread; undefined where /proc does not tell. */
  processOf(thread: number): number | undefined {
    const now = this.#now();
    const known = this.#known.get(thread);
    if (known !== undefined && now - known.at < THREAD_HOLDS) return known.process;
    const process = this.#read(thread);
    this.#known.delete(thread);
    this.#known.set(thread, { process, at: now });
    if (this.#known.size > MAX_THREADS) this.#known.delete(this.#known.keys().next().value!);
    return process;
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
