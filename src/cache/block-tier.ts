/**
 * A place for blocks below memory: larger, slower, and free to forget.
 *
 * It never fails a read and never delays one for long: what it does not bring is fetched from S3. It never answers bytes of
 * another block: what it cannot vouch for is missing. Implemented by `disk-tier.ts` and, for tests, in memory.
 */
import type { ObjectVersion } from '../s3/store.ts';
import type { StoredContent } from './stored-content.ts';

export interface BlockTier {
  /** True if a block is there, as far as is known without I/O. */
  has(content: StoredContent, index: number): boolean;
  /**
   * Hands blocks `first` … `first + count - 1` to `take` in order, until one cannot be had or `take` answers false. The bytes
   * are valid only within the call. Never rejects.
   */
  read(
    content: StoredContent,
    first: number,
    count: number,
    take: (position: number, bytes: Uint8Array) => boolean,
  ): Promise<void>;
  /** Tells where blocks in memory are to be found: one that cannot be written at once is looked for there later. */
  attach(inMemory: (content: StoredContent, index: number) => Uint8Array | undefined): void;
  /** Offers a block. Its bytes are not touched after this has returned. */
  put(content: StoredContent, index: number, bytes: Uint8Array): void;
  /** Our own rename or copy: the same bytes are to be found under this version too, also after a remount. */
  moved(content: StoredContent, successor: ObjectVersion): void;
  /** Wrong bytes may have been put: none of the content's blocks is found any more, also after a remount. */
  distrust(content: StoredContent): void;
  readonly stats: TierStats;
  /** Writes what was put and is not written yet, and lets go of all files. */
  close(): Promise<void>;
}

export interface TierStats {
  /** Bytes that it takes on disk, by all mounts that share it, as far as known. */
  readonly bytes: number;
  readonly limitBytes: number;
  readonly hitBytes: number;
  readonly writtenBytes: number;
  /** Offered and not kept: the disk was slower, full or failing. */
  readonly droppedBytes: number;
  /** Blocks that were not what they should be, or came too late. */
  readonly failedBlocks: number;
}

/** Blocks `from` … `to - 1`, to be had from one place. */
export interface SourceRun {
  readonly from: number;
  readonly to: number;
  readonly tier: boolean;
}

/**
 * Splits blocks `from` … `to - 1` into what is read from the tier and what is fetched. A run in the tier that is shorter than
 * `worth` blocks is fetched along where there is a fetch beside it: a request more costs more than its bytes.
 */
export function planSources(from: number, to: number, inTier: (index: number) => boolean, worth: number): SourceRun[] {
  const runs: { from: number; to: number; tier: boolean }[] = [];
  for (let at = from; at < to; ) {
    const tier = inTier(at);
    let next = at + 1;
    while (next < to && inTier(next) === tier) next++;
    runs.push({ from: at, to: next, tier });
    at = next;
  }
  if (runs.length < 3) return runs;
  const merged: { from: number; to: number; tier: boolean }[] = [];
  for (const [place, run] of runs.entries()) {
    const before = merged.at(-1);
    // Only between two fetches: at an end it costs no request to leave it to the tier.
    const between = run.tier && place > 0 && place < runs.length - 1 && run.to - run.from < worth;
    const tier = run.tier && !between;
    if (before !== undefined && before.tier === tier) before.to = run.to;
    else merged.push({ from: run.from, to: run.to, tier });
  }
  return merged;
}
