/**
 * How much local disk is taken where nobody has said how much: index, journal and cache together a tenth of the disk of the
 * state directory. What has a size of its own (`journal_size=`, `cache_size=`), or lies on a disk that was named for it
 * (`journal=`, `use_cache=`), is not counted in. Nor are unsaved bytes in the spool: see DECISIONS.
 */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { diskSpace, LEAST_FREE } from '../cache/disk-space.ts';
import { INDEX_BYTES } from '../fs/index-space.ts';
import type { Config } from './options.ts';
import { ensureStateDirectory, stateDirectoryOf } from './state-directory.ts';

const GIB = 1024 * 1024 * 1024;

/** The system and its logs live on this disk too. */
export const DISK_SHARE = 0.1;
/** Some ten seconds of a fast link. */
export const JOURNAL_BYTES = GIB;
/** s3fs has no limit but the disk's. A program that nobody watches should not take half of one. */
export const TIER_BYTES = 10 * GIB;
/** Of the tenth: metadata is small beside what the others hold. */
const INDEX_SHARE = 1 / 8;

/** The most that each takes, bytes. */
export interface DiskShares {
  readonly index: number;
  readonly journal: number;
  readonly tier: number;
}

/** What takes its part of the state directory's disk, beside the index. */
export interface Sharing {
  readonly journal: boolean;
  readonly tier: boolean;
}

/** `total`: bytes of the state directory's disk. Who does not share in it has the size by default. */
export function diskShares(total: number, sharing: Sharing): DiskShares {
  const tenth = Math.floor(total * DISK_SHARE);
  const index = Math.min(INDEX_BYTES, Math.floor(tenth * INDEX_SHARE));
  const rest = tenth - index;
  const journal = sharing.journal ? Math.min(JOURNAL_BYTES, sharing.tier ? Math.floor(rest / 2) : rest) : JOURNAL_BYTES;
  const tier = sharing.tier ? Math.min(TIER_BYTES, rest - (sharing.journal ? journal : 0)) : TIER_BYTES;
  return { index, journal, tier };
}

export interface MountShares extends DiskShares {
  /** Bytes that the cache leaves free where nobody has said how many, beside its share of the disk. */
  readonly tierLeaves: number;
}

/** The shares of this mount. Rejects with a `CliError` where the state directory cannot be used. */
export async function sharesOf(config: Config): Promise<MountShares> {
  const { ro, journal, journal_size, use_cache, cache_size } = config.values;
  const state = ensureStateDirectory(stateDirectoryOf(config));
  const device = await deviceOf(state);
  const isHere = async (path: string | undefined): Promise<boolean> =>
    path === undefined || (await deviceOf(path)) === device;
  const isTierHere = await isHere(use_cache);
  const shares = diskShares((await diskSpace(state)).total, {
    journal: !ro && journal_size === undefined && (await isHere(journal)),
    tier: use_cache !== undefined && cache_size === undefined && isTierHere,
  });
  return { ...shares, tierLeaves: isTierHere ? LEAST_FREE : 0 };
}

/** Of what is not there yet: the one on which it will be made. */
async function deviceOf(path: string): Promise<number> {
  try {
    return (await stat(path)).dev;
  } catch (error) {
    // Whoever opens the directory tells what is wrong with it.
    if (dirname(path) === path) throw error;
    return await deviceOf(dirname(path));
  }
}
