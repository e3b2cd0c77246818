/**
 * Brings changed metadata to S3: mode, owner, times and attributes of what is saved, by a copy of the object onto itself;
 * those of a directory by its marker.
 *
 * Difficulties: (1) A change is answered before S3 has it, so that chmod, chown and utimens in a row are one copy; it waits a
 * moment only, goes along with a save or a rename, and is drained at unmount. (2) What the store refuses was answered
 * already: it is logged, and what S3 has is shown again.
 */
import { copyObject } from '../cache/object-copy.ts';
import { Semaphore } from '../concurrency.ts';
import { isStoreError, storeErrorFields } from '../errors.ts';
import type { ObjectDescription } from '../s3/store.ts';
import type { Descriptions } from './descriptions.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode, type SpecialInode } from './inode.ts';
import type { Moves } from './moves.ts';
import type { Namespace } from './namespace.ts';
import { retryDelay } from './retry-delay.ts';

/** How long a change of metadata waits for the next one: chmod, chown and utimens of one program come within a few ms. */
const METADATA_DELAY = 50;
/** How long an emptied directory waits for its marker: `rm -r` removes it next. */
const MARKER_DELAY = 1000;
/** Metadata copies at once: they cost S3 work but no bandwidth here. */
const PARALLEL_METADATA = 32;

/** Storage classes whose objects cannot be read before they are restored. */
const ARCHIVES = new Set(['GLACIER', 'DEEP_ARCHIVE']);

export class MetadataSaver {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #descriptions: Descriptions;
  readonly #moves: Moves;
  readonly #slots = new Semaphore(PARALLEL_METADATA);
  /** What waits for its moment, with how to cancel the timer. */
  readonly #waiting = new Map<Inode, () => void>();
  readonly #running = new Set<Promise<void>>();
  /** How often each has failed in a row. */
  readonly #failures = new Map<Inode, number>();

  constructor(environment: Environment, namespace: Namespace, descriptions: Descriptions, moves: Moves) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#descriptions = descriptions;
    this.#moves = moves;
  }

  /** Metadata of what is saved goes out in a moment, by itself. */
  schedule(inode: Inode, delay = METADATA_DELAY): void {
    inode.metadataUnsaved = true;
    if (this.#waiting.has(inode)) return;
    this.#waiting.set(
      inode,
      this.#environment.clock.after(delay, () => this.#run(this.save(inode))),
    );
  }

  /** An implicit directory whose last object went stays, as on a disk: by a marker, if nobody removes it first. */
  keepDirectory(directory: DirectoryInode): void {
    if (directory === this.#namespace.root || !directory.parent) return;
    directory.localOnly = true;
    this.schedule(directory, MARKER_DELAY);
  }

  /**
   * Of what may be archived S3's answer is waited for: it copies nothing that was not restored, and who is refused has to
   * hear of it. @throws {StoreError} `archived`
   */
  async saveArchived(inode: Inode): Promise<void> {
    if (inode instanceof DirectoryInode || !ARCHIVES.has(inode.description?.storageClass ?? '')) return;
    if (this.#waiting.has(inode)) await this.save(inode);
  }

  /** Metadata that goes along with something else (a rename, a save), or is no longer wanted (an unlink). */
  take(inode: Inode): void {
    this.#waiting.get(inode)?.();
    this.#waiting.delete(inode);
  }

  /**
   * Brings an inode's metadata to S3 now. What the store refuses is logged and undone; what fails for a passing reason is
   * kept and tried again.
   */
  async save(inode: Inode): Promise<void> {
    this.take(inode);
    if (!inode.metadataUnsaved) return;
    const save = async (): Promise<void> => {
      if (!inode.metadataUnsaved) return;
      if (inode instanceof DirectoryInode) await this.#putMarker(inode);
      // Unsaved or open for writing: it goes with the save.
      else if (!(inode instanceof FileInode && inode.content?.unsaved)) await this.copy(inode);
    };
    try {
      await this.#moves.within([inode], () => this.#slots.run(() => inode.lock.run(save)));
      this.#failures.delete(inode);
    } catch (error) {
      this.#retry(inode);
      throw error;
    } finally {
      this.#namespace.release(inode);
    }
  }

  /** What failed for a passing reason is sent again, later each time. */
  #retry(inode: Inode): void {
    if (!inode.metadataUnsaved) {
      this.#failures.delete(inode);
      return;
    }
    const failures = (this.#failures.get(inode) ?? 0) + 1;
    this.#failures.set(inode, failures);
    this.schedule(inode, retryDelay(failures));
  }

  /** Sends it now, under the lock of the inode. */
  async copy(inode: FileInode | SpecialInode): Promise<void> {
    const { store, blocks, clock, telemetry } = this.#environment;
    const { stored } = inode;
    if (!stored || (inode instanceof FileInode && inode.unlinked)) {
      inode.metadataUnsaved = false;
      return;
    }
    const { version } = stored;
    try {
      await this.#descriptions.learn(inode);
      const description = this.#descriptions.describe(inode);
      if (sameMetadata(description, inode.description)) {
        inode.metadataUnsaved = false;
        return;
      }
      const { posix } = inode;
      const at = clock.monotonic();
      const written = await stored.move(async () => {
        const copy = await copyObject(store, version, version.key, description, { ifMatch: version.etag });
        blocks.moved(stored, { key: version.key, etag: copy.etag, size: version.size });
        return copy;
      });
      // Bytes may have come while it was copied: their base is another now.
      if (inode instanceof FileInode) void inode.content?.restated();
      inode.description = description;
      inode.lastModified = undefined;
      inode.checkedAt = at;
      this.#namespace.index.wrote(version.key, written, version.size, description, at);
      this.#namespace.saved(inode);
      // Changed again meanwhile: once more.
      if (inode.posix === posix) inode.metadataUnsaved = false;
      else this.schedule(inode);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (isPassing(error)) {
        telemetry.log.warn(
          { key: version.key },
          `mode, owner or times not saved yet: ${reason}; it will be tried again`,
        );
        throw error;
      }
      inode.metadataUnsaved = false;
      inode.checkedAt = Number.NEGATIVE_INFINITY;
      inode.exact = false;
      inode.description = undefined;
      this.#namespace.index.delete(version.key);
      telemetry.failed?.(inode.label, 'save of mode, owner or times', error);
      telemetry.log.error(
        { ...storeErrorFields(error), key: version.key },
        `mode, owner or times not saved: ${reason}`,
      );
      throw error;
    }
  }

  async #putMarker(directory: DirectoryInode): Promise<void> {
    const { store, clock, telemetry } = this.#environment;
    if (directory !== this.#namespace.root && !directory.parent) {
      directory.metadataUnsaved = false;
      return;
    }
    const key = this.#descriptions.markerKey(directory);
    try {
      await this.#descriptions.learnMarker(directory);
      const description = this.#descriptions.describe(directory);
      const { posix } = directory;
      const at = clock.monotonic();
      const written = await store.put(key, [], description, undefined);
      this.#descriptions.marked(directory, key, written, description, at);
      if (directory.posix === posix) directory.metadataUnsaved = false;
      else this.schedule(directory);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (isPassing(error)) {
        telemetry.log.warn(
          { key },
          `mode, owner or times of a directory not saved yet: ${reason}; it will be tried again`,
        );
        throw error;
      }
      directory.metadataUnsaved = false;
      directory.localOnly = false;
      directory.checkedAt = Number.NEGATIVE_INFINITY;
      directory.exact = false;
      telemetry.failed?.(directory.label, 'save of mode, owner or times', error);
      telemetry.log.error(
        { ...storeErrorFields(error), key },
        `mode, owner or times of a directory not saved: ${reason}`,
      );
      throw error;
    }
  }

  #run(work: Promise<void>): void {
    const running = work.catch(() => {}).finally(() => void this.#running.delete(running));
    this.#running.add(running);
  }

  /** A copy of the object was told this: metadata that waited has gone along. */
  wentAlong(inode: FileInode | SpecialInode, description: ObjectDescription): void {
    inode.description = description;
    if (inode instanceof FileInode && inode.content?.unsaved) return;
    this.take(inode);
    inode.metadataUnsaved = false;
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }
}

/** Whether the store may say something else next time. */
function isPassing(error: unknown): boolean {
  return isStoreError(error, 'unavailable', 'timeout', 'conflict', 'corrupt', 'aborted');
}

function sameMetadata(a: ObjectDescription, b: ObjectDescription | undefined): boolean {
  if (!b) return false;
  const names = Object.keys(a.metadata);
  return names.length === Object.keys(b.metadata).length && names.every(name => a.metadata[name] === b.metadata[name]);
}
