import fc from 'fast-check';
import t from 'tap';
import { copyObject, needsDescription, planCopy } from '../../src/cache/object-copy.ts';
import type { StoreError } from '../../src/errors.ts';
import { S3_LIMITS, type StoreLimits } from '../../src/s3/store.ts';
import { MemoryStore } from '../support/memory-store.ts';
import { patternBytes } from '../support/pattern.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** What S3 would refuse; undefined if nothing. */
function fault(size: number, limits: StoreLimits): string | undefined {
  const plan = planCopy(size, limits);
  if (plan.length === 1) return size <= limits.maxCopySize ? undefined : 'one copy of too much';
  if (plan.length > limits.maxParts) return `${plan.length} parts`;
  let at = 0;
  for (const { offset, length } of plan) {
    if (offset !== at) return `a gap or overlap at ${at}`;
    if (length > limits.maxPartSize) return `a part of ${length}`;
    if (length < limits.minPartSize && offset + length !== size) return `a part of ${length} that is not the last`;
    at = offset + length;
  }
  return at === size ? undefined : `ends at ${at}`;
}

t.test('every copy is one that S3 takes, up to the largest object', async t => {
  const sizes = fc
    .tuple(fc.double({ min: 0, max: Math.log2(S3_LIMITS.maxObjectSize), noNaN: true }), fc.integer({ min: -2, max: 2 }))
    .map(([log, beside]) => Math.min(S3_LIMITS.maxObjectSize, Math.max(0, Math.floor(2 ** log) + beside)));
  fc.assert(
    fc.property(sizes, size => {
      const wrong = fault(size, S3_LIMITS);
      if (wrong) throw new Error(`${size}: ${wrong}`);
      return needsDescription(size, S3_LIMITS) === planCopy(size, S3_LIMITS).length > 1;
    }),
    { numRuns: 500 },
  );
  t.equal(fault(S3_LIMITS.maxObjectSize, S3_LIMITS), undefined);
  t.equal(planCopy(S3_LIMITS.maxObjectSize, S3_LIMITS).length, S3_LIMITS.maxParts);
  t.equal(planCopy(64 * MIB, S3_LIMITS).length, 1, 'one request for what is small');
  t.equal(planCopy(50 * GIB, S3_LIMITS).length, 200, 'parts of 256 MiB where these are few enough');
});

t.test('a copy that fails leaves neither an object nor an upload', async t => {
  const limits: StoreLimits = { ...S3_LIMITS, minPartSize: 16, maxPartSize: 64, maxCopySize: 64 };
  const store = new MemoryStore({ limits });
  const bytes = patternBytes(1000, 3);
  const { etag } = await store.put('from', [bytes], { headers: {}, metadata: {} }, undefined);
  const description = { headers: { contentType: 'text/x' }, metadata: { note: 'kept' } };
  const source = { key: 'from', etag, size: bytes.length };
  await copyObject(store, source, 'to', description, { ifAbsent: true });
  const { size, description: told } = await store.head('to');
  t.equal(size, bytes.length);
  t.same(told.metadata, { note: 'kept' });
  t.equal(told.headers.contentType, 'text/x');
  const kindOf = (failing: Promise<unknown>): Promise<unknown> =>
    failing.then(
      () => undefined,
      (error: StoreError) => error.kind,
    );
  const again = copyObject(store, source, 'to', description, { ifAbsent: true });
  t.equal(await kindOf(again), 'precondition-failed');
  const old = copyObject(store, { ...source, etag: '"old"' }, 'other', description, undefined);
  t.equal(await kindOf(old), 'precondition-failed');
  t.equal(store.openUploads, 0);
  t.equal(await kindOf(store.head('other')), 'not-found');
});
