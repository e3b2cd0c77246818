import { createServer as createTlsServer } from 'node:https';
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import fc from 'fast-check';
import type { Test } from 'tap';
import t from 'tap';
import { makeCertificates } from '../../src/embedded-s3/certificate.ts';
import { HttpError } from '../../src/s3/http-message.ts';
import type { HttpAnswer, HttpRequest, HttpTransportOptions } from '../../src/s3/http-transport.ts';
import { HttpTransport } from '../../src/s3/http-transport.ts';
import { ManualClock } from '../support/manual-clock.ts';
import type { Script, ScriptedServer } from '../support/scripted-server.ts';
import { scriptedServer } from '../support/scripted-server.ts';

interface Setting {
  readonly server: ScriptedServer;
  readonly transport: HttpTransport;
  ask(request?: Partial<HttpRequest>): Promise<HttpAnswer>;
  /** The code of the `HttpError` that the request fails with. */
  refused(request?: Partial<HttpRequest>): Promise<HttpError>;
}

async function setting(t: Test, script: Script, options: HttpTransportOptions = {}): Promise<Setting> {
  const server = await scriptedServer(script);
  const transport = new HttpTransport(options);
  t.teardown(async () => {
    transport.close();
    await server.close();
  });
  const ask = (request: Partial<HttpRequest> = {}): Promise<HttpAnswer> =>
    transport.request({ origin: server.origin, method: 'GET', head: 'GET /k HTTP/1.1\r\nhost: h\r\n\r\n', ...request });
  const refused = async (request: Partial<HttpRequest> = {}): Promise<HttpError> => {
    try {
      await ask(request);
    } catch (error) {
      if (error instanceof HttpError) return error;
      throw error;
    }
    throw new Error('the request should have failed');
  };
  return { server, transport, ask, refused };
}

const text = (answer: HttpAnswer): string => Buffer.from(answer.body).toString('latin1');

t.test('answers in pieces of any size', async t => {
  const whole =
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial\r\nContent-Length: 26\r\nX: y\r\n\r\nabcdefghijklmnopqrstuvwxyz';
  let step = 1;
  const { ask, server } = await setting(t, socket => {
    const bytes = Buffer.from(whole);
    const send = (at: number): void => {
      if (at < bytes.length) socket.write(bytes.subarray(at, at + step), () => setImmediate(send, at + step));
    };
    send(0);
  });
  for (step of [1, 2, 3, 7, 26, 60, 200]) {
    const buffers = [new Uint8Array(3), new Uint8Array(0), new Uint8Array(20), new Uint8Array(10)];
    const seen: number[] = [];
    const answer = await ask({ answer: () => buffers, progress: bytes => seen.push(bytes) });
    t.equal(Buffer.concat(buffers).toString('latin1', 0, 26), 'abcdefghijklmnopqrstuvwxyz', `${step} bytes at a time`);
    t.equal(answer.bytes, 26);
    t.equal(answer.body.length, 0);
    t.equal(seen.at(-1), 26);
    t.equal(text(await ask()), 'abcdefghijklmnopqrstuvwxyz', 'collected');
  }
  t.equal(server.connections, 1, 'all on one connection');
});

t.test('chunked bodies are collected whole, or put into the buffers', async t => {
  const pieces = [
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nab',
    'cd\r\n5\r',
    '\nefghi\r\n',
    '0\r\n',
    '\r\n',
  ];
  const { ask, server } = await setting(t, socket => {
    const send = (at: number): void => {
      if (at < pieces.length) socket.write(pieces[at]!, () => setImmediate(send, at + 1));
    };
    send(0);
  });
  t.equal(text(await ask()), 'abcdefghi');
  const buffers = [new Uint8Array(2), new Uint8Array(7)];
  t.equal((await ask({ answer: () => buffers })).bytes, 9);
  t.equal(Buffer.concat(buffers).toString(), 'abcdefghi');
  t.equal(server.connections, 1);
});

t.test('a body that ends with the connection', async t => {
  const { ask, server } = await setting(t, socket => socket.end('HTTP/1.1 200 OK\r\n\r\nto the end'));
  t.equal(text(await ask()), 'to the end');
  t.equal(text(await ask()), 'to the end');
  t.equal(server.connections, 2);
});

t.test('connection: close is heeded', async t => {
  const { ask, server } = await setting(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  });
  await ask();
  await ask();
  t.equal(server.connections, 2);
});

t.test('HEAD has no body, whatever its length says', async t => {
  const { ask, server } = await setting(t, socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n'));
  const head = { method: 'HEAD', head: 'HEAD /k HTTP/1.1\r\n\r\n' };
  t.equal((await ask(head)).bytes, 0);
  t.equal((await ask(head)).head.headers.get('content-length'), '5');
  t.equal(server.connections, 1);
});

t.test('uploads of many slices arrive whole', async t => {
  const slices = Array.from({ length: 40 }, (_, i) => new Uint8Array(100_000).fill(97 + (i % 26)));
  const total = 4_000_000;
  const { ask } = await setting(t, () => {});
  const head = `PUT /k HTTP/1.1\r\ncontent-length: ${total}\r\n\r\n`;
  const server = await scriptedBody(total);
  t.teardown(() => server.close());
  const answer = await ask({ method: 'PUT', head, body: slices, origin: server.origin });
  t.equal(answer.head.status, 200);
  t.equal(Buffer.compare(server.body(), Buffer.concat(slices)), 0);
});

t.test('an answer before the body is through ends the sending', async t => {
  const { ask, server } = await setting(t, (socket, { nth }) => {
    if (nth === 0) {
      socket.pause();
      socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
    } else {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    }
  });
  const body = Array.from({ length: 64 }, () => new Uint8Array(1 << 20));
  const answer = await ask({ method: 'PUT', head: 'PUT /k HTTP/1.1\r\ncontent-length: 67108864\r\n\r\n', body });
  t.equal(answer.head.status, 403);
  t.equal((await ask()).head.status, 200, 'what comes next has a connection of its own');
  t.equal(server.connections, 2);
});

t.test('a connection that had rested and is gone', async t => {
  const { ask, server } = await setting(t, (socket, { onConnection }) => {
    // As servers do: the second request meets a connection that is being closed.
    if (onConnection === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx');
    else socket.resetAndDestroy();
  });
  t.equal((await ask()).repeated, false);
  const second = await ask();
  t.equal(text(second), 'x');
  t.equal(second.repeated, true, 'it went out twice, and that is told');
  t.equal(server.connections, 2);
});

t.test('a fresh connection that breaks is an error', async t => {
  const { refused, server } = await setting(t, socket => socket.resetAndDestroy());
  const error = await refused();
  t.equal(error.code, 'reset');
  t.equal(error.sent, true, 'the server may have carried it out');
  t.equal(server.connections, 1);
});

t.test('a body that breaks', async t => {
  const { refused } = await setting(t, socket => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'));
  const buffers = [new Uint8Array(10)];
  let seen = 0;
  const error = await refused({
    answer: () => buffers,
    progress: bytes => {
      seen = bytes;
    },
  });
  t.equal(error.code, 'reset');
  t.equal(seen, 4, 'what came is told, so that it can go on from there');
});

t.test('time-outs', async t => {
  const clock = new ManualClock();
  const { refused, ask } = await setting(
    t,
    (socket, { nth }) => {
      if (nth === 0) void clock.advance(1_500);
      if (nth === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
      if (nth === 2) {
        void clock.advance(1_500).then(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
      }
    },
    { clock, timeouts: { connect: 500, firstByte: 1_000, stall: 1_000 } },
  );
  t.equal((await refused()).code, 'first-byte-timeout');
  const half = { answer: () => [new Uint8Array(10)], progress: () => void clock.advance(1_500) };
  t.equal((await refused(half)).code, 'stall');
  t.equal((await ask({ firstByteTimeout: 5_000 })).head.status, 200, 'what takes long may have longer');
});

t.test('an upload that the server does not take', async t => {
  const { refused } = await setting(t, socket => socket.pause(), {
    timeouts: { connect: 500, firstByte: 5_000, stall: 100 },
  });
  const body = Array.from({ length: 32 }, () => new Uint8Array(1 << 20));
  const error = await refused({ method: 'PUT', head: 'PUT /k HTTP/1.1\r\ncontent-length: 33554432\r\n\r\n', body });
  t.equal(error.code, 'stall');
});

t.test('no connection', async t => {
  const { server, refused, transport } = await setting(t, () => {});
  await server.close();
  const error = await refused();
  t.equal(error.code, 'connect');
  t.equal(error.sent, false);
  const nowhere = { id: 'http://no.invalid:80', secure: false, host: 'no.invalid', port: 80 };
  const missing = new HttpTransport({
    lookup: async () => {
      throw Object.assign(new Error('x'), { code: 'ENOTFOUND' });
    },
  });
  t.teardown(() => missing.close());
  const unresolved = await missing
    .request({ origin: nowhere, method: 'GET', head: 'GET / HTTP/1.1\r\n\r\n' })
    .catch(e => e);
  t.equal(unresolved.code, 'dns');
  t.match(unresolved.message, 'no.invalid');
  t.equal(transport.state(server.origin).connections, 0);
});

t.test('aborts', async t => {
  let sockets: net.Socket[] = [];
  const { ask, refused, transport, server } = await setting(
    t,
    (socket, { head }) => {
      sockets.push(socket);
      if (head.includes('/body')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf');
      if (head.includes('/ok')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    },
    { maxConnections: 1 },
  );
  t.equal((await refused({ signal: AbortSignal.abort() })).sent, false);
  const controller = new AbortController();
  const buffer = new Uint8Array(100_000);
  const running = refused({
    head: 'GET /body HTTP/1.1\r\n\r\n',
    signal: controller.signal,
    answer: () => [buffer],
    progress: () => controller.abort(),
  });
  const waiting = new AbortController();
  const queued = refused({ head: 'GET /ok HTTP/1.1\r\n\r\n', signal: waiting.signal });
  t.equal(transport.state(server.origin).waiting, 2, 'one being connected for, one behind it');
  waiting.abort();
  t.equal((await queued).code, 'aborted');
  t.equal((await running).code, 'aborted');
  buffer.fill(7);
  for (const socket of sockets) socket.write('more of the body');
  t.equal((await ask({ head: 'GET /ok HTTP/1.1\r\n\r\n' })).head.status, 200);
  t.ok(
    buffer.every(byte => byte === 7),
    'a buffer is not written to after the abort',
  );
  sockets = [];
});

t.test('no more connections than allowed', async t => {
  const { ask, server, transport } = await setting(
    t,
    socket => setImmediate(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')),
    { maxConnections: 3 },
  );
  const answers = await Promise.all(Array.from({ length: 50 }, () => ask()));
  t.ok(answers.every(answer => text(answer) === 'ok'));
  t.ok(server.connections <= 3, `${server.connections} connections`);
  t.equal(transport.state(server.origin).waiting, 0);
});

t.test('idle connections go', async t => {
  const { ask, transport, server } = await setting(
    t,
    socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
    { idleTimeout: 40 },
  );
  await ask();
  t.equal(transport.state(server.origin).idle, 1);
  await new Promise<void>((resolve, reject) => {
    const began = Date.now();
    const look = (): void => {
      if (transport.state(server.origin).connections === 0) resolve();
      else if (Date.now() - began > 5_000) reject(new Error('it stays'));
      else setTimeout(look, 10);
    };
    look();
  });
  t.equal((await ask()).head.status, 200);
});

t.test('the addresses of a name take turns, and one that is dead is passed over', async t => {
  const first = await scriptedServer(socket =>
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\na'),
  );
  const { port } = first.origin;
  t.teardown(() => first.close());
  let lookups = 0;
  const transport = new HttpTransport({
    lookup: async () => {
      lookups++;
      // The second one is of a host on loopback where nothing listens.
      return ['127.0.0.1', '127.0.0.9'];
    },
  });
  t.teardown(() => transport.close());
  const origin = { id: `http://s3.test:${port}`, secure: false, host: 's3.test', port };
  for (let i = 0; i < 6; i++) {
    const answer = await transport.request({ origin, method: 'GET', head: 'GET / HTTP/1.1\r\n\r\n' });
    t.equal(text(answer), 'a');
  }
  t.equal(lookups, 1);
});

t.test('hostile answers', async t => {
  const answers: Record<string, string> = {
    'no HTTP': 'SSH-2.0-OpenSSH\r\n\r\n',
    'headers without end': `HTTP/1.1 200 OK\r\n${'x: y\r\n'.repeat(20_000)}`,
    'a header line without end': `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(200_000)}`,
    'interim answers without end': 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(500),
    'an upgrade': 'HTTP/1.1 101 Switching\r\n\r\n',
    'more than the buffers hold': 'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789',
    'a chunked body longer than the buffers':
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n',
  };
  for (const [what, bytes] of Object.entries(answers)) {
    const { refused, ask } = await setting(t, (socket, { nth }) => {
      socket.write(nth === 0 ? bytes : 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
    t.equal((await refused({ answer: () => [new Uint8Array(10)] })).code, 'bad-answer', what);
    t.equal((await ask()).head.status, 200, 'and the next request is fine');
  }
  const { refused } = await setting(t, socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n'), {
    maxCollected: 4_000,
  });
  t.equal((await refused()).code, 'bad-answer', 'more than is collected');
});

t.test('bytes after the answer never reach the next one', async t => {
  const { ask, server } = await setting(t, (socket, { nth }) => {
    socket.write(
      nth === 0
        ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'
        : 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood',
    );
  });
  t.equal(text(await ask()), 'ok');
  t.equal(text(await ask()), 'good');
  t.equal(server.connections, 2);
});

t.test('what an answer is refused for reaches the caller', async t => {
  const { ask } = await setting(t, socket => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody'));
  const mine = new Error('not what I asked for');
  await t.rejects(
    ask({
      answer: () => {
        throw mine;
      },
    }),
    mine,
  );
  t.equal(text(await ask()), 'body');
});

t.test('no bytes from a server do anything but answer or fail', async t => {
  let bytes: Uint8Array = new Uint8Array(0);
  const { transport, server } = await setting(t, socket => socket.end(bytes), {
    timeouts: { connect: 1_000, firstByte: 1_000, stall: 1_000 },
  });
  const junk = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(
        fc.constantFrom(
          'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
          'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n',
          'HTTP/1.1 500 X\r\n\r\n',
        ),
        fc.uint8Array({ maxLength: 30 }),
      )
      .map(([start, rest]) => Buffer.concat([Buffer.from(start), rest])),
  );
  await fc.assert(
    fc.asyncProperty(junk, async sent => {
      bytes = sent;
      const buffer = new Uint8Array(64);
      try {
        const { bytes: count } = await transport.request({
          origin: server.origin,
          method: 'GET',
          head: 'GET / HTTP/1.1\r\n\r\n',
          answer: head => (head.status === 200 ? [buffer] : undefined),
        });
        return count <= 200;
      } catch (error) {
        return error instanceof HttpError;
      }
    }),
    { numRuns: 300 },
  );
});

t.test('closing ends what runs and what waits', async t => {
  const { refused, transport } = await setting(t, () => {}, { maxConnections: 1 });
  const running = refused();
  const waiting = refused();
  setImmediate(() => transport.close());
  t.equal((await running).code, 'aborted');
  t.equal((await waiting).code, 'aborted');
  t.equal((await refused()).code, 'aborted', 'and nothing new begins');
});

/** A server that takes one body of `total` bytes. */
async function scriptedBody(total: number): Promise<ScriptedServer & { body(): Buffer }> {
  const { createServer } = await import('node:net');
  const pieces: Buffer[] = [];
  const server = createServer(socket => {
    socket.on('error', () => {});
    socket.on('data', (piece: Buffer) => {
      pieces.push(piece);
      if (body().length >= total) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  const body = (): Buffer => {
    const all = Buffer.concat(pieces);
    const end = all.indexOf('\r\n\r\n');
    return end < 0 ? Buffer.alloc(0) : all.subarray(end + 4);
  };
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  return {
    origin: { id: `http://127.0.0.1:${port}`, secure: false, host: '127.0.0.1', port },
    connections: 0,
    requests: [],
    body,
    close: () => new Promise<void>(resolve => void server.close(() => resolve())),
  };
}

t.test('a TLS session is resumed: a further connection costs no full handshake', async t => {
  const { ca, cert, key } = makeCertificates();
  const reused: boolean[] = [];
  const server = createTlsServer({ cert, key }, (_request, response) => response.end('x'));
  server.on('secureConnection', socket => reused.push(socket.isSessionReused()));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const origin = { id: `https://127.0.0.1:${port}`, secure: true, host: '127.0.0.1', port };
  const transport = new HttpTransport({ tls: { ca } });
  t.teardown(() => {
    transport.close();
    server.close();
    server.closeAllConnections();
  });
  const request = { origin, method: 'GET', head: 'GET / HTTP/1.1\r\nhost: a\r\n\r\n' };
  await transport.request(request);
  await Promise.all([1, 2, 3, 4].map(() => transport.request(request)));
  const [first, ...further] = reused;
  t.equal(first, false);
  t.ok(further.length > 0, 'requests at the same time have connections of their own');
  t.ok(further.every(each => each));
});
