/** Uploads over slow links: given up when nothing arrives any more, not while the other side still acknowledges bytes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Test } from 'tap';
import t from 'tap';
import { HttpError } from '../../src/s3/http-message.ts';
import { HttpTransport } from '../../src/s3/http-transport.ts';
import { unacknowledgedBytes } from '../../src/s3/unacknowledged.ts';
import { ManualClock } from '../support/manual-clock.ts';

const PATIENCE_MS = 1000;
const BODY = 8 * 1024 * 1024;

/** A server that reads when told to. */
interface SlowServer {
  readonly port: number;
  readonly taken: number;
  /** Reads until the sender has fewer bytes on their way. */
  takeSome(): Promise<void>;
  /** Reads all the rest and answers. */
  finish(): void;
}

async function slowServer(t: Test): Promise<SlowServer> {
  let socket: net.Socket | undefined;
  let taken = 0;
  const server = net.createServer({ pauseOnConnect: true }, connection => {
    socket = connection;
    connection.on('error', () => {});
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  t.teardown(() => {
    socket?.destroy();
    server.close();
  });
  const onItsWay = (): number => unacknowledgedBytes(socket!.remotePort!, port) ?? 0;
  return {
    port,
    get taken() {
      return taken;
    },
    async takeSome() {
      while (!socket) await turn();
      // Until the kernel has what it takes, nothing can become less.
      for (let before = -1; before !== onItsWay() || before === 0; await turn()) before = onItsWay();
      const before = onItsWay();
      socket.on('data', bytes => {
        taken += bytes.length;
        socket!.pause();
      });
      while (onItsWay() >= before) {
        socket.resume();
        await turn();
      }
      socket.removeAllListeners('data');
      socket.pause();
    },
    finish() {
      let left = BODY;
      socket!.on('data', bytes => {
        left -= bytes.length;
        // The head counts too: the answer comes a little early, as those of refusals do.
        if (left - taken <= 0) socket!.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      });
      socket!.resume();
    },
  };
}

interface Sent {
  readonly clock: ManualClock;
  readonly transport: HttpTransport;
  readonly outcome: Promise<unknown>;
  settled(): boolean;
}

function upload(t: Test, port: number): Sent {
  const clock = new ManualClock();
  const transport = new HttpTransport({
    clock,
    timeouts: { connect: PATIENCE_MS, firstByte: PATIENCE_MS, stall: PATIENCE_MS },
  });
  t.teardown(() => transport.close());
  let isSettled = false;
  const outcome = transport
    .request({
      origin: { id: `http://127.0.0.1:${port}`, secure: false, host: '127.0.0.1', port },
      method: 'PUT',
      head: `PUT /k HTTP/1.1\r\nhost: h\r\ncontent-length: ${BODY}\r\n\r\n`,
      body: Array.from({ length: BODY / 131_072 }, () => new Uint8Array(131_072)),
    })
    .then(
      answer => answer.head.status,
      (error: unknown) => error,
    )
    .finally(() => {
      isSettled = true;
    });
  return { clock, transport, outcome, settled: () => isSettled };
}

t.test('a link that takes a little now and then is waited for', async t => {
  const server = await slowServer(t);
  const { clock, outcome, settled } = upload(t, server.port);
  for (let round = 0; round < 8; round++) {
    await server.takeSome();
    await clock.advance(0.7 * PATIENCE_MS);
    t.notOk(settled(), `after ${0.7 * (round + 1)} times the patience`);
  }
  t.ok(server.taken < BODY, 'it was slow');
  server.finish();
  t.equal(await outcome, 200);
});

t.test('a link that takes nothing any more is given up in time', async t => {
  const server = await slowServer(t);
  const { clock, outcome, settled } = upload(t, server.port);
  await server.takeSome();
  await clock.advance(0.7 * PATIENCE_MS);
  t.notOk(settled());
  await clock.advance(1.5 * PATIENCE_MS);
  const error = await outcome;
  t.ok(error instanceof HttpError && /^(stall|first-byte-timeout)$/.test(error.code));
  t.ok((error as HttpError).sent, 'what arrived may be carried out');
});

t.test('whether more has arrived is told to whoever waits for it', async t => {
  const server = await slowServer(t);
  const { transport, outcome } = upload(t, server.port);
  t.notOk(transport.sentMore(), 'nothing to compare with');
  await server.takeSome();
  transport.sentMore();
  t.notOk(transport.sentMore(), 'nothing since');
  for (let round = 0; round < 3; round++) {
    await server.takeSome();
    t.ok(transport.sentMore(), 'some');
    t.notOk(transport.sentMore(), 'and nothing since');
  }
  server.finish();
  t.equal(await outcome, 200);
  t.notOk(transport.sentMore(), 'nothing is under way');
});

t.test('what /proc/net/tcp tells', t => {
  const directory = mkdtempSync(join(tmpdir(), 's3mount-tcp-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const file = join(directory, 'tcp');
  writeFileSync(
    file,
    `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
   1: 0100007F:D431 0100007F:1F90 01 0001A2B3:00000000 01:00000014 00000000  1000        0 2 1 0
`,
  );
  t.equal(unacknowledgedBytes(0xd431, 8080, [file]), 0x1a2b3);
  t.equal(unacknowledgedBytes(8080, 0xd431, [file]), undefined, 'the other way');
  t.equal(unacknowledgedBytes(0xd431, 8080, [join(directory, 'none'), file]), 0x1a2b3);
  t.equal(unacknowledgedBytes(0xd431, 8080, []), undefined);
  t.end();
});
