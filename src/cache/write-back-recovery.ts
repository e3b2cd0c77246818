/** From what an earlier daemon left in the journal to changes that are to be sent. */
import type { Entry } from './journal.ts';
import type { FoundRecord } from './journal-found.ts';
import { type Change, DeleteChange, PutChange } from './write-back-change.ts';
import type { WriteBackEnvironment } from './write-back-queue.ts';
import { unfinished } from './write-back-records.ts';

export interface Resumed {
  /** Oldest first. */
  readonly changes: readonly Change[];
  readonly etags: ReadonlyMap<string, string>;
  readonly nextId: number;
  /** How many cannot be sent, because the journal has lost their bytes. */
  readonly lost: number;
}

export function loadUnfinished(found: readonly FoundRecord<Entry>[], environment: WriteBackEnvironment): Resumed {
  const { journal, telemetry } = environment;
  const { changes, bodies, etags, nextId, spare, lost } = unfinished(found);
  const used = new Set<number>();
  const resumed = changes.map(({ record, entry }): Change => {
    let change: Change;
    if (record.t === 'delete') change = new DeleteChange(record.id, record.key, record.at, record.ifMatch);
    else {
      const put = new PutChange(record.id, record.key, record.at, record.etag, {
        size: record.size,
        description: record.description,
        condition: record.condition,
      });
      if (record.body !== undefined) {
        const body = { id: record.body, entry: bodies.get(record.body)! };
        if (used.has(body.id)) journal.keep(body.entry);
        used.add(body.id);
        put.body = body;
      }
      change = put;
    }
    change.entry = entry;
    change.found = true;
    change.mayBeDone = true;
    return change;
  });
  for (const entry of spare) journal.release(entry);
  for (const { key, size } of lost) {
    telemetry.log.error({ key, size }, 'the journal has lost the bytes of a file that was reported saved');
  }
  return { changes: resumed, etags, nextId, lost: lost.length };
}
