/** Random operations on the bytes of files, as plain data: drawn for what there is at the moment, told in the report of a failure. */
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../src/fuse/ops.ts';
import type { Draw } from './draw.ts';

/** How a descriptor was opened. */
export type Access = 'rdwr' | 'append' | 'direct' | 'rdonly';

export interface Span {
  readonly offset: number;
  readonly length: number;
}

/** `file` and `slot` (a descriptor of that file) by number. */
export type Operation =
  | ({ readonly do: 'write' | 'mapWrite'; readonly file: number; readonly slot: number; readonly tag: number } & Span)
  | ({ readonly do: 'read' | 'mapRead'; readonly file: number; readonly slot: number } & Span)
  | { readonly do: 'ftruncate'; readonly file: number; readonly slot: number; readonly size: number }
  | { readonly do: 'truncate'; readonly file: number; readonly size: number }
  | ({ readonly do: 'fallocate'; readonly file: number; readonly slot: number; readonly mode: number } & Span)
  | ({
      readonly do: 'copy';
      readonly file: number;
      readonly slot: number;
      readonly to: number;
      readonly toSlot: number;
      readonly target: number;
    } & Span)
  | {
      readonly do: 'seek';
      readonly file: number;
      readonly slot: number;
      readonly offset: number;
      readonly whence: number;
    }
  | { readonly do: 'fsync' | 'stat'; readonly file: number; readonly slot: number }
  | { readonly do: 'reopen'; readonly file: number; readonly slot: number; readonly access: Access }
  | { readonly do: 'compare' | 'remount' | 'kill' };

export interface Shape {
  readonly files: number;
  /** Descriptors of each file. */
  readonly slots: number;
  /** Bytes that a file may get. */
  readonly capacity: number;
  /** Of one read or write, bytes. */
  readonly longest: number;
  /** Places where something of the filesystem ends, bytes: operations meet there more often. */
  readonly seams: readonly number[];
  /** How often what costs a whole upload is drawn, of a thousand. */
  readonly saves: number;
  /** How often the daemon goes, in order or by SIGKILL, of ten thousand. */
  readonly ends: number;
}

/** One block and its neighbours, several kernel pages, several blocks. */
export const SMALL: Shape = {
  files: 2,
  slots: 2,
  capacity: 400 * 1024,
  longest: 70_000,
  seams: [4096, 8192, 65_536, 131_072, 262_144],
  saves: 40,
  ends: 12,
};

/** Several parts of an upload, with their seams at 8 MiB; above what goes by one PUT, and below it after a truncate. */
export const LARGE: Shape = {
  files: 2,
  slots: 2,
  capacity: 22_000_000,
  longest: 600_000,
  seams: [131_072, 5 * 2 ** 20, 8 * 2 ** 20, 16 * 2 ** 20, 20_000_000],
  saves: 12,
  ends: 30,
};

/** What is looked at to draw what can be done. */
export interface Scenery {
  sizeOf(file: number): number;
  accessOf(file: number, slot: number): Access;
}

const ACCESS: readonly (readonly [number, Access])[] = [
  [6, 'rdwr'],
  [2, 'append'],
  [2, 'direct'],
  [2, 'rdonly'],
];

/** FALLOC_FL_* as programs give them; punching holes wants KEEP_SIZE. */
const ALLOCATIONS = [
  0,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_ZERO_RANGE,
  FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
];

export function drawOperation(draw: Draw, shape: Shape, scenery: Scenery): Operation {
  if (draw.below(10_000) < shape.ends) return { do: draw.oneOf(['remount', 'kill'] as const) };
  const file = draw.below(shape.files);
  const slot = draw.below(shape.slots);
  if (draw.below(1000) < shape.saves) {
    return draw.chance(50) ? { do: 'fsync', file, slot } : { do: 'reopen', file, slot, access: draw.weighted(ACCESS) };
  }
  const size = scenery.sizeOf(file);
  const access = scenery.accessOf(file, slot);
  const inside = (): Span => within(draw, shape, size);
  const tag = draw.below(2 ** 31);
  const kind = draw.weighted([
    [access === 'rdonly' ? 0 : 22, 'write'],
    [22, 'read'],
    // A map for writing wants a descriptor for both; an empty file cannot be mapped.
    [access === 'rdwr' && size > 0 ? 10 : 0, 'mapWrite'],
    [size > 0 ? 8 : 0, 'mapRead'],
    [access === 'rdonly' ? 0 : 4, 'ftruncate'],
    // By its path it is saved when it returns.
    [shape.saves / 25, 'truncate'],
    [access === 'rdonly' ? 0 : 7, 'fallocate'],
    [6, 'copy'],
    [5, 'seek'],
    [4, 'stat'],
    [1, 'compare'],
  ] as const);
  switch (kind) {
    case 'write': {
      const length = 1 + draw.below(draw.chance(20) ? shape.longest : 5000);
      const offset = access === 'append' ? size : Math.min(place(draw, shape, size), shape.capacity - length);
      // A full file is cut before it grows on.
      if (offset + length > shape.capacity) return { do: 'ftruncate', file, slot, size: draw.below(size) };
      return { do: 'write', file, slot, offset, length, tag };
    }
    case 'read':
    case 'mapRead':
      return { do: kind, file, slot, ...inside() };
    case 'mapWrite':
      return { do: kind, file, slot, tag, ...inside() };
    case 'ftruncate':
      return { do: kind, file, slot, size: Math.min(place(draw, shape, size), shape.capacity) };
    case 'truncate':
      return { do: kind, file, size: Math.min(place(draw, shape, size), shape.capacity) };
    case 'fallocate': {
      const offset = place(draw, shape, size);
      const length = 1 + draw.below(Math.min(shape.longest * 2, shape.capacity - offset));
      return { do: kind, file, slot, mode: draw.oneOf(ALLOCATIONS), offset, length };
    }
    case 'copy':
      return drawCopy(draw, shape, scenery, file, slot) ?? { do: 'stat', file, slot };
    case 'seek':
      return { do: kind, file, slot, offset: place(draw, shape, size), whence: draw.oneOf([SEEK_DATA, SEEK_HOLE]) };
    case 'stat':
      return { do: kind, file, slot };
    case 'compare':
      return { do: kind };
  }
}

function drawCopy(draw: Draw, shape: Shape, scenery: Scenery, file: number, slot: number): Operation | undefined {
  const to = draw.below(shape.files);
  const toSlot = draw.below(shape.slots);
  const span = within(draw, shape, scenery.sizeOf(file));
  const target = Math.min(place(draw, shape, scenery.sizeOf(to)), shape.capacity - span.length);
  // The kernel refuses descriptors that append, and ranges that overlap in one file.
  if (!['rdwr', 'direct'].includes(scenery.accessOf(to, toSlot)) || span.length === 0) return undefined;
  if (to === file && Math.abs(target - span.offset) < span.length) return undefined;
  return { do: 'copy', file, slot, to, toSlot, target, ...span };
}

/** A place near a seam, near the end, or anywhere up to somewhat behind the end; below the capacity. */
function place(draw: Draw, shape: Shape, size: number): number {
  const at = draw.weighted([
    [3, () => draw.oneOf(shape.seams) + draw.oneOf([-4097, -4096, -1, 0, 0, 1, 4096])],
    [2, () => size + draw.oneOf([-4096, -100, -1, 0, 0, 1, 5000])],
    [5, () => draw.below(Math.floor(size * 1.1) + 10_000)],
    [2, () => draw.below(Math.floor((size + 10_000) / 4096)) * 4096],
  ])();
  return Math.max(0, Math.min(at, shape.capacity - 1));
}

/** A span inside of a file of `size` bytes; empty if that is. */
function within(draw: Draw, shape: Shape, size: number): Span {
  if (size === 0) return { offset: 0, length: 0 };
  const offset = Math.min(place(draw, shape, size), size - 1);
  const length = 1 + draw.below(draw.chance(25) ? shape.longest : 8000);
  return { offset, length: Math.min(length, size - offset) };
}
