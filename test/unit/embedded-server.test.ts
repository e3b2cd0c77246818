/** Large objects, pace, modes, access, persistence and control of the embedded server; its answers are in the contract. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { generatedBytes } from '../../src/embedded-s3/generator.ts';
import { parseCommandLine } from '../../src/embedded-s3/main.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { ManualClock } from '../support/manual-clock.ts';

async function start(t: Test, options: EmbeddedS3Options = {}): Promise<EmbeddedS3> {
  const server = await startEmbeddedS3({ buckets: ['b'], verifySignatures: false, ...options });
  t.teardown(() => server.close());
  return server;
}

const text = async (url: string, init?: RequestInit): Promise<string> => (await fetch(url, init)).text();
const status = async (url: string, init?: RequestInit): Promise<number> => {
  const answer = await fetch(url, init);
  await answer.arrayBuffer();
  return answer.status;
};

t.test('an object of 48 TiB: any range, and parts copied from it', async t => {
  const server = await start(t, { etag: 'fast' });
  const size = 48 * 2 ** 40;
  server.fill('b', { key: 'huge', size, seed: 7 });
  const head = await fetch(`${server.url}/b/huge`, { method: 'HEAD' });
  t.equal(head.headers.get('content-length'), String(size));
  const at = 47 * 2 ** 40 + 3;
  const range = await fetch(`${server.url}/b/huge`, { headers: { range: `bytes=${at}-${at + 999_999}` } });
  t.ok(Buffer.from(await range.arrayBuffer()).equals(generatedBytes(7, at, 1_000_000)));

  const begun = await text(`${server.url}/b/copy?uploads`, { method: 'POST' });
  const id = /<UploadId>(.*)<\/UploadId>/.exec(begun)?.[1];
  const GIB5 = 5 * 2 ** 30;
  let parts = '';
  for (let number = 1; number <= 10; number++) {
    const first = (number - 1) * GIB5;
    const answer = await text(`${server.url}/b/copy?partNumber=${number}&uploadId=${id}`, {
      method: 'PUT',
      headers: { 'x-amz-copy-source': 'b/huge', 'x-amz-copy-source-range': `bytes=${first}-${first + GIB5 - 1}` },
    });
    const etag = /<ETag>(.*)<\/ETag>/.exec(answer)?.[1];
    parts += `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`;
  }
  const body = `<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`;
  t.equal(await status(`${server.url}/b/copy?uploadId=${id}`, { method: 'POST', body }), 200);
  const copy = server.getObject('b', 'copy');
  t.equal(copy?.size, 10 * GIB5);
  t.same(copy?.bytes(9 * GIB5 - 4, 8), generatedBytes(7, 9 * GIB5 - 4, 8));
});

t.test('a fill of many keys shares one body and fans out', async t => {
  const server = await start(t);
  t.equal(server.fill('b', { prefix: 'many/', count: 20_000, size: 10, seed: 1 }), 20_000);
  t.equal(server.listKeys('b', 'many/').length, 20_000);
  t.same(server.getObject('b', 'many/f00019999')?.bytes(), generatedBytes(1, 0, 10));
  server.fill('b', { prefix: 'fan/', count: 1000, fan: 10, size: 0, suffix: '.csv' });
  t.same(server.listKeys('b', 'fan/').slice(0, 2), ['fan/d0/d0/f0.csv', 'fan/d0/d0/f1.csv']);
  const top = await text(`${server.url}/b?list-type=2&prefix=fan/&delimiter=/`);
  t.equal(top.match(/<CommonPrefixes>/g)?.length, 10);
});

t.test('latency: answers wait by operation, class or default', async t => {
  const clock = new ManualClock();
  const server = await start(t, { clock, latency: { GetObject: 20, head: 30, default: 10 }, copyBandwidth: 1_000_000 });
  server.putObject('b', 'k', Buffer.alloc(500_000));
  const waits = async (ms: number, request: () => Promise<unknown>): Promise<void> => {
    let done = false;
    const answered = request().then(() => {
      done = true;
    });
    while (clock.pending === 0) await new Promise(resolve => setImmediate(resolve));
    await clock.advance(ms - 1);
    t.notOk(done, `not before ${ms} ms`);
    await clock.advance(1);
    await answered;
  };
  await waits(20, () => status(`${server.url}/b/k`));
  await waits(30, () => status(`${server.url}/b/k`, { method: 'HEAD' }));
  await waits(10, () => status(`${server.url}/b?list-type=2`));
  await waits(510, () => status(`${server.url}/b/copy`, { method: 'PUT', headers: { 'x-amz-copy-source': 'b/k' } }));
});

t.test('bandwidth: a connection gives so many bytes a second, each way', async t => {
  const clock = new ManualClock();
  const server = await start(t, { clock, bandwidthPerConnection: 10_000_000 });
  const body = Buffer.alloc(5_000_000, 'b');
  const took = async (request: () => Promise<unknown>): Promise<number> => {
    const before = clock.monotonic();
    let done = false;
    const answered = request().then(() => {
      done = true;
    });
    while (!done) {
      if (clock.pending > 0) await clock.advance(1);
      else await new Promise(resolve => setImmediate(resolve));
    }
    await answered;
    return clock.monotonic() - before;
  };
  const up = await took(() => status(`${server.url}/b/k`, { method: 'PUT', body }));
  t.ok(up >= 450 && up <= 600, `5 MB up at 10 MB/s took ${up} ms`);
  const down = await took(() => status(`${server.url}/b/k`));
  t.ok(down >= 450 && down <= 600, `and down ${down} ms`);
});

t.test('modes: how other stores differ', async t => {
  const put = (server: EmbeddedS3, headers: Record<string, string>): Promise<number> =>
    status(`${server.url}/b/k`, { method: 'PUT', body: 'x', headers });
  const fresh = { 'if-none-match': '*' };
  const ignoring = await start(t, { modes: { noConditionalPut: true } });
  t.same([await put(ignoring, fresh), await put(ignoring, fresh)], [200, 200]);
  const refusing = await start(t, { modes: { noConditionalPut: 'refuse' } });
  t.same([await put(refusing, {}), await put(refusing, fresh)], [200, 501]);
  const unquoted = await start(t, { modes: { unquotedEtags: true } });
  const { etag } = unquoted.putObject('b', 'k', 'x');
  t.same(
    [await put(unquoted, { 'if-match': etag }), await put(unquoted, { 'if-match': etag.slice(1, -1) })],
    [412, 200],
  );

  const unordered = await start(t, { modes: { unorderedListing: true } });
  unordered.fill('b', { count: 100, size: 0 });
  const keysOf = (xml: string): string[] => [...xml.matchAll(/<Key>(.*?)<\/Key>/g)].map(match => match[1]!);
  const found: string[] = [];
  for (let token = ''; ; ) {
    const page = await text(`${unordered.url}/b?list-type=2&max-keys=7${token}`);
    found.push(...keysOf(page));
    const next = /<NextContinuationToken>(.*?)</.exec(page)?.[1];
    if (next === undefined) break;
    token = `&continuation-token=${next}`;
  }
  t.equal(new Set(found).size, 100);
  t.notSame(found, [...found].sort());
  t.equal(await status(`${unordered.url}/b?list-type=2&start-after=a`), 501);

  const poor = await start(t, { modes: { noDeleteObjects: true, noEncodingType: true, kms: true } });
  poor.putObject('b', 'a b', '');
  t.match(await text(`${poor.url}/b?list-type=2&encoding-type=url`), '<Key>a b</Key>');
  t.equal(await status(`${poor.url}/b?delete`, { method: 'POST', body: '<Delete/>' }), 501);
  const encrypted = await fetch(`${poor.url}/b/secret`, { method: 'PUT', body: 'x' });
  t.equal(encrypted.headers.get('x-amz-server-side-encryption'), 'aws:kms');
  t.notMatch(encrypted.headers.get('etag'), '9dd4e461268c8034f5c8564e155c67a6', 'no MD5');
});

t.test('archived objects cannot be read until they are restored', async t => {
  const clock = new ManualClock();
  const server = await start(t, { clock });
  server.putObject('b', 'cold', 'x', { storageClass: 'DEEP_ARCHIVE' });
  const refused = await fetch(`${server.url}/b/cold`);
  t.equal(refused.status, 403);
  t.match(await refused.text(), '<Code>InvalidObjectState</Code>');
  const body = '<RestoreRequest><Days>2</Days></RestoreRequest>';
  t.equal(await status(`${server.url}/b/cold?restore`, { method: 'POST', body }), 202);
  const restored = await fetch(`${server.url}/b/cold`);
  t.match(restored.headers.get('x-amz-restore'), /ongoing-request="false"/);
  t.equal(await restored.text(), 'x');
  await clock.advance(3 * 24 * 3600 * 1000);
  t.equal(await status(`${server.url}/b/cold`), 403, 'the copy has expired');
});

t.test('a PUT without a length, and one that ends early, store nothing', async t => {
  const server = await start(t);
  const stream = new ReadableStream({
    start(controller) {
      controller.enqueue(Buffer.from('unknown length'));
      controller.close();
    },
  });
  t.equal(await status(`${server.url}/b/k`, { method: 'PUT', body: stream, duplex: 'half' } as RequestInit), 501);
  const headers = { 'content-encoding': 'aws-chunked', 'x-amz-decoded-content-length': '10' };
  t.equal(await status(`${server.url}/b/k`, { method: 'PUT', body: '5\r\nhello\r\n0\r\n\r\n', headers }), 400);
  t.same(server.listKeys('b'), []);
});

t.test('a directory keeps buckets, versions, metadata and bytes', async t => {
  const directory = await mkdtemp(path.join(tmpdir(), 'embedded-s3-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const first = await startEmbeddedS3({ buckets: ['b', 'v'], verifySignatures: false, directory });
  const put = (url: string, body: string): Promise<number> =>
    status(`${first.url}/${url}`, {
      method: 'PUT',
      body,
      headers: { 'x-amz-meta-mode': '33188', 'content-type': 'text/x' },
    });
  await put('b/%ED%95%9C%2F/a', 'kept');
  await put('b/gone', 'x');
  await status(`${first.url}/b/gone`, { method: 'DELETE' });
  const versioning = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
  await status(`${first.url}/v?versioning`, { method: 'PUT', body: versioning });
  await put('v/k', 'one');
  await put('v/k', 'two');
  first.createBucket('direct', 'eu-west-1');
  first.putObject('direct', 'k', 'without a request');
  first.fill('direct', { key: 'huge', size: 2 ** 40 });
  const etag = first.getObject('b', '한//a')?.etag;
  await first.close();

  const second = await start(t, { directory });
  t.same(second.listKeys('b'), ['한//a']);
  const object = second.getObject('b', '한//a');
  t.equal(object?.bytes().toString(), 'kept');
  t.equal(object?.etag, etag);
  t.same([object?.metadata, object?.headers], [{ mode: '33188' }, { 'content-type': 'text/x' }]);
  t.equal(second.getObject('direct', 'k')?.bytes().toString(), 'without a request');
  t.equal(second.getObject('direct', 'huge')?.size, 2 ** 40);
  t.equal(second.getObject('v', 'k')?.bytes().toString(), 'two');
  t.equal((await text(`${second.url}/v?versions`)).match(/<Version>/g)?.length, 2);
});

t.test('the control endpoint: counts, faults, pace, fill, clear', async t => {
  const server = await start(t);
  const control = async (command: string, method = 'POST') =>
    JSON.parse(await text(`${server.url}/__embedded/${command}`, { method })) as Record<string, never>;
  t.match(await control('fill?bucket=b&prefix=p/&count=3&size=1KiB'), { objects: 3 });
  await text(`${server.url}/b/p/f00000001`, { headers: { range: 'bytes=0-9' } });
  t.match(await control('stats', 'GET'), { requests: { GetObject: 1 }, answers: { 'GetObject 206': 1 }, bytesOut: 10 });
  t.match(await control('log', 'GET'), [{ op: 'GetObject', key: 'p/f00000001', range: 'bytes=0-9', status: 206 }]);
  t.match(await control('faults?add=status%3D500%3Aop%3Dhead'), [{ rule: { kind: 'status', operation: 'head' } }]);
  t.equal(await status(`${server.url}/b/p/f00000001`, { method: 'HEAD' }), 500);
  t.same(await control('faults?clear'), []);
  t.match(await control('latency?set=get%3D20&conn-bandwidth=90MB'), {
    latency: { get: 20 },
    bandwidthPerConnection: 90e6,
  });
  t.match(server.pace, { latency: { get: 20 }, bandwidthPerConnection: 90e6 });
  await control('reset');
  t.match(server.stats, { total: 0, requests: {} });
  const fills = [
    { key: 'q/한글', size: 5, seed: 1 },
    { prefix: 'q/d/', count: 2, size: 7 },
    { key: 'q/d/', size: 0 },
  ];
  t.match(
    JSON.parse(await text(`${server.url}/__embedded/fill?bucket=b`, { method: 'POST', body: JSON.stringify(fills) })),
    { objects: 4 },
  );
  t.equal(server.getObject('b', 'q/한글')?.size, 5);
  const full = await control('contents?bucket=b', 'GET');
  t.match(full, { objects: 7, files: 6, bytes: 3 * 1024 + 5 + 14 });
  server.putObject('b', 'q/한글', '54321');
  const changed = await control('contents?bucket=b', 'GET');
  t.match(changed, { objects: 7, files: 6, bytes: 3 * 1024 + 5 + 14 });
  t.not(changed['digest'], full['digest']);
  t.match(await control('clear?bucket=nowhere'), { error: /no bucket 'nowhere'/ });
  await control('clear?bucket=b');
  t.match(await control('contents?bucket=b', 'GET'), { objects: 0, files: 0, bytes: 0 });
  t.same(server.listKeys('b'), []);
  t.match(await control('nonsense'), { error: /no command; known are/ });
});

t.test('a credential with a policy may do that and nothing else', async t => {
  const policy = {
    Statement: [
      { Effect: 'Allow', Action: ['s3:GetObject', 's3:PutObject'], Resource: 'arn:aws:s3:::b/mine/*' },
      { Effect: 'Deny', Action: 's3:PutObject', Resource: 'arn:aws:s3:::b/mine/locked*' },
    ],
  };
  const { authorize } = await import('../../src/embedded-s3/access.ts');
  const { Bucket } = await import('../../src/embedded-s3/state.ts');
  const bucket = new Bucket('b', 'us-east-1', 0);
  const identity = { policy: JSON.stringify(policy) };
  const may = (operation: Parameters<typeof authorize>[1], key: string): boolean => {
    try {
      authorize(identity, operation, bucket, key, undefined, '');
      return true;
    } catch {
      return false;
    }
  };
  t.ok(may('GetObject', 'mine/a'));
  t.ok(may('HeadObject', 'mine/a'));
  t.ok(may('UploadPart', 'mine/a'));
  t.notOk(may('PutObject', 'mine/locked'));
  t.notOk(may('GetObject', 'yours/a'));
  t.notOk(may('DeleteObject', 'mine/a'));
  t.notOk(may('ListObjectsV2', ''));
});

t.test('the command line says the same as the options', async t => {
  const args =
    '--port 9000 --bucket a --bucket eu=eu-west-1 --key K:S --latency get=20,put=30ms --conn-bandwidth 90MB --etag fast --fault lost:n=1 --mode kms';
  t.match(parseCommandLine(args.split(' ')).options, {
    port: 9000,
    buckets: ['a', { name: 'eu', region: 'eu-west-1' }],
    credentials: [{ accessKeyId: 'K', secretAccessKey: 'S' }],
    latency: { get: 20, put: 30 },
    bandwidthPerConnection: 90e6,
    etag: 'fast',
    faults: [{ kind: 'lost', count: 1 }],
    modes: { kms: true },
    verifySignatures: true,
  });
  t.throws(() => parseCommandLine(['--etag', 'slow']), /md5 or fast/);
  t.throws(() => parseCommandLine(['--colour', 'red']));
});
