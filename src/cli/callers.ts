/**
 * Who uses the mount: operations by process, in a table that stays small whatever comes and goes.
 *
 * A request names the thread that asks. Which process that is, and what it is called, is read from /proc when a thread is seen
 * first: later it may be gone. Counting is on the path of every operation; naming is not.
 */
import { callerOf } from '../fs/processes.ts';

export interface Caller {
  readonly pid: number;
  /** As ps(1) shows it: at most 15 bytes. */
  readonly command: string;
  readonly operations: number;
}

interface Row {
  readonly pid: number;
  readonly command: string;
  operations: number;
}

/** Threads remembered; the least recently named goes. A build with some hundred compilers at work still fits. */
const MAX_THREADS = 1024;
/** Processes remembered; of those the one with the fewest operations goes. */
const MAX_PROCESSES = 256;

/** The kernel itself (readahead, what a page cache writes back), or a process of another pid namespace. */
const NOBODY: Readonly<{ pid: number; command: string }> = { pid: 0, command: '(kernel)' };

/** A process that has ended before it was looked up. */
const GONE = '(gone)';

/**
 * Operations after which a name is looked up once more: a shell opens `> file` by itself before it becomes the program that writes
 * there, in the same thread.
 */
const LOOK_AGAIN = 16;

export class Callers {
  readonly #name: (thread: number) => { readonly pid: number; readonly command: string };
  readonly #threads = new Map<number, Row>();
  readonly #processes = new Map<string, Row>();
  #lastThread = -1;
  #last: Row | undefined;
  /** Operations of `#lastThread` since another one asked. */
  #inARow = 0;

  constructor(name: (thread: number) => { readonly pid: number; readonly command: string } = nameOf) {
    this.#name = name;
  }

  asked(thread: number): void {
    // Programs ask for many things in a row.
    if (thread === this.#lastThread) {
      this.#last!.operations++;
      if (++this.#inARow === LOOK_AGAIN) this.#lookAgain(thread);
      return;
    }
    const row = this.#threads.get(thread) ?? this.#meet(thread);
    this.#lastThread = thread;
    this.#inARow = 1;
    this.#last = row;
    row.operations++;
  }

  /** Those with the most operations, at most `count`. */
  top(count: number): Caller[] {
    return [...this.#processes.values()].sort((a, b) => b.operations - a.operations).slice(0, count);
  }

  #meet(thread: number): Row {
    const { pid, command } = thread === 0 ? NOBODY : this.#name(thread);
    const key = `${pid} ${command}`;
    let row = this.#processes.get(key);
    if (row === undefined) {
      if (this.#processes.size >= MAX_PROCESSES) this.#dropSmallest();
      row = { pid, command, operations: 0 };
      this.#processes.set(key, row);
    }
    if (this.#threads.size >= MAX_THREADS) this.#threads.delete(this.#threads.keys().next().value!);
    this.#threads.set(thread, row);
    return row;
  }

  #lookAgain(thread: number): void {
    const row = this.#last!;
    const { pid, command } = thread === 0 ? NOBODY : this.#name(thread);
    if (command === row.command || command === GONE || pid !== row.pid) return;
    row.operations -= LOOK_AGAIN;
    this.#threads.delete(thread);
    this.#last = this.#meet(thread);
    this.#last.operations += LOOK_AGAIN;
    if (row.operations <= 0) this.#processes.delete(`${row.pid} ${row.command}`);
  }

  #dropSmallest(): void {
    let smallest: [string, Row] | undefined;
    for (const entry of this.#processes) {
      if (smallest === undefined || entry[1].operations < smallest[1].operations) smallest = entry;
    }
    this.#processes.delete(smallest![0]);
    for (const [thread, row] of this.#threads) if (row === smallest![1]) this.#threads.delete(thread);
    if (this.#last === smallest![1]) this.#lastThread = -1;
  }
}

function nameOf(thread: number): { readonly pid: number; readonly command: string } {
  return callerOf(thread) ?? { pid: thread, command: GONE };
}
