/**
 * Bytes of files that lost their names while open.
 *
 * The object goes before unlink returns, so its bytes are made safe first: small ones are kept in memory, larger ones as a
 * copy on the server under a hidden prefix, deleted at the last close and swept at the next mount. No DELETE is ever sent
 * later for a name that may exist again.
 */
import { randomUUID } from 'node:crypto';
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import { forEachLimit } from '../concurrency.ts';
import type { Environment } from './environment.ts';
import type { FileInode } from './inode.ts';
import { HIDDEN_PREFIX } from './keys.ts';
import type { Saver } from './saver.ts';

/** Up to this a file is read into memory (one GET at most), above it is copied on the server: bytes. */
const MAX_PINNED = 8 * 1024 * 1024;

/** A hidden copy older than this belongs to no live mount's open file any more: ms. A week. */
const ABANDONED_AFTER = 7 * 24 * 3600 * 1000;

const SWEEP_PARALLEL = 4;

export class Orphans {
  readonly #environment: Environment;
  readonly #saver: Saver;
  readonly #pinned = new Set<FileInode>();
  readonly #hidden = new Map<FileInode, string>();

  constructor(environment: Environment, saver: Saver) {
    this.#environment = environment;
    this.#saver = saver;
  }

  get prefix(): string {
    return `${HIDDEN_PREFIX}unlinked/${this.#environment.options.hostname}/`;
  }

  /** Makes the stored bytes of an open file independent of its name. To be called under the file's lock. */
  async keep(file: FileInode): Promise<void> {
    const { stored } = file;
    if (!file.isInUse || !stored || stored.size === 0 || this.#pinned.has(file) || this.#hidden.has(file)) return;
    const { blocks, store } = this.#environment;
    if (stored.size <= MAX_PINNED && (await blocks.pin(stored))) {
      this.#pinned.add(file);
      return;
    }
    if (needsDescription(stored.size, store.limits)) await this.#saver.learnDescription(file);
    const key = this.prefix + randomUUID();
    const written = await copyObject(store, stored.version, key, file.description, { ifAbsent: true });
    blocks.moved(stored, { key, etag: written.etag, size: stored.size });
    this.#hidden.set(file, key);
  }

  /** The last handle is closed: nobody can reach the bytes any more. */
  async drop(file: FileInode): Promise<void> {
    const { blocks, store, telemetry } = this.#environment;
    const { stored } = file;
    if (this.#pinned.delete(file) && stored) blocks.unpin(stored);
    const key = this.#hidden.get(file);
    if (key !== undefined) {
      this.#hidden.delete(file);
      await store.delete(key).catch(error => telemetry.log.warn({ key, error }, 'a hidden copy was not deleted'));
    }
    await file.content?.discard();
    file.content = undefined;
    if (stored) blocks.drop(stored);
  }

  /** Deletes what earlier mounts of this host left behind. Best effort, in the background. */
  async sweep(): Promise<void> {
    const { store, clock, telemetry } = this.#environment;
    try {
      const page = await store.list({ prefix: this.prefix });
      const abandoned = page.objects.filter(object => clock.now() - object.lastModified > ABANDONED_AFTER);
      await forEachLimit(abandoned, SWEEP_PARALLEL, object => store.delete(object.key));
    } catch (error) {
      telemetry.log.debug({ error }, 'hidden copies of earlier mounts were not swept');
    }
  }
}
