/** Serves metrics over HTTP, on this machine only. A page in a browser on this machine must not read them: Host is checked. */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { MetricsAddress } from './metrics-address.ts';

/** A name that leads here by somebody's DNS is not one of these. */
const OUR_NAMES = /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d+)?$/i;
/** Scrapes at once; Prometheus makes one. */
const MAX_CONNECTIONS = 8;
/** ms for a request to come in. */
const REQUEST_LIMIT = 5_000;

export interface MetricsServer {
  /** What it listens on, for the log. */
  readonly where: string;
  close(): void;
}

/** Rejects where the port is taken, or the socket cannot be made. */
export async function serveMetrics(address: MetricsAddress, text: () => string): Promise<MetricsServer> {
  const server = createServer({ requestTimeout: REQUEST_LIMIT, headersTimeout: REQUEST_LIMIT }, (request, response) => {
    answer(request, response, 'path' in address, text);
  });
  server.maxConnections = MAX_CONNECTIONS;
  if ('path' in address) removeSocket(address.path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if ('path' in address) server.listen(address.path, resolve);
    else server.listen(address.port, address.host, resolve);
  });
  server.on('error', () => {});
  if ('path' in address) chmodSync(address.path, 0o600);
  return {
    where: 'path' in address ? address.path : `${address.host}:${address.port}`,
    close() {
      server.close();
      server.closeAllConnections();
      if ('path' in address) removeSocket(address.path);
    },
  };
}

/** One that a killed daemon left behind; nothing else is ever removed. */
function removeSocket(path: string): void {
  try {
    if (lstatSync(path).isSocket()) rmSync(path);
  } catch {
    // None there.
  }
}

function answer(request: IncomingMessage, response: ServerResponse, local: boolean, text: () => string): void {
  const refuse = (status: number, why: string): void => {
    response.writeHead(status, { 'content-type': 'text/plain' }).end(`${why}\n`);
  };
  if (!local && !OUR_NAMES.test(request.headers.host ?? '')) refuse(403, 'not by this name');
  else if (request.method !== 'GET' && request.method !== 'HEAD') refuse(405, 'GET only');
  else if (request.url?.split('?')[0] !== '/metrics') refuse(404, 'metrics are at /metrics');
  else response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text());
}
