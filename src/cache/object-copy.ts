/**
 * A copy on the server: one CopyObject, or parts side by side where one request would take long or may not be.
 *
 * S3 copies at some 50–200 MB/s a request, so 256 MiB in one request take seconds, in eight parts a fraction.
 */
import { forEachLimit } from '../concurrency.ts';
import type {
  ObjectDescription,
  ObjectInfo,
  ObjectStore,
  ObjectVersion,
  StoreLimits,
  UploadedPart,
  WriteCondition,
  Written,
} from '../s3/store.ts';

const MIB = 1024 * 1024;

/** Up to this one request is faster than the three that a multipart copy needs besides its parts. */
const SINGLE_COPY = 64 * MIB;
/** Parts of at least this: below, the round trips outweigh what copying side by side saves. */
const MIN_COPY_PART = 32 * MIB;
/** Parts of at most this, unless the number of parts forces more: a failed part is sent again. */
const MAX_COPY_PART = 256 * MIB;
/** Copies side by side: the bytes do not travel here, only S3's request rate bounds it. */
const PARALLEL_COPIES = 32;

/** Where the parts of a copy of `size` bytes begin and how long each is. One part where one CopyObject does. */
export function planCopy(size: number, limits: StoreLimits): { readonly offset: number; readonly length: number }[] {
  if (size <= Math.min(SINGLE_COPY, limits.maxCopySize)) return [{ offset: 0, length: size }];
  const eighth = Math.ceil(size / 8);
  let length = Math.min(Math.max(eighth, MIN_COPY_PART), MAX_COPY_PART);
  length = Math.max(length, Math.ceil(size / limits.maxParts), limits.minPartSize);
  length = Math.min(length, limits.maxPartSize);
  // Whole MiB, so that a copy of a copy has the same seams.
  if (length > MIB && length + MIB <= limits.maxPartSize) length = Math.ceil(length / MIB) * MIB;
  const parts = [];
  for (let offset = 0; offset < size; offset += length) parts.push({ offset, length: Math.min(length, size - offset) });
  return parts;
}

/** True where `copyObject` needs the whole description: a copy in parts carries neither headers nor metadata nor tags. */
export function needsDescription(size: number, limits: StoreLimits): boolean {
  return planCopy(size, limits).length > 1;
}

/** What a copy of `info` has to be told, tags and all; undefined where one CopyObject takes everything along. */
export async function describeCopy(store: ObjectStore, info: ObjectInfo): Promise<ObjectDescription | undefined> {
  if (!needsDescription(info.size, store.limits)) return undefined;
  return info.tagCount === 0 ? info.description : { ...info.description, tags: await store.tags(info.key) };
}

/**
 * Copies `source` to `key`. Without `description` everything kept beside the bytes goes along, which only a single
 * CopyObject can do (see `needsDescription`).
 */
export async function copyObject(
  store: ObjectStore,
  source: ObjectVersion,
  key: string,
  description: ObjectDescription | undefined,
  condition: WriteCondition | undefined,
): Promise<Written> {
  const plan = planCopy(source.size, store.limits);
  if (plan.length === 1 || !description) return store.copy(source, key, description, condition);
  const upload = await store.beginUpload(key, description);
  try {
    const parts: UploadedPart[] = new Array(plan.length);
    await forEachLimit(plan, PARALLEL_COPIES, async ({ offset, length }, index) => {
      parts[index] = await upload.copyPart(index + 1, source, offset, length);
    });
    return await upload.complete(parts, condition);
  } catch (error) {
    await upload.abort().catch(() => {});
    throw error;
  }
}
