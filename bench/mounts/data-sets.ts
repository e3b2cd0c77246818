/** What lies in the buckets before a workload starts: names, sizes and seeds as functions, so that nothing has to be kept. */

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** How much of everything. */
export interface Scale {
  readonly name: 'whole' | 'quick';
  /** Bytes of the file that is read and written in one go; four of a quarter are together as large. */
  readonly big: number;
  /** Bytes of the file that is appended to and patched. */
  readonly changed: number;
  /** Bytes of the file that is renamed. */
  readonly moved: number;
  /** How many files of 5 MiB. */
  readonly middling: number;
  /** How many of them for the time to first byte. */
  readonly firstBytes: number;
  /** How many files of 4 KiB are created, looked at, read and deleted. */
  readonly small: number;
  /** Files in the large directories. */
  readonly many: number;
  readonly most: number;
  /** Directories of the tree that is searched; together they have `most` files. */
  readonly directories: number;
  /** Files and directories of the tree that is copied. */
  readonly treeFiles: number;
  readonly treeDirectories: number;
  /** Seconds of each random reader. */
  readonly randomSeconds: number;
  /** Bytes of the table that pandas and R read. */
  readonly table: number;
}

export const WHOLE: Scale = {
  name: 'whole',
  big: 2 * GIB,
  changed: GIB,
  moved: 256 * MIB,
  middling: 100,
  firstBytes: 50,
  small: 1000,
  many: 10_000,
  most: 100_000,
  directories: 1000,
  treeFiles: 6400,
  treeDirectories: 1024,
  randomSeconds: 5,
  table: 1e9,
};

/** An eighth of the bytes, a tenth of the files: for a look within minutes. */
export const QUICK: Scale = {
  name: 'quick',
  big: WHOLE.big / 8,
  changed: WHOLE.changed / 8,
  moved: WHOLE.moved / 8,
  middling: 10,
  firstBytes: 10,
  small: 100,
  many: 1000,
  most: 10_000,
  directories: 100,
  treeFiles: 640,
  treeDirectories: 128,
  randomSeconds: 1,
  table: WHOLE.table / 8,
};

export const MIDDLING_SIZE = 5 * MIB;
export const SMALL_SIZE = 4 * KIB;
/** Of the files that are only listed. */
export const LISTED_SIZE = KIB;

export interface DataFile {
  readonly key: string;
  readonly size: number;
  /** Of the generator; see the embedded server's `generator.ts`. */
  readonly seed: number;
}

/** Eight digits, as the server's fill has it; in the order of bytes. */
export function fileName(number: number): string {
  return `f${String(number).padStart(8, '0')}`;
}

export function flat(prefix: string, count: number, size: number, seed: number): DataFile[] {
  return Array.from({ length: count }, (_, i) => ({ key: prefix + fileName(i), size, seed }));
}

export function deep(prefix: string, scale: Scale): DataFile[] {
  const each = scale.most / scale.directories;
  return Array.from({ length: scale.directories }, (_, i) =>
    flat(`${prefix}d${String(i).padStart(4, '0')}/`, each, LISTED_SIZE, 7),
  ).flat();
}

const SMALLEST = 512;
const LARGEST = 300 * KIB;

/** Spread evenly over the magnitudes from 0.5 to 300 KiB, as sizes of files are; the same at every run. */
export function treeSize(number: number): number {
  // The fractional part of multiples of the golden ratio covers 0 … 1 evenly in any order of counting.
  const place = (number * 0.6180339887498949) % 1;
  return Math.round(SMALLEST * (LARGEST / SMALLEST) ** place);
}

/** Directories: 32 at the top, the others below them; files go round all of them. */
export function treeDirectories(scale: Scale): string[] {
  const top = Math.min(32, scale.treeDirectories);
  return Array.from({ length: scale.treeDirectories }, (_, i) => {
    const first = `a${String(i % top).padStart(2, '0')}/`;
    return i < top ? first : `${first}b${String(Math.floor(i / top)).padStart(2, '0')}/`;
  });
}

/** In the order of bytes. */
export function tree(prefix: string, scale: Scale): DataFile[] {
  const directories = treeDirectories(scale);
  return Array.from({ length: scale.treeFiles }, (_, i) => ({
    key: `${prefix}${directories[i % directories.length]!}${fileName(i)}`,
    size: treeSize(i),
    seed: i,
  })).sort((a, b) => (a.key < b.key ? -1 : 1));
}

export function totalBytes(files: readonly DataFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

/** Buckets, and what is in them. Each is filled when it is first needed, and again before a workload that changes it. */
export type BucketName =
  | 'big'
  | 'quarters'
  | 'middling'
  | 'small'
  | 'many'
  | 'most'
  | 'deep'
  | 'tree'
  | 'changed'
  | 'moved'
  | 'tables'
  | 'out';

export const BUCKETS: readonly BucketName[] = [
  'big',
  'quarters',
  'middling',
  'small',
  'many',
  'most',
  'deep',
  'tree',
  'changed',
  'moved',
  'tables',
  'out',
];

/** Those with very many keys live in a server of their own: its garbage collector would slow down the one that moves bytes. */
export const BUCKETS_OF_NAMES: ReadonlySet<BucketName> = new Set(['many', 'most', 'deep']);

/** Nothing for `out` and `tables`, which programs fill. */
export function filesOf(bucket: BucketName, scale: Scale): DataFile[] {
  switch (bucket) {
    case 'big':
      return flat('d/', 1, scale.big, 1);
    case 'quarters':
      return flat('d/', 4, scale.big / 4, 2);
    case 'middling':
      return flat('d/', scale.middling, MIDDLING_SIZE, 3);
    case 'small':
      return flat('d/', scale.small, SMALL_SIZE, 4);
    case 'many':
      return flat('d/', scale.many, LISTED_SIZE, 5);
    case 'most':
      return flat('d/', scale.most, LISTED_SIZE, 6);
    case 'deep':
      return deep('d/', scale);
    case 'tree':
      return tree('t/', scale);
    case 'changed':
      return flat('d/', 1, scale.changed, 8);
    case 'moved':
      return flat('d/', 1, scale.moved, 9);
    default:
      return [];
  }
}
