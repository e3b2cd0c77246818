/**
 * How the journal lies on disk: a file header, then records one after another. Pure.
 *
 * Difficulties: (1) After a power cut any sector of the last, unsynced writes may be missing, and a disk may rot: each
 * record carries a checksum over all of it. (2) After a damaged record the next whole one must be found: records begin with
 * a mark. (3) The body of a record is a user's file, and may contain another journal, or what was made to look like one:
 * mark and checksum depend on a random number of the journal file, so that no such record is ever believed. (4) What was
 * not synced before a power cut may be there in part. Up to the first gap it is a state that really was; beyond it a record
 * may tell of the end of another that is gone, so what follows a gap is believed only where it lies below a mark that says
 * it was synced: there a gap is rot, and each record stands for itself.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from '../crc32.ts';

/** What a record says; a JSON object, whose meaning is that of who wrote it. */
export type RecordMeta = Readonly<Record<string, unknown>> & { readonly t: string };

/** A record and where it lies in its file; the body comes last. */
export interface ScannedRecord {
  readonly meta: RecordMeta;
  /** Of the record. */
  readonly offset: number;
  readonly length: number;
  readonly bodyLength: number;
  readonly bodyCrc: number;
}

export interface ScannedFile {
  /** All whole records. */
  readonly records: readonly ScannedRecord[];
  /** Ranges of bytes that no record could be read from. */
  readonly damaged: readonly (readonly [number, number])[];
  /** Where the first gap in what was not synced begins: records beyond it are not to be believed. */
  readonly end: number;
  /** Absent where the header is not one of a journal. */
  readonly seed: FileSeed | undefined;
}

/** What makes the records of one file unlike those of all others. */
export interface FileSeed {
  readonly nonce: Uint8Array;
  /** What the journal belongs to (bucket, prefix): 32 bytes. */
  readonly owner: Uint8Array;
  readonly crc: number;
  readonly mark: number;
}

/** Twice, so that one lost sector does not lose the file: the copies lie a sector apart. */
const COPY = 512;
export const HEADER_BYTES = 2 * COPY;
const MAGIC = Buffer.from('s3mount journal1');
const NONCE = 16;
const OWNER = 32;

/** mark, checksum of what follows but the body, length of what it says, length of the body, checksum of the body: u32. */
const RECORD_HEADER = 20;
/** Of what a record says: the parts of an upload, 10,000 at 60 bytes, are the longest. A damaged length is seen at once. */
const MAX_META = 4 * 1024 * 1024;

/** Type of the record that says up to which offset of its own file all is synced: field `to`. */
export const SYNCED = 'synced';
/** Type of the record that says how far an earlier file, number `file`, was believed when this one was begun: field `to`. */
export const ENDED = 'ended';

/** The checksum of a body, or of what was read of it. */
export function bodyChecksum(seed: FileSeed, body: Uint8Array): number {
  return crc32(body, seed.crc);
}

function seedOf(nonce: Uint8Array, owner: Uint8Array): FileSeed {
  const crc = crc32(nonce);
  return { nonce, owner, crc, mark: crc32(owner, crc) };
}

/** A new file's header and what its records need. */
export function fileHeader(
  owner: Uint8Array,
  nonce: Uint8Array = randomBytes(NONCE),
): { readonly seed: FileSeed; readonly bytes: Uint8Array } {
  const copy = Buffer.alloc(COPY);
  MAGIC.copy(copy, 0);
  copy.set(nonce, MAGIC.length);
  copy.set(owner.subarray(0, OWNER), MAGIC.length + NONCE);
  const end = MAGIC.length + NONCE + OWNER;
  copy.writeUInt32LE(crc32(copy.subarray(0, end)), end);
  return { seed: seedOf(nonce, copy.subarray(MAGIC.length + NONCE, end)), bytes: Buffer.concat([copy, copy]) };
}

function readHeader(file: Buffer): FileSeed | undefined {
  const end = MAGIC.length + NONCE + OWNER;
  for (const at of [0, COPY]) {
    const copy = file.subarray(at, at + COPY);
    if (copy.length < end + 4 || !copy.subarray(0, MAGIC.length).equals(MAGIC)) continue;
    if (crc32(copy.subarray(0, end)) !== copy.readUInt32LE(end)) continue;
    const nonce = Uint8Array.from(copy.subarray(MAGIC.length, MAGIC.length + NONCE));
    return seedOf(nonce, Uint8Array.from(copy.subarray(MAGIC.length + NONCE, end)));
  }
  return undefined;
}

/** A record, ready to be written: its header with what it says, then the body as it came. */
export function encodeRecord(
  seed: FileSeed,
  meta: RecordMeta,
  body: readonly Uint8Array[],
): { readonly buffers: readonly Uint8Array[]; readonly length: number; readonly bodyCrc: number } {
  const said = Buffer.from(JSON.stringify(meta));
  const bodyLength = body.reduce((sum, slice) => sum + slice.length, 0);
  const head = Buffer.allocUnsafe(RECORD_HEADER + said.length);
  head.writeUInt32LE(seed.mark, 0);
  head.writeUInt32LE(said.length, 8);
  head.writeUInt32LE(bodyLength, 12);
  said.copy(head, RECORD_HEADER);
  const bodyCrc = body.reduce((crc, slice) => crc32(slice, crc), seed.crc);
  head.writeUInt32LE(bodyCrc, 16);
  head.writeUInt32LE(crc32(head.subarray(8), seed.crc), 4);
  return { buffers: [head, ...body], length: head.length + bodyLength, bodyCrc };
}

/** The record at `at`, if a whole one is there. */
export function decodeRecord(file: Buffer, at: number, seed: FileSeed): ScannedRecord | undefined {
  if (at + RECORD_HEADER > file.length || file.readUInt32LE(at) !== seed.mark) return undefined;
  const metaLength = file.readUInt32LE(at + 8);
  const bodyLength = file.readUInt32LE(at + 12);
  const bodyOffset = at + RECORD_HEADER + metaLength;
  const length = RECORD_HEADER + metaLength + bodyLength;
  if (metaLength > MAX_META || at + length > file.length) return undefined;
  if (crc32(file.subarray(at + 8, bodyOffset), seed.crc) !== file.readUInt32LE(at + 4)) return undefined;
  const bodyCrc = file.readUInt32LE(at + 16);
  if (crc32(file.subarray(bodyOffset, at + length), seed.crc) !== bodyCrc) return undefined;
  const meta = parseMeta(file.subarray(at + RECORD_HEADER, bodyOffset));
  return meta && { meta, offset: at, length, bodyLength, bodyCrc };
}

function parseMeta(bytes: Buffer): RecordMeta | undefined {
  try {
    const meta: unknown = JSON.parse(bytes.toString());
    if (typeof meta !== 'object' || meta === null || !('t' in meta) || typeof meta.t !== 'string') return undefined;
    return meta as RecordMeta;
  } catch {
    return undefined;
  }
}

/**
 * All that can be believed of one journal file. Never throws, whatever the bytes are. `isLast`: no other was begun after it
 * (before that, all of it was synced).
 */
export function scanFile(bytes: Uint8Array, isLast: boolean): ScannedFile {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const seed = readHeader(file);
  if (!seed) return { records: [], damaged: file.length > 0 ? [[0, file.length]] : [], end: 0, seed };
  const mark = Buffer.alloc(4);
  mark.writeUInt32LE(seed.mark);
  const found: ScannedRecord[] = [];
  const damaged: [number, number][] = [];
  for (let at = HEADER_BYTES; at < file.length; ) {
    const record = decodeRecord(file, at, seed);
    if (record) {
      found.push(record);
      at += record.length;
      continue;
    }
    const from = at;
    do {
      const next = file.indexOf(mark, at + 1);
      at = next < 0 ? file.length : next;
    } while (at < file.length && !decodeRecord(file, at, seed));
    damaged.push([from, at]);
  }
  const synced = found.reduce((most, { meta }) => {
    return meta.t === SYNCED && typeof meta['to'] === 'number' ? Math.max(most, meta['to']) : most;
  }, 0);
  const gap = (isLast ? damaged.find(([from]) => from >= synced)?.[0] : undefined) ?? file.length;
  return { records: found, damaged, end: gap, seed };
}
