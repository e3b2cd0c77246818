/**
 * Writes of which nobody knows whether the store has done them: the answer was lost. What the object's ETag would be then
 * tells, by a HEAD, whether they were done after all.
 */
import { createHash } from 'node:crypto';
import { isStoreError } from '../errors.ts';
import type { ObjectDescription, ObjectInfo, UploadedPart } from '../s3/store.ts';

/** A write whose answer never came: if the object has this ETag and size, it was done. */
export interface Doubt {
  readonly key: string;
  readonly etag: string;
  readonly description: ObjectDescription;
}

/**
 * True if `info` shows that the write in doubt was done. Of what KMS encrypts no ETag can be told beforehand; with `guess`
 * as many bytes in as many parts are taken for ours.
 */
export function wasDone(
  doubt: Doubt & { readonly size: number },
  info: ObjectInfo | undefined,
  guess: boolean,
): boolean {
  if (info?.size !== doubt.size) return false;
  if (info.etag === doubt.etag) return true;
  const isOpaque = info.description.encryption?.algorithm.startsWith('aws:kms') ?? false;
  const parts = /-\d+"$/.exec(doubt.etag)?.[0];
  return guess && isOpaque && parts !== undefined && info.etag.endsWith(parts);
}

/** The request may have reached the store. */
export function isUncertain(error: unknown): boolean {
  return isStoreError(error, 'unavailable', 'timeout', 'aborted', 'corrupt');
}

/** What S3 gives a PUT as its ETag, unless it encrypts with a KMS key: then no doubt can be settled by it. */
export function etagOfBody(slices: readonly Uint8Array[]): string {
  const hash = createHash('md5');
  for (const slice of slices) hash.update(slice);
  return `"${hash.digest('hex')}"`;
}

/** Likewise of a multipart upload: the MD5 of the parts' MD5s, and their number. */
export function etagOfParts(parts: readonly UploadedPart[]): string {
  const hash = createHash('md5');
  for (const part of parts) hash.update(Buffer.from(part.etag.replaceAll('"', ''), 'hex'));
  return `"${hash.digest('hex')}-${parts.length}"`;
}
