/**
 * The first GET of an open: sent before the version is known, so without If-Match. Its headers tell the version; from then
 * on its body is the fetch of the first blocks of that content like any other.
 */
import { Cancellation } from '../concurrency.ts';
import { StoreError } from '../errors.ts';
import type { GetResult, GetSink, ObjectInfo, ObjectStore, ObjectVersion } from '../s3/store.ts';
import type { BlockFetch } from './block-fetch.ts';
import { BlockSink } from './block-fetch.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';

/** What the cache does for an opening read. */
export interface OpeningHost {
  /** The headers are in; `buffers` will be filled with whole blocks, from the first on. */
  begin(info: ObjectInfo, buffers: readonly Uint8Array[], cancellation: Cancellation): BlockFetch;
  deliver(fetch: BlockFetch, position: number): void;
  end(fetch: BlockFetch, error: unknown): void;
  free(buffer: Uint8Array): void;
}

export class OpeningRead {
  readonly #host: OpeningHost;
  /** Buffers that belong to no fetch: all of them until the headers are in. */
  #own: Uint8Array[];
  readonly #buffers: readonly Uint8Array[];
  readonly #cancellation = new Cancellation();
  #fetch: BlockFetch | undefined;
  #sink: BlockSink | undefined;
  /** Where the content was when the headers came. */
  #version: ObjectVersion | undefined;

  constructor(buffers: readonly Uint8Array[], host: OpeningHost) {
    this.#buffers = buffers;
    this.#own = buffers.slice();
    this.#host = host;
  }

  /** Known when `send` has resolved. */
  get content(): StoredContent | undefined {
    return this.#fetch?.content;
  }

  /** Resolves when the headers are in. `signal` aborts until then; afterwards others may wait for the blocks. */
  send(store: ObjectStore, key: string, signal: AbortSignal | undefined): Promise<ObjectInfo> {
    const length = this.#buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0);
    // Made when it is needed: a stack for each of thousands of small files shows in the profile.
    const aborted = (): StoreError =>
      new StoreError('aborted', `the open of ${key} was interrupted`, { operation: 'GetObject', key });
    if (signal?.aborted) {
      this.#freeOwn();
      return Promise.reject(aborted());
    }
    return new Promise((resolve, reject) => {
      const abort = (): void => this.#cancellation.abort(aborted());
      signal?.addEventListener('abort', abort, { once: true });
      const started = (info: ObjectInfo): void => {
        signal?.removeEventListener('abort', abort);
        this.#begin(info);
        resolve(info);
      };
      const sink: GetSink = {
        buffers: this.#buffers,
        started,
        filled: bytes => this.#sink?.filled(bytes),
      };
      store.get(key, { offset: 0, length }, sink, { signal: this.#cancellation }).then(
        result => {
          if (this.#fetch === undefined) started(result.info);
          this.#finish(result, length);
        },
        (error: unknown) => {
          signal?.removeEventListener('abort', abort);
          if (this.#fetch === undefined) {
            this.#freeOwn();
            reject(error);
          } else {
            void this.#goOn(this.#fetch, store, error);
          }
        },
      );
    });
  }

  #begin(info: ObjectInfo): void {
    let whole = 0;
    while (whole < this.#buffers.length) {
      const end = Math.min(whole * BLOCK_SIZE + this.#buffers[whole]!.byteLength, info.size);
      if (end < Math.min((whole + 1) * BLOCK_SIZE, info.size) || end <= whole * BLOCK_SIZE) break;
      whole++;
    }
    this.#fetch = this.#host.begin(info, this.#buffers.slice(0, whole), this.#cancellation);
    this.#version = this.#fetch.content.version;
    this.#sink = new BlockSink(this.#fetch, 0, info.etag, position => this.#host.deliver(this.#fetch!, position));
    this.#own = this.#buffers.slice(whole);
    // The body ends before them, so nobody will write there; a part of a block in the last one would be.
    if (whole * BLOCK_SIZE >= info.size) this.#freeOwn();
  }

  #finish(result: GetResult, length: number): void {
    const fetch = this.#fetch!;
    let failure: unknown;
    try {
      this.#sink!.finish(result, Math.min(fetch.content.size, length));
    } catch (error) {
      failure = error;
    }
    this.#freeOwn();
    this.#host.end(fetch, failure);
  }

  /** The body broke. If that was because of our own rename or change, the rest is to be had from the successor. */
  async #goOn(fetch: BlockFetch, store: ObjectStore, error: unknown): Promise<void> {
    this.#freeOwn();
    let failure: unknown = error;
    if (fetch.delivered < fetch.count && fetch.hasMoved(this.#version!, error)) {
      try {
        await fetch.run(store, position => this.#host.deliver(fetch, position));
        failure = undefined;
      } catch (again) {
        failure = again;
      }
    }
    this.#host.end(fetch, failure);
  }

  #freeOwn(): void {
    const own = this.#own;
    this.#own = [];
    for (const buffer of own) this.#host.free(buffer);
  }
}
