/**
 * Where somebody else was faster: nobody's bytes are lost, ours become a conflict copy beside theirs.
 *
 * Difficulties: (1) What is at hand is simply saved under another name. But bytes that are only in parts of an upload can
 * become an object under one name only, the one that now holds theirs. Then theirs is copied aside on the server, ours
 * takes the name for a moment, is copied to its own name, and theirs goes back. (2) A crash at any point of this must leave
 * both versions somewhere, so nothing is deleted or replaced before its copy is there (and see `Leftovers`). (3) The outcome of the save in the
 * midst of it may be unknown: then theirs stays aside until a later save has settled it.
 */
import { copyObject, describeCopy, needsDescription } from '../cache/object-copy.ts';
import { FsError, isStoreError, type StoreError } from '../errors.ts';
import type { ObjectDescription, ObjectInfo, ObjectVersion, WriteCondition, Written } from '../s3/store.ts';
import { conflictName } from './conflict-name.ts';
import type { Environment } from './environment.ts';
import type { DirectoryInode, FileInode } from './inode.ts';
import { keyAside } from './leftovers.ts';
import type { Namespace } from './namespace.ts';

/** How often theirs may change under our hands before we leave it to the next save. */
const ATTEMPTS = 4;
/** Names of one second that are tried: more than there are mounts of a bucket on one host. */
const NAMES = 50;

/** One save, with all that is noted after it. `condition` instead of that of the file's own base. */
export type Put = (file: FileInode, condition?: WriteCondition) => Promise<void>;

/** Somebody else's version under its name, and its copy under a hidden one. */
interface Aside {
  readonly theirs: ObjectInfo;
  readonly hidden: ObjectVersion;
  /** What a copy back has to be told. */
  readonly description: ObjectDescription | undefined;
}

export class ConflictCopies {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #put: Put;
  /** Of files whose save may or may not have taken the place of theirs. */
  readonly #asides = new WeakMap<FileInode, Aside>();

  constructor(environment: Environment, namespace: Namespace, put: Put) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#put = put;
  }

  /** True where a conflict has begun to be resolved and the next save has to go on with it. */
  isOpen(file: FileInode): boolean {
    return this.#asides.has(file);
  }

  /**
   * Saves `file` beside what somebody else has put under its name; under the file's lock.
   * @throws {FsError} ESTALE when it is done: whoever closes hears of it once. The error of a save that failed.
   */
  async resolve(file: FileInode, cause: StoreError | undefined): Promise<void> {
    const { parent, name } = file;
    if (!parent) throw cause ?? new FsError('ENOENT', `${file.label} cannot be saved`);
    const theirs = file.key;
    const change = file.isIncomplete && file.baseGone ? 'deleted' : 'changed';
    if (file.content?.hasSentRanges || this.isOpen(file)) {
      if (!(await this.#saveAndMakeWay(file, parent, name, cause))) return;
    } else {
      this.#namespace.detach(file, true);
      this.#forget(parent, name, theirs);
      this.#environment.telemetry.count('conflict');
      await this.#saveBeside(file, parent, name);
    }
    const message = `${theirs} was ${change} by another client; what was written here is saved as ${file.key}`;
    this.#environment.telemetry.log.warn({ key: theirs, conflictCopy: file.key }, message);
    throw new FsError('ESTALE', message, { cause });
  }

  /** Gives a file, of which all is at hand or stored, a name beside `name`; it is saved as a new object. */
  become(file: FileInode, parent: DirectoryInode, name: string, nth = 1): void {
    const candidate = this.#nameBeside(parent, name, nth);
    this.#namespace.move(file, parent, candidate);
    file.baseGone = true;
    file.isIncomplete = false;
    file.content?.renamed();
    parent.changes.added(candidate);
  }

  /** Another mount of this host may have taken the name in the same second: only S3 knows. */
  async #saveBeside(file: FileInode, parent: DirectoryInode, name: string): Promise<void> {
    for (let nth = 1; ; nth++) {
      this.become(file, parent, name, nth);
      try {
        return await this.#put(file);
      } catch (error) {
        if (!isTaken(error) || nth === NAMES) throw error;
      }
    }
  }

  /** The `nth` name, or one after it, that is free as far as is known here. */
  #nameBeside(parent: DirectoryInode, name: string, nth: number): string {
    const { options, clock } = this.#environment;
    const now = clock.now();
    for (let i = nth - 1; ; i++) {
      const candidate = conflictName(options.hostname, now, name, i);
      if (!parent.children.has(candidate)) return candidate;
    }
  }

  /** The name is somebody else's now: what was known of it is old. */
  #forget(parent: DirectoryInode, name: string, key: string): void {
    this.#namespace.index.delete(key);
    this.#namespace.changed(parent, name, undefined);
    parent.distrustListed();
    this.#environment.notifier?.invalidateEntry(parent.nodeid, name);
  }

  /**
   * Another client's version that a rename is about to replace without this mount having known of it: copied beside. False
   * if there is no such version any more.
   */
  async keep(key: string, parent: DirectoryInode, name: string): Promise<ObjectVersion | undefined> {
    const { store, telemetry } = this.#environment;
    for (let attempt = 1; ; attempt++) {
      try {
        const theirs = await store.head(key);
        const version = { key, etag: theirs.etag, size: theirs.size };
        const description = await describeCopy(store, theirs);
        const copy = await this.#copyBeside(version, description, parent, name);
        parent.distrustListed();
        telemetry.count('conflict');
        const conflictCopy = parent.key + copy.name;
        const message = `${key} was changed by another client and is replaced by a rename: theirs is kept as ${conflictCopy}`;
        telemetry.log.warn({ key, conflictCopy }, message);
        return version;
      } catch (error) {
        if (isStoreError(error, 'not-found')) return undefined;
        if (!isStoreError(error, 'precondition-failed') || attempt === ATTEMPTS) throw error;
      }
    }
  }

  /** Copies `version` to a name beside `name` that nobody has. */
  async #copyBeside(
    version: ObjectVersion,
    description: ObjectDescription | undefined,
    parent: DirectoryInode,
    name: string,
  ): Promise<Written & { readonly name: string }> {
    const { store } = this.#environment;
    for (let nth = 1; ; nth++) {
      const beside = this.#nameBeside(parent, name, nth);
      try {
        const copy = await copyObject(store, version, parent.key + beside, description, { ifAbsent: true });
        return { ...copy, name: beside };
      } catch (error) {
        if (!isStoreError(error, 'precondition-failed') || nth === NAMES) throw error;
        // Whose condition it was is not told: that of the source, or of the name.
        const { etag } = await store.head(version.key);
        if (etag !== version.etag) throw error;
      }
    }
  }

  // --- of bytes that are only in an upload ----------------------------------------------------------------------------

  /** False if there is no conflict any more: theirs was deleted meanwhile, and ours, which is whole, has the name. */
  async #saveAndMakeWay(
    file: FileInode,
    parent: DirectoryInode,
    name: string,
    cause: StoreError | undefined,
  ): Promise<boolean> {
    const { memory } = this.#environment.spool;
    // Nothing more may be sent away under a name that is about to change.
    file.renaming++;
    memory.began();
    try {
      const aside = await this.#saveOverTheirs(file, cause);
      if (!aside && !file.isIncomplete) return false;
      this.#environment.telemetry.count('conflict');
      await this.#changePlaces(file, parent, name, aside);
      return true;
    } finally {
      file.renaming--;
      memory.ended();
    }
  }

  /** Puts theirs aside and saves ours in its place. Undefined if there was nothing to be put aside any more. */
  async #saveOverTheirs(file: FileInode, cause: StoreError | undefined): Promise<Aside | undefined> {
    const { store } = this.#environment;
    let before: string | undefined;
    for (let attempt = 1; ; attempt++) {
      const aside = this.#asides.get(file) ?? (await this.#putAside(file));
      if (!aside) {
        file.baseGone = true;
        await this.#put(file, { ifAbsent: true });
        return undefined;
      }
      this.#asides.set(file, aside);
      try {
        await this.#put(file, { ifMatch: aside.theirs.etag });
        this.#asides.delete(file);
        return aside;
      } catch (error) {
        if (!isStoreError(error, 'precondition-failed', 'not-found')) throw error;
        // Ours is surely not there, so theirs is where it was, or something newer.
        this.#asides.delete(file);
        await store.delete(aside.hidden.key).catch(() => {});
        // Of the same version again: it was about the source of a copy, of which nothing is left.
        if (aside.theirs.etag === before || attempt === ATTEMPTS) throw cause ?? error;
        before = aside.theirs.etag;
      }
    }
  }

  async #putAside(file: FileInode): Promise<Aside | undefined> {
    const { store, options } = this.#environment;
    const key = keyAside(options.hostname, file.key, store.limits.maxKeyBytes - store.prefixBytes);
    for (let attempt = 1; ; attempt++) {
      try {
        const theirs = await store.head(file.key);
        const description = await describeCopy(store, theirs);
        const version = { key: file.key, etag: theirs.etag, size: theirs.size };
        const { etag } = await copyObject(store, version, key, description, { ifAbsent: true });
        return { theirs, hidden: { key, etag, size: theirs.size }, description };
      } catch (error) {
        if (isStoreError(error, 'not-found')) return undefined;
        if (!isStoreError(error, 'precondition-failed') || attempt === ATTEMPTS) throw error;
      }
    }
  }

  /** Ours has the name: it gets one beside it, and theirs goes back. `aside` undefined: there is none, the name gets free. */
  async #changePlaces(file: FileInode, parent: DirectoryInode, name: string, aside: Aside | undefined): Promise<void> {
    const { store, blocks, clock, telemetry } = this.#environment;
    const stored = file.stored!;
    const { key, etag, size } = stored.version;
    let beside = '';
    let copyKey = '';
    const at = clock.monotonic();
    try {
      const told = needsDescription(size, store.limits) ? file.description : undefined;
      const copy = await this.#copyBeside(stored.version, told, parent, name);
      beside = copy.name;
      copyKey = parent.key + beside;
      blocks.moved(stored, { key: copyKey, etag: copy.etag, size });
      if (file.description) this.#namespace.index.wrote(copyKey, copy, size, file.description, at);
    } catch (error) {
      const theirs = aside ? `what another client wrote is ${aside.hidden.key}` : 'another client has deleted it';
      const message = `${key} has what was written here, and ${theirs}: ${reasonOf(error)}`;
      telemetry.log.error({ key, hidden: aside?.hidden.key }, message);
      throw error;
    }
    if (aside) await this.#putBack(aside, key, etag);
    else await store.delete(key, { ifMatch: etag }).catch(() => {});
    this.#namespace.detach(file, true);
    this.#forget(parent, name, key);
    this.#namespace.move(file, parent, beside);
    file.content?.renamed();
    file.isIncomplete = false;
    file.checkedAt = at;
    parent.changes.added(beside);
    this.#namespace.saved(file);
  }

  /** Theirs takes the place of what is `etag` under `key`. */
  async #putBack({ hidden, description }: Aside, key: string, etag: string): Promise<void> {
    const { store, telemetry } = this.#environment;
    try {
      await copyObject(store, hidden, key, description, { ifMatch: etag });
      await store.delete(hidden.key);
    } catch (error) {
      // Changed once more: what is there now has replaced ours, but was not made of theirs.
      const message = `what another client wrote to ${key} before is ${hidden.key}: ${reasonOf(error)}`;
      telemetry.log.error({ key, hidden: hidden.key }, message);
    }
  }
}

/** About the name, not about what was to be saved under it. */
function isTaken(error: unknown): boolean {
  return isStoreError(error, 'precondition-failed') && !error.details.isOfBase;
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
