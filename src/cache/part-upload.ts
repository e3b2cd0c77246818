/**
 * One multipart upload in progress, and what is known of its parts.
 *
 * 1. A part is right as long as nothing in its range is touched. It is `live` while it holds what the file holds now, and
 *    `captured` while it holds what the save in progress is to store.
 * 2. A part that is sent again must not overtake the first one on its way: it waits until that has settled.
 * 3. A part that was let go is the only place of its bytes: it stays right, and the upload must be completed, not aborted.
 * 4. The description is fixed when the upload begins; who completes it must know what was stored.
 */
import { type Clock, eitherSignal } from '../concurrency.ts';
import type { ObjectDescription, ObjectStore, Upload, UploadedPart, WriteCondition, Written } from '../s3/store.ts';
import type { SentRange } from './upload-plan.ts';

/**
 * ms after which an upload with bytes that are nowhere else is completed, whoever is still writing. Rules of a bucket that end
 * incomplete uploads count in days, MinIO's default is 24 hours; half of that leaves time to try again.
 */
const MAX_AGE = 12 * 3600 * 1000;
export interface SentPart extends SentRange {
  /** Settles when the store has it, or will not have it. */
  readonly done: Promise<UploadedPart>;
  arrived: boolean;
  /** As soon as it has arrived. */
  uploaded?: UploadedPart;
  failed: boolean;
  live: boolean;
  captured: boolean;
  /** Its bytes have left memory. */
  required: boolean;
}

export class PartUpload {
  readonly key: string;
  readonly description: ObjectDescription;
  readonly #clock: Clock;
  readonly #begunAt: number;
  /** Ends the wait for its age. */
  #unwatch: (() => void) | undefined;
  readonly #upload: Promise<Upload>;
  readonly #stop = new AbortController();
  readonly #stopped = eitherSignal(undefined, this.#stop.signal);
  /** By offset; no two overlap. Up to 10,000, so nothing looks through all of them for each. */
  readonly #parts: SentPart[] = [];
  readonly #byNumber = new Map<number, SentPart>();
  #joined: { readonly of: AbortSignal; readonly both: AbortSignal } | undefined;
  readonly #lastOf = new Map<number, Promise<unknown>>();
  /** The upload could not begin. */
  broken = false;
  /** As soon as the store has told it. */
  uploadId: string | undefined;
  /** What the store said when it did not know the upload any more. */
  vanished: unknown;

  /** `resumed`: one that was begun earlier; else one is begun. */
  constructor(
    store: Pick<ObjectStore, 'beginUpload'>,
    clock: Clock,
    key: string,
    description: ObjectDescription,
    resumed?: Upload,
  ) {
    this.#clock = clock;
    this.#begunAt = clock.monotonic();
    this.key = key;
    this.description = description;
    // Not to be interrupted: an upload of which we never learned the id could not be aborted any more.
    this.uploadId = resumed?.uploadId;
    this.#upload = resumed ? Promise.resolve(resumed) : store.beginUpload(key, description);
    this.#upload.then(
      ({ uploadId }) => {
        this.uploadId = uploadId;
      },
      () => {
        this.broken = true;
      },
    );
  }

  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  get parts(): readonly SentPart[] {
    return this.#parts;
  }

  numbered(number: number): SentPart | undefined {
    return this.#byNumber.get(number);
  }

  /** Begins to send a part; the bytes are asked for when its turn has come. */
  send(
    range: SentRange,
    task: (upload: Upload, signal: AbortSignal) => Promise<UploadedPart>,
    marks: { readonly live: boolean; readonly captured: boolean },
    signal?: AbortSignal,
  ): SentPart {
    const before = this.#lastOf.get(range.number);
    const signals = this.#either(signal);
    const done = (async () => {
      const upload = await this.#upload;
      await before?.catch(() => {});
      return task(upload, signals);
    })();
    const part: SentPart = { ...range, done, arrived: false, failed: false, required: false, ...marks };
    done.then(
      uploaded => {
        part.arrived = true;
        part.uploaded = uploaded;
      },
      () => {
        part.failed = true;
        this.#remove(part);
      },
    );
    this.#lastOf.set(range.number, done);
    this.#put(part);
    return part;
  }

  /** A part that the store has since an earlier daemon, the only place of its bytes. */
  adopt(uploaded: UploadedPart, offset: number): void {
    const { number, size } = uploaded;
    const marks = { arrived: true, failed: false, live: true, captured: false, required: true };
    this.#put({ number, offset, size, uploaded, done: Promise.resolve(uploaded), ...marks });
  }

  /** Takes the place of the part with its number, and of those that it overlaps. */
  #put(part: SentPart): void {
    const parts = this.#parts;
    const replaced = this.#byNumber.get(part.number);
    if (replaced) this.#remove(replaced);
    const first = this.#firstAfter(part.offset);
    let next = first;
    for (; next < parts.length && parts[next]!.offset < part.offset + part.size; next++) {
      this.#byNumber.delete(parts[next]!.number);
      // Nobody tells it any more what is written in its range.
      parts[next]!.live = false;
    }
    parts.splice(first, next - first, part);
    this.#byNumber.set(part.number, part);
  }

  #remove(part: SentPart): void {
    if (this.#byNumber.get(part.number) !== part) return;
    this.#byNumber.delete(part.number);
    part.live = false;
    this.#parts.splice(this.#firstAfter(part.offset), 1);
  }

  /** What lies in `start` … `end` is no longer what was sent. */
  touch(start: number, end: number): void {
    const parts = this.#parts;
    // Most writes lie beyond all that was sent.
    if (parts.length === 0 || start >= parts.at(-1)!.offset + parts.at(-1)!.size) return;
    for (let i = this.#firstAfter(start); i < parts.length && parts[i]!.offset < end; i++) parts[i]!.live = false;
  }

  /** True if a part that the store has holds all of `start` … `end`, as it is now. */
  holds(start: number, end: number): boolean {
    const part = this.#parts[this.#firstAfter(start)];
    return part?.live === true && part.arrived && part.offset <= start && part.offset + part.size >= end;
  }

  /** The first part that ends after `offset`. */
  #firstAfter(offset: number): number {
    let low = 0;
    let high = this.#parts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#parts[middle]!.offset + this.#parts[middle]!.size <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  async complete(
    parts: readonly UploadedPart[],
    condition: WriteCondition | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Written> {
    const upload = await this.#upload;
    return upload.complete(parts, condition, { signal: this.#either(signal) });
  }

  /** From now on it is the only place of some bytes: `tooOld` is called when it should be completed. */
  watchAge(tooOld: () => void): void {
    const age = this.#clock.monotonic() - this.#begunAt;
    this.#unwatch ??= this.#clock.after(Math.max(0, MAX_AGE - age), tooOld);
  }

  /** It was completed or given up. */
  ended(): void {
    this.#unwatch?.();
  }

  /** Aborts with `signal` or with the upload. A new one for each of a save's thousands of parts took as long as its request. */
  #either(signal: AbortSignal | undefined): AbortSignal {
    if (!signal) return this.#stopped;
    if (this.#joined?.of !== signal) {
      this.#joined = { of: signal, both: eitherSignal(signal, this.#stopped) };
    }
    return this.#joined.both;
  }

  /** Gives the upload up: ends what is being sent, then tells the store. Never rejects. */
  async abort(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#lastOf.values());
    // A part that arrives after the abort would stay in the bucket, unseen and paid for.
    await this.#upload.then(upload => upload.abort()).catch(() => {});
  }
}
