/**
 * What the kernel holds by number: directories, files, and what is neither (links, fifos, sockets, devices).
 *
 * An inode knows its place (parent and name) and so its key; a rename changes the place and everything below follows. The
 * base version and the unsaved bytes belong to the inode, shared by all its handles; cursor and flags to the handle.
 * `nodeid` is a counter, never used again. `ino` stays over a rename: see `InodeNumbers`.
 */

import type { FileContent } from '../cache/file-content.ts';
import type { StoredContent } from '../cache/stored-content.ts';
import { Mutex } from '../concurrency.ts';
import { FsError } from '../errors.ts';
import type { ObjectDescription, ObjectVersion } from '../s3/store.ts';
import type { ListedRanges } from './listed-ranges.ts';
import type { ListedName, Listing } from './listing.ts';
import { typeOf } from './modes.ts';
import type { FullPosix } from './posix.ts';

abstract class BaseInode {
  readonly nodeid: number;
  /** st_ino. */
  ino: bigint;
  /** Undefined for the root, and for what has lost its name (unlinked, or the name went to another version). */
  parent: DirectoryInode | undefined;
  name: string;
  /** How many lookups the kernel holds. */
  lookups = 0;
  posix: FullPosix;
  /** Whether `posix` comes from the object's metadata; otherwise from the listing and the defaults. */
  exact = false;
  /** When it was last learned what S3 has under this name; ms of the monotonic clock. */
  checkedAt = Number.NEGATIVE_INFINITY;
  /** Bits of metadata (mode, owner, times, xattrs) changed and not in S3 yet. */
  metadataUnsaved = false;
  /** One at a time of what changes this object in S3: save, metadata copy, rename, unlink. */
  readonly lock = new Mutex();

  constructor(nodeid: number, ino: bigint, parent: DirectoryInode | undefined, name: string, posix: FullPosix) {
    this.nodeid = nodeid;
    this.ino = ino;
    this.parent = parent;
    this.name = name;
    this.posix = posix;
  }

  /** The object's key; a directory's ends in `/`, the root's is empty. Fails with ENOENT for what has lost its name. */
  abstract get key(): string;

  /** For logs and messages: the key, or what is left of it. */
  get label(): string {
    return isAttached(this) ? this.key : `${this.name} (its name is gone)`;
  }
}

/** A name in S3 that is one object: a file, link, fifo, socket or device. */
export abstract class ObjectInode extends BaseInode {
  /** Last-Modified of the stored version, ms; undefined where we wrote it ourselves and have not asked since. */
  lastModified: number | undefined;
  /** `posix` is what a listing lets guess: nothing better was known yet of this version. */
  isGuessed = false;
  /** All that is kept beside the stored bytes, where it is known in full. */
  description: ObjectDescription | undefined;

  get key(): string {
    if (!this.parent) throw new FsError('ENOENT', `${this.name} has lost its name`);
    return this.parent.key + this.name;
  }

  /** The content that S3 has; undefined for what was never saved. */
  abstract get stored(): StoredContent | undefined;
  abstract set stored(content: StoredContent | undefined);
}

export class FileInode extends ObjectInode {
  /** Until then (ms, monotonic) the kernel may open the file anew after ESTALE, with what a check has just found. */
  isLookedUpBy = 0;
  #stored: StoredContent | undefined;
  /** There while the file is open or unsaved. */
  content: FileContent | undefined;
  /** Open handles. */
  opens = 0;
  /** Opens, and truncates by name, under way. */
  opening = 0;
  /** An unlink, or a rename over it, is under way: whoever opens it waits for the outcome. */
  leaving = false;
  /** Open handles that may write. */
  writers = 0;
  /** The content of which the kernel may hold pages: the same at the next open means FOPEN_KEEP_CACHE. */
  pagesOf: StoredContent | undefined;
  /** Has lost its name by unlink or by a rename over it: lives on for its handles, nothing of it is saved any more. */
  unlinked = false;
  /** The name went to another client's version while this was open: what is written here becomes a conflict copy beside it. */
  supersededIn: { readonly parent: DirectoryInode; readonly name: string } | undefined;
  /** Renamed over this version before its first save: the save replaces it. */
  replaces: ObjectVersion | undefined;
  /** The base version is gone from the name that the next save goes to: it must find the name free. */
  baseGone = false;
  /** Has zeros where its base, which is nowhere any more, had other bytes: it is not to have the name of a whole file. */
  isIncomplete = false;
  /** How many changes of its name are under way: meanwhile its bytes stay at hand, whatever they are saved as then. */
  renaming = 0;
  /** Times were set by utimens since the last save: they are not moved to the time of the save. */
  timesSet = false;
  /** The save under way; whoever closes meanwhile waits for it. */
  saving: Promise<void> | undefined;
  /** Why the last save failed; undefined after one that did not. */
  saveError: Error | undefined;
  failedSaves = 0;

  get stored(): StoredContent | undefined {
    return this.content ? this.content.stored : this.#stored;
  }

  set stored(content: StoredContent | undefined) {
    this.#stored = content;
  }

  get size(): number {
    return this.content?.size ?? this.#stored?.size ?? 0;
  }

  /** Open, or about to be. */
  get isInUse(): boolean {
    return this.opens > 0 || this.opening > 0;
  }

  /** Anything that S3 does not have yet. A file without a name has nothing to save. */
  get unsaved(): boolean {
    return !this.unlinked && (this.metadataUnsaved || (this.content?.unsaved ?? false));
  }
}

/** A link, fifo, socket or device: what it is stands in the metadata, a link's target in the body. */
export class SpecialInode extends ObjectInode {
  stored: StoredContent | undefined;
  /** A link's target, once read. */
  target: Uint8Array | undefined;

  get size(): number {
    return this.target?.length ?? this.stored?.size ?? 0;
  }
}

export class DirectoryInode extends BaseInode {
  /** Names that the kernel holds, that are open, or that S3 does not have yet. */
  readonly children = new Map<string, Inode>();
  listing: Listing | undefined;
  /** The listing under way, shared by all who wait for it. */
  loading: Promise<Listing> | undefined;
  /** More than one page: names are asked for one by one, or in ranges. */
  large = false;
  /** What is known of a large directory beside its listing. */
  ranges: ListedRanges | undefined;
  /** The object that marks this directory, by its full key; undefined: none known. */
  markerKey: string | undefined;
  /** Whether it is known that there is no marker. */
  unmarked = false;
  markerDescription: ObjectDescription | undefined;
  /** S3 has nothing of it any more, but here it stays until its marker is written: its last object went. */
  localOnly = false;
  /** A rename of this directory under way: whatever changes names or saves below it waits. */
  moving: Promise<void> | undefined;
  /** Open directory handles. */
  opens = 0;
  /** Local changes of names, for listings and handles that began before them. */
  readonly changes = new NameChanges();

  get key(): string {
    if (this.nodeid === ROOT_NODEID) return '';
    // Never as if it were the root: a delete below it would hit the wrong keys.
    if (!this.parent) throw new FsError('ENOENT', `${this.name} has lost its name`);
    return `${this.parent.key}${this.name}/`;
  }

  /** What was listed is no longer to be believed. */
  distrustListed(): void {
    this.listing = undefined;
    this.ranges = undefined;
  }

  /** Whether anything below is only here: S3 does not show it yet. */
  get holdsLocal(): boolean {
    for (const child of this.children.values()) {
      if (child instanceof DirectoryInode ? child.localOnly || child.holdsLocal : isUnsavedName(child)) return true;
    }
    return false;
  }
}

function isUnsavedName(inode: Inode): boolean {
  return inode instanceof FileInode && (!inode.stored || inode.unsaved || inode.saving !== undefined);
}

export type Inode = DirectoryInode | FileInode | SpecialInode;

/**
 * Which names of a directory this mount changed, and when, while somebody is interested: a LIST that was under way may
 * or may not show the change, and a reader of the directory must not see a renamed file twice.
 */
export class NameChanges {
  #sequence = 0;
  #watchers = 0;
  readonly #changed = new Map<string, { readonly sequence: number; readonly listed: ListedName | undefined }>();
  readonly #added = new Map<string, number>();

  /** From now on changes are kept; returns the place to compare with. Undone by `unwatch`. */
  watch(): number {
    this.#watchers++;
    return this.#sequence;
  }

  unwatch(): void {
    this.#watchers--;
    if (this.#watchers > 0) return;
    this.#changed.clear();
    this.#added.clear();
  }

  /** A name that was not there before. */
  added(name: string): void {
    this.record(name);
    if (this.#watchers > 0) this.#added.set(name, this.#sequence);
  }

  addedSince(name: string, place: number): boolean {
    return (this.#added.get(name) ?? 0) > place;
  }

  /** Whether this mount ever changed a name here. */
  get any(): boolean {
    return this.#sequence > 0;
  }

  /** `listed`: what it has now, if S3 has it; the inode may be forgotten before the listing comes. */
  record(name: string, listed?: ListedName): void {
    this.#sequence++;
    if (this.#watchers > 0) this.#changed.set(name, { sequence: this.#sequence, listed });
  }

  changedSince(name: string, place: number): boolean {
    return (this.#changed.get(name)?.sequence ?? 0) > place;
  }

  /** What a name got by its last change. */
  listedAs(name: string): ListedName | undefined {
    return this.#changed.get(name)?.listed;
  }

  /** Names changed since `place`. */
  *since(place: number): IterableIterator<string> {
    for (const [name, { sequence }] of this.#changed) if (sequence > place) yield name;
  }
}

export function isDirectory(inode: Inode): inode is DirectoryInode {
  return inode instanceof DirectoryInode;
}

/** The root, or what has a name all the way from it: reachable. */
export function isAttached(inode: { readonly nodeid: number; readonly parent: DirectoryInode | undefined }): boolean {
  return inode.nodeid === ROOT_NODEID || (inode.parent !== undefined && isAttached(inode.parent));
}

/** All that the tree holds below a directory. */
export function* descendants(directory: DirectoryInode): IterableIterator<Inode> {
  for (const child of directory.children.values()) {
    yield child;
    if (child instanceof DirectoryInode) yield* descendants(child);
  }
}

/** False while the key of a file may change, by its own name or that of a directory above it, or where it has none. */
export function isNameSettled(file: FileInode): boolean {
  if (file.unlinked || !file.parent || file.renaming > 0) return false;
  for (let above: DirectoryInode | undefined = file.parent; above; above = above.parent) if (above.moving) return false;
  return true;
}

export const ROOT_NODEID = 1;

export function typeBits(inode: Inode): number {
  return typeOf(inode.posix.mode);
}
