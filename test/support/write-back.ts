/** A `WriteBackStore` over a store in memory and a disk that keeps only what it promised. */
import { Budget } from '../../src/cache/budget.ts';
import { Journal } from '../../src/cache/journal.ts';
import { isUploadRecord, TrackedUploads } from '../../src/cache/tracked-uploads.ts';
import { type WriteBackEnvironment, WriteBackStore } from '../../src/cache/write-back.ts';
import { type Clock, systemClock } from '../../src/concurrency.ts';
import type { ObjectStore } from '../../src/s3/store.ts';
import { Counters } from '../../src/telemetry.ts';
import { LossyDisk } from './lossy-disk.ts';

export interface WriteBackOptions {
  readonly store: ObjectStore;
  readonly disk?: LossyDisk;
  readonly clock?: Clock;
  /** Bytes of the journal. */
  readonly limit?: number;
  readonly sync?: 'group' | 'close';
  readonly telemetry?: Counters;
  /** New changes wait for S3. */
  readonly through?: boolean;
}

export interface TestWriteBack {
  readonly store: WriteBackStore;
  readonly disk: LossyDisk;
  readonly journal: Journal;
  readonly telemetry: Counters;
  /** How many changes an earlier daemon left. */
  readonly resumed: number;
  readonly lost: number;
  /** Resolves to how many uploads it had left in progress, when they are aborted. */
  readonly swept: Promise<number>;
}

/** The same at once, on an empty disk. */
export function freshWriteBack({
  store,
  clock = systemClock,
  telemetry = new Counters(),
}: WriteBackOptions): WriteBackStore {
  const { log } = telemetry;
  const directory = new LossyDisk();
  const journal = new Journal({ directory, owner: 'bucket', limit: 64 << 20, sync: 'group', clock, log });
  return new WriteBackStore(environmentOf(store, journal, telemetry, clock));
}

function environmentOf(store: ObjectStore, journal: Journal, telemetry: Counters, clock: Clock): WriteBackEnvironment {
  return {
    store,
    journal,
    budget: new Budget(64 * 1024 * 1024),
    telemetry,
    clock,
    conflictKeys: (key, attempt) => {
      const name = key.lastIndexOf('/') + 1;
      return `${key.slice(0, name)}_conflict.${attempt}.${key.slice(name)}`;
    },
  };
}

export async function makeWriteBack(options: WriteBackOptions): Promise<TestWriteBack> {
  const { store, disk = new LossyDisk(), clock = systemClock, limit = 64 * 1024 * 1024, sync = 'group' } = options;
  const { through = false } = options;
  const telemetry = options.telemetry ?? new Counters();
  const { log } = telemetry;
  const { journal, found } = await Journal.open({ directory: disk, owner: 'bucket', limit, sync, clock, log });
  const uploads = new TrackedUploads(store, journal, telemetry);
  const writeBack = new WriteBackStore({ ...environmentOf(uploads, journal, telemetry, clock), through });
  const { changes, lost } = writeBack.resume(found.filter(record => !isUploadRecord(record)));
  const swept = uploads.sweep(found.filter(isUploadRecord));
  return { store: writeBack, disk, journal, telemetry, resumed: changes, lost, swept };
}
