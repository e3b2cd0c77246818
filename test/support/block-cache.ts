/** A block cache over a store of the test's choice, with its budget and pool at hand. */
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import type { BlockTier } from '../../src/cache/block-tier.ts';
import { Budget } from '../../src/cache/budget.ts';
import { systemClock } from '../../src/concurrency.ts';
import type { ReadReply } from '../../src/fuse/ops.ts';
import type { ObjectStore } from '../../src/s3/store.ts';
import { silentTelemetry } from '../../src/telemetry.ts';

const MIB = 1024 * 1024;

export interface Setup<S extends ObjectStore> {
  readonly store: S;
  readonly budget: Budget;
  readonly pool: BlockPool;
  readonly cache: BlockCache;
}

export function setup<S extends ObjectStore>(
  store: S,
  total = 64 * MIB,
  options: { maxRequestBytes?: number; maxReadAhead?: number; tier?: BlockTier } = {},
): Setup<S> {
  const budget = new Budget(total);
  const pool = new BlockPool();
  const cache = new BlockCache({ store, budget, pool, telemetry: silentTelemetry, clock: systemClock, ...options });
  return { store, budget, pool, cache };
}

export function bytesOf(reply: ReadReply): Buffer {
  return Buffer.concat(reply.slices);
}
