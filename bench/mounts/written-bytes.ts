/**
 * The bytes that write workloads write: one generated block again and again, with the number of its MiB in front of each
 * MiB. Cheap to make while writing, and a MiB in the wrong place is found.
 */
import { generatedBytes } from '../../src/embedded-s3/generator.ts';

export const STAMPED = 1024 * 1024;

const SEED = 4711;

let block: Buffer | undefined;

/** MiB `number` of a written file. The buffer is the same each time: it holds until the next call. */
export function writtenBlock(number: number): Buffer {
  block ??= generatedBytes(SEED, 0, STAMPED);
  block.writeDoubleLE(number, 0);
  return block;
}

/** Bytes `offset` … `offset + length - 1` of a written file, in a buffer of their own. */
export function writtenBytes(offset: number, length: number): Buffer {
  const result = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const at = offset + done;
    const within = at % STAMPED;
    const take = Math.min(STAMPED - within, length - done);
    writtenBlock(Math.floor(at / STAMPED)).copy(result, done, within, within + take);
    done += take;
  }
  return result;
}
