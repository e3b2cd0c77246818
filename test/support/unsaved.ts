/** A filesystem whose unsaved bytes lie in a journal, on a disk that keeps only what it promised. */
import { Budget } from '../../src/cache/budget.ts';
import { Journal } from '../../src/cache/journal.ts';
import type { SpoolOptions } from '../../src/cache/spool.ts';
import { isUploadRecord, TrackedUploads } from '../../src/cache/tracked-uploads.ts';
import { UnsavedLog } from '../../src/cache/unsaved-log.ts';
import { isUnsavedRecord, unsavedFiles } from '../../src/cache/unsaved-records.ts';
import type { UploadSizes } from '../../src/cache/upload-plan.ts';
import { WriteBackStore } from '../../src/cache/write-back.ts';
import { type RecoveredUnsaved, recoverUnsaved } from '../../src/fs/unsaved-recovery.ts';
import { Counters } from '../../src/telemetry.ts';
import { makeFileSystem, type TestFileSystem } from './filesystem.ts';
import type { LossyDisk } from './lossy-disk.ts';
import type { ManualClock } from './manual-clock.ts';
import type { MemoryStore } from './memory-store.ts';

export interface UnsavedOptions {
  readonly store: MemoryStore;
  readonly disk: LossyDisk;
  readonly clock: ManualClock;
  readonly sizes: UploadSizes;
  readonly writeBack: boolean;
  /** Default: true. */
  readonly isLogged?: boolean;
  /** Bytes of memory. */
  readonly budget?: number;
  readonly spool?: SpoolOptions;
  /** Bytes of the journal. */
  readonly limit?: number;
}

export interface UnsavedFileSystem extends TestFileSystem {
  readonly journal: Journal;
  /** How many files an earlier daemon was writing. */
  readonly found: number;
  /** Resolves when each was tried once. */
  readonly tried: Promise<void>;
  readonly recovered: Promise<RecoveredUnsaved>;
  readonly swept: Promise<number>;
  /** What the daemon does at its end. */
  close(): Promise<void>;
}

const conflictKeys = (key: string, attempt: number): string => {
  const name = key.lastIndexOf('/') + 1;
  return `${key.slice(0, name)}_conflict.${attempt}.${key.slice(name)}`;
};

export async function mountUnsaved(options: UnsavedOptions): Promise<UnsavedFileSystem> {
  const { store, disk, clock, sizes, budget, limit = 64 * 1024 * 1024 } = options;
  const telemetry = new Counters();
  const { journal, found } = await Journal.open({
    directory: disk,
    owner: 'bucket',
    limit,
    sync: 'group',
    clock,
    log: telemetry.log,
  });
  const uploads = new TrackedUploads(store, journal, telemetry);
  const { files, spare, nextId } = unsavedFiles(found.filter(isUnsavedRecord));
  for (const entry of spare) journal.release(entry);
  const parts = new Set(files.flatMap(({ steps }) => steps.flatMap(s => (s.kind === 'part' ? [s.part.uploadId] : []))));
  const swept = uploads.sweep(found.filter(isUploadRecord), id => parts.has(id));
  const environment = { store: uploads, journal, budget: new Budget(64 << 20), telemetry, clock, conflictKeys };
  const queue = options.writeBack ? new WriteBackStore(environment) : undefined;
  const others = found.filter(record => !isUploadRecord(record) && !isUnsavedRecord(record));
  if (queue) queue.resume(others);
  else for (const { entry } of others) journal.release(entry);
  const journaledSaves = options.writeBack ? sizes.singlePut : 0;
  const log = new UnsavedLog({ journal, clock, telemetry, nextId, journaledSaves });
  const test = makeFileSystem({
    store,
    clock,
    sizes,
    telemetry,
    door: uploads,
    unsavedLog: options.isLogged === false ? undefined : log,
    ...(queue && { closeRooms: { room: journal.room, most: Math.min(sizes.singlePut, limit / 4) } }),
    ...(queue && { writeBack: queue }),
    ...(budget !== undefined && { budget }),
    ...(options.spool && { spool: options.spool }),
  });
  journal.room.pressed.add(() => test.environment.spool.memory.letGoSent());
  const ending = new AbortController();
  const { first, ended } = recoverUnsaved(files, {
    environment: test.environment,
    journal,
    isOpen: id => uploads.isLeft(id),
    conflictKeys,
    signal: ending.signal,
  });
  const close = async (): Promise<void> => {
    ending.abort();
    await (queue ?? uploads).close();
  };
  return { ...test, journal, found: files.length, tried: first, recovered: ended, swept, close };
}
