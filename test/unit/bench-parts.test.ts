import t, { type Test } from 'tap';
import { csvRows } from '../../bench/mounts/make-tables.ts';
import { parseStat, processTree } from '../../bench/mounts/process-tree.ts';
import { RawHttp } from '../../bench/mounts/raw-http.ts';
import { sampleRanges, verifyObjects } from '../../bench/mounts/verify.ts';
import { size } from '../../bench/mounts/workload.ts';
import { writtenBytes } from '../../bench/mounts/written-bytes.ts';
import { type EmbeddedS3, startEmbeddedS3 } from '../../src/embedded-s3/server.ts';

async function start(t: Test): Promise<EmbeddedS3> {
  const server = await startEmbeddedS3({ buckets: ['b'], verifySignatures: false });
  t.teardown(() => server.close());
  return server;
}

t.test('plain HTTP: bodies of any size both ways, many at once, errors as errors', async t => {
  const server = await start(t);
  const http = new RawHttp(server.url, 3);
  t.teardown(() => http.close());
  const bodies = [0, 1, 70_000, 3_000_000].map(length => writtenBytes(0, length));
  await Promise.all(
    bodies.map((body, i) =>
      http.request({ method: 'PUT', path: `/b/k${i}`, body: [body.subarray(0, 10), body.subarray(10)] }),
    ),
  );
  const answers = await Promise.all(
    bodies.map((_, i) => http.request({ method: 'GET', path: `/b/k${i}`, collect: true })),
  );
  for (const [i, { body, bytes, status }] of answers.entries()) {
    t.equal(status, 200);
    t.equal(bytes, bodies[i]!.length);
    t.ok(body.equals(bodies[i]!), `body ${i}`);
  }
  t.match(await http.request({ method: 'HEAD', path: '/b/k3' }), { status: 200, bytes: 0 });
  await t.rejects(http.request({ method: 'GET', path: '/b/none' }), /said 404/);
  t.match(await http.request({ method: 'GET', path: '/b/k1' }), { bytes: 1 }, 'the connection goes on after an error');
  t.ok(server.stats.connections <= 3);
});

t.test('what was written is verified in S3: size, bytes, ranges', async t => {
  const server = await start(t);
  const large = writtenBytes(0, 5_000_000);
  server.putObject('b', 'd/large', large);
  server.putObject('b', 'wrong', Buffer.concat([large.subarray(0, 100), Buffer.from('x'), large.subarray(101)]));
  server.fill('b', { key: 'made', size: 300_000, seed: 5 });
  const check = (...objects: Parameters<typeof verifyObjects>[2]) => verifyObjects(server.url, 'b', objects);
  t.equal(await check({ key: 'd/large', size: 5_000_000 }, { key: 'made', size: 300_000, seed: 5 }), undefined);
  t.match(await check({ key: 'd/large', size: 4_999_999 }), /has 5000000 bytes in S3 and not 4999999/);
  t.match(await check({ key: 'wrong', size: 5_000_000 }), /other bytes in S3 at 0/);
  t.match(await check({ key: 'made', size: 300_000, seed: 6 }), /other bytes/);
  t.match(await check({ key: 'none', size: 1 }), /could not be read back: .*404/);
  const tail = { offset: 4_999_000, length: 1000 };
  t.match(await check({ key: 'd/large', size: 5_000_000, range: tail }), /other bytes in S3 at 4999000/);
});

t.test('samples: all of what is small, both ends of what is large', async t => {
  t.same(sampleRanges(0), []);
  t.same(sampleRanges(1000), [{ offset: 0, length: 1000 }]);
  const ranges = sampleRanges(2 ** 31);
  t.equal(ranges[0]?.offset, 0);
  const last = ranges.at(-1)!;
  t.equal(last.offset + last.length, 2 ** 31);
});

t.test('written bytes: a MiB in the wrong place is another MiB', async t => {
  const whole = writtenBytes(0, 3 * 2 ** 20);
  t.ok(writtenBytes(2 ** 20 - 5, 2 ** 20 + 10).equals(whole.subarray(2 ** 20 - 5, 2 ** 21 + 5)));
  t.notOk(whole.subarray(0, 2 ** 20).equals(whole.subarray(2 ** 20, 2 ** 21)));
});

t.test('rows of the table are all of one length, so that its size is what was asked for', async t => {
  const rows = csvRows(0, 100).toString().split('\n');
  t.equal(rows.pop(), '');
  for (const row of rows) t.equal(row.length, 199);
  t.equal(rows[0]?.split(',').length, 20);
  t.ok(rows[1]?.split(',').every(cell => Number(cell) > 0));
});

t.test('fields of /proc/PID/stat, whatever the name of the program', async t => {
  t.equal(parseStat('12 (a) b (c) S 7 8')[0], 'S');
  t.equal(parseStat('12 (a) b (c) S 7 8')[1], '7');
  t.equal(processTree(process.pid)[0], process.pid);
});

t.test('sizes in the unit in which they are round', async t => {
  t.same(
    [size(2 ** 31), size(2 ** 28), size(1e9), size(125e6), size(2 ** 25), size(4096)],
    ['2 GiB', '256 MiB', '1 GB', '125 MB', '32 MiB', '4 KiB'],
  );
});
