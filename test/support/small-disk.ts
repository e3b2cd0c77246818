/** A disk in memory that a test fills: a tmpfs, mounted by root, whose size can be changed under whoever writes to it. */
import { mkdtempSync, realpathSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { rootPrefix } from './as-root.ts';
import { run } from './processes.ts';

/** Of tmpfs, which takes whole ones. */
const PAGE = 4096;

export class SmallDisk {
  readonly directory: string;
  readonly #asRoot: (program: string, ...args: string[]) => void;

  /** `file`: the test's URL. */
  constructor(t: Test, file: string, bytes: number) {
    const prefix = rootPrefix('mounts a small disk', file);
    this.#asRoot = (program, ...args) => {
      const [first = program, ...rest] = [...prefix, program, ...args];
      run(first, rest);
    };
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), 's3mount-disk-')));
    const owner = `uid=${process.getuid!()},gid=${process.getgid!()},mode=700`;
    this.#asRoot('mount', '-t', 'tmpfs', '-o', `size=${bytes},${owner}`, 's3mount-test', this.directory);
    t.teardown(() => {
      // Lazily: a daemon that hangs must not keep the disk.
      this.#asRoot('umount', '-l', this.directory);
      rmSync(this.directory, { recursive: true });
    });
  }

  /** Bytes that lie on it. */
  get used(): number {
    const { blocks, bfree, bsize } = statfsSync(this.directory);
    return (blocks - bfree) * bsize;
  }

  resize(bytes: number): void {
    this.#asRoot('mount', '-o', `remount,size=${bytes}`, this.directory);
  }

  /** Leaves no more than `bytes` free. */
  fill(bytes = 0): void {
    for (let attempts = 10; ; attempts--) {
      const size = this.used + Math.floor(bytes / PAGE) * PAGE;
      try {
        this.resize(size);
        return;
      } catch (error) {
        // tmpfs becomes no smaller than what lies on it, and somebody has written meanwhile.
        if (this.used <= size || attempts === 0) throw error;
      }
    }
  }
}
