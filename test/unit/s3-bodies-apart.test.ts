/**
 * The body of one request never reaches another: many reads of many keys over few connections that break, are aborted and
 * are used again, into buffers that go from one request to the next, as those of the block cache do.
 */
import fc from 'fast-check';
import t from 'tap';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { StoreError } from '../../src/errors.ts';
import { openS3Store } from '../../src/s3/open-store.ts';

const BUCKET = 'apart';
const KEYS = 8;
const SIZE = 300_000;
/** What a buffer holds that nobody may write to: no key's byte. */
const UNTOUCHED = 0xee;

interface Read {
  readonly key: number;
  readonly offset: number;
  readonly length: number;
  /** Aborted when so many bytes are in; absent: not. */
  readonly abortAt: number | undefined;
}

const read: fc.Arbitrary<Read> = fc.record({
  key: fc.nat(KEYS - 1),
  offset: fc.nat(SIZE - 1),
  length: fc.integer({ min: 1, max: SIZE }),
  abortAt: fc.option(fc.nat(SIZE / 2), { nil: undefined, freq: 2 }),
});

t.test('bodies stay apart', async t => {
  const s3 = await startEmbeddedS3({ buckets: [BUCKET], verifySignatures: false, idleTimeout: 30 });
  t.teardown(() => s3.close());
  for (let key = 0; key < KEYS; key++) s3.putObject(BUCKET, `k${key}`, Buffer.alloc(SIZE, key + 1));
  const store = await openS3Store({
    bucket: BUCKET,
    url: s3.url,
    credentials: async () => s3.credential,
    maxConnections: 3,
    retry: { attempts: 6, base: 1, longest: 2 },
    timeouts: { stall: 200, firstByte: 2000 },
  });
  t.teardown(() => store.close());
  let whole = 0;
  let aborted = 0;

  /** A buffer is used by one read after the other, at once when the one before has settled. */
  const worker = async (reads: readonly Read[]): Promise<void> => {
    const buffer = new Uint8Array(SIZE);
    for (const { key, offset, length, abortAt } of reads) {
      buffer.fill(UNTOUCHED);
      const controller = new AbortController();
      const target = buffer.subarray(0, length);
      const sink = {
        buffers: [target],
        filled: (bytes: number) => {
          if (abortAt !== undefined && bytes >= abortAt) controller.abort();
        },
      };
      const expected = Math.min(length, SIZE - offset);
      try {
        await store.get(`k${key}`, { offset, length }, sink, { signal: controller.signal });
        whole++;
        if (!target.subarray(0, expected).every(byte => byte === key + 1)) throw new Error(`k${key}: other bytes`);
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
        aborted++;
        if (!target.every(byte => byte === key + 1 || byte === UNTOUCHED)) throw new Error(`k${key}: other bytes`);
        // Nobody writes to it any more: neither what is left of this answer nor another one.
        buffer.fill(UNTOUCHED);
        for (let turn = 0; turn < 5; turn++) await new Promise(resolve => setImmediate(resolve));
        if (!buffer.every(byte => byte === UNTOUCHED)) throw new Error(`k${key}: written to after its end`);
      }
    }
  };

  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(read, { minLength: 1, maxLength: 8 }), { minLength: 4, maxLength: 8 }),
      fc.array(fc.constantFrom('reset', 'truncate', 'lost', 'page'), { maxLength: 6 }),
      async (plans, faults) => {
        s3.faults.clear();
        for (const [i, kind] of faults.entries()) {
          s3.faults.add({ kind, operation: 'GetObject', count: 1, after: 3 * i, at: 0.3 });
        }
        await Promise.all(plans.map(worker));
      },
    ),
    { numRuns: 8 },
  );
  t.ok(whole > 30 && aborted > 10, `${whole} came, ${aborted} were cut off`);
});
