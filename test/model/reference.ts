/**
 * What POSIX says: a filesystem of maps and byte arrays, with no notion of S3, caches or time that passes.
 *
 * It is the one definition of correctness for the random tests. Where s3mount documents a difference (no hard links,
 * directories cannot be exchanged) the model has that difference too. Times are nanoseconds as bigint.
 */
import type { ErrnoCode } from '../../src/errors.ts';
import {
  O_ACCMODE,
  O_APPEND,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  withoutSuidgid,
} from '../../src/fs/modes.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../src/fuse/ops.ts';

export const O_CREAT = 0o100;

/** A call that POSIX lets fail. */
export class Refused extends Error {
  readonly code: ErrnoCode;
  constructor(code: ErrnoCode) {
    super(code);
    this.code = code;
  }
}

/** ns since the epoch; undefined where the clock moves meanwhile. */
export type Moment = bigint | undefined;

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * The times that an entry may show: the last one, or, where it is in doubt, any since it was last saved. A large file's
 * metadata goes out when its upload begins, and then the file shows that time. None: any time will do.
 */
export interface Times {
  readonly possible: readonly bigint[];
  readonly isExact: boolean;
  /** Set while any time would have done: with the next change of content any will do again. */
  readonly isAfterAny?: boolean;
}

/** A directory's own times are kept by this mount only: they are compared just after they were set. */
const ANY_TIME: Times = { possible: [], isExact: true };

let nextId = 1;

abstract class ModelNode {
  /** The same in a clone. */
  id = nextId++;
  mode: number;
  uid: number;
  gid: number;
  xattrs: Map<string, string>;
  mtime: Times;
  /** Attributes, and of a file that was unsaved the bytes, are not told: the first look at them tells. */
  isUntold = false;

  constructor(mode: number, owner: Owner, now: Moment) {
    this.mode = mode;
    this.uid = owner.uid;
    this.gid = owner.gid;
    this.xattrs = new Map();
    this.mtime = now === undefined ? ANY_TIME : { possible: [now], isExact: true };
  }
}

export class ModelFile extends ModelNode {
  bytes = Buffer.alloc(0);
  isLinked = true;
  /** Open handles. */
  opens = 0;
  writers = 0;
  /** Changed since the last close or fsync of a writer. */
  isUnsaved = false;
  /** The bytes that S3 is known to have: for those who keep count of that. */
  saved: Buffer | undefined;
  /** Without metadata: its time is that at which S3 got the object. */
  isBare = false;
}

export class ModelDirectory extends ModelNode {
  readonly children = new Map<string, ModelEntry>();
  /** Whether an object marks it: a directory that other clients made by a key below it has none. */
  marked: 'yes' | 'no' | 'unsure' = 'yes';
}

/** A symbolic link or a fifo. */
export class ModelSpecial extends ModelNode {
  readonly target: string | undefined;
  constructor(mode: number, owner: Owner, now: Moment, target: string | undefined) {
    super(mode, owner, now);
    this.target = target;
  }
}

export type ModelEntry = ModelFile | ModelDirectory | ModelSpecial;

export interface ModelHandle {
  readonly file: ModelFile;
  readonly flags: number;
}

interface Place {
  readonly parent: ModelDirectory;
  readonly name: string;
  readonly entry: ModelEntry | undefined;
}

export function isWriter({ flags }: { readonly flags: number }): boolean {
  return (flags & O_ACCMODE) !== O_RDONLY;
}

export class ReferenceFileSystem {
  root: ModelDirectory;
  /** Open files by a number of the caller's. */
  readonly handles = new Map<number, ModelHandle>();
  readonly #owner: Owner;
  /** Whether link(2) makes an independent copy; otherwise it is refused. */
  readonly #linksByCopy: boolean;

  constructor(owner: Owner, options: { readonly linksByCopy: boolean }) {
    this.#owner = owner;
    this.#linksByCopy = options.linksByCopy;
    this.root = new ModelDirectory(S_IFDIR | 0o700, owner, 0n);
    this.root.mtime = ANY_TIME;
  }

  /** An independent copy of everything, open files included. */
  clone(): ReferenceFileSystem {
    const copy = new ReferenceFileSystem(this.#owner, { linksByCopy: this.#linksByCopy });
    const files = new Map<ModelFile, ModelFile>();
    copy.root = cloned(this.root, files) as ModelDirectory;
    for (const [id, { file, flags }] of this.handles) {
      copy.handles.set(id, { file: cloned(file, files) as ModelFile, flags });
    }
    return copy;
  }

  // --- paths ----------------------------------------------------------------------------------------------------------

  /** All paths with what is there, the root (an empty path) first, in a fixed order. */
  paths(): [string, ModelEntry][] {
    const found: [string, ModelEntry][] = [];
    const visit = (path: string, entry: ModelEntry): void => {
      found.push([path, entry]);
      if (!(entry instanceof ModelDirectory)) return;
      for (const name of [...entry.children.keys()].sort()) visit(`${path}/${name}`, entry.children.get(name)!);
    };
    visit('', this.root);
    return found;
  }

  entry(path: string): ModelEntry {
    const { entry } = path === '' ? { entry: this.root } : this.#place(path);
    if (!entry) throw new Refused('ENOENT');
    return entry;
  }

  peek(path: string): ModelEntry | undefined {
    try {
      return this.entry(path);
    } catch {
      return undefined;
    }
  }

  #place(path: string): Place {
    const names = path.split('/').slice(1);
    let parent: ModelEntry = this.root;
    for (const name of names.slice(0, -1)) {
      if (!(parent instanceof ModelDirectory)) throw new Refused('ENOTDIR');
      const next: ModelEntry | undefined = parent.children.get(name);
      if (!next) throw new Refused('ENOENT');
      parent = next;
    }
    if (!(parent instanceof ModelDirectory)) throw new Refused('ENOTDIR');
    const name = names.at(-1)!;
    return { parent, name, entry: parent.children.get(name) };
  }

  directory(path: string): ModelDirectory {
    const entry = this.entry(path);
    if (!(entry instanceof ModelDirectory)) throw new Refused('ENOTDIR');
    return entry;
  }

  #file(path: string): ModelFile {
    const entry = this.entry(path);
    if (entry instanceof ModelDirectory) throw new Refused('EISDIR');
    if (!(entry instanceof ModelFile)) throw new Refused('EINVAL');
    return entry;
  }

  /** A directory with setgid gives its group to what is made in it. */
  #ownerIn(parent: ModelDirectory): Owner {
    return parent.mode & S_ISGID ? { uid: this.#owner.uid, gid: parent.gid } : this.#owner;
  }

  #add(parent: ModelDirectory, name: string, entry: ModelEntry): void {
    parent.children.set(name, entry);
    parent.mtime = ANY_TIME;
  }

  // --- names ----------------------------------------------------------------------------------------------------------

  mkdir(path: string, mode: number, now: Moment): void {
    const { parent, name, entry } = this.#place(path);
    if (entry) throw new Refused('EEXIST');
    const setgid = parent.mode & S_ISGID;
    this.#add(parent, name, new ModelDirectory(S_IFDIR | mode | setgid, this.#ownerIn(parent), now));
  }

  symlink(target: string, path: string, now: Moment): void {
    const { parent, name, entry } = this.#place(path);
    if (entry) throw new Refused('EEXIST');
    this.#add(parent, name, new ModelSpecial(S_IFLNK | 0o777, this.#ownerIn(parent), now, target));
  }

  mkfifo(path: string, mode: number, now: Moment): void {
    const { parent, name, entry } = this.#place(path);
    if (entry) throw new Refused('EEXIST');
    this.#add(parent, name, new ModelSpecial(S_IFIFO | mode, this.#ownerIn(parent), now, undefined));
  }

  readlink(path: string): string {
    const entry = this.entry(path);
    if (!(entry instanceof ModelSpecial) || entry.target === undefined) throw new Refused('EINVAL');
    return entry.target;
  }

  link(from: string, to: string): void {
    const source = this.entry(from);
    const { parent, name, entry } = this.#place(to);
    if (entry) throw new Refused('EEXIST');
    if (source instanceof ModelDirectory) throw new Refused('EPERM');
    if (!this.#linksByCopy) throw new Refused('EPERM');
    const copy =
      source instanceof ModelFile
        ? new ModelFile(source.mode, source, 0n)
        : new ModelSpecial(source.mode, source, 0n, source.target);
    if (copy instanceof ModelFile) copy.bytes = Buffer.from((source as ModelFile).bytes);
    copy.xattrs = new Map(source.xattrs);
    copy.mtime = source.mtime;
    if (source instanceof ModelFile) source.isUnsaved = false;
    this.#add(parent, name, copy);
  }

  unlink(path: string): void {
    const { parent, name, entry } = this.#place(path);
    if (!entry) throw new Refused('ENOENT');
    if (entry instanceof ModelDirectory) throw new Refused('EISDIR');
    parent.children.delete(name);
    if (entry instanceof ModelFile) entry.isLinked = false;
    emptied(parent);
  }

  rmdir(path: string): void {
    const { parent, name, entry } = this.#place(path);
    if (!entry) throw new Refused('ENOENT');
    if (!(entry instanceof ModelDirectory)) throw new Refused('ENOTDIR');
    if (entry.children.size > 0) throw new Refused('ENOTEMPTY');
    parent.children.delete(name);
    emptied(parent);
  }

  rename(from: string, to: string, flags: number): void {
    const source = this.#place(from);
    const target = this.#place(to);
    if (!source.entry) throw new Refused('ENOENT');
    if (target.entry && flags & RENAME_NOREPLACE) throw new Refused('EEXIST');
    if (!target.entry && flags & RENAME_EXCHANGE) throw new Refused('ENOENT');
    if (source.entry instanceof ModelDirectory && to.startsWith(`${from}/`)) throw new Refused('EINVAL');
    if (from.startsWith(`${to}/`)) throw new Refused(flags & RENAME_EXCHANGE ? 'EINVAL' : 'ENOTEMPTY');
    if (source.entry === target.entry) return;
    if (flags & RENAME_EXCHANGE) {
      // Refused by S3, not by POSIX.
      if (source.entry instanceof ModelDirectory || target.entry instanceof ModelDirectory) throw new Refused('EINVAL');
      for (const entry of [source.entry, target.entry]) {
        if (entry instanceof ModelFile) Object.assign(entry, { isUnsaved: false, isBare: false });
      }
      source.parent.children.set(source.name, target.entry!);
      target.parent.children.set(target.name, source.entry);
      for (const { parent } of [source, target]) parent.mtime = ANY_TIME;
      return;
    }
    if (target.entry) {
      const [isDirectory, wasDirectory] = [source.entry, target.entry].map(entry => entry instanceof ModelDirectory);
      if (isDirectory && !wasDirectory) throw new Refused('ENOTDIR');
      if (!isDirectory && wasDirectory) throw new Refused('EISDIR');
      if (target.entry instanceof ModelDirectory && target.entry.children.size > 0) throw new Refused('ENOTEMPTY');
      if (target.entry instanceof ModelFile) target.entry.isLinked = false;
    }
    source.parent.children.delete(source.name);
    this.#add(target.parent, target.name, source.entry);
    emptied(source.parent);
    if (source.entry instanceof ModelFile) source.entry.isBare = false;
    if (source.entry instanceof ModelDirectory) movedBelow(source.entry);
  }

  // --- attributes -----------------------------------------------------------------------------------------------------

  chmod(path: string, mode: number): void {
    const entry = this.entry(path);
    entry.mode = (entry.mode & S_IFMT) | mode;
    marked(entry);
  }

  chown(path: string, uid: number, gid: number): void {
    const entry = this.entry(path);
    if (!(entry instanceof ModelDirectory)) entry.mode = withoutSuidgid(entry.mode);
    entry.uid = uid;
    entry.gid = gid;
    marked(entry);
  }

  utimens(path: string, mtime: bigint): void {
    const entry = this.entry(path);
    const { possible } = entry.mtime;
    const isUnsaved = entry instanceof ModelFile && entry.isUnsaved;
    const isAfterAny = isUnsaved && (possible.length === 0 || entry.mtime.isAfterAny === true);
    entry.mtime = { possible: isUnsaved ? [...possible, mtime] : [mtime], isExact: true, isAfterAny };
    marked(entry);
  }

  setxattr(path: string, name: string, value: string, flags: number): void {
    const entry = this.entry(path);
    if (flags & XATTR_CREATE && entry.xattrs.has(name)) throw new Refused('EEXIST');
    if (flags & XATTR_REPLACE && !entry.xattrs.has(name)) throw new Refused('ENODATA');
    entry.xattrs.set(name, value);
    marked(entry);
  }

  removexattr(path: string, name: string): void {
    const entry = this.entry(path);
    if (!entry.xattrs.delete(name)) throw new Refused('ENODATA');
    marked(entry);
  }

  // --- files ----------------------------------------------------------------------------------------------------------

  open(id: number, path: string, flags: number, mode: number, now: Moment): void {
    const { parent, name, entry } = this.#place(path);
    let file = entry;
    if (file && flags & O_CREAT && flags & O_EXCL) throw new Refused('EEXIST');
    if (!file) {
      if (!(flags & O_CREAT)) throw new Refused('ENOENT');
      file = new ModelFile(S_IFREG | mode, this.#ownerIn(parent), now);
      file.isUnsaved = true;
      this.#add(parent, name, file);
    } else if (file instanceof ModelDirectory) {
      throw new Refused('EISDIR');
    }
    if (!(file instanceof ModelFile)) throw new Refused('EINVAL');
    if (flags & O_TRUNC && entry) {
      file.bytes = Buffer.alloc(0);
      changed(file, now);
    }
    file.opens++;
    if (isWriter({ flags })) file.writers++;
    this.handles.set(id, { file, flags });
  }

  handle(id: number): ModelHandle {
    const handle = this.handles.get(id);
    if (!handle) throw new Error(`handle ${id} is not open`);
    return handle;
  }

  read({ file }: ModelHandle, offset: number, length: number): Buffer {
    return file.bytes.subarray(offset, offset + length);
  }

  write(handle: ModelHandle, offset: number, data: Uint8Array, now: Moment): number {
    const { file, flags } = handle;
    if (data.length === 0) return 0;
    const at = flags & O_APPEND ? file.bytes.length : offset;
    put(file, at, data);
    changed(file, now);
    return data.length;
  }

  ftruncate({ file }: ModelHandle, size: number, now: Moment): void {
    resize(file, size);
    changed(file, now);
  }

  truncate(path: string, size: number, now: Moment): void {
    const file = this.#file(path);
    // As on Linux: to the same size it moves no time, but setuid goes all the same.
    file.mode = withoutSuidgid(file.mode);
    if (size === file.bytes.length) return;
    resize(file, size);
    changed(file, now);
    if (file.writers === 0) file.isUnsaved = false;
  }

  fallocate({ file }: ModelHandle, mode: number, offset: number, length: number, now: Moment): void {
    const { bytes } = file;
    const end = offset + length;
    const isZeroing = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) !== 0 && offset < bytes.length;
    const grows = !(mode & FALLOC_FL_KEEP_SIZE) && end > bytes.length;
    if (isZeroing) bytes.fill(0, offset, Math.min(end, bytes.length));
    if (grows) resize(file, end);
    // An allocation that changes no byte changes no time: there is nothing to be allocated in S3.
    if (isZeroing || grows) changed(file, now);
  }

  copyRange(from: ModelHandle, to: ModelHandle, offset: number, target: number, length: number, now: Moment): number {
    const bytes = Buffer.from(from.file.bytes.subarray(offset, offset + length));
    if (bytes.length > 0) {
      put(to.file, target, bytes);
      changed(to.file, now);
    }
    return bytes.length;
  }

  fsync({ file }: ModelHandle): void {
    file.isUnsaved = false;
  }

  close(id: number): void {
    const handle = this.handle(id);
    this.handles.delete(id);
    handle.file.opens--;
    if (!isWriter(handle)) return;
    handle.file.writers--;
    handle.file.isUnsaved = false;
  }

  // --- other clients --------------------------------------------------------------------------------------------------

  /** Another client puts an object; directories on its way come into being without a marker. */
  putForeign(path: string, bytes: Uint8Array, owner: Owner, now: Moment): void {
    const names = path.split('/').slice(1);
    let parent = this.root;
    for (const name of names.slice(0, -1)) {
      let next = parent.children.get(name);
      if (!next) {
        next = new ModelDirectory(S_IFDIR | 0o750, owner, now);
        next.marked = 'no';
        next.mtime = ANY_TIME;
        parent.children.set(name, next);
      }
      parent = next as ModelDirectory;
    }
    const file = new ModelFile(S_IFREG | 0o640, owner, now);
    file.bytes = Buffer.from(bytes);
    file.isBare = true;
    parent.children.set(names.at(-1)!, file);
  }

  /** Another client deletes an object; directories without a marker go with their last object. */
  deleteForeign(path: string): void {
    const { parent, name, entry } = this.#place(path);
    if (entry instanceof ModelFile) entry.isLinked = false;
    parent.children.delete(name);
    if (parent !== this.root && parent.children.size === 0 && parent.marked === 'no') {
      this.deleteForeign(path.slice(0, path.lastIndexOf('/')));
    }
  }
}

/** A copy of an entry and all below it; a file that is met again (open, and under its name) stays one file. */
export function cloned(entry: ModelEntry, files: Map<ModelFile, ModelFile>): ModelEntry {
  let copy: ModelEntry;
  if (entry instanceof ModelDirectory) {
    copy = new ModelDirectory(entry.mode, entry, 0n);
    copy.marked = entry.marked;
    for (const [name, child] of entry.children) copy.children.set(name, cloned(child, files));
  } else if (entry instanceof ModelFile) {
    const known = files.get(entry);
    if (known) return known;
    copy = new ModelFile(entry.mode, entry, 0n);
    copy.bytes = Buffer.from(entry.bytes);
    const { isLinked, opens, writers, isUnsaved, isBare, saved } = entry;
    Object.assign(copy, { isLinked, opens, writers, isUnsaved, isBare, saved });
    files.set(entry, copy);
  } else copy = new ModelSpecial(entry.mode, entry, 0n, entry.target);
  copy.id = entry.id;
  copy.xattrs = new Map(entry.xattrs);
  copy.mtime = entry.mtime;
  copy.isUntold = entry.isUntold;
  return copy;
}

/** A directory's objects are copied as they are: those without metadata get the time of the copy. */
function movedBelow(directory: ModelDirectory): void {
  // Without an object below it, or over one that was marked.
  if (directory.marked === 'no') directory.marked = 'unsure';
  for (const child of directory.children.values()) {
    if (child instanceof ModelDirectory) movedBelow(child);
    else if (child instanceof ModelFile && child.isBare) child.mtime = ANY_TIME;
  }
}

/** A directory that loses its last entry here stays; where it had no marker it gets one, sooner or later. */
function emptied(directory: ModelDirectory): void {
  directory.mtime = ANY_TIME;
  if (directory.marked === 'no' && directory.children.size === 0) directory.marked = 'unsure';
}

/** Attributes of a directory are kept in its marker, those of a file in its metadata. */
function marked(entry: ModelEntry): void {
  if (entry instanceof ModelFile) entry.isBare = false;
  if (entry instanceof ModelDirectory && entry.marked === 'no') entry.marked = 'unsure';
}

/** A change of content: times, and what somebody unprivileged loses with it. */
function changed(file: ModelFile, now: Moment): void {
  file.mode = withoutSuidgid(file.mode);
  const before = file.isUnsaved ? file.mtime.possible : [];
  const isAny = now === undefined || (file.isUnsaved && (before.length === 0 || file.mtime.isAfterAny === true));
  file.mtime = isAny ? ANY_TIME : { possible: [...before, now], isExact: false };
  file.isUnsaved = true;
  file.isBare = false;
}

function resize(file: ModelFile, size: number): void {
  if (size <= file.bytes.length) {
    file.bytes = Buffer.from(file.bytes.subarray(0, size));
    return;
  }
  file.bytes = Buffer.concat([file.bytes, Buffer.alloc(size - file.bytes.length)]);
}

function put(file: ModelFile, at: number, data: Uint8Array): void {
  if (at + data.length > file.bytes.length) resize(file, at + data.length);
  file.bytes.set(data, at);
}
