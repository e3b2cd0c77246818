/**
 * What is written beside the bytes of an object: what it says of an inode, and what others have stored there already.
 *
 * Difficulties: (1) S3 replaces all of it with every write, so a write must restate what others put there. (2) Most of it
 * came with the answer that told of the object; tags, and what only a listing has shown, have to be asked for.
 */
import { needsDescription } from '../cache/object-copy.ts';
import { isStoreError } from '../errors.ts';
import type { ObjectDescription, Written } from '../s3/store.ts';
import { describedPosix } from './attributes.ts';
import { type ContentTypes, contentTypeOf, DEFAULT_CONTENT_TYPE, DIRECTORY_CONTENT_TYPE } from './content-types.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode, isAttached, type SpecialInode } from './inode.ts';
import { UNKNOWN_TAGS } from './metadata-index.ts';
import type { Namespace } from './namespace.ts';
import { encodePosix, withMtime } from './posix.ts';

export class Descriptions {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #types: ContentTypes;

  constructor(environment: Environment, namespace: Namespace, types: ContentTypes) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#types = types;
  }

  /** What a save of this inode writes beside the bytes. The description of the base version must be known, if there is one. */
  describe(inode: Inode): ObjectDescription {
    const { options } = this.#environment;
    const existing = inode instanceof DirectoryInode ? inode.markerDescription : inode.description;
    const metadata = encodePosix(inode.posix, options.metadata, existing?.metadata);
    const description = existing
      ? { ...existing, metadata }
      : { headers: { contentType: this.#newContentType(inode) }, metadata };
    return inode instanceof FileInode ? this.#byRules(inode, description) : description;
  }

  /** What `ahbe_conf` says goes before what there is, as in s3fs. */
  #byRules(inode: FileInode, description: ObjectDescription): ObjectDescription {
    const { objectHeaders } = this.#environment.options;
    if (!objectHeaders) return description;
    const { headers, metadata } = objectHeaders(isAttached(inode) ? inode.key : inode.name);
    return {
      ...description,
      headers: { ...description.headers, ...headers },
      metadata: { ...description.metadata, ...metadata },
    };
  }

  #newContentType(inode: Inode): string {
    if (inode instanceof DirectoryInode) return DIRECTORY_CONTENT_TYPE;
    return inode instanceof FileInode ? contentTypeOf(this.#types, inode.name) : DEFAULT_CONTENT_TYPE;
  }

  /** Learns what is kept beside the base version: a write must restate it. No request where it is known. */
  async learn(inode: FileInode | SpecialInode): Promise<void> {
    const { stored } = inode;
    if (!stored || inode.description) return;
    const { store, clock } = this.#environment;
    const at = clock.monotonic();
    const info = await store.head(stored.version.key);
    this.#namespace.index.record(info, at);
    const tags = info.tagCount > 0 ? await store.tags(stored.version.key) : [];
    if (inode.description) return;
    inode.description = tags.length > 0 ? { ...info.description, tags } : info.description;
    if (inode.exact || info.etag !== stored.version.etag) return;
    // What a listing had guessed must not be written back as if it were the object's own.
    inode.posix = describedPosix(this.#environment.options, info.description, info.size, info.lastModified, false);
    inode.isGuessed = false;
    inode.exact = true;
  }

  /** The same of a directory's own object, which is always written whole. No request where it is known. */
  async learnMarker(directory: DirectoryInode): Promise<void> {
    if (directory.unmarked || directory.markerDescription?.tags) return;
    const { store, clock } = this.#environment;
    const { index } = this.#namespace;
    const key = this.markerKey(directory);
    let known = directory.markerDescription && index.get(key);
    if (!known || known.tagCount === UNKNOWN_TAGS) {
      const at = clock.monotonic();
      try {
        known = index.record(await store.head(key), at);
      } catch (error) {
        if (isStoreError(error, 'not-found')) return;
        throw error;
      }
    }
    const tags = known.tagCount > 0 ? await store.tags(key) : [];
    directory.markerDescription = tags.length > 0 ? { ...known.description, tags } : known.description;
  }

  /**
   * What a copy of an object under another name has to be told; undefined where everything goes along by itself. Metadata
   * that waits goes along, and an object without any keeps its time: S3 would show that of the copy.
   */
  async describeCopy(inode: FileInode | SpecialInode): Promise<ObjectDescription | undefined> {
    const { options, store } = this.#environment;
    const inParts = needsDescription(inode.stored?.size ?? 0, store.limits);
    const keepsTime = options.stat === 'exact' && options.metadata !== 'none';
    if (!inode.metadataUnsaved && !inParts && !keepsTime) return undefined;
    await this.learn(inode);
    if (inode.metadataUnsaved) return this.describe(inode);
    const description = inode.description!;
    const metadata = keepsTime
      ? withMtime(description.metadata, inode.posix.mtime, options.metadata)
      : description.metadata;
    return inParts || metadata !== description.metadata ? { ...description, metadata } : undefined;
  }

  /** The key of a directory's own object. s3fs keeps the root's metadata under the key `/`. */
  markerKey(directory: DirectoryInode): string {
    if (directory.markerKey !== undefined) return directory.markerKey;
    return directory === this.#namespace.root && this.#environment.store.prefixBytes === 0 ? '/' : directory.key;
  }

  /** A directory's marker was written. */
  marked(directory: DirectoryInode, key: string, written: Written, description: ObjectDescription, at: number): void {
    directory.markerKey = key;
    directory.markerDescription = description;
    directory.unmarked = false;
    directory.localOnly = false;
    directory.exact = true;
    directory.checkedAt = at;
    this.#namespace.index.wrote(key, written, 0, description, at);
  }
}
