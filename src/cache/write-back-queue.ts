/**
 * The changes that S3 does not have yet, key by key, and how they get there.
 *
 * Difficulties: (1) Changes of one key are sent in order, one at a time; unrelated keys have no order and go side by side.
 * (2) Whoever reads meanwhile must see what is to be, also when the answer of S3 was on its way while a change was done:
 * `watch` remembers what was done since. (3) A change whose outcome is unknown is settled by a look, never sent blindly: a
 * second PUT could undo what another client wrote in between. (4) Programs that make, rename and remove at once give a
 * change a moment to become another or nothing.
 */
import { type Clock, Semaphore } from '../concurrency.ts';
import { isStoreError, StoreError, storeErrorFields } from '../errors.ts';
import type { ObjectStore, Written } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Budget } from './budget.ts';
import type { Journal } from './journal.ts';
import { type Change, type DeleteChange, PutChange, pendingOf } from './write-back-change.ts';
import type { PendingChange } from './write-back-listing.ts';
import { ChangeSender, type ConflictKeys } from './write-back-sender.ts';

/** ms that a change waits for what would replace it: a rename or an unlink by the same program comes within. */
const LINGER = 50;
/** ms that changes which replace each other wait: a file that is saved 25 times a second would never be sent. */
const LONGEST_LINGER = 1000;
/**
 * ms from one round of sending to the next, but for what somebody waits for: each begins with a sync of the journal, and
 * thousands of small files a second share some fifty of those. Well below the round trip that follows.
 */
const ROUND_EVERY = 20;
/** ms from one request for many deletes to the next: `rm -r` of thousands of files is a request for hundreds of them. */
const DELETES_EVERY = 250;
/** Small files at once: a round trip of 30 ms and 32 of them make a thousand files a second, more connections than S3 fills. */
const PARALLEL = 32;
/** Keys in one DeleteObjects, S3's limit. */
const BATCH = 1000;
/** Backoff of what fails, in ms: doubled from the first to the last. */
const FIRST_RETRY = 1000;
const LAST_RETRY = 60_000;
/** What stood for an ETag is remembered for so many changes that are done: long enough for whoever asked just before. */
const REMEMBERED = 10_000;

/** What the filesystem is told; in the turn in which it becomes true. */
export interface WriteBackListener {
  /** What is known under `key` as version `from` was written by S3 as this now. */
  settled(key: string, from: string, written: Written): void;
  /** Another client has the name: what was written here is `conflictKey`. `from`: what stood for our versions of it. */
  conflicted(key: string, from: readonly string[], copy: { key: string; etag: string; size: number }): void;
  /** S3 refuses for good to delete what was deleted here: it is there again. */
  refused(key: string): void;
}

export interface WriteBackEnvironment {
  readonly store: ObjectStore;
  readonly journal: Journal;
  readonly budget: Budget;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly conflictKeys: ConflictKeys;
  /** New changes wait for S3: only what an earlier daemon left is sent in the background. Default: false. */
  readonly through?: boolean;
}

/** What S3 does not have yet. */
export interface WriteBackState {
  readonly files: number;
  readonly deletes: number;
  readonly bytes: number;
  /** ms since the oldest of them was asked for; 0 where there are none. */
  readonly oldest: number;
  /** How many failed at their last attempt. */
  readonly failing: number;
}

export class WriteBackQueue {
  readonly #environment: WriteBackEnvironment;
  readonly #sender: ChangeSender;
  readonly #keys = new Map<string, Change[]>();
  /** In the order in which they were made; each may go when its time has come. */
  readonly #fresh: { readonly change: Change; readonly due: number }[] = [];
  #runnable: Change[] = [];
  /** Go together, in one request. */
  #deletes: Change[] = [];
  #cancelDeletes: (() => void) | undefined;
  #deletesSentAt = Number.NEGATIVE_INFINITY;
  readonly #slots = new Semaphore(PARALLEL);
  #cancelPump: (() => void) | undefined;
  #pumpedAt = Number.NEGATIVE_INFINITY;
  #isPumping = false;
  #bytes = 0;
  /** What stood for an ETag → what it became. */
  readonly #etags = new Map<string, string>();
  #watchers = 0;
  #doneSince: { readonly change: PendingChange; readonly place: number }[] = [];
  #place = 0;
  #stopped = false;
  listener: WriteBackListener | undefined;

  constructor(environment: WriteBackEnvironment) {
    this.#environment = environment;
    this.#sender = new ChangeSender(environment, etag => this.etagOf(etag));
  }

  // --- what is to be ---------------------------------------------------------------------------------------------------

  /** The last change of a key that is not done. */
  last(key: string): Change | undefined {
    return this.#keys.get(key)?.at(-1);
  }

  /** What is to become of each key that has a change. */
  *changes(): IterableIterator<PendingChange> {
    for (const changes of this.#keys.values()) yield pendingOf(changes.at(-1)!);
  }

  /** The ETag that S3 has given for what stood for it; others as they are. */
  etagOf(etag: string): string {
    return this.#etags.get(etag) ?? etag;
  }

  remember(from: string, to: string): void {
    this.#etags.set(from, to);
    if (this.#etags.size > REMEMBERED) this.#etags.delete(this.#etags.keys().next().value!);
  }

  /** From now on what is done is remembered; returns the place to ask from. Undone by `unwatch`. */
  watch(): number {
    this.#watchers++;
    return this.#place;
  }

  unwatch(): void {
    if (--this.#watchers === 0) this.#doneSince = [];
  }

  /** What was done since `place`, and what is to be done: in this order, the later going before the earlier. */
  *changesSince(place: number): IterableIterator<PendingChange> {
    for (const done of this.#doneSince) if (done.place >= place && !this.#keys.has(done.change.key)) yield done.change;
    yield* this.changes();
  }

  /** The same of one key. */
  changeSince(key: string, place: number): PendingChange | undefined {
    const last = this.last(key);
    if (last) return pendingOf(last);
    return this.#doneSince.findLast(done => done.place >= place && done.change.key === key)?.change;
  }

  get state(): WriteBackState {
    let [files, deletes, failing] = [0, 0, 0];
    let oldest = this.#environment.clock.now();
    for (const changes of this.#keys.values()) {
      for (const change of changes) {
        if (change.kind === 'put') files++;
        else deletes++;
        if (change.error) failing++;
        oldest = Math.min(oldest, change.at);
      }
    }
    return { files, deletes, bytes: this.#bytes, oldest: this.#environment.clock.now() - oldest, failing };
  }

  /** Keys with changes that S3 does not have, and why the last attempt failed. */
  *unsent(): IterableIterator<{ readonly key: string; readonly bytes: number; readonly error: Error | undefined }> {
    for (const [key, changes] of this.#keys) {
      const last = changes.at(-1)!;
      yield { key, bytes: last.kind === 'put' ? last.size : 0, error: changes[0]!.error };
    }
  }

  get size(): number {
    return this.#keys.size;
  }

  /** Why a change of `key` that is not sent yet has failed; to be told once. */
  takeError(key: string): Error | undefined {
    const first = this.#keys.get(key)?.[0];
    if (!first?.error || first.isTold) return undefined;
    first.isTold = true;
    return first.error;
  }

  // --- making changes --------------------------------------------------------------------------------------------------

  add(change: Change): void {
    const changes = this.#keys.get(change.key);
    if (changes) changes.push(change);
    else this.#keys.set(change.key, [change]);
    if (change instanceof PutChange) this.#bytes += change.size;
  }

  /** It is in the journal, or its bytes are in memory: it may be sent when its turn comes. */
  ready(change: Change, linger = true): void {
    change.state = 'waiting';
    // Nobody else would ever try that one again, and this one waits behind it.
    const first = this.#keys.get(change.key)?.[0];
    if (first?.state === 'parked') this.#hasten(first);
    if (linger && isPlainDelete(change)) {
      this.#collect(change);
      return;
    }
    const now = this.#environment.clock.monotonic();
    change.lingersSince ??= now;
    const due = Math.min(now + LINGER, change.lingersSince + LONGEST_LINGER);
    if (linger && due > now) this.#fresh.push({ change, due });
    else this.#runnable.push(change);
    this.#pumpSoon();
  }

  #collect(change: Change): void {
    this.#deletes.push(change);
    const { clock } = this.#environment;
    const wait = Math.max(LINGER, this.#deletesSentAt + DELETES_EVERY - clock.monotonic());
    if (this.#deletes.length >= BATCH) this.#sendDeletes();
    else this.#cancelDeletes ??= clock.after(wait, () => this.#sendDeletes());
  }

  #sendDeletes(): void {
    this.#cancelDeletes?.();
    this.#cancelDeletes = undefined;
    this.#deletesSentAt = this.#environment.clock.monotonic();
    for (const change of this.#deletes) this.#runnable.push(change);
    this.#deletes = [];
    this.#pumpSoon(0);
  }

  /** Takes a change out that has become another or nothing; its records are needed no longer. */
  remove(change: Change, successor?: Change): void {
    const changes = this.#keys.get(change.key);
    const at = changes?.indexOf(change) ?? -1;
    if (!changes || at < 0) return;
    changes.splice(at, 1);
    if (changes.length === 0) this.#keys.delete(change.key);
    if (change instanceof PutChange) this.#bytes -= change.size;
    change.cancelRetry?.();
    if (successor) change.waitersTo(successor);
    else change.done();
    this.#release(change);
    this.#next(change.key);
  }

  #release(change: Change): void {
    const { journal } = this.#environment;
    for (const before of change.found?.changes ?? []) this.#release(before);
    if (change.entry) journal.release(change.entry);
    if (change instanceof PutChange && change.body) journal.release(change.body.entry);
    change.entry = undefined;
  }

  /**
   * Resolves when S3 has all changes of `key` that were made before; at once where there are none. Rejects with the error of
   * an attempt that fails meanwhile: the change stays, and is tried again.
   */
  async settled(key: string): Promise<void> {
    const changes = this.#keys.get(key);
    if (!changes) return;
    const settled = changes.at(-1)!.settled();
    this.#hasten(changes[0]!);
    await settled;
  }

  #hasten(change: Change): void {
    if (change.held || (change.state !== 'waiting' && change.state !== 'parked')) return;
    change.cancelRetry?.();
    change.cancelRetry = undefined;
    change.state = 'waiting';
    this.#runnable.push(change);
    this.#pumpSoon(0);
  }

  /** Tries to send everything whose key `isWanted`, once. Never rejects. */
  async drain(isWanted: (key: string) => boolean = () => true): Promise<void> {
    const keys = [...this.#keys.keys()].filter(isWanted);
    await Promise.allSettled(keys.map(key => this.settled(key)));
  }

  /** Nothing is begun any more. */
  stop(): void {
    this.#stopped = true;
    this.#cancelPump?.();
    this.#cancelDeletes?.();
  }

  // --- sending ---------------------------------------------------------------------------------------------------------

  #pumpSoon(wait?: number): void {
    const due = Math.max(this.#fresh[0]?.due ?? 0, this.#pumpedAt + ROUND_EVERY);
    const ms = wait ?? (this.#runnable.length > 0 ? 0 : Math.max(0, due - this.#environment.clock.monotonic()));
    if (ms === 0) {
      if (this.#isPumping) return;
      this.#isPumping = true;
      queueMicrotask(() => this.#pump());
    } else {
      this.#cancelPump ??= this.#environment.clock.after(ms, () => {
        this.#cancelPump = undefined;
        this.#pump();
      });
    }
  }

  #pump(): void {
    this.#isPumping = false;
    if (this.#stopped) return;
    const now = this.#environment.clock.monotonic();
    this.#pumpedAt = now;
    let due = 0;
    while (due < this.#fresh.length && this.#fresh[due]!.due <= now) due++;
    for (const { change } of this.#fresh.splice(0, due)) this.#runnable.push(change);
    const runnable = this.#runnable;
    this.#runnable = [];
    const beginning: Change[] = [];
    for (const change of runnable) {
      if (!this.#mayBegin(change)) continue;
      change.state = 'running';
      beginning.push(change);
    }
    if (beginning.length > 0) void this.#beginSynced(beginning);
    if (this.#fresh.length > 0) this.#pumpSoon();
  }

  /** S3 is never ahead of the journal: after a power cut it would look as if another client had been faster. */
  async #beginSynced(changes: readonly Change[]): Promise<void> {
    if (changes.some(({ entry }) => entry)) await this.#environment.journal.sync().catch(() => {});
    let deletes: DeleteChange[] = [];
    for (const change of changes) {
      if (isPlainDelete(change)) deletes.push(change);
      else this.#begin([change]);
      if (deletes.length === BATCH) {
        this.#begin(deletes);
        deletes = [];
      }
    }
    if (deletes.length > 0) this.#begin(deletes);
  }

  /** Its turn has come, and nobody has begun, replaced or held it. */
  #mayBegin(change: Change): boolean {
    return change.state === 'waiting' && !change.held && this.#keys.get(change.key)?.[0] === change;
  }

  #begin(changes: readonly Change[]): void {
    void this.#slots.run(async () => {
      const [first] = changes;
      try {
        if (first!.kind === 'put') await this.#put(first!);
        else await this.#delete(changes as readonly DeleteChange[]);
      } catch (error) {
        for (const change of changes) this.#failed(change, error);
      }
    });
  }

  async #put(change: PutChange): Promise<void> {
    try {
      this.#done(change, await this.#sender.put(change));
    } catch (error) {
      // Where somebody waits for S3 it is told, and knows what to do.
      if (!isStoreError(error, 'precondition-failed') || !change.entry) throw error;
      await this.#conflict(change);
    }
  }

  async #delete(changes: readonly DeleteChange[]): Promise<void> {
    const errors = await this.#sender.delete(changes);
    for (const change of changes) {
      const error = errors.get(change.key);
      if (error) this.#failed(change, error);
      else this.#done(change, undefined);
    }
  }

  #done(change: Change, written: Written | undefined): void {
    const { journal, telemetry } = this.#environment;
    const etag = written?.etag;
    const changes = this.#keys.get(change.key)!;
    changes.splice(changes.indexOf(change), 1);
    if (this.#watchers > 0) {
      const pending = pendingOf(change);
      const object = pending.object && { ...pending.object, etag: etag! };
      this.#doneSince.push({ change: { key: change.key, object }, place: this.#place++ });
    }
    if (changes.length === 0) this.#keys.delete(change.key);
    if (change.entry) {
      journal.note({
        t: 'done',
        ids: idsOf(change),
        ...(change instanceof PutChange && { etag: [change.etag, etag!] }),
      });
    }
    this.#release(change);
    change.error = undefined;
    if (change instanceof PutChange) {
      this.#bytes -= change.size;
      this.remember(change.etag, etag!);
      this.listener?.settled(change.key, change.etag, written!);
    }
    telemetry.count('write_back.sent');
    change.done();
    this.#next(change.key);
  }

  #next(key: string): void {
    const next = this.#keys.get(key)?.[0];
    if (next?.state === 'waiting' && !next.cancelRetry) {
      this.#runnable.push(next);
      // In a turn of its own: whoever was just told of `next` may not have noted it yet.
      setImmediate(() => this.#pumpSoon(0));
    }
  }

  /** Another client was faster: the last of what was written here is saved beside it, the rest was never to be seen. */
  async #conflict(change: PutChange): Promise<void> {
    const { telemetry, journal } = this.#environment;
    const { key } = change;
    const saved = await this.#sender.saveBeside(() => this.last(key));
    const gone = this.#keys.get(key)!;
    this.#keys.delete(key);
    journal.note({ t: 'done', ids: gone.flatMap(idsOf) });
    const from: string[] = [];
    for (const each of gone) {
      this.#release(each);
      each.cancelRetry?.();
      if (each instanceof PutChange) {
        this.#bytes -= each.size;
        from.push(each.etag);
      }
    }
    if (!saved) {
      for (const each of gone) each.done();
      return;
    }
    telemetry.count('conflict');
    const message = `${key} was changed by another client; what was written here is saved as ${saved.key}`;
    telemetry.log.warn({ key, conflictCopy: saved.key }, message);
    for (const etag of from) this.remember(etag, saved.etag);
    this.listener?.conflicted(key, from, saved);
    const error = new StoreError('precondition-failed', message, { key });
    for (const each of gone) each.failed(error);
  }

  #failed(change: Change, error: unknown): void {
    const { clock, telemetry, journal } = this.#environment;
    const failure = error instanceof Error ? error : new Error(String(error));
    change.failures++;
    change.error = failure;
    telemetry.count('write_back.failed');
    const changes = this.#keys.get(change.key) ?? [];
    if (!change.entry) {
      // Whoever asked for it still waits, has the bytes and hears why.
      changes.splice(changes.indexOf(change), 1);
      if (changes.length === 0) this.#keys.delete(change.key);
      if (change instanceof PutChange) this.#bytes -= change.size;
      change.failed(failure);
      this.#next(change.key);
      return;
    }
    telemetry.failed?.(change.key, change.kind === 'put' ? 'save' : 'delete', error);
    const isPassing = isStoreError(error, 'unavailable', 'timeout', 'conflict', 'corrupt', 'aborted');
    if (!isPassing && change.kind === 'delete') {
      telemetry.log.error({ key: change.key }, `not deleted in S3, so it is there again: ${failure.message}`);
      for (const each of changes) each.failed(failure);
      this.remove(change);
      journal.note({ t: 'done', ids: idsOf(change) });
      this.listener?.refused(change.key);
      return;
    }
    change.state = isPassing ? 'waiting' : 'parked';
    telemetry.log.error(
      { ...storeErrorFields(error), key: change.key, failures: change.failures },
      `not ${change.kind === 'put' ? 'saved' : 'deleted'} in S3: ${failure.message}; the journal has it${
        isPassing ? ', and it will be sent again' : ': it is sent again when it is flushed or written'
      }`,
    );
    if (isPassing && !this.#stopped) {
      const wait = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** Math.min(change.failures - 1, 10));
      change.cancelRetry = clock.after(wait, () => {
        change.cancelRetry = undefined;
        this.#runnable.push(change);
        this.#pumpSoon(0);
      });
    }
    for (const each of [...changes]) {
      each.failed(failure);
      // It can only be kept in memory for as long as somebody waits for it.
      if (each !== change && !each.entry && each.state === 'waiting') this.remove(each);
    }
  }
}

/** Numbers of a change and of those that are done with it. */
export function idsOf(change: Change): readonly number[] {
  return [...(change.found?.changes ?? []).map(({ id }) => id), change.id];
}

/** One that can go with others: no condition, nothing to be looked at before. */
function isPlainDelete(change: Change): change is DeleteChange {
  return change.kind === 'delete' && change.ifMatch === undefined && !change.found;
}
