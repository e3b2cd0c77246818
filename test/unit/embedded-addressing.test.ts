/** How the server is reached: names, regions, TLS. */
import { X509Certificate } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { GetObjectCommand, HeadBucketCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { makeCertificates } from '../../src/embedded-s3/certificate.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';

async function start(t: Test, options: EmbeddedS3Options = {}): Promise<EmbeddedS3> {
  const server = await startEmbeddedS3({
    buckets: ['plain', { name: 'victor-seoul', region: 'ap-northeast-2' }],
    hostNames: ['store.example'],
    ...options,
  });
  t.teardown(() => server.close());
  return server;
}

interface Answer {
  readonly status: number;
  readonly region: string | undefined;
  readonly body: string;
}

/** The server under another name, as /etc/hosts would do it. */
function ask(server: EmbeddedS3, host: string, path: string, method = 'GET'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: server.port, path, method, headers: { host }, agent: false as const };
    const request = http.request(options, response => {
      let body = '';
      response.on('data', piece => {
        body += piece;
      });
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          region: response.headers['x-amz-bucket-region'] as string | undefined,
          body,
        }),
      );
    });
    request.on('error', reject);
    request.end();
  });
}

t.test('a bucket may stand in the path or in front of the name', async t => {
  const server = await start(t, { verifySignatures: false });
  server.putObject('plain', 'dir/한글 +%', 'found');
  const key = '/dir/%ED%95%9C%EA%B8%80%20%2B%25';
  for (const host of [
    '127.0.0.1',
    'localhost:9000',
    '[::1]:80',
    'store.example',
    's3.us-east-1.amazonaws.com',
    's3.amazonaws.com',
  ]) {
    t.equal((await ask(server, host, `/plain${key}`)).body, 'found', host);
  }
  for (const host of [
    'plain.localhost',
    'plain.s3.localhost:9000',
    'plain.store.example',
    'plain.s3.amazonaws.com',
    'plain.s3.us-east-1.amazonaws.com',
    'plain.s3.dualstack.us-east-1.amazonaws.com',
    'plain.s3-us-east-1.amazonaws.com',
  ]) {
    t.equal((await ask(server, host, key)).body, 'found', host);
  }
});

t.test('another region’s endpoint is 301 and names the right one, even to strangers', async t => {
  const server = await start(t);
  for (const [host, path] of [
    ['s3.us-east-1.amazonaws.com', '/victor-seoul'],
    ['victor-seoul.s3.eu-west-1.amazonaws.com', '/'],
    ['s3.amazonaws.com', '/victor-seoul'],
  ] as const) {
    const got = await ask(server, host, path);
    t.equal(got.status, 301, host);
    t.equal(got.region, 'ap-northeast-2', host);
    t.match(got.body, '<Code>PermanentRedirect</Code>');
    t.match(got.body, '<Endpoint>victor-seoul.s3.ap-northeast-2.amazonaws.com</Endpoint>');
    t.equal((await ask(server, host, path, 'HEAD')).region, 'ap-northeast-2');
  }
});

t.test('strangers learn the region from a HEAD that is refused', async t => {
  const server = await start(t);
  const head = await ask(server, 'victor-seoul.s3.ap-northeast-2.amazonaws.com', '/', 'HEAD');
  t.equal(head.status, 403);
  t.equal(head.region, 'ap-northeast-2');
});

t.test('the SDK with the wrong region gets 400 with the right one, and with the right one is served', async t => {
  const server = await start(t);
  const client = (region: string): S3Client =>
    new S3Client({
      endpoint: server.url,
      region,
      forcePathStyle: true,
      credentials: server.credential,
      maxAttempts: 1,
    });
  const wrong = client('us-east-1');
  const right = client('ap-northeast-2');
  t.teardown(() => {
    wrong.destroy();
    right.destroy();
  });
  await t.rejects(wrong.send(new ListObjectsV2Command({ Bucket: 'victor-seoul' })), {
    name: 'AuthorizationHeaderMalformed',
    Region: 'ap-northeast-2',
    $metadata: { httpStatusCode: 400 },
  });
  const refused = await wrong.send(new HeadBucketCommand({ Bucket: 'victor-seoul' })).catch((error: unknown) => error);
  t.match(refused, {
    $metadata: { httpStatusCode: 400 },
    $response: { headers: { 'x-amz-bucket-region': 'ap-northeast-2' } },
  });
  const head = await right.send(new HeadBucketCommand({ Bucket: 'victor-seoul' }));
  t.equal(head.BucketRegion, 'ap-northeast-2');
});

t.test('TLS: trusted by its CA, under each of its names and no other', async t => {
  const server = await start(t, {
    tls: { names: ['s3.ap-northeast-2.amazonaws.com', '*.s3.ap-northeast-2.amazonaws.com'] },
  });
  server.putObject('victor-seoul', 'k', 'safe');
  t.match(server.url, /^https:/);
  const reach = (servername: string, ca: string | undefined): Promise<number> =>
    new Promise((resolve, reject) => {
      const request = https.request(
        { host: '127.0.0.1', port: server.port, path: '/', servername, ca, agent: false },
        response => {
          response.resume();
          resolve(response.statusCode ?? 0);
        },
      );
      request.on('error', reject);
      request.end();
    });
  for (const name of ['localhost', 's3.ap-northeast-2.amazonaws.com', 'victor-seoul.s3.ap-northeast-2.amazonaws.com']) {
    t.equal(await reach(name, server.ca), 403, name);
  }
  await t.rejects(reach('elsewhere.example', server.ca), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  await t.rejects(reach('localhost', undefined), 'nobody trusts it without the CA');
  await t.rejects(reach('localhost', makeCertificates().ca), 'nor by another CA of the same name');
  const client = new S3Client({
    endpoint: server.url,
    region: 'ap-northeast-2',
    forcePathStyle: true,
    credentials: server.credential,
    requestHandler: { httpsAgent: new https.Agent({ ca: server.ca }) },
  });
  t.teardown(() => client.destroy());
  const got = await client.send(new GetObjectCommand({ Bucket: 'victor-seoul', Key: 'k' }));
  t.equal(await got.Body?.transformToString(), 'safe');
});

t.test('certificates: what X.509 readers see', async t => {
  const made = makeCertificates(['10.1.2.3', 'fd00::1:2']);
  const ca = new X509Certificate(made.ca);
  const leaf = new X509Certificate(made.cert);
  t.ok(ca.ca);
  t.notOk(leaf.ca);
  t.ok(leaf.checkIssued(ca));
  t.ok(leaf.verify(ca.publicKey));
  t.equal(leaf.checkIP('10.1.2.3'), '10.1.2.3');
  t.equal(leaf.checkIP('127.0.0.1'), '127.0.0.1');
  t.match(leaf.subjectAltName, 'IP Address:FD00:0:0:0:0:0:1:2');
  t.match(leaf.subjectAltName, 'DNS:*.s3.localhost');
  t.ok(Date.parse(leaf.validFrom) < Date.now() && Date.parse(leaf.validTo) > Date.now());
});
