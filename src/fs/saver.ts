/**
 * Brings to S3 what this mount has and S3 has not: contents, metadata, directory markers.
 *
 * Difficulties: (1) A save is conditional on the version it is based on; where somebody else was faster, nobody's bytes
 * are lost: see `ConflictCopies`. (2) A large file's metadata is fixed when its upload begins, long
 * before its close. (3) A change of metadata is answered before S3 has it, so that chmod, chown and utimens in a row are
 * one copy; it waits a moment only, goes along with a save or a rename, and is drained at unmount. (4) What cannot be
 * saved now stays this mount's truth and is tried again. (5) Bytes that are only in an upload in progress can become an
 * object under the name that it was begun for, and under no other: before a name changes or goes it is completed.
 */

import type { SaveTarget } from '../cache/file-content.ts';
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import { forEachLimit, Semaphore } from '../concurrency.ts';
import { FsError, isStoreError } from '../errors.ts';
import type { Timestamp } from '../fuse/ops.ts';
import type { ObjectDescription, WriteCondition } from '../s3/store.ts';
import { describedPosix } from './attributes.ts';
import { ConflictCopies } from './conflict-copies.ts';
import { type ContentTypes, contentTypeOf, DEFAULT_CONTENT_TYPE, DIRECTORY_CONTENT_TYPE } from './content-types.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, descendants, FileInode, type Inode, type SpecialInode } from './inode.ts';
import { Moves } from './moves.ts';
import type { Namespace } from './namespace.ts';
import { decodePosix, encodePosix, type FullPosix, timestampOf, withMtime, withoutChecksums } from './posix.ts';

/** How long a change of metadata waits for the next one: chmod, chown and utimens of one program come within a few ms. */
const METADATA_DELAY = 50;
/** How long an emptied directory waits for its marker: `rm -r` removes it next. */
const MARKER_DELAY = 1000;
/** Metadata copies at once: they cost S3 work but no bandwidth here. */
const PARALLEL_METADATA = 32;
/** Saves at once while draining. */
const PARALLEL_SAVES = 16;
/** How often a drain looks for what is left. */
const DRAIN_ROUNDS = 3;
/** Backoff of a failed save, in ms: doubled from the first to the last. */
const FIRST_RETRY = 1000;
const LAST_RETRY = 60_000;

export class Saver {
  readonly moves = new Moves();
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #types: ContentTypes;
  readonly #metadataSlots = new Semaphore(PARALLEL_METADATA);
  /** Metadata waiting for its moment, with how to cancel the timer. */
  readonly #waiting = new Map<Inode, () => void>();
  readonly #running = new Set<Promise<void>>();
  readonly #retries = new Map<FileInode, () => void>();
  /** How often metadata has failed in a row. */
  readonly #failedMetadata = new Map<Inode, number>();
  readonly #conflicts: ConflictCopies;

  constructor(environment: Environment, namespace: Namespace, types: ContentTypes) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#types = types;
    this.#conflicts = new ConflictCopies(environment, namespace, (file, condition) => this.#put(file, condition));
  }

  // --- descriptions ---------------------------------------------------------------------------------------------------

  /** What a save of this inode writes beside the bytes. The description of the base version must be known, if there is one. */
  describe(inode: Inode): ObjectDescription {
    const { options } = this.#environment;
    const existing = inode instanceof DirectoryInode ? inode.markerDescription : inode.description;
    const metadata = encodePosix(inode.posix, options.metadata, existing?.metadata);
    if (existing) return { ...existing, metadata };
    return { headers: { contentType: this.#newContentType(inode) }, metadata };
  }

  #newContentType(inode: Inode): string {
    if (inode instanceof DirectoryInode) return DIRECTORY_CONTENT_TYPE;
    return inode instanceof FileInode ? contentTypeOf(this.#types, inode.name) : DEFAULT_CONTENT_TYPE;
  }

  /** Learns what is kept beside the base version: a write must restate it. No request where it is known. */
  async learnDescription(inode: FileInode | SpecialInode): Promise<void> {
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
    if (!known) {
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
    await this.learnDescription(inode);
    if (inode.metadataUnsaved) return this.describe(inode);
    const description = inode.description!;
    const metadata = keepsTime
      ? withMtime(description.metadata, inode.posix.mtime, options.metadata)
      : description.metadata;
    return inParts || metadata !== description.metadata ? { ...description, metadata } : undefined;
  }

  // --- contents -------------------------------------------------------------------------------------------------------

  /** Where a file's content goes when it is saved. */
  targetOf(file: FileInode): SaveTarget {
    return {
      key: file.key,
      describe: writing => {
        // The write that fills the first parts has not moved the times yet.
        if (writing) file.posix = changedNow(file.posix, timestampOf(this.#environment.clock.now()));
        const description = this.describe(file);
        return { ...description, metadata: withoutChecksums(description.metadata) };
      },
      condition: this.#condition(file),
    };
  }

  #condition(file: FileInode): WriteCondition {
    const base = file.stored?.version ?? file.replaces;
    return base && !file.baseGone ? { ifMatch: base.etag } : { ifAbsent: true };
  }

  /** Saves all that is unsaved of a file. Fails with the error of its save; the bytes then stay and are tried again. */
  async save(file: FileInode): Promise<void> {
    while (file.unsaved) await this.saveOnce(file);
  }

  /** The same for what is unsaved now, whatever is written meanwhile. */
  async saveOnce(file: FileInode): Promise<void> {
    if (!file.saving) {
      file.saving = this.#save(file).finally(() => {
        file.saving = undefined;
        this.#namespace.release(file);
      });
      file.saving.catch(() => {});
    }
    await file.saving;
  }

  /**
   * Runs `change`, which gives `inode` another name or takes the one that it has, after what has only been sent under it is
   * saved. To be called under its lock. `goes`: nobody will look for the file under any name, only its handles read on.
   */
  async changeName<T>(inode: FileInode | SpecialInode, goes: boolean, change: () => Promise<T>): Promise<T> {
    if (!(inode instanceof FileInode)) return change();
    const { memory } = this.#environment.spool;
    inode.renaming++;
    // Writers for whom nothing can be let go of meanwhile wait for the end of this, and get no ENOSPC.
    memory.began();
    try {
      if (!goes || inode.isInUse) {
        await this.#completeUpload(inode).catch(error => {
          // What is lost is no reason to keep the rest.
          if (!goes || !isStoreError(error, 'no-such-upload')) throw error;
        });
      }
      return await change();
    } finally {
      inode.renaming--;
      memory.ended();
    }
  }

  /** Saves what has only been sent under names below `directory`, which is being renamed: nothing else happens there. */
  async completeBelow(directory: DirectoryInode): Promise<void> {
    const files = [...descendants(directory)].filter(inode => inode instanceof FileInode);
    await forEachLimit(files, PARALLEL_SAVES, file => file.lock.run(() => this.#completeUpload(file)));
  }

  async #completeUpload(file: FileInode): Promise<void> {
    try {
      while (file.content?.hasSentRanges || this.#conflicts.isOpen(file)) await this.#saveContent(file);
    } catch (error) {
      this.#failed(file, error);
      throw error;
    }
  }

  async #save(file: FileInode): Promise<void> {
    this.#cancelRetry(file);
    try {
      const save = async (): Promise<void> => {
        if (file.unlinked) return;
        if (file.supersededIn) this.#returnToTree(file);
        if (file.content?.unsaved) await this.#saveContent(file);
        else if (file.metadataUnsaved) await this.#copyMetadata(file);
      };
      await this.moves.within([file], () => file.lock.run(save));
      file.saveError = undefined;
      file.failedSaves = 0;
    } catch (error) {
      this.#failed(file, error);
      throw error;
    }
  }

  async #saveContent(file: FileInode): Promise<void> {
    await this.learnDescription(file);
    if (this.#conflicts.isOpen(file)) return this.#conflicts.resolve(file, undefined);
    try {
      await this.#put(file);
    } catch (error) {
      if (isStoreError(error, 'not-found') && file.stored && !file.baseGone) {
        // Deleted elsewhere: the name is free, and who has the file open here did not ask for its end.
        this.#environment.telemetry.log.warn(
          { key: file.key },
          'deleted by another client while changed here; saved again',
        );
        file.baseGone = true;
        await this.#put(file);
        return;
      }
      if (!isStoreError(error, 'precondition-failed')) throw error;
      await this.#conflicts.resolve(file, error);
    }
  }

  async #put(file: FileInode, condition?: WriteCondition): Promise<void> {
    const { telemetry, clock } = this.#environment;
    const content = file.content!;
    const before = file.stored;
    const isKernelCurrent = file.pagesOf === before;
    const at = clock.monotonic();
    const saved = await content.save(undefined, condition);
    if (!saved) return;
    file.baseGone = false;
    file.replaces = undefined;
    file.stored = saved.content;
    file.description = saved.description;
    file.lastModified = undefined;
    file.exact = true;
    file.checkedAt = at;
    if (isKernelCurrent) file.pagesOf = saved.content;
    this.#namespace.index.wrote(file.key, saved.written.etag, saved.content.size, saved.description, at);
    this.#namespace.saved(file);
    this.#settleMetadata(file, saved.description, saved.written.serverDate);
    telemetry.log.debug({ key: file.key, size: saved.content.size }, 'saved');
  }

  /** Metadata changed after its upload had begun: times move back to what is stored, anything else is one more copy. */
  #settleMetadata(file: FileInode, stored: ObjectDescription, serverDate: number): void {
    const { options } = this.#environment;
    if (options.metadata === 'none' && !('mtime' in stored.metadata)) {
      // Last-Modified is what a remount will show.
      if (!file.content?.unsaved) {
        const time = timestampOf(Math.floor(serverDate / 1000) * 1000);
        file.posix = { ...file.posix, mtime: time, ctime: time };
      }
      file.metadataUnsaved = false;
      return;
    }
    const wanted = encodePosix(file.posix, options.metadata, stored.metadata);
    // What was taken away meanwhile is only in what is stored.
    const names = new Set([...Object.keys(wanted), ...Object.keys(stored.metadata)]);
    const differing = [...names].filter(name => wanted[name] !== stored.metadata[name]);
    const onlyTimes = differing.every(name => /^(goog-reserved-)?(file-)?[amc]time$/.test(name));
    if (differing.length > 0 && (!onlyTimes || file.timesSet)) {
      file.metadataUnsaved = true;
      this.scheduleMetadata(file);
    } else {
      file.metadataUnsaved = false;
      if (differing.length > 0 && !file.content?.unsaved) {
        const { mtime, ctime, atime } = decodePosix(stored.metadata);
        file.posix = { ...file.posix, ...(mtime && { mtime }), ...(ctime && { ctime }), ...(atime && { atime }) };
      }
    }
    if (!file.content?.unsaved) file.timesSet = false;
  }

  /** What was written after its name went to somebody else's version: the name, if it is free again; else beside it. */
  #returnToTree(file: FileInode): void {
    const { parent, name } = file.supersededIn!;
    file.supersededIn = undefined;
    if (parent.children.has(name)) {
      this.#conflicts.become(file, parent, name);
    } else {
      this.#namespace.move(file, parent, name);
      file.baseGone = true;
    }
  }

  #failed(file: FileInode, error: unknown): void {
    // A conflict copy that was saved, or metadata that was given up: the log has it, and nothing is left to send.
    if (!file.unsaved) return;
    file.saveError = error instanceof Error ? error : new Error(String(error));
    file.failedSaves++;
    const permanent =
      isStoreError(error, 'forbidden', 'too-large', 'invalid', 'archived', 'not-implemented') ||
      // Somebody has aborted the upload that held the bytes.
      (isStoreError(error, 'no-such-upload') && file.content?.hasSentRanges === true);
    this.#environment.telemetry.log.error(
      { key: file.label, unsavedBytes: file.content?.unsavedBytes ?? 0 },
      `not saved: ${file.saveError.message}${permanent ? '' : '; the bytes are kept and will be sent again'}`,
    );
    if (permanent || error instanceof FsError) return;
    const wait = retryDelay(file.failedSaves);
    this.#retries.set(
      file,
      this.#environment.clock.after(wait, () => {
        this.#retries.delete(file);
        this.#run(this.save(file));
      }),
    );
  }

  #cancelRetry(file: FileInode): void {
    this.#retries.get(file)?.();
    this.#retries.delete(file);
  }

  // --- metadata -------------------------------------------------------------------------------------------------------

  /** Metadata of what is saved goes out in a moment, by itself. */
  scheduleMetadata(inode: Inode, delay = METADATA_DELAY): void {
    inode.metadataUnsaved = true;
    if (this.#waiting.has(inode)) return;
    this.#waiting.set(
      inode,
      this.#environment.clock.after(delay, () => this.#run(this.saveMetadata(inode))),
    );
  }

  /** An implicit directory whose last object went stays, as on a disk: by a marker, if nobody removes it first. */
  keepDirectory(directory: DirectoryInode): void {
    if (directory === this.#namespace.root || !directory.parent) return;
    directory.localOnly = true;
    this.scheduleMetadata(directory, MARKER_DELAY);
  }

  /** Metadata that goes along with something else (a rename, a save), or is no longer wanted (an unlink). */
  takeMetadata(inode: Inode): void {
    this.#waiting.get(inode)?.();
    this.#waiting.delete(inode);
  }

  /**
   * Brings an inode's metadata to S3 now. What the store refuses is logged and undone; what fails for a passing reason is
   * kept and tried again.
   */
  async saveMetadata(inode: Inode): Promise<void> {
    this.takeMetadata(inode);
    if (!inode.metadataUnsaved) return;
    const save = async (): Promise<void> => {
      if (!inode.metadataUnsaved) return;
      if (inode instanceof DirectoryInode) await this.#putMarker(inode);
      // Unsaved or open for writing: it goes with the save.
      else if (!(inode instanceof FileInode && inode.content?.unsaved)) await this.#copyMetadata(inode);
    };
    try {
      await this.moves.within([inode], () => this.#metadataSlots.run(() => inode.lock.run(save)));
      this.#failedMetadata.delete(inode);
    } catch (error) {
      this.#retryMetadata(inode);
      throw error;
    } finally {
      this.#namespace.release(inode);
    }
  }

  /** What failed for a passing reason is sent again, later each time. */
  #retryMetadata(inode: Inode): void {
    if (!inode.metadataUnsaved) {
      this.#failedMetadata.delete(inode);
      return;
    }
    const failures = (this.#failedMetadata.get(inode) ?? 0) + 1;
    this.#failedMetadata.set(inode, failures);
    this.scheduleMetadata(inode, retryDelay(failures));
  }

  async #copyMetadata(inode: FileInode | SpecialInode): Promise<void> {
    const { store, blocks, clock, telemetry } = this.#environment;
    const { stored } = inode;
    if (!stored || (inode instanceof FileInode && inode.unlinked)) {
      inode.metadataUnsaved = false;
      return;
    }
    const { version } = stored;
    try {
      await this.learnDescription(inode);
      const description = this.describe(inode);
      if (sameMetadata(description, inode.description)) {
        inode.metadataUnsaved = false;
        return;
      }
      const { posix } = inode;
      const at = clock.monotonic();
      const written = await copyObject(store, version, version.key, description, { ifMatch: version.etag });
      blocks.moved(stored, { key: version.key, etag: written.etag, size: version.size });
      inode.description = description;
      inode.lastModified = undefined;
      inode.checkedAt = at;
      this.#namespace.index.wrote(version.key, written.etag, version.size, description, at);
      this.#namespace.saved(inode);
      // Changed again meanwhile: once more.
      if (inode.posix === posix) inode.metadataUnsaved = false;
      else this.scheduleMetadata(inode);
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
      telemetry.log.error({ key: version.key }, `mode, owner or times not saved: ${reason}`);
      throw error;
    }
  }

  async #putMarker(directory: DirectoryInode): Promise<void> {
    const { store, clock, telemetry } = this.#environment;
    if (directory !== this.#namespace.root && !directory.parent) {
      directory.metadataUnsaved = false;
      return;
    }
    const key = this.markerKey(directory);
    try {
      await this.learnMarker(directory);
      const description = this.describe(directory);
      const { posix } = directory;
      const at = clock.monotonic();
      const written = await store.put(key, [], description, undefined);
      this.marked(directory, key, written.etag, description, at);
      if (directory.posix === posix) directory.metadataUnsaved = false;
      else this.scheduleMetadata(directory);
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
      telemetry.log.error({ key }, `mode, owner or times of a directory not saved: ${reason}`);
      throw error;
    }
  }

  /** The key of a directory's own object. s3fs keeps the root's metadata under the key `/`. */
  markerKey(directory: DirectoryInode): string {
    if (directory.markerKey !== undefined) return directory.markerKey;
    return directory === this.#namespace.root && this.#environment.store.prefixBytes === 0 ? '/' : directory.key;
  }

  /** A directory's marker was written. */
  marked(directory: DirectoryInode, key: string, etag: string, description: ObjectDescription, at: number): void {
    directory.markerKey = key;
    directory.markerDescription = description;
    directory.unmarked = false;
    directory.localOnly = false;
    directory.exact = true;
    directory.checkedAt = at;
    this.#namespace.index.wrote(key, etag, 0, description, at);
  }

  // --- waiting --------------------------------------------------------------------------------------------------------

  #run(work: Promise<void>): void {
    const running = work.catch(() => {}).finally(() => void this.#running.delete(running));
    this.#running.add(running);
  }

  /** Saves everything that can be saved; what cannot stays and was logged. */
  async drain(): Promise<void> {
    // A conflict copy or a change during the drain makes more to do; what fails twice would fail again.
    for (let round = 0; round < DRAIN_ROUNDS; round++) {
      const inodes = [...this.#namespace.inodes()].filter(
        inode => inode.metadataUnsaved || (inode instanceof FileInode && (inode.unsaved || inode.saving)),
      );
      if (inodes.length === 0) break;
      await forEachLimit(inodes, PARALLEL_SAVES, async inode => {
        try {
          if (inode instanceof FileInode && (inode.content?.unsaved || inode.saving)) await this.save(inode);
          await this.saveMetadata(inode);
        } catch {
          // Logged where it failed; `unsaved` tells what is left.
        }
      });
    }
    await Promise.all(this.#running);
    for (const cancel of this.#retries.values()) cancel();
  }
}

function changedNow(posix: FullPosix, now: Timestamp): FullPosix {
  return { ...posix, mtime: now, ctime: now };
}

/** ms to wait after so many failures. */
function retryDelay(failures: number): number {
  return Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(failures - 1, 10));
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
