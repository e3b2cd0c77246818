import fc from 'fast-check';
import t from 'tap';
import { PartUpload } from '../../src/cache/part-upload.ts';
import type { SentRange } from '../../src/cache/upload-plan.ts';
import { systemClock } from '../../src/concurrency.ts';
import { StoreError } from '../../src/errors.ts';
import type { ObjectStore, UploadedPart } from '../../src/s3/store.ts';

const marks = { live: true, captured: false };

function begun(): PartUpload {
  // Only the beginning of an upload is asked of the store: what a part does is handed in.
  const store = { beginUpload: async () => ({}) } as unknown as ObjectStore;
  return new PartUpload(store, systemClock, 'key', { headers: {}, metadata: {} });
}

const ranges = (parts: readonly SentRange[]): SentRange[] =>
  parts.map(({ number, offset, size }) => ({ number, offset, size }));

const overlaps = (a: SentRange, b: SentRange): boolean => a.offset < b.offset + b.size && b.offset < a.offset + a.size;

const anyRange = fc.record({
  number: fc.integer({ min: 1, max: 12 }),
  offset: fc.nat(60),
  size: fc.integer({ min: 1, max: 20 }),
});

t.test('a part takes the place of the one with its number and of those that it overlaps', async t => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(anyRange, fc.boolean()), { maxLength: 25 }), async sends => {
      const upload = begun();
      const fails: { part: SentRange; fail: () => void; settled: Promise<unknown> }[] = [];
      let model: SentRange[] = [];
      for (const [range, last] of sends) {
        let fail!: () => void;
        const answer = new Promise<UploadedPart>((_, reject) => {
          fail = () => reject(new StoreError('unavailable', 'no answer'));
        });
        const part = upload.send(range, () => answer, marks);
        fails.push({ part: range, fail, settled: part.done.catch(() => {}) });
        model = [...model.filter(other => other.number !== range.number && !overlaps(other, range)), range];
        model.sort((a, b) => a.offset - b.offset);
        if (JSON.stringify(ranges(upload.parts)) !== JSON.stringify(model)) {
          throw new Error(`${JSON.stringify(ranges(upload.parts))} is not ${JSON.stringify(model)}`);
        }
        if (!last) continue;
        // A part of a number is asked for when the one before it has settled.
        for (const one of fails) if (one.part.number === range.number) one.fail();
        await fails.at(-1)!.settled;
        model = model.filter(other => other !== range);
        const left = ranges(upload.parts).map(other => JSON.stringify(other));
        if (left.join() !== model.map(other => JSON.stringify(other)).join()) throw new Error(`a failed part stayed`);
      }
      for (const one of fails) one.fail();
      await Promise.all(fails.map(one => one.settled));
      return upload.parts.length === 0;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('what is touched is no longer held, its neighbours are', async t => {
  const upload = begun();
  const size = 10;
  const parts = Array.from({ length: 1000 }, (_, i) =>
    upload.send(
      { number: i + 1, offset: i * size, size },
      async () => ({ number: i + 1, etag: `"${i}"`, size }),
      marks,
    ),
  );
  await Promise.all(parts.map(part => part.done));
  t.ok(upload.holds(4990, 5000));
  upload.touch(4995, 5005);
  t.notOk(upload.holds(4990, 5000));
  t.notOk(upload.holds(5000, 5010));
  t.ok(upload.holds(4980, 4990));
  t.ok(upload.holds(5010, 5020));
  t.notOk(upload.holds(5010, 5030), 'no part holds both');
});

t.test('all parts of a save end with it, all parts of an upload with that', async t => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on('warning', note);
  t.teardown(() => process.off('warning', note));
  const upload = begun();
  const save = new AbortController();
  const sent = (number: number, signal?: AbortSignal): Promise<unknown> =>
    upload
      .send(
        { number, offset: number * 10, size: 10 },
        (_, ends) =>
          new Promise((_resolve, reject) => {
            ends.addEventListener('abort', () => reject(new StoreError('aborted', `part ${number} ended`)));
          }),
        marks,
        signal,
      )
      .done.catch((error: Error) => error.message);
  const ofSave = Array.from({ length: 30 }, (_, i) => sent(i + 1, save.signal));
  const ahead = sent(31);
  await new Promise(setImmediate);
  save.abort();
  t.equal((await Promise.all(ofSave)).at(-1), 'part 30 ended');
  t.same(ranges(upload.parts), [{ number: 31, offset: 310, size: 10 }], 'a part sent ahead goes on');
  const next = sent(32, new AbortController().signal);
  await new Promise(setImmediate);
  await upload.abort();
  t.equal(await ahead, 'part 31 ended');
  t.equal(await next, 'part 32 ended');
  t.same(warnings, [], 'thirty listeners are no leak');
});
