/** The work of a mount by plain HTTP: what the server and this machine can do at all. Told and answering as `load.ts`. */
import { createHash } from 'node:crypto';
import { writeSync } from 'node:fs';
import { forEachLimit } from '../../src/concurrency.ts';
import type { LoadResult } from './load-jobs.ts';
import type { PlannedRequest, Stage } from './plan.ts';
import { type RawAnswer, RawHttp, type RawRequest } from './raw-http.ts';
import type { RawOrder } from './raw-jobs.ts';
import { STAMPED, writtenBlock } from './written-bytes.ts';

let input = '';
for await (const text of process.stdin.setEncoding('utf8')) input += text;
const order = JSON.parse(input) as RawOrder;
const http = new RawHttp(order.url, order.connections);

/** Of the uploads under way, by key. */
const uploads = new Map<string, { id: string; etags: string[] }>();

function path(key: string, query = ''): string {
  return `/${order.bucket}/${key.split('/').map(encodeURIComponent).join('/')}${query}`;
}

/** `length` bytes without making any. */
function body(length: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let left = length; left > 0; left -= STAMPED) pieces.push(writtenBlock(0).subarray(0, Math.min(left, STAMPED)));
  return pieces;
}

function partPath(key: string, number: number): string {
  return path(key, `?partNumber=${number}&uploadId=${uploads.get(key)!.id}`);
}

function toHttp(request: PlannedRequest): RawRequest {
  switch (request.do) {
    case 'get':
      return {
        method: 'GET',
        path: path(request.key),
        headers: { Range: `bytes=${request.offset}-${request.offset + request.length - 1}` },
      };
    case 'put':
      return { method: 'PUT', path: path(request.key), body: body(request.length) };
    case 'list': {
      const after = request.after === undefined ? '' : `&start-after=${encodeURIComponent(request.after)}`;
      return {
        method: 'GET',
        path: `/${order.bucket}?list-type=2&prefix=${encodeURIComponent(request.prefix)}${after}`,
      };
    }
    case 'delete': {
      const keys = request.keys.map(key => `<Object><Key>${key}</Key></Object>`).join('');
      const text = Buffer.from(`<Delete><Quiet>true</Quiet>${keys}</Delete>`);
      return {
        method: 'POST',
        path: `/${order.bucket}?delete`,
        headers: { 'Content-MD5': createHash('md5').update(text).digest('base64') },
        body: [text],
      };
    }
    case 'copy':
      return {
        method: 'PUT',
        path: path(request.key),
        headers: { 'x-amz-copy-source': path(request.from) },
        collect: true,
      };
    case 'begin':
      return { method: 'POST', path: path(request.key, '?uploads'), collect: true };
    case 'part':
      return { method: 'PUT', path: partPath(request.key, request.number), body: body(request.length) };
    case 'copy-part':
      return {
        method: 'PUT',
        path: partPath(request.key, request.number),
        headers: {
          'x-amz-copy-source': path(request.from),
          'x-amz-copy-source-range': `bytes=${request.offset}-${request.offset + request.length - 1}`,
        },
        collect: true,
      };
    case 'complete': {
      const { id, etags } = uploads.get(request.key)!;
      const parts = etags.map((etag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${etag}</ETag></Part>`);
      return {
        method: 'POST',
        path: path(request.key, `?uploadId=${id}`),
        body: [Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`)],
        collect: true,
      };
    }
  }
}

function learn(request: PlannedRequest, answer: RawAnswer): void {
  const text = (): string => answer.body.toString();
  if (request.do === 'begin') {
    uploads.set(request.key, { id: /<UploadId>([^<]*)</.exec(text())![1]!, etags: [] });
  } else if (request.do === 'part') {
    uploads.get(request.key)!.etags[request.number - 1] = /\r\netag: *([^\r]*)/i.exec(answer.head)![1]!;
  } else if (request.do === 'copy-part') {
    uploads.get(request.key)!.etags[request.number - 1] = /<ETag>([^<]*)</.exec(text())![1]!;
  }
  if (request.do === 'get' && answer.bytes !== request.length) wrong++;
}

const end = performance.now() + order.limit * 1000;
let done = 0;
let wrong = 0;

async function runStage(stage: Stage): Promise<void> {
  await forEachLimit(stage.requests, stage.width ?? order.connections, async request => {
    if (performance.now() > end) throw new Error('out of time');
    learn(request, await http.request(toHttp(request)));
    done++;
  });
}

async function carryOut(): Promise<void> {
  const { job } = order;
  if (job.do === 'plan') {
    for (const stage of job.plan) await runStage(stage);
    return;
  }
  const places = Math.floor((job.size - job.block) / 4096);
  const stop = performance.now() + job.seconds * 1000;
  const reader = async (): Promise<void> => {
    while (performance.now() < stop) {
      const offset = Math.floor(Math.random() * places) * 4096;
      const request = { do: 'get', key: job.key, offset, length: job.block } as const;
      learn(request, await http.request(toHttp(request)));
      done++;
    }
  };
  await Promise.all(Array.from({ length: job.readers }, reader));
}

const cpuBefore = process.cpuUsage();
const began = Date.now();
const start = performance.now();
let firstError: string | undefined;
await carryOut().catch((error: unknown) => {
  firstError = error instanceof Error ? error.message : String(error);
});
const seconds = (performance.now() - start) / 1000;
const cpu = process.cpuUsage(cpuBefore);
const result: LoadResult = {
  began,
  seconds,
  done,
  errors: firstError === undefined ? 0 : 1,
  firstError,
  wrong,
  cpuSeconds: (cpu.user + cpu.system) / 1e6,
};
http.close();
writeSync(1, `${JSON.stringify(result)}\n`);
