/** The tables that pandas and R read, made where these are installed, and put into the bucket. */
import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { RawHttp } from './raw-http.ts';
import { CSV_KEY, PARQUET_KEY } from './table-workloads.ts';

export interface TableReaders {
  readonly pandas: boolean;
  readonly fread: boolean;
}

function succeeds(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

export function findTableReaders(): TableReaders {
  return {
    pandas: succeeds('python3', ['-c', 'import numpy, pandas, pyarrow']),
    fread: succeeds('Rscript', ['-e', 'stopifnot(requireNamespace("data.table", quietly = TRUE))']),
  };
}

const PARQUET = `
import sys, numpy, pandas
path, size = sys.argv[1], int(sys.argv[2])
random = numpy.random.default_rng(1)
# Random numbers of 8 bytes do not compress: twenty columns of them are as large as they look.
frame = pandas.DataFrame({'c%d' % i: random.random(size // 160) for i in range(20)})
frame.to_parquet(path, compression=None, row_group_size=500_000, index=False)
`;

const COLUMNS = 20;
const CELL = 9;
const ROW = COLUMNS * (CELL + 1);

/** Twenty numbers in each row of 200 bytes; the first row names the columns, in as many bytes. */
export function csvRows(first: number, count: number): Buffer {
  const rows: string[] = [];
  for (let row = first; row < first + count; row++) {
    const cells = Array.from({ length: COLUMNS }, (_, column) => {
      if (row === 0) return `column_${String(column).padStart(2, '0')}`;
      const number = Math.imul(row * COLUMNS + column, 0x9e3779b1) >>> 0;
      return `${String(number % 10_000).padStart(4, '1')}.${String(number >>> 8)
        .padStart(4, '0')
        .slice(0, 4)}`;
    });
    rows.push(`${cells.join(',')}\n`);
  }
  return Buffer.from(rows.join(''), 'latin1');
}

/** Uploads pieces of at least 5 MiB each but the last. */
async function uploadPieces(http: RawHttp, path: string, pieces: Iterable<Buffer>): Promise<void> {
  const begun = await http.request({ method: 'POST', path: `${path}?uploads`, collect: true });
  const id = /<UploadId>([^<]*)</.exec(begun.body.toString())?.[1] ?? '';
  let parts = '';
  let number = 0;
  for (const piece of pieces) {
    number++;
    const answer = await http.request({
      method: 'PUT',
      path: `${path}?partNumber=${number}&uploadId=${id}`,
      body: [piece],
    });
    const etag = /\r\netag: *([^\r]*)/i.exec(answer.head)?.[1] ?? '';
    parts += `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag></Part>`;
  }
  const body = [Buffer.from(`<CompleteMultipartUpload>${parts}</CompleteMultipartUpload>`)];
  await http.request({ method: 'POST', path: `${path}?uploadId=${id}`, body });
}

const PIECE = 16 * 1024 * 1024;

function* piecesOf(file: string): Generator<Buffer> {
  const descriptor = openSync(file, 'r');
  try {
    const { size } = statSync(file);
    for (let offset = 0; offset < size; offset += PIECE) {
      const piece = Buffer.allocUnsafeSlow(Math.min(PIECE, size - offset));
      readSync(descriptor, piece, 0, piece.length, offset);
      yield piece;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Rows repeat after so many: making each anew would take longer than reading them. */
const ROWS_PER_PIECE = 50_000;

function* csvPieces(size: number): Generator<Buffer> {
  const rows = size / ROW;
  const body = csvRows(1, ROWS_PER_PIECE);
  for (let done = 0; done < rows; done += ROWS_PER_PIECE) {
    const count = Math.min(ROWS_PER_PIECE, rows - done);
    // The header takes the place of one row.
    if (done === 0) yield Buffer.concat([csvRows(0, 1), body.subarray(0, (count - 1) * ROW)]);
    else yield body.subarray(0, count * ROW);
  }
}

/** `size`: bytes of each, a multiple of 200. */
export async function makeTables(url: string, work: string, size: number, readers: TableReaders): Promise<void> {
  const http = new RawHttp(url, 1);
  try {
    if (readers.fread) await uploadPieces(http, `/tables/${CSV_KEY}`, csvPieces(size));
    if (readers.pandas) {
      const file = join(work, PARQUET_KEY);
      const { status, stderr } = spawnSync('python3', ['-c', PARQUET, file, String(size)], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`the Parquet file could not be made: ${stderr.trim().split('\n').at(-1)}`);
      await uploadPieces(http, `/tables/${PARQUET_KEY}`, piecesOf(file));
      rmSync(file);
    }
  } finally {
    http.close();
  }
}
