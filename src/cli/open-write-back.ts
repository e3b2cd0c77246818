/** `write_back`, and what an earlier mount with it could not send: the store of this mount with a queue before it. */
import { hostname } from 'node:os';
import type { Budget } from '../cache/budget.ts';
import type { Journal } from '../cache/journal.ts';
import { isUploadRecord, TrackedUploads } from '../cache/tracked-uploads.ts';
import { WriteBackStore } from '../cache/write-back.ts';
import { unfinished } from '../cache/write-back-records.ts';
import { systemClock } from '../concurrency.ts';
import { conflictName } from '../fs/conflict-name.ts';
import type { ObjectStore } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import { type OpenedJournal, openJournal } from './open-journal.ts';
import type { Config } from './options.ts';

export interface WriteBackParts {
  readonly store: ObjectStore;
  readonly budget: Budget;
  readonly telemetry: Telemetry;
  /** A sentence for the person who mounts. */
  readonly note: (message: string) => void;
}

export interface OpenedStore {
  readonly store: ObjectStore;
  /** Where changes are queued: asked for, or left by an earlier mount. Else close waits for S3. */
  readonly writeBack: WriteBackStore | undefined;
}

/** The store as the filesystem gets it. What an earlier mount has left is being sent, or ended, in the background. */
export async function openWriteBack(config: Config, parts: WriteBackParts): Promise<OpenedStore> {
  const { telemetry } = parts;
  const { log } = telemetry;
  const opened = await openJournal(config, log);
  if (!opened) return { store: parts.store, writeBack: undefined };
  const { journal, found } = opened;
  const store = new TrackedUploads(parts.store, journal, telemetry);
  void store.sweep(found.filter(isUploadRecord)).then(uploads => {
    if (uploads > 0) log.info({ uploads }, 'aborted uploads that an earlier mount had left in progress');
  });
  const left = found.filter(record => !isUploadRecord(record));
  if (!config.values.write_back && isNothing(left)) {
    for (const { entry } of left) journal.release(entry);
    return { store, writeBack: undefined };
  }
  const writeBack = queueBefore(store, config, parts, opened.journal);
  resume(writeBack, left, parts);
  return { store: writeBack, writeBack };
}

function isNothing(found: OpenedJournal['found']): boolean {
  const { changes, lost } = unfinished(found);
  return changes.length === 0 && lost.length === 0;
}

function queueBefore(store: ObjectStore, config: Config, parts: WriteBackParts, journal: Journal): WriteBackStore {
  const host = hostname();
  return new WriteBackStore({
    store,
    journal,
    budget: parts.budget,
    telemetry: parts.telemetry,
    clock: systemClock,
    through: !config.values.write_back,
    conflictKeys: (key, attempt) => {
      const name = key.lastIndexOf('/') + 1;
      return key.slice(0, name) + conflictName(host, systemClock.now(), key.slice(name), attempt);
    },
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
