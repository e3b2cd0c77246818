/**
 * `write_back`: an `ObjectStore` that has done what it is asked as soon as the journal has it, and lets S3 follow.
 *
 * Difficulties: (1) Everything that is read through it (HEAD, GET, LIST) shows what is to be, so that the layers above need
 * not know. (2) A version that S3 has not made yet has no ETag: something stands for it, and whoever holds it is told the
 * real one (`WriteBackListener`). (3) What has not been sent may become another change or nothing: the copy of an unsaved
 * file is another unsaved file, its unlink is the end of it. (4) What is large, or is not here (an upload in parts, a copy of
 * what S3 has), waits for what is queued under its keys and then goes straight to S3. (5) Without room in the journal, or
 * with a disk that fails, a change waits for S3 as without `write_back`: close never fails for lack of room.
 */
import { randomBytes } from 'node:crypto';
import type { CancelSignal } from '../concurrency.ts';
import { isStoreError, StoreError, type StoreErrorKind } from '../errors.ts';
import type {
  GetRequest,
  GetResult,
  GetSink,
  ListPage,
  ListRequest,
  ObjectDescription,
  ObjectInfo,
  ObjectVersion,
  RequestOptions,
  RestoreRequest,
  Upload,
  WriteCondition,
  Written,
} from '../s3/store.ts';
import { ForwardingStore } from './forwarding-store.ts';
import type { Entry, Journal, NewRecord } from './journal.ts';
import type { FoundRecord } from './journal-found.ts';
import { type Change, DeleteChange, type JournaledBody, PutChange } from './write-back-change.ts';
import { hidesDeletes, innerRequest, splitContinuation, withChanges } from './write-back-listing.ts';
import {
  idsOf,
  type WriteBackEnvironment,
  type WriteBackListener,
  WriteBackQueue,
  type WriteBackState,
} from './write-back-queue.ts';
import { loadUnfinished } from './write-back-recovery.ts';
import { isStandIn, standIn } from './write-back-sender.ts';

export type { WriteBackEnvironment, WriteBackListener, WriteBackState } from './write-back-queue.ts';

/** More changes than this wait for S3: each takes about a kilobyte of memory, whatever the size of its file. */
const MAX_PENDING = 50_000;

/** What became of the changes of an earlier daemon. */
export interface Resumed {
  readonly sent: number;
  readonly conflicts: number;
  /** S3 did not take them yet; they stay in the journal. */
  readonly waiting: number;
}

export class WriteBackStore extends ForwardingStore {
  readonly #environment: WriteBackEnvironment;
  readonly #journal: Journal;
  readonly #queue: WriteBackQueue;
  readonly #nonce = randomBytes(8).toString('hex');
  #nextId = 1;

  constructor(environment: WriteBackEnvironment) {
    super(environment.store);
    this.#environment = environment;
    this.#journal = environment.journal;
    this.#queue = new WriteBackQueue(environment);
  }

  /**
   * Takes up what an earlier daemon left. Returns how much there is to be done, how much is lost with the journal's bytes, and
   * what became of it when each was tried once.
   */
  resume(found: readonly FoundRecord<Entry>[]): {
    readonly changes: number;
    readonly lost: number;
    readonly ended: Promise<Resumed>;
  } {
    const { changes, etags, nextId, lost } = loadUnfinished(found, this.#environment);
    this.#nextId = Math.max(this.#nextId, nextId);
    for (const [from, to] of etags) this.#queue.remember(from, to);
    const outcomes = changes.map(change => {
      this.#queue.add(change);
      const settled = change.settled();
      this.#queue.ready(change, false);
      return settled;
    });
    const ended = Promise.allSettled(outcomes).then((all): Resumed => {
      const errors = all.flatMap(outcome => (outcome.status === 'rejected' ? [outcome.reason] : []));
      const conflicts = errors.filter(error => isStoreError(error, 'precondition-failed')).length;
      return { sent: all.length - errors.length, conflicts, waiting: errors.length - conflicts };
    });
    return { changes: changes.length, lost, ended };
  }

  get journalPath(): string {
    return this.#journal.path;
  }

  set listener(listener: WriteBackListener) {
    this.#queue.listener = listener;
  }

  get state(): WriteBackState {
    return this.#queue.state;
  }

  /** Keys with changes that S3 does not have. */
  unsent(): Iterable<{ readonly key: string; readonly bytes: number; readonly error: Error | undefined }> {
    return this.#queue.unsent();
  }

  /** Why `key` could not be sent at the last attempt, once, if nobody who waited has heard of it. */
  takeError(key: string): Error | undefined {
    return this.#queue.takeError(key);
  }

  /** Resolves when S3 has all that was asked of `key` before. Rejects with the error of an attempt that fails. */
  settled(key: string): Promise<void> {
    return this.#queue.settled(key);
  }

  /** The same of all keys that begin with `prefix`; tries each once, and rejects with the first error. */
  async settledBelow(prefix: string): Promise<void> {
    const keys = [...this.#queue.unsent()].map(({ key }) => key).filter(key => key.startsWith(prefix));
    const outcomes = await Promise.allSettled(keys.map(key => this.#queue.settled(key)));
    const failed = outcomes.find(outcome => outcome.status === 'rejected');
    if (failed) throw failed.reason;
  }

  /** Tries to send everything, once. Never rejects: `state` tells what is left. */
  drain(): Promise<void> {
    return this.#queue.drain();
  }

  // --- reading ---------------------------------------------------------------------------------------------------------

  override async head(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<ObjectInfo> {
    expectWanted(options.signal);
    for (;;) {
      const pending = this.#pending(key, options.ifMatch);
      if (pending) return this.#infoOf(pending);
      const info = await this.#unlessChanged(key, () => this.inner.head(key, this.#real(options)));
      if (info) return info;
    }
  }

  override async get(
    key: string,
    request: GetRequest,
    sink: GetSink,
    options: RequestOptions = {},
  ): Promise<GetResult> {
    expectWanted(options.signal);
    const pending = this.#pending(key, request.ifMatch);
    if (pending) return this.#getPending(pending, request, sink, options.signal);
    return this.inner.get(key, this.#real(request), sink, options);
  }

  override async list(request: ListRequest, options: RequestOptions = {}): Promise<ListPage> {
    const hidden: Promise<void>[] = [];
    for (const change of this.#queue.changes()) {
      if (hidesDeletes(request, change)) hidden.push(this.#queue.settled(change.key));
    }
    // One that fails has not happened, and S3 may show it.
    await Promise.allSettled(hidden);
    const place = this.#queue.watch();
    try {
      const from = request.continuation === undefined ? undefined : splitContinuation(request.continuation);
      const page = await this.inner.list(innerRequest(request, from), options);
      return withChanges(page, request, this.#queue.changesSince(place), this.inner.features.orderedListing, from);
    } finally {
      this.#queue.unwatch();
    }
  }

  override async restore(key: string, request: RestoreRequest, options: RequestOptions = {}): Promise<boolean> {
    await this.#queue.settled(key);
    return this.inner.restore(key, request, options);
  }

  override async tags(key: string, options: RequestOptions = {}): Promise<readonly (readonly [string, string])[]> {
    const pending = this.#pending(key, undefined);
    return pending ? (pending.description.tags ?? []) : this.inner.tags(key, options);
  }

  /** The unsent object of a key; undefined where S3 has to be asked. @throws {StoreError} as S3 will say. */
  #pending(key: string, ifMatch: string | undefined): PutChange | undefined {
    const last = this.#queue.last(key);
    if (!last) {
      if (ifMatch !== undefined && this.#isUnknown(ifMatch)) throw refused('precondition-failed', key, 'has changed');
      return undefined;
    }
    if (last.kind === 'delete') throw refused('not-found', key, 'was deleted');
    if (ifMatch !== undefined && ifMatch !== last.etag) throw refused('precondition-failed', key, 'has changed');
    return last;
  }

  /** What S3 says of a key; undefined if that was changed through here meanwhile, and it has to be asked for anew. */
  async #unlessChanged<T>(key: string, ask: () => Promise<T>): Promise<T | undefined> {
    const place = this.#queue.watch();
    try {
      const answer = await ask();
      return this.#queue.changeSince(key, place) ? undefined : answer;
    } catch (error) {
      if (this.#queue.changeSince(key, place)) return undefined;
      throw error;
    } finally {
      this.#queue.unwatch();
    }
  }

  #infoOf(change: PutChange): ObjectInfo {
    const { tags, ...description } = change.description;
    return {
      ...change.object,
      serverDate: this.#environment.clock.now(),
      description,
      tagCount: tags?.length ?? 0,
      archived: false,
    };
  }

  async #getPending(
    change: PutChange,
    { offset, length }: GetRequest,
    sink: GetSink,
    signal: CancelSignal | undefined,
  ): Promise<GetResult> {
    const info = this.#infoOf(change);
    if (offset >= change.size && change.size > 0) throw refused('range', change.key, `has no byte ${offset}`);
    const wanted = Math.min(length, change.size - offset);
    const bytes = wanted === 0 ? new Uint8Array(0) : await this.#bytesOf(change, offset, wanted);
    sink.started?.(info);
    let at = 0;
    for (const buffer of sink.buffers) {
      const part = bytes.subarray(at, at + buffer.length);
      buffer.set(part);
      at += part.length;
    }
    sink.filled?.(wanted);
    expectWanted(signal);
    return { info, bytes: wanted };
  }

  async #bytesOf(change: PutChange, offset: number, length: number): Promise<Uint8Array> {
    if (change.slices) return Buffer.concat(change.slices as Uint8Array[]).subarray(offset, offset + length);
    return this.#journal.body(change.body!.entry, offset, length);
  }

  /** It stands for a version that has never come to S3. */
  #isUnknown(etag: string): boolean {
    return isStandIn(this.#queue.etagOf(etag));
  }

  /** What S3 would refuse for good must be refused while somebody can still hear of it. */
  #expectSendable(key: string, size: number, { metadata, headers }: ObjectDescription): void {
    const { maxKeyBytes, maxPutSize } = this.limits;
    const room = maxKeyBytes - this.prefixBytes;
    if (Buffer.byteLength(key) > room) throw refused('invalid', key, `is longer than the ${room} bytes of a key`);
    if (size > maxPutSize) throw refused('too-large', key, `has ${size} bytes, too many for one PUT`);
    const values = [...Object.keys(metadata), ...Object.values(metadata), ...Object.values(headers)];
    if (values.some(value => /[\r\n\0]/.test(value))) throw refused('invalid', key, 'has metadata that is no header');
  }

  /** Conditions on what was unsent once are on what S3 has made of it. */
  #real<T extends { readonly ifMatch?: string }>(request: T): T {
    return request.ifMatch === undefined ? request : { ...request, ifMatch: this.#queue.etagOf(request.ifMatch) };
  }

  // --- writing ---------------------------------------------------------------------------------------------------------

  override async put(
    key: string,
    body: readonly Uint8Array[],
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    expectWanted(options.signal);
    const size = body.reduce((sum, slice) => sum + slice.length, 0);
    return this.#put(key, size, description, condition, body);
  }

  override async copy(
    source: ObjectVersion,
    key: string,
    description: ObjectDescription | undefined,
    condition: WriteCondition | undefined,
    options: RequestOptions = {},
  ): Promise<Written> {
    const from = this.#pending(source.key, source.etag);
    if (from && (from.body || from.size === 0)) {
      const tags = description?.tags ?? from.description.tags;
      const told = description ? { ...description, ...(tags && { tags }) } : from.description;
      return this.#put(key, from.size, told, condition, from.body);
    }
    await Promise.all([this.#queue.settled(source.key), this.#queue.settled(key)]);
    const version = { ...source, etag: this.#queue.etagOf(source.etag) };
    return this.inner.copy(version, key, description, this.#realCondition(condition), options);
  }

  override async delete(key: string, options: RequestOptions & { readonly ifMatch?: string } = {}): Promise<void> {
    const last = this.#queue.last(key);
    if (last?.kind === 'delete') return;
    if (last && options.ifMatch !== undefined && options.ifMatch !== last.etag) {
      throw refused('precondition-failed', key, 'has changed');
    }
    if (last?.isReplaceable && last.condition && 'ifAbsent' in last.condition) {
      // S3 never had it, and never will.
      last.held = true;
      await this.#journal.mark({ t: 'done', ids: idsOf(last) }).catch(() => {});
      this.#queue.remove(last);
      return;
    }
    const base = last?.isReplaceable ? last.condition : undefined;
    const ifMatch = base && 'ifMatch' in base ? base.ifMatch : options.ifMatch;
    const change = new DeleteChange(this.#nextId++, key, this.#environment.clock.now(), ifMatch);
    await this.#journaled(change, last, instead => ({
      t: 'delete',
      id: change.id,
      key,
      at: change.at,
      ...(change.ifMatch !== undefined && { ifMatch: change.ifMatch }),
      ...(instead && { instead }),
    }));
  }

  override async deleteMany(keys: readonly string[]): Promise<readonly { key: string; error: StoreError }[]> {
    const failed: { key: string; error: StoreError }[] = [];
    await Promise.all(
      keys.map(key =>
        this.delete(key).catch((error: unknown) => {
          if (!(error instanceof StoreError)) throw error;
          failed.push({ key, error });
        }),
      ),
    );
    return failed;
  }

  override async beginUpload(
    key: string,
    description: ObjectDescription,
    options: RequestOptions = {},
  ): Promise<Upload> {
    return this.#behindChanges(await this.inner.beginUpload(key, description, options));
  }

  override resumeUpload(key: string, uploadId: string): Upload {
    return this.#behindChanges(this.inner.resumeUpload(key, uploadId));
  }

  /** What is queued of its key, and of what it copies, goes before. */
  #behindChanges(upload: Upload): Upload {
    const { key, uploadId } = upload;
    return {
      key,
      uploadId,
      putPart: (number, body, partOptions) => upload.putPart(number, body, partOptions),
      copyPart: async (number, source, offset, length, partOptions) => {
        await this.#queue.settled(source.key);
        const version = { ...source, etag: this.#queue.etagOf(source.etag) };
        return upload.copyPart(number, version, offset, length, partOptions);
      },
      complete: async (parts, condition, completeOptions) => {
        await this.#queue.settled(key);
        return upload.complete(parts, this.#realCondition(condition), completeOptions);
      },
      abort: () => upload.abort(),
    };
  }

  /** Begins nothing more, and waits for nothing. */
  abandon(): void {
    this.#queue.stop();
  }

  /** Begins nothing more. What is not sent stays in the journal, which goes where nothing is left. */
  override async close(): Promise<void> {
    this.#queue.stop();
    if (this.#queue.size === 0) await this.#journal.close();
    else await this.#journal.sync().catch(() => {});
    await this.inner.close();
  }

  #realCondition(condition: WriteCondition | undefined): WriteCondition | undefined {
    if (!condition || !('ifMatch' in condition)) return condition;
    return { ifMatch: this.#queue.etagOf(condition.ifMatch) };
  }

  /** `content`: the bytes, or where the journal has them. */
  async #put(
    key: string,
    size: number,
    description: ObjectDescription,
    condition: WriteCondition | undefined,
    content: readonly Uint8Array[] | JournaledBody | undefined,
  ): Promise<Written> {
    const { clock } = this.#environment;
    const last = this.#queue.last(key);
    this.#expectSendable(key, size, description);
    if (last) expectCondition(last, condition);
    else if (condition && 'ifMatch' in condition && this.#isUnknown(condition.ifMatch)) {
      throw refused('not-found', key, 'was never saved');
    }
    const isReplacing = last?.isReplaceable === true && (last.kind === 'put' || last.ifMatch !== undefined);
    const id = this.#nextId++;
    const change = new PutChange(id, key, clock.now(), standIn(this.#nonce, id), {
      size,
      description,
      condition: isReplacing ? baseOf(last, condition) : this.#realCondition(condition),
    });
    const records: NewRecord[] = [];
    if (isSlices(content)) {
      change.slices = content;
      if (size > 0) records.push({ meta: { t: 'body', id: this.#nextId++ }, body: content });
    } else if (content) {
      this.#journal.keep(content.entry);
      change.body = content;
    }
    const bodyId = change.body?.id ?? (records[0]?.meta['id'] as number | undefined);
    const etag = await this.#journaled(
      change,
      last,
      instead => ({
        t: 'put',
        id,
        key,
        etag: change.etag,
        size,
        description,
        at: change.at,
        ...(bodyId !== undefined && { body: bodyId }),
        ...(change.condition && { condition: change.condition }),
        ...(instead && { instead }),
      }),
      records,
    );
    return { etag: etag ?? change.etag, serverDate: clock.now() };
  }

  /**
   * Brings a change into the queue and the journal; where the journal has no room, into S3. Returns the ETag that S3 gave if
   * it was waited for.
   */
  async #journaled(
    change: Change,
    last: Change | undefined,
    recordOf: (instead: readonly number[] | undefined) => NewRecord['meta'],
    bodies: readonly NewRecord[] = [],
  ): Promise<string | undefined> {
    const queue = this.#queue;
    const replaced = last?.isReplaceable && (last.kind === 'put' || last.ifMatch !== undefined) ? last : undefined;
    if (replaced) replaced.held = true;
    queue.add(change);
    let entries: Entry[];
    try {
      if (this.#environment.through || queue.size > MAX_PENDING) throw new StoreError('no-space', 'waits for S3');
      entries = await this.#journal.append([...bodies, { meta: recordOf(replaced && idsOf(replaced)) }]);
    } catch {
      if (replaced) {
        replaced.held = false;
        queue.ready(replaced, false);
        // It is not replaced but followed.
        if (replaced.kind === 'put') change.follow(replaced.etag);
        else if (change.kind === 'put') change.condition = { ifAbsent: true };
      }
      return this.#sent(change);
    }
    change.entry = entries.at(-1);
    if (change instanceof PutChange && entries.length > 1) {
      change.body = { id: bodies[0]!.meta['id'] as number, entry: entries[0]! };
    }
    if (change instanceof PutChange) change.slices = undefined;
    if (replaced) {
      queue.remove(replaced, change);
      change.lingersSince = replaced.lingersSince;
    }
    queue.ready(change);
    return undefined;
  }

  async #sent(change: Change): Promise<string | undefined> {
    const settled = change.settled();
    this.#queue.ready(change, false);
    await settled;
    return change instanceof PutChange ? this.#queue.etagOf(change.etag) : undefined;
  }
}

function expectWanted(signal: CancelSignal | undefined): void {
  if (signal?.aborted) throw new StoreError('aborted', 'interrupted');
}

function isSlices(content: readonly Uint8Array[] | JournaledBody | undefined): content is readonly Uint8Array[] {
  return Array.isArray(content);
}

/** As S3 will say when it comes to it. */
function expectCondition(last: Change, condition: WriteCondition | undefined): void {
  if (!condition) return;
  const etag = last.kind === 'put' ? last.etag : undefined;
  if ('ifAbsent' in condition) {
    if (etag !== undefined) throw refused('precondition-failed', last.key, 'exists');
  } else if (etag === undefined) throw refused('not-found', last.key, 'was deleted');
  else if (etag !== condition.ifMatch) throw refused('precondition-failed', last.key, 'has changed');
}

/** The condition of what takes the place of `last`, which S3 never had. */
function baseOf(last: Change, condition: WriteCondition | undefined): WriteCondition | undefined {
  if (!condition) return undefined;
  if (last.kind === 'put') return last.condition;
  return last.ifMatch === undefined ? condition : { ifMatch: last.ifMatch };
}

function refused(kind: StoreErrorKind, key: string, what: string): StoreError {
  return new StoreError(kind, `${key} ${what}`, { key });
}
