/**
 * `npm run demo`: the embedded S3 server, a bucket of sample data, a mount of it, and what to try; `--check` tries it
 * unattended instead, and compares the bucket itself at the end. The mount is a process of its own, as people use it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { parseFaults } from '../embedded-s3/faults.ts';
import { type EmbeddedS3, startEmbeddedS3 } from '../embedded-s3/server.ts';
import { DemoCheck, digest, type Expected } from './demo-check.ts';
import { SAMPLE_MARKERS, sampleFiles } from './demo-sample.ts';
import { CliError, EXIT, errorLine } from './exit-codes.ts';
import { findHolders, holdersText } from './holders.ts';
import { diedSilently, waitForDaemon } from './ready-pipe.ts';

const BUCKET = 'demo';
/** ms for all steps of the check: some 20 s on two cores. */
const CHECK_LIMIT = 300_000;

/** One fault may show in many files; the first ones tell it. */
const MOST_SHOWN = 20;

/** Said to the child that works in the mount; not for people. */
const WORK_IN = '--work-in';

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** `args`: `--check`, and for tests `--faults=TEXT` as in embedded-s3/faults.ts. Resolves to the exit code. */
export async function demo(program: string, args: readonly string[]): Promise<number> {
  if (args[0] === WORK_IN) return workIn(args[1]!, args[2]!);
  const known = args.find(arg => arg !== '--check' && !arg.startsWith('--faults='));
  if (known !== undefined) throw new CliError(EXIT.usage, `the demo knows --check, but not '${known}'.`);
  const faults = args.find(arg => arg.startsWith('--faults='))?.slice('--faults='.length) ?? '';
  const directory = mkdtempSync(join(tmpdir(), 's3mount-demo-'));
  const mountPoint = join(directory, BUCKET);
  mkdirSync(mountPoint);
  const server = await startEmbeddedS3({ buckets: [BUCKET], etag: 'fast' });
  const bytes = fill(server);
  say(
    `demo: an S3 server at ${server.url} with ${server.listKeys(BUCKET).length} objects, ${(bytes / 1e6).toFixed(0)} MB`,
  );
  server.faults.add(...parseFaults(faults));
  const mount = new DemoMount(program, directory, mountPoint);
  try {
    await mount.start(server);
    return args.includes('--check') ? await check(server, mount, directory) : await show(mount);
  } finally {
    await mount.stop();
    await server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function fill(server: EmbeddedS3): number {
  let sum = 0;
  for (const { key, bytes } of sampleFiles()) {
    const body = bytes();
    server.putObject(BUCKET, key, body);
    sum += body.length;
  }
  for (const marker of SAMPLE_MARKERS) server.putObject(BUCKET, marker, '');
  return sum;
}

/** The daemon of the demo: one child process, from its start to its exit code. */
class DemoMount {
  readonly mountPoint: string;
  readonly #program: string;
  readonly #log: string;
  readonly #directory: string;
  #child: ChildProcess | undefined;
  #ended: Promise<number | null> | undefined;

  constructor(program: string, directory: string, mountPoint: string) {
    this.#program = program;
    this.#directory = directory;
    this.#log = join(directory, 's3mount.log');
    this.mountPoint = mountPoint;
  }

  async start(server: EmbeddedS3): Promise<void> {
    const state = join(this.#directory, 'state');
    const options = `url=${server.url},region=${server.region},use_path_request_style,state_dir=${state},logfile=${this.#log}`;
    const child = spawn(
      process.execPath,
      [this.#program, '--ready-fd=3', '-o', options, '--', BUCKET, this.mountPoint],
      {
        cwd: '/',
        // Of its own process group: Ctrl-C is ours to pass on, in the right order.
        detached: true,
        stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
        env: {
          ...process.env,
          AWS_ACCESS_KEY_ID: server.credential.accessKeyId,
          AWS_SECRET_ACCESS_KEY: server.credential.secretAccessKey,
          AWS_SESSION_TOKEN: '',
        },
      },
    );
    this.#child = child;
    this.#ended = new Promise(resolve => void child.once('exit', resolve));
    await waitForDaemon(child.stdio[3] as Readable, say, () => diedSilently(this.#log));
  }

  /** Saves and unmounts; the daemon's exit code. */
  async stop(): Promise<number | null> {
    if (this.#child?.exitCode === null) this.#child.kill('SIGTERM');
    return (await this.#ended) ?? null;
  }

  /** Resolves when it ended, by whomever. */
  ended(): Promise<number | null> {
    return this.#ended!;
  }
}

async function show(mount: DemoMount): Promise<number> {
  const at = mount.mountPoint;
  say(`demo: mounted on ${at}

Try, in another terminal:
  cd ${at} && ls -lR | head
  head csv/trips.csv; wc -l csv/trips.csv
  cp -r notes more-notes; rm -r more-notes
  echo '안녕' > 한글/새\\ 파일.txt
  python3 -c "import pandas; print(pandas.read_parquet('${at}/parquet/cities.parquet'))"

Ctrl-C unmounts and leaves nothing behind.`);
  const asked = new Promise<void>(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  await Promise.race([asked, mount.ended()]);
  const holders = await findHolders(at);
  if (holders.length > 0) say(`demo: still in use: ${holdersText(holders)}; it is detached all the same`);
  const code = await mount.stop();
  say(code === 0 ? 'demo: unmounted, everything is saved' : `demo: the mount ended with exit code ${code}`);
  return code === 0 ? 0 : 1;
}

async function check(server: EmbeddedS3, mount: DemoMount, directory: string): Promise<number> {
  const report = join(directory, 'expected.json');
  const worked = await runWorker(mount.mountPoint, report);
  const code = await mount.stop();
  const failures: string[] = [];
  if (worked) {
    const result = JSON.parse(readFileSync(report, 'utf8')) as Report;
    failures.push(...result.failures, ...compareBucket(server, new Map(result.expected)));
  } else {
    failures.push('the work in the mount did not come to an end');
  }
  if (code !== 0) failures.push(`the mount ended with exit code ${code}`);
  for (const failure of failures.slice(0, MOST_SHOWN)) say(`  ${failure}`);
  if (failures.length > MOST_SHOWN) say(`  and ${failures.length - MOST_SHOWN} more`);
  say(failures.length === 0 ? 'demo: all checks passed' : `demo: ${failures.length} checks FAILED`);
  return failures.length === 0 ? 0 : 1;
}

interface Report {
  readonly expected: readonly (readonly [string, string])[];
  readonly failures: readonly string[];
}

function runWorker(mountPoint: string, report: string): Promise<boolean> {
  const child = spawn(process.execPath, [process.argv[1]!, WORK_IN, mountPoint, report], {
    cwd: '/',
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return new Promise(resolve => {
    const timer = setTimeout(() => child.kill('SIGKILL'), CHECK_LIMIT);
    child.once('exit', code => {
      clearTimeout(timer);
      resolve(code === 0);
    });
  });
}

async function workIn(mountPoint: string, report: string): Promise<number> {
  const work = new DemoCheck(mountPoint, say);
  await work.run();
  const result: Report = { expected: [...work.expected], failures: work.failures };
  writeFileSync(report, JSON.stringify(result));
  return 0;
}

/** After the unmount: each file is one plain object with the same bytes, and nothing else is in the bucket. */
function compareBucket(server: EmbeddedS3, expected: Expected): string[] {
  const failures: string[] = [];
  for (const [key, sum] of expected) {
    const object = server.getObject(BUCKET, key);
    if (object === undefined) failures.push(`${key}: the bucket has no such object`);
    else if (digest(object.bytes()) !== sum) failures.push(`${key}: the object's bytes are not what was written`);
  }
  for (const key of server.listKeys(BUCKET)) {
    if (!key.endsWith('/') && !expected.has(key)) failures.push(`${key}: left in the bucket, but should not be there`);
  }
  for (const { key } of server.openUploads(BUCKET))
    failures.push(`${key}: an upload was begun and neither completed nor aborted`);
  say(`${failures.length === 0 ? 'ok    ' : 'FAILED'} compare the bucket itself: ${expected.size} objects`);
  return failures;
}

/** Where the bundle begins: `scripts/demo.mjs` passes the program. */
export async function main(program: string, args: readonly string[]): Promise<void> {
  process.exitCode = await demo(program, args).catch((error: unknown) => {
    process.stderr.write(`${errorLine(error)}\n`);
    return error instanceof CliError ? error.exitCode : EXIT.bug;
  });
}
