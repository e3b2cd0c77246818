/**
 * The requests of which a save consists: one PUT, one copy, or parts and their completion. Where each part comes from was
 * decided before, and who tries again when one fails is `FileUpload`.
 */
import { eitherSignal, forEachLimit } from '../concurrency.ts';
import { isStoreError, StoreError } from '../errors.ts';
import type {
  ObjectDescription,
  ObjectStore,
  ObjectVersion,
  UploadedPart,
  WriteCondition,
  Written,
} from '../s3/store.ts';
import type { BlockCache } from './block-cache.ts';
import { type Doubt, etagOfBody, etagOfParts, isUncertain } from './doubt.ts';
import { copyObject } from './object-copy.ts';
import type { Capture, Overlay } from './overlay.ts';
import { assemble, type Body } from './part-body.ts';
import type { PartUpload, SentPart } from './part-upload.ts';
import type { StoredContent } from './stored-content.ts';
import type { UnsavedMemory } from './unsaved-memory.ts';
import type { SaveIntent } from './unsaved-records.ts';
import type { PlannedPart, SentRange } from './upload-plan.ts';

/** Where a save goes, asked for anew each time. */
export interface SaveTarget {
  readonly key: string;
  /** Asked when an upload begins and again at each PUT. `writing`: a write is just under way, and not a save. */
  describe(writing?: boolean): ObjectDescription;
  readonly condition: WriteCondition | undefined;
  /** A key that nobody sees, for an object that is needed during a save. Without it holes are sent. */
  aside?(): string;
}

/** What a save has stored: with which description, and what the store said. */
export interface Stored {
  readonly key: string;
  readonly written: Written;
  readonly description: ObjectDescription;
}

/** Copies at once: no bytes pass here, but S3 counts requests per prefix. */
const PARALLEL_COPIES = 16;
/** What parts may be copied from. */
export interface Beneath {
  readonly stored: StoredContent | undefined;
  /** An object of zeros, as long as the largest part of zeros. */
  readonly zeros: ObjectVersion | undefined;
}

export interface SaveEnvironment {
  readonly store: ObjectStore;
  readonly blocks: BlockCache;
  readonly memory: UnsavedMemory;
  /** Told what the store is about to be asked for, before it is. */
  readonly intent?: ((about: Omit<SaveIntent, 'n'>) => Promise<void>) | undefined;
}

export class SaveRequests {
  readonly #environment: SaveEnvironment;
  readonly #overlay: Overlay;
  readonly #parallel: number;
  /** Set when one has failed though the store may have done what it was asked to. */
  doubt: Doubt | undefined;

  /** `parallel`: parts sent at once. */
  constructor(environment: SaveEnvironment, overlay: Overlay, parallel: number) {
    this.#environment = environment;
    this.#overlay = overlay;
    this.#parallel = parallel;
  }

  /** Begins to send one part of what was captured over `stored`. */
  send(
    parts: PartUpload,
    range: SentRange,
    capture: Capture,
    stored: StoredContent | undefined,
    marks: { readonly live: boolean; readonly captured: boolean },
    signal?: AbortSignal,
  ): SentPart {
    const { number, offset, size } = range;
    return parts.send(
      { number, offset, size },
      async (upload, signals) => {
        const body = await this.#assemble(capture, stored, offset, offset + size, signals);
        try {
          return await upload.putPart(number, body.slices, { signal: signals, crc32: () => body.crc32() });
        } finally {
          body.release();
        }
      },
      marks,
      signal,
    );
  }

  #assemble(
    capture: Capture,
    stored: StoredContent | undefined,
    start: number,
    end: number,
    signal: AbortSignal | undefined,
  ): Promise<Body> {
    return assemble(capture, stored, start, end, this.#environment, signal).catch(rethrowOfBase);
  }

  /** All of it in one request. */
  async put(
    target: SaveTarget,
    capture: Capture,
    stored: StoredContent | undefined,
    signal?: AbortSignal,
  ): Promise<Stored> {
    const { store } = this.#environment;
    const body = await this.#assemble(capture, stored, 0, capture.size, signal);
    try {
      const description = target.describe();
      const options = signal === undefined ? {} : { signal };
      await this.#environment.intent?.({ size: capture.size, metadata: description.metadata, etag: undefined });
      const written = await store.put(target.key, body.slices, description, target.condition, options).catch(error => {
        if (isUncertain(error)) this.doubt = { key: target.key, etag: etagOfBody(body.slices), description };
        throw error;
      });
      return { key: target.key, written, description };
    } finally {
      body.release();
    }
  }

  /** `source` as it is becomes the whole object, by a copy on the server. Undefined from a store that does not copy. */
  async copy(target: SaveTarget, source: StoredContent): Promise<Stored | undefined> {
    const { store } = this.#environment;
    const { version } = source;
    const description = target.describe();
    // A copy keeps the tags of its source unless it is told others; those are not this file's.
    const told = { ...description, tags: description.tags ?? [] };
    try {
      const written = await copyObject(store, version, target.key, told, target.condition);
      return { key: target.key, written, description };
    } catch (error) {
      if (isStoreError(error, 'not-implemented', 'invalid')) return undefined;
      // Of a copy in parts nobody can tell the ETag.
      if (isUncertain(error) && !version.etag.includes('-')) {
        this.doubt = { key: target.key, etag: version.etag, description };
      }
      throw error;
    }
  }

  /** The parts as planned, then their completion. */
  async sendParts(
    parts: PartUpload,
    planned: readonly PlannedPart[],
    target: SaveTarget,
    capture: Capture,
    beneath: Beneath,
    signal?: AbortSignal,
  ): Promise<Stored> {
    const uploaded = new Array<UploadedPart>(planned.length);
    const stop = new AbortController();
    const signals = eitherSignal(signal, stop.signal);
    let first: { readonly error: unknown } | undefined;
    const run = (indexes: readonly number[], limit: number): Promise<void> =>
      forEachLimit(indexes, limit, async index => {
        try {
          uploaded[index] = await this.#sendPart(parts, planned[index]!, capture, beneath, signals);
        } catch (error) {
          first ??= { error };
          stop.abort();
          throw error;
        }
      });
    const indexes = (from: PlannedPart['from']): number[] =>
      planned.flatMap((part, index) => (part.from === from ? [index] : []));
    await Promise.allSettled([
      run([...indexes('copy'), ...indexes('zero')], PARALLEL_COPIES),
      run([...indexes('send'), ...indexes('sent')], this.#parallel),
    ]);
    if (first) throw first.error;
    const { metadata } = parts.description;
    await this.#environment.intent?.({ size: capture.size, metadata, etag: etagOfParts(uploaded) });
    const written = await parts.complete(uploaded, target.condition, signal).catch(error => {
      const { key, description } = parts;
      if (isUncertain(error)) this.doubt = { key, etag: etagOfParts(uploaded), description };
      throw error;
    });
    return { key: parts.key, written, description: parts.description };
  }

  async #sendPart(
    parts: PartUpload,
    planned: PlannedPart,
    capture: Capture,
    { stored, zeros }: Beneath,
    signal: AbortSignal,
  ): Promise<UploadedPart> {
    const { number, offset, size, from } = planned;
    if (from === 'sent') {
      const part = parts.numbered(number);
      try {
        if (part?.captured) return await part.done;
      } catch (error) {
        if (parts.stopped || signal.aborted || isStoreError(error, 'no-such-upload')) throw error;
      }
    }
    const marks = { live: this.#overlay.isIntactSince(offset, offset + size), captured: true };
    if (from === 'copy') {
      return parts.send(
        { number, offset, size },
        (upload, signals) =>
          upload.copyPart(number, stored!.version, offset, size, { signal: signals }).catch(rethrowOfBase),
        marks,
        signal,
      ).done;
    }
    if (from === 'zero') {
      return parts
        .send(
          { number, offset, size },
          (upload, signals) => upload.copyPart(number, zeros!, 0, size, { signal: signals }),
          marks,
          signal,
        )
        .done.catch(error => {
          // It would be taken for a refusal of the target.
          if (!isStoreError(error, 'precondition-failed', 'not-found')) throw error;
          throw new StoreError('unavailable', `${zeros!.key}, from which holes are copied, is gone`, { cause: error });
        });
    }
    return this.send(parts, { number, offset, size }, capture, stored, marks, signal).done;
  }
}

/** Marks the failure of what reads the base: whoever resolves a conflict can do something about it. */
function rethrowOfBase(error: unknown): never {
  if (!isStoreError(error, 'precondition-failed', 'not-found')) throw error;
  throw new StoreError(error.kind, error.message, { ...error.details, isOfBase: true, cause: error });
}
