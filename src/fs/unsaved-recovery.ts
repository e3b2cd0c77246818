/**
 * Files that an earlier daemon was writing when it died, out of the journal into S3: as a local disk would show them after
 * the crash of the program, with all that was written.
 *
 * Difficulties: (1) The save that was under way may have been done, also one of a recovery that was killed or got no answer:
 * what it was about to store was noted, and S3 is asked.
 * (2) Another client may have changed or deleted the object since: nobody's bytes are lost, as with any save. (3) Parts that
 * S3 has are used; some bytes are nowhere else. (4) S3 may not answer now, and this daemon may die too: the records stay until
 * S3 has the file.
 */
import { type ContentEnvironment, FileContent, type SaveTarget } from '../cache/file-content.ts';
import type { Entry, Journal } from '../cache/journal.ts';
import { copyObject, describeCopy } from '../cache/object-copy.ts';
import { planReplay, type SaveIntent, type UnsavedFile, type UnsavedStep } from '../cache/unsaved-records.ts';
import { delay, forEachLimit } from '../concurrency.ts';
import { FsError, isStoreError, StoreError } from '../errors.ts';
import type { ObjectDescription, ObjectInfo, ObjectVersion, WriteCondition } from '../s3/store.ts';
import { decodePosix, encodePosix, timestampOf } from './posix.ts';
import { retryDelay } from './retry-delay.ts';

/** Files at once: each has parts in parallel. */
const PARALLEL = 4;
/** Names beside one name within one second. */
const CONFLICT_NAMES = 20;
/** Of one file, until nothing gets in its way: another client may write it all the time. */
const ATTEMPTS = 20;

export interface UnsavedRecoveryParts {
  readonly environment: ContentEnvironment;
  readonly journal: Journal;
  /** Whether an upload of an earlier daemon may still be completed. */
  readonly isOpen: (uploadId: string) => boolean;
  /** Where bytes go that lost their name to another client; another key for each `attempt`. */
  readonly conflictKeys: (key: string, attempt: number) => string;
  /** The time of such an attempt at the next daemon's start is over: what S3 does not take stays in the journal. */
  readonly signal: AbortSignal;
}

/** What became of the files. */
export interface RecoveredUnsaved {
  /** Keys under which S3 has them now. */
  readonly saved: readonly string[];
  /** Keys of those that lost their name to another client. */
  readonly beside: readonly string[];
}

/** Tries until S3 has all of `files`, or `signal` aborts. `first` resolves when each was tried once. */
export function recoverUnsaved(
  files: readonly UnsavedFile<Entry>[],
  parts: UnsavedRecoveryParts,
): { readonly first: Promise<void>; readonly ended: Promise<RecoveredUnsaved> } {
  const { telemetry, clock } = parts.environment;
  const saved: string[] = [];
  const beside: string[] = [];
  const recover = async (file: UnsavedFile<Entry>): Promise<boolean> => {
    try {
      const { key, isBeside } = await new Recovery(file, parts).run();
      (isBeside ? beside : saved).push(key);
      return true;
    } catch (error) {
      if (parts.signal.aborted) return false;
      telemetry.log.error(
        { key: file.key, err: error },
        `not recovered yet: ${(error as Error).message}; the journal keeps it, and it is tried again`,
      );
      return false;
    }
  };
  let left = [...files];
  const round = async (): Promise<void> => {
    const failed: UnsavedFile<Entry>[] = [];
    await forEachLimit(left, PARALLEL, async file => {
      if (!(await recover(file))) failed.push(file);
    });
    left = failed;
  };
  const first = round();
  const ended = (async () => {
    await first;
    for (let attempt = 1; left.length > 0 && !parts.signal.aborted; attempt++) {
      await delay(clock, retryDelay(attempt), parts.signal).catch(() => {});
      if (!parts.signal.aborted) await round();
    }
    return { saved, beside };
  })();
  return { first, ended };
}

/** One attempt at one file. */
class Recovery {
  readonly #file: UnsavedFile<Entry>;
  readonly #parts: UnsavedRecoveryParts;
  readonly #description: ObjectDescription;
  #key: string;
  #condition: WriteCondition | undefined;
  #isBeside = false;
  /** S3 did not take all parts that were noted: what the journal has is sent from there. */
  #isDistrustful = false;
  /** All that was written is in the content: what a save stores now is the whole. */
  #isReplayed = false;
  /** Neither memory nor the spool holds all of it at once. */
  #isShort = false;

  constructor(file: UnsavedFile<Entry>, parts: UnsavedRecoveryParts) {
    this.#file = file;
    this.#parts = parts;
    this.#key = file.key;
    this.#description = describe(file);
  }

  async run(): Promise<{ readonly key: string; readonly isBeside: boolean }> {
    const { journal, environment } = this.#parts;
    const { id, steps, stored, condition, entries, key } = this.#file;
    const info = await this.#look(key);
    const done = info && lastDone(this.#file, info);
    // What that save had of parts is in the object: memory may have let go of them while it went on.
    const left = done ? steps.filter(({ n, kind }) => n > done.n && kind !== 'part') : steps;
    const expected = done && info ? versionOf(info) : stored;
    const base = done ? expected : await this.#baseOf(info);
    this.#condition = expected ? { ifMatch: expected.etag } : condition;
    const uploads = new Set(steps.flatMap(step => (step.kind === 'part' ? [step.part.uploadId] : [])));
    const unused = new Set(uploads);
    if (left.length > 0) {
      await this.#save(base, left, unused).catch(error => {
        if (error instanceof FsError && error.code === 'ENOSPC') this.#isShort = true;
        else if (isStoreError(error, 'no-such-upload', 'invalid')) this.#isDistrustful = true;
        else throw error;
        for (const uploadId of uploads) unused.add(uploadId);
        return this.#save(base, left, unused);
      });
    }
    for (const uploadId of [...unused].filter(this.#parts.isOpen))
      await environment.store.resumeUpload(key, uploadId).abort();
    await journal.mark({ t: 'over', f: id });
    for (const entry of entries) journal.release(entry);
    environment.telemetry.log.info({ key: this.#key }, 'recovered from the journal: an earlier mount was writing it');
    return { key: this.#key, isBeside: this.#isBeside };
  }

  /** What the changes were made on, where it is now: its key has another's bytes if an exchange of names was broken off. */
  async #baseOf(info: ObjectInfo | undefined): Promise<ObjectVersion | undefined> {
    const { stored, elsewhere } = this.#file;
    if (!elsewhere || info?.etag === stored?.etag) return stored;
    const copy = await this.#look(elsewhere.key);
    return copy?.etag === elsewhere.etag ? elsewhere : stored;
  }

  #open(stored: ObjectVersion | undefined): FileContent {
    const { environment } = this.#parts;
    const { sizes } = environment;
    const [part, cellLimit] = this.#file.grid;
    const target = (): SaveTarget => ({
      key: this.#key,
      describe: () => this.#description,
      condition: this.#condition,
    });
    const content: FileContent = new FileContent(
      {
        ...environment,
        ...(sizes && { sizes: { ...sizes, part } }),
        cellLimit,
        unsavedLog: undefined,
        saveIntent: about => this.#intend(about),
        closeRooms: undefined,
      },
      stored && environment.blocks.contentOf(stored),
      target,
      // A save before the end would complete the upload without the parts that are adopted later.
      {
        save: () => (this.#isReplayed ? this.#saveOnce(content) : Promise.reject(unfinished(this.#key))),
        isNameSettled: () => this.#isReplayed || this.#isShort,
      },
    );
    return content;
  }

  /** Notes what is about to be stored under the file's own name. */
  async #intend(about: Omit<SaveIntent, 'n'>): Promise<void> {
    const { id, steps, intents, entries } = this.#file;
    const { journal } = this.#parts;
    if (!this.#isReplayed || this.#isBeside) return;
    const { size, etag, metadata } = about;
    const n = steps.at(-1)!.n;
    intents.push({ ...about, n });
    const meta = { t: 'intent', f: id, n, s: size, metadata, ...(etag !== undefined && { etag }) };
    const [entry] = await journal.append([{ meta }], { unsynced: true, must: true }).catch(() => []);
    if (entry) entries.push(entry);
    await journal.sync().catch(() => {});
  }

  async #replay(content: FileContent, steps: readonly UnsavedStep<Entry>[], unused: Set<string>): Promise<void> {
    const { journal, signal, isOpen } = this.#parts;
    // Of several the last one was in progress; the others had ended, and what they held was saved or given up.
    const last = steps.findLast(step => step.kind === 'part')?.part.uploadId;
    const uploadId = last !== undefined && isOpen(last) ? last : undefined;
    const replay = planReplay(steps, uploadId, this.#isDistrustful);
    const numbers = replay.flatMap(step => (step.kind === 'part' ? [step.part.number] : []));
    if (uploadId !== undefined && numbers.length > 0) {
      content.resume(uploadId, numbers);
      unused.delete(uploadId);
    }
    for (const step of replay) {
      if (step.kind === 'bytes') {
        const bytes = await journal.body(step.entry);
        for (const [from, to] of step.pieces)
          await content.write(step.offset + from, bytes.subarray(from, to), { signal });
      } else if (step.kind === 'size') await content.truncate(step.size);
      else if (step.kind === 'zero') await content.zero(step.offset, step.length);
      else content.adopt(step.part);
    }
  }

  async #saveOnce(content: FileContent): Promise<void> {
    const saved = await content.save(this.#parts.signal);
    if (saved) this.#condition = { ifMatch: saved.written.etag };
  }

  async #save(
    base: ObjectVersion | undefined,
    steps: readonly UnsavedStep<Entry>[],
    unused: Set<string>,
  ): Promise<void> {
    this.#isReplayed = false;
    const content = this.#open(base);
    try {
      await this.#replay(content, steps, unused);
      this.#isReplayed = true;
      await this.#saveAll(content);
    } catch (error) {
      // What was adopted is not to be aborted: the next attempt needs it.
      if (!this.#parts.signal.aborted) content.abandon();
      throw error;
    }
  }

  async #saveAll(content: FileContent): Promise<void> {
    const { log } = this.#parts.environment.telemetry;
    for (let attempt = 0; content.unsaved; attempt++) {
      try {
        await this.#saveOnce(content);
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
        const isUploadGone = isStoreError(error, 'no-such-upload', 'invalid') && content.hasSentRanges;
        // What the journal has itself need not be taken from the upload.
        if (isUploadGone && !this.#isDistrustful) throw error;
        if (isUploadGone) {
          const bytes = content.loseSent();
          log.error(
            { key: this.#key, bytes },
            `S3 no longer has the upload in progress of ${this.#key}: ${bytes} of its bytes are zeros in what is saved now`,
          );
          this.#isBeside = true;
          this.#moveTo(content, this.#parts.conflictKeys(this.#file.key, 0));
          continue;
        }
        if (!isStoreError(error, 'precondition-failed', 'not-found')) throw error;
        await this.#resolve(content, error);
      }
    }
  }

  /** Another client has changed or deleted what this was made on. */
  async #resolve(content: FileContent, error: StoreError): Promise<void> {
    const { environment, conflictKeys } = this.#parts;
    const { log } = environment.telemetry;
    const info = await this.#look(this.#key);
    const bytes = error.details.isOfBase ? content.loseBase() : 0;
    if (bytes > 0) {
      log.warn({ key: this.#key, bytes }, `the version that was changed is gone: ${bytes} of its bytes are zeros now`);
    }
    // What is not whole goes beside the name that it had, as from a mount that lives (SEMANTICS, C10); what is only in an upload cannot.
    if (!info && (bytes === 0 || this.#isBeside || content.hasSentRanges)) {
      this.#condition = { ifAbsent: true };
      return;
    }
    if (info && content.hasSentRanges) {
      // Bytes that are in the upload only can become no other object: theirs moves aside.
      const copy = await this.#free(attempt => conflictKeys(this.#file.key, attempt));
      const description = await describeCopy(environment.store, info);
      await copyObject(environment.store, versionOf(info), copy, description, { ifAbsent: true });
      this.#condition = { ifMatch: info.etag };
      log.warn(
        { key: this.#key, conflictCopy: copy },
        `${this.#key} was changed by another client; theirs is ${copy} now`,
      );
      return;
    }
    this.#isBeside = true;
    this.#moveTo(content, await this.#free(attempt => conflictKeys(this.#file.key, attempt)));
    const change = info ? 'changed' : 'deleted';
    const message = `${this.#file.key} was ${change} by another client; what was written here is saved as ${this.#key}`;
    log.warn({ key: this.#file.key, conflictCopy: this.#key }, message);
  }

  #moveTo(content: FileContent, key: string): void {
    this.#key = key;
    this.#condition = { ifAbsent: true };
    content.renamed();
  }

  async #free(keyOf: (attempt: number) => string): Promise<string> {
    let key = keyOf(0);
    for (let attempt = 1; attempt < CONFLICT_NAMES && (await this.#look(key)); attempt++) key = keyOf(attempt);
    return key;
  }

  async #look(key: string): Promise<ObjectInfo | undefined> {
    try {
      return await this.#parts.environment.store.head(key, { signal: this.#parts.signal });
    } catch (error) {
      if (isStoreError(error, 'not-found')) return undefined;
      throw error;
    }
  }
}

function unfinished(key: string): StoreError {
  return new StoreError('unavailable', `${key} takes more memory or room for the spool to be recovered than there is`);
}

function versionOf({ key, etag, size }: ObjectInfo): ObjectVersion {
  return { key, etag, size };
}

/** The last save that S3 has done, by what it has now. */
function lastDone({ intents, stored }: UnsavedFile<Entry>, info: ObjectInfo): SaveIntent | undefined {
  // What it was made on may look the same: it was written by the same program a moment before.
  if (stored?.etag === info.etag) return undefined;
  return intents
    .filter(intent => isDone(intent, info))
    .sort((a, b) => a.n - b.n)
    .at(-1);
}

function isDone({ size, etag, metadata }: SaveIntent, info: ObjectInfo): boolean {
  if (info.size !== size) return false;
  if (etag !== undefined && info.etag === etag) return true;
  const isKms = info.description.encryption?.algorithm.startsWith('aws:kms') ?? false;
  if (etag !== undefined && !isKms) return false;
  const names = Object.keys(metadata);
  return names.length > 0 && names.every(name => info.description.metadata[name] === metadata[name]);
}

/** With the time of the last write, if that came after. */
function describe({ description, changedAt }: UnsavedFile<Entry>): ObjectDescription {
  const { metadata } = description;
  const { mode, uid = 0, gid = 0, mtime, atime, rdev = 0, xattrs = new Map() } = decodePosix(metadata);
  if (changedAt === undefined || mode === undefined || !mtime) return description;
  const now = timestampOf(changedAt);
  const posix = { mode, uid, gid, rdev, xattrs, atime: atime ?? now, mtime: now, ctime: now };
  return { ...description, metadata: encodePosix(posix, 'none', metadata) };
}
