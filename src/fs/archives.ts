/** Objects in an archive (S3 Glacier Flexible Retrieval, Deep Archive, the archive tiers of Intelligent-Tiering). */
import { FsError, isStoreError } from '../errors.ts';
import type { ObjectInfo, ObjectStore, RestoreRequest, RestoreTier } from '../s3/store.ts';

export type ArchiveState =
  /** Not archived: it can be read. */
  | { readonly state: 'online' }
  /** Reading fails with EACCES until it is restored. */
  | { readonly state: 'archived' }
  /** A readable copy is being made. */
  | { readonly state: 'restoring' }
  /** `until`: ms since the epoch, where S3 says it. */
  | { readonly state: 'restored'; readonly until?: number };

/** From `x-amz-restore`, such as `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`. */
export function archiveState({ archived, restore }: Pick<ObjectInfo, 'archived' | 'restore'>): ArchiveState {
  if (restore?.includes('ongoing-request="true"')) return { state: 'restoring' };
  if (archived) return { state: 'archived' };
  if (restore === undefined) return { state: 'online' };
  const until = Date.parse(/expiry-date="([^"]*)"/.exec(restore)?.[1] ?? '');
  return Number.isNaN(until) ? { state: 'restored' } : { state: 'restored', until };
}

/** For people: `restored until 2026-11-28T00:00:00.000Z`. */
export function archiveText(found: ArchiveState): string {
  if (found.state === 'restored' && found.until !== undefined) {
    return `restored until ${new Date(found.until).toISOString()}`;
  }
  return found.state;
}

/** Archive classes of Intelligent-Tiering keep what was restored: there is no number of days to give. */
const KEEPS_BY_ITSELF = 'INTELLIGENT_TIERING';

/**
 * Asks for a readable copy for `days`, and tells how it stands then. One that is being made already is left to it. Fails with
 * EINVAL for what is in no archive, and as the store does.
 */
export async function restoreObject(
  store: Pick<ObjectStore, 'head' | 'restore'>,
  key: string,
  days: number,
  tier: RestoreTier,
): Promise<ArchiveState> {
  const info = await store.head(key);
  const before = archiveState(info);
  if (before.state === 'online') throw new FsError('EINVAL', `${key} is in no archive and can be read`);
  if (before.state === 'restoring') return before;
  const keeps = info.description.storageClass === KEEPS_BY_ITSELF;
  const request: RestoreRequest = keeps ? { tier } : { tier, days };
  try {
    await store.restore(key, request);
  } catch (error) {
    // Somebody else was faster.
    if (!isStoreError(error, 'conflict')) throw error;
  }
  return archiveState(await store.head(key));
}

/** `7`, `7d`, `7d:Bulk`. Undefined for anything else. */
export function parseRestore(text: string): { readonly days: number; readonly tier: RestoreTier } | undefined {
  const [, days, tier = 'standard'] = /^(\d{1,4})d?(?::(standard|bulk|expedited))?$/i.exec(text.trim()) ?? [];
  if (days === undefined || Number(days) < 1) return undefined;
  const word = tier.toLowerCase();
  return { days: Number(days), tier: `${word[0]!.toUpperCase()}${word.slice(1)}` as RestoreTier };
}
