/**
 * Reads the fields of one request out of the buffer that it was read into. Pure, and safe against any bytes: what the
 * kernel never sends is told apart by `begin` and by `undefined`, never by a throw.
 *
 * 64-bit fields are read as two 32-bit words (5 ns; a BigInt costs 37) and become numbers. That is exact for our own
 * nodeids, handles and cookies, and for offsets below 8 PiB; what is beyond stays beyond.
 */
import { Buffer, isUtf8 } from 'node:buffer';
import type { Name, SetAttributes, Timestamp } from './ops.ts';
import { FATTR, HEADER, IN, IN_HEADER_SIZE, OPCODE } from './protocol.ts';

const WORD = 0x1_0000_0000;

/** Least length of a request by opcode: with it checked once, fixed fields need no check of their own. */
const LEAST_LENGTH = new Uint32Array(64).fill(IN_HEADER_SIZE);
for (const [name, layout] of Object.entries(IN)) {
  LEAST_LENGTH[OPCODE[name as keyof typeof IN]] = layout.end;
}
for (const [opcode, like] of [
  [OPCODE.RMDIR, IN.UNLINK],
  [OPCODE.OPENDIR, IN.OPEN],
  [OPCODE.RELEASEDIR, IN.RELEASE],
  [OPCODE.FSYNCDIR, IN.FSYNC],
  [OPCODE.READDIR, IN.READ],
  [OPCODE.READDIRPLUS, IN.READ],
  [OPCODE.COPY_FILE_RANGE_64, IN.COPY_FILE_RANGE],
] as const) {
  LEAST_LENGTH[opcode] = like.end;
}

/** A string in a request, and the offset behind its NUL. */
export interface DecodedName {
  readonly name: Name;
  readonly next: number;
}

export class RequestReader {
  /** The whole buffer; the request is its first `length` bytes. */
  readonly bytes: Buffer;
  readonly #words: Uint32Array;
  length = 0;
  opcode = 0;

  /** `memory` holds one request at its start; its size is a multiple of 4 bytes. */
  constructor(memory: ArrayBuffer) {
    this.bytes = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
  }

  /** Looks at a request of `length` bytes. False: not even its header can be trusted, there is no answer to it. */
  begin(length: number): boolean {
    if (length < IN_HEADER_SIZE || length > this.bytes.length) return false;
    this.length = length;
    this.opcode = this.#words[1]!;
    return this.#words[0] === length;
  }

  /** Whether all fixed fields of this opcode are there. */
  get complete(): boolean {
    return this.opcode >= LEAST_LENGTH.length || this.length >= LEAST_LENGTH[this.opcode]!;
  }

  get uniqueLow(): number {
    return this.#words[HEADER.unique >> 2]!;
  }

  get uniqueHigh(): number {
    return this.#words[(HEADER.unique >> 2) + 1]!;
  }

  get nodeid(): number {
    return this.#words[HEADER.nodeid >> 2]! + this.#words[(HEADER.nodeid >> 2) + 1]! * WORD;
  }

  /** The unsigned 32-bit field at byte `offset`. */
  u32(offset: number): number {
    return this.#words[offset >> 2]!;
  }

  /** The unsigned 64-bit field at byte `offset`, exact below 2^53. */
  u64(offset: number): number {
    return this.#words[offset >> 2]! + this.#words[(offset >> 2) + 1]! * WORD;
  }

  /** The signed 64-bit field at byte `offset`. */
  i64(offset: number): number {
    return this.#words[offset >> 2]! + (this.#words[(offset >> 2) + 1]! | 0) * WORD;
  }

  /** The NUL-terminated string at byte `offset`; `undefined` if it has no end. */
  name(offset: number): DecodedName | undefined {
    const end = this.bytes.indexOf(0, offset);
    if (end < 0 || end >= this.length) return undefined;
    return { name: this.#text(offset, end), next: end + 1 };
  }

  /**
   * The name that ends a request, as in LOOKUP, without an object around it. `false` if it is malformed: no NUL at the
   * end, or one before it.
   */
  lastName(offset: number): Name | false {
    const end = this.length - 1;
    if (end < offset) return false;
    const bytes = this.bytes;
    if (bytes[end] !== 0) return false;
    let ascii = true;
    for (let at = offset; at < end; at++) {
      const byte = bytes[at]!;
      if (byte === 0) return false;
      if (byte >= 0x80) ascii = false;
    }
    return ascii ? bytes.toString('latin1', offset, end) : this.#text(offset, end);
  }

  /** `size` bytes at `offset`, a view into the buffer; `undefined` if the request is shorter. */
  data(offset: number, size: number): Buffer | undefined {
    if (offset + size > this.length) return undefined;
    return this.bytes.subarray(offset, offset + size);
  }

  /** Names are bytes: what is not UTF-8 must not become U+FFFD, by which two names would become one. */
  #text(start: number, end: number): Name {
    return isUtf8(this.bytes.subarray(start, end)) ? this.bytes.toString('utf8', start, end) : undefined;
  }
}

function timestampAt(request: RequestReader, seconds: number, nanoseconds: number): Timestamp {
  return { sec: request.i64(seconds), nsec: request.u32(nanoseconds) };
}

/** The changes that a SETATTR asks for. */
export function decodeSetAttributes(request: RequestReader): SetAttributes {
  const at = IN.SETATTR;
  const valid = request.u32(at.valid);
  const change: { -readonly [K in keyof SetAttributes]: SetAttributes[K] } = {};
  if (valid & FATTR.MODE) change.mode = request.u32(at.mode);
  if (valid & FATTR.UID) change.uid = request.u32(at.uid);
  if (valid & FATTR.GID) change.gid = request.u32(at.gid);
  if (valid & FATTR.SIZE) change.size = request.u64(at.size);
  // The kernel sets ATIME and ATIME_NOW together for "now", with a time that is its own.
  if (valid & FATTR.ATIME_NOW) change.atime = 'now';
  else if (valid & FATTR.ATIME) change.atime = timestampAt(request, at.atime, at.atimeNsec);
  if (valid & FATTR.MTIME_NOW) change.mtime = 'now';
  else if (valid & FATTR.MTIME) change.mtime = timestampAt(request, at.mtime, at.mtimeNsec);
  if (valid & FATTR.CTIME) change.ctime = timestampAt(request, at.ctime, at.ctimeNsec);
  if (valid & FATTR.FH) change.fh = request.u64(at.fh);
  if (valid & FATTR.KILL_SUIDGID) change.killSuidgid = true;
  return change;
}

/** Calls `each` for every inode of a BATCH_FORGET; false if the list is longer than the request. */
export function decodeBatchForget(request: RequestReader, each: (nodeid: number, count: number) => void): boolean {
  const at = IN.BATCH_FORGET;
  const count = request.u32(at.count);
  if (count > (request.length - at.items) / at.itemSize) return false;
  for (let i = 0; i < count; i++) {
    const item = at.items + i * at.itemSize;
    each(request.u64(item), request.u64(item + 8));
  }
  return true;
}
