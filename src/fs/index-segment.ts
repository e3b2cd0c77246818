/**
 * A segment of the persistent index as a file: what is kept of the objects of one directory whose names lie in one range.
 *
 * A row holds for exactly one (ETag, Last-Modified, size); whoever reads it compares with what S3 lists. A segment that was
 * written in part, belongs to another directory (two keys with one hash) or comes from another version of this program reads
 * as if it were not there.
 */
import { promisify } from 'node:util';
import { crc32, deflateRaw, inflateRaw } from 'node:zlib';
import type { ObjectDescription } from '../s3/store.ts';

/** Changes when the form does: older files are then not read, and go in time. */
const MAGIC = Buffer.from('s3mount index 1\n');
const HEADER = MAGIC.length + 8;
/** Above this nothing is unpacked: a damaged length must not take the memory. Bytes. */
const MAX_UNPACKED = 64 * 1024 * 1024;

const pack = promisify(deflateRaw);
const unpack = promisify(inflateRaw);

/** What is kept of one version of an object. Times in ms, as S3 lists them. */
export interface KeptMetadata {
  readonly etag: string;
  readonly size: number;
  readonly lastModified: number;
  /** Without tags: they change without leaving a trace in a listing. */
  readonly description: ObjectDescription;
}

export interface Segment {
  /** Key of the directory, with its slash at the end; empty for the root. */
  readonly directory: string;
  /** By name; the directory's own marker has the empty one. */
  readonly rows: Map<string, KeptMetadata>;
  /** Only in the first segment of a directory: where the others begin, in order, and their numbers. */
  readonly splits: readonly (readonly [first: string, number: number])[];
}

type Row = readonly [string, string, number, number, ObjectDescription];

export async function encodeSegment(segment: Segment): Promise<Buffer> {
  const rows: Row[] = [];
  for (const [name, { etag, size, lastModified, description }] of segment.rows) {
    const { tags: _, ...kept } = description;
    rows.push([name, etag, size, lastModified, kept]);
  }
  const { directory, splits } = segment;
  // The fastest level: most of it are field names and ETags, which pack or do not.
  const body = await pack(JSON.stringify({ directory, splits, rows }), { level: 1 });
  const header = Buffer.alloc(HEADER);
  MAGIC.copy(header);
  header.writeUInt32LE(crc32(body), MAGIC.length);
  header.writeUInt32LE(body.length, MAGIC.length + 4);
  return Buffer.concat([header, body]);
}

/** Undefined for whatever is no whole segment of this directory. */
export async function decodeSegment(bytes: Buffer, directory: string): Promise<Segment | undefined> {
  if (bytes.length < HEADER || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const body = bytes.subarray(HEADER);
  if (bytes.readUInt32LE(MAGIC.length + 4) !== body.length) return undefined;
  if (bytes.readUInt32LE(MAGIC.length) !== crc32(body)) return undefined;
  try {
    const text = (await unpack(body, { maxOutputLength: MAX_UNPACKED })).toString();
    const parsed = JSON.parse(text) as { directory: string; splits: Segment['splits']; rows: readonly Row[] };
    if (parsed.directory !== directory || !parsed.splits.every(isSplit)) return undefined;
    const rows = new Map<string, KeptMetadata>();
    for (const [name, etag, size, lastModified, description] of parsed.rows) {
      if (typeof description?.metadata !== 'object' || description.metadata === null) return undefined;
      rows.set(name, { etag, size, lastModified, description });
    }
    return { directory, splits: parsed.splits, rows };
  } catch {
    return undefined;
  }
}

function isSplit(split: unknown): boolean {
  return Array.isArray(split) && typeof split[0] === 'string' && typeof split[1] === 'number';
}
