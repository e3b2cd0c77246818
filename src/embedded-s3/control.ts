/**
 * The control endpoint for tests and measurements that run in another process: under `/__embedded/`, unsigned, on the same
 * port. Its requests are neither counted nor delayed. Parameters come in the query, answers are JSON.
 *
 * - `GET stats` (with this process's CPU seconds and memory), `GET log`; `POST reset` forgets both
 * - `POST faults?add=TEXT` (as in `faults.ts`), `POST faults?clear`; `GET faults` tells the active ones and their hits
 * - `POST latency?set=get=20ms,put=30ms&conn-bandwidth=90MB&copy-bandwidth=200MB` (`off` lifts one)
 * - `POST fill?bucket=B&key=K&size=1GiB` or `…&prefix=P/&count=1000&size=0&fan=100` (as in `fill.ts`); with a JSON array of
 *   fills as the body instead of parameters: all of them, `K` being the field's name in `fill.ts`
 * - `GET contents?bucket=B` (number and bytes of objects, files being those whose key does not end in `/`,
 *   and a digest of all ETags, which any change changes); `POST clear?bucket=B`
 */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fromByteString } from './byte-string.ts';
import type { Site } from './dispatch.ts';
import { parseBytes, parseDuration, parseFaults } from './faults.ts';
import { type Fill, fillBucket } from './fill.ts';
import { parseLatency } from './latency.ts';
import type { Bucket } from './state.ts';

export const CONTROL_PATH = '/__embedded/';

function fillOf(query: URLSearchParams): Fill {
  const text = (name: string): string | undefined => query.get(name) ?? undefined;
  const number = (name: string): number | undefined => {
    const value = query.get(name);
    return value === null ? undefined : parseBytes(value);
  };
  const fill: Record<string, string | number> = { size: number('size') ?? 0 };
  for (const name of ['key', 'prefix', 'suffix']) if (text(name) !== undefined) fill[name] = text(name)!;
  for (const name of ['count', 'fan', 'start', 'seed']) if (number(name) !== undefined) fill[name] = number(name)!;
  if (text('type') !== undefined) fill['contentType'] = text('type')!;
  if (number('part-size') !== undefined) fill['partSize'] = number('part-size')!;
  if (number('mtime') !== undefined) fill['lastModified'] = number('mtime')! * 1000;
  return fill as unknown as Fill;
}

/** Applies `latency?…`; also how the command line sets it. */
export function setPace(site: Pick<Site, 'pace'>, query: URLSearchParams): void {
  const bandwidth = (text: string): number | undefined => (text === 'off' ? undefined : parseBytes(text));
  const latency = query.get('set');
  if (latency !== null) site.pace.latency = parseLatency(latency, parseDuration);
  const connection = query.get('conn-bandwidth');
  if (connection !== null) site.pace.bandwidthPerConnection = bandwidth(connection);
  const copy = query.get('copy-bandwidth');
  if (copy !== null) site.pace.copyBandwidth = bandwidth(copy);
}

function bucketOf(site: Site, query: URLSearchParams): Bucket {
  const bucket = site.world.buckets.get(query.get('bucket') ?? '');
  if (!bucket) throw new Error(`there is no bucket '${query.get('bucket') ?? ''}'`);
  return bucket;
}

function contentsOf(bucket: Bucket): { objects: number; files: number; bytes: number; digest: string } {
  let [objects, files, bytes] = [0, 0, 0];
  const etags = createHash('md5');
  for (const { key, content, etag, deleteMarker } of bucket.objects) {
    if (deleteMarker) continue;
    objects++;
    if (!key.endsWith('/')) files++;
    bytes += content.size;
    etags.update(`${key} ${etag}\n`, 'latin1');
  }
  return { objects, files, bytes, digest: etags.digest('hex') };
}

function clear(site: Site, bucket: Bucket): void {
  const keys = Array.from(bucket.objects, object => object.key);
  bucket.objects.clear();
  bucket.uploads.clear();
  for (const key of keys) site.world.keep(keeper => keeper.changed(bucket, fromByteString(key)));
}

function carryOut(site: Site, method: string, command: string, query: URLSearchParams, body: string): unknown {
  const changes = method === 'POST';
  switch (command) {
    case 'stats':
      return {
        ...site.watch.stats,
        cpuSeconds: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
        residentBytes: process.memoryUsage.rss(),
      };
    case 'log':
      return site.watch.log;
    case 'reset':
      if (changes) site.watch.reset();
      return {};
    case 'faults':
      if (changes && query.has('clear')) site.faults.clear();
      if (changes) for (const text of query.getAll('add')) site.faults.add(...parseFaults(text));
      return site.faults.active.map(one => ({ ...one, rule: { ...one.rule, key: one.rule.key?.toString() } }));
    case 'latency':
      if (changes) setPace(site, query);
      return site.pace;
    case 'fill': {
      const bucket = bucketOf(site, query);
      const fills = body === '' ? [fillOf(query)] : (JSON.parse(body) as Fill[]);
      let objects = 0;
      if (changes) for (const fill of fills) objects += fillBucket(site.world, bucket, fill);
      return { objects };
    }
    case 'contents':
      return contentsOf(bucketOf(site, query));
    case 'clear':
      if (changes) clear(site, bucketOf(site, query));
      return {};
    default:
      throw new Error(
        `'${command}' is no command; known are stats, log, reset, faults, latency, fill, contents, clear`,
      );
  }
}

export async function answerControl(site: Site, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  let status = 200;
  let result: unknown;
  try {
    let body = '';
    for await (const text of request.setEncoding('utf8')) body += text;
    const command = url.pathname.slice(CONTROL_PATH.length);
    result = carryOut(site, request.method ?? 'GET', command, url.searchParams, body);
  } catch (error) {
    status = 400;
    result = { error: error instanceof Error ? error.message : String(error) };
  }
  const body = `${JSON.stringify(result)}\n`;
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}
