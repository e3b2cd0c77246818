/**
 * Bytes of files that lost their names while open.
 *
 * The object goes before unlink returns, so its bytes are made safe first: small ones are kept in memory, larger ones as a
 * copy on the server under a hidden prefix, deleted at the last close and swept at the next mount. No DELETE is ever sent
 * later for a name that may exist again.
 */
import { randomUUID } from 'node:crypto';
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import type { StoredContent } from '../cache/stored-content.ts';
import { forEachLimit } from '../concurrency.ts';
import { isStoreError } from '../errors.ts';
import type { ObjectVersion } from '../s3/store.ts';
import type { Environment } from './environment.ts';
import type { FileInode } from './inode.ts';
import { hiddenPlace } from './leftovers.ts';
import type { Saver } from './saver.ts';

/** Up to this a file is read into memory (one GET at most), above it is copied on the server: bytes. */
const MAX_PINNED = 8 * 1024 * 1024;

const SWEEP_PARALLEL = 4;

export class Orphans {
  readonly #environment: Environment;
  readonly #saver: Saver;
  readonly #pinned = new Map<FileInode, StoredContent>();
  /** Keys of hidden copies, and what was copied. */
  readonly #hidden = new Map<FileInode, { readonly key: string; readonly before: ObjectVersion }>();

  /** Keys of hidden copies whose delete failed. */
  readonly #leftovers = new Set<string>();

  constructor(environment: Environment, saver: Saver) {
    this.#environment = environment;
    this.#saver = saver;
  }

  get prefix(): string {
    return hiddenPlace('unlinked', this.#environment.options.hostname);
  }

  /** Makes the stored bytes of an open file independent of its name. To be called under the file's lock. */
  async keep(file: FileInode): Promise<void> {
    const { stored } = file;
    if (!file.isInUse || !stored || stored.size === 0 || this.#pinned.get(file) === stored) return;
    // Of an attempt before this one.
    if (this.#hidden.get(file)?.key === stored.version.key) return;
    await this.#deleteHidden(file);
    const { blocks, store } = this.#environment;
    if (stored.size <= MAX_PINNED && (await blocks.pin(stored))) {
      this.#unpin(file);
      this.#pinned.set(file, stored);
      return;
    }
    if (needsDescription(stored.size, store.limits)) await this.#saver.descriptions.learn(file);
    const key = this.prefix + randomUUID();
    const before = stored.version;
    const written = await copyObject(store, before, key, file.description, { ifAbsent: true }).catch(error => {
      // It may be there all the same, if only the answers were lost.
      this.#deleteLater(key);
      throw error;
    });
    blocks.moved(stored, { key, etag: written.etag, size: stored.size });
    this.#hidden.set(file, { key, before });
  }

  /**
   * It keeps its name after all: the delete, or what was to replace it, has failed. Or only its answer is lost: what is
   * pinned stays so until its last close, and the hidden copy is read on where the object is seen to be gone.
   */
  async stays(file: FileInode): Promise<void> {
    const hidden = this.#hidden.get(file);
    if (!hidden) return;
    const { key, etag } = hidden.before;
    const found = await this.#environment.store.head(key).then(
      info => info.etag,
      error => (isStoreError(error, 'not-found') ? undefined : 'unknown'),
    );
    if (found === etag) await this.#leaveHidden(file);
    // Most failures are of a store that cannot be reached, and has done nothing.
    else if (found === 'unknown') this.#returnToName(file);
  }

  /** The last handle is closed, and the file has its name. */
  closed(file: FileInode): void {
    this.#unpin(file);
    const hidden = this.#hidden.get(file);
    // What could not be saved yet may lie upon it.
    if (!hidden || file.content?.unsaved) return;
    this.#returnToName(file);
    this.#hidden.delete(file);
    this.#deleteLater(hidden.key);
  }

  /** The last handle is closed: nobody can reach the bytes any more. */
  async drop(file: FileInode): Promise<void> {
    const { stored } = file;
    this.#unpin(file);
    await this.#deleteHidden(file);
    await file.content?.discard();
    file.content = undefined;
    if (stored) this.#environment.blocks.drop(stored);
  }

  async #leaveHidden(file: FileInode): Promise<void> {
    this.#returnToName(file);
    await this.#deleteHidden(file);
  }

  /** What is read of the file is read under its own name again. */
  #returnToName(file: FileInode): void {
    const { key, before } = this.#hidden.get(file)!;
    if (file.stored?.version.key !== key) return;
    this.#environment.blocks.moved(file.stored, before);
    void file.content?.restated();
  }

  #unpin(file: FileInode): void {
    const pinned = this.#pinned.get(file);
    if (pinned && this.#pinned.delete(file)) this.#environment.blocks.unpin(pinned);
  }

  async #deleteHidden(file: FileInode): Promise<void> {
    const { store, telemetry } = this.#environment;
    const hidden = this.#hidden.get(file);
    if (!hidden) return;
    this.#hidden.delete(file);
    const { key } = hidden;
    await store.delete(key).catch(error => {
      telemetry.log.warn({ key, error }, 'a hidden copy was not deleted');
      this.#leftovers.add(key);
    });
  }

  #deleteLater(key: string): void {
    this.#leftovers.add(key);
    void this.deleteLeftovers();
  }

  /** Hidden copies that are of no use and could not be deleted yet. Best effort: the next mounts sweep what stays. */
  async deleteLeftovers(): Promise<void> {
    const { store } = this.#environment;
    await forEachLimit([...this.#leftovers], SWEEP_PARALLEL, async key => {
      await store.delete(key).then(
        () => this.#leftovers.delete(key),
        () => {},
      );
    });
  }
}
