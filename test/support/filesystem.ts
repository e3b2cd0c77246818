/** The real filesystem over a store in memory, with a clock that tests move: no kernel, no network. */
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import type { BlockTier } from '../../src/cache/block-tier.ts';
import { Budget } from '../../src/cache/budget.ts';
import type { CloseRooms } from '../../src/cache/close-room.ts';
import { Spool, type SpoolOptions } from '../../src/cache/spool.ts';
import type { UnsavedLog } from '../../src/cache/unsaved-log.ts';
import { UnsavedMemory } from '../../src/cache/unsaved-memory.ts';
import type { UploadSizes } from '../../src/cache/upload-plan.ts';
import type { WriteBackStore } from '../../src/cache/write-back.ts';
import { type FileSystemParts, S3FileSystem } from '../../src/fs/filesystem.ts';
import { DEFAULT_METADATA_BYTES, type MetadataLimits, metadataLimits } from '../../src/fs/metadata-limits.ts';
import type { FileSystemOptions } from '../../src/fs/options.ts';
import { PersistentIndex } from '../../src/fs/persistent-index.ts';
import type { ObjectStore } from '../../src/s3/store.ts';
import { Counters } from '../../src/telemetry.ts';
import { FakeKernel } from './fake-kernel.ts';
import { ManualClock } from './manual-clock.ts';
import { MemoryStore, type MemoryStoreOptions } from './memory-store.ts';

export const DEFAULT_OPTIONS: FileSystemOptions = {
  readOnly: false,
  allowOther: false,
  mounterUid: 1000,
  mounterGid: 1000,
  stat: 'exact',
  metadata: 's3fs',
  ttl: 10_000,
  openCheck: 1000,
  link: 'refuse',
  xattr: true,
  bucketSize: 2 ** 50,
  hostname: 'testhost',
};

export interface TestOptions {
  readonly store?: MemoryStore;
  readonly storeOptions?: MemoryStoreOptions;
  readonly clock?: ManualClock;
  readonly options?: Partial<FileSystemOptions>;
  /** Bytes of the memory budget. */
  readonly budget?: number;
  readonly sizes?: UploadSizes;
  readonly telemetry?: Counters;
  /** Default: none. */
  readonly tier?: BlockTier;
  /** Default: unsaved bytes stay in memory. */
  readonly spool?: SpoolOptions;
  /** Of the metadata that is remembered; the others are those of a large machine. */
  readonly limits?: Partial<MetadataLimits>;
  /** Where the persistent index lies; default: none. */
  readonly indexRoot?: string;
  /** A queue before `store`. */
  readonly writeBack?: WriteBackStore;
  /** Any other that stands before `store`. */
  readonly door?: ObjectStore;
  readonly unsavedLog?: UnsavedLog | undefined;
  readonly closeRooms?: CloseRooms | undefined;
}

export interface TestFileSystem {
  readonly store: MemoryStore;
  readonly clock: ManualClock;
  readonly filesystem: S3FileSystem;
  readonly kernel: FakeKernel;
  readonly counters: Counters;
  readonly budget: Budget;
  readonly environment: FileSystemParts;
  /** The same bucket mounted anew: nothing but what S3 has is known. */
  remount(options?: Partial<FileSystemOptions>, tier?: BlockTier): TestFileSystem;
}

export function makeFileSystem(test: TestOptions = {}): TestFileSystem {
  const clock = test.clock ?? new ManualClock();
  const store = test.store ?? new MemoryStore({ clock, ...test.storeOptions });
  const counters = test.telemetry ?? new Counters();
  const budget = new Budget(test.budget ?? 32 * 1024 * 1024);
  const pool = new BlockPool();
  const { writeBack } = test;
  const door = writeBack ?? test.door ?? store;
  const blocks = new BlockCache({
    store: door,
    budget,
    pool,
    telemetry: counters,
    clock,
    tier: test.tier,
  });
  const spool = new Spool(new UnsavedMemory(budget, pool), test.spool ?? {});
  const environment: FileSystemParts = {
    store: door,
    unsavedLog: test.unsavedLog,
    closeRooms: test.closeRooms,
    ...(writeBack && { writeBack }),
    blocks,
    budget,
    pool,
    spool,
    telemetry: counters,
    clock,
    notifier: undefined,
    options: { ...DEFAULT_OPTIONS, ...test.options },
    mimeTypes: '',
    ...(test.limits && { metadataLimits: { ...metadataLimits(DEFAULT_METADATA_BYTES), ...test.limits } }),
    ...(test.indexRoot !== undefined && {
      persistentIndex: new PersistentIndex({ root: test.indexRoot, name: 'bucket', clock, log: counters.log }),
    }),
    ...(test.sizes && { sizes: test.sizes }),
  };
  const filesystem = new S3FileSystem(environment);
  return {
    store,
    clock,
    filesystem,
    kernel: new FakeKernel(filesystem),
    counters,
    budget,
    environment,
    remount: (options, tier) =>
      makeFileSystem({ ...test, store, clock, options: { ...test.options, ...options }, ...(tier && { tier }) }),
  };
}
