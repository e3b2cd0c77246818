/** The cache on disk, as the options want it. */

import { DiskTier } from '../cache/disk-tier.ts';
import { DirectoryTierDisk, prepareTierDirectory } from '../cache/tier-disk.ts';
import type { Clock } from '../concurrency.ts';
import type { Telemetry } from '../telemetry.ts';
import type { MountShares } from './disk-shares.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Config } from './options.ts';
import { ensureStateDirectory, stateDirectoryOf } from './state-directory.ts';

/** As s3fs: where nothing is said, a tenth of the disk stays free. */
const DEFAULT_FREE_RATIO = 10;

/** ms that a mount waits to learn what is in the cache: 10 GiB take 50. What is learned later is found later. */
const START_PATIENCE = 250;

export interface OpenedTier {
  readonly tier: DiskTier;
  /** Whose own directory in there is its. */
  readonly directory: string;
  /** Bytes that stay free on its disk. */
  readonly keepsFree: number;
  /** Resolves when what is there is known, or when it has taken long. */
  readonly known: Promise<void>;
}

/** `shares`: what it may take where nobody has said how much. Undefined if no cache was asked for. Throws a `CliError` if it cannot be used. */
export async function openDiskTier(
  config: Config,
  shares: Pick<MountShares, 'tier' | 'tierLeaves'>,
  telemetry: Telemetry,
  clock: Clock,
): Promise<OpenedTier | undefined> {
  const { use_cache, cache_size, ensure_diskfree, free_space_ratio, del_cache, check_cache_dir_exist } = config.values;
  if (use_cache === undefined && cache_size === undefined) return undefined;
  const parent = use_cache ?? ensureStateDirectory(stateDirectoryOf(config), 'cache');
  let directory: string;
  try {
    directory = await prepareTierDirectory(parent, check_cache_dir_exist ?? false);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(
      EXIT.state,
      `the cache directory ${parent} cannot be used (${reason}); give another as use_cache=.`,
    );
  }
  const isSaid = ensure_diskfree !== undefined || free_space_ratio !== undefined;
  const minFreeBytes = isSaid ? (ensure_diskfree ?? 0) : shares.tierLeaves;
  const minFreeShare = (isSaid ? (free_space_ratio ?? 0) : DEFAULT_FREE_RATIO) / 100;
  const disk = new DirectoryTierDisk(directory);
  const { total } = await disk.space();
  const tier = new DiskTier({
    disk,
    scope: scopeOf(config),
    limitBytes: cache_size ?? shares.tier,
    minFreeBytes,
    minFreeShare,
    clearAtEnd: del_cache ?? false,
    telemetry,
    clock,
  });
  const started = (del_cache ? tier.clear() : Promise.resolve()).then(() => tier.start());
  const patience = new Promise<void>(resolve => void clock.after(START_PATIENCE, resolve));
  return {
    tier,
    directory: parent,
    keepsFree: Math.max(minFreeBytes, total * minFreeShare),
    known: Promise.race([started, patience]),
  };
}

/** Two mounts of one bucket share blocks, whatever their prefixes; the same name at another service is another bucket. */
function scopeOf({ bucket, prefix, values }: Config): string {
  return `${values.url ?? 'aws'}\0${bucket}\0${prefix}`;
}
