/**
 * A directory's own object, in which its mode, owner and times stand: `dir/`, a marker of another style, or none. The root's
 * may have any key.
 */
import { isStoreError } from '../errors.ts';
import type { ListedObject } from '../s3/store.ts';
import { describedPosix } from './attributes.ts';
import type { Environment } from './environment.ts';
import type { DirectoryInode } from './inode.ts';
import type { IndexedMetadata } from './metadata-index.ts';
import type { MetadataRequests } from './metadata-requests.ts';
import { compareTimes, decodePosix } from './posix.ts';

export class DirectoryMarkers {
  readonly #environment: Environment;
  readonly #requests: MetadataRequests;
  readonly #root: DirectoryInode;
  /** Whether the root's own object was asked for; its answer holds while the mount lives. */
  #rootAsked = false;

  constructor(environment: Environment, requests: MetadataRequests, root: DirectoryInode) {
    this.#environment = environment;
    this.#requests = requests;
    this.#root = root;
  }

  /** Mode, owner and times of a directory stand in its marker, if it has one. */
  async describe(directory: DirectoryInode, at: number, signal?: AbortSignal): Promise<void> {
    const key = directory.markerKey ?? directory.key;
    const metadata = await this.#requests.head(key, signal).catch(error => {
      if (isStoreError(error, 'forbidden', 'invalid')) return undefined;
      throw error;
    });
    this.described(directory, key, metadata, at);
  }

  /** What was learned of the key at which its marker would be. */
  described(directory: DirectoryInode, key: string, metadata: IndexedMetadata | undefined, at: number): void {
    if (directory.metadataUnsaved || directory.lock.locked) return;
    if (metadata) {
      this.set(directory, key, metadata, Math.max(at, metadata.checkedAt));
      return;
    }
    directory.markerKey = undefined;
    directory.unmarked = true;
    directory.exact = true;
    directory.checkedAt = Math.max(directory.checkedAt, at);
  }

  /** Its marker is this object. */
  set(directory: DirectoryInode, key: string, metadata: IndexedMetadata | undefined, checkedAt: number): void {
    directory.markerKey = key;
    directory.unmarked = false;
    directory.checkedAt = Math.max(directory.checkedAt, checkedAt);
    if (!metadata) return;
    directory.markerDescription = metadata.description;
    directory.exact = true;
    const lastModified = metadata.lastModified ?? this.#environment.clock.now();
    const posix = describedPosix(this.#environment.options, metadata.description, 0, lastModified, true);
    // What this mount made or removed in it counts too: the marker was not written for that.
    const { mtime, ctime } = directory.posix;
    const isTouched = directory.changes.any && compareTimes(mtime, posix.mtime) > 0;
    directory.posix = isTouched ? { ...posix, mtime, ctime } : posix;
  }

  /** What a listing of the directory itself tells of its marker: none, or which version. */
  listed(directory: DirectoryInode, marker: ListedObject | undefined, at: number): void {
    if (!marker) {
      if (directory.markerKey !== undefined) return;
      directory.unmarked = true;
      directory.exact = true;
      directory.checkedAt = Math.max(directory.checkedAt, at);
      return;
    }
    directory.markerKey = marker.key;
    directory.unmarked = false;
    const metadata = this.#requests.known(marker, at);
    if (metadata && directory !== this.#root && !directory.metadataUnsaved) {
      this.set(directory, marker.key, metadata, Math.max(at, metadata.checkedAt));
    }
  }

  /** Whether somebody's chmod of the mount point may stand in an object that was not looked at yet. */
  get rootIsUnknown(): boolean {
    return !this.#rootAsked && this.#environment.options.stat === 'exact';
  }

  /** Mode, owner and times of the root stand in its own object, if somebody set them. Never fails: most buckets have none. */
  async describeRoot(key: string): Promise<void> {
    this.#rootAsked = true;
    try {
      const metadata = await this.#requests.head(key);
      if (!metadata || this.#root.metadataUnsaved || this.#root.markerKey !== undefined) return;
      this.#root.markerKey = key;
      this.#root.markerDescription = metadata.description;
      // A folder that a console made says nothing: then the options do.
      if (decodePosix(metadata.description.metadata).mode === undefined) return;
      this.set(this.#root, key, metadata, metadata.checkedAt);
    } catch (error) {
      this.#rootAsked = isStoreError(error, 'forbidden', 'invalid');
    }
  }
}
