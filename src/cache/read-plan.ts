/**
 * What to fetch beyond the bytes that a read asks for: decided from the offsets alone, without any I/O.
 *
 * What makes it hard:
 * 1. The kernel sends its own readahead in parallel, 128 KiB at a time, and the requests arrive out of order.
 * 2. A random read of 256 KiB looks like two sequential requests: a run must be longer than that before it counts.
 * 3. Several threads read through one descriptor, each in its own place.
 * 4. Who reads fast needs a window of tens of MiB; who stops after the header must not have paid for it.
 *
 * A cursor holds a few *runs*: stretches that were read densely. A request belongs to the run whose front it is near (1);
 * another place is another run (3). The window ahead is a multiple of what the run has read so far (4), and nothing below
 * a threshold (2). Runs that keep ending at the same length are expected to end there again, and runs that keep starting
 * at the same distance are expected to go on so: that is a strided reader. A small file is fetched whole once it was read in
 * several places: a bounded price for not waiting again.
 */
import { BLOCK_SIZE } from './stored-content.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

/** The kernel keeps up to two readahead windows (1 MiB each where root raised it) in flight, in any order. */
const BEHIND = 2 * MIB;
const GAP = MIB;

/** Forgets old density: who reads 4 KiB here and there after a long scan is no longer sequential after this much. */
const DENSITY_SPAN = 4 * MIB;

/** The longest read that programs do at random places and that is nobody's scan; twice what the benchmarks ask. */
const SCAN_THRESHOLD = 512 * KIB;

/** A run from the file's first byte is a scan with its second request: nearly everybody who starts there goes on. */
const START_THRESHOLD = BLOCK_SIZE;

/** Runs from elsewhere are trusted like runs from the start when they are this long. */
const TRUSTED = 8 * MIB;

/**
 * Ahead of a trusted run lies up to this many times what it has read. With 4 the window reaches 128 MiB after 32 MiB,
 * about 0.2 s after the first byte; with 1 it takes twice as long and a scan of 2 GiB loses a tenth of its time.
 */
const TRUSTED_FACTOR = 4;

/** A file up to this size is fetched whole by its first read at offset 0: one round trip, one request. */
export const SMALL_FILE = MIB;

/**
 * Who has been to this many places of a file of up to `REST_FILE` gets the rest of it: four round trips of 20 ms were waited for, and
 * all of 4 MiB takes three more. Of a larger file a random reader is fetched no more than the blocks that it asks for.
 */
const PLACES_FOR_REST = 4;
const REST_FILE = 4 * MIB;
/** In GETs of this: two of them side by side are there in half the time of one. */
const REST_REQUEST = 2 * MIB;

/** Threads on one descriptor that can be told apart. What is not recognised is fetched as it is asked for. */
const MAX_RUNS = 16;

/** A run that went on is kept for this many requests of others, however many places they are at. */
const KEPT_FOR = 1000;

/** Strides seen in a row before the next one is believed: three reads at equal distances may be chance. */
const STRIDES_BELIEVED = 3;
const MAX_STRIDES_AHEAD = 8;

/** A stretch of the file that is read densely, in one direction. Offsets in bytes. */
interface Run {
  /** What was asked for lies in `start` … `end`. */
  start: number;
  end: number;
  /** Bytes asked for, at most the span. */
  bytes: number;
  /** The same for the recent past only. */
  recentBytes: number;
  recentSpan: number;
  /** By how many bytes requests moved the end up or the start down. */
  up: number;
  down: number;
  /** What was planned ahead: up to here going up, down to here going down. */
  plannedTo: number;
  plannedFrom: number;
  turn: number;
}

/** One per open handle. Nobody but this file looks inside. */
export interface ReadCursor {
  readonly runs: Run[];
  turn: number;
  current: Run | undefined;
  /** Lengths of the last three runs that ended by a jump, the latest first. */
  readonly ended: number[];
  stride: number;
  strides: number;
  /** Jumps so far. */
  jumps: number;
}

export interface ReadLimits {
  /** How far a scan may be ahead of its reader, in bytes. */
  readonly maxReadAhead: number;
  /** A GET is at most this long, in bytes: a power of two of at least BLOCK_SIZE. */
  readonly maxRequestBytes: number;
}

/** Bytes `from` … `to`, to be fetched by one GET. */
export interface PlannedRange {
  readonly from: number;
  readonly to: number;
}

export interface ReadPlan {
  /** The GET for the read itself may go on to this offset, if it has to be sent anyway. */
  readonly until: number;
  /** To fetch ahead, nearest first, none larger than `maxRequestBytes`. */
  readonly ahead: readonly PlannedRange[];
}

const NOTHING: ReadPlan = Object.freeze({ until: 0, ahead: Object.freeze([]) as readonly PlannedRange[] });

export function newCursor(): ReadCursor {
  return { runs: [], turn: 0, current: undefined, ended: [], stride: 0, strides: 0, jumps: 0 };
}

/**
 * Plans for a read of `length` bytes at `offset` of a file of `fileSize`. The cursor's new state is stored before it
 * returns, so that the next request finds it whatever the fetch does.
 */
export function planRead(
  cursor: ReadCursor,
  offset: number,
  length: number,
  fileSize: number,
  limits: ReadLimits,
): ReadPlan {
  const end = Math.min(offset + length, fileSize);
  if (offset >= end) return NOTHING;
  let run = findRun(cursor, offset, end);
  let until = 0;
  let strided: PlannedRange[] | undefined;
  if (run === undefined) {
    const before = cursor.current;
    run = beginRun(cursor, offset, end);
    if (before !== undefined) {
      strided = noteJump(cursor, before, run, fileSize, limits);
      if (++cursor.jumps === PLACES_FOR_REST - 1 && fileSize <= Math.min(REST_FILE, limits.maxReadAhead)) {
        return planRest(cursor, run, end, fileSize, limits);
      }
    }
    until = expectedEnd(cursor, run, fileSize, limits);
  } else {
    extend(cursor, run, offset, end);
  }
  run.turn = ++cursor.turn;
  cursor.current = run;
  const window = windowOf(cursor, run, fileSize, limits);
  if (window === 0) {
    if (until <= end && strided === undefined) return NOTHING;
    return { until, ahead: strided ?? [] };
  }
  if (run.down > run.up) return { until, ahead: planDown(run, window, limits) };
  const ahead = planUp(run, window, fileSize, limits);
  // Where the read's own bytes are missing although a scan was expected here (refused, failed, evicted), so are others.
  const size = requestSize(end - run.start, limits);
  return { until: Math.min(Math.ceil(end / size) * size, run.plannedTo, fileSize), ahead };
}

/** All of a file that is not large; what is there already is not fetched again. */
function planRest(cursor: ReadCursor, run: Run, end: number, fileSize: number, limits: ReadLimits): ReadPlan {
  const size = Math.min(REST_REQUEST, limits.maxRequestBytes);
  run.turn = ++cursor.turn;
  cursor.current = run;
  const ahead: PlannedRange[] = [];
  for (let at = 0; at < fileSize; at += size) ahead.push({ from: at, to: Math.min(at + size, fileSize) });
  return { until: end, ahead };
}

/** Takes back what the last plan had ahead from `range` on: there was no memory for it. It is planned again later. */
export function takeBack(cursor: ReadCursor, range: PlannedRange): void {
  const run = cursor.current;
  if (run === undefined) return;
  run.plannedTo = Math.min(run.plannedTo, range.from);
  run.plannedFrom = Math.max(run.plannedFrom, range.to);
}

function findRun(cursor: ReadCursor, offset: number, end: number): Run | undefined {
  let best: Run | undefined;
  let nearest = Number.POSITIVE_INFINITY;
  for (const run of cursor.runs) {
    const above = offset - run.end;
    const below = run.start - end;
    let distance: number;
    if (above <= GAP && above >= -BEHIND && below <= 0) distance = Math.abs(above);
    else if (below <= GAP && below >= -BEHIND) distance = Math.abs(below);
    else continue;
    if (distance < nearest && staysDense(run, offset, end)) {
      nearest = distance;
      best = run;
    }
  }
  return best;
}

/** Out of order leaves gaps for a moment; more gap than bytes is somebody who jumps about. */
function staysDense(run: Run, offset: number, end: number): boolean {
  const grown = Math.max(run.end, end) - Math.min(run.start, offset) - (run.end - run.start);
  return 2 * (run.recentBytes + end - offset) >= run.recentSpan + grown;
}

function beginRun(cursor: ReadCursor, offset: number, end: number): Run {
  const bytes = end - offset;
  const run: Run = {
    start: offset,
    end,
    bytes,
    recentBytes: bytes,
    recentSpan: bytes,
    up: 0,
    down: 0,
    plannedTo: 0,
    plannedFrom: Number.POSITIVE_INFINITY,
    turn: 0,
  };
  if (cursor.runs.length < MAX_RUNS) {
    cursor.runs.push(run);
    return run;
  }
  // Random reads must not push out the scan that goes on between them.
  let worst = 0;
  for (let i = 1; i < cursor.runs.length; i++) {
    if (worth(cursor.runs[i]!) < worth(cursor.runs[worst]!)) worst = i;
  }
  cursor.runs[worst] = run;
  return run;
}

function worth(run: Run): number {
  return run.up + run.down > 0 ? run.turn + KEPT_FOR : run.turn;
}

function extend(cursor: ReadCursor, run: Run, offset: number, end: number): void {
  const up = Math.max(0, end - run.end);
  const down = Math.max(0, run.start - offset);
  run.start -= down;
  run.end += up;
  run.up += up;
  run.down += down;
  run.bytes = Math.min(run.bytes + end - offset, run.end - run.start);
  run.recentSpan += up + down;
  run.recentBytes = Math.min(run.recentBytes + end - offset, run.recentSpan);
  if (run.recentSpan > DENSITY_SPAN) {
    run.recentSpan /= 2;
    run.recentBytes /= 2;
  }
  // Requests that came early began a run of their own: when this one reaches it, they are one.
  for (let i = cursor.runs.length - 1; i >= 0; i--) {
    const other = cursor.runs[i]!;
    if (other === run || other.start > run.end || other.end < run.start) continue;
    run.start = Math.min(run.start, other.start);
    run.end = Math.max(run.end, other.end);
    run.bytes = Math.min(run.bytes + other.bytes, run.end - run.start);
    run.plannedTo = Math.max(run.plannedTo, other.plannedTo);
    run.plannedFrom = Math.min(run.plannedFrom, other.plannedFrom);
    cursor.runs.splice(i, 1);
  }
}

/** A jump: remembers how long the run before it was and how far it went; plans ahead for a strided reader. */
function noteJump(
  cursor: ReadCursor,
  before: Run,
  run: Run,
  fileSize: number,
  limits: ReadLimits,
): PlannedRange[] | undefined {
  const length = before.end - before.start;
  cursor.ended.unshift(length);
  if (cursor.ended.length > 3) cursor.ended.pop();
  const stride = run.start - before.start;
  cursor.strides = stride === cursor.stride && length === cursor.ended[1] ? cursor.strides + 1 : 0;
  cursor.stride = stride;
  if (cursor.strides < STRIDES_BELIEVED - 1 || length > limits.maxRequestBytes) return undefined;
  const count = Math.min(MAX_STRIDES_AHEAD, cursor.strides, Math.floor(limits.maxReadAhead / length));
  const ahead: PlannedRange[] = [];
  for (let i = 1; i <= count; i++) {
    const from = run.start + i * stride;
    if (from < 0 || from >= fileSize) break;
    ahead.push({ from, to: Math.min(from + length, fileSize) });
  }
  return ahead.length > 0 ? ahead : undefined;
}

/** Where a run that has just begun will probably end. */
function expectedEnd(cursor: ReadCursor, run: Run, fileSize: number, limits: ReadLimits): number {
  if (run.start === 0 && fileSize <= SMALL_FILE) return fileSize;
  if (cursor.ended.length < 3) return 0;
  return Math.min(run.start + Math.min(...cursor.ended, limits.maxRequestBytes), fileSize);
}

/** How far ahead of this run to fetch, in bytes. */
function windowOf(cursor: ReadCursor, run: Run, fileSize: number, limits: ReadLimits): number {
  const fromEdge = run.down > run.up ? run.end >= fileSize : run.start === 0;
  if (run.bytes <= START_THRESHOLD) return 0;
  if (!fromEdge) {
    if (run.bytes < SCAN_THRESHOLD) return 0;
    // Who always stops at the same length gets no more until it goes further.
    if (cursor.ended.length === 3 && run.bytes <= Math.min(...cursor.ended)) return 0;
  }
  const factor = fromEdge || run.bytes >= TRUSTED ? TRUSTED_FACTOR : 1;
  return Math.min(run.bytes * factor, limits.maxReadAhead);
}

/**
 * GETs double with the distance from where the run began: the first byte comes after one round trip, and a long scan
 * costs few requests. They end at multiples of their own size, so that two readers of one file ask for the same ranges.
 * One is sent when half of it lies in the window.
 */
function planUp(run: Run, window: number, fileSize: number, limits: ReadLimits): PlannedRange[] {
  const target = Math.min(run.end + window, fileSize);
  const ahead: PlannedRange[] = [];
  let at = Math.max(run.plannedTo, Math.ceil(run.end / BLOCK_SIZE) * BLOCK_SIZE);
  while (at < target) {
    const size = requestSize(at - run.start, limits);
    const to = Math.min(Math.floor(at / size) * size + size, fileSize);
    if ((at + to) / 2 > target) break;
    ahead.push({ from: at, to });
    at = to;
  }
  run.plannedTo = at;
  return ahead;
}

function planDown(run: Run, window: number, limits: ReadLimits): PlannedRange[] {
  const target = Math.max(run.start - window, 0);
  const ahead: PlannedRange[] = [];
  let at = Math.min(run.plannedFrom, Math.floor(run.start / BLOCK_SIZE) * BLOCK_SIZE);
  while (at > target) {
    const size = requestSize(run.end - at, limits);
    const from = Math.ceil(at / size) * size - size;
    if ((at + from) / 2 < target) break;
    ahead.push({ from, to: at });
    at = from;
  }
  run.plannedFrom = at;
  return ahead;
}

/** A power of two of at least BLOCK_SIZE, at most half the window's limit: one GET is consumed while the next comes. */
function requestSize(distance: number, limits: ReadLimits): number {
  const most = Math.min(distance, limits.maxRequestBytes, limits.maxReadAhead / 2);
  let size = BLOCK_SIZE;
  while (size * 2 <= most) size *= 2;
  return size;
}
