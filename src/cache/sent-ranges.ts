/**
 * What of a file has left memory for parts of its upload in progress: whether more may, and how it is had back.
 *
 * Bytes of such parts cannot be read before the upload is completed. So they come back by a save: the content so far
 * becomes the stored one. That is a state which the file really had, but each such save costs a copy of all that was
 * stored before: who needs them again and again is not a writer in sequence, and keeps the rest at hand.
 */
import { StoreError } from '../errors.ts';
import type { Overlay } from './overlay.ts';
import type { RangeSet } from './ranges.ts';
import type { FileUpload } from './upload.ts';

/** Who knows the name of a file, and the rest of what a save needs. */
export interface ContentOwner {
  /** Saves what is unsaved now; writes that go on meanwhile need not be waited for. */
  save(): Promise<unknown>;
  /** False while the name may change or go: an upload under it might have to be given up. */
  isNameSettled(): boolean;
  /** It refers to bytes of another object, until its next save. */
  borrowed?(): void;
}

/** After so many saves that were only made to have bytes back nothing leaves memory any more but for the spool. */
const MAX_RECALLS = 2;

/** What was had back may leave again before whoever waits has his turn; not for ever. */
const MAX_ROUNDS = 8;

export class SentRanges {
  readonly #overlay: Overlay;
  readonly #upload: FileUpload;
  readonly #owner: ContentOwner | undefined;
  #recalls = 0;
  #recalling: Promise<unknown> | undefined;

  /** Without an owner nothing ever leaves memory. */
  constructor(overlay: Overlay, upload: FileUpload, owner: ContentOwner | undefined) {
    this.#overlay = overlay;
    this.#upload = upload;
    this.#owner = owner;
  }

  get isEmpty(): boolean {
    return this.#overlay.sent.isEmpty;
  }

  get ranges(): RangeSet {
    return this.#overlay.sent;
  }

  /** Whether more may leave memory. */
  get mayGrow(): boolean {
    return this.#owner !== undefined && this.#recalls < MAX_RECALLS && this.#owner.isNameSettled();
  }

  /** True if something of `start` … `end` is not at hand. */
  intersects(start: number, end: number): boolean {
    return this.#overlay.sent.intersects(start, end);
  }

  /**
   * Makes `start` … `end` readable and writable again, by a save.
   * @throws {StoreError} `no-such-upload` if somebody else has aborted the upload; the error of the save; `aborted`.
   */
  async recall(start: number, end: number, signal?: AbortSignal): Promise<void> {
    for (let round = 0; this.intersects(start, end); round++) {
      const { lost } = this.#upload;
      if (lost) throw lost;
      if (!this.#owner || round === MAX_ROUNDS) {
        throw new StoreError('unavailable', `${end - start} bytes at ${start} are in an upload that is not completed`);
      }
      try {
        await unlessAborted(this.#save(this.#owner), signal);
      } catch (error) {
        // An earlier save has brought them back, and this one was about later bytes: its failure is told at their close.
        if (!(error instanceof StoreError) || this.intersects(start, end)) throw error;
      }
    }
  }

  /** One save for all who wait. */
  #save(owner: ContentOwner): Promise<unknown> {
    if (!this.#recalling) {
      this.#recalls++;
      this.#recalling = owner.save().finally(() => {
        this.#recalling = undefined;
      });
    }
    return this.#recalling;
  }
}

/** `work`, or kind `aborted` when `signal` aborts; the work goes on for others. */
function unlessAborted(work: Promise<unknown>, signal: AbortSignal | undefined): Promise<unknown> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new StoreError('aborted', 'interrupted while waiting for a save'));
    if (signal.aborted) {
      abort();
      work.catch(() => {});
      return;
    }
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
