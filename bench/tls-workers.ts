/**
 * Would worker threads for TLS pay off? Bytes received over TLS by one thread, and by workers that put them into shared memory.
 *
 *   npx esbuild bench/tls-workers.ts --bundle --platform=node --format=esm --outfile=/tmp/tls-workers.mjs
 *   node /tmp/tls-workers.mjs [MIB]
 *
 * The server is a process of its own; on few cores it takes as much as it gives, so CPU for a GiB says more than time.
 * What a worker takes off the main thread is what that could do more; what it adds is the cost of telling.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { makeCertificates } from '../src/embedded-s3/certificate.ts';

const MIB = 1024 * 1024;
const CONNECTIONS = 16;
/** As GETs are: the main thread hears of so many bytes at a time. */
const REQUEST = 8 * MIB;
const BLOCK = 128 * 1024;

interface Job {
  readonly port: number;
  readonly connections: number;
  /** For each connection. */
  readonly bytes: number;
  readonly memory: ArrayBufferLike;
}

const self = fileURLToPath(import.meta.url);

async function serve(): Promise<void> {
  const { key, cert } = makeCertificates();
  const piece = Buffer.alloc(MIB);
  const server = tls.createServer({ key, cert }, socket => {
    socket.on('error', () => {});
    socket.once('data', (order: Buffer) => {
      let left = Number(order.toString());
      const more = (): void => {
        while (left > 0) {
          const size = Math.min(left, piece.length);
          left -= size;
          if (!socket.write(piece.subarray(0, size))) break;
        }
        if (left > 0) socket.once('drain', more);
      };
      more();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  console.log((server.address() as { port: number }).port);
}

/** Reads into blocks of `memory`, in turn; `received` hears of each REQUEST. */
function receive({ port, connections, bytes, memory }: Job, received: (bytes: number) => void): Promise<void> {
  const blocks = Array.from(
    { length: memory.byteLength / BLOCK },
    (_, i) => new Uint8Array(memory as ArrayBuffer, i * BLOCK, BLOCK),
  );
  let next = 0;
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      let got = 0;
      let told = 0;
      const socket = tls.connect({
        port,
        host: '127.0.0.1',
        rejectUnauthorized: false,
        onread: {
          buffer: () => blocks[next++ % blocks.length]!,
          callback: (count: number) => {
            got += count;
            if (got - told >= REQUEST || got >= bytes) {
              received(got - told);
              told = got;
            }
            if (got >= bytes) {
              socket.destroy();
              resolve();
            }
            return true;
          },
        },
      } as tls.ConnectionOptions);
      socket.once('secureConnect', () => socket.write(String(bytes)));
      socket.on('error', reject);
    });
  return Promise.all(Array.from({ length: connections }, one)).then(() => {});
}

async function measure(port: number, total: number, workers: number): Promise<void> {
  const bytes = total / CONNECTIONS;
  const memories = Array.from({ length: Math.max(1, workers) }, () => new SharedArrayBuffer(64 * BLOCK));
  let heard = 0;
  const jobs = memories.map(memory => ({ port, connections: CONNECTIONS / memories.length, bytes, memory }));
  const threads = workers === 0 ? [] : jobs.map(job => new Worker(self, { workerData: job }));
  await Promise.all(threads.map(thread => once(thread, 'message')));
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  const begun = performance.now();
  if (workers === 0) {
    await receive({ ...jobs[0]!, memory: new ArrayBuffer(64 * BLOCK) }, count => {
      heard += count;
    });
  } else {
    for (const thread of threads) {
      thread.on('message', (count: number) => {
        heard += count;
      });
      thread.postMessage('go');
    }
    await Promise.all(threads.map(thread => once(thread, 'exit')));
  }
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const gib = heard / 1024 / MIB;
  const busy = performance.eventLoopUtilization(loop).utilization * seconds;
  console.log(
    `${workers === 0 ? 'one thread' : `${workers} workers`}: ${(gib / seconds).toFixed(2)} GiB/s, ` +
      `CPU ${((user + system) / 1e6 / gib).toFixed(2)} s/GiB, main thread busy ${(busy / gib).toFixed(2)} s/GiB`,
  );
}

if (!isMainThread) {
  parentPort!.postMessage(0);
  await once(parentPort!, 'message');
  await receive(workerData as Job, count => parentPort!.postMessage(count));
  parentPort!.close();
} else if (process.argv[2] === 'serve') {
  await serve();
} else {
  const total = Number(process.argv[2] ?? 2048) * MIB;
  const server = spawn(process.execPath, [self, 'serve'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [port] = (await once(createInterface({ input: server.stdout }), 'line')) as [string];
  for (const workers of [0, 1, 2, 0, 1, 2]) await measure(Number(port), total, workers);
  server.kill();
}
