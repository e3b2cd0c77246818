/**
 * CRC32 at twice the speed of Node's zlib, where that has no instruction for it (Node 20 on x64: 0.35 s of CPU for a GiB at best,
 * which was a quarter of what a large file cost to write).
 *
 * 1. A CRC is a remainder. `x^300 = x^155 + x^117 + x^89 + 1` modulo its polynomial P, and since P has coefficients of one bit, the
 *    same holds with each exponent times 128. So 16 bytes of a message may be replaced by zeros if they are added (XOR) to the 16
 *    bytes that lie 145, 183, 211 and 300 times 16 bytes further on: the remainder stays. No other sum of five terms with an
 *    exponent up to 419 leaves room enough between the terms to work on several lanes at once.
 * 2. Done from the front to the back, 4,800 bytes are left, which zlib takes. What is zero at the front counts nothing.
 * 3. JavaScript has no 128 bits; WebAssembly has. Its code is put together here, 150 bytes of it: so it can be read.
 * 4. Where there is no WebAssembly, no address space for its memory, or a zlib that is as fast, zlib does it all.
 */
import { crc32 as crc32OfZlib } from 'node:zlib';

/** What of WebAssembly is used; TypeScript knows it only as a browser's. */
declare const WebAssembly: {
  readonly Module: new (code: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: object };
};

export type Crc32 = (bytes: Uint8Array, before?: number) => number;

/** Bytes of a lane. */
const LANE = 16;
/** Whither a lane is added, in lanes further on. */
export const TAPS: readonly number[] = [145, 183, 211, 300];
/** Bytes that are left: those within reach of the farthest tap. */
const REACH = 300 * LANE;
/** Lanes for one turn of the loop; fewer than the nearest tap. */
const UNROLLED = 4;
/** What is taken at a time: a block, so that most calls are one piece, and it stays in the processor's second cache. */
const PIECE = 128 * 1024;
/** Below this the 4,800 bytes that are left and the calls cost more than is won. */
const WORTH_IT = 16 * 1024;

// Its memory: zeros that stand before the bytes, the bytes with zeros behind them, and the end that the rest is added to.
const BYTES_AT = REACH;
const END_AT = BYTES_AT + PIECE + REACH;
const PAGES = Math.ceil((END_AT + REACH + UNROLLED * LANE) / 65_536);

/** A number as WebAssembly writes it, seven bits to a byte. */
function leb(value: number): number[] {
  const low = value & 0x7f;
  // The constants of its instructions have a sign, for which one more bit is kept.
  return value < 0x40 ? [low] : [low | 0x80, ...leb(value >>> 7)];
}

function section(id: number, bytes: readonly number[]): number[] {
  return [id, ...leb(bytes.length), ...bytes];
}

/**
 * `fold(to, from, lanes)`: adds to each lane from `to` on the lanes that lie each tap before its place, counted from `from`
 * + REACH. With `from` + REACH = `to` it folds what is there onto itself.
 */
function foldCode(): Uint8Array {
  const [to, from, lanes] = [0, 1, 2];
  const get = (local: number): number[] => [0x20, local];
  const load = (offset: number): number[] => [0xfd, 0x00, 4, ...leb(offset)];
  const store = (offset: number): number[] => [0xfd, 0x0b, 4, ...leb(offset)];
  const constant = (value: number): number[] => [0x41, ...leb(value)];
  const [xor, add, subtract, set, tee, branchIf] = [[0xfd, 0x51], 0x6a, 0x6b, 0x21, 0x22, 0x0d];
  const [i32, nothing, loop, end] = [0x7f, 0x40, 0x03, 0x0b];
  const oneLane = (lane: number): number[] => [
    ...get(to),
    ...[...get(to), ...load(lane * LANE)],
    ...TAPS.flatMap(tap => [...get(from), ...load(REACH + (lane - tap) * LANE), ...xor]),
    ...store(lane * LANE),
  ];
  const advance = (local: number): number[] => [...get(local), ...constant(UNROLLED * LANE), add, set, local];
  const body = [
    ...[0, loop, nothing],
    ...Array.from({ length: UNROLLED }, (_, lane) => oneLane(lane)).flat(),
    ...[...advance(to), ...advance(from)],
    ...[...get(lanes), ...constant(UNROLLED), subtract, tee, lanes, branchIf, 0, end, end],
  ];
  const name = (letter: string): number[] => [1, letter.charCodeAt(0)];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 3, i32, i32, i32, 0]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0, ...leb(PAGES)]),
    ...section(7, [2, ...name('m'), 2, 0, ...name('f'), 0, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
}

/** By folding. Throws where there is no WebAssembly with vectors, or no address space for its memory. */
export function foldingCrc32(): Crc32 {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(foldCode()));
  const { m, f: fold } = exports as {
    m: { readonly buffer: ArrayBuffer };
    f: (to: number, from: number, lanes: number) => void;
  };
  const memory = new Uint8Array(m.buffer);
  const first = new DataView(m.buffer, BYTES_AT, 4);
  const piece = (bytes: Uint8Array, before: number): number => {
    const step = UNROLLED * LANE;
    const folded = Math.floor((bytes.length - REACH) / step) * step;
    memory.set(bytes.subarray(0, folded), BYTES_AT);
    memory.fill(0, BYTES_AT + folded, BYTES_AT + folded + REACH);
    memory.set(bytes.subarray(folded), END_AT);
    // A CRC begins with the inverse of the one before, added to the first 32 bits.
    first.setUint32(0, first.getUint32(0, true) ^ ~before, true);
    fold(BYTES_AT, BYTES_AT - REACH, folded / LANE);
    fold(END_AT, BYTES_AT + folded - REACH, REACH / LANE);
    return crc32OfZlib(memory.subarray(END_AT, END_AT + bytes.length - folded), 0xffff_ffff);
  };
  return (bytes, before = 0) => {
    if (bytes.length < WORTH_IT) return crc32OfZlib(bytes, before);
    if (bytes.length <= PIECE) return piece(bytes, before);
    let crc = before;
    for (let at = 0; at < bytes.length; at += PIECE) {
      const part = bytes.subarray(at, at + PIECE);
      crc = part.length < WORTH_IT ? crc32OfZlib(part, crc) : piece(part, crc);
    }
    return crc;
  };
}

/** ms in which a zlib that has an instruction for it is done with 64 KiB: 6 GB/s and more. Without one it takes 20 µs at least. */
const FAST_MS = 0.011;

/** The faster of the two here. `clock`: ms. */
export function chooseCrc32(make: () => Crc32, clock: () => number): Crc32 {
  const sample = new Uint8Array(64 * 1024);
  let least = Number.POSITIVE_INFINITY;
  // The least of a few: the first one fetches its tables, and any may be interrupted.
  for (let i = 0; i < 5; i++) {
    const begun = clock();
    crc32OfZlib(sample);
    least = Math.min(least, clock() - begun);
  }
  if (least <= FAST_MS) return crc32OfZlib;
  try {
    return make();
  } catch {
    return crc32OfZlib;
  }
}

let chosen: Crc32 | undefined;

/** The CRC32 of `bytes`, going on from `before`. */
export function crc32(bytes: Uint8Array, before = 0): number {
  if (bytes.length < WORTH_IT) return crc32OfZlib(bytes, before);
  chosen ??= chooseCrc32(foldingCrc32, () => performance.now());
  return chosen(bytes, before);
}
