import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import { type FaultRule, Faults, parseBytes, parseDuration, parseFaults } from '../../src/embedded-s3/faults.ts';
import { type EmbeddedS3, type EmbeddedS3Options, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { ManualClock } from '../support/manual-clock.ts';

async function start(t: Test, options: EmbeddedS3Options = {}): Promise<EmbeddedS3> {
  const server = await startEmbeddedS3({ buckets: ['b'], verifySignatures: false, ...options });
  t.teardown(() => server.close());
  return server;
}

const BODY = Buffer.alloc(300_000, 'body');

t.test('the text form says all that a rule can', async t => {
  t.same(parseFaults('status=503:op=GetObject,n=2,code=SlowDown'), [
    { kind: 'status', status: 503, operation: 'GetObject', count: 2, code: 'SlowDown' },
  ]);
  t.same(parseFaults('stall=5s:op=get,key=%5Ea%2Cb,at=0.25;reset:at=64KiB,after=1,p=0.5;truncate=0.1'), [
    { kind: 'stall', ms: 5000, operation: 'get', key: '^a,b', at: 0.25 },
    { kind: 'reset', at: 65_536, after: 1, probability: 0.5 },
    { kind: 'truncate', at: 0.1 },
  ]);
  t.throws(() => parseFaults('explode'), /no fault; known are/);
  t.throws(() => parseFaults('lost:colour=red'), /no option of a fault/);
  t.equal(parseDuration('1.5s'), 1500);
  t.equal(parseBytes('90MB'), 90_000_000);
  t.throws(() => parseBytes('90 parsecs'), /no size/);
});

t.test('rules strike by operation, class, key, count and the first ones left alone', async t => {
  const strikes = (rule: FaultRule, ...requests: [Parameters<Faults['strike']>[0], string][]): string => {
    const faults = new Faults(() => 0.5);
    faults.add(rule);
    return requests.map(([operation, key]) => (faults.strike(operation, key) ? 'x' : '.')).join('');
  };
  t.equal(strikes({ kind: 'lost', operation: 'get' }, ['GetObject', 'a'], ['PutObject', 'a']), 'x.');
  t.equal(
    strikes({ kind: 'lost', count: 1, after: 1 }, ['GetObject', 'a'], ['GetObject', 'a'], ['GetObject', 'a']),
    '.x.',
  );
  t.equal(strikes({ kind: 'lost', key: '^a' }, ['GetObject', 'ab'], ['GetObject', 'ba']), 'x.');
  t.equal(strikes({ kind: 'lost', key: 'a$' }, ['GetObject', 'ab'], ['GetObject', 'ba']), '.x');
  t.equal(strikes({ kind: 'lost', key: '^a$' }, ['GetObject', 'aa'], ['GetObject', 'a']), '.x');
  t.equal(strikes({ kind: 'lost', key: /^[ab]/ }, ['GetObject', 'b'], ['GetObject', 'c']), 'x.');
  t.equal(strikes({ kind: 'lost', probability: 0.4 }, ['GetObject', 'b']), '.');
  t.equal(strikes({ kind: 'lost', probability: 0.6 }, ['GetObject', 'b']), 'x');
  t.equal(
    strikes({ kind: 'altered' }, ['GetObject', 'b'], ['PutObject', 'b']),
    '.x',
    'only what writes can be altered',
  );
});

t.test('status: the error, and nothing done', async t => {
  const server = await start(t);
  server.faults.add({ kind: 'status', status: 503, operation: 'PutObject', count: 1 });
  const refused = await fetch(`${server.url}/b/k`, { method: 'PUT', body: 'x' });
  t.equal(refused.status, 503);
  t.match(await refused.text(), /<Code>SlowDown<\/Code>/);
  t.equal(server.getObject('b', 'k'), undefined);
  t.equal((await fetch(`${server.url}/b/k`, { method: 'PUT', body: 'x' })).status, 200);
  t.match(server.log, [
    { op: 'PutObject', status: 503, fault: 'status' },
    { op: 'PutObject', status: 200, fault: undefined },
  ]);
});

t.test('lost: the work is done, the answer never comes', async t => {
  const server = await start(t);
  server.faults.add({ kind: 'lost', operation: 'put' });
  await t.rejects(fetch(`${server.url}/b/k`, { method: 'PUT', body: 'kept' }));
  t.equal(server.getObject('b', 'k')?.bytes().toString(), 'kept');
});

t.test('reset and truncate: a download and an upload break off', async t => {
  const server = await start(t);
  server.putObject('b', 'k', BODY);
  for (const kind of ['reset', 'truncate'] as const) {
    server.faults.clear();
    server.faults.add({ kind, at: 0.5 });
    await t.rejects(
      fetch(`${server.url}/b/k`).then(answer => answer.arrayBuffer()),
      kind,
    );
    await t.rejects(fetch(`${server.url}/b/new`, { method: 'PUT', body: BODY }), kind);
  }
  t.equal(server.getObject('b', 'new'), undefined);
});

t.test('corrupt: one bit of what is read, or of what arrives and is checked', async t => {
  const server = await start(t);
  server.putObject('b', 'k', BODY);
  server.faults.add({ kind: 'corrupt', at: 1000 });
  const got = Buffer.from(await (await fetch(`${server.url}/b/k`)).arrayBuffer());
  t.same(
    [...got].flatMap((byte, i) => (byte === BODY[i] ? [] : [i])),
    [1000],
  );
  const md5 = createHash('md5').update(BODY).digest('base64');
  const checked = await fetch(`${server.url}/b/new`, { method: 'PUT', body: BODY, headers: { 'content-md5': md5 } });
  t.equal(checked.status, 400, 'a Content-MD5 finds it');
  await fetch(`${server.url}/b/new`, { method: 'PUT', body: BODY });
  t.not(
    server.getObject('b', 'new')?.etag,
    server.getObject('b', 'k')?.etag,
    'without, the ETag is that of what arrived',
  );
});

t.test('stall and slow: time passes by the clock', async t => {
  const clock = new ManualClock();
  const server = await start(t, { clock });
  server.putObject('b', 'k', BODY);
  for (const kind of ['stall', 'slow'] as const) {
    server.faults.clear();
    server.faults.add({ kind, ms: 5000 });
    let done = false;
    const reading = fetch(`${server.url}/b/k`).then(async answer => {
      const bytes = await answer.arrayBuffer();
      done = true;
      return bytes.byteLength;
    });
    while (clock.pending === 0) await new Promise(resolve => setImmediate(resolve));
    await clock.advance(4999);
    t.notOk(done, kind);
    await clock.advance(1);
    t.equal(await reading, BODY.length);
  }
});

t.test('error200: status 200, an error in the body, nothing done', async t => {
  const server = await start(t);
  server.putObject('b', 'from', 'x');
  server.faults.add({ kind: 'error200' });
  const headers = { 'x-amz-copy-source': '/b/from' };
  const answer = await fetch(`${server.url}/b/to`, { method: 'PUT', headers });
  t.equal(answer.status, 200);
  t.match(await answer.text(), /<Error><Code>InternalError/);
  t.same(server.listKeys('b'), ['from']);
});

t.test('altered: the ETag tells nothing', async t => {
  const server = await start(t);
  server.faults.add({ kind: 'altered', key: 'k$' });
  const answer = await fetch(`${server.url}/b/k`, { method: 'PUT', body: BODY });
  const md5 = createHash('md5').update(BODY).digest('hex');
  t.equal(answer.headers.get('etag'), `"${md5}"`);
  t.equal(server.getObject('b', 'k')?.etag, `"${md5}"`);
  const stored = server.getObject('b', 'k')!.bytes();
  t.equal(stored.length, BODY.length);
  t.notOk(stored.equals(BODY));
});

t.test('missing: the PUT succeeds, the object is not there', async t => {
  const server = await start(t);
  server.faults.add({ kind: 'missing', count: 1 });
  t.equal((await fetch(`${server.url}/b/k`, { method: 'PUT', body: 'x' })).status, 200);
  t.equal((await fetch(`${server.url}/b/k`)).status, 404);
});

t.test('undone: a rename by copy and delete changes nothing', async t => {
  const server = await start(t);
  server.putObject('b', 'old', 'x');
  server.faults.add({ kind: 'undone', count: 1 });
  const rename = async (from: string, to: string): Promise<number[]> => {
    const copied = await fetch(`${server.url}/b/${to}`, {
      method: 'PUT',
      headers: { 'x-amz-copy-source': `b/${from}` },
    });
    const deleted = await fetch(`${server.url}/b/${from}`, { method: 'DELETE' });
    return [copied.status, deleted.status];
  };
  t.same(await rename('old', 'new'), [200, 204]);
  t.same(server.listKeys('b'), ['old']);
  t.same(await rename('old', 'new'), [200, 204]);
  t.same(server.listKeys('b'), ['new']);
});
