/**
 * Open files: what open, close, fsync and truncate mean for S3.
 *
 * Difficulties: (1) Close-to-open: an open sees what others closed before it, at the price of no request that the next
 * read would not send anyway: the check *is* the first GET. (2) FLUSH is not close: each process that only inherited a
 * descriptor sends one when it ends. (3) The kernel's pages belong to the inode: they may stay only while the content is
 * the one they were read from.
 */
import { FileContent } from '../cache/file-content.ts';
import { FsError, isStoreError } from '../errors.ts';
import type { Awaitable, OpenReply, ReadReply, RequestContext, Timestamp } from '../fuse/ops.ts';
import type { Environment } from './environment.ts';
import type { FileHandle, HandleTable } from './handles.ts';
import { type FileInode, isNameSettled } from './inode.ts';
import { interruptible } from './metadata-requests.ts';
import { O_ACCMODE, O_DIRECT, O_RDONLY, O_TRUNC, withoutSuidgid } from './modes.ts';
import type { Namespace } from './namespace.ts';
import type { Orphans } from './orphans.ts';
import { timestampOf } from './posix.ts';
import { holdsDescriptor } from './processes.ts';
import type { QueuedSaves } from './queued-saves.ts';
import type { Saver } from './saver.ts';

/** What the GET of an open brings along: what a program reads first, and the whole of most files. Bytes. */
export const OPEN_BYTES = 128 * 1024;
/**
 * A file of up to this is asked for whole by the GET of its open, in bytes: only what comes whole can be compared with its ETag
 * before it is handed on (`verification.ts`), and one GET costs less than the three that followed each other.
 */
const WHOLE_BYTES = 1024 * 1024;

/** ms. Programs close a copy at once; in the meantime another client may change what it was made of. */
const BORROWED_FOR = 5000;

const CAPABILITY = 'security.capability';

/** ms in which the kernel, told ESTALE, opens the file anew: that open is not checked once more, or it might never succeed. */
const LOOKUP_TIME = 1000;

export class OpenFiles {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  readonly #saver: Saver;
  readonly #orphans: Orphans;
  readonly #handles: HandleTable;
  readonly #queued: QueuedSaves;

  constructor(
    environment: Environment,
    namespace: Namespace,
    saver: Saver,
    orphans: Orphans,
    handles: HandleTable,
    queued: QueuedSaves,
  ) {
    this.#environment = environment;
    this.#namespace = namespace;
    this.#saver = saver;
    this.#orphans = orphans;
    this.#handles = handles;
    this.#queued = queued;
  }

  open(file: FileInode, flags: number, ctx: RequestContext): Awaitable<OpenReply> {
    const isReader = (flags & (O_ACCMODE | O_TRUNC)) === O_RDONLY;
    // Of thousands of small files that are read one after the other nearly all were asked for ahead: no promise for those.
    const isPresent = !file.leaving && !(file.unlinked && file.opens === 0);
    if (!isReader || !isPresent || this.#checkOf(file, false)) return this.#openWaiting(file, flags, ctx);
    file.isLookedUpBy = 0;
    return this.opened(file, flags, ctx);
  }

  async #openWaiting(file: FileInode, flags: number, ctx: RequestContext): Promise<OpenReply> {
    const { options } = this.#environment;
    const isWritable = (flags & O_ACCMODE) !== O_RDONLY;
    if ((isWritable || flags & O_TRUNC) && options.readOnly) throw new FsError('EROFS');
    file.opening++;
    let isOpen = false;
    try {
      await this.#present(file);
      if (!(flags & O_TRUNC)) await this.#check(file, ctx, isWritable);
      if (isWritable) this.#queued.tellWriter(file);
      if (isWritable || flags & O_TRUNC) await this.#saver.descriptions.learn(file);
      // An unlink that began meanwhile has made the bytes safe, or will find this handle.
      if (flags & O_TRUNC) {
        await this.content(file).reset();
        this.changed(file, ctx.uid !== 0);
      }
      isOpen = true;
      return this.opened(file, flags, ctx);
    } finally {
      file.opening--;
      if (!isOpen) await this.#closed(file);
    }
  }

  /** Waits until it is decided whether the file keeps its name; ESTALE if not: the kernel looks the name up again. */
  async #present(file: FileInode): Promise<void> {
    while (file.leaving) await file.lock.run(() => {});
    if (file.unlinked && file.opens === 0) throw new FsError('ESTALE', `${file.label} was removed`);
  }

  /** Makes the handle of an open that was allowed. `isMade`: the file is new. */
  opened(file: FileInode, flags: number, ctx: RequestContext, isMade = false): OpenReply {
    const handle = this.#handles.openFile(file, flags, ctx.pid, isMade);
    // Who only reads what is stored needs nothing of what a writer does: 30 objects a file, of thousands of small ones.
    const isReader = !handle.isWriter;
    if (!isReader || !file.stored) this.content(file);
    file.opens++;
    if (!isReader) file.writers++;
    // New and unsaved content has no version; its pages came from this kernel's own writes.
    const isSame = file.pagesOf === file.stored && (file.stored?.spoiledAt ?? 0) === 0;
    const keepCache = isSame && (file.stored !== undefined || file.opens > 1);
    file.pagesOf = file.stored;
    return { fh: handle.fh, keepCache, directIo: (flags & O_DIRECT) !== 0, noFlush: isReader };
  }

  /** Bytes of an open file, less at its end. Rejects with the StoreError of reading them. */
  read(handle: FileHandle, offset: number, length: number, ctx: RequestContext): Awaitable<ReadReply> {
    const { inode: file, cursor } = handle;
    const { content, stored } = file;
    if (content || !stored) return this.content(file).read(offset, length, cursor, ctx);
    const reply = this.#environment.blocks.read(stored, offset, length, cursor, ctx);
    if (!(reply instanceof Promise)) return reply;
    return reply.catch((error: unknown) => {
      // A writer came meanwhile, and its save replaced the object under this read.
      const isOurs = file.content !== undefined || file.stored !== stored;
      if (isOurs && isStoreError(error, 'precondition-failed', 'not-found'))
        return this.read(handle, offset, length, ctx);
      throw error;
    });
  }

  /** The content of a file that is open for writing, unsaved, or about to be changed. */
  content(file: FileInode): FileContent {
    if (!file.content) {
      file.content = new FileContent(this.#environment, file.stored, () => this.#saver.targetOf(file), {
        save: () => this.#saver.saveOnce(file),
        isNameSettled: () => isNameSettled(file),
        borrowed: () => this.#saveInTime(file),
      });
      if (file.unlinked) file.content.keepLocal();
    }
    return file.content;
  }

  /** A copy that only refers to its source is one no longer than this, however long it stays open. */
  #saveInTime(file: FileInode): void {
    this.#environment.clock.after(BORROWED_FOR, () => {
      if (file.content?.isBorrowing && !file.unlinked) this.#saver.saveOnce(file).catch(() => {});
    });
  }

  /** Learns whether the version is still the one in S3, unless that was learned a moment ago. */
  async #check(file: FileInode, ctx: RequestContext, isWritable: boolean): Promise<void> {
    const { clock, blocks, store } = this.#environment;
    let how = this.#checkOf(file, isWritable);
    file.isLookedUpBy = 0;
    if (!how) return;
    const { signal } = ctx;
    const { key, stored } = file;
    if (how === 'coming') {
      // It is being fetched ahead: its headers will tell, and a second GET of the same bytes would be for nothing.
      await this.#namespace.requests.head(key, signal).catch(() => {});
      if (!stored || file.stored !== stored || file.parent === undefined || file.key !== key) return;
      how = this.#checkOf(file, isWritable, false);
    }
    if (!how || !stored) return;
    const at = clock.monotonic();
    try {
      const info =
        how === 'head'
          ? await store.head(key, { signal })
          : (await blocks.openRead(key, stored.size <= WHOLE_BYTES ? stored.size : OPEN_BYTES, signal)).info;
      // Meanwhile changed or moved by ourselves: what came is old.
      if (file.stored !== stored || file.unsaved || file.saving || file.parent === undefined || file.key !== key)
        return;
      const metadata = this.#namespace.index.record(info, at);
      if (this.#namespace.refreshed(file, metadata) === 'replaced') {
        throw new FsError('ESTALE', `${key} was changed by another client; the name has a new inode`);
      }
      // The kernel appends at the end that it knows, and maps as far: only a new lookup tells it another.
      if (file.size !== stored.size) {
        file.isLookedUpBy = clock.monotonic() + LOOKUP_TIME;
        throw new FsError('ESTALE', `${key} was changed by another client and has another size`);
      }
    } catch (error) {
      if (!isStoreError(error, 'not-found')) throw error;
      if (file.stored !== stored || file.parent === undefined) throw new FsError('ESTALE');
      // The kernel looks the name up again on ESTALE, and then says ENOENT by itself.
      const { parent, name } = file;
      this.#namespace.supersede(file);
      this.#namespace.changed(parent, name, undefined);
      throw new FsError('ESTALE', `${key} was deleted by another client`, { cause: error });
    }
  }

  /** How to learn whether the version is still the one in S3; undefined: not at all. Asks nothing and changes nothing. */
  #checkOf(file: FileInode, isWritable: boolean, mayWait = true): 'coming' | 'head' | 'get' | undefined {
    const { options, clock, blocks } = this.#environment;
    const { stored } = file;
    if (!stored || file.unlinked || file.unsaved || file.saving || file.supersededIn) return undefined;
    const at = clock.monotonic();
    if (at < file.isLookedUpBy) return undefined;
    const { key } = file;
    if (mayWait && options.openCheck > 0 && this.#namespace.requests.isPending(key)) return 'coming';
    const known = this.#namespace.index.get(key);
    const isKnown = known?.etag === stored.version.etag;
    const checkedAt = isKnown ? Math.max(file.checkedAt, known.checkedAt) : file.checkedAt;
    const isWarm = stored.size === 0 || blocks.isLocal(stored, 0);
    // Who writes into a small file needs all of it at the save, and before that what is kept beside it: one GET has both.
    const isForSave = isWritable && !file.description && stored.size <= OPEN_BYTES;
    // Whoever opens a file asks for its attributes next: the GET that the read would send anyway tells them.
    const isForAttributes = options.stat === 'exact' && !file.exact && !isKnown;
    const isNeeded = !isWarm && (isForSave || isForAttributes);
    if (at - checkedAt < options.openCheck && !isNeeded) return undefined;
    return isWarm ? 'head' : 'get';
  }

  /** A change of content by this mount: times, and what somebody unprivileged loses with it. */
  changed(file: FileInode, killSuidgid: boolean): void {
    const now = this.now();
    const { posix } = file;
    const mode = killSuidgid ? withoutSuidgid(posix.mode) : posix.mode;
    let { xattrs } = posix;
    if (xattrs.has(CAPABILITY)) {
      const kept = new Map(xattrs);
      kept.delete(CAPABILITY);
      xattrs = kept;
    }
    file.posix = { ...posix, mode, xattrs, mtime: now, ctime: now };
    file.timesSet = false;
  }

  now(): Timestamp {
    return timestampOf(this.#environment.clock.now());
  }

  /** truncate(2) and ftruncate(2). With a handle, or with a writer open, its close saves; otherwise it is saved here. */
  async truncate(file: FileInode, size: number, byHandle: boolean, killSuidgid: boolean): Promise<void> {
    const { options, store } = this.#environment;
    if (options.readOnly) throw new FsError('EROFS');
    if (size > store.limits.maxObjectSize)
      throw new FsError('EFBIG', `S3 keeps objects up to ${store.limits.maxObjectSize} bytes`);
    // As on ext4: truncate(2) to the same size changes no time, ftruncate(2) does.
    if (!byHandle && size === file.size) return;
    // Whoever opens and closes the file while this waits for room must not take its content away.
    file.opening++;
    try {
      await this.#saver.descriptions.learn(file);
      await this.content(file).truncate(size);
      this.changed(file, killSuidgid);
      if (!byHandle && file.writers === 0) await this.#saver.save(file);
      else if (!file.unsaved) this.metadataChanged(file);
    } finally {
      file.opening--;
      await this.#closed(file);
    }
  }

  /** Mode, owner, times or attributes changed: they go along with the save of a file that is being written. */
  metadataChanged(file: FileInode): void {
    file.metadataUnsaved = true;
    void file.content?.restated();
    if (file.writers === 0 && !file.content?.unsaved) this.#saver.metadata.schedule(file);
  }

  /** One close(2) in one process. Saves where this may have been a writer's last one. */
  async flush(handle: FileHandle, ctx: RequestContext): Promise<void> {
    const { inode } = handle;
    if (!inode.content?.unsaved || inode.unlinked || !handle.isWriter) return;
    const { opener } = handle;
    if (opener !== undefined) {
      const closer = this.#handles.processes.of(ctx.pid);
      // A child that only inherited the descriptor: whoever opened it still has it, and RELEASE comes at the last. Or the
      // opener has moved it, as dd and each shell do for `> file` (open, dup2, close): an empty object would be saved
      // before the first byte is written.
      const isMoved = closer === opener && inode.content.size === 0;
      if (closer !== undefined && (closer !== opener || isMoved) && holdsDescriptor(opener, inode.ino)) return;
    }
    await interruptible(this.#saver.save(inode), ctx.signal);
  }

  async fsync(file: FileInode, ctx: RequestContext): Promise<void> {
    if (file.unlinked) return;
    this.#saver.metadata.take(file);
    await interruptible(this.#saver.save(file), ctx.signal);
    await interruptible(this.#queued.sent(file), ctx.signal);
  }

  /** The last close of a handle. What is left is saved; nobody hears of an error, so it is logged (by the saver). */
  release(fh: number): Awaitable<void> {
    const handle = this.#handles.closeFile(fh);
    const file = handle.inode;
    if (handle.isWriter) {
      file.writers--;
      if (!file.unlinked && file.writers === 0 && file.content?.unsaved) return this.#saveReleased(file);
    }
    file.opens--;
    return this.#closed(file);
  }

  async #saveReleased(file: FileInode): Promise<void> {
    try {
      await this.#saver.save(file);
    } catch {
      // Kept, and tried again.
    } finally {
      file.opens--;
      await this.#closed(file);
    }
  }

  #closed(file: FileInode): Awaitable<void> {
    if (file.isInUse) return;
    if (file.unlinked) return this.#orphans.drop(file).then(() => this.#namespace.release(file));
    this.#orphans.closed(file);
    if (file.metadataUnsaved && !file.content?.unsaved) this.#saver.metadata.schedule(file);
    this.#settle(file);
    this.#namespace.release(file);
  }

  /** Nobody has it open and nothing is unsaved: the stored content is all there is. */
  #settle(file: FileInode): void {
    if (file.isInUse || !file.content || file.content.unsaved || file.saving) return;
    const { stored } = file.content;
    file.content = undefined;
    file.stored = stored;
  }
}
