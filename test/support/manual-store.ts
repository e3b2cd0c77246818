/**
 * Stores for tests of the read side, on top of `MemoryStore`.
 *
 * `ManualStore`: GETs wait until the test fills them byte by byte. `PacedStore`: GETs take the time that S3 takes, on a
 * clock that the test turns, so that a scan of gigabytes is simulated in milliseconds.
 */
import type { CancelSignal, Clock } from '../../src/concurrency.ts';
import { StoreError } from '../../src/errors.ts';
import type { GetRequest, GetResult, GetSink, ObjectInfo, ObjectVersion, RequestOptions } from '../../src/s3/store.ts';
import { MemoryStore } from './memory-store.ts';

/** Bytes that tell their offset: no two blocks are alike. */
export function patternBytes(length: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + seed * 7919, 2654435761) ^ (i >>> 3);
  return new Uint8Array(words.buffer, 0, length);
}

/** Lets everything run that can run without time going by. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise(resolve => setImmediate(resolve));
}

/** One GET that waits for the test. */
export class ManualGet {
  readonly key: string;
  readonly request: GetRequest;
  readonly signal: CancelSignal | undefined;
  readonly result: Promise<GetResult>;
  readonly #sink: GetSink;
  readonly #info: ObjectInfo;
  readonly #bytes: Uint8Array;
  #begun = false;
  #filled = 0;
  #resolve!: (result: GetResult) => void;
  #reject!: (error: unknown) => void;

  constructor(
    key: string,
    request: GetRequest,
    sink: GetSink,
    signal: CancelSignal | undefined,
    info: ObjectInfo,
    bytes: Uint8Array,
  ) {
    this.key = key;
    this.request = request;
    this.signal = signal;
    this.#sink = sink;
    this.#info = info;
    this.#bytes = bytes.subarray(request.offset, request.offset + request.length);
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    signal?.addEventListener('abort', () => this.fail(new StoreError('aborted', 'aborted by the cache')));
  }

  /** Headers in. */
  begin(info: ObjectInfo = this.#info): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#sink.started?.(info);
  }

  /** `bytes` in all are in. */
  fill(bytes: number): void {
    this.begin();
    let at = 0;
    for (const buffer of this.#sink.buffers) {
      const from = Math.max(at, this.#filled);
      const to = Math.min(at + buffer.length, bytes, this.#bytes.length);
      if (to > from) buffer.set(this.#bytes.subarray(from, to), from - at);
      at += buffer.length;
    }
    this.#filled = Math.min(bytes, this.#bytes.length);
    this.#sink.filled?.(this.#filled);
  }

  finish(): void {
    this.fill(this.#bytes.length);
    this.#resolve({ info: this.#info, bytes: this.#bytes.length });
  }

  /** Ends with fewer bytes than were asked for, without saying so. */
  finishShort(bytes: number): void {
    this.fill(bytes);
    this.#resolve({ info: this.#info, bytes });
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

export class ManualStore extends MemoryStore {
  readonly gets: ManualGet[] = [];

  override get(key: string, request: GetRequest, sink: GetSink, options: RequestOptions = {}): Promise<GetResult> {
    const info = this.info(key);
    const bytes = this.bytes(key);
    if (info === undefined || bytes === undefined) {
      return Promise.reject(new StoreError('not-found', `no ${key}`, { key }));
    }
    if (request.ifMatch !== undefined && request.ifMatch !== info.etag) {
      return Promise.reject(new StoreError('precondition-failed', `${key} has changed`, { key }));
    }
    const get = new ManualGet(key, request, sink, options.signal, info, bytes);
    this.gets.push(get);
    return get.result;
  }
}

/** A clock that goes from one event to the next. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #events: { at: number; order: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): () => void {
    const event = { at: this.#now + ms, order: this.#order++, callback };
    let place = this.#events.length;
    while (place > 0 && this.#events[place - 1]!.at > event.at) place--;
    this.#events.splice(place, 0, event);
    return () => {
      const at = this.#events.indexOf(event);
      if (at >= 0) this.#events.splice(at, 1);
    };
  }

  delay(ms: number): Promise<void> {
    return new Promise(resolve => this.after(ms, resolve));
  }

  /** Runs until `work` has settled. */
  async run<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const end = (): void => {
      done = true;
    };
    work.then(end, end);
    for (;;) {
      // Promises first: what they start belongs to this moment.
      for (let i = 0; i < 20 && !done; i++) await undefined;
      if (done) return work;
      const event = this.#events.shift();
      if (event === undefined) {
        await new Promise(resolve => setImmediate(resolve));
        if (this.#events.length === 0 && !done) throw new Error('the simulation stands still');
        continue;
      }
      this.#now = Math.max(this.#now, event.at);
      event.callback();
    }
  }
}

export interface Pace {
  /** ms to the first byte. */
  readonly latency: number;
  /** Bytes per ms of one connection. */
  readonly rate: number;
}

/** Objects of any size without bytes; GETs as fast as S3's. Buffers are not filled. */
export class PacedStore extends MemoryStore {
  readonly gets: { readonly offset: number; readonly length: number; readonly at: number }[] = [];
  bytesSent = 0;
  running = 0;
  mostRunning = 0;
  readonly #sizes = new Map<string, number>();
  readonly #clock: VirtualClock;
  readonly #pace: Pace;

  constructor(clock: VirtualClock, pace: Pace) {
    super({ clock });
    this.#clock = clock;
    this.#pace = pace;
  }

  addObject(key: string, size: number): ObjectVersion {
    this.#sizes.set(key, size);
    return { key, etag: `"${key}"`, size };
  }

  override async get(
    key: string,
    request: GetRequest,
    sink: GetSink,
    options: RequestOptions = {},
  ): Promise<GetResult> {
    const size = this.#sizes.get(key);
    if (size === undefined) throw new StoreError('not-found', `no ${key}`);
    const { offset } = request;
    const length = Math.min(request.length, size - offset);
    this.gets.push({ offset, length, at: this.#clock.monotonic() });
    this.running++;
    this.mostRunning = Math.max(this.mostRunning, this.running);
    try {
      await this.#clock.delay(this.#pace.latency);
      const info: ObjectInfo = {
        key,
        etag: `"${key}"`,
        size,
        lastModified: 0,
        serverDate: 0,
        description: { headers: {}, metadata: {} },
        tagCount: 0,
        archived: false,
      };
      sink.started?.(info);
      const step = 128 * 1024;
      for (let done = 0; done < length; ) {
        const bytes = Math.min(step, length - done);
        await this.#clock.delay(bytes / this.#pace.rate);
        if (options.signal?.aborted) throw new StoreError('aborted', 'aborted by the cache');
        done += bytes;
        this.bytesSent += bytes;
        sink.filled?.(done);
      }
      return { info, bytes: length };
    } finally {
      this.running--;
    }
  }
}
