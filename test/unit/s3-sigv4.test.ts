import { createHash, createHmac } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import {
  amzDate,
  canonicalQuery,
  EMPTY_PAYLOAD_HASH,
  encodePath,
  SignedBlocks,
  Signer,
  sha256Hex,
  UNSIGNED_PAYLOAD,
} from '../../src/s3/sigv4.ts';

// Amazon S3 API Reference, "Authenticating Requests (AWS Signature Version 4)", the examples of single requests.
const EXAMPLE = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' };
const SCOPE = { region: 'us-east-1', service: 's3' };
const HOST = 'examplebucket.s3.amazonaws.com';
const TIME = Date.UTC(2013, 4, 24);

function signatureOf(lines: string): string | undefined {
  return /Signature=([0-9a-f]{64})\r\n$/.exec(lines)?.[1];
}

t.test('the documented example of GET Object', async t => {
  const lines = new Signer(EXAMPLE, SCOPE).sign(
    {
      method: 'GET',
      host: HOST,
      path: '/test.txt',
      query: '',
      headers: [['range', 'bytes=0-9']],
      payloadHash: EMPTY_PAYLOAD_HASH,
    },
    TIME,
  );
  t.equal(signatureOf(lines), 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
  t.match(lines, 'SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,');
  t.match(lines, 'Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,');
  t.notMatch(lines, /^host:/m, 'Host is signed, and written with the request line');
});

t.test('the documented example of PUT Object', async t => {
  const lines = new Signer(EXAMPLE, SCOPE).sign(
    {
      method: 'PUT',
      host: HOST,
      path: encodePath('/test$file.text'),
      query: '',
      headers: [
        ['date', 'Fri, 24 May 2013 00:00:00 GMT'],
        ['x-amz-storage-class', 'REDUCED_REDUNDANCY'],
      ],
      payloadHash: sha256Hex([Buffer.from('Welcome to Amazon S3.')]),
    },
    TIME,
  );
  t.equal(signatureOf(lines), '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd');
});

t.test('the documented examples with query parameters', async t => {
  const signer = new Signer(EXAMPLE, SCOPE);
  const sign = (query: string): string | undefined =>
    signatureOf(
      signer.sign({ method: 'GET', host: HOST, path: '/', query, headers: [], payloadHash: EMPTY_PAYLOAD_HASH }, TIME),
    );
  t.equal(
    sign(canonicalQuery([['lifecycle', '']])),
    'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
  );
  t.equal(
    sign(
      canonicalQuery([
        ['prefix', 'J'],
        ['max-keys', '2'],
      ]),
    ),
    '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
  );
});

t.test('names are encoded once, byte by byte', async t => {
  t.equal(encodePath('/a b/c+d=e%f'), '/a%20b/c%2Bd%3De%25f');
  t.equal(encodePath('/한글'), '/%ED%95%9C%EA%B8%80');
  t.equal(encodePath("/a//b/./../!'()*~"), '/a//b/./../%21%27%28%29%2A~');
  t.equal(encodePath('/😀'), '/%F0%9F%98%80');
  t.throws(() => encodePath('/\ud800'), URIError, 'half a pair has no UTF-8');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), text => {
      const encoded = encodePath(text);
      return /^(?:[A-Za-z0-9\-._~/]|%[0-9A-F]{2})*$/.test(encoded) && decodeURIComponent(encoded) === text;
    }),
  );
});

t.test('parameters are in the order of their bytes', async t => {
  t.equal(
    canonicalQuery([
      ['prefix', 'a b'],
      ['list-type', '2'],
      ['delimiter', '/'],
    ]),
    'delimiter=%2F&list-type=2&prefix=a%20b',
  );
});

t.test('the session token is signed', async t => {
  const lines = new Signer({ ...EXAMPLE, sessionToken: 'to/ken==' }, SCOPE).sign(
    { method: 'HEAD', host: HOST, path: '/k', query: '', headers: [], payloadHash: UNSIGNED_PAYLOAD },
    TIME,
  );
  t.match(lines, 'x-amz-security-token: to/ken==\r\n');
  t.match(lines, 'SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,');
  t.match(lines, 'x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n');
});

t.test('spaces within a header count once, as AWS counts them', async t => {
  const signer = new Signer(EXAMPLE, SCOPE);
  const sign = (value: string): string | undefined =>
    signatureOf(
      signer.sign(
        {
          method: 'PUT',
          host: HOST,
          path: '/k',
          query: '',
          headers: [['x-amz-meta-a', value]],
          payloadHash: UNSIGNED_PAYLOAD,
        },
        TIME,
      ),
    );
  t.equal(sign('  a   b '), sign('a b'));
  t.not(sign('a b'), sign('ab'));
});

t.test('the key of the day is derived anew on the next day', async t => {
  const signer = new Signer(EXAMPLE, SCOPE);
  const request = { method: 'GET', host: HOST, path: '/k', query: '', headers: [], payloadHash: UNSIGNED_PAYLOAD };
  for (const time of [TIME, TIME + 86_400_000, TIME]) {
    const lines = signer.sign(request, time);
    t.equal(signatureOf(lines), byTheBook(time), amzDate(time));
  }
  function byTheBook(time: number): string {
    const date = new Date(time).toISOString().replace(/[-:]|\.000/g, '');
    const day = date.slice(0, 8);
    const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
    const key = ['us-east-1', 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${EXAMPLE.secretAccessKey}`, day));
    const canonical = `GET\n/k\n\nhost:${HOST}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:${date}\n\nhost;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD`;
    const hash = createHash('sha256').update(canonical).digest('hex');
    return hmac(key, `AWS4-HMAC-SHA256\n${date}\n${day}/us-east-1/s3/aws4_request\n${hash}`).toString('hex');
  }
});

t.test('a block of signed headers serves one key for a while', async t => {
  const blocks = new SignedBlocks(new Signer(EXAMPLE, SCOPE), UNSIGNED_PAYLOAD, []);
  const first = blocks.get(HOST, '/a', TIME);
  t.equal(blocks.get(HOST, '/a', TIME + 60_000), first);
  t.not(blocks.get(HOST, '/b', TIME + 60_000), first);
  t.not(blocks.get('other.example', '/a', TIME + 60_000), first);
  const later = blocks.get(HOST, '/a', TIME + 6 * 60_000);
  t.not(later, first, 'S3 takes no date that is much older');
  t.not(blocks.get(HOST, '/a', TIME), later, 'nor one from the future, when the clock was set back');
  for (let i = 0; i < 2_000; i++) blocks.get(HOST, `/${i}`, TIME);
  t.match(blocks.get(HOST, '/a', TIME), 'x-amz-date: 20130524T000000Z', 'it forgets, and signs anew');
  const used = blocks.get(HOST, '/1999', TIME + 1000);
  t.match(used, 'x-amz-date: 20130524T000000Z', 'not what was used last');
  for (let i = 0; i < 300; i++) blocks.get(HOST, `/n${i}`, TIME + 1000);
  t.equal(blocks.get(HOST, '/1999', TIME + 1000), used, 'nor what was used since');
});

t.test('a block is signed as a request is, whatever was signed in the same second', async t => {
  const signer = new Signer({ ...EXAMPLE, sessionToken: 'a token' }, SCOPE);
  const headers = [['x-amz-checksum-mode', 'ENABLED']] as const;
  const blocks = new SignedBlocks(signer, UNSIGNED_PAYLOAD, headers);
  const rest = { method: 'GET', query: '', headers, payloadHash: UNSIGNED_PAYLOAD };
  const times = [TIME, TIME + 10, TIME + 5000, TIME + 86_400_000, TIME];
  for (const [i, time] of times.entries()) {
    for (const host of [HOST, 'other.example']) {
      const path = `/${'é'.repeat(i * 100)}${host}`;
      const fresh = new Signer({ ...EXAMPLE, sessionToken: 'a token' }, SCOPE);
      t.equal(blocks.get(host, path, time), fresh.sign({ ...rest, host, path }, time));
    }
  }
});
