/** The distribution's s3fs on a bucket, in the foreground; unmounted whatever happens (see `guard.ts`). */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseMountTable } from '../../src/fuse/mount-table.ts';
import type { Guard } from './guard.ts';
import { START_LIMIT } from './limits.ts';
import { run, withEnvironment } from './processes.ts';
import type { S3Access } from './s3-client.ts';

export interface S3fsOptions {
  readonly access: S3Access;
  readonly bucket: string;
  /** For the mount point, the password file and the log; below it, what has `name`. */
  readonly directory: string;
  readonly name?: string;
  readonly guard: Guard;
  /** More of `-o`. */
  readonly options?: string;
}

export class S3fsMount {
  readonly dir: string;
  readonly #child: ChildProcess;

  private constructor(dir: string, child: ChildProcess) {
    this.dir = dir;
    this.#child = child;
  }

  /** Throws with what s3fs said where it does not mount. */
  static async start(options: S3fsOptions): Promise<S3fsMount> {
    const { access, directory, guard, name = 's3fs' } = options;
    const dir = join(directory, name);
    const passwords = join(directory, `${name}.passwords`);
    const logFile = join(directory, `${name}.log`);
    mkdirSync(dir, { recursive: true });
    writeFileSync(passwords, `${access.accessKeyId}:${access.secretAccessKey}\n`, { mode: 0o600 });
    const words = [
      `url=${access.url}`,
      'use_path_request_style',
      `passwd_file=${passwords}`,
      'use_xattr',
      'nonempty',
      'dbglevel=warn',
      // Both mounts look at one bucket: what the other has just written is to be seen.
      'stat_cache_expire=1',
      ...(options.options ? [options.options] : []),
    ];
    const log = openSync(logFile, 'a');
    const environment = { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], HOME: directory };
    const child = spawn(
      'env',
      [...withEnvironment(environment), 's3fs', options.bucket, dir, '-f', '-o', words.join()],
      {
        cwd: '/',
        stdio: ['ignore', log, log],
      },
    );
    closeSync(log);
    guard.process(child.pid!);
    guard.mount(dir);
    const mount = new S3fsMount(dir, child);
    for (const limit = Date.now() + START_LIMIT; !mount.#isMounted(); ) {
      if (child.exitCode !== null || child.signalCode !== null || Date.now() > limit) {
        const said = readFileSync(logFile, 'utf8').slice(-3000);
        throw new Error(
          `s3fs did not mount (exit ${child.exitCode ?? child.signalCode}; npm test -- interop installs it):\n${said}`,
        );
      }
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    return mount;
  }

  #isMounted(): boolean {
    return parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8')).some(one => one.mountPoint === this.dir);
  }

  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  /** Unmounts; all that was closed is in S3. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise(resolve => this.#child.once('exit', resolve));
    run('fusermount3', ['-u', this.dir]);
    await ended;
  }
}
