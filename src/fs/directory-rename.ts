/**
 * rename(2) of a directory: every key below it is copied, then the copied keys are deleted.
 *
 * Difficulties: (1) A crash must leave duplicates, never a loss: nothing is deleted before everything is copied, and only what
 * was copied and is still the same. (2) Nothing may be saved below it meanwhile: see `Moves`. (3) All that the tree holds
 * below follows, with what is known of it. (4) The new name was free, as far as this mount knew: what another client puts there
 * meanwhile is neither replaced nor taken back with the copies. The directory keeps its name then.
 */
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import { forEachLimit } from '../concurrency.ts';
import { FsError, isStoreError, StoreError } from '../errors.ts';
import type { ListedObject, ObjectDescription, ObjectVersion, WriteCondition, Written } from '../s3/store.ts';
import { outcomeOfCopy } from './copy-outcome.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, descendants, FileInode } from './inode.ts';
import { byteLength, HIDDEN_PREFIX } from './keys.ts';
import type { Names } from './names.ts';
import type { Namespace } from './namespace.ts';
import { timestampOf, withMtime } from './posix.ts';
import type { Saver } from './saver.ts';

/** An object copied: which version, what was made of it, and what the copy was told where it was told anything. */
interface Copied {
  readonly from: ObjectVersion;
  readonly key: string;
  readonly written: Written;
  readonly description: ObjectDescription | undefined;
}

interface Failed {
  readonly from: ObjectVersion;
  readonly key: string;
  readonly error: unknown;
}

/**
 * Copies at once within one directory: each costs S3 work, none costs bandwidth here. A file is a HEAD and a copy, some 55 ms:
 * 128 at once are 2,300 files a second, below the 3,500 copies a second that S3 takes for a prefix.
 */
const PARALLEL_COPIES = 128;

/** Pages of old names that are deleted at once: S3 takes some 0.5 s for 1,000 keys, five times what it takes to list them. */
const PARALLEL_DELETES = 4;

export class DirectoryRenamer {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #saver: Saver;
  readonly #names: Names;

  constructor(environment: Environment, namespace: Namespace, saver: Saver, names: Names) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#saver = saver;
    this.#names = names;
  }

  /** Gives `source`, with all below it, the place of `target`, which is empty, or one that is free. */
  async move(
    source: DirectoryInode,
    newParent: DirectoryInode,
    newName: string,
    target: DirectoryInode | undefined,
  ): Promise<void> {
    const { memory } = this.#environment.spool;
    // Bytes of files below stay at hand meanwhile: who finds no room for more waits for the end of this, and gets no ENOSPC.
    memory.began();
    try {
      await this.#saver.moves.move(source, () => this.#moveBelow(source, newParent, newName, target));
    } finally {
      memory.ended();
      if (target) this.#namespace.release(target);
    }
  }

  async #moveBelow(
    source: DirectoryInode,
    newParent: DirectoryInode,
    newName: string,
    target: DirectoryInode | undefined,
  ): Promise<void> {
    await this.#saver.completeBelow(source);
    // What is queued has another ETag when S3 has it: it would look like another client's change, and stay behind.
    await this.#environment.writeBack?.settledBelow(source.key);
    const oldKey = source.key;
    const newKey = `${newParent.key}${newName}/`;
    const copies = await this.#copyTree(source, newParent, newKey, target);
    if (target) {
      // Its marker was replaced by a copy of the source's, if that had one.
      const isReplaced = copies.has(oldKey) || source.markerKey === newKey;
      await this.#names.deleteMarkers(target, isReplaced).catch(() => {});
      this.#names.replaced(target);
    }
    this.#names.relocate(source, newParent, newName, !target);
    this.#follow(source, newKey, copies, oldKey);
    this.#namespace.ahead.drop();
    this.#namespace.changed(newParent, newName, { name: newName, directory: true });
    await this.#environment.unsavedLog?.safe();
    await this.#deleteCopied(oldKey, copies);
  }

  /** Copies everything below `oldKey`; takes its copies back if one fails. Returns what was copied: old key → version there. */
  async #copyTree(
    source: DirectoryInode,
    newParent: DirectoryInode,
    newKey: string,
    target: DirectoryInode | undefined,
  ): Promise<Map<string, Copied>> {
    const oldKey = source.key;
    const { store } = this.#environment;
    const limit = store.limits.maxKeyBytes - store.prefixBytes;
    const copies = new Map<string, Copied>();
    const failed: Failed[] = [];
    const copyOne = async (from: ListedObject): Promise<void> => {
      const key = newKey + from.key.slice(oldKey.length);
      if (byteLength(key) > limit) throw new FsError('ENAMETOOLONG', `${key} would have more than S3's ${limit} bytes`);
      const description = await this.#describe(from);
      // An empty directory there may have its marker: that one is replaced.
      const condition: WriteCondition | undefined = key === newKey ? undefined : { ifAbsent: true };
      try {
        const written = await copyObject(store, from, key, description, condition);
        copies.set(from.key, { from, key, written, description });
      } catch (error) {
        failed.push({ from, key, error });
        throw error;
      }
    };
    try {
      let continuation: string | undefined;
      do {
        const page = await store.list({ prefix: oldKey, ...(continuation !== undefined && { continuation }) });
        continuation = page.next;
        await forEachLimit(page.objects, PARALLEL_COPIES, async object => {
          if (!oldKey && object.key.startsWith(HIDDEN_PREFIX)) return;
          await copyOne(object);
        });
      } while (continuation !== undefined);
      if (source.markerKey !== undefined && source.markerKey !== oldKey) await this.#moveForeignMarker(source, newKey);
      // What S3 has nothing of would vanish: it becomes a marker at its new name.
      else if (copies.size === 0 && !this.#hasUnsaved(source)) this.#saver.metadata.keepDirectory(source);
    } catch (error) {
      await this.#takeBack([...copies.values()], failed);
      // The marker of the directory that was to be replaced went with the copy that had replaced it.
      const isReplaced = copies.has(oldKey) || failed.some(({ key }) => key === newKey);
      if (target && isReplaced) this.#saver.metadata.keepDirectory(target);
      // Whatever is there now was unknown here, or this would not have been begun.
      target?.distrustListed();
      newParent.distrustListed();
      throw await this.#reasonOf(error, oldKey, failed);
    }
    return copies;
  }

  /**
   * Deletes the copies that were made, and of those that failed what S3 has made of them. What another client has put there
   * since, or may have, stays.
   */
  async #takeBack(copies: readonly Copied[], failed: readonly Failed[]): Promise<void> {
    const { store, telemetry } = this.#environment;
    const made = copies.map(({ key, written }) => ({ key, etag: written.etag }));
    for (const { from, key, error } of failed) {
      const outcome = await outcomeOfCopy(store, error, from, key, undefined);
      if (typeof outcome === 'object') made.push({ key, etag: outcome.etag });
      else if (outcome === 'unknown') {
        telemetry.log.warn({ key }, `${key} may be a copy of ${from.key} or of another client: it stays`);
      }
    }
    const left: string[] = [];
    let reason = '';
    await forEachLimit(made, PARALLEL_COPIES, async ({ key, etag }) => {
      try {
        await store.delete(key, { ifMatch: etag });
      } catch (error) {
        if (isStoreError(error, 'precondition-failed')) return;
        left.push(key);
        reason = error instanceof Error ? error.message : String(error);
      }
    });
    if (left.length === 0) return;
    const message = `${left.length} copies could not be taken back after a rename that failed, ${left[0]} first: ${reason}`;
    telemetry.log.warn({ key: left[0], count: left.length }, message);
  }

  /** What the program is told: who was in the way, if somebody was. */
  async #reasonOf(error: unknown, oldKey: string, failed: readonly Failed[]): Promise<unknown> {
    if (!isStoreError(error, 'precondition-failed', 'not-found')) return error;
    const { store, telemetry } = this.#environment;
    const refused = failed.find(each => each.error === error);
    if (refused && isStoreError(error, 'precondition-failed')) {
      const now = await store.head(refused.from.key).catch(() => undefined);
      if (now?.etag === refused.from.etag) {
        const message = `${refused.key} was put there by another client: ${oldKey} keeps its name`;
        telemetry.log.warn({ key: refused.key }, message);
        return new FsError('ENOTEMPTY', message, { cause: error });
      }
    }
    const message = `${oldKey} was changed by another client while it was renamed; try again`;
    return new FsError('EBUSY', message, { cause: error });
  }

  /**
   * What the copy of an object has to be told; undefined where all goes along by itself. One without a time of its own would
   * show that of the copy: it is given the one that it has shown here, if it has. To ask for it would be a HEAD for each.
   */
  async #describe(from: ListedObject): Promise<ObjectDescription | undefined> {
    const { store, options } = this.#environment;
    const known = this.#namespace.index.get(from.key);
    let full: ObjectDescription | undefined;
    if (needsDescription(from.size, store.limits)) {
      const info = await store.head(from.key);
      const tags = info.tagCount > 0 ? await store.tags(from.key) : undefined;
      full = { ...info.description, ...(tags && { tags }) };
    } else if (known?.etag === from.etag && known.tagCount === 0) full = known.description;
    if (!full || options.stat !== 'exact') return needsDescription(from.size, store.limits) ? full : undefined;
    const metadata = withMtime(full.metadata, timestampOf(from.lastModified), options.metadata);
    if (metadata !== full.metadata) return { ...full, metadata };
    return needsDescription(from.size, store.limits) ? full : undefined;
  }

  #hasUnsaved(directory: DirectoryInode): boolean {
    for (const inode of descendants(directory)) if (inode instanceof FileInode && inode.unsaved) return true;
    return false;
  }

  /** A marker that is no `dir/` (`dir_$folder$`, or `dir` with a directory's type): the new name gets one of ours. */
  async #moveForeignMarker(source: DirectoryInode, newKey: string): Promise<void> {
    const old = source.markerKey!;
    await this.#saver.descriptions.learnMarker(source);
    const description = this.#saver.descriptions.describe(source);
    const at = this.#environment.clock.monotonic();
    const written = await this.#environment.store.put(newKey, [], description, undefined);
    this.#saver.descriptions.marked(source, newKey, written, description, at);
    await this.#environment.store.delete(old);
  }

  /** Everything the tree holds below follows: versions, what is known of them, and listings to be asked again. */
  #follow(source: DirectoryInode, newKey: string, copies: ReadonlyMap<string, Copied>, oldKey: string): void {
    const { blocks, clock } = this.#environment;
    const at = clock.monotonic();
    const { index } = this.#namespace;
    for (const [key, { from, written, description }] of copies) {
      const known = index.get(key);
      index.delete(key);
      const told = description ?? (known?.etag === from.etag && known.tagCount === 0 ? known.description : undefined);
      if (told) index.wrote(newKey + key.slice(oldKey.length), written, from.size, told, at);
    }
    source.distrustListed();
    if (source.markerKey === oldKey) source.markerKey = copies.has(oldKey) ? newKey : undefined;
    for (const inode of descendants(source)) {
      if (inode instanceof DirectoryInode) {
        inode.distrustListed();
        if (inode.markerKey?.startsWith(oldKey)) inode.markerKey = newKey + inode.markerKey.slice(oldKey.length);
        continue;
      }
      if (inode instanceof FileInode && inode.replaces) {
        const replaced = copies.get(inode.replaces.key);
        const key = newKey + inode.replaces.key.slice(oldKey.length);
        inode.replaces = { ...inode.replaces, key, ...(replaced && { etag: replaced.written.etag }) };
      }
      const { stored } = inode;
      const copy = stored && copies.get(stored.version.key);
      if (stored && copy && copy.from.etag === stored.version.etag) {
        blocks.moved(stored, {
          key: newKey + copy.from.key.slice(oldKey.length),
          etag: copy.written.etag,
          size: stored.size,
        });
        inode.lastModified = undefined;
        if (copy.description) inode.description = copy.description;
      } else {
        inode.checkedAt = Number.NEGATIVE_INFINITY;
      }
      if (inode instanceof FileInode) inode.content?.renamed();
    }
  }

  /** Deletes what was copied and is still the same; what appeared or changed meanwhile is another client's, and stays. */
  async #deleteCopied(oldKey: string, copies: ReadonlyMap<string, { readonly from: ObjectVersion }>): Promise<void> {
    if (copies.size === 0) return;
    const { store, telemetry } = this.#environment;
    const changed: string[] = [];
    const failed: { readonly key: string; readonly error: StoreError }[] = [];
    const deleting = new Set<Promise<void>>();
    let continuation: string | undefined;
    try {
      do {
        const page = await store.list({ prefix: oldKey, ...(continuation !== undefined && { continuation }) });
        continuation = page.next;
        const same: string[] = [];
        for (const { key, etag } of page.objects) {
          if (!oldKey && key.startsWith(HIDDEN_PREFIX)) continue;
          (copies.get(key)?.from.etag === etag ? same : changed).push(key);
        }
        if (same.length === 0) continue;
        // At once, before the next page is asked for: whatever another client saves in between is deleted unseen.
        const batch = store.deleteMany(same).then(left => {
          failed.push(...left);
          deleting.delete(batch);
        });
        // One that rejects stays in the set, and is told there.
        batch.catch(() => {});
        deleting.add(batch);
        if (deleting.size >= PARALLEL_DELETES) await Promise.race(deleting);
      } while (continuation !== undefined);
    } finally {
      await Promise.all(deleting);
    }
    if (changed.length > 0) {
      const message = `${changed.length} objects appeared or changed while ${oldKey} was renamed, ${changed[0]} first: they stay there`;
      telemetry.log.warn({ key: changed[0], count: changed.length }, message);
    }
    if (failed.length > 0) {
      const first = failed[0]!;
      const message = `${failed.length} objects were copied but not deleted at the old name, ${first.key} first: ${first.error.message}`;
      telemetry.log.error({ key: first.key, count: failed.length }, message);
      throw new StoreError(first.error.kind, message);
    }
  }
}
