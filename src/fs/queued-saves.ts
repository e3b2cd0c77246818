/**
 * What `write_back` means above the store: who waits for S3 after all, and what the tree is told when S3 has answered.
 *
 * A file that is queued looks saved in every way. Its version has no ETag of S3 yet: when that is known the content, the
 * index and the listing of its directory move on to it in one turn, or the next listing would show a foreign change.
 */
import type { WriteBackListener, WriteBackState } from '../cache/write-back.ts';
import { FsError } from '../errors.ts';
import type { Written } from '../s3/store.ts';
import type { Environment } from './environment.ts';
import type { FlushOutcome } from './filesystem-status.ts';
import { DirectoryInode, FileInode, type Inode } from './inode.ts';
import type { Namespace } from './namespace.ts';

/** The queue as the filesystem sees it. */
export interface WriteBack {
  listener: WriteBackListener;
  readonly state: WriteBackState;
  /** For people: where the journal lies. */
  readonly journalPath: string;
  unsent(): Iterable<{ readonly key: string; readonly bytes: number }>;
  settled(key: string): Promise<void>;
  takeError(key: string): Error | undefined;
  settledBelow(prefix: string): Promise<void>;
  drain(): Promise<void>;
}

export class QueuedSaves implements WriteBackListener {
  readonly #environment: Environment;
  readonly #namespace: Namespace;
  /** Conflicts that nobody was told of yet. */
  readonly #errors = new WeakMap<Inode, FsError>();

  constructor(environment: Environment, namespace: Namespace) {
    this.#environment = environment;
    this.#namespace = namespace;
    if (environment.writeBack) environment.writeBack.listener = this;
  }

  /** Resolves when S3 has what is queued of `file`. Rejects with why it could not be sent. */
  async sent(file: FileInode): Promise<void> {
    this.tellOnce(file);
    if (file.parent) await this.#environment.writeBack?.settled(file.key);
  }

  /** The same of all that is queued below a directory. */
  async sentBelow(directory: DirectoryInode): Promise<void> {
    await this.#environment.writeBack?.settledBelow(directory.key);
  }

  /** Sends what is queued at `path` or below it, and adds what came of it to `outcome`. */
  async flush(path: string, outcome: FlushOutcome): Promise<FlushOutcome> {
    const isBelow = (key: string): boolean =>
      path === '' || key === path || key.startsWith(`${path.replace(/\/$/, '')}/`);
    const keys = this.unsent.map(({ key }) => key).filter(isBelow);
    const settled = await Promise.allSettled(keys.map(key => this.#environment.writeBack!.settled(key)));
    const failed = settled.flatMap((each, i) =>
      each.status === 'rejected' ? [{ path: keys[i]!, reason: (each.reason as Error).message }] : [],
    );
    return { saved: outcome.saved + keys.length - failed.length, failed: [...outcome.failed, ...failed] };
  }

  async drain(): Promise<void> {
    await this.#environment.writeBack?.drain();
  }

  get state(): WriteBackState | undefined {
    return this.#environment.writeBack?.state;
  }

  /** Keys that S3 does not have yet, or still has, with their bytes. */
  get unsent(): readonly { readonly key: string; readonly bytes: number }[] {
    return [...(this.#environment.writeBack?.unsent() ?? [])];
  }

  /**
   * For who opens it to write: what was closed before could not be sent, or lost its name.
   * @throws {Error} that of the store, or ESTALE; once.
   */
  tellWriter(file: FileInode): void {
    this.tellOnce(file);
    const error = file.parent && this.#environment.writeBack?.takeError(file.key);
    if (error) throw error;
  }

  /** @throws {FsError} ESTALE, once, where what was written lost its name to another client after close had returned. */
  tellOnce(file: FileInode): void {
    const error = this.#errors.get(file);
    if (!error) return;
    this.#errors.delete(file);
    throw error;
  }

  settled(key: string, from: string, written: Written): void {
    const { etag } = written;
    const { index } = this.#namespace;
    const known = index.get(key);
    if (known?.etag === from) index.wrote(key, written, known.size, known.description, known.checkedAt);
    // Also of what the kernel has forgotten: its blocks are still good.
    const content = this.#environment.blocks.remembered({ key, etag: from });
    if (content) this.#environment.blocks.moved(content, { ...content.version, etag });
    const inode = this.#at(key);
    if (!inode?.parent || inode instanceof DirectoryInode) return;
    const { stored, parent, name } = inode;
    if (stored?.version.etag === from) this.#environment.blocks.moved(stored, { ...stored.version, etag });
    // What stood for the version says nothing to the next daemon.
    if (inode instanceof FileInode) void inode.content?.restated();
    const listed = parent.listing?.names.get(name);
    if (listed?.object?.etag === from) parent.listing!.change(name, { ...listed, object: { ...listed.object, etag } });
  }

  conflicted(key: string, from: readonly string[], copy: { key: string; etag: string; size: number }): void {
    const inode = this.#at(key);
    this.refused(key);
    if (!inode?.parent || inode instanceof DirectoryInode || !from.includes(inode.stored?.version.etag ?? '')) return;
    const { parent, stored } = inode;
    const name = copy.key.slice(parent.key.length);
    this.#environment.blocks.moved(stored!, copy);
    this.#namespace.detach(inode, true);
    if (!parent.children.has(name)) {
      this.#namespace.move(inode, parent, name);
      parent.changes.added(name);
      if (inode.description) {
        const at = this.#environment.clock.monotonic();
        const written = { etag: copy.etag, serverDate: this.#environment.clock.now() };
        this.#namespace.index.wrote(copy.key, written, copy.size, inode.description, at);
      }
      this.#namespace.saved(inode);
    }
    const message = `${key} was changed by another client; what was written here is saved as ${copy.key}`;
    this.#errors.set(inode, new FsError('ESTALE', message));
  }

  /** What was known of a name is old. */
  refused(key: string): void {
    this.#namespace.index.delete(key);
    const slash = key.lastIndexOf('/', key.length - 2) + 1;
    const parent = this.#at(key.slice(0, slash));
    if (!(parent instanceof DirectoryInode)) return;
    const name = key.slice(slash).replace(/\/$/, '');
    this.#namespace.changed(parent, name, undefined);
    parent.listing = undefined;
    this.#environment.notifier?.invalidateEntry(parent.nodeid, name);
  }

  /** The inode of a key, where the tree holds it; a directory's key ends in `/`. */
  #at(key: string): Inode | undefined {
    let found: Inode | undefined = this.#namespace.root;
    for (const name of key.split('/')) {
      if (name === '') break;
      if (!(found instanceof DirectoryInode)) return undefined;
      found = found.children.get(name);
    }
    return found;
  }
}
