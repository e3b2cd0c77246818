/** The worked examples of "Authenticating Requests (AWS Signature Version 4)" in the Amazon S3 API Reference. */

import { createHash, createHmac } from 'node:crypto';
import t from 'tap';
import { parseAddress, parseQuery } from '../../src/embedded-s3/address.ts';
import { AwsChunkedDecoder } from '../../src/embedded-s3/aws-chunked.ts';
import { toByteString } from '../../src/embedded-s3/byte-string.ts';
import { S3Failure } from '../../src/embedded-s3/s3-error.ts';
import { type Credential, PieceSignatures, type Signed, verifySignature } from '../../src/embedded-s3/signature.ts';

const EXAMPLE: Credential = {
  accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
};
const EXAMPLE_TIME = Date.UTC(2013, 4, 24);
const NOTHING = createHash('sha256').digest('hex');

interface Sent {
  readonly method?: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly credential?: Credential;
  readonly now?: number;
  readonly region?: string;
}

function verify({
  method = 'GET',
  url,
  headers,
  credential = EXAMPLE,
  now = EXAMPLE_TIME,
  region = 'us-east-1',
}: Sent) {
  const [path = '', query = ''] = url.split('?', 2);
  const pairs = parseQuery(query);
  return verifySignature(
    {
      method,
      path: parseAddress(path, headers['host'] ?? '', []).path,
      pairs,
      query: new Map(pairs),
      headers,
      rawHeaders: Object.entries(headers).flat(),
    },
    { credentials: new Map([[credential.accessKeyId, credential]]), region, service: 's3', now },
  );
}

function codeOf(run: () => unknown): string {
  try {
    run();
    return 'none';
  } catch (error) {
    return error instanceof S3Failure ? error.code : String(error);
  }
}

const authorization = (signedHeaders: string, signature: string): string =>
  `AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=${signedHeaders},Signature=${signature}`;

const GET_OBJECT: Sent = {
  url: '/test.txt',
  headers: {
    host: 'examplebucket.s3.amazonaws.com',
    range: 'bytes=0-9',
    'x-amz-content-sha256': NOTHING,
    'x-amz-date': '20130524T000000Z',
    authorization: authorization(
      'host;range;x-amz-content-sha256;x-amz-date',
      'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    ),
  },
};

t.test('the documented GET of an object', async t => {
  t.equal(verify(GET_OBJECT)?.credential, EXAMPLE);
  t.equal(
    codeOf(() => verify({ ...GET_OBJECT, url: '/test.tx' })),
    'SignatureDoesNotMatch',
  );
  t.equal(
    codeOf(() => verify({ ...GET_OBJECT, method: 'HEAD' })),
    'SignatureDoesNotMatch',
  );
});

t.test('the documented PUT, with a $ in the key and metadata-like headers', async t => {
  const sent: Sent = {
    method: 'PUT',
    url: '/test%24file.text',
    headers: {
      host: 'examplebucket.s3.amazonaws.com',
      date: 'Fri, 24 May 2013 00:00:00 GMT',
      'x-amz-content-sha256': '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      'x-amz-date': '20130524T000000Z',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      authorization: authorization(
        'date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class',
        '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
      ),
    },
  };
  t.ok(verify(sent));
  // The same path, not encoded: S3 signs what it means, not how it was written.
  t.ok(verify({ ...sent, url: '/test$file.text' }));
});

t.test('the documented listing, whose query is sorted and encoded', async t => {
  const headers = {
    host: 'examplebucket.s3.amazonaws.com',
    'x-amz-content-sha256': NOTHING,
    'x-amz-date': '20130524T000000Z',
  };
  const list = '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7';
  const lifecycle = 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543';
  const signed = 'host;x-amz-content-sha256;x-amz-date';
  for (const url of ['/?max-keys=2&prefix=J', '/?prefix=J&max-keys=2', '/?prefix=%4A&max-keys=2']) {
    t.ok(verify({ url, headers: { ...headers, authorization: authorization(signed, list) } }), url);
  }
  t.ok(verify({ url: '/?lifecycle', headers: { ...headers, authorization: authorization(signed, lifecycle) } }));
});

const PRESIGNED =
  '/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request' +
  '&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host' +
  '&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404';

t.test('the documented presigned URL, for as long as it holds', async t => {
  const headers = { host: 'examplebucket.s3.amazonaws.com' };
  t.ok(verify({ url: PRESIGNED, headers }));
  t.ok(verify({ url: PRESIGNED, headers, now: EXAMPLE_TIME + 86_400_000 }));
  t.equal(
    codeOf(() => verify({ url: PRESIGNED, headers, now: EXAMPLE_TIME + 86_401_000 })),
    'AccessDenied',
  );
  t.equal(
    codeOf(() => verify({ url: PRESIGNED, headers, now: EXAMPLE_TIME - 16 * 60_000 })),
    'AccessDenied',
  );
  t.equal(
    codeOf(() => verify({ url: PRESIGNED.replace('86400', '604801'), headers })),
    'AuthorizationQueryParametersError',
  );
  t.equal(
    codeOf(() => verify({ url: PRESIGNED.replace('86400', '86399'), headers })),
    'SignatureDoesNotMatch',
  );
});

t.test('what else is wrong has its own code', async t => {
  const changed = (headers: Record<string, string>, rest: Partial<Sent> = {}): Sent => ({
    ...GET_OBJECT,
    ...rest,
    headers: { ...GET_OBJECT.headers, ...headers },
  });
  const auth = GET_OBJECT.headers['authorization']!;
  t.equal(
    codeOf(() => verify(changed({}, { now: EXAMPLE_TIME + 901_000 }))),
    'RequestTimeTooSkewed',
  );
  t.equal(
    codeOf(() => verify(changed({}, { now: EXAMPLE_TIME + 899_000 }))),
    'none',
  );
  t.equal(
    codeOf(() => verify(changed({}, { region: 'eu-west-1' }))),
    'AuthorizationHeaderMalformed',
  );
  t.equal(
    codeOf(() => verify(changed({ 'x-amz-acl': 'private' }))),
    'AccessDenied',
  );
  t.equal(
    codeOf(() => verify(changed({ 'x-amz-security-token': 'T' }))),
    'InvalidToken',
  );
  t.equal(
    codeOf(() => verify(changed({ authorization: auth.replace('/s3/', '/sqs/') }))),
    'AuthorizationHeaderMalformed',
  );
  t.equal(
    codeOf(() => verify(changed({ authorization: auth.replace('EXAMPLE/', '/') }))),
    'InvalidAccessKeyId',
  );
  t.equal(
    codeOf(() => verify(changed({ authorization: 'AWS AKIA:sig' }))),
    'InvalidRequest',
  );
  t.equal(
    codeOf(() => verify(changed({ authorization: 'Bearer x' }))),
    'InvalidArgument',
  );
  t.equal(verify({ url: '/test.txt', headers: { host: 'examplebucket.s3.amazonaws.com' } }), undefined, 'anonymous');
  try {
    verify(changed({}, { region: 'ap-northeast-2' }));
    t.fail('another region was taken');
  } catch (error) {
    // Both are how clients find the bucket's region.
    t.match(error, { fields: { Region: 'ap-northeast-2' }, headers: { 'x-amz-bucket-region': 'ap-northeast-2' } });
  }
});

/** Signs as a client does that was written from the specification, apart from the server's code. */
function signedHeaders(path: string, host: string, credential: Credential): Record<string, string> {
  const headers: Record<string, string> = {
    host,
    'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
    'x-amz-date': '20130524T000000Z',
    ...(credential.sessionToken === undefined ? {} : { 'x-amz-security-token': credential.sessionToken }),
  };
  const names = Object.keys(headers).sort();
  const canonical = [
    'GET',
    path,
    '',
    ...names.map(name => `${name}:${headers[name]}`),
    '',
    names.join(';'),
    'UNSIGNED-PAYLOAD',
  ];
  const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const key = ['us-east-1', 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${credential.secretAccessKey}`, '20130524'));
  const hash = createHash('sha256').update(canonical.join('\n')).digest('hex');
  const text = `AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n${hash}`;
  headers['authorization'] = authorization(names.join(';'), hmac(key, text).toString('hex'));
  return headers;
}

t.test('paths are encoded once and never normalised', async t => {
  for (const path of [
    '/b/%ED%95%9C%EA%B8%80',
    '/b/a%20b',
    '/b/a%2Bb',
    '/b/100%25%2525',
    '/b/x%3D1',
    '/b//two///three/',
    '/b/./../x',
  ]) {
    t.ok(verify({ url: path, headers: signedHeaders(path, '127.0.0.1', EXAMPLE) }), path);
  }
  const doubled = signedHeaders('/b/a%2520b', '127.0.0.1', EXAMPLE);
  t.equal(
    codeOf(() => verify({ url: '/b/a%20b', headers: doubled })),
    'SignatureDoesNotMatch',
  );
  t.equal(parseAddress('/b/%ED%95%9C', '127.0.0.1', []).key, toByteString('한'));
});

t.test('temporary credentials need their token', async t => {
  const temporary = { ...EXAMPLE, sessionToken: 'TOKEN' };
  const verifyWith = (token?: string): unknown =>
    verify({
      url: '/b/k',
      credential: temporary,
      headers: signedHeaders('/b/k', 'h', token === undefined ? EXAMPLE : { ...EXAMPLE, sessionToken: token }),
    });
  t.ok(verifyWith('TOKEN'));
  t.equal(
    codeOf(() => verifyWith('OTHER')),
    'InvalidToken',
  );
  t.equal(
    codeOf(() => verifyWith()),
    'InvalidAccessKeyId',
  );
});

t.test('the documented upload in signed pieces', async t => {
  const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const signed: Signed = {
    credential: EXAMPLE,
    signingKey: ['us-east-1', 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${EXAMPLE.secretAccessKey}`, '20130524')),
    signature: '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
    timestamp: '20130524T000000Z',
    scope: '20130524/us-east-1/s3/aws4_request',
  };
  const pieces = [
    ['a'.repeat(65_536), 'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648'],
    ['a'.repeat(1024), '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497'],
    ['', 'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9'],
  ] as const;
  const body = pieces
    .map(([data, sig]) => `${data.length.toString(16)};chunk-signature=${sig}\r\n${data}\r\n`)
    .join('');
  for (const step of [1, 7, 65_536, body.length]) {
    const signatures = new PieceSignatures(signed);
    let hash = createHash('sha256');
    let size = 0;
    const decoder = new AwsChunkedDecoder({
      data(bytes) {
        hash.update(bytes);
        size += bytes.length;
      },
      pieceEnd(signature) {
        signatures.piece(hash.digest('hex'), signature);
        hash = createHash('sha256');
      },
    });
    const bytes = Buffer.from(body);
    for (let at = 0; at < bytes.length; at += step) decoder.push(bytes.subarray(at, at + step));
    t.ok(decoder.finished);
    t.equal(size, 66_560, `in steps of ${step}`);
  }
  const wrong = new PieceSignatures(signed);
  t.equal(
    codeOf(() => wrong.piece(createHash('sha256').update('b').digest('hex'), pieces[0][1])),
    'SignatureDoesNotMatch',
  );
});

t.test('aws-chunked: trailers, and bodies that are malformed', async t => {
  const trailers: string[] = [];
  const decoder = new AwsChunkedDecoder({
    data() {},
    trailer: (name, value) => void trailers.push(`${name}=${value}`),
  });
  decoder.push(Buffer.from('2\r\nab\r\n0\r\nx-amz-checksum-crc32: AAAA==\r\n'));
  t.notOk(new AwsChunkedDecoder({ data() {} }).finished);
  decoder.push(Buffer.from('\r\n'));
  t.ok(decoder.finished);
  t.same(trailers, ['x-amz-checksum-crc32=AAAA==']);
  for (const body of ['zz\r\n', '2\r\nabX\r\n', '0\r\nno colon\r\n', `${'1'.repeat(20_000)}`]) {
    t.throws(() => new AwsChunkedDecoder({ data() {} }).push(Buffer.from(body)), S3Failure, body.slice(0, 10));
  }
});
