/** One change that is to be sent: its state, and who waits for it. */
import type { ListedObject, ObjectDescription, WriteCondition } from '../s3/store.ts';
import type { Entry } from './journal.ts';
import type { PendingChange } from './write-back-listing.ts';

/** Bytes that lie in the journal, shared by all changes that will store them. */
export interface JournaledBody {
  readonly id: number;
  readonly entry: Entry;
}

/**
 * `unwritten`: on its way into the journal. `waiting`: for its turn, or for the time of another attempt. `parked`: refused for
 * a reason that does not pass; tried again when somebody asks for it.
 */
export type ChangeState = 'unwritten' | 'waiting' | 'running' | 'parked';

/**
 * Of the changes that an earlier daemon left of one key only the last one is sent. S3 may have any of those before it, or
 * what there was before the first.
 */
export interface FoundBefore {
  /** Older ones, whose records go with this one. */
  readonly changes: readonly Change[];
  /** ETags, or what stands for them, of what they were based on. */
  readonly bases: readonly string[];
  /** One of them was to replace whatever is there. */
  readonly unconditional: boolean;
}

abstract class BaseChange {
  readonly id: number;
  readonly key: string;
  /** ms since the epoch. */
  readonly at: number;
  state: ChangeState = 'unwritten';
  /** An earlier attempt may have been done, by this daemon or the one before. */
  mayBeDone = false;
  /** Of what an earlier daemon left: what S3 may have. Absent for changes of this one. */
  found: FoundBefore | undefined;
  /** Another change is about to take its place: it must not begin. */
  held = false;
  failures = 0;
  /** Why the last attempt failed. */
  error: Error | undefined;
  /** Somebody has heard of it. */
  isTold = false;
  /** The record of it in the journal; absent where it could not be written: then whoever asked for it waits for S3. */
  entry: Entry | undefined;
  cancelRetry: (() => void) | undefined;
  /** When it, or the first of those that it has taken the place of, could have been sent; ms of the monotonic clock. */
  lingersSince: number | undefined;
  #waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(id: number, key: string, at: number) {
    this.id = id;
    this.key = key;
    this.at = at;
  }

  /** May still be replaced by another without a trace. */
  get isReplaceable(): boolean {
    const isIdle = this.state === 'waiting' || this.state === 'parked';
    return isIdle && !this.mayBeDone && !this.held && this.entry !== undefined;
  }

  /** Resolves when S3 has it; rejects when an attempt fails. */
  settled(): Promise<void> {
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  done(): void {
    for (const { resolve } of this.#takeWaiters()) resolve();
  }

  failed(error: Error): void {
    for (const { reject } of this.#takeWaiters()) {
      this.isTold = true;
      reject(error);
    }
  }

  /** Whoever waited for this now waits for `other`. */
  waitersTo(other: Change): void {
    for (const { resolve, reject } of this.#takeWaiters()) other.settled().then(resolve, reject);
  }

  #takeWaiters(): readonly { resolve: () => void; reject: (error: Error) => void }[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }
}

export interface NewObject {
  readonly size: number;
  readonly description: ObjectDescription;
  readonly condition: WriteCondition | undefined;
}

export class PutChange extends BaseChange {
  readonly kind = 'put';
  /** What stands for the ETag until S3 has given one. */
  readonly etag: string;
  readonly size: number;
  readonly description: ObjectDescription;
  condition: WriteCondition | undefined;
  body: JournaledBody | undefined;
  /** Bytes that are not in the journal, or not yet: they are whoever's that asked. */
  slices: readonly Uint8Array[] | undefined;

  constructor(id: number, key: string, at: number, etag: string, object: NewObject) {
    super(id, key, at);
    this.etag = etag;
    this.size = object.size;
    this.description = object.description;
    this.condition = object.condition;
  }

  /** It comes after what `etag` stands for. */
  follow(etag: string): void {
    this.condition = { ifMatch: etag };
  }

  get object(): ListedObject {
    const { key, etag, size, at } = this;
    // S3's times have whole seconds.
    return { key, etag, size, lastModified: Math.floor(at / 1000) * 1000 };
  }
}

export class DeleteChange extends BaseChange {
  readonly kind = 'delete';
  /** The version that is to go; undefined: whatever is there. */
  ifMatch: string | undefined;

  constructor(id: number, key: string, at: number, ifMatch: string | undefined) {
    super(id, key, at);
    this.ifMatch = ifMatch;
  }

  /** It comes after what `etag` stands for. */
  follow(etag: string): void {
    this.ifMatch = etag;
  }
}

export type Change = PutChange | DeleteChange;

export function pendingOf(change: Change): PendingChange {
  return { key: change.key, object: change.kind === 'put' ? change.object : undefined };
}
