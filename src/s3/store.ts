/**
 * Seam 2: the only door to S3.
 *
 * Bucket, prefix and credentials are bound when a store is made: keys here are relative to the prefix. Every failure is a
 * `StoreError`; retries with backoff happen behind this door and nowhere else. A write whose first attempt had an unknown
 * outcome (lost reply, time-out, 5xx) and whose retry meets 412, 404 or NoSuchUpload is settled behind the door too: if
 * the object there is what we sent, that is success. Implemented by `s3-store.ts` (S3) and, for tests, by the memory store.
 */
import type { CancelSignal } from '../concurrency.ts';
import type { StoreError } from '../errors.ts';

/** One immutable state of an object. `etag` is spelled as S3 answers it in HEAD, with its quotes. `size` in bytes. */
export interface ObjectVersion {
  readonly key: string;
  readonly etag: string;
  readonly size: number;
}

/** Headers that S3 keeps with an object and drops unless a write restates them. */
export interface ContentHeaders {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly contentDisposition?: string;
  readonly contentLanguage?: string;
  readonly cacheControl?: string;
  readonly expires?: string;
  readonly websiteRedirectLocation?: string;
}

/** What is written beside the bytes, in full: S3 replaces all of it with each write. */
export interface ObjectDescription {
  readonly headers: ContentHeaders;
  /** User metadata: names in lower case without `x-amz-meta-`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Absent: the store's default (option `storage_class`, else the bucket's). */
  readonly storageClass?: string;
  /** Absent: the store's default (options `use_sse` …, else the bucket's). */
  readonly encryption?: {
    readonly algorithm: string;
    readonly kmsKeyId?: string;
    readonly bucketKeyEnabled?: boolean;
  };
  /** Absent: none. `TagSet` as a list of pairs. */
  readonly tags?: readonly (readonly [string, string])[];
}

/** What HEAD and GET tell of an object. Times in ms since the epoch. */
export interface ObjectInfo extends ObjectVersion {
  /** S3's times have whole seconds. */
  readonly lastModified: number;
  /** The server's `Date` of this answer, ms since the epoch; the answer's arrival where it had none. */
  readonly serverDate: number;
  readonly description: ObjectDescription;
  /** How many tags there are (`x-amz-tagging-count`); 0 if none. Their values: `tags()`. */
  readonly tagCount: number;
  readonly versionId?: string;
  /** `x-amz-restore`, for archived objects. */
  readonly restore?: string;
  /** `x-amz-archive-status` or an archived storage class without a restored copy: reading fails. */
  readonly archived: boolean;
}

export interface ListedObject extends ObjectVersion {
  readonly lastModified: number;
  readonly storageClass?: string;
}

export interface ListPage {
  readonly objects: readonly ListedObject[];
  /** Common prefixes, each ending in the delimiter; relative to the store's prefix like keys. */
  readonly prefixes: readonly string[];
  /** Continuation token; absent on the last page. */
  readonly next?: string;
  /** What follows may lie anywhere between what is here (S3 Express): each page is in order only in itself. */
  readonly unordered?: true;
  readonly serverDate: number;
}

export interface ListRequest {
  readonly prefix: string;
  readonly delimiter?: '/';
  /** Only keys after this one, in the order of UTF-8 bytes. */
  readonly startAfter?: string;
  readonly continuation?: string;
  /** 1 to 1,000 (default). */
  readonly maxKeys?: number;
}

/**
 * Where the bytes of a GET go: `buffers` are filled in order, straight from the socket where the transport can.
 * Together they hold at least the bytes asked for.
 */
export interface GetSink {
  readonly buffers: readonly Uint8Array[];
  /** Called once, when status and headers are in and checked, before the first `filled`. */
  started?(info: ObjectInfo): void;
  /** `bytes` in all are in the buffers so far, from the start. After a retry it never goes back. */
  filled?(bytes: number): void;
}

export interface GetRequest {
  /** Bytes `offset` … `offset + length - 1`. A range past the end is cut; one wholly past it fails with kind `range`. */
  readonly offset: number;
  readonly length: number;
  /** Fails with `precondition-failed` if the object is no longer this version. */
  readonly ifMatch?: string;
}

export interface GetResult {
  readonly info: ObjectInfo;
  /** Bytes put into the sink. */
  readonly bytes: number;
}

/** A condition on the target of a write. */
export type WriteCondition =
  /** The name must be free (`If-None-Match: *`). */
  | { readonly ifAbsent: true }
  /** It must still be this version (`If-Match`). */
  | { readonly ifMatch: string };

/** What a write made. */
export interface Written {
  readonly etag: string;
  readonly versionId?: string;
  /**
   * What the server's clock said, ms since the epoch: `Date` of the answer. Last-Modified will be this or a little
   * earlier.
   */
  readonly serverDate: number;
}

/** A part that S3 has. `etag` as answered by UploadPart or UploadPartCopy. */
export interface UploadedPart {
  readonly number: number;
  readonly etag: string;
  readonly size: number;
  /** CRC32 of its bytes in base64, where the store has compared or computed it. */
  readonly crc32?: string;
}

/** How fast an archive gives back, from the dearest to the cheapest: minutes, hours, up to two days. */
export type RestoreTier = 'Expedited' | 'Standard' | 'Bulk';

export interface RestoreRequest {
  readonly days?: number;
  readonly tier: RestoreTier;
}

export interface RequestOptions {
  readonly signal?: CancelSignal;
}

export interface PartOptions extends RequestOptions {
  /** Tells the CRC32 of the body, where that is known for less than its computation. */
  readonly crc32?: () => number;
}

/** A multipart upload in progress. Parts may be sent in any order, at once, and again (the last one counts). */
export interface Upload {
  readonly key: string;
  readonly uploadId: string;
  putPart(number: number, body: readonly Uint8Array[], options?: PartOptions): Promise<UploadedPart>;
  /** Copies bytes `offset` … of `source` on the server, only if `source` still is that version. */
  copyPart(
    number: number,
    source: ObjectVersion,
    offset: number,
    length: number,
    options?: RequestOptions,
  ): Promise<UploadedPart>;
  /** Parts in ascending order of number; gaps are allowed unless `limits.consecutiveParts`. */
  complete(
    parts: readonly UploadedPart[],
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written>;
  /** Never fails for an upload that is gone. */
  abort(): Promise<void>;
}

/** Whether the store compares the checksums that writes carry: it answers them, ignores them, refuses them; or none is sent. */
export type ChecksumsOfWrites = 'compared' | 'ignored' | 'refused' | 'off';

/** What this store can do, as far as it is known; see `docs/SEMANTICS.md`. */
export interface StoreFeatures {
  readonly conditionalPut: boolean | undefined;
  readonly conditionalComplete: boolean | undefined;
  /** Undefined until something has been written. */
  readonly checksums: ChecksumsOfWrites | undefined;
  /**
   * False for S3 Express directory buckets, and where a listing came in no order or `startAfter` was refused: pages come in
   * no order.
   */
  readonly orderedListing: boolean;
}

/** S3's limits (Amazon S3 User Guide, "Multipart upload limits", 2025-12), changeable for other stores and for tests. */
export interface StoreLimits {
  readonly maxParts: number;
  readonly minPartSize: number;
  readonly maxPartSize: number;
  readonly maxPutSize: number;
  readonly maxCopySize: number;
  readonly maxObjectSize: number;
  readonly maxKeyBytes: number;
  readonly maxMetadataBytes: number;
  /** The parts of an upload are numbered 1, 2, 3 … without a gap: on S3 where they have checksums, on S3 Express always. */
  readonly consecutiveParts?: boolean;
}

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

export const S3_LIMITS: StoreLimits = {
  maxParts: 10_000,
  minPartSize: 5 * MIB,
  maxPartSize: 5 * GIB,
  maxPutSize: 5 * GIB,
  maxCopySize: 5 * GIB,
  // 10,000 parts of 5 GiB, 48.8 TiB: what S3 allows since December 2025; 5 TiB before.
  maxObjectSize: 10_000 * 5 * GIB,
  maxKeyBytes: 1024,
  maxMetadataBytes: 2048,
};

/** A bucket, or the part of it under a prefix. */
export interface ObjectStore {
  readonly limits: StoreLimits;
  readonly features: StoreFeatures;
  /** Bytes of the prefix bound to this store: a key may be `limits.maxKeyBytes - prefixBytes` bytes. */
  readonly prefixBytes: number;
  head(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<ObjectInfo>;
  get(key: string, request: GetRequest, sink: GetSink, options?: RequestOptions): Promise<GetResult>;
  list(request: ListRequest, options?: RequestOptions): Promise<ListPage>;
  /** The body in one PUT; `body` must not change until it settles. */
  put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written>;
  /**
   * CopyObject up to `limits.maxCopySize`, on the server, if `source` still is that version. Without `description` all
   * that is kept with the source goes along; with it, it is replaced (tags too only if `description.tags` is given).
   */
  copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options?: RequestOptions,
  ): Promise<Written>;
  /**
   * Asks for a readable copy of an archived object, for `days` (absent: where the class keeps it by itself). False: there is
   * one already, and it stays for `days` from now on. Fails with `conflict` while one is being made, with `archived` where
   * the class has no archive.
   */
  restore(key: string, request: RestoreRequest, options?: RequestOptions): Promise<boolean>;
  tags(key: string, options?: RequestOptions): Promise<readonly (readonly [string, string])[]>;
  /** No error if there is no such object. With `ifMatch` only that version is deleted, where the store can. */
  delete(key: string, options?: RequestOptions & { readonly ifMatch?: string }): Promise<void>;
  /** In batches of up to 1,000. Returns the keys that could not be deleted, with their errors. */
  deleteMany(keys: readonly string[], options?: RequestOptions): Promise<readonly { key: string; error: StoreError }[]>;
  beginUpload(key: string, description: ObjectDescription, options?: RequestOptions): Promise<Upload>;
  /** An upload that somebody else has begun, a daemon that died; without a request: the first one tells whether it is there. */
  resumeUpload(key: string, uploadId: string): Upload;
  /** Ends an upload that somebody else has begun, a daemon that died for one. Never fails for one that is gone. */
  abortUpload(key: string, uploadId: string): Promise<void>;
  /** Lets connections go. */
  close(): Promise<void>;
}
