/**
 * Brings to S3 the contents that this mount has and S3 has not.
 *
 * Difficulties: (1) A save is conditional on the version it is based on; where somebody else was faster, nobody's bytes
 * are lost: see `ConflictCopies`. (2) A large file's metadata is fixed when its upload begins, long before its close.
 * (3) What cannot be saved now stays this mount's truth and is tried again. (4) Bytes that are only in an upload in progress
 * can become an object under the name that it was begun for, and under no other: before a name changes or goes it is
 * completed.
 */
import { randomUUID } from 'node:crypto';
import type { Saved, SaveTarget } from '../cache/file-content.ts';
import { forEachLimit } from '../concurrency.ts';
import { FsError, isStoreError, type StoreError, storeErrorFields } from '../errors.ts';
import type { Timestamp } from '../fuse/ops.ts';
import type { ObjectDescription, ObjectVersion, WriteCondition } from '../s3/store.ts';
import { ConflictCopies } from './conflict-copies.ts';
import { isConflictName } from './conflict-name.ts';
import type { ContentTypes } from './content-types.ts';
import { Descriptions } from './descriptions.ts';
import type { Environment } from './environment.ts';
import { type DirectoryInode, descendants, FileInode, type Inode, type SpecialInode } from './inode.ts';
import { hiddenPlace } from './leftovers.ts';
import { MetadataSaver } from './metadata-saver.ts';
import { Moves } from './moves.ts';
import type { Namespace } from './namespace.ts';
import { decodePosix, encodePosix, type FullPosix, timestampOf, withoutChecksums } from './posix.ts';
import { retryDelay } from './retry-delay.ts';

/** Saves at once while draining. */
const PARALLEL_SAVES = 16;
/** How often a drain looks for what is left. */
const DRAIN_ROUNDS = 3;
/** What was in memory may be pushed out before it is read; then it is lost too. */
const LOSING_ATTEMPTS = 4;

export class Saver {
  readonly moves = new Moves();
  readonly descriptions: Descriptions;
  readonly metadata: MetadataSaver;
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #running = new Set<Promise<void>>();
  readonly #retries = new Map<FileInode, () => void>();
  readonly #conflicts: ConflictCopies;

  constructor(environment: Environment, namespace: Namespace, types: ContentTypes) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.descriptions = new Descriptions(environment, namespace, types);
    this.metadata = new MetadataSaver(environment, namespace, this.descriptions, this.moves);
    this.#conflicts = new ConflictCopies(environment, namespace, (file, condition) => this.#put(file, condition));
  }

  /** Where a file's content goes when it is saved. */
  targetOf(file: FileInode): SaveTarget {
    return {
      key: file.key,
      describe: writing => {
        // The write that fills the first parts has not moved the times yet.
        if (writing) file.posix = changedNow(file.posix, timestampOf(this.#environment.clock.now()));
        const description = this.descriptions.describe(file);
        return { ...description, metadata: withoutChecksums(description.metadata) };
      },
      condition: this.#condition(file),
      aside: () => hiddenPlace('zeros', this.#environment.options.hostname) + randomUUID(),
    };
  }

  #condition(file: FileInode): WriteCondition {
    const base = file.stored?.version ?? file.replaces;
    return base && !file.baseGone ? { ifMatch: base.etag } : { ifAbsent: true };
  }

  /** Keeps beside it what another client has under `name`, and tells its version; undefined if there is none. */
  keepTheirs(key: string, parent: DirectoryInode, name: string): Promise<ObjectVersion | undefined> {
    return this.#conflicts.keep(key, parent, name);
  }

  /**
   * Saves what is unsaved of a file when it is called; what is written meanwhile is left to whoever writes it, or a program
   * that never stops would keep all others waiting. Fails with the error of its save; the bytes then stay and are tried again.
   */
  async save(file: FileInode): Promise<void> {
    const { content, saving } = file;
    // A conflict is still being resolved when nothing is unsaved any more.
    if (!file.unsaved) return saving;
    const generation = content?.generation ?? 0;
    const isSaved = (): boolean =>
      !content?.unsaved || file.content !== content || content.isSavedUpTo(generation) || file.unlinked;
    // The save under way may have begun before the last write: then there is one more, and no third.
    if (saving) await saving;
    while (!isSaved()) await this.saveOnce(file);
    // An upload that had begun before a change of metadata does not have it: what comes after it does.
    if (file.unsaved && file.metadataUnsaved) await this.saveOnce(file);
  }

  /** The save under way, if there is one, or one of what is unsaved now: it may leave what was written before the call. */
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
        else if (file.metadataUnsaved) await this.metadata.copy(file);
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
    await this.descriptions.learn(file);
    if (this.#conflicts.isOpen(file) || file.isIncomplete) return this.#conflicts.resolve(file, undefined);
    try {
      await this.#put(file);
    } catch (error) {
      if (file.isIncomplete && isStoreError(error)) return this.#conflicts.resolve(file, error);
      if (isStoreError(error, 'not-found') && (file.stored || file.replaces) && !file.baseGone) {
        // Deleted elsewhere: the name is free, and who has the file open here did not ask for its end.
        this.#environment.telemetry.log.warn(
          { key: file.key },
          'deleted by another client while changed here; saved again',
        );
        file.baseGone = true;
        return this.#saveContent(file);
      }
      if (!isStoreError(error, 'precondition-failed')) throw error;
      // It has a name of its own already.
      if (file.baseGone && error.details.isOfBase) throw error;
      await this.#conflicts.resolve(file, error);
    }
  }

  async #put(file: FileInode, condition?: WriteCondition): Promise<void> {
    const { telemetry, clock } = this.#environment;
    const before = file.stored;
    const isKernelCurrent = file.pagesOf === before;
    const at = clock.monotonic();
    const save = (): Promise<Saved | undefined> => this.#saveOnBase(file, condition);
    const saved = await (before ? before.leave(save) : save());
    if (!saved) return;
    file.baseGone = false;
    file.replaces = undefined;
    file.stored = saved.content;
    file.description = saved.description;
    file.lastModified = undefined;
    file.exact = true;
    file.checkedAt = at;
    if (isKernelCurrent) file.pagesOf = saved.content;
    this.#namespace.index.wrote(file.key, saved.written, saved.content.size, saved.description, at);
    this.#namespace.saved(file);
    this.#settleMetadata(file, saved.description, saved.written.serverDate);
    telemetry.log.debug({ key: file.key, size: saved.content.size }, 'saved');
  }

  /**
   * Where a conflict is being resolved (or the object was deleted elsewhere) the version that lies beneath what was written
   * may be nowhere any more: then what was written is saved without it, in the end as a conflict copy.
   */
  async #saveOnBase(file: FileInode, condition: WriteCondition | undefined): Promise<Saved | undefined> {
    const content = file.content!;
    const mayLoseBase = file.baseGone || condition !== undefined;
    for (let attempt = 1; ; attempt++) {
      try {
        return await content.save(undefined, condition);
      } catch (error) {
        const isLost = isStoreError(error, 'precondition-failed', 'not-found') && error.details.isOfBase;
        if (!isLost || !mayLoseBase || attempt === LOSING_ATTEMPTS) throw error;
        const bytes = content.loseBase();
        this.#environment.telemetry.log.warn(
          { key: file.key, bytes },
          `the version of ${file.key} that was changed here is gone: ${bytes} of its bytes that were not in memory are zeros in what is saved now`,
        );
        if (bytes === 0 || isConflictName(file.name)) continue;
        file.isIncomplete = true;
        if (condition === undefined) throw error;
      }
    }
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
      this.metadata.schedule(file);
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
      isStoreError(error, 'too-large', 'invalid', 'archived', 'not-implemented') ||
      (isStoreError(error, 'forbidden') && !waitsForCredentials(error)) ||
      // Somebody has aborted the upload that held the bytes.
      (isStoreError(error, 'no-such-upload') && file.content?.hasSentRanges === true);
    const { telemetry } = this.#environment;
    telemetry.failed?.(file.label, 'save', error);
    telemetry.log.error(
      { key: file.label, unsavedBytes: file.content?.unsavedBytes ?? 0, ...storeErrorFields(error) },
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

  // --- waiting --------------------------------------------------------------------------------------------------------

  #run(work: Promise<void>): void {
    const running = work.catch(() => {}).finally(() => void this.#running.delete(running));
    this.#running.add(running);
  }

  /**
   * Saves what is unsaved when it is called; what cannot be saved stays and was logged. Of what is written meanwhile it promises
   * nothing: it ends, whoever writes on.
   */
  async drain(): Promise<void> {
    const saved = new Set<Inode>();
    // A conflict copy or another name makes more to do; what fails twice would fail again.
    for (let round = 0; round < DRAIN_ROUNDS; round++) {
      const inodes = [...this.#namespace.inodes()].filter(
        inode =>
          !saved.has(inode) &&
          (inode.metadataUnsaved || (inode instanceof FileInode && (inode.unsaved || inode.saving !== undefined))),
      );
      if (inodes.length === 0) break;
      await forEachLimit(inodes, PARALLEL_SAVES, async inode => {
        try {
          if (inode instanceof FileInode && (inode.content?.unsaved || inode.saving)) await this.save(inode);
          await this.metadata.save(inode);
          saved.add(inode);
        } catch {
          // Logged where it failed; `unsaved` tells what is left.
        }
      });
    }
    await Promise.all([this.metadata.settled(), ...this.#running]);
    for (const cancel of this.#retries.values()) cancel();
  }
}

function changedNow(posix: FullPosix, now: Timestamp): FullPosix {
  return { ...posix, mtime: now, ctime: now };
}

/** Whoever signs in again, or sets the clock, wants what waits to be saved then. Without an operation S3 was not even asked. */
function waitsForCredentials({ details: { operation, s3Code = '' } }: StoreError): boolean {
  return operation === undefined || /^(Expired|TokenRefreshRequired|InvalidToken|RequestTimeTooSkewed)/.test(s3Code);
}
