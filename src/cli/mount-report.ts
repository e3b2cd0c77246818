/** What `s3mount status` is told of a mount: one plain object, made when it is asked for. Its JSON is documented. */
import type { BlockCache } from '../cache/block-cache.ts';
import type { TierStats } from '../cache/block-tier.ts';
import type { Budget } from '../cache/budget.ts';
import { LEAST_FREE } from '../cache/disk-space.ts';
import type { DiskTier } from '../cache/disk-tier.ts';
import type { Journal } from '../cache/journal.ts';
import type { Spool } from '../cache/spool.ts';
import type { FileSystemStatus } from '../fs/filesystem-status.ts';
import type { IndexSpace } from '../fs/index-space.ts';
import type { S3Store } from '../s3/s3-store.ts';
import type { Caller } from './callers.ts';
import type { Failed } from './failure-memory.ts';
import type { MountTelemetry } from './mount-telemetry.ts';
import { costOf, costPerDay, PRICES_OF } from './prices.ts';
import type { SpotNotice } from './spot-watch.ts';
import { VERSION } from './version.ts';

/** Bytes, seconds, and ISO 8601 times unless a name says otherwise. */
export interface MountReport extends FileSystemStatus {
  readonly version: string;
  readonly pid: number;
  readonly uid: number;
  readonly bucket: string;
  readonly prefix: string;
  readonly endpoint: string;
  readonly region: string;
  readonly mountPoint: string;
  readonly readOnly: boolean;
  readonly since: string;
  readonly seconds: number;
  readonly memory: {
    /** `memory=`: cached, in flight and unsaved bytes together. */
    readonly limit: number;
    readonly used: number;
    readonly unsaved: number;
    readonly unsavedLimit: number;
    /** Of the whole process. */
    readonly resident: number;
  };
  readonly cache: {
    readonly blocks: number;
    readonly hits: number;
    readonly joined: number;
    readonly misses: number;
  };
  /** Of the cache on disk; absent without. */
  readonly diskCache?: TierStats & { readonly directory: string };
  readonly places: {
    readonly state: string;
    /** Where metadata is kept beyond this mount. */
    readonly index: string;
    /** Absent: stderr. */
    readonly log?: string;
    readonly spool: {
      readonly directory?: string;
      readonly used: number;
      readonly limit?: number;
      readonly keepsFree: number;
    };
  };
  /** What it keeps on local disks, by what it is; absent is what this mount does not have. */
  readonly disk: {
    readonly index: DiskPlace;
    readonly journal?: DiskPlace;
    readonly cache?: DiskPlace;
    readonly spool?: DiskPlace;
  };
  /** On a Spot instance that AWS will take back, or may. */
  readonly notice?: SpotNotice;
  readonly requests: {
    /** By S3's names. */
    readonly byKind: Readonly<Record<string, number>>;
    readonly bytesIn: number;
    readonly bytesOut: number;
    readonly retries: number;
    /** Of the retries, those that S3 asked for. */
    readonly throttled: number;
    /** The last attempt that failed and was, or will be, made again. */
    readonly lastRetry?: Failed;
  };
  readonly cost: {
    readonly dollars: number;
    /** Absent in the first minute. */
    readonly dollarsPerDay?: number;
    readonly prices: string;
  };
  readonly operations: Readonly<Record<string, number>>;
  /** What this store keeps of S3's conditions: true, false, or null where it was not needed yet. */
  readonly features: Readonly<Record<string, boolean | string | null>>;
  readonly processes: readonly Caller[];
  readonly failures: { readonly count: number; readonly latest: readonly Failed[] };
}

export interface DiskPlace {
  readonly directory: string;
  /** Bytes; absent until they were counted. */
  readonly used?: number;
  /** The most that it takes; absent: as much as there is beyond `keepsFree`. */
  readonly limit?: number;
  /** Nothing more is written where less than so many bytes would be free. */
  readonly keepsFree: number;
}

export interface ReportParts {
  readonly telemetry: MountTelemetry;
  readonly store: Pick<S3Store, 'place' | 'features'>;
  readonly blocks: Pick<BlockCache, 'stats'>;
  readonly budget: Pick<Budget, 'total' | 'used'>;
  readonly spool: Pick<Spool, 'directory' | 'used' | 'maxBytes' | 'minFreeBytes' | 'memory'>;
  readonly status: () => FileSystemStatus;
  readonly notice?: () => SpotNotice | undefined;
  readonly mountPoint: string;
  readonly readOnly: boolean;
  readonly stateDirectory: string;
  readonly index: { readonly directory: string; readonly space: Pick<IndexSpace, 'used' | 'maxBytes'> };
  readonly journal: Pick<Journal, 'path' | 'used' | 'limit' | 'minFree'> | undefined;
  readonly diskCache:
    | { readonly tier: Pick<DiskTier, 'stats'>; readonly directory: string; readonly keepsFree: number }
    | undefined;
  readonly logFile: string | undefined;
  /** ms since the epoch. */
  readonly since: number;
  readonly now: () => number;
}

const TOP_PROCESSES = 10;
const LATEST_FAILURES = 5;

export function mountReport(parts: ReportParts): MountReport {
  const { telemetry, store, blocks, budget, spool } = parts;
  const { place, features } = store;
  const { aheadBytes, freshBytes, hotBytes, pinnedBytes, hits, joined, misses } = blocks.stats;
  const seconds = Math.max(0, (parts.now() - parts.since) / 1000);
  const byKind = requestsByKind(telemetry);
  const [lastRetry] = telemetry.attempts.latest(1);
  const dollars = costOf(byKind);
  const notice = parts.notice?.();
  const perDay = costPerDay(dollars, seconds);
  return {
    version: VERSION,
    pid: process.pid,
    uid: process.getuid!(),
    ...place,
    mountPoint: parts.mountPoint,
    readOnly: parts.readOnly,
    since: new Date(parts.since).toISOString(),
    seconds: Math.round(seconds),
    ...parts.status(),
    memory: {
      limit: budget.total,
      used: budget.used,
      unsaved: spool.memory.held,
      unsavedLimit: spool.memory.limit,
      resident: process.memoryUsage.rss(),
    },
    cache: { blocks: aheadBytes + freshBytes + hotBytes + pinnedBytes, hits, joined, misses },
    ...(parts.diskCache ? { diskCache: { ...parts.diskCache.tier.stats, directory: parts.diskCache.directory } } : {}),
    places: {
      index: parts.index.directory,
      state: parts.stateDirectory,
      ...(parts.logFile === undefined ? {} : { log: parts.logFile }),
      spool: {
        ...(spool.directory === undefined ? {} : { directory: spool.directory }),
        used: spool.used,
        ...(Number.isFinite(spool.maxBytes) ? { limit: spool.maxBytes } : {}),
        keepsFree: spool.minFreeBytes,
      },
    },
    disk: diskPlaces(parts),
    ...(notice && { notice }),
    requests: {
      byKind,
      bytesIn: telemetry.get('s3.bytes_in'),
      bytesOut: telemetry.get('s3.bytes_out'),
      retries: telemetry.get('s3.retries'),
      throttled: telemetry.get('s3.throttled'),
      ...(lastRetry ? { lastRetry } : {}),
    },
    cost: { dollars, ...(perDay === undefined ? {} : { dollarsPerDay: perDay }), prices: PRICES_OF },
    operations: telemetry.byWord('op.'),
    features: Object.fromEntries(Object.entries(features).map(([name, value]) => [name, value ?? null])),
    processes: telemetry.callers.top(TOP_PROCESSES),
    failures: { count: telemetry.failures.count, latest: telemetry.failures.latest(LATEST_FAILURES) },
  };
}

function diskPlaces({ index, journal, diskCache, spool }: ReportParts): MountReport['disk'] {
  const { used } = index.space;
  const tier = diskCache?.tier.stats;
  return {
    index: {
      directory: index.directory,
      ...(used === undefined ? {} : { used }),
      limit: index.space.maxBytes,
      keepsFree: LEAST_FREE,
    },
    ...(journal && {
      journal: {
        directory: journal.path,
        used: journal.used,
        limit: journal.limit,
        keepsFree: journal.minFree,
      },
    }),
    ...(diskCache &&
      tier && {
        cache: {
          directory: diskCache.directory,
          used: tier.bytes,
          limit: tier.limitBytes,
          keepsFree: diskCache.keepsFree,
        },
      }),
    ...(spool.directory === undefined
      ? {}
      : {
          spool: {
            directory: spool.directory,
            used: spool.used,
            ...(Number.isFinite(spool.maxBytes) ? { limit: spool.maxBytes } : {}),
            keepsFree: spool.minFreeBytes,
          },
        }),
  };
}

/** S3's operations begin with a capital; what else is counted below `s3.` does not. */
export function requestsByKind(telemetry: MountTelemetry): Record<string, number> {
  return Object.fromEntries(Object.entries(telemetry.byWord('s3.')).filter(([word]) => /^[A-Z]/.test(word)));
}
