/** The control socket: what is said over it, and that nobody who says something else disturbs the daemon. */
import { mkdtempSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { askDaemon, NoAnswer } from '../../src/cli/control-client.ts';
import { BadRequest, type ControlRequest, MAX_REQUEST, parseRequest } from '../../src/cli/control-protocol.ts';
import { type ControlAnswers, ControlServer } from '../../src/cli/control-server.ts';
import { CliError } from '../../src/cli/exit-codes.ts';
import { FsError } from '../../src/errors.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { output } from '../support/s3mount-command.ts';

t.test('requests are read strictly', async t => {
  t.same(parseRequest('{"do":"status","more":1}'), { do: 'status' });
  t.same(parseRequest('{"do":"why","path":"/a//b/./c/"}'), { do: 'why', path: 'a/b/c' });
  t.same(parseRequest('{"do":"restore","path":"a","days":7,"tier":"Bulk"}'), {
    do: 'restore',
    path: 'a',
    days: 7,
    tier: 'Bulk',
  });
  for (const line of [
    '{"do":"restore","path":"a","days":0,"tier":"Bulk"}',
    '{"do":"restore","path":"a","days":7,"tier":"Quick"}',
    '',
    'null',
    '7',
    '[]',
    '{"do":"sing"}',
    '{"do":"toString"}',
    '{"do":"why"}',
    '{"do":"why","path":7}',
    '{"do":"why","path":"a/../../etc"}',
    '{"do":"flush","path":"a\\u0000b"}',
    JSON.stringify({ do: 'why', path: 'x'.repeat(5000) }),
  ]) {
    t.throws(() => parseRequest(line), BadRequest, line.slice(0, 40));
  }
});

t.test('whatever comes is a request or refused', async t => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.record({ do: fc.string(), path: fc.anything() }).map(v => JSON.stringify(v)),
      ),
      text => {
        try {
          const request: ControlRequest = parseRequest(text);
          return 'path' in request ? !request.path.split('/').includes('..') : true;
        } catch (error) {
          return error instanceof BadRequest;
        }
      },
    ),
  );
  t.pass('no other error');
});

const nothing: ControlAnswers = {
  status: () => ({ fine: true }),
  unsaved: () => ({ bytes: 0, files: 0 }),
  why: () => [],
  restore: () => ({ state: 'online' }),
  flush: () => ({ saved: 0, failed: [] }),
};

async function aServer(t: Test, answers: Partial<ControlAnswers> = {}, requestLimit = 5000): Promise<string> {
  const path = join(realpathSync(mkdtempSync(join(tmpdir(), 's3mount-control-'))), 'a.sock');
  const server = await ControlServer.listen(path, { ...nothing, ...answers }, silentTelemetry.log, requestLimit);
  t.teardown(() => server.close());
  return path;
}

/** What a connection gets that sends `text` as it is; resolves at its end. */
function said(path: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let received = '';
    const socket: Socket = connect(path, () => socket.write(text));
    socket.setEncoding('utf8').on('data', more => (received += more));
    socket.on('error', error => ((error as NodeJS.ErrnoException).code === 'EPIPE' ? undefined : reject(error)));
    socket.on('close', () => resolve(received));
  });
}

t.test('a question, its progress and its answer', async t => {
  const path = await aServer(t, {
    flush: async ({ path }, progress) => {
      progress({ files: 2 });
      progress({ files: 1 });
      return { saved: path };
    },
  });
  const told: unknown[] = [];
  const result = await askDaemon(path, { do: 'flush', path: 'a' }, { progress: value => told.push(value) });
  t.same(result, { saved: 'a' });
  t.same(told, [{ files: 2 }, { files: 1 }]);
  t.same(await askDaemon(path, { do: 'status' }), { fine: true });
});

t.test('the socket is for its owner only', async t => {
  const path = await aServer(t);
  t.equal(statSync(path).mode & 0o777, 0o600);
  if (process.getuid!() !== 0) return;
  // Even where the directory lets others pass.
  await output('chmod', ['755', join(path, '..')], {});
  const script = `require('net').connect(${JSON.stringify(path)}).on('error', e => console.log(e.code)).on('connect', () => { console.log('connected'); process.exit() })`;
  const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '-e', script];
  const { stdout } = await output('setpriv', asNobody, {});
  t.equal(stdout.trim(), 'EACCES');
});

t.test('errors come back as what they are', async t => {
  const path = await aServer(t, {
    status: () => {
      throw new CliError(20, 'it is not saved.');
    },
    unsaved: () => Promise.reject(new FsError('ENOENT', 'no such name')),
    why: () => {
      throw new TypeError('a bug with a secret in it');
    },
  });
  await t.rejects(askDaemon(path, { do: 'status' }), { exitCode: 20, message: 'it is not saved.' });
  await t.rejects(askDaemon(path, { do: 'unsaved' }), { message: 'no such name.' });
  await t.rejects(askDaemon(path, { do: 'why', path: '' }), { exitCode: 4, message: /its log says more/ });
  await t.rejects(askDaemon(`${path}.none`, { do: 'status' }), NoAnswer);
});

t.test('who says nothing, or too much, or rubbish is cut off, and the others are served', async t => {
  const path = await aServer(t, {}, 200);
  const silent = said(path, '');
  t.match(await said(path, 'x'.repeat(MAX_REQUEST)), /too long/);
  t.match(await said(path, '\u0000\u0001{{{\n'), /not a line of JSON/);
  t.match(await said(path, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'), /not a line of JSON/);
  t.match(
    await said(path, '{"do":"status"}\n{"do":"status"}\n'),
    /^\{"result":\{"fine":true\}\}\n$/,
    'one question each',
  );
  t.match(await silent, /no request came/);
  t.same(await askDaemon(path, { do: 'status' }), { fine: true });
});

t.test('many at once', async t => {
  const path = await aServer(t, {}, 300);
  const crowd = Array.from({ length: 60 }, () => said(path, '').catch(error => String(error)));
  await Promise.all(crowd);
  t.same(await askDaemon(path, { do: 'status' }), { fine: true });
});

t.test('an asker who goes ends the waiting; one who does not read loses progress, not the daemon', async t => {
  let gone!: () => void;
  const went = new Promise<void>(resolve => {
    gone = resolve;
  });
  const path = await aServer(t, {
    flush: async (_, progress, signal) => {
      for (let i = 0; i < 20_000; i++) progress({ text: 'x'.repeat(1000) });
      signal.addEventListener('abort', gone);
      await went;
      return null;
    },
  });
  const socket = connect(path, () => socket.write('{"do":"flush","path":""}\n'));
  socket.pause();
  await new Promise(resolve => void setTimeout(resolve, 100));
  t.ok(process.memoryUsage().rss < 1e9);
  socket.destroy();
  await went;
  t.same(await askDaemon(path, { do: 'status' }), { fine: true });
});

t.test('a path longer than an address, and a socket that was left behind', async t => {
  const long = join(realpathSync(mkdtempSync(join(tmpdir(), 's3mount-control-'))), 'd'.repeat(120));
  await output('mkdir', ['-p', long], {});
  const path = join(long, 'a.sock');
  writeFileSync(path, '');
  const server = await ControlServer.listen(path, nothing, silentTelemetry.log);
  t.same(await askDaemon(path, { do: 'status' }), { fine: true });
  server.close();
  await t.rejects(askDaemon(path, { do: 'status' }), NoAnswer);
});
