/**
 * Uploads in parts that are in progress, in the journal: what a killed daemon leaves behind is paid for and seen by nobody.
 *
 * `upload` {key, uploadId} when it has begun, `uploaded` {uploadId} when it has ended either way. The next mount aborts
 * those that have no end: their bytes belong to files of which nobody was told that they are saved.
 */
import { forEachLimit } from '../concurrency.ts';
import type {
  GetRequest,
  GetResult,
  GetSink,
  ListPage,
  ListRequest,
  ObjectDescription,
  ObjectInfo,
  ObjectStore,
  ObjectVersion,
  RequestOptions,
  RestoreRequest,
  StoreFeatures,
  StoreLimits,
  Upload,
  UploadedPart,
  WriteCondition,
  Written,
} from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Entry, Journal } from './journal.ts';
import type { FoundRecord } from './journal-found.ts';

/** Aborts at once: nobody waits for them. */
const PARALLEL_ABORTS = 4;

export function isUploadRecord({ meta }: FoundRecord<Entry>): boolean {
  return meta.t === 'upload' || meta.t === 'uploaded';
}

/** The store with a note of each upload in progress. */
export class TrackedUploads implements ObjectStore {
  readonly #inner: ObjectStore;
  readonly #journal: Journal;
  readonly #telemetry: Telemetry;

  constructor(inner: ObjectStore, journal: Journal, telemetry: Telemetry) {
    this.#inner = inner;
    this.#journal = journal;
    this.#telemetry = telemetry;
  }

  async beginUpload(key: string, description: ObjectDescription, options?: RequestOptions): Promise<Upload> {
    const upload = await this.#inner.beginUpload(key, description, options);
    const { uploadId } = upload;
    // Without room in the journal it goes on without a note: rules of the bucket are for what is forgotten.
    const [entry] = await this.#journal.append([{ meta: { t: 'upload', key, uploadId } }]).catch(() => []);
    let isOver = false;
    const over = (): void => {
      if (isOver || !entry) return;
      isOver = true;
      this.#ended(uploadId, entry);
    };
    return {
      key,
      uploadId,
      putPart: (number, body, partOptions) => upload.putPart(number, body, partOptions),
      copyPart: (number, source, offset, length, partOptions) =>
        upload.copyPart(number, source, offset, length, partOptions),
      complete: async (parts: readonly UploadedPart[], condition, completeOptions) => {
        const written = await upload.complete(parts, condition, completeOptions);
        over();
        return written;
      },
      abort: async () => {
        await upload.abort();
        over();
      },
    };
  }

  #ended(uploadId: string, entry: Entry): void {
    this.#journal.note({ t: 'uploaded', uploadId });
    this.#journal.release(entry);
  }

  /** Ends what an earlier daemon has left in progress; returns how many those were. Never rejects. */
  async sweep(found: readonly FoundRecord<Entry>[]): Promise<number> {
    const open = new Map<string, { readonly key: string; readonly entry: Entry }>();
    const ended = new Set(found.flatMap(({ meta }) => (meta.t === 'uploaded' ? [meta['uploadId']] : [])));
    for (const { meta, entry } of found) {
      const { key, uploadId } = meta;
      const isOpen = meta.t === 'upload' && typeof key === 'string' && typeof uploadId === 'string';
      if (isOpen && !ended.has(uploadId) && !open.has(uploadId)) open.set(uploadId, { key, entry });
      else this.#journal.release(entry);
    }
    await forEachLimit(open, PARALLEL_ABORTS, async ([uploadId, { key, entry }]) => {
      try {
        await this.#inner.abortUpload(key, uploadId);
        this.#ended(uploadId, entry);
      } catch (error) {
        this.#telemetry.log.warn({ key, error }, 'an upload that an earlier mount left in progress was not aborted');
      }
    });
    return open.size;
  }

  // --- as it is --------------------------------------------------------------------------------------------------------

  get limits(): StoreLimits {
    return this.#inner.limits;
  }

  get features(): StoreFeatures {
    return this.#inner.features;
  }

  get prefixBytes(): number {
    return this.#inner.prefixBytes;
  }

  head(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<ObjectInfo> {
    return this.#inner.head(key, options);
  }

  get(key: string, request: GetRequest, sink: GetSink, options?: RequestOptions): Promise<GetResult> {
    return this.#inner.get(key, request, sink, options);
  }

  list(request: ListRequest, options?: RequestOptions): Promise<ListPage> {
    return this.#inner.list(request, options);
  }

  put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written> {
    return this.#inner.put(key, body, description, condition, options);
  }

  copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written> {
    return this.#inner.copy(source, key, description, condition, options);
  }

  restore(key: string, request: RestoreRequest, options?: RequestOptions): Promise<boolean> {
    return this.#inner.restore(key, request, options);
  }

  tags(key: string, options?: RequestOptions): Promise<readonly (readonly [string, string])[]> {
    return this.#inner.tags(key, options);
  }

  delete(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<void> {
    return this.#inner.delete(key, options);
  }

  deleteMany(keys: readonly string[], options?: RequestOptions): ReturnType<ObjectStore['deleteMany']> {
    return this.#inner.deleteMany(keys, options);
  }

  abortUpload(key: string, uploadId: string): Promise<void> {
    return this.#inner.abortUpload(key, uploadId);
  }

  /** Lets the journal go too. */
  async close(): Promise<void> {
    await this.#journal.close();
    await this.#inner.close();
  }
}
