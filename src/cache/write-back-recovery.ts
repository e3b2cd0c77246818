/** From what an earlier daemon left in the journal to changes that are to be sent. */
import type { Entry } from './journal.ts';
import type { FoundRecord } from './journal-found.ts';
import { type Change, DeleteChange, PutChange } from './write-back-change.ts';
import type { WriteBackEnvironment } from './write-back-queue.ts';
import { unfinished } from './write-back-records.ts';

export interface Resumed {
  /** One for each key. */
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
    change.mayBeDone = true;
    return change;
  });
  const byKey = new Map<string, Change[]>();
  for (const change of resumed) {
    const before = byKey.get(change.key);
    if (before) before.push(change);
    else byKey.set(change.key, [change]);
  }
  for (const entry of spare) journal.release(entry);
  for (const { key, size } of lost) {
    telemetry.log.error({ key, size }, 'the journal has lost the bytes of a file that was reported saved');
  }
  return { changes: [...byKey.values()].map(lastOf), etags, nextId, lost: lost.length };
}

/** The last of the changes of a key, with those before it. */
function lastOf(changes: readonly Change[]): Change {
  const last = changes.at(-1)!;
  const bases = changes.flatMap(change => {
    if (change.kind === 'delete') return change.ifMatch === undefined ? [] : [change.ifMatch];
    return change.condition && 'ifMatch' in change.condition ? [change.condition.ifMatch] : [];
  });
  const unconditional = changes.some(change => change.kind === 'put' && change.condition === undefined);
  last.found = { changes: changes.slice(0, -1), bases, unconditional };
  return last;
}
