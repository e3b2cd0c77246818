/** S3's order of keys, written apart from the program's own so that one checks the other. */

/** Order of UTF-8 bytes, which is that of code points: JavaScript's `<` puts surrogates before U+E000 … U+FFFF. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const xSurrogate = x >= 0xd800 && x < 0xe000;
    const ySurrogate = y >= 0xd800 && y < 0xe000;
    if (xSurrogate !== ySurrogate) return (xSurrogate ? 0x10000 : x) - (ySurrogate ? 0x10000 : y);
    return x - y;
  }
  return a.length - b.length;
}
