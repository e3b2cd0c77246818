/** What the parts of the S3 store share. */
import type { ConditionalWriter } from './conditional-write.ts';
import type { CopySources } from './copy-source.ts';
import type { KeptAttributes } from './kept-attributes.ts';
import type { ListingOrder } from './listing-order.ts';
import type { HeaderList, WriteDefaults } from './object-headers.ts';
import { describingHeaders, hasMd5Etag, taggingHeader } from './object-headers.ts';
import type { ReadChecksums } from './read-checksums.ts';
import type { S3Requests } from './requests.ts';
import type { SdkControl } from './sdk-control.ts';
import { encodePath } from './sigv4.ts';
import type { ObjectDescription, ObjectInfo, StoreLimits } from './store.ts';
import type { Verification } from './verification.ts';
import type { WriteChecksums } from './write-checksums.ts';

export interface StoreContext {
  readonly requests: S3Requests;
  readonly control: SdkControl;
  readonly writer: ConditionalWriter;
  readonly sources: CopySources;
  readonly attributes: KeptAttributes;
  readonly verification: Verification;
  readonly checksums: WriteChecksums;
  readonly sums: ReadChecksums;
  readonly writeDefaults: WriteDefaults;
  readonly limits: StoreLimits;
  readonly order: ListingOrder;
  /** The object as it is; undefined if there is none. Rejects with `Failure`. */
  look(key: string): Promise<ObjectInfo | undefined>;
}

/** `key` with the store's prefix. */
export function wholeKey(requests: S3Requests, key: string): string {
  return requests.options.prefix + key;
}

/** As `x-amz-copy-source` wants it: bucket and key, encoded. */
export function sourcePath(requests: S3Requests, key: string): string {
  const { bucket } = requests.options;
  // An access point is named by its ARN ("Using access points", Amazon S3 User Guide).
  if (bucket.startsWith('arn:'))
    return encodePath(`${bucket.replace(/:accesspoint:/, ':accesspoint/')}/object/${wholeKey(requests, key)}`);
  return `/${encodePath(`${requests.options.bucket}/${wholeKey(requests, key)}`)}`;
}

/** For what the SDK words. */
export function requestPayer(requests: S3Requests): { readonly RequestPayer?: 'requester' } {
  return requests.options.requesterPays ? { RequestPayer: 'requester' } : {};
}

/** Whether the ETag of an object that was put in one piece is the MD5 of its bytes. */
export function etagIsDigest({ requests }: StoreContext, description: ObjectDescription): boolean {
  return !requests.endpoint.express && hasMd5Etag(description);
}

/** All headers that make an object what `description` says. Throws `StoreError` ('invalid'). */
export function describing(context: StoreContext, description: ObjectDescription): HeaderList {
  const list = describingHeaders(description, context.writeDefaults);
  if (description.tags && description.tags.length > 0) list.push(taggingHeader(description.tags));
  return list;
}
