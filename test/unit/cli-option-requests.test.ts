/** What options change in the requests that a mount sends: as S3 sees them, from the words after -o. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { openUnprobed } from '../../src/cli/open-store.ts';
import { readConfig } from '../../src/cli/options.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import type { LoggedRequest } from '../../src/embedded-s3/watch.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { loggingProxy } from '../support/logging-proxy.ts';

const MIB = 1024 * 1024;
const PLAIN = { headers: {}, metadata: {} };
const KEY = Buffer.alloc(32, 7).toString('base64');

const directory = mkdtempSync(join(tmpdir(), 's3mount-options-'));
t.teardown(() => rmSync(directory, { recursive: true }));

interface Opened {
  readonly store: S3Store;
  readonly s3: EmbeddedS3;
  /** Requests of one operation so far. */
  requests(operation: string): LoggedRequest[];
}

/** The store of a mount with `options`, each `NAME` or `NAME=VALUE`. */
async function opened(t: Test, options: readonly string[], server: EmbeddedS3Options = {}): Promise<Opened> {
  const s3 = await startEmbeddedS3({ buckets: ['works'], ...server });
  const passwd = join(directory, 'passwd');
  writeFileSync(passwd, `${s3.credential.accessKeyId}:${s3.credential.secretAccessKey}\n`, { mode: 0o600 });
  const keys = options.includes('public_bucket') ? [] : [`passwd_file=${passwd}`];
  const given = [`url=${s3.url}`, ...keys, ...options];
  const words = given.map(text => {
    const [name = '', ...rest] = text.split('=');
    return rest.length === 0 ? { name } : { name, value: rest.join('=') };
  });
  const surroundings = { env: {}, cwd: '/', configDirectories: [] };
  const config = readConfig({ positional: ['works', '/mnt'], words }, surroundings);
  const store = await openUnprobed(config, silentTelemetry);
  t.teardown(async () => {
    await store.close();
    await s3.close();
  });
  return { store, s3, requests: operation => s3.log.filter(({ op }) => op === operation) };
}

/** Everything that writes an object, once. */
async function writeAll(store: S3Store): Promise<void> {
  await store.put('put', [Buffer.from('x')], PLAIN, undefined);
  await store.copy(await store.head('put'), 'copy', { ...PLAIN, metadata: { a: 'b' } }, undefined);
  const upload = await store.beginUpload('parts', PLAIN);
  await upload.complete([await upload.putPart(1, [Buffer.from('x')])], undefined);
}

const WRITES = ['PutObject', 'CopyObject', 'CreateMultipartUpload'];

/** What a header says in each of the writes. */
function said({ requests }: Opened, header: string): (string | undefined)[] {
  return WRITES.map(operation => requests(operation).at(-1)!.headers[header]);
}

t.test('storage_class= and default_acl= go with whatever makes an object', async t => {
  const plain = await opened(t, []);
  await writeAll(plain.store);
  t.same(said(plain, 'x-amz-storage-class'), [undefined, undefined, undefined]);
  t.same(said(plain, 'x-amz-acl'), [undefined, undefined, undefined]);
  const place = await opened(t, ['storage_class=standard_ia', 'default_acl=bucket-owner-full-control']);
  await writeAll(place.store);
  t.same(said(place, 'x-amz-storage-class'), ['STANDARD_IA', 'STANDARD_IA', 'STANDARD_IA']);
  const acl = 'bucket-owner-full-control';
  t.same(said(place, 'x-amz-acl'), [acl, acl, acl]);
  for (const key of ['put', 'copy', 'parts'])
    t.equal((await place.store.head(key)).description.storageClass, 'STANDARD_IA');
});

t.test('use_sse=1, kmsid and kmsid:ID: by whom objects are encrypted', async t => {
  const by = async (option: string): Promise<(string | undefined)[][]> => {
    const place = await opened(t, [option], { modes: { kms: true } });
    await writeAll(place.store);
    const name = 'x-amz-server-side-encryption';
    return [said(place, name), said(place, `${name}-aws-kms-key-id`)];
  };
  const none = [undefined, undefined, undefined];
  t.same(await by('use_sse=1'), [['AES256', 'AES256', 'AES256'], none]);
  t.same(await by('use_sse=kmsid'), [['aws:kms', 'aws:kms', 'aws:kms'], none]);
  t.same(await by('use_sse=kmsid:1234abcd'), [
    ['aws:kms', 'aws:kms', 'aws:kms'],
    ['1234abcd', '1234abcd', '1234abcd'],
  ]);
});

t.test('use_sse=custom:FILE seals, load_sse_c=FILE opens what others sealed', async t => {
  const file = join(directory, 'keys');
  writeFileSync(file, `${KEY}\n`, { mode: 0o600 });
  const sealing = await opened(t, [`use_sse=custom:${file}`]);
  await writeAll(sealing.store);
  const name = 'x-amz-server-side-encryption-customer-algorithm';
  t.same(said(sealing, name), ['AES256', 'AES256', 'AES256']);
  t.equal(sealing.requests('UploadPart')[0]!.headers[name], 'AES256');

  const read = async (options: readonly string[]): Promise<string> => {
    const place = await opened(t, [...options, `url=${sealing.s3.url}`]);
    const sink = Buffer.alloc(1);
    await place.store.get('put', { offset: 0, length: 1 }, { buffers: [sink] });
    await place.store.put('mine', [Buffer.from('x')], PLAIN, undefined);
    return sink.toString();
  };
  await t.rejects(read([]), /GetObject|HeadObject/, 'sealed for who has no key');
  t.equal(await read([`load_sse_c=${file}`]), 'x');
  t.equal(sealing.requests('PutObject').at(-1)!.headers[name], undefined, 'what is written is not sealed by it');
});

t.test('requester_pays and public_bucket', async t => {
  const paying = await opened(t, ['requester_pays']);
  await writeAll(paying.store);
  t.ok(paying.s3.log.every(({ headers }) => headers['x-amz-request-payer'] === 'requester'));
  t.ok(paying.s3.log.every(({ headers }) => headers['authorization'] === 'signed'));
  const open = await opened(t, ['public_bucket'], { verifySignatures: false });
  await writeAll(open.store);
  t.ok(open.s3.log.length >= 4 && open.s3.log.every(({ headers }) => headers['authorization'] === undefined));
});

t.test('use_path_request_style, and without it another host for each bucket', async t => {
  const host = async (options: readonly string[]): Promise<string | undefined> => {
    const { store, s3 } = await opened(t, options);
    await store.head('missing').catch(() => {});
    return s3.log[0]?.headers['host'];
  };
  t.match(await host(['use_path_request_style']), /^127\.0\.0\.1:/);
  // No server is needed to see where requests would go.
  const place = (options: readonly string[]) => opened(t, ['url=https://s3.example.net', ...options]);
  t.match(
    (await place([])).store.place.endpoint,
    'https://s3.example.net',
    'other providers mostly have no such names',
  );
  t.match((await place(['use_path_request_style=0'])).store.place.endpoint, 'https://works.s3.example.net');
});

t.test('region= is what requests are signed for', async t => {
  const server = { buckets: [{ name: 'works', region: 'eu-west-3' }] };
  const { store, s3 } = await opened(t, ['region=eu-west-3'], server);
  await store.put('a', [Buffer.from('x')], PLAIN, undefined);
  t.same(
    s3.log.map(({ status }) => status),
    [200],
    'the first request is right',
  );
  const wrong = await opened(t, ['region=us-east-1'], server);
  await wrong.store.put('a', [Buffer.from('x')], PLAIN, undefined);
  t.same(
    wrong.s3.log.map(({ status }) => status),
    [400, 200],
    'a wrong one is set right by the answer',
  );
});

t.test('retries= is how often a request is sent, max_thread_count= how many at once', async t => {
  const { store, s3, requests } = await opened(t, ['retries=2']);
  s3.faults.add({ kind: 'status', status: 503, operation: 'GetObject' });
  s3.putObject('works', 'a', 'x');
  const sink = { buffers: [Buffer.alloc(1)] };
  await t.rejects(store.get('a', { offset: 0, length: 1 }, sink), /503/);
  t.equal(requests('GetObject').length, 2);

  for (const [options, most] of [
    [['max_thread_count=2'], 2],
    [[], 8],
  ] as const) {
    const place = await opened(t, options, { latency: { head: 30 } });
    place.s3.putObject('works', 'a', 'x');
    await Promise.all(Array.from({ length: 8 }, () => place.store.head('a')));
    t.equal(place.s3.stats.requestsMost, most, options.join());
  }
});

t.test('readwrite_timeout= ends what is silent', async t => {
  const { store, s3 } = await opened(t, ['readwrite_timeout=1', 'retries=1']);
  s3.putObject('works', 'a', 'x');
  s3.faults.add({ kind: 'slow', ms: 4_000, operation: 'HeadObject' });
  const start = performance.now();
  await t.rejects(store.head('a'), { kind: 'timeout' } as never);
  t.ok(performance.now() - start < 3_500, 'after a second, not thirty');
});

t.test('checksum= and enable_unsigned_payload: what guards the bytes that are sent', async t => {
  const guard = async (...options: string[]): Promise<(string | undefined)[]> => {
    const place = await opened(t, options);
    await writeAll(place.store);
    return [place.requests('PutObject')[0]!, place.requests('UploadPart')[0]!].map(
      ({ headers }) => headers['x-amz-checksum-crc32'] && 'CRC32',
    );
  };
  t.same(await guard(), ['CRC32', 'CRC32']);
  t.same(await guard('checksum=none'), [undefined, undefined]);
  const { store, s3 } = await opened(t, ['checksum=none', 'enable_unsigned_payload']);
  s3.faults.add({ kind: 'corrupt', operation: 'PutObject', count: 1 });
  await store.put('a', [Buffer.alloc(MIB)], PLAIN, undefined);
  t.equal(s3.stats.answers['PutObject 200'], 1, 'a bit that flips on the way goes unnoticed');
  const signed = await opened(t, ['checksum=none']);
  signed.s3.faults.add({ kind: 'corrupt', operation: 'PutObject', count: 1 });
  await signed.store.put('a', [Buffer.alloc(MIB)], PLAIN, undefined);
  t.same(
    signed.requests('PutObject').map(({ status }) => status),
    [400, 200],
    'with the signature it does not',
  );
});

t.test('proxy= and proxy_cred_file=: the way of all requests, and who asks for it', async t => {
  const s3 = await startEmbeddedS3({ buckets: ['works'] });
  t.teardown(() => s3.close());
  const proxy = await loggingProxy(t, {
    where: target => (target === 's3.example.org:9000' ? s3.port : undefined),
    login: 'me:p@ss',
  });
  const file = join(directory, 'login');
  writeFileSync(file, 'me:p%40ss\n', { mode: 0o600 });
  const url = 'url=http://s3.example.org:9000';
  const { store } = await opened(t, [url, `proxy=${proxy.url}`, `proxy_cred_file=${file}`]);
  await writeAll(store);
  t.same(s3.listKeys('works'), ['copy', 'parts', 'put']);
  t.equal(proxy.log.length, s3.log.length, 'each came this way');
  const { store: nobody } = await opened(t, [url, `proxy=${proxy.url}`, 'retries=1']);
  await t.rejects(nobody.head('put'), /407/);
});

t.test('connect_timeout= ends a connection that does not come about', async t => {
  // It takes the connection and never says a word of TLS.
  const sockets: Socket[] = [];
  const silent = createServer(socket => sockets.push(socket));
  await new Promise<void>(resolve => silent.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const { port } = silent.address() as AddressInfo;
  const { store } = await opened(t, [`url=https://127.0.0.1:${port}`, 'connect_timeout=1', 'retries=1']);
  const start = performance.now();
  await t.rejects(store.head('a'), /HeadObject/);
  t.ok(performance.now() - start < 5_000, 'after a second, not ten');
});
