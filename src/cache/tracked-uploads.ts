/**
 * Uploads in parts that are in progress, in the journal: what a killed daemon leaves behind is paid for and seen by nobody.
 *
 * `upload` {key, uploadId} when it has begun, `uploaded` {uploadId} when it has ended either way. The next mount resumes
 * those with parts of files that the journal has otherwise, and aborts all others that have no end: their bytes belong to
 * files of which nobody was told that they are saved.
 */
import { forEachLimit } from '../concurrency.ts';
import type { ObjectDescription, ObjectStore, RequestOptions, Upload, UploadedPart } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import { ForwardingStore } from './forwarding-store.ts';
import type { Entry, Journal } from './journal.ts';
import type { FoundRecord } from './journal-found.ts';

/** Aborts at once: nobody waits for them. */
const PARALLEL_ABORTS = 4;

export function isUploadRecord({ meta }: FoundRecord<Entry>): boolean {
  return meta.t === 'upload' || meta.t === 'uploaded';
}

/** The store with a note of each upload in progress. */
export class TrackedUploads extends ForwardingStore {
  readonly #journal: Journal;
  readonly #telemetry: Telemetry;
  /** Of uploads that an earlier daemon has left to be resumed: their notes. */
  readonly #left = new Map<string, Entry>();
  readonly #begun = new Map<string, Entry>();

  constructor(inner: ObjectStore, journal: Journal, telemetry: Telemetry) {
    super(inner);
    this.#journal = journal;
    this.#telemetry = telemetry;
  }

  override async beginUpload(key: string, description: ObjectDescription, options?: RequestOptions): Promise<Upload> {
    const upload = await super.beginUpload(key, description, options);
    const { uploadId } = upload;
    // With a disk that fails it goes on without a note: rules of the bucket are for what is forgotten.
    const [entry] = await this.#journal
      .append([{ meta: { t: 'upload', key, uploadId } }], { must: true })
      .catch(() => []);
    if (entry) this.#begun.set(uploadId, entry);
    return this.#tracked(upload);
  }

  /** What an earlier daemon has noted is ended with it. */
  override resumeUpload(key: string, uploadId: string): Upload {
    return this.#tracked(super.resumeUpload(key, uploadId));
  }

  /** Left by an earlier daemon, and neither ended nor swept. */
  isLeft(uploadId: string): boolean {
    return this.#left.has(uploadId);
  }

  #tracked(upload: Upload): Upload {
    const { key, uploadId } = upload;
    const over = (): void => {
      const entry = this.#left.get(uploadId) ?? this.#begun.get(uploadId);
      this.#left.delete(uploadId);
      this.#begun.delete(uploadId);
      if (entry) this.#ended(uploadId, entry);
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

  /**
   * Ends what an earlier daemon has left in progress; returns how many those were. Never rejects. Those that `isWanted` are
   * left to whoever resumes them.
   */
  async sweep(
    found: readonly FoundRecord<Entry>[],
    isWanted: (uploadId: string) => boolean = () => false,
  ): Promise<number> {
    const open = new Map<string, { readonly key: string; readonly entry: Entry }>();
    const ended = new Set(found.flatMap(({ meta }) => (meta.t === 'uploaded' ? [meta['uploadId']] : [])));
    for (const { meta, entry } of found) {
      const { key, uploadId } = meta;
      const isOpen = meta.t === 'upload' && typeof key === 'string' && typeof uploadId === 'string';
      const isLeft = isOpen && !ended.has(uploadId);
      if (isLeft && isWanted(uploadId) && !this.#left.has(uploadId)) this.#left.set(uploadId, entry);
      else if (isLeft && !isWanted(uploadId) && !open.has(uploadId)) open.set(uploadId, { key, entry });
      else this.#journal.release(entry);
    }
    await forEachLimit(open, PARALLEL_ABORTS, async ([uploadId, { key, entry }]) => {
      try {
        await this.abortUpload(key, uploadId);
        this.#ended(uploadId, entry);
      } catch (error) {
        this.#telemetry.log.warn({ key, error }, 'an upload that an earlier mount left in progress was not aborted');
      }
    });
    return open.size;
  }

  /** Lets the journal go too. */
  override async close(): Promise<void> {
    await this.#journal.close();
    await super.close();
  }
}
