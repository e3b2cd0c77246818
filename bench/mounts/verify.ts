/** Reads back from S3 what a mount wrote, by plain HTTP. */
import { generatedBytes } from '../../src/embedded-s3/generator.ts';
import { RawHttp } from './raw-http.ts';
import type { Expected } from './workload.ts';
import { writtenBytes } from './written-bytes.ts';

/** Of a large object, so many ranges of so many bytes are looked at, the first and the last included. */
const SAMPLES = 24;
const SAMPLE_BYTES = 64 * 1024;

/** Ranges of `size` bytes to look at: all of a small object. */
export function sampleRanges(size: number): { readonly offset: number; readonly length: number }[] {
  if (size <= SAMPLES * SAMPLE_BYTES) return size === 0 ? [] : [{ offset: 0, length: size }];
  const step = (size - SAMPLE_BYTES) / (SAMPLES - 1);
  return Array.from({ length: SAMPLES }, (_, i) => ({ offset: Math.floor(i * step), length: SAMPLE_BYTES }));
}

/** A sentence about the first object that is not as it should be; `undefined` where all are. */
export async function verifyObjects(
  url: string,
  bucket: string,
  objects: readonly Expected[],
): Promise<string | undefined> {
  const http = new RawHttp(url, 1);
  try {
    for (const { key, size, seed, range } of objects) {
      const path = `/${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`;
      for (const { offset, length } of range ? [range] : sampleRanges(size)) {
        const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
        const answer = await http.request({ method: 'GET', path, headers, collect: true });
        const total = /\r\ncontent-range: bytes \d+-\d+\/(\d+)/i.exec(answer.head)?.[1];
        if (Number(total) !== size) return `'${key}' has ${total} bytes in S3 and not ${size}`;
        const written = range ? writtenBytes(0, length) : writtenBytes(offset, length);
        const right = seed === undefined ? written : generatedBytes(seed, offset, length);
        if (!answer.body.equals(right)) return `'${key}' holds other bytes in S3 at ${offset}`;
      }
    }
    return undefined;
  } catch (error) {
    return `what was written could not be read back: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    http.close();
  }
}
