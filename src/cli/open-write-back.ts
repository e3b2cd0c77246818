/** `write_back`, and what an earlier mount with it could not send: the store of this mount with a queue before it. */
import { hostname } from 'node:os';
import type { Budget } from '../cache/budget.ts';
import { WriteBackStore } from '../cache/write-back.ts';
import { systemClock } from '../concurrency.ts';
import { conflictName } from '../fs/conflict-name.ts';
import type { ObjectStore } from '../s3/store.ts';
import type { Telemetry } from '../telemetry.ts';
import { openJournal } from './open-journal.ts';
import type { Config } from './options.ts';

export interface WriteBackParts {
  readonly store: ObjectStore;
  readonly budget: Budget;
  readonly telemetry: Telemetry;
  /** A sentence for the person who mounts. */
  readonly note: (message: string) => void;
}

/** Undefined where nothing is queued: close waits for S3, and no earlier mount has left anything. */
export async function openWriteBack(config: Config, parts: WriteBackParts): Promise<WriteBackStore | undefined> {
  const { telemetry, note } = parts;
  const { log } = telemetry;
  const opened = await openJournal(config, log);
  if (!opened) return undefined;
  const { journal, found } = opened;
  const host = hostname();
  const store = new WriteBackStore({
    store: parts.store,
    journal,
    budget: parts.budget,
    telemetry,
    clock: systemClock,
    through: !config.values.write_back,
    conflictKeys: (key, attempt) => {
      const name = key.lastIndexOf('/') + 1;
      return key.slice(0, name) + conflictName(host, systemClock.now(), key.slice(name), attempt);
    },
  });
  const { changes, lost, ended } = store.resume(found);
  if (changes > 0 || lost > 0) {
    note(`an earlier mount left ${changes} changes that S3 does not have yet: they are being sent.`);
    ended.then(({ sent, conflicts, waiting }) => {
      const journaled = journal.path;
      log.info(
        { changes, sent, conflicts, waiting, lost, journal: journaled },
        'took up what an earlier mount had left in the journal',
      );
    });
  }
  return store;
}
