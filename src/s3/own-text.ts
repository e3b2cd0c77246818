/**
 * Text that keeps nothing else in memory.
 *
 * V8 makes no copy of what is sliced out of a text: the slice refers to it. A listing of 1,000 keys is 300 KB, and as long
 * as one of its keys was remembered so was all of it: a walk over a million keys of which 30,000 were kept held 150 MB.
 */

/** A key has at most 1,024 bytes. */
const scratch = Buffer.allocUnsafeSlow(4096);

/** The same text, in memory of its own. */
export function ownText(text: string): string {
  // Up to this length V8 copies.
  if (text.length < 13) return text;
  // At most three bytes for each unit of UTF-16.
  if (text.length * 3 > scratch.length) return Buffer.from(text).toString();
  const bytes = scratch.write(text, 0, 'utf8');
  const whole = scratch.toString('utf8', 0, bytes);
  // A surrogate by itself has no UTF-8.
  return whole === text ? whole : text;
}
