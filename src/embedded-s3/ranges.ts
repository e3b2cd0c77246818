/** `Range`, `x-amz-copy-source-range` and `partNumber`: which bytes of an object are meant. */
import { S3Failure } from './s3-error.ts';
import type { StoredObject } from './state.ts';

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * The bytes that `Range` names of an object of `size` bytes. `undefined`: all of them, also for what S3 does not
 * understand, such as several ranges. Throws InvalidRange.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | undefined {
  if (header === undefined) return undefined;
  const match = /^bytes=(\d*)-(\d*)$/.exec(header.trim());
  if (!match || (match[1] === '' && match[2] === '')) return undefined;
  const unsatisfiable = new S3Failure('InvalidRange', {
    fields: { RangeRequested: header, ActualObjectSize: size },
    headers: { 'Content-Range': `bytes */${size}` },
  });
  if (match[1] === '') {
    const length = Math.min(Number(match[2]), size);
    if (length === 0) throw unsatisfiable;
    return { offset: size - length, length };
  }
  const first = Number(match[1]);
  const last = match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (match[2] !== '' && Number(match[2]) < first) return undefined;
  if (first >= size) throw unsatisfiable;
  return { offset: first, length: last - first + 1 };
}

/** The bytes of part `text` of a multipart object; any other object is its own part 1. */
export function partRange(text: string, object: StoredObject): ByteRange {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 1 || number > 10_000) {
    throw new S3Failure('InvalidArgument', {
      message: 'Part number must be an integer between 1 and 10000, inclusive',
      fields: { ArgumentName: 'partNumber', ArgumentValue: text },
    });
  }
  const parts = object.parts ?? [{ number: 1, size: object.content.size }];
  let offset = 0;
  // S3 counts the parts of the object, whatever numbers they were uploaded under.
  for (const [index, part] of parts.entries()) {
    if (index + 1 === number) return { offset, length: part.size };
    offset += part.size;
  }
  throw new S3Failure('InvalidPartNumber', { fields: { PartNumberRequested: number, ActualPartCount: parts.length } });
}

/** `bytes=FIRST-LAST`, wholly within the source. Throws InvalidArgument or InvalidRange. */
export function parseCopyRange(header: string | undefined, size: number): ByteRange {
  if (header === undefined) return { offset: 0, length: size };
  const match = /^bytes=(\d+)-(\d+)$/.exec(header.trim());
  if (!match || Number(match[1]) > Number(match[2])) {
    throw new S3Failure('InvalidArgument', {
      message:
        'The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy',
      fields: { ArgumentName: 'x-amz-copy-source-range', ArgumentValue: header },
    });
  }
  if (Number(match[2]) >= size) {
    throw new S3Failure('InvalidArgument', {
      message: `Range specified is not valid for source object of size: ${size}`,
      fields: { ArgumentName: 'x-amz-copy-source-range', ArgumentValue: header },
    });
  }
  const offset = Number(match[1]);
  return { offset, length: Number(match[2]) - offset + 1 };
}
