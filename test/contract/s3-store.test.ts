/** The S3 store over plain connections, over TLS and through tunnels. */
import net from 'node:net';
import type { Origin } from '../../src/s3/http-connection.ts';
import { overEmbedded } from './embedded-store.ts';

/** As a proxy's tunnel would be: a socket that is connected already. */
function throughSocket(origin: Origin): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: origin.host, port: origin.port, noDelay: true });
    socket.once('error', reject);
    socket.once('connect', () => resolve(socket));
  });
}

await overEmbedded('http', {});
await overEmbedded('tls', { tls: true });
for (const tls of [true, undefined]) {
  await overEmbedded(`${tls ? 'tls' : 'http'} through a tunnel`, tls ? { tls } : {}, {}, { tunnel: throughSocket });
}
