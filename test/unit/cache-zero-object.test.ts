import t from 'tap';
import { makeZeros } from '../../src/cache/zero-object.ts';
import { isStoreError } from '../../src/errors.ts';
import { MemoryStore } from '../support/memory-store.ts';

const KIB = 1024;
const LIMITS = { minPartSize: 4 * KIB, maxParts: 100 };

t.test('an object of zeros is made of few bytes', async t => {
  for (const size of [1, 3 * KIB, 8 * KIB, 8 * KIB + 1, 200 * KIB, 300 * KIB, 5000 * KIB + 17]) {
    const store = new MemoryStore({ limits: LIMITS });
    const version = await makeZeros(store, 'zeros', size, undefined, 8 * KIB);
    t.equal(version.size, size);
    t.ok(Buffer.alloc(size).equals(store.bytes('zeros')!), `${size} of them`);
    t.equal(store.info('zeros')?.etag, version.etag);
    const sent = store.calls.filter(call => call.operation === 'PutObject' || call.operation === 'UploadPart');
    t.same([sent.length, sent[0]?.bytes], [1, Math.min(size, 8 * KIB)]);
    t.ok(store.calls.length <= 1 + 2 * 34 + 4, `${store.calls.length} requests`);
  }
});

t.test('where it cannot be made nothing is left', async t => {
  for (const operation of ['UploadPartCopy', 'CompleteMultipartUpload', 'CreateMultipartUpload'] as const) {
    const store = new MemoryStore({ limits: LIMITS });
    store.failNext(operation, 'forbidden');
    const error: unknown = await makeZeros(store, 'zeros', 100 * KIB, undefined, 8 * KIB).catch(failure => failure);
    t.ok(isStoreError(error, 'forbidden'));
    t.same(store.keys(), []);
    t.equal(store.openUploads, 0);
  }
});
