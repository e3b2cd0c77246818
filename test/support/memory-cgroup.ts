/**
 * A control group with a limit on memory, of version 1 or 2, for programs that must live within it. Where none can be made
 * (no root, or a container that hides them) the programs run without, and only what they took can be told.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PLACES = [
  {
    top: '/sys/fs/cgroup/memory',
    limit: 'memory.limit_in_bytes',
    peak: 'memory.max_usage_in_bytes',
    events: 'memory.oom_control',
  },
  { top: '/sys/fs/cgroup', limit: 'memory.max', peak: 'memory.peak', events: 'memory.events' },
] as const;

export class MemoryCgroup {
  readonly #directory: string | undefined;
  readonly #files: (typeof PLACES)[number] | undefined;

  private constructor(directory?: string, files?: (typeof PLACES)[number]) {
    this.#directory = directory;
    this.#files = files;
  }

  static make(bytes: number): MemoryCgroup {
    for (const place of PLACES) {
      const directory = join(place.top, `s3mount-test-${process.pid}`);
      try {
        mkdirSync(directory);
      } catch {
        continue;
      }
      // Version 2 shows the files only where the controller is handed down.
      if (existsSync(join(directory, place.limit))) {
        writeFileSync(join(directory, place.limit), String(bytes));
        return new MemoryCgroup(directory, place);
      }
      rmdirSync(directory);
    }
    return new MemoryCgroup();
  }

  get exists(): boolean {
    return this.#directory !== undefined;
  }

  /** What stands before a command so that it runs in here. */
  get command(): readonly string[] {
    if (this.#directory === undefined) return [];
    return ['sh', '-c', 'echo $$ > "$0" && exec "$@"', join(this.#directory, 'cgroup.procs')];
  }

  /** Bytes at most, of all programs, their files in the page cache included; undefined where that is not counted. */
  get peak(): number | undefined {
    const text = this.#read(this.#files?.peak);
    return text === undefined ? undefined : Number(text);
  }

  /** How many programs the kernel has killed because the limit was reached. */
  get killed(): number {
    return Number(/^oom_kill (\d+)$/m.exec(this.#read(this.#files?.events) ?? '')?.[1] ?? 0);
  }

  #read(file: string | undefined): string | undefined {
    if (file === undefined) return undefined;
    try {
      return readFileSync(join(this.#directory!, file), 'utf8');
    } catch {
      return undefined;
    }
  }

  /** After all in it have ended; the kernel needs a moment to see it. */
  async remove(): Promise<void> {
    if (this.#directory === undefined) return;
    for (let attempt = 0; attempt < 50; attempt++) {
      try {
        rmdirSync(this.#directory);
        return;
      } catch {
        await sleep(100);
      }
    }
  }
}
