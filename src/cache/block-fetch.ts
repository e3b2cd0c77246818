/**
 * Blocks on their way: one GET that fills them (`BlockFetch`), and one read that waits for some (`PendingRead`).
 *
 * 1. A block is handed on as soon as its last byte is in, not when the GET ends: a reader follows the GET at the speed of
 *    the connection.
 * 2. A GET is shared by all who want its blocks. A reader that gives up leaves; the GET goes on for the others, and ends
 *    when it was sent for readers and the last one has left.
 * 3. A fetch exists only when it has its memory. So it always comes to an end by itself, and whoever waits for blocks
 *    holds memory while waiting for the network only, never for other memory: readers cannot deadlock each other.
 */
import { Cancellation } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import type { ReadReply } from '../fuse/ops.ts';
import type { GetResult, GetSink, ObjectInfo, ObjectStore, ObjectVersion } from '../s3/store.ts';
import type { BlockTier } from './block-tier.ts';
import type { Block, ResidentBlocks } from './resident-blocks.ts';
import { BlocksReply } from './resident-blocks.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';

/** Why a fetch was sent: somebody waits for it, it may be needed soon, or an open sent it. */
export type FetchReason = 'demand' | 'prefetch' | 'open';

export class BlockFetch {
  readonly content: StoredContent;
  /** Index of the first block. */
  readonly first: number;
  /** One for each block, in order; `undefined` from when it was handed on. */
  readonly buffers: (Uint8Array | undefined)[];
  readonly reason: FetchReason;
  /** How many blocks were handed on. */
  delivered = 0;
  /** Nobody wanted it any longer; the transport may not have let go of the buffers yet. */
  cancelled = false;
  ended = false;
  #waiting = 0;
  readonly #readers: (PendingRead[] | undefined)[] = [];
  #cancellation: Cancellation;

  constructor(
    content: StoredContent,
    first: number,
    buffers: readonly Uint8Array[],
    reason: FetchReason,
    cancellation = new Cancellation(),
  ) {
    this.content = content;
    this.first = first;
    this.buffers = buffers.slice();
    this.reason = reason;
    this.#cancellation = cancellation;
  }

  get count(): number {
    return this.buffers.length;
  }

  /** True while some read waits for a block of it. */
  get wanted(): boolean {
    return this.#waiting > 0;
  }

  /** Where its last block ends in the content. */
  get end(): number {
    const last = this.first + this.count - 1;
    return last * BLOCK_SIZE + this.content.blockLength(last);
  }

  /** Reads that wait for the block at `position`; they are no longer counted as waiting. */
  takeReaders(position: number): readonly PendingRead[] {
    const readers = this.#readers[position];
    if (readers === undefined) return [];
    this.#readers[position] = undefined;
    this.#waiting -= readers.length;
    return readers;
  }

  addReader(position: number, read: PendingRead): void {
    const readers = this.#readers[position];
    if (readers === undefined) this.#readers[position] = [read];
    else readers.push(read);
    this.#waiting++;
  }

  removeReader(read: PendingRead): void {
    for (let i = this.delivered; i < this.count; i++) {
      const readers = this.#readers[i];
      const at = readers === undefined ? -1 : readers.indexOf(read);
      if (at < 0) continue;
      readers!.splice(at, 1);
      this.#waiting--;
    }
  }

  abort(): void {
    this.cancelled = true;
    this.#cancellation.abort(new StoreError('aborted', 'nobody waits for these bytes any longer'));
  }

  /** Takes from `tier` what it has, in order; the rest is for `run`. */
  async runFromTier(tier: BlockTier, deliver: (position: number) => void): Promise<void> {
    await tier.read(this.content, this.first, this.count, (position, bytes) => {
      if (this.cancelled) return false;
      this.buffers[position]!.set(bytes);
      this.delivered++;
      deliver(position);
      return true;
    });
    if (this.cancelled) throw new StoreError('aborted', 'nobody waits for these bytes any longer');
  }

  /**
   * Sends the GET and calls `deliver` as each block is in, in order. When the version has moved on while it was under way
   * (our own rename, chmod), it asks the successor for the rest.
   */
  async run(store: ObjectStore, deliver: (position: number) => void): Promise<void> {
    while (this.delivered < this.count) {
      const version = this.content.version;
      const done = this.delivered;
      const offset = (this.first + done) * BLOCK_SIZE;
      const length = this.end - offset;
      const sink = new BlockSink(this, done, version.etag, deliver);
      const signal = this.#cancellation;
      try {
        const result = await store.get(version.key, { offset, length, ifMatch: version.etag }, sink, { signal });
        sink.finish(result, length);
        return;
      } catch (error) {
        const failure = sink.foreign ?? error;
        if (isStoreError(failure, 'precondition-failed', 'not-found')) await this.content.moved();
        if (this.cancelled || !this.hasMoved(version, failure)) throw failure;
        this.#cancellation = new Cancellation();
      }
    }
  }

  /** True if `failure` only says that `version` is no longer where the bytes are, and we know where they are now. */
  hasMoved(version: ObjectVersion, failure: unknown): boolean {
    return this.content.version !== version && isStoreError(failure, 'precondition-failed', 'not-found');
  }

  /** Another version answered: ends the request; its bytes must not be taken. */
  foreign(etag: string): StoreError {
    const { key } = this.content.version;
    this.#cancellation.abort();
    return new StoreError(
      'precondition-failed',
      `GetObject of ${key} answered version ${etag}, not the one asked for`,
      {
        operation: 'GetObject',
        key,
      },
    );
  }
}

/** Hands on the blocks of a fetch as the transport fills their buffers. */
export class BlockSink implements GetSink {
  readonly buffers: readonly Uint8Array[];
  /** Set when another version answered although the request said If-Match: some stores ignore it. */
  foreign: StoreError | undefined;
  readonly #fetch: BlockFetch;
  readonly #done: number;
  readonly #etag: string;
  readonly #deliver: (position: number) => void;
  /** Bytes of this request at which the next block is whole. */
  #next: number;

  constructor(fetch: BlockFetch, done: number, etag: string, deliver: (position: number) => void) {
    this.#fetch = fetch;
    this.#done = done;
    this.#etag = etag;
    this.#deliver = deliver;
    this.buffers = fetch.buffers.slice(done) as Uint8Array[];
    this.#next = fetch.content.blockLength(fetch.first + done);
  }

  started(info: ObjectInfo): void {
    if (info.etag !== this.#etag) this.foreign = this.#fetch.foreign(info.etag);
  }

  filled(bytes: number): void {
    if (this.foreign !== undefined) return;
    const fetch = this.#fetch;
    while (bytes >= this.#next && fetch.delivered < fetch.count) {
      const position = fetch.delivered++;
      this.#deliver(position);
      if (fetch.delivered === fetch.count) return;
      const blocks = fetch.delivered - this.#done;
      this.#next = blocks * BLOCK_SIZE + fetch.content.blockLength(fetch.first + fetch.delivered);
    }
  }

  /** The GET has ended; `expected` bytes should be in. */
  finish(result: GetResult, expected: number): void {
    if (this.foreign !== undefined) throw this.foreign;
    if (result.bytes !== expected) {
      const { key } = this.#fetch.content.version;
      throw new StoreError(
        'corrupt',
        `GetObject of ${key} answered ${result.bytes} bytes where ${expected} were asked for`,
        { operation: 'GetObject', key },
      );
    }
    this.filled(result.bytes);
  }
}

/** A read that lacks some blocks. It holds those that it has; the last one to come completes it. */
export class PendingRead {
  readonly promise: Promise<ReadReply>;
  readonly #blocks: ResidentBlocks;
  /** Index of the first block that it reads. */
  readonly #first: number;
  readonly #held: (Block | undefined)[];
  /** Offsets of the read in its first and its last block. */
  readonly #from: number;
  readonly #to: number;
  #missing = 0;
  #settled = false;
  readonly #fetches: BlockFetch[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #abandoned: (fetch: BlockFetch) => void;
  readonly #abort = (): void => this.fail(new StoreError('aborted', 'the read was interrupted'));
  #resolve!: (reply: ReadReply) => void;
  #reject!: (error: unknown) => void;

  /** `abandoned` is told each fetch that the read stopped waiting for. */
  constructor(
    blocks: ResidentBlocks,
    first: number,
    count: number,
    from: number,
    to: number,
    signal: AbortSignal | undefined,
    abandoned: (fetch: BlockFetch) => void,
  ) {
    this.#blocks = blocks;
    this.#first = first;
    this.#held = new Array<Block | undefined>(count).fill(undefined);
    this.#from = from;
    this.#to = to;
    this.#signal = signal;
    this.#abandoned = abandoned;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** Block `index` of the content is there. */
  have(index: number, block: Block): void {
    const position = index - this.#first;
    const last = this.#held.length - 1;
    this.#blocks.touch(block, position === 0 ? this.#from : 0, position === last ? this.#to : block.length);
    block.uses++;
    this.#held[position] = block;
  }

  /** Waits for block `index`, which `fetch` brings. */
  await(index: number, fetch: BlockFetch): void {
    this.#missing++;
    fetch.addReader(index - fetch.first, this);
    if (this.#fetches.at(-1) !== fetch) this.#fetches.push(fetch);
  }

  /** Block `index`, for which it waited, has come. */
  arrived(index: number, block: Block): void {
    if (this.#settled) return;
    this.have(index, block);
    this.#missing--;
    this.completeIfWhole();
  }

  /** To be called once all blocks have been had or awaited. */
  completeIfWhole(): void {
    if (this.#missing > 0 || this.#settled) return;
    this.#settled = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#resolve(new BlocksReply(this.#blocks, this.#held as Block[], this.#from, this.#to));
  }

  fail(error: unknown): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    for (const block of this.#held) if (block !== undefined) this.#blocks.release(block);
    for (const fetch of this.#fetches) {
      fetch.removeReader(this);
      this.#abandoned(fetch);
    }
    this.#reject(error);
  }
}
