/**
 * How a file with unsaved bytes becomes an object: pure decisions, carried out by `upload.ts`.
 *
 * 1. All parts but the last have at least 5 MiB, all at most 5 GiB, and there are at most 10,000: the smallest part grows
 *    until that fits.
 * 2. What the stored object has already is copied on the server, in parts large enough to be few and small enough to run
 *    side by side. Stored bytes too few for a part of their own go with the unsaved ones beside them.
 * 3. Parts sent while the program was writing are used if they are still right. They have their numbers, so what comes
 *    between two of them has to do with the numbers between: they are numbered by their place in a grid over the file,
 *    where each cell has one number, and every part of at least a cell finds one.
 * 4. Numbers may have to be without a gap (`consecutiveParts`): then what lies between two sent parts is made of exactly
 *    as many as there are numbers.
 */
import type { StoreLimits } from '../s3/store.ts';
import { RangeSet } from './ranges.ts';

const MIB = 1024 * 1024;

/** Sizes to aim at, in bytes; the store's limits come first. */
export interface UploadSizes {
  /** Up to this the object goes as one PUT: a round trip instead of three. */
  readonly singlePut: number;
  /** Of a part with bytes of ours. */
  readonly part: number;
  /** Of a part copied on the server: between `copyPart` and `maxCopyPart`, so that about `copies` of them do it. */
  readonly copyPart: number;
  readonly maxCopyPart: number;
  readonly copies: number;
  /** Holes of at least this in all are copied from an object of zeros; each of them is at least `copyPart`. */
  readonly zeros: number;
}

export const UPLOAD_SIZES: UploadSizes = {
  // 16 MiB take 0.18 s at the 90 MB/s of one connection: what create, parts and complete cost in round trips.
  singlePut: 16 * MIB,
  // One connection sends 8 MiB in 0.1 s: long against a round trip, short enough to have several under way in little memory.
  part: 8 * MIB,
  // S3 copies some 150 MB/s a request: 64 MiB in 0.4 s. Larger ones only save requests.
  copyPart: 64 * MIB,
  maxCopyPart: 256 * MIB,
  copies: 16,
  // To make an object of zeros takes some 8 MiB and a few round trips: less is sent in the same time.
  zeros: 256 * MIB,
};

/** A part that the store has, or is being sent, and that holds what the file holds there now. */
export interface SentRange {
  readonly number: number;
  readonly offset: number;
  readonly size: number;
  /** Its bytes are nowhere else: no plan may do without it. Only cells of the grid may be so, and they are numbered by it. */
  readonly required?: boolean;
}

export interface PlannedPart extends SentRange {
  /**
   * `sent`: used as it is. `send`: from here. `copy`: from the same place of the stored object. `zero`: from the beginning of
   * an object of zeros.
   */
  readonly from: 'sent' | 'send' | 'copy' | 'zero';
}

export type UploadPlan =
  | { readonly kind: 'put' }
  | { readonly kind: 'multipart'; readonly parts: readonly PlannedPart[] };

export interface UploadInput {
  /** Bytes of the object to be. */
  readonly size: number;
  /** What is not as in the stored object at the same offset; all of it below `size`. */
  readonly changed: RangeSet;
  /** What of that is zeros, where they may be copied; absent: they are sent like all that is changed. */
  readonly zeros?: RangeSet;
  readonly sent: readonly SentRange[];
  readonly limits: StoreLimits;
  readonly sizes: UploadSizes;
}

type PlanInput = UploadInput & { readonly zeros: RangeSet };

/** Plans one save. `undefined` if no object can be that large, or (never for cells of one grid) none has what is required. */
export function planUpload(given: UploadInput): UploadPlan | undefined {
  const input = { ...given, zeros: worthCopying(given) };
  const { sent, size, limits, sizes } = input;
  if (size > limits.maxObjectSize) return undefined;
  const required = sent.filter(part => part.required);
  if (required.length === 0) {
    if (size <= Math.min(sizes.singlePut, limits.maxPutSize) || size < limits.minPartSize) return { kind: 'put' };
    const parts = planAround(usable(input), input) ?? planGap(0, size, limits.maxParts, 1, input);
    return parts && { kind: 'multipart', parts };
  }
  const parts = planAround(usable(input), input) ?? planAround(usable({ ...input, sent: required }), input);
  // Without one of them the object would lack bytes.
  const isWhole = parts?.filter(part => part.required).length === required.length;
  return parts && isWhole ? { kind: 'multipart', parts } : undefined;
}

/** Holes that are cheaper to copy than to send. */
function worthCopying({ zeros, sizes }: UploadInput): RangeSet {
  const large = new RangeSet();
  zeros?.visit(0, Number.POSITIVE_INFINITY, (start, end) => {
    if (end - start >= sizes.copyPart) large.add(start, end);
  });
  return large.bytes >= sizes.zeros ? large : new RangeSet();
}

/** Those of the sent parts that can stand in this object together: in order, and none too small. */
function usable({ sent, size, limits }: PlanInput): SentRange[] {
  const kept: SentRange[] = [];
  const fits = ({ offset, size: length }: SentRange): boolean =>
    length > 0 && offset + length <= size && (length >= limits.minPartSize || offset + length === size);
  const all = sent.filter(fits).sort((a, b) => a.offset - b.offset);
  const required = all.filter(part => part.required);
  let next = 0;
  for (const part of all) {
    const last = kept.at(-1);
    if (last && !follows(part, last)) continue;
    // Whatever could do without goes before one that could not.
    if (part.required) next++;
    else if (next < required.length && !follows(required[next]!, part)) continue;
    kept.push(part);
  }
  return kept;
}

function follows(part: SentRange, before: SentRange): boolean {
  return part.offset >= before.offset + before.size && part.number > before.number;
}

/**
 * Fills the gaps between the sent parts; a part beside a gap that cannot be filled is given up for it, unless it is
 * required: then there is no such plan.
 */
function planAround(sent: readonly SentRange[], input: PlanInput): PlannedPart[] | undefined {
  const parts: PlannedPart[] = [];
  let end = 0;
  let number = 0;
  const { consecutiveParts = false } = input.limits;
  for (const part of sent) {
    const room = part.number - number - 1;
    if (consecutiveParts && part.offset > end !== room > 0) {
      if (part.required) return undefined;
      continue;
    }
    if (part.offset > end) {
      const gap = consecutiveParts
        ? planExactly(end, part.offset, room, number + 1, input)
        : planGap(end, part.offset, room, number + 1, input);
      // Without this part the gap reaches to the next one, and has its number too.
      if (!gap) {
        if (part.required) return undefined;
        continue;
      }
      parts.push(...gap);
    }
    parts.push({ ...part, from: 'sent' });
    end = part.offset + part.size;
    number = part.number;
  }
  while (end < input.size) {
    const gap = planGap(end, input.size, input.limits.maxParts - number, number + 1, input);
    if (gap) return [...parts, ...gap];
    // What is left has no room: it takes that of the part before it.
    const last = parts.pop();
    if (!last || last.required) return undefined;
    end = last.offset;
    number = last.number - 1;
  }
  return parts;
}

/** Exactly `count` parts for `start` … `end`, each from where all of it is. */
function planExactly(
  start: number,
  end: number,
  count: number,
  number: number,
  { changed, zeros, limits }: PlanInput,
): PlannedPart[] | undefined {
  const length = end - start;
  if (length < count * limits.minPartSize) return undefined;
  const parts: PlannedPart[] = [];
  for (let i = 0, offset = start; i < count; i++) {
    const next = i === count - 1 ? end : start + Math.floor(((i + 1) * length) / count);
    const from = !changed.intersects(offset, next) ? 'copy' : zeros.covers(offset, next) ? 'zero' : 'send';
    parts.push({ number: number + i, offset, size: next - offset, from });
    offset = next;
  }
  return parts;
}

/** Parts for `start` … `end`, at most `room` of them, numbered from `number` on. */
function planGap(
  start: number,
  end: number,
  room: number,
  number: number,
  input: PlanInput,
): PlannedPart[] | undefined {
  const { limits, sizes } = input;
  const isLast = end === input.size;
  if (room < 1 || (!isLast && end - start < limits.minPartSize)) return undefined;
  const there = copyable(start, end, input);
  const bytes = there.reduce((sum, piece) => sum + piece.end - piece.start, 0);
  let cut = limits.minPartSize;
  for (let least = limits.minPartSize; ; least *= 2) {
    const copied = Math.ceil(bytes / sizes.copies / MIB) * MIB;
    // A tenth of the numbers is left for what is sent between the copies.
    const forced = Math.ceil(bytes / Math.max(1, Math.floor(room * 0.9)));
    const copyPart = Math.max(Math.min(Math.max(copied, sizes.copyPart), sizes.maxCopyPart), forced, 2 * least);
    const parts: PlannedPart[] = [];
    const all = pieces(start, end, there, cut, isLast);
    for (const piece of all) {
      const { from } = piece;
      const target =
        from === 'send'
          ? Math.min(Math.max(sizes.part, least), limits.maxPartSize)
          : Math.min(copyPart, limits.maxCopySize, limits.maxPartSize);
      for (const [offset, size] of split(piece.start, piece.end, target, from !== 'send', limits)) {
        parts.push({ number: number + parts.length, offset, size, from });
        if (parts.length > room) break;
      }
      if (parts.length > room) break;
    }
    if (parts.length <= room) return parts;
    if (least >= limits.maxPartSize) return undefined;
    // Too many pieces: the smallest ones are sent with what lies beside them.
    if (all.length * 2 > room) cut = Math.min(2 * cut, limits.maxPartSize / 2);
  }
}

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly from: 'send' | 'copy' | 'zero';
}

/** What of `start` … `end` need not be sent, in order. */
function copyable(start: number, end: number, { changed, zeros }: PlanInput): Piece[] {
  const stored = RangeSet.of([start, end]);
  changed.visit(start, end, (a, b) => stored.remove(a, b));
  const there: Piece[] = [];
  stored.visit(start, end, (a, b) => there.push({ start: a, end: b, from: 'copy' }));
  if (!zeros.intersects(start, end)) return there;
  zeros.visit(start, end, (a, b) => there.push({ start: a, end: b, from: 'zero' }));
  return there.sort((a, b) => a.start - b.start);
}

/** Cuts `start` … `end` into pieces to copy and pieces to send, none below `least` but the last of the object. */
function pieces(start: number, end: number, there: readonly Piece[], least: number, isLast: boolean): Piece[] {
  const copies: Piece[] = [];
  /** Where the bytes begin that are not to be copied, since the last copy. */
  let after = start;
  for (const { start: a, end: b, from } of there) {
    // What is sent before this copy takes from it what it lacks itself.
    const begin = a > after ? Math.max(a, after + least) : a;
    if (b - begin < least) continue;
    copies.push({ start: begin, end: b, from });
    after = b;
  }
  // What is sent at the end takes from the copy before it, unless the object may end with a small part.
  for (let last = copies.at(-1); last && !isLast && last.end < end && end - last.end < least; last = copies.at(-1)) {
    copies.pop();
    if (end - least - last.start < least) continue;
    copies.push({ ...last, end: end - least });
    break;
  }
  const all: Piece[] = [];
  let at = start;
  for (const copy of copies) {
    if (copy.start > at) all.push({ start: at, end: copy.start, from: 'send' });
    all.push(copy);
    at = copy.end;
  }
  if (at < end) all.push({ start: at, end, from: 'send' });
  return all;
}

/** Cuts a piece into parts of about `target` bytes, none below the least that S3 takes unless the piece is. */
function split(
  start: number,
  end: number,
  target: number,
  even: boolean,
  limits: StoreLimits,
): Iterable<readonly [number, number]> {
  const length = end - start;
  const count = Math.ceil(length / target);
  if (count <= 1) return [[start, length]];
  if (even || target < 2 * limits.minPartSize) return evenly(start, end, length, target, limits);
  return inSteps(start, end, target, limits);
}

function* evenly(
  start: number,
  end: number,
  length: number,
  target: number,
  limits: StoreLimits,
): Iterable<readonly [number, number]> {
  // Rounded down where halves of the target would be too small for a part.
  const most = Math.max(1, Math.floor(length / limits.minPartSize));
  const least = Math.ceil(length / limits.maxPartSize);
  const count = Math.max(least, Math.min(most, Math.ceil(length / target)));
  for (let i = 0, at = start; i < count; i++) {
    const next = i === count - 1 ? end : start + Math.floor(((i + 1) * length) / count);
    yield [at, next - at];
    at = next;
  }
}

function* inSteps(
  start: number,
  end: number,
  target: number,
  limits: StoreLimits,
): Iterable<readonly [number, number]> {
  let at = start;
  while (at < end) {
    let size = Math.min(target, end - at);
    const rest = end - at - size;
    // A rest too small for a part goes with the last whole one, or, where that would be too large, takes from it.
    if (rest > 0 && rest < limits.minPartSize) {
      size = size + rest <= limits.maxPartSize ? size + rest : size - (limits.minPartSize - rest);
    }
    yield [at, size];
    at += size;
  }
}
