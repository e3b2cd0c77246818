/** Where a bucket is, on networks as they are: some of AWS's names lead somewhere, others to nobody, others do not exist. */
import net from 'node:net';
import t, { type Test } from 'tap';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { HttpError } from '../../src/s3/http-message.ts';
import type { Tunnel } from '../../src/s3/http-pool.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import { credentialEndpoints } from '../support/credential-endpoints.ts';

const SEOUL = 'ap-northeast-2';
const nameIn = (region: string): string => `victor-seoul.s3.${region}.amazonaws.com`;
const GLOBAL = 's3.amazonaws.com';
const NAMES = [nameIn(SEOUL), nameIn('eu-west-1'), GLOBAL];

/** ms for each that is asked, and what a search takes that waits for none of the silent: far less, on any machine. */
const PATIENCE = 60_000;
const UNHELD = 30_000;

async function seoul(t: Test): Promise<EmbeddedS3> {
  const s3 = await startEmbeddedS3({ buckets: [{ name: 'victor-seoul', region: SEOUL }], tls: { names: NAMES } });
  t.teardown(() => s3.close());
  for (const name of Object.keys(process.env)) if (/^AWS/.test(name)) delete process.env[name];
  process.env['HOME'] = t.testdir();
  return s3;
}

/** A network in which only `names` exist; those of `silent` take packets and never answer. */
function network(port: number, names: readonly string[], silent: readonly string[] = []): Tunnel {
  return ({ host }) => {
    if (silent.includes(host)) return new Promise(() => {});
    if (!names.includes(host)) return Promise.reject(new HttpError('dns', `the name ${host} does not resolve`, false));
    return new Promise(resolve => {
      const socket: net.Socket = net.connect(port, '127.0.0.1', () => resolve(socket));
    });
  };
}

async function regionOf(
  t: Test,
  s3: EmbeddedS3,
  tunnel: Tunnel,
  instanceMetadata?: string,
  region = PATIENCE,
): Promise<string> {
  const store = await openS3Store({
    bucket: 'victor-seoul',
    credentials: async () => s3.credential,
    tls: { ca: s3.ca! },
    tunnel,
    timeouts: { region },
    ...(instanceMetadata === undefined ? {} : { instanceMetadata }),
  });
  t.teardown(() => store.close());
  await store.probe();
  return store.place.region;
}

t.test('a private subnet: only the one regional name exists, and the instance knows where it is', async t => {
  const s3 = await seoul(t);
  const fake = await credentialEndpoints(t, { accessKeyId: 'x', secretAccessKey: 'x', sessionToken: 'x' });
  const began = performance.now();
  t.equal(await regionOf(t, s3, network(s3.port, [nameIn(SEOUL)], [GLOBAL]), fake.url), SEOUL);
  t.ok(performance.now() - began < UNHELD, 'without waiting for the global endpoint');
  t.same(fake.asked, ['PUT /latest/api/token', 'GET /latest/meta-data/placement/region']);
});

t.test('AWS_REGION tells it, and nobody else is asked', async t => {
  const s3 = await seoul(t);
  process.env['AWS_REGION'] = SEOUL;
  t.equal(await regionOf(t, s3, network(s3.port, [nameIn(SEOUL)], [GLOBAL])), SEOUL);
});

t.test('the instance is in another region than the bucket: the endpoint there says so', async t => {
  const s3 = await seoul(t);
  const fake = await credentialEndpoints(t, { accessKeyId: 'x', secretAccessKey: 'x', sessionToken: 'x' });
  fake.region = 'eu-west-1';
  t.equal(await regionOf(t, s3, network(s3.port, [nameIn('eu-west-1'), nameIn(SEOUL)]), fake.url), SEOUL);
});

t.test('a laptop: no region anywhere, the global endpoint is asked', async t => {
  const s3 = await seoul(t);
  t.equal(await regionOf(t, s3, network(s3.port, [GLOBAL, nameIn(SEOUL)])), SEOUL);
});

t.test('a metadata service that takes packets and stays silent does not hold up a laptop', async t => {
  const s3 = await seoul(t);
  const fake = await credentialEndpoints(t, { accessKeyId: 'x', secretAccessKey: 'x', sessionToken: 'x' });
  fake.silent = 10;
  const began = performance.now();
  t.equal(await regionOf(t, s3, network(s3.port, [GLOBAL, nameIn(SEOUL)]), fake.url), SEOUL);
  t.ok(performance.now() - began < UNHELD, 'the global endpoint was asked meanwhile');
});

t.test('AWS_REGION names a place out of reach', async t => {
  const s3 = await seoul(t);
  process.env['AWS_REGION'] = 'us-west-2';
  t.equal(await regionOf(t, s3, network(s3.port, [GLOBAL, nameIn(SEOUL)], [nameIn('us-west-2')])), SEOUL);
});

t.test('an access point: by its ARN, copies too', async t => {
  const host = 'reports-123456789012.s3-accesspoint.ap-northeast-2.amazonaws.com';
  const s3 = await startEmbeddedS3({ buckets: [{ name: 'reports', region: SEOUL }], tls: { names: [host] } });
  t.teardown(() => s3.close());
  const store = await openS3Store({
    bucket: `arn:aws:s3:${SEOUL}:123456789012:accesspoint/reports`,
    prefix: 'a b/',
    credentials: async () => s3.credential,
    tls: { ca: s3.ca! },
    tunnel: network(s3.port, [host]),
  });
  t.teardown(() => store.close());
  await store.probe();
  await store.put('x', [Buffer.from('x')], { headers: {}, metadata: {} }, { ifAbsent: true });
  await store.copy(await store.head('x'), 'y', undefined, { ifAbsent: true });
  await store.deleteMany(['x']);
  t.same(s3.listKeys('reports'), ['a b/y']);
});
