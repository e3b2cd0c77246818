/** Every request goes through the proxy: the lean path, the SDK's operations, the calls for credentials; but none that must not. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { credentialSources } from '../../src/cli/credential-sources.ts';
import { networkOptions } from '../../src/cli/network-options.ts';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { openS3Store, type S3StoreOptions } from '../../src/s3/open-store.ts';
import { isExcepted } from '../../src/s3/proxy.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import { credentialEndpoints } from '../support/credential-endpoints.ts';
import { loggingProxy } from '../support/logging-proxy.ts';

const HOST = 'works.s3.ap-northeast-2.amazonaws.com';
const PLAIN = { headers: {}, metadata: {} };

async function server(t: Test, tls: boolean): Promise<EmbeddedS3> {
  const s3 = await startEmbeddedS3({
    buckets: [{ name: 'works', region: 'ap-northeast-2' }],
    ...(tls ? { tls: { names: [HOST] } } : {}),
  });
  t.teardown(() => s3.close());
  return s3;
}

async function store(t: Test, s3: EmbeddedS3, options: Partial<S3StoreOptions>): Promise<S3Store> {
  const opened = await openS3Store({
    bucket: 'works',
    region: 'ap-northeast-2',
    credentials: async () => s3.credential,
    retry: { attempts: 1 },
    ...(s3.ca === undefined ? {} : { tls: { ca: s3.ca } }),
    ...options,
  });
  t.teardown(() => opened.close());
  return opened;
}

/** Requests of both kinds: those of the lean path, and those that the SDK words. */
async function useAll(t: Test, at: S3Store): Promise<void> {
  await at.probe();
  const bytes = Buffer.from('through the proxy');
  await at.put('a', [bytes], PLAIN, { ifAbsent: true });
  const target = Buffer.alloc(bytes.length);
  await at.get('a', { offset: 0, length: bytes.length }, { buffers: [target] });
  t.equal(target.toString(), 'through the proxy');
  await at.deleteMany(['a', 'b']);
}

t.test('https: a tunnel for each connection, by names that only the proxy knows', async t => {
  const s3 = await server(t, true);
  const proxy = await loggingProxy(t, { where: target => (target === `${HOST}:443` ? s3.port : undefined) });
  await useAll(t, await store(t, s3, { proxy: { secure: proxy.url } }));
  t.same([...new Set(proxy.log)], [`CONNECT ${HOST}:443`]);
  t.equal(proxy.log.length, s3.stats.connections, 'no connection came past it');
  t.match(s3.stats.requests, { DeleteObjects: 1 }, 'the SDK came this way too');
});

t.test('http: requests with the whole address', async t => {
  const s3 = await server(t, false);
  const proxy = await loggingProxy(t, { where: target => (target === 's3.example.org:9000' ? s3.port : undefined) });
  await useAll(t, await store(t, s3, { url: 'http://s3.example.org:9000', proxy: { plain: proxy.url } }));
  t.equal(proxy.log.length, s3.log.length);
  t.ok(
    proxy.log.every(line => / http:\/\/s3\.example\.org:9000\/works/.test(line)),
    proxy.log[0]!,
  );
});

t.test('a proxy that wants a password', async t => {
  const s3 = await server(t, true);
  const proxy = await loggingProxy(t, { where: () => s3.port, login: 'me:p@ss' });
  await (await store(t, s3, { proxy: { secure: proxy.url, login: 'me:p@ss' } })).probe();
  await (await store(t, s3, { proxy: { secure: proxy.url.replace('//', '//me:p%40ss@') } })).probe();
  const refused = await store(t, s3, { proxy: { secure: proxy.url } });
  await t.rejects(refused.probe(), /the proxy 127\.0\.0\.1:\d+ answered 407 .*proxy_cred_file=/);
});

t.test('no_proxy', async t => {
  const s3 = await server(t, false);
  const proxy = await loggingProxy(t, { where: () => s3.port });
  await (await store(t, s3, { url: s3.url, proxy: { plain: proxy.url, except: 'x.org, 127.0.0.0/8' } })).probe();
  t.same(proxy.log, []);
  for (const [list, expected] of [
    ['example.org', true],
    ['.example.org', true],
    ['*.example.org', true],
    ['s3.example.org:443', true],
    ['s3.example.org:80', false],
    ['ample.org', false],
    ['*', true],
    ['', false],
  ] as const) {
    t.equal(isExcepted('s3.example.org', 443, list), expected, list);
  }
  t.ok(isExcepted('10.1.2.3', 443, '10.0.0.0/8'));
  t.notOk(isExcepted('11.1.2.3', 443, '10.0.0.0/8'));
  t.ok(isExcepted('fd00:ec2::254', 80, 'fd00:ec2::/32'));
});

t.test('variables as curl reads them, and the options before them', async t => {
  const of = async (env: Record<string, string>, values = {}): Promise<unknown> =>
    (await networkOptions(values, env, undefined)).proxy;
  t.same(await of({}), undefined);
  t.same(await of({ HTTPS_PROXY: 'http://a:1', http_proxy: 'http://b:2', NO_PROXY: 'x' }), {
    secure: 'http://a:1',
    plain: 'http://b:2',
    except: 'x',
  });
  t.same(await of({ https_proxy: 'http://a:1' }, { proxy: 'http://c:3' }), {
    secure: 'http://c:3',
    plain: 'http://c:3',
  });
});

t.test("proxy_cred_file, in s3fs's format and with its care", async t => {
  const directory = t.testdir();
  const path = join(directory, 'login');
  const loginOf = async (text: string, mode = 0o600): Promise<string | undefined> => {
    writeFileSync(path, text);
    chmodSync(path, mode);
    const { proxy } = await networkOptions({ proxy: 'http://p:1', proxy_cred_file: path }, {}, undefined);
    return proxy?.login;
  };
  t.equal(await loginOf('me:p%40ss%3A\n'), 'me:p@ss:');
  await t.rejects(loginOf('me:x', 0o640), { exitCode: 11, message: /open to others; run: chmod 0600/ });
  await t.rejects(loginOf('me'), { message: /should hold one line USER:PASSWORD/ });
  await t.rejects(loginOf('me:50%'), { message: /must be written %25/ });
  await t.rejects(networkOptions({ proxy_cred_file: path }, {}, undefined), { message: /is for a proxy/ });
});

t.test('STS is asked through the proxy, the metadata service never', async t => {
  const given = { accessKeyId: 'GIVENKEY', secretAccessKey: 'given', sessionToken: 'token' };
  const fake = await credentialEndpoints(t, given);
  const s3 = await startEmbeddedS3({ buckets: ['works'], credentials: [given] });
  t.teardown(() => s3.close());
  const fakePort = Number(new URL(fake.url).port);
  const proxy = await loggingProxy(t, {
    where: target =>
      target === 'sts.example.org:80' ? fakePort : target.startsWith('s3.example.org') ? s3.port : undefined,
  });
  const before = { ...process.env };
  t.teardown(() => Object.assign(process.env, before));
  const home = t.testdir({
    '.aws': {
      config: '[profile team]\nrole_arn = arn:aws:iam::1:role/r\ncredential_source = Ec2InstanceMetadata\n',
    },
  });
  Object.assign(process.env, {
    HOME: home,
    AWS_ENDPOINT_URL_STS: 'http://sts.example.org',
    AWS_EC2_METADATA_SERVICE_ENDPOINT: fake.url,
    AWS_EC2_METADATA_DISABLED: 'false',
  });
  const opened = await openS3Store({
    bucket: 'works',
    url: 'http://s3.example.org',
    credentials: credentialSources({ profile: 'team' }, 'works', { env: {}, home }),
    proxy: { plain: proxy.url },
  });
  t.teardown(() => opened.close());
  await opened.probe();
  t.equal(proxy.log.filter(line => line.includes('sts.example.org')).length, 1, 'STS');
  t.equal(proxy.log.filter(line => line.includes('latest')).length, 0, 'IMDS');
  t.match(fake.asked, ['PUT /latest/api/token']);
});
