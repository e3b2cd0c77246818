/** One mount: its daemon in the foreground as a child, until it is taken down again, whatever state it is in. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Command } from './contenders.ts';
import { runLoad } from './load-run.ts';
import { processTree } from './process-tree.ts';

/** Seconds in which a mount must answer, and a daemon end. */
const MOUNT_LIMIT = 20;
const END_LIMIT = 15;

function isMounted(directory: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some(line => line.split(' ')[4] === directory);
}

function run(program: string, args: readonly string[]): Promise<boolean> {
  return new Promise(resolve => {
    const child = spawn(program, args, { stdio: 'ignore' });
    child.once('error', () => resolve(false));
    child.once('exit', code => resolve(code === 0));
  });
}

function within(promise: Promise<unknown>, seconds: number): Promise<boolean> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(false), seconds * 1000);
    void promise.then(() => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}

export class Mounted {
  readonly directory: string;
  readonly pid: number;
  /** From the start of the command until a listing of the root was answered. */
  readonly mountSeconds: number;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #log: string;

  private constructor(child: ChildProcess, ended: Promise<void>, directory: string, mountSeconds: number, log: string) {
    this.#child = child;
    this.#ended = ended;
    this.pid = child.pid!;
    this.directory = directory;
    this.mountSeconds = mountSeconds;
    this.#log = log;
  }

  /** Rejects with the daemon's last words where nothing answers in time. `log`: a file for what it says. */
  static async mount(
    command: Command,
    directory: string,
    log: string,
    environment: NodeJS.ProcessEnv,
  ): Promise<Mounted> {
    const waiting = runLoad({ do: 'await-mount', directory }, MOUNT_LIMIT);
    await waiting.started;
    const descriptor = openSync(log, 'w');
    const began = Date.now();
    const [program = '', ...args] = command.argv;
    const child = spawn(program, args, {
      stdio: ['ignore', descriptor, descriptor],
      env: { ...environment, ...command.env },
      detached: true,
    });
    closeSync(descriptor);
    const ended = new Promise<void>(resolve => {
      child.once('exit', () => resolve());
      child.once('error', () => resolve());
    });
    const result = await Promise.race([waiting.result, ended.then(() => undefined)]);
    const seconds = result ? (result.began + result.seconds * 1000 - began) / 1000 : 0;
    const mounted = new Mounted(child, ended, directory, seconds, log);
    if (result?.done === 1) return mounted;
    waiting.kill();
    if (child.pid !== undefined) await mounted.leave();
    throw new Error(`it did not mount: ${mounted.lastWords()}`);
  }

  get alive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  lastWords(): string {
    const all = readFileSync(this.#log, 'utf8').trim().split('\n');
    // pino's level 30: that it is mounted is no news.
    const lines = all.filter(line => !line.includes('"level":30'));
    return lines.slice(-3).join(' | ').slice(-400);
  }

  /** Unmounts and waits for the daemon; one that does not end is killed. Returns what went wrong. */
  async leave(): Promise<string | undefined> {
    let complaint: string | undefined;
    // A load program that was just killed may hold the mount for a moment.
    for (let attempt = 0; isMounted(this.directory) && attempt < 20; attempt++) {
      if (await run('fusermount3', ['-u', this.directory])) break;
      await new Promise(resolve => setTimeout(resolve, 100));
    }
    if (isMounted(this.directory)) {
      complaint = 'it was still busy: detached';
      if (!(await run('fusermount3', ['-uz', this.directory]))) await run('umount', ['-l', this.directory]);
    }
    if (this.alive && !(await within(this.#ended, END_LIMIT))) {
      complaint = `its daemon did not end within ${END_LIMIT} s after the unmount: killed`;
      for (const pid of processTree(this.pid).reverse()) {
        try {
          process.kill(pid, 'SIGKILL');
        } catch {
          // It ended by itself.
        }
      }
      await this.#ended;
      if (isMounted(this.directory)) await run('umount', ['-l', this.directory]);
    }
    return complaint;
  }
}
