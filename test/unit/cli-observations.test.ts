/** What a daemon remembers of who asks, what fails and what it costs; and how it is said. */
import t from 'tap';
import { Callers } from '../../src/cli/callers.ts';
import { doingOf, subjectOf } from '../../src/cli/failed-operations.ts';
import { FailureMemory } from '../../src/cli/failure-memory.ts';
import { HeadForecast } from '../../src/cli/head-forecast.ts';
import { costOf, costPerDay, DOLLARS } from '../../src/cli/prices.ts';
import { barText, ProgressLine } from '../../src/cli/progress.ts';
import { bytesText, countOf, dollarsText, durationText } from '../../src/cli/quantities.ts';
import { whyText } from '../../src/cli/why-text.ts';
import { FsError, StoreError } from '../../src/errors.ts';

t.test('operations by process: threads of one count together, the table stays small', async t => {
  let named = 0;
  const callers = new Callers(thread => {
    named++;
    return { pid: thread - (thread % 2), command: 'tar' };
  });
  for (const thread of [10, 10, 11, 10, 0]) callers.asked(thread);
  t.same(callers.top(5), [
    { pid: 10, command: 'tar', operations: 4 },
    { pid: 0, command: '(kernel)', operations: 1 },
  ]);
  t.equal(named, 2, 'each thread is named once');
  for (let i = 0; i < 1000; i++) callers.asked(10);
  for (let thread = 100; thread < 6000; thread++) callers.asked(thread);
  t.ok(callers.top(100_000).length <= 256);
  t.match(callers.top(1), [{ pid: 10, operations: 1004 }], 'who did most stays');
  callers.asked(10);
  t.match(callers.top(1), [{ pid: 10, operations: 1005 }]);
});

t.test('this very process is named from /proc', async t => {
  const callers = new Callers();
  callers.asked(process.pid);
  callers.asked(2 ** 30);
  const [first, second] = callers.top(2);
  t.equal(first!.pid, process.pid);
  t.match(first!.command, /./);
  t.equal(second!.command, '(gone)');
});

t.test('a shell that became another program is shown under its name', async t => {
  let command = 'bash';
  const callers = new Callers(pid => ({ pid, command }));
  callers.asked(7);
  command = 'head';
  for (let i = 0; i < 99; i++) callers.asked(7);
  t.same(callers.top(5), [{ pid: 7, command: 'head', operations: 100 }]);
  command = '(gone)';
  callers.asked(8);
  callers.asked(7);
  for (let i = 0; i < 99; i++) callers.asked(7);
  t.match(callers.top(1), [{ command: 'head', operations: 200 }], 'one that has ended keeps its name');
});

t.test('failures are remembered by path, counted, and forgotten in order', async t => {
  let now = 1000;
  const memory = new FailureMemory(() => now);
  const denied = new StoreError('forbidden', 'PutObject of "a" failed', {
    operation: 'PutObject',
    key: 'a',
    status: 403,
    s3Code: 'AccessDenied',
    requestId: 'R1',
  });
  memory.add('a', 'close', new FsError('EACCES', denied.message, { cause: denied }));
  now = 2000;
  memory.add('a', 'close', denied);
  memory.add('a', 'open', new FsError('ESTALE', 'changed'));
  memory.add('b', 'look at', new FsError('ENOENT'));
  memory.add('b', 'look at', new TypeError('a bug is not for here'));
  t.equal(memory.count, 3);
  const close = memory.of('a').find(({ operation }) => operation === 'close');
  t.match(close, { code: 'EACCES', times: 2, first: 1000, last: 2000, store: { requestId: 'R1', kind: 'forbidden' } });
  t.same(memory.of('b'), []);
  memory.add('d/', 'list', new FsError('EIO'));
  t.equal(memory.of('d').length, 1, 'a directory is found without its slash');
  for (let i = 0; i < 2000; i++) memory.add(`many/${i}`, 'read', new FsError('EIO', 'x'.repeat(9999)));
  t.same(memory.of('a'), [], 'the oldest went');
  t.equal(memory.latest(1)[0]!.path, 'many/1999');
  t.ok(memory.latest(9999).length <= 1000);
});

t.test('which path an operation was about', async t => {
  const names = (name: Parameters<typeof doingOf>[0], args: unknown[]): unknown => subjectOf({ name, args });
  t.same(names('create', [7, 'n', 0o644, 0, {}]), { nodeid: 7, name: 'n' });
  t.same(names('link', [7, 8, 'n', {}]), { nodeid: 8, name: 'n' });
  t.same(names('read', [7, 1, 0, 10, {}]), { nodeid: 7 });
  t.same(names('copyFileRange', [{ nodeid: 1 }, { nodeid: 2 }, 1, 0, {}]), { nodeid: 2 });
  t.equal(doingOf('flush'), 'close');
  t.equal(doingOf('read'), 'read');
});

t.test('why: the action that is missing, KMS, the archive, the request id', async t => {
  const say = (details: StoreError['details'], kind: StoreError['kind'] = 'forbidden'): string => {
    const memory = new FailureMemory(() => 0);
    memory.add('a/b', 'close', new StoreError(kind, 'what the log has', details));
    const answer = { bucket: 'bk', prefix: 'pre/', readOnly: false, since: '2026-01-01T00:00:00Z' };
    return whyText('/mnt/a/b', { ...answer, attempts: [], failures: memory.of('a/b') });
  };
  const denied = { status: 403, s3Code: 'AccessDenied', requestId: 'REQ7', key: 'a/b' };
  const put = say({ ...denied, operation: 'PutObject' });
  t.match(put, '/mnt/a/b: close failed with EACCES (Permission denied)');
  t.match(put, 'PutObject: 403 AccessDenied, request id REQ7');
  t.match(put, 'lack s3:PutObject on arn:aws:s3:::bk/pre/a/b');
  t.match(say({ ...denied, operation: 'ListObjectsV2' }), 'lack s3:ListBucket on arn:aws:s3:::bk,');
  t.match(
    say({ ...denied, operation: 'PutObject', deniedAction: 's3:PutObjectTagging' }),
    'lack s3:PutObjectTagging on',
  );
  t.match(say({ ...denied, operation: 'GetObject', deniedAction: 'kms:Decrypt' }), 'lack kms:Decrypt on the KMS key');
  t.match(say({ ...denied, operation: 'PutObject', s3Code: 'KMS.AccessDeniedException' }), 'kms:GenerateDataKey');
  t.match(say({ ...denied, operation: 'GetObject', s3Code: 'KMS.DisabledException' }), 'disabled');
  t.match(say({ ...denied, s3Code: 'ExpiredToken' }), 'the credentials themselves');
  t.match(say({ status: 403, s3Code: 'InvalidObjectState' }, 'archived'), 's3mount restore /mnt/a/b');
  t.match(say({}, 'timeout'), 'sent again');
  const hostile = say({ ...denied, operation: 'PutObject', key: '\u001b[2Jx', requestId: '\u0007' });
  t.notMatch(hostile.replaceAll('\n', ''), /\p{C}/u, 'nothing that a terminal would act on');
});

t.test('costs', async t => {
  t.equal(costOf({ PutObject: 1000, DeleteObject: 5000, AbortMultipartUpload: 9 }), 0.005);
  t.ok(Math.abs(costOf({ GetObject: 1000, HeadObject: 1000 }) - 0.0008) < 1e-12);
  t.equal(DOLLARS.write, 0.000005);
  t.equal(costPerDay(1, 30), undefined, 'too short to tell');
  t.equal(costPerDay(1, 43_200), 2);
});

t.test('a walk that will cost 100,000 HEADs is told of once', async t => {
  const forecast = new HeadForecast();
  let now = 0;
  const look = (heads: number, listed: number, later = 5000): string | undefined => {
    now += later;
    return forecast.look({ heads, listed }, now);
  };
  t.equal(look(10, 5000), undefined);
  t.equal(look(900, 900_000), undefined, 'listed by many, looked at by few');
  // A minute of nothing: what was listed before is no part of the next walk.
  t.equal(look(900, 900_000, 70_000), undefined);
  t.equal(look(2500, 900_100), undefined);
  t.equal(look(3000, 999_999), undefined, '100,000 of this walk, less 1');
  t.match(
    look(3500, 1_000_001),
    /2,600 HEAD requests so far, about 100,001 if .* \(\$0\.04\); stat=list takes attributes from the listings/,
  );
  t.equal(look(900_000, 9_000_000), undefined, 'once');
  const other = new HeadForecast();
  t.match(
    other.look({ heads: 150_000, listed: 0 }, 0),
    /150,000 HEAD requests so far, about 150,000 /,
    'names one by one',
  );
});

t.test('numbers for people', async t => {
  t.same([0, 1, 812, 1024, 1_500_000, 2 ** 40].map(bytesText), [
    '0 bytes',
    '1 byte',
    '812 bytes',
    '1 KiB',
    '1.43 MiB',
    '1 TiB',
  ]);
  t.same([5, 65, 3600, 7500, 200_000].map(durationText), ['5 s', '1 min', '1 h', '2 h 5 min', '2 days']);
  t.same([0, 0.0000001, 0.0041, 0.12, 12.3].map(dollarsText), ['$0', '$0', '$0.0041', '$0.12', '$12.30']);
  t.same([countOf(1, 'file'), countOf(1234, 'file')], ['1 file', '1,234 files']);
  t.same([barText(0, 4), barText(0.5, 4), barText(2, 4)], ['[    ]   0%', '[##  ]  50%', '[####] 100%']);
});

t.test('progress: written over on a terminal, a line now and then elsewhere', async t => {
  let now = 0;
  let written = '';
  const write = (text: string): void => {
    written += text;
  };
  const terminal = new ProgressLine({ isTTY: true, columns: 10, write }, () => now);
  terminal.show('first, and long');
  terminal.show('too soon');
  now = 200;
  terminal.show('second');
  terminal.end();
  t.equal(written, '\rfirst, an\u001b[K\rsecond\u001b[K\r\u001b[K');
  written = '';
  const file = new ProgressLine({ write }, () => now);
  file.show('done at once');
  now += 3000;
  file.show('three seconds');
  now += 3000;
  file.show('six seconds');
  now += 10_000;
  file.show('sixteen');
  file.end();
  t.equal(written, 's3mount: three seconds\ns3mount: sixteen\n');
});
