import fc from 'fast-check';
import t from 'tap';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { newCursor } from '../../src/cache/read-plan.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { StoreError } from '../../src/errors.ts';
import { bytesOf, setup } from '../support/block-cache.ts';
import { patternBytes, settle } from '../support/manual-store.ts';
import { MemoryStore } from '../support/memory-store.ts';

t.test('bytes are right under parallel reads with tiny budgets, and accounts balance', async t => {
  const size = 7 * BLOCK_SIZE + 12_345;
  const body = patternBytes(size);
  const small = patternBytes(5000, 2);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 12 }),
      fc.boolean(),
      fc.array(
        fc.record({
          offset: fc.integer({ min: 0, max: size + 10 }),
          length: fc.oneof(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: 1, max: 4 * BLOCK_SIZE })),
          cursor: fc.integer({ min: 0, max: 2 }),
          wait: fc.boolean(),
          hold: fc.boolean(),
          abort: fc.integer({ min: 0, max: 9 }),
          other: fc.integer({ min: 0, max: 9 }),
        }),
        { minLength: 1, maxLength: 25 },
      ),
      async (blocks, ahead, reads) => {
        const all = setup(new MemoryStore({ bodyStep: 50_000 }), blocks * BLOCK_SIZE, {
          maxRequestBytes: 4 * BLOCK_SIZE,
          ...(ahead ? { maxReadAhead: 8 * BLOCK_SIZE } : {}),
        });
        const { store, cache, budget, pool } = all;
        const content = cache.contentOf(store.putForeign('a', body));
        const tiny = cache.contentOf(store.putForeign('b', small));
        const cursors = [newCursor(), newCursor()];
        const running: Promise<void>[] = [];
        for (const { offset, length, cursor, wait, hold, abort, other } of reads) {
          const from = other === 0 ? tiny : content;
          const expected = (other === 0 ? small : body).subarray(offset, offset + length);
          const controller = new AbortController();
          const work = async (): Promise<void> => {
            try {
              const reply = await cache.read(from, offset, length, cursors[cursor], controller);
              if (hold) await settle();
              if (!bytesOf(reply).equals(expected)) throw new Error(`wrong bytes at ${offset}+${length}`);
              reply.release?.();
            } catch (error) {
              if (!(error instanceof StoreError && error.kind === 'aborted' && abort === 0)) throw error;
            }
          };
          const one = work();
          if (abort === 0) setImmediate(() => controller.abort());
          if (wait) await one;
          else running.push(one);
        }
        await Promise.all(running);
        await settle();
        if (cache.stats.inFlightBlocks !== 0) await settle();
        const { aheadBytes, freshBytes, hotBytes, inFlightBlocks } = cache.stats;
        if (inFlightBlocks !== 0) throw new Error('blocks still in flight');
        if (pool.taken !== budget.used) throw new Error(`pool ${pool.taken}, budget ${budget.used}`);
        if (aheadBytes + freshBytes + hotBytes !== budget.used) throw new Error('memory that no block has');
        cache.drop(content);
        cache.drop(tiny);
        if (budget.used !== 0 || pool.taken !== 0) throw new Error(`${budget.used} bytes leaked`);
      },
    ),
    { numRuns: 150, timeout: 10_000 },
  );
  t.pass();
});

t.test('anything in any order: bytes are right or the error was injected, and nothing leaks', async t => {
  const kinds = ['read', 'open', 'prefetch', 'rename', 'drop', 'pin', 'fail', 'save', 'wait'] as const;
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 40 }),
      fc.array(
        fc.record({
          kind: fc.constantFrom(...kinds),
          file: fc.integer({ min: 0, max: 2 }),
          at: fc.double({ min: 0, max: 1, noNaN: true }),
          length: fc.integer({ min: 1, max: 5 * BLOCK_SIZE }),
        }),
        { minLength: 1, maxLength: 40 },
      ),
      async (blocks, steps) => {
        const store = new MemoryStore({ bodyStep: 90_000 });
        const { cache, budget, pool } = setup(store, blocks * BLOCK_SIZE, { maxRequestBytes: 2 * BLOCK_SIZE });
        const files = [3000, 5 * BLOCK_SIZE + 70_000, 9 * BLOCK_SIZE].map((size, i) => {
          const body = patternBytes(size, i);
          return { body, content: cache.contentOf(store.putForeign(`f${i}`, body)), cursor: newCursor(), pins: 0 };
        });
        const contents = new Set(files.map(file => file.content));
        let renames = 0;
        const running: Promise<void>[] = [];
        const attempt = async (work: () => Promise<void>): Promise<void> => {
          try {
            await work();
          } catch (error) {
            if (!(error instanceof StoreError && error.message.includes('injected'))) throw error;
          }
        };
        for (const { kind, file, at, length } of steps) {
          const one = files[file]!;
          const { content, body } = one;
          const offset = Math.floor(at * body.length);
          switch (kind) {
            case 'read':
              running.push(
                attempt(async () => {
                  const reply = await cache.read(content, offset, length, one.cursor);
                  await settle();
                  if (!bytesOf(reply).equals(body.subarray(offset, offset + length))) throw new Error('wrong bytes');
                  reply.release?.();
                }),
              );
              break;
            case 'open':
              running.push(
                attempt(async () => {
                  const opened = await cache.openRead(content.version.key, length);
                  contents.add(opened.content);
                }),
              );
              break;
            case 'prefetch':
              cache.prefetch(content, offset, length);
              break;
            case 'rename': {
              const { key } = content.version;
              const next = store.putForeign(`r${renames++}`, body);
              cache.moved(content, next);
              if (at > 0.5 && !steps.some(step => step.kind === 'open')) store.deleteForeign(key);
              break;
            }
            case 'drop':
              cache.drop(content);
              break;
            case 'pin':
              running.push(
                attempt(async () => {
                  if (await cache.pin(content)) {
                    await settle();
                    cache.unpin(content);
                  }
                }),
              );
              break;
            case 'fail':
              store.failNext('GetObject', 'unavailable', { workDone: at > 0.5 });
              break;
            case 'save': {
              // One block changes; the others go over to the new content, the old one is left behind.
              const changed = Math.min(Math.floor(offset / BLOCK_SIZE), content.blockCount - 1);
              const after = body.slice();
              after.fill(renames, changed * BLOCK_SIZE, (changed + 1) * BLOCK_SIZE);
              const to = cache.contentOf(store.putForeign(`s${renames++}`, after));
              cache.inherit(content, to, index => index !== changed);
              if (budget.tryAcquire(BlockPool.sizeOf(to.blockLength(changed)))) {
                const buffer = pool.take(to.blockLength(changed));
                buffer.set(after.subarray(changed * BLOCK_SIZE, (changed + 1) * BLOCK_SIZE));
                cache.adopt(to, changed, buffer);
              }
              files[file] = { ...one, body: after, content: to };
              contents.add(to);
              break;
            }
            case 'wait':
              await settle();
          }
        }
        await Promise.all(running);
        for (let i = 0; i < 10 && cache.stats.inFlightBlocks > 0; i++) await settle();
        await settle();
        for (const content of contents) cache.drop(content);
        if (cache.stats.inFlightBlocks !== 0) throw new Error('blocks in flight that nobody brings');
        if (budget.used !== 0 || pool.taken !== 0) throw new Error(`${budget.used} and ${pool.taken} bytes leaked`);
        if (budget.waiting !== 0) throw new Error('somebody still waits for memory');
      },
    ),
    { numRuns: 120, timeout: 10_000 },
  );
  t.pass();
});
