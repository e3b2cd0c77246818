/** Bytes that look random, cost little, and tell where in the file they stand. */

/** `size` bytes of pattern `seed`; the same bytes each time. */
export function patternBytes(size: number, seed = 0): Buffer {
  const words = new Uint32Array(Math.ceil(size / 4));
  // xorshift32 with the word's place mixed in: no block of the file is like another.
  let state = (seed ^ 0x9e3779b9) | 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state ^ i;
  }
  return Buffer.from(words.buffer, 0, size);
}
