/** What is known of objects, and for how long; HEADs: at most one at a time per key, shared by all who ask, kept in the index. */
import { FsError, isStoreError } from '../errors.ts';
import type { ListedObject } from '../s3/store.ts';
import { type Environment, limitsOf } from './environment.ts';
import { type IndexedMetadata, MetadataIndex } from './metadata-index.ts';

export class MetadataRequests {
  readonly index: MetadataIndex;
  readonly #environment: Environment;
  readonly #pending = new Map<string, Promise<IndexedMetadata | undefined>>();

  constructor(environment: Environment) {
    this.#environment = environment;
    this.index = new MetadataIndex(
      limitsOf(environment).described,
      environment.options.stat === 'exact' ? environment.persistentIndex : undefined,
    );
  }

  isPending(key: string): boolean {
    return this.#pending.has(key);
  }

  /** Undefined: no such object. A caller's interrupt ends its own waiting only. */
  head(key: string, signal?: AbortSignal): Promise<IndexedMetadata | undefined> {
    let head = this.#pending.get(key);
    if (!head) {
      const { store, clock } = this.#environment;
      const at = clock.monotonic();
      head = store.head(key).then(
        info => this.index.record(info, at),
        error => {
          if (!isStoreError(error, 'not-found')) throw error;
          this.index.delete(key);
          return undefined;
        },
      );
      this.share(key, head);
    }
    return signal ? interruptible(head, signal) : head;
  }

  /** Whether what was learned at this time (ms of the monotonic clock) still holds without asking. */
  isRecent(at: number): boolean {
    return this.#environment.clock.monotonic() - at < this.#environment.options.ttl;
  }

  /** The metadata of a listed version, or what was learned of the key since it was listed. */
  known(object: ListedObject, at: number): IndexedMetadata | undefined {
    const newest = this.index.get(object.key);
    if (!newest) return undefined;
    if (newest.checkedAt > at && this.isRecent(newest.checkedAt)) return newest;
    const metadata = this.index.match(object.key, object, newest);
    return metadata && (!metadata.racy || this.isRecent(metadata.checkedAt)) ? metadata : undefined;
  }

  /** Another request that will tell what a HEAD of this key would. */
  share(key: string, answer: Promise<IndexedMetadata | undefined>): void {
    this.#pending.set(key, answer);
    const done = (): void => void this.#pending.delete(key);
    answer.then(done, done);
  }

  /** Ahead of somebody who asks for one name after another; errors show when the name is asked for. */
  ahead(key: string): void {
    if (!this.isPending(key)) this.head(key).catch(() => {});
  }
}

/** `promise`, or EINTR when the kernel interrupts the request; the work goes on for the others. */
export function interruptible<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(new FsError('EINTR', 'interrupted'));
    if (signal.aborted) {
      // Nobody else may hear of its failure.
      promise.catch(() => {});
      abort();
      return;
    }
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
