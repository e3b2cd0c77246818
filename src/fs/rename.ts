/**
 * rename(2): of what S3 has, a copy on the server and then a delete; of what it has not, only a new place in the tree.
 *
 * Difficulties: (1) A crash between copy and delete must leave duplicates, never a loss: everything is copied before
 * anything is deleted, and only what was copied is deleted. (2) Open handles follow: their content gets the new version.
 * (3) The condition on the target tells when another client was faster: programs save by a rename, and never saw what is there
 * now. It is replaced, for that is what was asked for, but kept beside; never with NOREPLACE. Directories: `DirectoryRenamer`; exchange: `Exchanger`.
 */
import { copyObject } from '../cache/object-copy.ts';
import { FsError, isStoreError } from '../errors.ts';
import { type Name, RENAME_EXCHANGE, RENAME_NOREPLACE, type RequestContext } from '../fuse/ops.ts';
import type { ObjectVersion, WriteCondition, Written } from '../s3/store.ts';
import { DirectoryRenamer } from './directory-rename.ts';
import type { Environment } from './environment.ts';
import { Exchanger } from './exchange.ts';
import { DirectoryInode, FileInode, type SpecialInode } from './inode.ts';
import type { Names } from './names.ts';
import type { Namespace } from './namespace.ts';
import type { Orphans } from './orphans.ts';
import type { Saver } from './saver.ts';

type Movable = FileInode | SpecialInode;

export class Renamer {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #saver: Saver;
  readonly #orphans: Orphans;
  readonly #names: Names;
  readonly #directories: DirectoryRenamer;
  readonly #exchanger: Exchanger;

  constructor(environment: Environment, namespace: Namespace, saver: Saver, orphans: Orphans, names: Names) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#saver = saver;
    this.#orphans = orphans;
    this.#names = names;
    this.#directories = new DirectoryRenamer(environment, namespace, saver, names);
    this.#exchanger = new Exchanger(environment, namespace, saver, names);
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
      const inode = each === undefined ? undefined : await this.#namespace.find(directory, each, ctx);
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
    const source = name === undefined ? undefined : await this.#namespace.find(parent, name, ctx);
    if (!source || name === undefined) throw new FsError('ENOENT');
    this.#names.creatable(newParent, newName, source instanceof DirectoryInode);
    const target = await this.#namespace.find(newParent, newName!, ctx);
    if (target === source) return;
    if (target && flags & RENAME_NOREPLACE) throw new FsError('EEXIST');
    if (flags & RENAME_EXCHANGE) {
      if (!target) throw new FsError('ENOENT');
      return this.#exchanger.exchange(source, target);
    }
    if (source instanceof DirectoryInode) {
      for (let above: DirectoryInode | undefined = newParent; above; above = above.parent) {
        if (above === source) throw new FsError('EINVAL', 'a directory cannot be moved below itself');
      }
      if (target && !(target instanceof DirectoryInode)) throw new FsError('ENOTDIR');
      if (target) await this.#names.expectEmpty(target);
      await this.#directories.move(source, newParent, newName!, target);
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
        // What S3 has under its name. Kept for its handles it may have another version, elsewhere.
        const replaced = target?.stored?.version ?? (target instanceof FileInode ? target.replaces : undefined);
        if (target instanceof FileInode) await this.#orphans.keep(target);
        if (source.stored) await this.#moveStored(source, newParent, newName, target, replaced, noReplace);
        else await this.#moveUnsaved(source, newParent, newName, target, replaced);
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
    replaced: ObjectVersion | undefined,
  ): Promise<void> {
    // What it was renamed over before is still in S3, and its save will not replace it any more.
    if (source instanceof FileInode && source.replaces) await this.#deleteReplaced(source.key, source.replaces);
    if (target) this.#names.lost(target);
    this.#names.relocate(source, newParent, newName, !target);
    if (source instanceof FileInode) {
      source.replaces = replaced;
      source.content?.renamed();
    }
  }

  async #deleteReplaced(key: string, { etag }: ObjectVersion): Promise<void> {
    const { store, telemetry } = this.#environment;
    await store.delete(key, { ifMatch: etag }).catch((error: unknown) => {
      if (!isStoreError(error, 'precondition-failed')) throw error;
      telemetry.log.warn(
        { key },
        'changed by another client before what replaced it was saved: the new version stays there',
      );
    });
  }

  async #moveStored(
    source: Movable,
    newParent: DirectoryInode,
    newName: string,
    target: Movable | undefined,
    replaced: ObjectVersion | undefined,
    noReplace: boolean,
  ): Promise<void> {
    const { store, blocks, clock, telemetry } = this.#environment;
    const stored = source.stored!;
    const before = stored.version;
    const oldKey = before.key;
    const oldParent = source.parent;
    const newKey = newParent.key + newName;
    const at = clock.monotonic();
    const description = await this.#saver.descriptions.describeCopy(source);
    const written = await this.#copyOver(source, stored.version, newKey, description, replaced, {
      parent: newParent,
      name: newName,
      noReplace,
    });
    blocks.moved(stored, { key: newKey, etag: written.etag, size: stored.size });
    if (description) this.#saver.metadata.wentAlong(source, description);
    if (target) this.#names.lost(target);
    this.#namespace.index.delete(oldKey);
    this.#names.relocate(source, newParent, newName, !target);
    source.lastModified = undefined;
    source.checkedAt = at;
    if (source instanceof FileInode) source.content?.renamed();
    if (source.description) this.#namespace.index.wrote(newKey, written, stored.size, source.description, at);
    this.#namespace.saved(source);
    await this.#environment.unsavedLog?.safe();
    try {
      await store.delete(oldKey, { ifMatch: before.etag });
    } catch (error) {
      // S3 has both now: the old name must show, or nobody here would know what to delete.
      oldParent?.distrustListed();
      if (!isStoreError(error, 'precondition-failed')) throw error;
      telemetry.log.warn(
        { key: oldKey },
        'changed by another client while it was renamed: the new version stays there',
      );
    }
  }

  /** Copies onto a name that `target` has, or that is free. What others did meanwhile is kept beside and replaced. */
  async #copyOver(
    source: Movable,
    version: ObjectVersion,
    key: string,
    description: Parameters<typeof copyObject>[3],
    target: ObjectVersion | undefined,
    place: { readonly parent: DirectoryInode; readonly name: string; readonly noReplace: boolean },
  ): Promise<Written> {
    const { store } = this.#environment;
    let condition: WriteCondition = target ? { ifMatch: target.etag } : { ifAbsent: true };
    for (let attempt = 0; ; attempt++) {
      try {
        return await copyObject(store, version, key, description, condition);
      } catch (error) {
        if (isStoreError(error, 'not-found') && !('ifMatch' in condition)) throw error;
        if (!isStoreError(error, 'precondition-failed', 'not-found') || attempt >= 3) throw error;
        const now = await this.#etagOf(version.key);
        if (now !== version.etag) {
          this.#namespace.distrust(source);
          throw new FsError(
            now === undefined ? 'ENOENT' : 'ESTALE',
            `${version.key} was changed by another client; try again`,
          );
        }
        if (place.noReplace && (await this.#etagOf(key)) !== undefined) {
          throw new FsError('EEXIST', `${key} was made by another client`);
        }
        const theirs = await this.#saver.keepTheirs(key, place.parent, place.name);
        condition = theirs ? { ifMatch: theirs.etag } : { ifAbsent: true };
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
}
