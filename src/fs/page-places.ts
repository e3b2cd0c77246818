/**
 * Where the pages of a large directory will begin, reckoned from the names seen so far: so that several are asked for at
 * once. Names of large directories are mostly numbered, dated or hashed: over a thousand of them the same part of the name
 * counts up, and it will go on at that pace. Where it does not, a place was wrong and costs a request; no name is missed,
 * since only what adjoins is taken (`PagesAhead`).
 */

/** Characters that count up together, in S3's order. */
const ALPHABETS = ['0123456789', '0123456789abcdef', '0123456789ABCDEF', '0123456789abcdefghijklmnopqrstuvwxyz'];

/** So many characters are reckoned with: what counts up by less than one in a thousand names of the last of them does not show. */
const WIDTH = 9;

export interface Numbering {
  /** Before the part that counts up. */
  readonly prefix: string;
  readonly alphabet: string;
  readonly width: number;
  /** By which it counts up for each name. */
  readonly step: number;
}

/** How these names, in S3's order, count up; undefined where that cannot be told. */
export function numberingOf(names: readonly string[]): Numbering | undefined {
  const first = names[0];
  const last = names.at(-1);
  if (first === undefined || last === undefined || names.length < 2) return undefined;
  let differ = 0;
  while (differ < first.length && first[differ] === last[differ]) differ++;
  const sample = names.filter((_, i) => i % Math.ceil(names.length / 50) === 0 || i === names.length - 1);
  for (const alphabet of ALPHABETS) {
    let start = differ;
    // What is the same in all of them so far may count up later: the next after file-0999 is file-1000.
    while (start > 0 && alphabet.includes(first[start - 1]!)) start--;
    // Too wide for exact numbers: digits that have not counted up in a thousand names are left out.
    start = Math.max(start, differ - 3);
    let width = 0;
    while (width < WIDTH && sample.every(name => alphabet.includes(name[start + width] ?? '/'))) width++;
    if (start + width <= differ) continue;
    const numbering = { prefix: first.slice(0, start), alphabet, width, step: 0 };
    const span = numberIn(last, numbering)! - numberIn(first, numbering)!;
    if (span <= 0) return undefined;
    return { ...numbering, step: span / (names.length - 1) };
  }
  return undefined;
}

/** The number in a name; undefined for a name that is none of these. */
export function numberIn(name: string, { prefix, alphabet, width }: Numbering): number | undefined {
  if (!name.startsWith(prefix)) return undefined;
  let value = 0;
  for (let i = 0; i < width; i++) {
    const digit = alphabet.indexOf(name[prefix.length + i] ?? '/');
    value = value * alphabet.length + Math.max(0, digit);
  }
  return value;
}

/** The beginning of names with this number; undefined where there are no more. */
export function nameAt(value: number, { prefix, alphabet, width }: Numbering): string | undefined {
  let rest = Math.floor(value);
  let digits = '';
  for (let i = 0; i < width; i++) {
    digits = alphabet[rest % alphabet.length] + digits;
    rest = Math.floor(rest / alphabet.length);
  }
  return rest > 0 ? undefined : prefix + digits;
}
