/** An HTTP proxy that notes what passes: CONNECT, and plain requests with their whole address. */
import { createServer, type IncomingMessage, request as plainRequest } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Test } from 'tap';

export interface LoggingProxy {
  readonly url: string;
  /** `CONNECT host:443`, `GET http://host/path`, in their order. */
  readonly log: readonly string[];
}

export interface ProxyScene {
  /** Where a `host:port` really is; undefined: there is none. */
  readonly where: (target: string) => number | undefined;
  /** `user:password` that it wants. */
  readonly login?: string;
}

export async function loggingProxy(t: Test, { where, login }: ProxyScene): Promise<LoggingProxy> {
  const log: string[] = [];
  const wanted = login === undefined ? undefined : `Basic ${Buffer.from(login).toString('base64')}`;
  const isWelcome = ({ headers }: IncomingMessage): boolean =>
    wanted === undefined || headers['proxy-authorization'] === wanted;
  const server = createServer((request, response) => {
    log.push(`${request.method} ${request.url}`);
    const url = new URL(request.url ?? '');
    const port = where(`${url.hostname}:${url.port || 80}`);
    if (!isWelcome(request) || port === undefined) {
      response.writeHead(isWelcome(request) ? 502 : 407).end();
      return;
    }
    const { 'proxy-authorization': _, ...headers } = request.headers;
    const onward = plainRequest(
      { host: '127.0.0.1', port, method: request.method, path: url.pathname + url.search, headers },
      answer => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  server.on('connect', (request, socket, head) => {
    log.push(`CONNECT ${request.url}`);
    const port = where(request.url ?? '');
    if (!isWelcome(request) || port === undefined) {
      socket.end(`HTTP/1.1 ${isWelcome(request) ? '502 Bad Gateway' : '407 Proxy Authentication Required'}\r\n\r\n`);
      return;
    }
    const onward = connect(port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.write(head);
      socket.pipe(onward).pipe(socket);
    });
    for (const one of [socket, onward]) one.on('error', () => {});
    socket.on('close', () => onward.destroy());
    onward.on('close', () => socket.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => {
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, log };
}
