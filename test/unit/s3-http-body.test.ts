import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { ReceivedBody } from '../../src/s3/http-body.ts';

t.test('buffers that lie side by side are read into at once, others are not', async t => {
  const memory = new ArrayBuffer(1024);
  const at = (offset: number, length: number): Uint8Array => new Uint8Array(memory, offset, length);
  const body = new ReceivedBody([at(0, 100), at(100, 100), at(300, 100), new Uint8Array(50)], 350, 0);
  t.same([body.room(350).byteOffset, body.room(350).length], [0, 200]);
  t.equal(body.room(150).length, 150, 'no further than the body goes');
  body.filled(130);
  t.same([body.room(220).byteOffset, body.room(220).length], [130, 70]);
  body.filled(70);
  t.same([body.room(150).byteOffset, body.room(150).length], [300, 100]);
  body.filled(100);
  t.equal(body.room(50).length, 50);
});

t.test('blocks of a new slab lie side by side, and so do those of one that came back', async t => {
  const pool = new BlockPool();
  for (let round = 0; round < 2; round++) {
    const blocks = Array.from({ length: 64 }, () => pool.take(BLOCK_SIZE));
    const body = new ReceivedBody(blocks, 64 * BLOCK_SIZE, 0);
    let reads = 0;
    for (let left = 64 * BLOCK_SIZE; left > 0; reads++) {
      const { length } = body.room(left);
      body.filled(length);
      left -= length;
    }
    t.equal(reads, 16, 'half a MiB each');
    for (const block of round === 0 ? blocks : blocks.reverse()) pool.give(block);
  }
});

t.test('bytes come where they belong, however the buffers lie and whatever arrives at a time', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ gap: fc.nat(2), length: fc.nat(40) }), { minLength: 1, maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
      fc.boolean(),
      (places, steps, isReversed) => {
        const memory = new ArrayBuffer(2000);
        let end = 0;
        const targets = places.map(({ gap, length }) => {
          const target = new Uint8Array(memory, end + gap, length);
          end += gap + length;
          return target;
        });
        if (isReversed) targets.reverse();
        const bytes = randomBytes(targets.reduce((sum, target) => sum + target.length, 0));
        const body = new ReceivedBody(targets, bytes.length, 0);
        for (let done = 0, i = 0; done < bytes.length; i++) {
          const room = body.room(bytes.length - done);
          const size = Math.min(room.length, steps[i % steps.length]!);
          // By the socket, or with the head.
          if (i % 3 === 2) body.take(bytes.subarray(done, done + size));
          else {
            room.set(bytes.subarray(done, done + size));
            body.filled(size);
          }
          done += size;
        }
        return body.bytes === bytes.length && Buffer.concat(targets).equals(bytes);
      },
    ),
    { numRuns: 2000 },
  );
});
