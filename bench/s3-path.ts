/**
 * What the way to S3 costs: CPU for each GB of GETs and uploads, and for each small request, without any filesystem above.
 *
 *     npm run bench -- …            runs it with the rest
 *     npx tsx bench/s3-path.ts [--tls] [--seconds 3] [--only get-8MiB,head] [--json]
 *     npx tsx bench/s3-path.ts --url http://127.0.0.1:9000 --bucket b --key ID:SECRET
 *
 * Without `--url` the embedded server is started in a process of its own. CPU seconds are those of this process: they do
 * not depend on how busy the machine is. Each figure comes after a warm-up: V8 needs seconds to optimise such code.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openS3Store } from '../src/s3/open-store.ts';
import type { S3Store } from '../src/s3/s3-store.ts';
import type { ObjectDescription } from '../src/s3/store.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const GB = 1e9;
/** Requests at a time: enough to keep one thread busy, as read-ahead does. */
const AT_ONCE = 16;
const PLAIN: ObjectDescription = { headers: {}, metadata: {} };
const BIG = 64 * MIB;

interface Figure {
  readonly name: string;
  /** CPU seconds per GB, or µs of CPU per request. */
  readonly cpu: number;
  readonly unit: 's/GB' | 'µs';
  /** MB/s or requests per second. */
  readonly rate: number;
  readonly rateUnit: 'MB/s' | '/s';
}

interface Work {
  readonly name: string;
  /** Bytes moved by one request; undefined: requests are counted. */
  readonly bytes?: number;
  run(worker: number, turn: number): Promise<unknown>;
}

const { values } = parseArgs({
  options: {
    url: { type: 'string' },
    bucket: { type: 'string', default: 'bench' },
    key: { type: 'string', default: 'EMBEDDEDKEY:embeddedsecret' },
    tls: { type: 'boolean', default: false },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});

async function startServer(): Promise<{ url: string; ca: string | undefined; child: ChildProcess }> {
  const directory = mkdtempSync(join(tmpdir(), 's3mount-bench-'));
  const caFile = join(directory, 'ca.pem');
  const script = fileURLToPath(new URL('../src/embedded-s3/main.ts', import.meta.url));
  const child = spawn(
    process.execPath,
    [
      `--import=${import.meta.resolve('tsx')}`,
      script,
      `--bucket=${values.bucket}`,
      `--key=${values.key}`,
      '--etag=fast',
      ...(values.tls ? ['--tls', `--ca-file=${caFile}`] : []),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
    child.once('exit', code => reject(new Error(`the embedded S3 server did not start (exit ${code})`)));
  });
  const ca = values.tls ? readFileSync(caFile, 'utf8') : undefined;
  rmSync(directory, { recursive: true });
  return { url, ca, child };
}

function works(store: S3Store, etag: string): Work[] {
  const buffers = Array.from({ length: AT_ONCE }, () => blocksOf(8 * MIB));
  const get = (size: number): Work => ({
    name: `get-${size >= MIB ? `${size / MIB}MiB` : `${size / KIB}KiB`}`,
    bytes: size,
    run: (worker, turn) => {
      const offset = ((turn * AT_ONCE + worker) * size) % BIG;
      return store.get('big', { offset, length: size, ifMatch: etag }, { buffers: buffers[worker]! });
    },
  });
  const part = blocksOf(8 * MIB);
  const small = [new Uint8Array(4 * KIB)];
  return [
    get(128 * KIB),
    get(MIB),
    get(8 * MIB),
    { name: 'put-8MiB', bytes: 8 * MIB, run: worker => store.put(`out/${worker}`, part, PLAIN, undefined) },
    { name: 'get-4KiB', run: () => store.get('small', { offset: 0, length: 4 * KIB }, { buffers: small }) },
    { name: 'head', run: (worker, turn) => store.head(`list/${(worker * 131 + turn) % 1000}`) },
    { name: 'put-4KiB', run: worker => store.put(`out/${worker}`, small, PLAIN, undefined) },
    { name: 'list-1000', run: () => store.list({ prefix: 'list/' }) },
  ];
}

/** Blocks as the cache has them. */
function blocksOf(bytes: number): Uint8Array[] {
  return Array.from({ length: bytes / (128 * KIB) }, () => new Uint8Array(128 * KIB));
}

async function measure(work: Work, seconds: number): Promise<Figure> {
  let count = 0;
  const until = async (end: number): Promise<void> => {
    await Promise.all(
      Array.from({ length: AT_ONCE }, async (_, worker) => {
        for (let turn = 0; performance.now() < end; turn++) {
          await work.run(worker, turn);
          count++;
        }
      }),
    );
  };
  await until(performance.now() + Math.max(1_000, seconds * 500));
  count = 0;
  const began = performance.now();
  const before = process.cpuUsage();
  await until(began + seconds * 1000);
  const { user, system } = process.cpuUsage(before);
  const elapsed = (performance.now() - began) / 1000;
  const cpu = user + system;
  return work.bytes === undefined
    ? { name: work.name, cpu: cpu / count, unit: 'µs', rate: count / elapsed, rateUnit: '/s' }
    : {
        name: work.name,
        cpu: cpu / 1e6 / ((count * work.bytes) / GB),
        unit: 's/GB',
        rate: (count * work.bytes) / 1e6 / elapsed,
        rateUnit: 'MB/s',
      };
}

async function main(): Promise<void> {
  const server = values.url === undefined ? await startServer() : undefined;
  const [accessKeyId = '', secretAccessKey = ''] = values.key.split(':');
  const store = await openS3Store({
    bucket: values.bucket,
    prefix: 's3-path-bench/',
    url: server?.url ?? values.url!,
    credentials: async () => ({ accessKeyId, secretAccessKey }),
    ...(server?.ca === undefined ? {} : { tls: { ca: server.ca } }),
  });
  try {
    const { etag } = await store.put('big', blocksOf(BIG), PLAIN, undefined);
    await store.put('small', [new Uint8Array(4 * KIB)], PLAIN, undefined);
    await Promise.all(
      Array.from({ length: 1000 }, (_, i) =>
        store.put(`list/${i}`, [], { ...PLAIN, metadata: { mode: '33188' } }, undefined),
      ),
    );
    const only = values.only?.split(',');
    const figures: Figure[] = [];
    for (const work of works(store, etag)) {
      if (only && !only.includes(work.name)) continue;
      const figure = await measure(work, Number(values.seconds));
      figures.push(figure);
      if (values.json) continue;
      const { name, cpu, unit, rate, rateUnit } = figure;
      const shown = unit === 's/GB' ? cpu.toFixed(3) : cpu.toFixed(1);
      process.stdout.write(
        `${name.padEnd(10)} ${shown.padStart(8)} ${unit.padEnd(5)} ${rate.toFixed(0).padStart(8)} ${rateUnit}\n`,
      );
    }
    if (values.json) process.stdout.write(`${JSON.stringify({ tls: values.tls, atOnce: AT_ONCE, figures })}\n`);
    const listed = await store.list({ prefix: '' });
    await store.deleteMany(listed.objects.map(object => object.key));
  } finally {
    await store.close();
    server?.child.kill();
  }
}

await main();
