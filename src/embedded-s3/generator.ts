/**
 * Bytes that need no memory: each is a function of a seed and its offset, so an object of 48 TiB costs nothing to hold
 * and any range of it can be checked by whoever knows the seed.
 *
 * They are windows into one table of 2^24 words (64 MiB), word k being the 32-bit finaliser of MurmurHash3 applied to k,
 * little-endian. Piece p of seed s (bytes p · 256 KiB …) is the window of 2^16 words that starts at word
 * ((p + s · 40503) · 9764863) mod (2^24 − 2^16). The factor and that range have no common divisor, so all pieces of an
 * object differ up to 4 TiB. A large range is thus a list of views of the table, made without computing or copying a byte:
 * a server that computed each byte anew was slower than the mounts it was to measure.
 */
import { endianness } from 'node:os';

/** Bytes of one piece. */
export const PIECE = 256 * 1024;

const PIECE_WORDS = PIECE / 4;
const TABLE_WORDS = 2 ** 24;
const STARTS = TABLE_WORDS - PIECE_WORDS;
/** STARTS is 2^16 · 3 · 5 · 17; none of these divides the factor. Its size spreads neighbouring pieces over the table. */
const SPREAD = 9_764_863;
const SEED_STEP = 40_503;

const LITTLE_ENDIAN = endianness() === 'LE';

/** Where piece `piece` of `seed` starts in the table, in words. */
function startOf(seed: number, piece: number): number {
  // Below 2^41 and 2^48: exact.
  const place = ((piece % STARTS) + (seed % STARTS) * SEED_STEP) % STARTS;
  return (place * SPREAD) % STARTS;
}

/** Words `first` … `first + count - 1` of the table. */
function computedWords(first: number, count: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(count * 4);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, count);
  for (let i = 0; i < count; i++) {
    let h = first + i;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    words[i] = h ^ (h >>> 16);
  }
  if (!LITTLE_ENDIAN) bytes.swap32();
  return bytes;
}

let table: Buffer | undefined;
/** Bytes computed so far without the table. */
let computed = 0;

/** Small ranges are computed; who asks for more than the table holds gets it made, in some 40 ms. */
function words(first: number, count: number): Buffer {
  if (table === undefined) {
    computed += count * 4;
    if (computed <= TABLE_WORDS * 4) return computedWords(first, count);
    table = computedWords(0, TABLE_WORDS);
  }
  return table.subarray(first * 4, (first + count) * 4);
}

/** Bytes `offset` … `offset + length - 1` of `seed`, as views that nobody may write to; none crosses a piece. */
export function* generatedViews(seed: number, offset: number, length: number): Generator<Uint8Array> {
  for (let done = 0; done < length; ) {
    const at = offset + done;
    const piece = Math.floor(at / PIECE);
    const within = at - piece * PIECE;
    const take = Math.min(PIECE - within, length - done);
    const first = Math.floor(within / 4);
    const lead = within - first * 4;
    const found = words(startOf(seed, piece) + first, Math.ceil((lead + take) / 4));
    yield found.subarray(lead, lead + take);
    done += take;
  }
}

/** Bytes `offset` … `offset + length - 1` of `seed` in a buffer of their own. */
export function generatedBytes(seed: number, offset: number, length: number): Buffer {
  return Buffer.concat([...generatedViews(seed, offset, length)], length);
}
