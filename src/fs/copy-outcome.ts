/** What became of a copy that failed: S3 may have made it, and only the reply never came. Who undoes something asks first. */
import { isStoreError } from '../errors.ts';
import type { ObjectStore, ObjectVersion, Written } from '../s3/store.ts';

/** What was made; or that nothing was; or that nobody can tell. */
export type CopyOutcome = Written | 'not-made' | 'unknown';

/** `replaced`: the ETag that the copy was to replace; absent where the name was free. One HEAD, where the error leaves it open. */
export async function outcomeOfCopy(
  store: ObjectStore,
  error: unknown,
  source: ObjectVersion,
  key: string,
  replaced: string | undefined,
): Promise<CopyOutcome> {
  // These the store gives only where no earlier attempt was carried out.
  if (isStoreError(error, 'precondition-failed', 'not-found')) return 'not-made';
  try {
    const { etag, size, serverDate } = await store.head(key);
    // Of two equal objects it does not show which is there, only that their bytes are.
    if (etag === source.etag) return replaced === source.etag ? 'unknown' : { etag, serverDate };
    // A copy in parts, or one that KMS encrypts, has an ETag that nobody knows before.
    return etag === replaced || size !== source.size ? 'not-made' : 'unknown';
  } catch (failure) {
    return isStoreError(failure, 'not-found') ? 'not-made' : 'unknown';
  }
}
