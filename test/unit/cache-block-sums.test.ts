import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { crc32 } from 'node:zlib';
import t from 'tap';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { BlockSums, crc32OfSlices } from '../../src/cache/block-sums.ts';
import { Budget } from '../../src/cache/budget.ts';
import { Overlay } from '../../src/cache/overlay.ts';
import { BLOCK_SIZE } from '../../src/cache/stored-content.ts';
import { type HeldBuffer, UnsavedMemory } from '../../src/cache/unsaved-memory.ts';
import { makeFileSystem } from '../support/filesystem.ts';

const MIB = 1024 * 1024;
const { O_CREAT, O_WRONLY } = constants;

function anOverlay(): { overlay: Overlay; sums: BlockSums; write(offset: number, bytes: Uint8Array): void } {
  const memory = new UnsavedMemory(new Budget(64 * MIB), new BlockPool());
  const overlay = new Overlay(memory, 0);
  const sums = new BlockSums();
  return {
    overlay,
    sums,
    write(offset, bytes) {
      if (!memory.tryAdmit(overlay.blocks.cost(offset, bytes.length))) throw new Error('no memory');
      overlay.write(offset, bytes);
      sums.wrote(overlay, offset, offset + bytes.length);
    },
  };
}

t.test('a block is summed when it is whole, and not before the write is answered', async t => {
  const { overlay, write } = anOverlay();
  const bytes = randomBytes(2 * BLOCK_SIZE);
  write(0, bytes.subarray(0, BLOCK_SIZE + 4096));
  const first = overlay.blocks.get(0)!.buffer;
  t.equal(first.crc32, undefined, 'the caller is answered first');
  await undefined;
  await undefined;
  t.equal(first.crc32, crc32(bytes.subarray(0, BLOCK_SIZE)));
  t.equal(overlay.blocks.get(1)!.buffer.crc32, undefined, 'not whole yet');
  for (let at = BLOCK_SIZE + 4096; at < bytes.length; at += 4096) write(at, bytes.subarray(at, at + 4096));
  await undefined;
  await undefined;
  t.equal(overlay.blocks.get(1)!.buffer.crc32, crc32(bytes.subarray(BLOCK_SIZE)));
});

t.test('who writes into a block forgets its sum', async t => {
  const { overlay, write } = anOverlay();
  write(0, randomBytes(BLOCK_SIZE));
  await undefined;
  await undefined;
  const { buffer } = overlay.blocks.get(0)!;
  t.not(buffer.crc32, undefined);
  write(5, Buffer.from('x'));
  t.equal(buffer.crc32, undefined);
  t.equal(crc32OfSlices([buffer.bytes], new Map([[buffer.bytes, buffer]])), crc32(buffer.bytes));
});

t.test('what is given up meanwhile is not summed: its bytes are those of another block', async t => {
  const { overlay, write } = anOverlay();
  write(0, randomBytes(BLOCK_SIZE));
  const { buffer } = overlay.blocks.get(0)!;
  overlay.truncate(0);
  await undefined;
  await undefined;
  t.equal(buffer.crc32, undefined);
});

t.test('a body is summed from what is known and what is not', async t => {
  const { overlay, write } = anOverlay();
  write(0, randomBytes(3 * BLOCK_SIZE));
  await undefined;
  await undefined;
  const slices: Uint8Array[] = [randomBytes(77_777)];
  const wholes = new Map<Uint8Array, HeldBuffer>();
  for (let index = 0; index < 3; index++) {
    const { buffer } = overlay.blocks.get(index)!;
    if (index === 1) buffer.crc32 = undefined;
    const slice = buffer.bytes.subarray();
    slices.push(slice);
    wholes.set(slice, buffer);
  }
  slices.push(randomBytes(5));
  t.equal(crc32OfSlices(slices, wholes), crc32(Buffer.concat(slices)));
  const { buffer } = overlay.blocks.get(2)!;
  buffer.crc32! ^= 1;
  t.not(crc32OfSlices(slices, wholes), crc32(Buffer.concat(slices)), 'what is known is not computed again');
});

t.test('parts carry the checksum of what they hold, also of what was changed before they went out', async t => {
  const { kernel, store } = makeFileSystem({ budget: 256 * MIB });
  const bytes = randomBytes(40 * MIB);
  const fd = await kernel.open('/f', O_CREAT | O_WRONLY);
  // The store in memory compares the checksum that comes with a part.
  for (let at = 0; at < bytes.length; at += MIB) {
    await kernel.write(fd, at, bytes.subarray(at, at + MIB));
    await undefined;
    // A block of a part that is not whole yet, summed a moment ago.
    if (at % (8 * MIB) === 3 * MIB) {
      bytes[at + 9] = ~bytes[at + 9]! & 0xff;
      await kernel.write(fd, at + 9, bytes.subarray(at + 9, at + 10));
    }
  }
  await kernel.close(fd);
  t.equal(store.count('UploadPart'), 5);
  t.ok(Buffer.from(store.bytes('f')!).equals(bytes));
});
