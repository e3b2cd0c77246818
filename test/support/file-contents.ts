/** A `FileContent` over the memory store with limits so small that a file of a few hundred KiB has many parts. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { Budget } from '../../src/cache/budget.ts';
import { type ContentEnvironment, FileContent, type SaveTarget } from '../../src/cache/file-content.ts';
import { Spool, type SpoolOptions } from '../../src/cache/spool.ts';
import type { StoredContent } from '../../src/cache/stored-content.ts';
import { UnsavedMemory } from '../../src/cache/unsaved-memory.ts';
import type { UploadSizes } from '../../src/cache/upload-plan.ts';
import { type Clock, systemClock } from '../../src/concurrency.ts';
import type { ReadReply } from '../../src/fuse/ops.ts';
import type { ObjectDescription, WriteCondition } from '../../src/s3/store.ts';
import { silentTelemetry } from '../../src/telemetry.ts';
import { MemoryStore } from './memory-store.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** Waits end in the next turn: what is retried later is retried now. What takes hours does not happen. */
export const eager: Clock = {
  ...systemClock,
  after(ms, callback) {
    if (ms > 3_000_000) return () => {};
    const soon = setImmediate(callback);
    return () => clearImmediate(soon);
  },
};

export const TINY_LIMITS = {
  maxParts: 200,
  minPartSize: 8 * KIB,
  maxPartSize: 512 * KIB,
  maxCopySize: 512 * KIB,
  maxObjectSize: 64 * MIB,
};

export const TINY_SIZES: UploadSizes = {
  singlePut: 48 * KIB,
  part: 32 * KIB,
  copyPart: 64 * KIB,
  maxCopyPart: 256 * KIB,
  copies: 4,
  zeros: 256 * KIB,
};

export interface Setup extends ContentEnvironment {
  readonly store: MemoryStore;
  readonly target: { key: string; metadata: Record<string, string>; condition: WriteCondition | undefined };
  /** What the owner of the files says and does. */
  readonly owner: {
    isNameSettled: boolean;
    /** Saves made because somebody wanted bytes back. */
    recalls: number;
    /** The last of them failed. */
    failed: boolean;
  };
  /** A file of this target. */
  open(stored?: StoredContent): FileContent;
  /** A file over an object that exists. */
  openForeign(bytes: Uint8Array | string): FileContent;
  /** A file over another object, `key`. */
  openOther(key: string, bytes: Uint8Array): FileContent;
}

export interface SetupOptions {
  /** Bytes. */
  readonly budget?: number;
  readonly spool?: SpoolOptions | false;
  readonly sizes?: UploadSizes;
  readonly limits?: Partial<typeof TINY_LIMITS>;
  readonly clock?: Clock;
  /** Default: false. */
  readonly keepSent?: boolean;
}

/** Takes its spool directory away when the test ends. */
export function setup(t: { teardown(callback: () => void): void }, options: SetupOptions = {}): Setup {
  const clock = options.clock ?? systemClock;
  const store = new MemoryStore({ clock, limits: options.limits ?? TINY_LIMITS });
  const budget = new Budget(options.budget ?? 32 * MIB);
  const pool = new BlockPool();
  const telemetry = silentTelemetry;
  const blocks = new BlockCache({ store, budget, pool, telemetry, clock });
  const directory = mkdtempSync(join(tmpdir(), 's3mount-spool-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const spool = new Spool(
    new UnsavedMemory(budget, pool),
    options.spool === false ? {} : { directory, minFreeBytes: 0, ...options.spool },
  );
  const target: Setup['target'] = { key: 'file', metadata: {}, condition: { ifAbsent: true } };
  const { sizes = TINY_SIZES, keepSent = false } = options;
  const environment = { store, blocks, budget, pool, spool, telemetry, clock, sizes, keepSent };
  const owner: Setup['owner'] = { isNameSettled: true, recalls: 0, failed: false };
  let asides = 0;
  /** As the filesystem has it: what a file is based on is what it may replace. */
  const describe = (base: StoredContent | undefined): SaveTarget => {
    const { key, metadata } = target;
    const condition = base && target.condition ? { ifMatch: base.version.etag } : target.condition;
    const described = (): ObjectDescription => ({ headers: {}, metadata: { ...metadata } });
    return { key, condition, describe: described, aside: () => `aside/${++asides}` };
  };
  const open = (stored?: StoredContent): FileContent => {
    const file: FileContent = new FileContent(environment, stored, () => describe(file.stored), {
      isNameSettled: () => owner.isNameSettled,
      async save() {
        owner.recalls++;
        owner.failed = true;
        await file.save();
        owner.failed = false;
      },
    });
    return file;
  };
  return {
    ...environment,
    target,
    owner,
    open,
    openForeign(bytes) {
      const version = store.putForeign(target.key, bytes);
      target.condition = { ifMatch: version.etag };
      return open(blocks.contentOf(version));
    },
    openOther(key, bytes) {
      const stored = blocks.contentOf(store.putForeign(key, bytes));
      const file: FileContent = new FileContent(environment, stored, () => {
        return {
          key,
          condition: { ifMatch: file.stored!.version.etag },
          describe: () => ({ headers: {}, metadata: {} }),
        };
      });
      return file;
    },
  };
}

export function bytesOf(reply: ReadReply): Uint8Array {
  const bytes = new Uint8Array(reply.slices.reduce((sum, slice) => sum + slice.length, 0));
  let at = 0;
  for (const slice of reply.slices) {
    bytes.set(slice, at);
    at += slice.length;
  }
  reply.release?.();
  return bytes;
}

/** Numbers from a seed: 0 <= `next()` < 1, `below(n)` whole. */
export function seeded(seed: number): { next(): number; below(n: number): number } {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  return { next, below: n => Math.floor(next() * n) };
}

/** Bytes that differ from place to place and from `tag` to `tag`. */
export function pattern(length: number, tag: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 7 + (i >>> 8) * 13 + tag * 31 + 1) & 0xff;
  return bytes;
}
