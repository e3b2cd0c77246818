/**
 * RENAME_EXCHANGE of two objects, through a hidden third name: a crash leaves both, one of them under that name.
 *
 * A copy whose reply is lost may have been made: what its name has then tells whether the exchange goes on or is undone. The
 * only copy of either file is never replaced or deleted on a guess: where S3 does not tell, all that there is stays.
 */
import { copyObject, needsDescription } from '../cache/object-copy.ts';
import type { StoredContent } from '../cache/stored-content.ts';
import { FsError } from '../errors.ts';
import type { ObjectDescription, ObjectVersion, Written } from '../s3/store.ts';
import { outcomeOfCopy } from './copy-outcome.ts';
import type { Environment } from './environment.ts';
import { DirectoryInode, FileInode, type Inode, type SpecialInode } from './inode.ts';
import { HIDDEN_PREFIX } from './keys.ts';
import type { Names } from './names.ts';
import type { Namespace } from './namespace.ts';
import type { Saver } from './saver.ts';

type Movable = FileInode | SpecialInode;

export class Exchanger {
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

  async exchange(a: Inode, b: Inode): Promise<void> {
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
    const { store, blocks, clock, telemetry, unsavedLog } = this.#environment;
    const x = a.stored;
    const y = b.stored;
    if (!x || !y || !a.parent || !b.parent) throw new FsError('ENOENT');
    const [ofA, ofB] = [await this.#saver.descriptions.describeCopy(a), await this.#saver.descriptions.describeCopy(b)];
    const [keyA, keyB] = [a.key, b.key];
    const hidden = `${HIDDEN_PREFIX}exchange/${this.#environment.options.hostname}/${a.nodeid}-${clock.now()}`;
    let aside: Written;
    try {
      aside = await copyObject(store, x.version, hidden, ofA, undefined);
    } catch (error) {
      await store.delete(hidden).catch(() => {});
      throw error;
    }
    const moved = { key: hidden, etag: aside.etag, size: x.size };
    // Both were saved before, and may be written since: a next daemon that knew of neither would look for bases that are gone.
    copiedTo(a, moved);
    await unsavedLog?.safe();
    let atA: Written | undefined;
    let atB: Written;
    try {
      atA = await this.#copy(y.version, keyA, ofB, x.version.etag);
      copiedTo(b, { key: keyA, etag: atA.etag, size: y.size });
      await unsavedLog?.safe();
      // What its copy was told goes along with it; in parts it has to be told again.
      const again = needsDescription(x.size, store.limits) ? ofA : undefined;
      atB = await this.#copy(moved, keyB, again, y.version.etag);
    } catch (error) {
      for (const inode of [a, b]) this.#namespace.distrust(inode);
      if (error instanceof UnknownOutcome) {
        const message = `nobody can tell how far ${keyA} and ${keyB} were exchanged, what was ${keyA} is kept as ${hidden}: ${error.message}`;
        telemetry.log.error({ key: keyA, other: keyB, hidden }, message);
        throw error.cause;
      }
      if (atA) await this.#takeBack(x, moved, keyA, ofA, atA);
      for (const inode of [a, b]) copiedTo(inode, undefined);
      await unsavedLog?.safe();
      await store.delete(hidden).catch(() => {});
      throw error;
    }
    blocks.moved(x, { key: keyB, etag: atB.etag, size: x.size });
    blocks.moved(y, { key: keyA, etag: atA.etag, size: y.size });
    if (ofA) this.#saver.metadata.wentAlong(a, ofA);
    if (ofB) this.#saver.metadata.wentAlong(b, ofB);
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
    await unsavedLog?.safe();
    await store.delete(hidden);
  }

  /** Copies over version `replaced`. Rejects with `UnknownOutcome` where it is not known whether that was done. */
  async #copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    replaced: string,
  ): Promise<Written> {
    const { store } = this.#environment;
    try {
      return await copyObject(store, source, key, description, { ifMatch: replaced });
    } catch (error) {
      const outcome = await outcomeOfCopy(store, error, source, key, replaced);
      if (outcome === 'not-made') throw error;
      if (outcome === 'unknown') throw new UnknownOutcome(error);
      return outcome;
    }
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
      const { etag } = await this.#copy(hidden, key, told, there.etag);
      blocks.moved(content, { key, etag, size: hidden.size });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      telemetry.log.error({ key, hidden: hidden.key }, `what was ${key} is ${hidden.key} now: ${reason}`);
      throw error instanceof UnknownOutcome ? error.cause : error;
    }
  }
}

function copiedTo(inode: Movable, at: ObjectVersion | undefined): void {
  if (inode instanceof FileInode) inode.content?.copiedTo(at);
}

/** The copy that failed for `cause` may have been made. */
class UnknownOutcome extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
