/**
 * An object of zeros, there while a save copies the holes of a file from it: S3 makes a part of an object only, and holes of
 * gigabytes would have to be sent.
 *
 * It is made of few bytes: those of one part are sent, and copied side by side until they are enough.
 */
import { forEachLimit } from '../concurrency.ts';
import { isStoreError } from '../errors.ts';
import type { ObjectDescription, ObjectStore, ObjectVersion, UploadedPart } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import { pushZeros } from './part-body.ts';

const MIB = 1024 * 1024;

/** Bytes that are sent: about what one connection sends in the time of the round trips that follow. */
const SEED = 8 * MIB;
/** Each round makes it so many times as long, by as many copies side by side. */
const GROWTH = 32;

const DESCRIPTION: ObjectDescription = { headers: {}, metadata: {} };

interface ZerosEnvironment {
  readonly store: ObjectStore;
  readonly telemetry: Telemetry;
}

/** An object of `size` zeros under `key`; undefined where the store will have none. @throws {StoreError} `aborted` */
export async function zerosFor(
  { store, telemetry }: ZerosEnvironment,
  key: string,
  size: number,
  signal: AbortSignal | undefined,
): Promise<ObjectVersion | undefined> {
  try {
    return await makeZeros(store, key, size, signal);
  } catch (error) {
    if (isStoreError(error, 'aborted')) throw error;
    telemetry.log.info({ key, error }, 'no object of zeros could be made: holes are sent');
    return undefined;
  }
}

/** It is not needed any more. Never rejects. */
export async function dropZeros({ store, telemetry }: ZerosEnvironment, { key }: ObjectVersion): Promise<void> {
  await store.delete(key).catch(error => telemetry.log.warn({ key, error }, 'an object of zeros was not deleted'));
}

/** Makes `size` zeros under `key`, which nobody else uses; `first` of them are sent. @throws {StoreError} with nothing left, if that can be. */
export async function makeZeros(
  store: ObjectStore,
  key: string,
  size: number,
  signal: AbortSignal | undefined,
  first = SEED,
): Promise<ObjectVersion> {
  const options = signal ? { signal } : {};
  const seed: Uint8Array[] = [];
  let length = Math.min(size, Math.max(first, store.limits.minPartSize));
  pushZeros(seed, length);
  try {
    let { etag } = await store.put(key, seed, DESCRIPTION, undefined, options);
    while (length < size) {
      const source: ObjectVersion = { key, etag, size: length };
      const next = Math.min(size, length * Math.min(GROWTH, store.limits.maxParts));
      etag = await repeated(store, source, next, signal);
      length = next;
    }
    return { key, etag, size: length };
  } catch (error) {
    await store.delete(key).catch(() => {});
    throw error;
  }
}

async function repeated(
  store: ObjectStore,
  source: ObjectVersion,
  size: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  const options = signal ? { signal } : {};
  const upload = await store.beginUpload(source.key, DESCRIPTION);
  try {
    const parts = new Array<UploadedPart>(Math.ceil(size / source.size));
    await forEachLimit(parts.keys(), GROWTH, async index => {
      const length = Math.min(source.size, size - index * source.size);
      parts[index] = await upload.copyPart(index + 1, source, 0, length, options);
    });
    return (await upload.complete(parts, undefined, options)).etag;
  } catch (error) {
    await upload.abort();
    throw error;
  }
}
