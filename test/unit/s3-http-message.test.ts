import fc from 'fast-check';
import t from 'tap';
import { ChunkedDecoder, HttpError, parseResponseHead } from '../../src/s3/http-message.ts';

t.test('an answer of S3', async t => {
  const head = parseResponseHead(
    'HTTP/1.1 206 Partial Content\r\nETag: "a"\r\nContent-Length: 10\r\nX-Amz-Meta-Name:  v\u00e4lue \r\nx-empty:',
    'GET',
  );
  t.equal(head.status, 206);
  t.equal(head.framing, 10);
  t.equal(head.keepAlive, true);
  t.equal(head.headers.get('etag'), '"a"');
  t.equal(head.headers.get('x-amz-meta-name'), 'v\u00e4lue');
  t.equal(head.headers.get('x-empty'), '');
});

t.test('how a body ends', async t => {
  const framing = (method: string, line: string, ...headers: string[]): unknown =>
    parseResponseHead([line, ...headers].join('\r\n'), method).framing;
  t.equal(framing('HEAD', 'HTTP/1.1 200 OK', 'content-length: 5'), 0);
  t.equal(framing('GET', 'HTTP/1.1 204 No Content', 'content-length: 5'), 0);
  t.equal(framing('GET', 'HTTP/1.1 304 Not Modified'), 0);
  t.equal(framing('GET', 'HTTP/1.1 200 OK', 'transfer-encoding: Chunked'), 'chunked');
  t.equal(framing('GET', 'HTTP/1.1 200 OK'), 'close');
  t.equal(framing('GET', 'HTTP/1.1 200 OK', 'content-length: 7', 'content-length: 7'), 7);
  const both = parseResponseHead('HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked', 'GET');
  t.equal(both.framing, 'chunked');
  t.equal(both.keepAlive, false, 'two lengths: the connection is not trusted any more');
});

t.test('whether the connection stays', async t => {
  const keeps = (line: string, connection?: string): boolean =>
    parseResponseHead(connection === undefined ? line : `${line}\r\nConnection: ${connection}`, 'GET').keepAlive;
  t.equal(keeps('HTTP/1.1 200 OK'), true);
  t.equal(keeps('HTTP/1.1 200'), true, 'without a reason phrase');
  t.equal(keeps('HTTP/1.1 200 OK', 'Close'), false);
  t.equal(keeps('HTTP/1.0 200 OK'), false);
  t.equal(keeps('HTTP/1.0 200 OK', 'keep-alive'), true);
});

t.test('what is no answer', async t => {
  for (const text of [
    '',
    'SSH-2.0-OpenSSH_9.2',
    'HTTP/2 200 OK',
    'HTTP/1.1 99 Low',
    'HTTP/1.1 2000 High',
    'HTTP/1.1 200 OK\r\nno colon',
    'HTTP/1.1 200 OK\r\n: no name',
    'HTTP/1.1 200 OK\r\nspace in name: x',
    'HTTP/1.1 200 OK\r\na: b\r\n folded',
    'HTTP/1.1 200 OK\r\na: b\nc: d',
    'HTTP/1.1 200 OK\r\na: b\0',
    'HTTP/1.1 200 OK\r\ncontent-length: -1',
    'HTTP/1.1 200 OK\r\ncontent-length: 0x10',
    'HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999',
    'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2',
    'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked',
  ]) {
    t.throws(() => parseResponseHead(text, 'GET'), HttpError, JSON.stringify(text));
  }
});

t.test('no text does anything but parse or throw HttpError', async () => {
  const start = fc.constantFrom('HTTP/1.1 200 OK\r\n', 'HTTP/1.1 ', '', 'HTTP/1.0 404 x\r\ncontent-length: ');
  fc.assert(
    fc.property(start, fc.string({ unit: 'binary' }), (first, rest) => {
      try {
        const head = parseResponseHead(first + rest, 'GET');
        return typeof head.framing === 'string' || Number.isSafeInteger(head.framing);
      } catch (error) {
        return error instanceof HttpError && error.code === 'bad-answer';
      }
    }),
    { numRuns: 3_000 },
  );
});

function decode(pieces: readonly Uint8Array[]): { text: string; done: boolean; used: number } {
  const decoder = new ChunkedDecoder();
  let text = '';
  let used = 0;
  for (const piece of pieces) {
    used += decoder.push(piece, data => {
      text += Buffer.from(data).toString('latin1');
    });
  }
  return { text, done: decoder.done, used };
}

t.test('the chunked coding, cut anywhere', async t => {
  const coded = Buffer.from('5;ext=1\r\nhello\r\n1A \r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer: x\r\n\r\nNEXT');
  t.same(decode([coded]), { text: 'helloabcdefghijklmnopqrstuvwxyz', done: true, used: coded.length - 4 });
  fc.assert(
    fc.property(fc.array(fc.nat(coded.length), { maxLength: 12 }), cuts => {
      const at = [0, ...[...cuts].sort((a, b) => a - b), coded.length];
      const pieces = at.slice(1).map((end, i) => coded.subarray(at[i], end));
      t.same(decode(pieces), { text: 'helloabcdefghijklmnopqrstuvwxyz', done: true, used: coded.length - 4 });
    }),
    { numRuns: 200 },
  );
});

t.test('a chunked coding that is broken', async t => {
  for (const text of [
    'x\r\n',
    '\r\n',
    '5\nhello',
    '5\r\nhelloX\r\n',
    '-1\r\n',
    'FFFFFFFFFFFFFF\r\n',
    `1;${'x'.repeat(5_000)}`,
  ]) {
    t.throws(() => decode([Buffer.from(text)]), HttpError, JSON.stringify(text.slice(0, 20)));
  }
  const endless = Buffer.from(`0\r\n${'a: b\r\n'.repeat(2_000)}`);
  t.throws(() => decode([endless]), HttpError, 'trailers without end');
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), pieces => {
      try {
        decode(pieces);
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
      }
    }),
    { numRuns: 1_000 },
  );
});
