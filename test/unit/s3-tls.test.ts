/** What is asked of TLS: which certificates are believed, which is shown, which ciphers are spoken. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { networkOptions } from '../../src/cli/network-options.ts';
import type { OptionValues } from '../../src/cli/option-table.ts';
import { makeCertificates } from '../../src/embedded-s3/certificate.ts';
import { originOf } from '../../src/s3/endpoint.ts';
import { HttpTransport } from '../../src/s3/http-transport.ts';

/** A server that answers with the cipher and the name on the client's certificate. */
async function answered(
  values: OptionValues,
  env: Record<string, string>,
  host = 'localhost',
  ca?: string,
): Promise<string> {
  const network = await networkOptions(values, env, ca);
  const transport = new HttpTransport({ ...(network.tls ? { tls: network.tls } : {}) });
  try {
    const { body } = await transport.request({
      origin: originOf(true, host, port),
      method: 'GET',
      head: `GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
    });
    return Buffer.from(body).toString();
  } finally {
    transport.close();
  }
}

const theirs = makeCertificates(['localhost']);
const ours = makeCertificates(['rstudio-box']);
const server = createServer(
  { ...theirs, ca: ours.ca, requestCert: true, rejectUnauthorized: false, maxVersion: 'TLSv1.2' },
  (request, response) => {
    const socket = request.socket as TLSSocket;
    const shown = socket.getPeerCertificate().subjectaltname ?? 'nobody';
    response.end(`${shown} ${socket.getCipher().name}`);
  },
);
await new Promise<void>(resolve => server.listen(0, resolve));
const { port } = server.address() as AddressInfo;
t.teardown(() => void server.close());

t.test('a certificate that nobody vouches for', async t => {
  await t.rejects(answered({}, {}), { code: 'tls' });
  t.match(await answered({}, {}, 'localhost', theirs.ca), /^nobody /, 'AWS_CA_BUNDLE');
  t.match(await answered({ no_check_certificate: true }, {}), /^nobody /);
  t.match(await answered({ no_check_certificate: true }, {}, '127.0.0.2'), /^nobody /, 'nor need it name the host');
});

t.test('a certificate that names another host', async t => {
  await t.rejects(answered({}, {}, '127.0.0.2', theirs.ca), { code: 'tls' });
  t.match(await answered({ ssl_verify_hostname: false }, {}, '127.0.0.2', theirs.ca), /^nobody /);
  await t.rejects(answered({ ssl_verify_hostname: false }, {}, '127.0.0.2'), { code: 'tls' }, 'but it must be trusted');
});

t.test('our own certificate, its key in a file of its own or in the same', async t => {
  const directory = t.testdir();
  const file = (name: string, text: string): string => {
    writeFileSync(join(directory, name), text);
    return join(directory, name);
  };
  const cert = file('cert.pem', ours.cert);
  const key = file('key.pem', ours.key);
  const both = file('both.pem', `${ours.cert}\n${ours.key}`);
  for (const words of [`${cert}::${key}`, `${cert}:PEM:${key}:PEM`, both]) {
    t.match(await answered({ ssl_client_cert: words }, {}, 'localhost', theirs.ca), /rstudio-box/, words);
  }
  for (const [words, message] of [
    [`${cert}:P12`, /only PEM files/],
    [`${cert}:PEM:${key}:PEM:secret`, /must not hold the password/],
    ['cert.pem', /with its whole path/],
    [join(directory, 'missing'), /cannot be read/],
  ] as const) {
    await t.rejects(answered({ ssl_client_cert: words }, {}), { exitCode: 1, message });
  }
});

t.test('ciphers', async t => {
  t.match(
    await answered(
      { cipher_suites: 'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384' },
      {},
      'localhost',
      theirs.ca,
    ),
    /AES256-GCM/,
  );
  t.match(
    await answered(
      { cipher_suites: 'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256' },
      {},
      'localhost',
      theirs.ca,
    ),
    /AES128-GCM/,
  );
});

t.test('addresses of one kind only', async t => {
  for (const [ipresolve, expected] of [
    ['ipv4', /^127\./],
    ['ipv6', /:/],
  ] as const) {
    const { lookup } = await networkOptions({ ipresolve }, {}, undefined);
    const found = await lookup!('localhost').catch(() => []);
    t.ok(
      found.every(address => expected.test(address)),
      ipresolve,
    );
  }
  t.equal((await networkOptions({ ipresolve: 'whatever' }, {}, undefined)).lookup, undefined);
});

t.test('the address of the service by the variables of the AWS CLI', async t => {
  const urlOf = async (env: Record<string, string>, values: OptionValues = {}): Promise<string | undefined> =>
    (await networkOptions(values, env, undefined)).url;
  t.equal(await urlOf({ AWS_ENDPOINT_URL: 'http://a', AWS_ENDPOINT_URL_S3: 'http://b' }), 'http://b');
  t.equal(await urlOf({ AWS_ENDPOINT_URL: 'http://a' }), 'http://a');
  t.equal(await urlOf({ AWS_ENDPOINT_URL: 'http://a' }, { url: 'http://c' }), 'http://c');
  t.equal(await urlOf({ AWS_ENDPOINT_URL: 'http://a', AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' }), undefined);
});
