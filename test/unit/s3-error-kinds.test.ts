import fc from 'fast-check';
import t from 'tap';
import { StoreError } from '../../src/errors.ts';
import { bucketEndpoint } from '../../src/s3/endpoint.ts';
import { type Failure, failureOfAnswer, failureOfTransport, isWebPage, printable } from '../../src/s3/error-kinds.ts';
import { HttpError } from '../../src/s3/http-message.ts';

const OBJECT = { operation: 'GetObject', bucket: 'b', key: 'dir/key' };
const NOW = Date.UTC(2026, 10, 21, 11, 0, 0);
const SENT = {
  at: NOW,
  endpoint: bucketEndpoint({ bucket: 'bucket', region: 'us-east-1' }),
  credentials: { accessKeyId: 'a', secretAccessKey: 's', sessionToken: 't' },
};

function answer(status: number, code?: string, headers: Record<string, string> = {}, extra = ''): Failure {
  const xml =
    code === undefined
      ? ''
      : `<?xml version="1.0"?>\n<Error><Code>${code}</Code><Message>Why &amp; how</Message>${extra}<RequestId>R1</RequestId></Error>`;
  return failureOfAnswer(OBJECT, { status, headers: new Map(Object.entries(headers)), body: Buffer.from(xml) }, SENT);
}

t.test('codes and statuses', async t => {
  // status, code, kind, retried, possibly done, throttled
  const table: readonly (readonly [number, string | undefined, string, boolean, boolean, boolean])[] = [
    [404, 'NoSuchKey', 'not-found', false, false, false],
    [404, undefined, 'not-found', false, false, false],
    [404, 'NoSuchBucket', 'no-such-bucket', false, false, false],
    [404, 'NoSuchUpload', 'no-such-upload', false, false, false],
    [412, 'PreconditionFailed', 'precondition-failed', false, false, false],
    [412, undefined, 'precondition-failed', false, false, false],
    [409, 'ConditionalRequestConflict', 'conflict', false, false, false],
    [403, 'AccessDenied', 'forbidden', false, false, false],
    [401, undefined, 'forbidden', false, false, false],
    [403, 'InvalidObjectState', 'archived', false, false, false],
    [416, 'InvalidRange', 'range', false, false, false],
    [400, 'EntityTooLarge', 'too-large', false, false, false],
    [413, undefined, 'too-large', false, false, false],
    [400, 'InvalidPart', 'invalid', false, false, false],
    [400, 'KeyTooLongError', 'invalid', false, false, false],
    [501, 'NotImplemented', 'not-implemented', false, true, false],
    [405, 'MethodNotAllowed', 'not-implemented', false, false, false],
    [507, 'XMinioStorageFull', 'no-space', false, true, false],
    [400, 'RequestTimeout', 'timeout', true, true, false],
    [408, undefined, 'timeout', true, true, false],
    [400, 'BadDigest', 'corrupt', true, false, false],
    [400, 'KMS.DisabledException', 'forbidden', false, false, false],
    [400, 'KMS.ThrottlingException', 'unavailable', true, false, true],
    [500, 'InternalError', 'unavailable', true, true, false],
    [502, undefined, 'unavailable', true, true, false],
    [503, 'SlowDown', 'unavailable', true, true, true],
    [503, undefined, 'unavailable', true, true, true],
    [504, undefined, 'unavailable', true, true, false],
    [429, undefined, 'unavailable', true, false, true],
    [200, 'InternalError', 'unavailable', true, true, false],
    [200, 'NoSuchUpload', 'no-such-upload', false, true, false],
    [400, 'constructor', 'invalid', false, false, false],
  ];
  for (const [status, code, kind, retry, unknown, throttled] of table) {
    const failure = answer(status, code);
    t.match(
      { kind: failure.error.kind, retry: failure.retry, unknown: failure.unknown, throttled: failure.throttled },
      { kind, retry, unknown, throttled },
      `${status} ${code ?? ''}`,
    );
    t.equal(failure.error.details.status, status);
  }
});

t.test('what a person reads', async t => {
  const { error } = answer(403, 'AccessDenied');
  t.equal(
    error.message,
    'GetObject of "dir/key" failed: S3 answered 403 AccessDenied ("Why & how"); the credentials need s3:GetObject on bucket b',
  );
  t.match(error.details, { operation: 'GetObject', key: 'dir/key', s3Code: 'AccessDenied', requestId: 'R1' });
  t.match(answer(403, 'RequestTimeTooSkewed').error.message, 'clock');
  t.match(answer(403, 'InvalidAccessKeyId').error.message, 'access key');
  t.match(answer(400, 'ExpiredToken').error.message, 'renew');
  t.match(answer(403, 'InvalidObjectState').error.message, 'restore');
});

t.test('web pages in the place of S3', async t => {
  const page = Buffer.from('\n<!DOCTYPE HTML><html><body>Sign in to the network</body></html>');
  for (const status of [200, 302, 403, 404, 502]) {
    const failure = failureOfAnswer(
      OBJECT,
      { status, headers: new Map(), body: page },
      { ...SENT, credentials: undefined },
    );
    t.equal(failure.error.kind, 'unavailable', `${status}: no file has vanished, and nobody is denied anything`);
    t.match(failure.error.message, 'proxy');
    t.ok(failure.retry);
  }
  t.ok(isWebPage(new Map([['content-type', 'text/html; charset=utf-8']]), Buffer.from('x')));
  t.notOk(isWebPage(new Map([['content-type', 'application/xml']]), Buffer.from('<Error/>')));
});

t.test('what can be set right', async t => {
  const remedies: readonly (readonly [string, Failure, unknown])[] = [
    [
      'another region',
      answer(301, 'PermanentRedirect', { 'x-amz-bucket-region': 'eu-west-1' }),
      { what: 'region', region: 'eu-west-1' },
    ],
    [
      'a HEAD to another region',
      answer(400, undefined, { 'x-amz-bucket-region': 'eu-west-1' }),
      { what: 'region', region: 'eu-west-1' },
    ],
    [
      'signed for another region',
      answer(400, 'AuthorizationHeaderMalformed', {}, '<Region>ap-northeast-2</Region>'),
      { what: 'region', region: 'ap-northeast-2' },
    ],
    ['the same region', answer(403, 'AccessDenied', { 'x-amz-bucket-region': 'us-east-1' }), undefined],
    ['a region that is none', answer(301, undefined, { 'x-amz-bucket-region': 'evil.example/' }), undefined],
    [
      'the clock',
      answer(403, 'RequestTimeTooSkewed', { date: 'Sat, 21 Nov 2026 14:00:00 GMT' }),
      { what: 'clock', serverDate: NOW + 3 * 3600_000 },
    ],
    [
      'the clock, told by a HEAD',
      answer(403, undefined, { date: 'Sat, 21 Nov 2026 14:00:00 GMT' }),
      { what: 'clock', serverDate: NOW + 3 * 3600_000 },
    ],
    [
      'a HEAD that is refused',
      answer(403, undefined, { date: 'Sat, 21 Nov 2026 11:00:10 GMT' }),
      { what: 'credentials' },
    ],
    ['a HEAD with a token that has expired', answer(400), { what: 'credentials' }],
    ['a token that has expired', answer(400, 'ExpiredToken'), { what: 'credentials' }],
    ['a right that is missing', answer(403, 'AccessDenied'), undefined],
  ];
  for (const [what, failure, remedy] of remedies) {
    if (remedy === undefined) t.equal(failure.remedy, undefined, what);
    else t.match(failure.remedy, remedy as object, what);
  }
});

t.test('requests without an answer', async t => {
  const table: readonly (readonly [ConstructorParameters<typeof HttpError>[0], string, boolean])[] = [
    ['dns', 'unavailable', true],
    ['connect', 'unavailable', true],
    ['connect-timeout', 'timeout', true],
    ['tls', 'unavailable', false],
    ['first-byte-timeout', 'timeout', true],
    ['stall', 'timeout', true],
    ['reset', 'unavailable', true],
    ['bad-answer', 'corrupt', true],
    ['aborted', 'aborted', false],
  ];
  for (const [code, kind, retry] of table) {
    for (const sent of [false, true]) {
      const failure = failureOfTransport(OBJECT, new HttpError(code, 'why', sent));
      t.equal(failure.error.kind, kind, code);
      t.equal(failure.retry, retry, `${code} retried`);
      if (code !== 'bad-answer' && code !== 'tls') t.equal(failure.unknown, sent, `${code} unknown`);
    }
  }
  const failure = answer(404);
  t.equal(failureOfTransport(OBJECT, failure), failure, 'a failure stays what it is');
  t.match(failureOfTransport(OBJECT, new StoreError('corrupt', 'x')), { retry: true, unknown: true });
  t.match(failureOfTransport(OBJECT, new StoreError('invalid', 'x')), { retry: false, unknown: false });
  const bug = new TypeError('x');
  t.throws(() => failureOfTransport(OBJECT, bug), bug, 'a bug is not made a failure');
});

t.test('nothing from outside reaches a terminal as it is', async t => {
  t.equal(printable('a\u001b[31m\r\n\u009b한글\u202e'), 'a?[31m???한글?');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary', maxLength: 500 }), (code, key) => {
      const { error } = failureOfAnswer(
        { ...OBJECT, key },
        {
          status: 400,
          headers: new Map(),
          body: Buffer.from(`<Error><Code>${code}</Code><Message>${key}</Message></Error>`),
        },
        { ...SENT, credentials: undefined },
      );
      return (
        !/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(error.message) && error.message.length < 2000
      );
    }),
  );
});
