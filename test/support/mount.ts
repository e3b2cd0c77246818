/**
 * A bucket really mounted: the daemon is a child process and so is the embedded S3 server, because the test makes blocking
 * calls on the mount. Whatever happens, mount and processes are gone afterwards (see `guard.ts`), and a test that fails
 * shows what the daemon logged.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { askDaemon } from '../../src/cli/control-client.ts';
import type { MountReport } from '../../src/cli/mount-report.ts';
import { RunFile } from '../../src/cli/run-file.ts';
import { defaultStateDirectory } from '../../src/cli/state-directory.ts';
import { parseMountTable } from '../../src/fuse/mount-table.ts';
import { Guard } from './guard.ts';
import { EVENTUALLY, HUNG, PROGRAM_LIMIT, START_LIMIT } from './limits.ts';
import { withEnvironment } from './processes.ts';
import { EmbeddedChild } from './s3-child.ts';
import { ForeignClient, type S3Access } from './s3-client.ts';

export const PROGRAM = fileURLToPath(new URL('../../bin/s3mount', import.meta.url));
export const BUCKET = 'works-bucket';

export interface MountTestOptions {
  /** More of `-o`. */
  readonly options?: string;
  readonly bucket?: string;
  /** `BUCKET:/prefix` is mounted. */
  readonly prefix?: string;
  /** An S3 server that runs already; default: an embedded one of its own. */
  readonly access?: S3Access;
  /** The mount is told neither where the server is nor its region: it has to find out. */
  readonly findsServer?: boolean;
  /** The keys that the mount has; default: those of the other client. */
  readonly keys?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** The other client sends checksums with what it puts. */
  readonly checksums?: boolean;
  /** Arguments of the embedded server. */
  readonly serverArgs?: readonly string[];
  /** As another client, before the mount. */
  readonly prepare?: (client: ForeignClient, s3: EmbeddedChild | undefined) => Promise<void>;
  /** Started instead of `bin/s3mount`, with the same arguments: Node's arguments and the script. */
  readonly program?: readonly string[];
  /** More of the mount's environment. */
  readonly environment?: NodeJS.ProcessEnv;
  /** The Node that runs it; default: the one that runs this. */
  readonly node?: string;
  /** After so many it has hung. */
  readonly seconds?: number;
  /** A command in front of the daemon, such as one that enters a control group. */
  readonly within?: readonly string[];
}

export interface DaemonEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class RealMount {
  /** The mount point. */
  readonly dir: string;
  /** Around it: state, logs, room for what a test needs outside the mount. */
  readonly directory: string;
  readonly access: S3Access;
  /** The server, where it is the embedded one. */
  readonly #s3: EmbeddedChild | undefined;
  readonly client: ForeignClient;
  readonly guard: Guard;
  readonly #options: MountTestOptions;
  readonly #logFile: string;
  #daemon: ChildProcess | undefined;
  #ended: Promise<DaemonEnd> | undefined;

  constructor(
    options: MountTestOptions,
    parts: { directory: string; guard: Guard; access: S3Access; s3: EmbeddedChild | undefined; client: ForeignClient },
  ) {
    this.#options = options;
    this.directory = parts.directory;
    this.dir = join(parts.directory, 'works');
    this.#logFile = join(parts.directory, 'daemon.log');
    this.guard = parts.guard;
    this.access = parts.access;
    this.#s3 = parts.s3;
    this.client = parts.client;
  }

  get s3(): EmbeddedChild {
    if (!this.#s3) throw new Error('this mount has no embedded S3 server');
    return this.#s3;
  }

  get pid(): number {
    return this.#daemon!.pid!;
  }

  /** Of the running daemon, or of the last one. */
  get ended(): Promise<DaemonEnd> {
    return this.#ended!;
  }

  /** A path in the mount. */
  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  /** All that the daemon wrote: JSON lines, and what it said on stderr. */
  log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  get command(): readonly string[] {
    const { access } = this;
    const { options = '', bucket = BUCKET, prefix } = this.#options;
    const server = `url=${access.url},use_path_request_style,region=${access.region}`;
    const common = `${this.#options.findsServer ? '' : `${server},`}state_dir=${join(this.directory, 'state')}`;
    return [
      prefix === undefined ? bucket : `${bucket}:/${prefix}`,
      this.dir,
      '-o',
      common,
      ...(options === '' ? [] : ['-o', options]),
    ];
  }

  get environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env['PATH'],
      TMPDIR: process.env['TMPDIR'],
      HOME: this.directory,
      AWS_ACCESS_KEY_ID: (this.#options.keys ?? this.access).accessKeyId,
      AWS_SECRET_ACCESS_KEY: (this.#options.keys ?? this.access).secretAccessKey,
      AWS_EC2_METADATA_DISABLED: 'true',
      NODE_EXTRA_CA_CERTS: this.access.caFile,
      ...this.#options.environment,
    };
  }

  /** Arguments of env(1) that run `s3mount` with these. */
  commandLine(args: readonly string[]): string[] {
    const { node = process.execPath, program = [PROGRAM] } = this.#options;
    return [...withEnvironment(this.environment), node, ...program, ...args];
  }

  /** Mounts in the foreground; resolves when the mount answers. */
  async start(): Promise<void> {
    const log = openSync(this.#logFile, 'a');
    const before = this.#mounted();
    // Written to a file: a pipe would fill while the test waits in a call on the mount, and the daemon with it.
    const [first = 'env', ...rest] = [...(this.#options.within ?? []), 'env'];
    const daemon = spawn(first, [...rest, ...this.commandLine(['-f', ...this.command])], {
      cwd: '/',
      stdio: ['ignore', log, log],
      detached: true,
    });
    closeSync(log);
    this.#daemon = daemon;
    this.#ended = new Promise(resolve => {
      daemon.once('exit', (code, signal) => resolve({ code, signal }));
    });
    this.guard.process(daemon.pid!);
    this.guard.mount(this.dir);
    const limit = Date.now() + START_LIMIT;
    while (this.#mounted() === before) {
      if (daemon.exitCode !== null || daemon.signalCode !== null || Date.now() > limit) {
        throw new Error(`the daemon did not mount (exit ${daemon.exitCode ?? daemon.signalCode}):\n${this.log()}`);
      }
      await new Promise(resolve => setTimeout(resolve, 20));
    }
  }

  /** How often a daemon has said that it answers. Not by the mount's number: the kernel uses it again. */
  #mounted(): number {
    return this.log().split('"msg":"mounted"').length;
  }

  isMounted(): boolean {
    return parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8')).some(one => one.mountPoint === this.dir);
  }

  /** Greatest resident memory of the daemon so far, bytes. */
  mostMemory(): number {
    return this.#memory('VmHWM');
  }

  /** Resident now, bytes. */
  residentMemory(): number {
    return this.#memory('VmRSS');
  }

  #memory(field: string): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)![1]) * 1024;
  }

  /** What `s3mount status` would tell, without a process for it. */
  async status(): Promise<MountReport> {
    const { socket } = new RunFile(defaultStateDirectory(process.getuid!(), this.directory), this.dir);
    return (await askDaemon(socket, { do: 'status' }, { silence: PROGRAM_LIMIT })) as MountReport;
  }

  kill(signal: NodeJS.Signals): void {
    this.#daemon!.kill(signal);
  }

  /** Ends the daemon in order; how it ended. */
  async stop(): Promise<DaemonEnd> {
    this.kill('SIGTERM');
    return await this.ended;
  }

  /** Ends the daemon in order and mounts again: nothing is cached any more. */
  async remount(): Promise<void> {
    const { code } = await this.stop();
    if (code !== 0) throw new Error(`the daemon ended with ${code}:\n${this.log()}`);
    await this.start();
  }

  /** What the daemon wrote last, for whoever reads why a test failed. */
  logTail(): string {
    return this.log().slice(-6000);
  }

  async close(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon && daemon.exitCode === null && daemon.signalCode === null) {
      // Whoever still stands in it keeps it only so long.
      const limit = setTimeout(() => daemon.kill('SIGKILL'), 10_000);
      await this.stop();
      clearTimeout(limit);
    }
    this.client.close();
    await this.#s3?.stop();
    await this.guard.end();
    if (!this.isMounted()) rmSync(this.directory, { recursive: true, force: true });
  }
}

/** What a mount belongs to: a test, or another program that takes it down and says whether all was well. */
export type Owner = Pick<Test, 'teardown' | 'passing' | 'comment'>;

/** A fresh server with a bucket, and the bucket mounted; taken down at the end of `t`. */
export async function aMount(t: Owner, options: MountTestOptions = {}): Promise<RealMount> {
  const mount = await prepareMount(t, options);
  await mount.start();
  return mount;
}

/** The same, not mounted yet: `start()` does that. */
export async function prepareMount(t: Owner, options: MountTestOptions = {}): Promise<RealMount> {
  const { bucket = BUCKET } = options;
  const guard = new Guard(options.seconds ?? HUNG);
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 's3mount-real-')));
  // Other users have to pass through to the mount point.
  chmodSync(directory, 0o755);
  mkdirSync(join(directory, 'works'));
  let s3: EmbeddedChild | undefined;
  if (!options.access) {
    s3 = await EmbeddedChild.start({ buckets: [bucket], args: options.serverArgs ?? [] });
    guard.process(s3.pid);
  }
  const access = options.access ?? s3!.access;
  const client = new ForeignClient(access, bucket, { checksums: options.checksums ?? false });
  const mount = new RealMount(options, { directory, guard, access, s3, client });
  t.teardown(async () => {
    if (!t.passing()) t.comment(`the daemon's log:\n${logOf(mount)}`);
    await mount.close();
  });
  await options.prepare?.(client, s3);
  return mount;
}

function logOf(mount: RealMount): string {
  try {
    return mount.logTail();
  } catch {
    return '(none)';
  }
}

/** Polls until `what` holds, for what no event tells; false after `limit` ms. */
export async function eventually(what: () => boolean | Promise<boolean>, limit = EVENTUALLY): Promise<boolean> {
  for (const end = Date.now() + limit; ; ) {
    if (await what()) return true;
    if (Date.now() > end) return false;
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}
