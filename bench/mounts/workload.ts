/** What a workload is. The list of them: `workloads.ts`; how one is carried out: `cell.ts`. */
import type { BucketName } from './data-sets.ts';
import type { LoadJob } from './load-jobs.ts';
import type { Plan } from './plan.ts';
import type { RawJob } from './raw-jobs.ts';
import type { Contents } from './server.ts';

export type Unit = 's' | '/s' | 'MiB';

/** Where things are while a workload runs. */
export interface Place {
  /** The mount point. */
  readonly mount: string;
  /** Of this run, empty at first, on a local disk. */
  readonly scratch: string;
  /** The tree that is copied in. */
  readonly tree: string;
}

/** An object that must hold what was written; where not said otherwise, bytes of `written-bytes.ts`. */
export interface Expected {
  readonly key: string;
  readonly size: number;
  /** Of the generator. */
  readonly seed?: number;
  /** Only this range is looked at, and holds the written bytes from its beginning. */
  readonly range?: { readonly offset: number; readonly length: number };
}

/** What the bucket must hold at the end: an object more (a directory marker) is no matter. */
export interface Outcome {
  /** True once S3 has everything. `before`: what the bucket held before the job. */
  settled(contents: Contents, before: Contents): boolean;
  readonly objects: readonly Expected[];
}

export interface Workload {
  readonly name: string;
  readonly title: string;
  readonly bucket: BucketName;
  readonly unit: Unit;
  /** Fill the bucket again before each run. */
  readonly changes?: true;
  /** Asks for attributes of many files: then `stat=list` goes another way than the defaults. */
  readonly attributes?: true;
  /** With a cache on disk (`use_cache`), for those that have one. */
  readonly cache?: true;
  /** `mount`: time and memory of the mount itself. */
  readonly kind?: 'mount-time' | 'idle-memory';
  /** The same job first, unmeasured: on the same mount, or on one that is taken down and mounted again. */
  readonly before?: 'same-mount' | 'other-mount';
  job(place: Place): LoadJob;
  /** By plain HTTP; absent: there is nothing to ask S3 for. */
  readonly raw?: RawJob;
  /** The least requests, as far as they do not depend on the mode; the floor is computed from it. */
  readonly plan?: Plan;
  /** The floor where `close` and `unlink` wait for S3, one after the other. */
  readonly planInTurn?: Plan;
  /** How many the job must finish. */
  readonly total: number;
  /** Counts where the program could not: files in the bucket, files gone from it, files in the scratch directory, lines. */
  readonly count?: 'in-bucket' | 'gone-from-bucket' | 'in-scratch' | 'lines';
  /** Lines of output that are no file. */
  readonly extraLines?: number;
  /** Bytes that the program asked for or wrote, per run or (rates) per operation. */
  readonly bytes?: number;
  readonly outcome?: Outcome;
  /** Random readers: floor of their rate. */
  readonly rate?: { readonly block: number; readonly readers: number };
}

/** `2 GiB`, `1 GB`: whichever is round. */
export function size(bytes: number): string {
  for (const [unit, factor] of [
    ['GB', 1e9],
    ['GiB', 2 ** 30],
    ['MB', 1e6],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes % factor === 0) return `${bytes / factor} ${unit}`;
  }
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
