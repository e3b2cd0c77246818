/** The embedded S3 server as a process of its own, and what it is told between the runs. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Stats } from '../../src/embedded-s3/watch.ts';
import { type BucketName, filesOf, type Scale } from './data-sets.ts';
import { type Profile, paceQuery } from './profiles.ts';

export interface ServerStats extends Stats {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

export interface Contents {
  readonly objects: number;
  /** Objects that are no directory markers. */
  readonly files: number;
  readonly bytes: number;
  /** Of all ETags: any change changes it. */
  readonly digest: string;
}

export const ACCESS_KEY = 'BENCHKEY';
export const SECRET_KEY = 'benchsecret';

/**
 * The garbage collector's helper threads would take the cores from the mount. And what a run has freed is kept for the next
 * one: memory that the kernel has to clear again costs more than the copying into it.
 */
const NODE_OPTIONS = ['--single-threaded-gc'];
const KEEP_MEMORY = `glibc.malloc.trim_threshold=${2 ** 36}:glibc.malloc.mmap_threshold=${2 ** 30}`;

export class BenchServer {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #scale: Scale;
  readonly #filled = new Set<BucketName>();

  private constructor(child: ChildProcess, url: string, scale: Scale) {
    this.#child = child;
    this.url = url;
    this.#scale = scale;
  }

  /** `script`: the bundled `src/embedded-s3/main.ts`. Signatures are not verified: that is not what is measured. */
  static async start(script: string, buckets: readonly BucketName[], scale: Scale): Promise<BenchServer> {
    const child = spawn(
      process.execPath,
      [
        ...NODE_OPTIONS,
        script,
        ...buckets.map(bucket => `--bucket=${bucket}`),
        `--key=${ACCESS_KEY}:${SECRET_KEY}`,
        '--no-verify',
        '--etag=fast',
      ],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], GLIBC_TUNABLES: KEEP_MEMORY },
      },
    );
    const url = await new Promise<string>((resolve, reject) => {
      child.stdout!.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
      child.once('error', reject);
      child.once('exit', code => reject(new Error(`the embedded S3 server did not start (exit ${code})`)));
    });
    return new BenchServer(child, url, scale);
  }

  async #control(method: 'GET' | 'POST', command: string, body?: string): Promise<unknown> {
    const answer = await fetch(`${this.url}/__embedded/${command}`, {
      method,
      ...(body === undefined ? {} : { body }),
    });
    const result = (await answer.json()) as { error?: string };
    if (!answer.ok) throw new Error(`the embedded S3 server: ${result.error}`);
    return result;
  }

  async stats(): Promise<ServerStats> {
    return (await this.#control('GET', 'stats')) as ServerStats;
  }

  async reset(): Promise<void> {
    await this.#control('POST', 'reset');
  }

  async contents(bucket: BucketName): Promise<Contents> {
    return (await this.#control('GET', `contents?bucket=${bucket}`)) as Contents;
  }

  async pace(profile: Profile): Promise<void> {
    await this.#control('POST', `latency?${paceQuery(profile)}`);
  }

  /** Sees to it that the bucket holds its data set; `anew`: even if it should still do so. */
  async fill(bucket: BucketName, anew: boolean): Promise<void> {
    if (this.#filled.has(bucket) && !anew) return;
    await this.clear(bucket);
    const files = filesOf(bucket, this.#scale);
    if (files.length > 0) await this.#control('POST', `fill?bucket=${bucket}`, JSON.stringify(files));
    this.#filled.add(bucket);
  }

  /** The bucket holds what it should: somebody else has filled it. */
  filled(bucket: BucketName): void {
    this.#filled.add(bucket);
  }

  async clear(bucket: BucketName): Promise<void> {
    await this.#control('POST', `clear?bucket=${bucket}`);
    this.#filled.delete(bucket);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise(resolve => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await ended;
  }
}
