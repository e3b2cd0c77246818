/**
 * What the disk tier's files look like: pure encoding and decoding.
 *
 * A file of blocks begins with a head; then come records, each a header and the bytes of one block. The file beside it
 * lists them, so that a start reads kilobytes and not gigabytes. Every header tells which block of which content it is and
 * carries a checksum of the bytes: a block that was cut off, overwritten or misplaced is recognised, whatever the list says.
 *
 * CRC-32 by zlib: 0.5 s of CPU for a GiB where SHA-1 takes 1.1 and SHA-256 0.9. It guards against decay, not against
 * an enemy: the files are the user's own, 0600.
 */
import { createHash } from 'node:crypto';
import { crc32 } from '../crc32.ts';
import type { ObjectVersion } from '../s3/store.ts';

/** Ends with the format's version: another format, another magic. */
const MAGIC = Buffer.from('s3mblk01', 'latin1');

export const HEAD_BYTES = 32;
export const RECORD_BYTES = 32;
export const ENTRY_BYTES = 40;
/** Records begin at multiples of this, so that a place in a file fits a word with room for flags. */
export const UNIT = 32;
export const NAME_BYTES = 16;

/**
 * 16 bytes that name a content: who has the same key, ETag and size in the same bucket has the same bytes. `scope` ends with
 * the prefix that stands before every key, so that mounts of different prefixes share what they both see.
 */
export function contentName(scope: string, version: ObjectVersion): Buffer {
  return createHash('sha256')
    .update(`${scope}${version.key}\0${version.etag}\0${version.size}`)
    .digest()
    .subarray(0, NAME_BYTES);
}

/** Bytes that a block of `length` bytes takes in a file. */
export function recordBytes(length: number): number {
  return RECORD_BYTES + Math.ceil(length / UNIT) * UNIT;
}

/** `generation`: 16 random bytes, in both files of a pair. */
export function encodeHead(generation: Uint8Array, createdMs: number): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  MAGIC.copy(head);
  head.set(generation, 8);
  head.writeDoubleLE(createdMs, 24);
  return head;
}

export interface TierHead {
  readonly generation: Buffer;
  readonly createdMs: number;
}

export function decodeHead(head: Buffer): TierHead | undefined {
  if (head.length < HEAD_BYTES || !head.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const createdMs = head.readDoubleLE(24);
  return Number.isFinite(createdMs) ? { generation: Buffer.from(head.subarray(8, 24)), createdMs } : undefined;
}

/** Puts a record for `bytes` at `at` of `target`; returns where it ends. */
export function encodeRecord(target: Buffer, at: number, name: Uint8Array, index: number, bytes: Uint8Array): number {
  target.set(name, at);
  target.writeUInt32LE(index, at + 16);
  target.writeUInt32LE(bytes.length, at + 20);
  target.writeUInt32LE(crc32(bytes), at + 24);
  target.writeUInt32LE(0, at + 28);
  target.set(bytes, at + RECORD_BYTES);
  const end = at + recordBytes(bytes.length);
  target.fill(0, at + RECORD_BYTES + bytes.length, end);
  return end;
}

/** The bytes of the record at `at`, if it is whole and that of block `index` (`length` bytes) of `name`. */
export function decodeRecord(
  source: Buffer,
  at: number,
  name: Uint8Array,
  index: number,
  length: number,
): Uint8Array | undefined {
  const from = at + RECORD_BYTES;
  if (from + length > source.length) return undefined;
  if (source.readUInt32LE(at + 16) !== index || source.readUInt32LE(at + 20) !== length) return undefined;
  if (source.compare(name, 0, NAME_BYTES, at, at + NAME_BYTES) !== 0) return undefined;
  const bytes = source.subarray(from, from + length);
  return crc32(bytes) === source.readUInt32LE(at + 24) ? bytes : undefined;
}

/** What a list says: where a block lies, or that two contents are the same bytes. */
export type TierEntry =
  | {
      readonly kind: 'block';
      readonly name: Buffer;
      readonly index: number;
      readonly length: number;
      readonly at: number;
    }
  | { readonly kind: 'alias'; readonly name: Buffer; readonly of: Buffer };

const KIND_BLOCK = 1;
const KIND_ALIAS = 2;

export function encodeEntry(entry: TierEntry): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  bytes.set(entry.name);
  if (entry.kind === 'block') {
    bytes.writeUInt32LE(entry.index, 16);
    bytes.writeUInt32LE(entry.length, 20);
    bytes.writeUInt32LE(entry.at, 24);
  } else {
    bytes.set(entry.of, 16);
  }
  bytes.writeUInt32LE(entry.kind === 'block' ? KIND_BLOCK : KIND_ALIAS, 32);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 36)), 36);
  return bytes;
}

/** Entries from `at` on, up to the first that is not whole. Returns where that would begin. */
export function decodeEntries(list: Buffer, at: number, each: (entry: TierEntry) => void): number {
  let next = at;
  for (; next + ENTRY_BYTES <= list.length; next += ENTRY_BYTES) {
    const bytes = list.subarray(next, next + ENTRY_BYTES);
    if (crc32(bytes.subarray(0, 36)) !== bytes.readUInt32LE(36)) break;
    const name = bytes.subarray(0, NAME_BYTES);
    const kind = bytes.readUInt32LE(32);
    if (kind === KIND_BLOCK) {
      each({
        kind: 'block',
        name,
        index: bytes.readUInt32LE(16),
        length: bytes.readUInt32LE(20),
        at: bytes.readUInt32LE(24),
      });
    } else if (kind === KIND_ALIAS) {
      each({ kind: 'alias', name, of: bytes.subarray(16, 32) });
    }
  }
  return next;
}
