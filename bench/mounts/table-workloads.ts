/** Tables that programs of data people read, where these programs are installed. */
import type { Scale } from './data-sets.ts';
import { getWhole } from './plan.ts';
import type { RawJob } from './raw-jobs.ts';
import { size, type Workload } from './workload.ts';

/** Tables that programs read; their keys in the bucket `tables`. */
export const PARQUET_KEY = 'table.parquet';
export const CSV_KEY = 'table.csv';

const PANDAS = `
import sys, time, pandas
start = time.perf_counter()
frame = pandas.read_parquet(sys.argv[1], columns=['c3', 'c11', 'c19'])
assert frame.shape[1] == 3 and len(frame) > 0
print(time.perf_counter() - start)
`;

const FREAD = `
suppressMessages(library(data.table))
path <- commandArgs(TRUE)[1]
print_seconds <- system.time(table <- fread(path, showProgress = FALSE))[['elapsed']]
stopifnot(ncol(table) == 20, nrow(table) > 0)
cat(print_seconds, '\\n', sep = '')
`;

export function tables(scale: Scale, have: { readonly pandas: boolean; readonly fread: boolean }): Workload[] {
  const whole = (key: string): RawJob => ({ do: 'plan', plan: getWhole([key], scale.table) });
  const workloads: Workload[] = [];
  if (have.pandas) {
    workloads.push({
      name: 'pandas',
      title: `pandas reads 3 of 20 columns of a Parquet file of ${size(scale.table)}`,
      bucket: 'tables',
      unit: 's',
      job: place => ({
        do: 'run',
        command: ['python3', '-c', PANDAS, `${place.mount}/${PARQUET_KEY}`],
        timesItself: true,
      }),
      total: 1,
    });
  }
  if (have.fread) {
    workloads.push({
      name: 'fread',
      title: `R data.table::fread of a CSV file of ${size(scale.table)}`,
      bucket: 'tables',
      unit: 's',
      job: place => ({
        do: 'run',
        command: ['Rscript', '-e', FREAD, `${place.mount}/${CSV_KEY}`],
        timesItself: true,
      }),
      raw: whole(CSV_KEY),
      plan: getWhole([CSV_KEY], scale.table),
      total: 1,
      bytes: scale.table,
    });
  }
  return workloads;
}
