/**
 * The CRCs that S3 knows beside CRC32, which zlib has: CRC32C and CRC64NVME, both reflected; and the CRC of two byte
 * sequences put together, for full-object checksums of multipart uploads.
 */

function table32(polynomial: number): Int32Array[] {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    tables[0]![byte] = crc;
  }
  for (let slice = 1; slice < 8; slice++) {
    for (let byte = 0; byte < 256; byte++) {
      const before = tables[slice - 1]![byte]!;
      tables[slice]![byte] = (before >>> 8) ^ tables[0]![before & 0xff]!;
    }
  }
  return tables;
}

let castagnoli: Int32Array[] | undefined;

/** CRC32C of `bytes`, going on from `before`; slicing by eight. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  castagnoli ??= table32(0x82f63b78);
  const [t0, t1, t2, t3, t4, t5, t6, t7] = castagnoli as [
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  let crc = ~before;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    const low = crc ^ (bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24));
    crc =
      t7[low & 0xff]! ^
      t6[(low >>> 8) & 0xff]! ^
      t5[(low >>> 16) & 0xff]! ^
      t4[low >>> 24]! ^
      t3[bytes[i + 4]!]! ^
      t2[bytes[i + 5]!]! ^
      t1[bytes[i + 6]!]! ^
      t0[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ t0[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}

const NVME_POLYNOMIAL = 0x9a6c9329ac4bc9b5n;
let nvme: { low: Int32Array; high: Int32Array } | undefined;

/** CRC64NVME as two unsigned words, high and low, going on from `before`. */
export function crc64nvme(
  bytes: Uint8Array,
  before: readonly [number, number] = [0, 0],
): readonly [high: number, low: number] {
  if (nvme === undefined) {
    nvme = { low: new Int32Array(256), high: new Int32Array(256) };
    for (let byte = 0; byte < 256; byte++) {
      let crc = BigInt(byte);
      for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ NVME_POLYNOMIAL : crc >> 1n;
      nvme.low[byte] = Number(BigInt.asIntN(32, crc));
      nvme.high[byte] = Number(BigInt.asIntN(32, crc >> 32n));
    }
  }
  const lows = nvme.low;
  const highs = nvme.high;
  let high = ~before[0];
  let low = ~before[1];
  for (let i = 0; i < bytes.length; i++) {
    const index = (low ^ bytes[i]!) & 0xff;
    low = ((low >>> 8) | (high << 24)) ^ lows[index]!;
    high = (high >>> 8) ^ highs[index]!;
  }
  return [~high >>> 0, ~low >>> 0];
}

/** Reflected polynomials by width, for `combineCrc`. */
export const CRC_POLYNOMIALS = {
  CRC32: { bits: 32, polynomial: 0xedb88320n },
  CRC32C: { bits: 32, polynomial: 0x82f63b78n },
  CRC64NVME: { bits: 64, polynomial: NVME_POLYNOMIAL },
} as const;

/**
 * The CRC of A followed by B, from the CRC of A, that of B and the length of B: appending zero bytes to A is a
 * multiplication by a power of x in GF(2), done by squaring.
 */
export function combineCrc(
  { bits, polynomial }: { readonly bits: number; readonly polynomial: bigint },
  crcA: bigint,
  crcB: bigint,
  lengthB: number,
): bigint {
  const top = 1n << BigInt(bits - 1);
  // In reflected order the highest bit is x^0.
  const multiply = (a: bigint, b: bigint): bigint => {
    let product = 0n;
    let shifted = b;
    for (let mask = top; mask > 0n; mask >>= 1n) {
      if (a & mask) product ^= shifted;
      shifted = shifted & 1n ? (shifted >> 1n) ^ polynomial : shifted >> 1n;
    }
    return product;
  };
  let power = top >> 8n;
  let factor = top;
  for (let left = BigInt(lengthB); left > 0n; left >>= 1n) {
    if (left & 1n) factor = multiply(factor, power);
    power = multiply(power, power);
  }
  return multiply(crcA, factor) ^ crcB;
}

/** a·b modulo the polynomial of CRC32, in reflected order: the highest bit is x^0. */
function multiply32(a: number, b: number): number {
  let product = 0;
  let shifted = b;
  for (let mask = 0x8000_0000; ; mask >>>= 1) {
    if (a & mask) product ^= shifted;
    if ((a & (mask - 1)) === 0) return product >>> 0;
    shifted = shifted & 1 ? (shifted >>> 1) ^ 0xedb88320 : shifted >>> 1;
  }
}

/** x^(8·2^i): what 2^i appended zero bytes multiply by. */
let powers32: number[] | undefined;

function powersOfCrc32(): number[] {
  // x^8, then its squares; 2^53 bytes are more than any object has.
  const powers = [0x0080_0000];
  for (let i = 1; i < 53; i++) powers.push(multiply32(powers[i - 1]!, powers[i - 1]!));
  return powers;
}

/** The CRC32 of A followed by B, without BigInt: 2 µs, for it is asked for with every block that is read. */
export function crc32OfBoth(crcA: number, crcB: number, lengthB: number): number {
  powers32 ??= powersOfCrc32();
  let crc = crcA >>> 0;
  for (let left = lengthB, i = 0; left > 0; left = Math.floor(left / 2), i++) {
    if (left % 2 === 1) crc = multiply32(powers32[i]!, crc);
  }
  return (crc ^ crcB) >>> 0;
}
