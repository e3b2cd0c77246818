/**
 * Server-side copies of one version only.
 *
 * `x-amz-copy-source-if-match` is what guards a copy against a source that has changed. Some stores (Ceph RGW 16) take no
 * notice of it. Like conditions on writes, that is found out by a condition that cannot hold: if the copy is refused, they
 * are kept; if it succeeds, they are not, and the copy is the one that was meant. Of many copies at once the first finds out
 * for all: each of a directory's files used to try it by itself. Where conditions are not kept, a HEAD of the source right
 * before each copy narrows the window; parts that set out together share it.
 */
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import type { ConditionalWriter } from './conditional-write.ts';
import { IMPOSSIBLE_ETAG } from './conditional-write.ts';
import { Failure, printable } from './error-kinds.ts';
import { isFailure } from './requests.ts';
import type { ObjectInfo, ObjectVersion } from './store.ts';

export interface CopySourcesOptions {
  readonly writer: ConditionalWriter;
  readonly telemetry: Telemetry;
  /** The store is known to keep conditions. */
  readonly known: boolean;
  /** The object as it is; undefined if there is none. Rejects with `Failure`. */
  head(key: string): Promise<ObjectInfo | undefined>;
}

export interface GuardedCopy<T> {
  readonly operation: 'CopyObject' | 'UploadPartCopy';
  readonly source: ObjectVersion;
  /** Copies if the source has this ETag (undefined: whatever it is). Rejects with `Failure`. */
  send(ifMatch: string | undefined): Promise<T>;
  /** Would a refusal be the source's? False where a condition on the target does not hold, or is itself a trial. */
  targetHolds(): Promise<boolean> | boolean;
  /** The condition on the target is a trial: this is no time for a second one. */
  readonly trial: boolean;
}

export class CopySources {
  readonly #options: CopySourcesOptions;
  #kept: boolean | undefined;
  /** The copy under way that finds it out; never rejects. */
  #trial: Promise<void> | undefined;
  /** HEADs under way, by version: one that was sent for an earlier version of ours would refuse the later one. */
  readonly #looks = new Map<string, Promise<ObjectInfo | undefined>>();

  constructor(options: CopySourcesOptions) {
    this.#options = options;
    if (options.known) this.#kept = true;
  }

  /** Rejects with `Failure`. */
  async copy<T>(copy: GuardedCopy<T>): Promise<T> {
    while (this.#kept === undefined && !copy.trial) {
      if (this.#trial) {
        await this.#trial;
        continue;
      }
      const attempt = this.#try(copy);
      const end = (): void => {
        this.#trial = undefined;
      };
      this.#trial = attempt.then(end, end);
      const tried = await attempt;
      if (tried) return tried.done;
    }
    if (this.#kept !== true) await this.#look(copy);
    return this.#kept === false ? copy.send(undefined) : this.#guarded(copy);
  }

  /** Finds out by `copy` itself; what it did if conditions are not kept. */
  async #try<T>(copy: GuardedCopy<T>): Promise<{ readonly done: T } | undefined> {
    // Of a part nothing shows until its upload is completed: there is time to look when it turns out that nothing guarded it.
    const isPart = copy.operation === 'UploadPartCopy';
    if (!isPart) await this.#look(copy);
    let done: T;
    try {
      done = await copy.send(IMPOSSIBLE_ETAG);
    } catch (error) {
      if (!isFailure(error, 'precondition-failed') || !(await copy.targetHolds())) throw error;
      this.#kept = true;
      return undefined;
    }
    this.#kept = false;
    this.#options.telemetry.log.warn(
      { operation: copy.operation },
      'this store does not keep conditions on the source of copies: a file that changes while it is copied may mix',
    );
    if (isPart) await this.#look(copy);
    return { done };
  }

  async #guarded<T>(copy: GuardedCopy<T>): Promise<T> {
    const { source } = copy;
    const { writer } = this.#options;
    for (;;) {
      const spelled = writer.spelled('copy-source', source.etag);
      try {
        const done = await copy.send(spelled);
        if (this.#kept) writer.worked('copy-source');
        return done;
      } catch (error) {
        if (copy.trial || !isFailure(error, 'precondition-failed')) throw error;
        // It may be our own earlier attempt that stands in the way: that is for whoever settles it, not for the spelling.
        if (error instanceof Failure && error.unknownBefore) throw error;
        if ((await writer.afterRefusal('copy-source', source.key, source.etag, spelled)) !== 'again') throw error;
      }
    }
  }

  /** Is the source what is to be copied? */
  async #look(copy: GuardedCopy<unknown>): Promise<void> {
    const { source, operation } = copy;
    const info = await this.#infoOf(source);
    if (info?.etag === source.etag) return;
    const what = info ? `it is now version ${info.etag}` : 'it is gone';
    throw new Failure(
      new StoreError(
        info ? 'precondition-failed' : 'not-found',
        `${operation} from "${printable(source.key)}" was not done: ${what}`,
        { operation, key: source.key },
      ),
    );
  }

  #infoOf({ key, etag }: ObjectVersion): Promise<ObjectInfo | undefined> {
    const version = `${key}\0${etag}`;
    const underWay = this.#looks.get(version);
    if (underWay) return underWay;
    const look = this.#options.head(key).finally(() => this.#looks.delete(version));
    this.#looks.set(version, look);
    return look;
  }
}
