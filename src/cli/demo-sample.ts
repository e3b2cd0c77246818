/** The demo's bucket: the kinds of files that people keep in S3. The same bytes at each start, so they can be compared. */
import { writeParquet } from './demo-parquet.ts';

export interface SampleFile {
  readonly key: string;
  bytes(): Buffer;
}

/** Bytes of the large CSV: large enough for multipart and read-ahead, small enough for a laptop. */
const CSV_BYTES = 100_000_000;
const SMALL_FILES = 500;

const CITIES = ['서울', '부산', '인천', '대구', '대전', '광주', '울산', '수원', 'Zürich', 'São Paulo'];

/** Names that break programs which treat keys carelessly; the last Hangul name is in NFD, as a Mac uploads it. */
const ODD_NAMES = [
  '한글/보고서 2026.csv',
  '한글/자료(최종)_진짜최종.txt',
  `한글/${'맥에서 올림'.normalize('NFD')}.txt`,
  'odd/quotes \' and ".txt',
  'odd/plus+and&amp;=percent%20.txt',
  'odd/ leading and trailing ',
  'odd/-rf',
  'odd/.hidden',
  'odd/tab\there.txt',
  'odd/party 🎉.txt',
  'odd/semicolon;[brackets]{braces}#hash?.txt',
  `odd/${'long'.repeat(60)}.txt`,
];

export function sampleFiles(): SampleFile[] {
  return [
    {
      key: 'README.txt',
      bytes: () => Buffer.from('This bucket lives in the memory of the demo. Change what you like.\n'),
    },
    { key: 'csv/trips.csv', bytes: tripsCsv },
    { key: 'parquet/cities.parquet', bytes: citiesParquet },
    ...Array.from({ length: SMALL_FILES }, (_, number) => smallFile(number)),
    { key: 'deep/a/b/c/d/e/f/g/leaf.txt', bytes: () => Buffer.from('the end of the path\n') },
    { key: 'empty.dat', bytes: () => Buffer.alloc(0) },
    ...ODD_NAMES.map(key => ({ key, bytes: () => Buffer.from(`${key}\n`) })),
  ];
}

/** Directories without a file in them, as the S3 console makes them. */
export const SAMPLE_MARKERS: readonly string[] = ['an empty folder/'];

function smallFile(number: number): SampleFile {
  const name = String(number).padStart(4, '0');
  const lines = 1 + (number % 97);
  return {
    key: `notes/${name.slice(0, 2)}/note-${name}.txt`,
    bytes: () => Buffer.from(`note ${name}\n`.repeat(lines)),
  };
}

function tripsCsv(): Buffer {
  const bytes = Buffer.allocUnsafe(CSV_BYTES + 200);
  let length = bytes.write('id,started,city,minutes,kilometres,note\n');
  let state = 20_261_121;
  for (let id = 1; length < CSV_BYTES; id++) {
    // A linear congruential generator (Numerical Recipes): cheap, and the same everywhere.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const minutes = state % 240;
    const started = `2026-${pad(1 + (id % 12))}-${pad(1 + (state % 28))}T${pad(state % 24)}:${pad(state % 60)}:00Z`;
    const city = CITIES[state % CITIES.length]!;
    length += bytes.write(
      `${id},${started},${city},${minutes},${(minutes * 0.7).toFixed(1)},trip no. ${state}\n`,
      length,
    );
  }
  return bytes.subarray(0, length);
}

function pad(number: number): string {
  return String(number).padStart(2, '0');
}

function citiesParquet(): Buffer {
  const rows = Array.from({ length: 10_000 }, (_, row) => row);
  return writeParquet([
    { name: 'id', type: 'int64', values: rows.map(BigInt) },
    { name: 'city', type: 'text', values: rows.map(row => CITIES[row % CITIES.length]!) },
    { name: 'degrees', type: 'double', values: rows.map(row => (row % 400) / 10 - 10) },
  ]);
}
