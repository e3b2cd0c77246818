/**
 * rename(2): of what S3 has, a copy on the server and then a delete; of what it has not, only a new place in the tree.
 *
 * Difficulties: (1) A crash between copy and delete must leave duplicates, never a loss: everything is copied before
 * anything is deleted, and only what was copied is deleted. (2) Open handles follow: their content gets the new version.
 * (3) A directory's saves wait while its prefix moves. (4) The condition on the target tells when another client was
 * faster; replacing is what was asked for, so the new state is learned and replaced, but never with NOREPLACE.
 */
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import type { StoredContent } from '../cache/stored-content.ts';
import { forEachLimit } from '../concurrency.ts';
import { FsError, isStoreError, StoreError } from '../errors.ts';
import { type Name, RENAME_EXCHANGE, RENAME_NOREPLACE, type RequestContext } from '../fuse/ops.ts';
import type { ObjectDescription, ObjectVersion, WriteCondition, Written } from '../s3/store.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, descendants, FileInode, type Inode, type SpecialInode } from './inode.ts';
import { byteLength, HIDDEN_PREFIX } from './keys.ts';
import type { Names } from './names.ts';
import type { Namespace } from './namespace.ts';
import type { Orphans } from './orphans.ts';
import type { Saver } from './saver.ts';

/** Copies at once within one directory: each costs S3 work, none costs bandwidth here. */
const PARALLEL_COPIES = 64;

type Movable = FileInode | SpecialInode;

export class Renamer {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #saver: Saver;
  readonly #orphans: Orphans;
  readonly #names: Names;

  constructor(environment: Environment, namespace: Namespace, saver: Saver, orphans: Orphans, names: Names) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#saver = saver;
    this.#orphans = orphans;
    this.#names = names;
  }

  async rename(
    parent: DirectoryInode,
    name: Name,
    newParent: DirectoryInode,
    newName: Name,
    flags: number,
    ctx: RequestContext,
  ): Promise<void> {
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) throw new FsError('EINVAL', `rename flags ${flags}`);
    if (flags & RENAME_EXCHANGE) await this.#saveBoth(parent, name, newParent, newName, ctx);
    await this.#saver.moves.within([parent, newParent], () =>
      this.#rename(parent, name, newParent, newName, flags, ctx),
    );
  }

  /** What was never saved has nothing to be exchanged. */
  async #saveBoth(
    parent: DirectoryInode,
    name: Name,
    newParent: DirectoryInode,
    newName: Name,
    ctx: RequestContext,
  ): Promise<void> {
    for (const [directory, each] of [
      [parent, name],
      [newParent, newName],
    ] as const) {
      const inode = each === undefined ? undefined : await this.#namespace.find(directory, each, ctx.signal);
      if (inode instanceof FileInode) await this.#saver.save(inode);
    }
  }

  async #rename(
    parent: DirectoryInode,
    name: Name,
    newParent: DirectoryInode,
    newName: Name,
    flags: number,
    ctx: RequestContext,
  ): Promise<void> {
    const source = name === undefined ? undefined : await this.#namespace.find(parent, name, ctx.signal);
    if (!source || name === undefined) throw new FsError('ENOENT');
    this.#names.creatable(newParent, newName, source instanceof DirectoryInode);
    const target = await this.#namespace.find(newParent, newName!, ctx.signal);
    if (target === source) return;
    if (target && flags & RENAME_NOREPLACE) throw new FsError('EEXIST');
    if (flags & RENAME_EXCHANGE) {
      if (!target) throw new FsError('ENOENT');
      return this.#exchange(source, target);
    }
    if (source instanceof DirectoryInode) {
      for (let above: DirectoryInode | undefined = newParent; above; above = above.parent) {
        if (above === source) throw new FsError('EINVAL', 'a directory cannot be moved below itself');
      }
      if (target && !(target instanceof DirectoryInode)) throw new FsError('ENOTDIR');
      if (target) await this.#names.expectEmpty(target);
      await this.#moveDirectory(source, newParent, newName!, target);
    } else {
      if (target instanceof DirectoryInode) throw new FsError('EISDIR');
      await this.#moveObject(source, newParent, newName!, target, (flags & RENAME_NOREPLACE) !== 0);
    }
    this.#names.touchParent(parent);
    if (newParent !== parent) this.#names.touchParent(newParent);
    this.#names.keepIfEmptied(parent);
  }

  // --- one object -----------------------------------------------------------------------------------------------------

  async #moveObject(
    source: Movable,
    newParent: DirectoryInode,
    newName: string,
    target: Movable | undefined,
    noReplace: boolean,
  ): Promise<void> {
    await source.lock.run(async () => {
      const move = async (): Promise<void> => {
        if (!source.parent) throw new FsError('ENOENT');
        if (target instanceof FileInode) await this.#orphans.keep(target);
        if (source.stored) await this.#moveStored(source, newParent, newName, target, noReplace);
        else await this.#moveUnsaved(source, newParent, newName, target);
      };
      const replace = target ? () => target.lock.run(() => this.#names.leaving(target, move)) : move;
      await this.#saver.changeName(source, false, replace);
    });
    if (target) this.#namespace.release(target);
  }

  /** Never saved: it only gets another place; what it replaces there is replaced by its first save. */
  async #moveUnsaved(
    source: Movable,
    newParent: DirectoryInode,
    newName: string,
    target: Movable | undefined,
  ): Promise<void> {
    // What it was renamed over before is still in S3, and its save will not replace it any more.
    if (source instanceof FileInode && source.replaces) await this.#environment.store.delete(source.key);
    const replaced = target?.stored?.version ?? (target instanceof FileInode ? target.replaces : undefined);
    if (target) this.#names.lost(target);
    this.#relocate(source, newParent, newName, !target);
    if (source instanceof FileInode) {
      source.replaces = replaced;
      source.content?.renamed();
    }
  }

  async #moveStored(
    source: Movable,
    newParent: DirectoryInode,
    newName: string,
    target: Movable | undefined,
    noReplace: boolean,
  ): Promise<void> {
    const { store, blocks, clock, telemetry } = this.#environment;
    const stored = source.stored!;
    const before = stored.version;
    const oldKey = before.key;
    const oldParent = source.parent;
    const newKey = newParent.key + newName;
    const at = clock.monotonic();
    const description = await this.#saver.describeCopy(source);
    const written = await this.#copyOver(
      source,
      stored.version,
      newKey,
      description,
      target?.stored?.version,
      noReplace,
    );
    blocks.moved(stored, { key: newKey, etag: written.etag, size: stored.size });
    if (description) this.#told(source, description);
    if (target) this.#names.lost(target);
    this.#namespace.index.delete(oldKey);
    this.#relocate(source, newParent, newName, !target);
    source.lastModified = undefined;
    source.checkedAt = at;
    if (source instanceof FileInode) source.content?.renamed();
    if (source.description) this.#namespace.index.wrote(newKey, written.etag, stored.size, source.description, at);
    this.#namespace.saved(source);
    try {
      await store.delete(oldKey, { ifMatch: before.etag });
    } catch (error) {
      // S3 has both now: the old name must show, or nobody here would know what to delete.
      if (oldParent) oldParent.listing = undefined;
      if (!isStoreError(error, 'precondition-failed')) throw error;
      telemetry.log.warn(
        { key: oldKey },
        'changed by another client while it was renamed: the new version stays there',
      );
    }
  }

  /** A copy was told this: metadata that waited has gone along. */
  #told(inode: Movable, description: ObjectDescription): void {
    inode.description = description;
    if (inode instanceof FileInode && inode.content?.unsaved) return;
    this.#saver.takeMetadata(inode);
    inode.metadataUnsaved = false;
  }

  /** Copies onto a name that `target` has, or that is free. Learns what others did meanwhile and replaces that. */
  async #copyOver(
    source: Movable,
    version: ObjectVersion,
    key: string,
    description: Parameters<typeof copyObject>[3],
    target: ObjectVersion | undefined,
    noReplace: boolean,
  ): Promise<Written> {
    const { store } = this.#environment;
    let condition: WriteCondition = target ? { ifMatch: target.etag } : { ifAbsent: true };
    for (let attempt = 0; ; attempt++) {
      try {
        return await copyObject(store, version, key, description, condition);
      } catch (error) {
        if (isStoreError(error, 'not-found') && !('ifMatch' in condition)) throw error;
        if (!isStoreError(error, 'precondition-failed', 'not-found') || attempt >= 3) throw error;
        const [now, there] = await Promise.all([this.#etagOf(version.key), this.#etagOf(key)]);
        if (now !== version.etag) {
          this.#namespace.distrust(source);
          throw new FsError(
            now === undefined ? 'ENOENT' : 'ESTALE',
            `${version.key} was changed by another client; try again`,
          );
        }
        if (there !== undefined && noReplace) throw new FsError('EEXIST', `${key} was made by another client`);
        condition = there === undefined ? { ifAbsent: true } : { ifMatch: there };
      }
    }
  }

  async #etagOf(key: string): Promise<string | undefined> {
    try {
      return (await this.#environment.store.head(key)).etag;
    } catch (error) {
      if (isStoreError(error, 'not-found')) return undefined;
      throw error;
    }
  }

  #relocate(inode: Inode, newParent: DirectoryInode, newName: string, isNew: boolean): void {
    const { parent, name } = inode;
    this.#namespace.move(inode, newParent, newName);
    if (parent) this.#namespace.changed(parent, name, undefined);
    if (isNew) newParent.changes.added(newName);
    else newParent.changes.record(newName);
    inode.posix = { ...inode.posix, ctime: this.#names.now() };
  }

  // --- a directory ----------------------------------------------------------------------------------------------------

  async #moveDirectory(
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
    const oldKey = source.key;
    const newKey = `${newParent.key}${newName}/`;
    const copies = await this.#copyTree(source, oldKey, newKey, target);
    if (target) {
      // Its marker was replaced by a copy of the source's, if that had one.
      const isReplaced = copies.has(oldKey) || source.markerKey === newKey;
      await this.#names.deleteMarkers(target, isReplaced).catch(() => {});
      this.#names.replaced(target);
    }
    this.#relocate(source, newParent, newName, !target);
    this.#follow(source, newKey, copies, oldKey);
    this.#namespace.dropAhead();
    this.#namespace.changed(newParent, newName, { name: newName, directory: true });
    await this.#deleteCopied(oldKey, copies);
  }

  /** Copies everything below `oldKey`; takes its copies back if one fails. Returns what was copied: old key → version there. */
  async #copyTree(
    source: DirectoryInode,
    oldKey: string,
    newKey: string,
    target: DirectoryInode | undefined,
  ): Promise<Map<string, { from: ObjectVersion; written: Written }>> {
    const { store } = this.#environment;
    const limit = store.limits.maxKeyBytes - store.prefixBytes;
    const copies = new Map<string, { from: ObjectVersion; written: Written }>();
    const begun: string[] = [];
    const copyOne = async (from: ObjectVersion): Promise<void> => {
      const key = newKey + from.key.slice(oldKey.length);
      if (byteLength(key) > limit) throw new FsError('ENAMETOOLONG', `${key} would have more than S3's ${limit} bytes`);
      const info = needsDescription(from.size, store.limits) ? await store.head(from.key) : undefined;
      const tags = info && info.tagCount > 0 ? await store.tags(from.key) : undefined;
      const description = info && { ...info.description, ...(tags && { tags }) };
      // Also one that fails may have been made.
      begun.push(key);
      const written = await copyObject(store, from, key, description, undefined);
      copies.set(from.key, { from, written });
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
      else if (copies.size === 0 && !this.#hasUnsaved(source)) this.#saver.keepDirectory(source);
    } catch (error) {
      await store.deleteMany(begun).catch(() => {});
      // The marker of the directory that was to be replaced went with the copy that had replaced it.
      if (target && begun.includes(newKey)) this.#saver.keepDirectory(target);
      if (isStoreError(error, 'precondition-failed', 'not-found')) {
        throw new FsError('EBUSY', `${oldKey} was changed by another client while it was renamed; try again`, {
          cause: error,
        });
      }
      throw error;
    }
    return copies;
  }

  #hasUnsaved(directory: DirectoryInode): boolean {
    for (const inode of descendants(directory)) if (inode instanceof FileInode && inode.unsaved) return true;
    return false;
  }

  /** A marker that is no `dir/` (`dir_$folder$`, or `dir` with a directory's type): the new name gets one of ours. */
  async #moveForeignMarker(source: DirectoryInode, newKey: string): Promise<void> {
    const old = source.markerKey!;
    await this.#saver.learnMarker(source);
    const description = this.#saver.describe(source);
    const at = this.#environment.clock.monotonic();
    const written = await this.#environment.store.put(newKey, [], description, undefined);
    this.#saver.marked(source, newKey, written.etag, description, at);
    await this.#environment.store.delete(old);
  }

  /** Everything the tree holds below follows: versions, what is known of them, and listings to be asked again. */
  #follow(
    source: DirectoryInode,
    newKey: string,
    copies: ReadonlyMap<string, { from: ObjectVersion; written: Written }>,
    oldKey: string,
  ): void {
    const { blocks, clock } = this.#environment;
    const at = clock.monotonic();
    const { index } = this.#namespace;
    for (const [key, { from, written }] of copies) {
      const known = index.get(key);
      index.delete(key);
      if (known && known.etag === from.etag && known.tagCount === 0) {
        index.wrote(newKey + key.slice(oldKey.length), written.etag, from.size, known.description, at);
      }
    }
    source.listing = undefined;
    if (source.markerKey === oldKey) source.markerKey = copies.has(oldKey) ? newKey : undefined;
    for (const inode of descendants(source)) {
      if (inode instanceof DirectoryInode) {
        inode.listing = undefined;
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
    const same: string[] = [];
    let continuation: string | undefined;
    do {
      const page = await store.list({ prefix: oldKey, ...(continuation !== undefined && { continuation }) });
      continuation = page.next;
      for (const { key, etag } of page.objects) {
        if (!oldKey && key.startsWith(HIDDEN_PREFIX)) continue;
        (copies.get(key)?.from.etag === etag ? same : changed).push(key);
      }
    } while (continuation !== undefined);
    if (changed.length > 0) {
      const message = `${changed.length} objects appeared or changed while ${oldKey} was renamed, ${changed[0]} first: they stay there`;
      telemetry.log.warn({ key: changed[0], count: changed.length }, message);
    }
    const failed = await store.deleteMany(same);
    if (failed.length > 0) {
      const first = failed[0]!;
      const message = `${failed.length} objects were copied but not deleted at the old name, ${first.key} first: ${first.error.message}`;
      telemetry.log.error({ key: first.key, count: failed.length }, message);
      throw new StoreError(first.error.kind, message);
    }
  }

  // --- exchange -------------------------------------------------------------------------------------------------------

  /** RENAME_EXCHANGE of two objects, through a hidden third name: a crash leaves both, one of them under that name. */
  async #exchange(a: Inode, b: Inode): Promise<void> {
    if (a instanceof DirectoryInode || b instanceof DirectoryInode) {
      throw new FsError('EINVAL', 'directories cannot be exchanged: S3 has no such operation');
    }
    const [first, second] = a.nodeid < b.nodeid ? [a, b] : [b, a];
    const exchange = (): Promise<void> => this.#exchangeStored(a, b);
    await first.lock.run(() =>
      second.lock.run(() => this.#saver.changeName(a, false, () => this.#saver.changeName(b, false, exchange))),
    );
  }

  async #exchangeStored(a: Movable, b: Movable): Promise<void> {
    const { store, blocks, clock } = this.#environment;
    const x = a.stored;
    const y = b.stored;
    if (!x || !y || !a.parent || !b.parent) throw new FsError('ENOENT');
    const [ofA, ofB] = [await this.#saver.describeCopy(a), await this.#saver.describeCopy(b)];
    const [keyA, keyB] = [a.key, b.key];
    const hidden = `${HIDDEN_PREFIX}exchange/${this.#environment.options.hostname}/${a.nodeid}-${clock.now()}`;
    const aside = await copyObject(store, x.version, hidden, ofA, undefined);
    const moved = { key: hidden, etag: aside.etag, size: x.size };
    let atA: Written | undefined;
    let atB: Written;
    try {
      atA = await copyObject(store, y.version, keyA, ofB, { ifMatch: x.version.etag });
      // What its copy was told goes along with it; in parts it has to be told again.
      const again = needsDescription(x.size, store.limits) ? ofA : undefined;
      atB = await copyObject(store, moved, keyB, again, { ifMatch: y.version.etag });
    } catch (error) {
      if (atA) await this.#takeBack(x, moved, keyA, ofA, atA);
      await store.delete(hidden).catch(() => {});
      throw error;
    }
    blocks.moved(x, { key: keyB, etag: atB.etag, size: x.size });
    blocks.moved(y, { key: keyA, etag: atA.etag, size: y.size });
    if (ofA) this.#told(a, ofA);
    if (ofB) this.#told(b, ofB);
    const [parentA, nameA, parentB, nameB] = [a.parent, a.name, b.parent, b.name];
    this.#namespace.move(a, parentB, nameB);
    this.#namespace.move(b, parentA, nameA);
    for (const inode of [a, b]) {
      this.#namespace.index.delete(inode.key);
      inode.lastModified = undefined;
      inode.posix = { ...inode.posix, ctime: this.#names.now() };
      this.#namespace.saved(inode);
      if (inode instanceof FileInode) inode.content?.renamed();
    }
    await store.delete(hidden);
  }

  /** The first half of an exchange is undone. If that fails the hidden object is all that is left: it stays. */
  async #takeBack(
    content: StoredContent,
    hidden: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    there: Written,
  ): Promise<void> {
    const { store, blocks, telemetry } = this.#environment;
    const told = needsDescription(hidden.size, store.limits) ? description : undefined;
    try {
      const { etag } = await copyObject(store, hidden, key, told, { ifMatch: there.etag });
      blocks.moved(content, { key, etag, size: hidden.size });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      telemetry.log.error({ key, hidden: hidden.key }, `what was ${key} is ${hidden.key} now: ${reason}`);
      throw error;
    }
  }
}
