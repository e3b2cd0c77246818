/** `write_back`, and what an earlier mount with it could not send: the store of this mount with a queue before it. */
import { hostname } from 'node:os';
import type { Budget } from '../cache/budget.ts';
import type { CloseRooms } from '../cache/close-room.ts';
import type { ContentEnvironment } from '../cache/content-environment.ts';
import type { Entry, Journal } from '../cache/journal.ts';
import { isUploadRecord, TrackedUploads } from '../cache/tracked-uploads.ts';
import { UnsavedLog } from '../cache/unsaved-log.ts';
import { isUnsavedRecord, type UnsavedFile, unsavedFiles } from '../cache/unsaved-records.ts';
import { WriteBackStore } from '../cache/write-back.ts';
import { unfinished } from '../cache/write-back-records.ts';
import { delay, systemClock } from '../concurrency.ts';
import { conflictName } from '../fs/conflict-name.ts';
import { recoverUnsaved } from '../fs/unsaved-recovery.ts';
import type { ObjectStore } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import { uploadSizes } from './filesystem-options.ts';
import { type OpenedJournal, openJournal } from './open-journal.ts';
import type { Config } from './options.ts';

export interface WriteBackParts {
  readonly store: ObjectStore;
  /** Whether more has arrived at S3 since this was asked last. */
  readonly sentMore: () => boolean;
  readonly budget: Budget;
  readonly telemetry: Telemetry;
  /** Bytes that the journal may take where nobody has said how many. */
  readonly journalShare: number;
  /** A sentence for the person who mounts. */
  readonly note: (message: string) => void;
}

export interface OpenedStore {
  readonly store: ObjectStore;
  /** Where changes are queued: asked for, or left by an earlier mount. Else close waits for S3. */
  readonly writeBack: WriteBackStore | undefined;
  readonly unsaved: OpenedUnsaved | undefined;
}

/** What is written and not saved, in the journal: of this mount, where `journal=` asked for it, and of the one before. */
export interface OpenedUnsaved {
  readonly log: UnsavedLog | undefined;
  readonly files: readonly UnsavedFile<Entry>[];
  readonly journal: Journal;
  readonly isOpen: (uploadId: string) => boolean;
  /** With `write_back`. */
  readonly closeRooms: CloseRooms | undefined;
}

/** Of the journal: a larger file would keep all others waiting for it, so it waits for S3 itself. */
const LARGEST_SHARE = 1 / 4;

/** The store as the filesystem gets it. What an earlier mount has left is being sent, or ended, in the background. */
export async function openWriteBack(config: Config, parts: WriteBackParts): Promise<OpenedStore> {
  const { telemetry } = parts;
  const { log } = telemetry;
  const opened = await openJournal(config, parts.journalShare, log);
  if (!opened) return { store: parts.store, writeBack: undefined, unsaved: undefined };
  const { journal, found } = opened;
  journal.room.sending.add(parts.sentMore);
  const store = new TrackedUploads(parts.store, journal, telemetry);
  const unsaved = openUnsaved(found, config, journal, store, parts);
  const isWanted = uploadsOf(unsaved.files);
  void store.sweep(found.filter(isUploadRecord), isWanted).then(uploads => {
    if (uploads > 0) log.info({ uploads }, 'aborted uploads that an earlier mount had left in progress');
  });
  const left = found.filter(record => !isUploadRecord(record) && !isUnsavedRecord(record));
  if (!config.values.write_back && isNothing(left)) {
    for (const { entry } of left) journal.release(entry);
    return { store, writeBack: undefined, unsaved };
  }
  const writeBack = queueBefore(store, config, parts, opened.journal);
  resume(writeBack, left, parts);
  return { store: writeBack, writeBack, unsaved };
}

function openUnsaved(
  found: OpenedJournal['found'],
  { values }: Config,
  journal: Journal,
  uploads: TrackedUploads,
  { telemetry, note }: WriteBackParts,
): OpenedUnsaved {
  const { files, spare, lost, nextId } = unsavedFiles(found.filter(isUnsavedRecord));
  for (const entry of spare) journal.release(entry);
  if (lost > 0) telemetry.log.error({ files: lost }, 'the journal has lost what files are that were being written');
  if (files.length > 0) note(`an earlier mount was writing ${files.length} files when it ended: they are being saved.`);
  const isAsked = values.journal !== undefined;
  const { singlePut } = uploadSizes(values);
  const journaledSaves = values.write_back ? singlePut : 0;
  const most = Math.min(singlePut, journal.limit * LARGEST_SHARE);
  const closeRooms = values.write_back ? { room: journal.room, most } : undefined;
  const log = isAsked ? new UnsavedLog({ journal, clock: systemClock, telemetry, nextId, journaledSaves }) : undefined;
  return { log, files, journal, isOpen: uploadId => uploads.isLeft(uploadId), closeRooms };
}

function uploadsOf(files: readonly UnsavedFile<Entry>[]): (uploadId: string) => boolean {
  const wanted = new Set<string>();
  for (const { steps } of files) for (const step of steps) if (step.kind === 'part') wanted.add(step.part.uploadId);
  return uploadId => wanted.has(uploadId);
}

/** How long a mount waits for what an earlier one was writing, in ms: small files are there at the first look. */
const RECOVERY_PATIENCE = 3000;

/** Brings to S3 what an earlier mount was writing; resolves when it has, or when that takes long and goes on alone. */
export async function recoverBefore(
  { files, journal, isOpen }: OpenedUnsaved,
  environment: ContentEnvironment,
  signal: AbortSignal,
): Promise<void> {
  if (files.length === 0) return;
  const { first, ended } = recoverUnsaved(files, { environment, journal, isOpen, signal, conflictKeys });
  void ended.then(({ saved, beside }) => {
    const { log } = environment.telemetry;
    log.info({ saved: saved.length, beside }, 'took up what an earlier mount was writing when it ended');
  });
  const patience = new AbortController();
  const waited = delay(systemClock, RECOVERY_PATIENCE, patience.signal).catch(() => {});
  await Promise.race([first, waited]);
  patience.abort();
}

function conflictKeys(key: string, attempt: number): string {
  const name = key.lastIndexOf('/') + 1;
  return key.slice(0, name) + conflictName(hostname(), systemClock.now(), key.slice(name), attempt);
}

function isNothing(found: OpenedJournal['found']): boolean {
  const { changes, lost } = unfinished(found);
  return changes.length === 0 && lost.length === 0;
}

function queueBefore(store: ObjectStore, config: Config, parts: WriteBackParts, journal: Journal): WriteBackStore {
  return new WriteBackStore({
    store,
    journal,
    budget: parts.budget,
    telemetry: parts.telemetry,
    clock: systemClock,
    through: !config.values.write_back,
    conflictKeys,
  });
}

function resume(writeBack: WriteBackStore, left: OpenedJournal['found'], { telemetry, note }: WriteBackParts): void {
  const { changes, lost, ended } = writeBack.resume(left);
  if (changes === 0 && lost === 0) return;
  note(`an earlier mount left ${changes} changes that S3 does not have yet: they are being sent.`);
  void ended.then(outcome => {
    telemetry.log.info(
      { changes, ...outcome, lost, journal: writeBack.journalPath },
      'took up what an earlier mount had left in the journal',
    );
  });
}
