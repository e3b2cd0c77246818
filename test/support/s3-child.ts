/** The embedded S3 server as a process of its own, for tests that make blocking calls on a mount of it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LoggedRequest, Stats } from '../../src/embedded-s3/watch.ts';
import { withEnvironment } from './processes.ts';
import type { S3Access } from './s3-client.ts';

const SCRIPT = fileURLToPath(new URL('../../src/embedded-s3/main.ts', import.meta.url));
const TSX = import.meta.resolve('tsx');

export interface EmbeddedOptions {
  readonly buckets: readonly string[];
  readonly args?: readonly string[];
  /** A command in front, such as `nsenter …`. */
  readonly as?: readonly string[];
}

/** What its `stats` tells beside the counts. */
export interface ChildStats extends Stats {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

/** An embedded server that runs already, by its control endpoint. */
export class EmbeddedControl {
  readonly access: S3Access;

  constructor(access: S3Access) {
    this.access = access;
  }

  async #control(method: 'GET' | 'POST', command: string): Promise<unknown> {
    const answer = await fetch(`${this.access.url}/__embedded/${command}`, { method });
    const result = (await answer.json()) as { error?: string };
    if (!answer.ok) throw new Error(result.error);
    return result;
  }

  async stats(): Promise<ChildStats> {
    return (await this.#control('GET', 'stats')) as ChildStats;
  }

  async log(): Promise<readonly LoggedRequest[]> {
    return (await this.#control('GET', 'log')) as readonly LoggedRequest[];
  }

  async reset(): Promise<void> {
    await this.#control('POST', 'reset');
  }

  /** Requests by operation while `work` runs. */
  async during(work: () => Promise<void> | void): Promise<Readonly<Record<string, number>>> {
    await this.reset();
    await work();
    return (await this.stats()).requests;
  }

  /** In the words of `src/embedded-s3/faults.ts`. */
  async addFault(text: string): Promise<void> {
    await this.#control('POST', `faults?add=${encodeURIComponent(text)}`);
  }

  async clearFaults(): Promise<void> {
    await this.#control('POST', 'faults?clear');
  }

  /** In the words of `src/embedded-s3/control.ts`, such as `set=put=30ms`. */
  async pace(query: string): Promise<void> {
    await this.#control('POST', `latency?${query}`);
  }

  /** As `src/embedded-s3/fill.ts` has it. */
  async fill(bucket: string, what: Readonly<Record<string, string | number>>): Promise<void> {
    const query = new URLSearchParams({ bucket });
    for (const [name, value] of Object.entries(what)) query.set(name, String(value));
    await this.#control('POST', `fill?${query}`);
  }
}

export class EmbeddedChild extends EmbeddedControl {
  readonly pid: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, access: S3Access) {
    super(access);
    this.#child = child;
    this.pid = child.pid!;
  }

  static async start({ buckets, args = [], as = [] }: EmbeddedOptions): Promise<EmbeddedChild> {
    const [accessKeyId, secretAccessKey] = ['EMBEDDEDKEY', 'embeddedsecret'];
    const child = spawn(
      'env',
      [
        ...withEnvironment({ PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'] }),
        ...as,
        process.execPath,
        `--import=${TSX}`,
        SCRIPT,
        ...buckets.map(bucket => `--bucket=${bucket}`),
        `--key=${accessKeyId}:${secretAccessKey}`,
        ...args,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const url = await new Promise<string>((resolve, reject) => {
      child.stdout!.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
      child.once('exit', code => reject(new Error(`the embedded S3 server did not start (exit ${code})`)));
    });
    return new EmbeddedChild(child, { url, accessKeyId, secretAccessKey, region: 'us-east-1' });
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise(resolve => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    await ended;
  }
}
