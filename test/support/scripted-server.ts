/**
 * A TCP server that answers each request with bytes that the test writes itself: for what no proper HTTP server would send.
 * It knows of requests only where their head ends.
 */
import net from 'node:net';
import type { Origin } from '../../src/s3/http-connection.ts';

/** Called for each request; `nth` counts from 0 over all connections, `onConnection` from 0 on this one. */
export type Script = (
  socket: net.Socket,
  request: { readonly head: string; readonly nth: number; readonly onConnection: number },
) => void;

export interface ScriptedServer {
  readonly origin: Origin;
  readonly connections: number;
  readonly requests: readonly string[];
  close(): Promise<void>;
}

export async function scriptedServer(script: Script, host = '127.0.0.1'): Promise<ScriptedServer> {
  let connections = 0;
  const requests: string[] = [];
  const open = new Set<net.Socket>();
  const server = net.createServer(socket => {
    connections++;
    open.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => open.delete(socket));
    let pending = '';
    let onConnection = 0;
    socket.on('data', bytes => {
      pending += bytes.toString('latin1');
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        const head = pending.slice(0, end);
        pending = pending.slice(end + 4);
        // Bodies of uploads hold no empty line in these tests; what is left of one is no request.
        if (!/ HTTP\/1\.1\r\n/.test(`${head}\r\n`)) continue;
        requests.push(head);
        script(socket, { head, nth: requests.length - 1, onConnection: onConnection++ });
      }
    });
  });
  await new Promise<void>(resolve => server.listen(0, host, resolve));
  const { port } = server.address() as net.AddressInfo;
  return {
    origin: { id: `http://${host}:${port}`, secure: false, host, port },
    get connections() {
      return connections;
    },
    requests,
    close: () =>
      new Promise<void>(resolve => {
        for (const socket of open) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
