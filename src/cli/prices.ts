/**
 * What requests cost: an estimate that tells a cheap habit from a dear one, not a bill.
 *
 * S3 Standard in us-east-1 (aws.amazon.com/s3/pricing, "Requests & data retrievals", 2025-11). Other regions and storage
 * classes differ; storage, transfer out of the region, KMS and retrieval from archives are not counted.
 */

export type PriceClass = 'write' | 'read' | 'free';

/** US dollars for one request. */
export const DOLLARS: Readonly<Record<PriceClass, number>> = {
  /** PUT, COPY, POST, LIST: $0.005 per 1,000. */
  write: 0.005 / 1000,
  /** GET, HEAD and all others: $0.0004 per 1,000. */
  read: 0.0004 / 1000,
  /** DELETE and what cancels: nothing. */
  free: 0,
};

export const PRICES_OF = 'S3 Standard, us-east-1';

/** By the names of S3's API. DeleteObjects is a POST by its method and free by the price list. */
const CLASS_OF: Readonly<Record<string, PriceClass>> = {
  PutObject: 'write',
  CopyObject: 'write',
  CreateMultipartUpload: 'write',
  UploadPart: 'write',
  UploadPartCopy: 'write',
  CompleteMultipartUpload: 'write',
  ListObjectsV2: 'write',
  ListMultipartUploads: 'write',
  ListParts: 'write',
  PutObjectTagging: 'write',
  RestoreObject: 'write',
  DeleteObject: 'free',
  DeleteObjects: 'free',
  AbortMultipartUpload: 'free',
};

export function priceClassOf(operation: string): PriceClass {
  return CLASS_OF[operation] ?? 'read';
}

/** US dollars for `requests`, by operation. */
export function costOf(requests: Readonly<Record<string, number>>): number {
  let dollars = 0;
  for (const [operation, count] of Object.entries(requests)) dollars += count * DOLLARS[priceClassOf(operation)];
  return dollars;
}

/** Shorter than this, a day's cost cannot be told from how it began: seconds. */
export const SHORTEST_SAMPLE = 60;

/** US dollars a day if it goes on as it did over `seconds`; undefined where that is too short to tell. */
export function costPerDay(dollars: number, seconds: number): number | undefined {
  return seconds < SHORTEST_SAMPLE ? undefined : (dollars / seconds) * 86_400;
}
