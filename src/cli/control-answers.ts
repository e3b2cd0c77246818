/** What a mount answers over its control socket. */
import { archiveState, restoreObject } from '../fs/archives.ts';
import type { S3FileSystem } from '../fs/filesystem.ts';
import type { S3Store } from '../s3/s3-store.ts';
import type { ControlAnswers } from './control-server.ts';
import type { Failed } from './failure-memory.ts';
import { type MountReport, mountReport, type ReportParts } from './mount-report.ts';

/** The answer to `why`. */
export interface WhyAnswer {
  readonly bucket: string;
  readonly prefix: string;
  readonly readOnly: boolean;
  readonly since: string;
  readonly failures: readonly Failed[];
  /** Attempts of the last minutes that failed and were, or will be, made again. */
  readonly attempts: readonly Failed[];
}

/** The answer to `unsaved`. */
export interface UnsavedAnswer {
  readonly bytes: number;
  readonly files: number;
}

export interface AnswerParts extends Omit<ReportParts, 'status' | 'store'> {
  readonly filesystem: S3FileSystem;
  readonly store: S3Store;
}

/** ms: an attempt before that explains nothing that happens now. The longest pause between two is a minute. */
const RECENT = 5 * 60_000;

export function reportOf(parts: AnswerParts): MountReport {
  return mountReport({ ...parts, status: () => parts.filesystem.status() });
}

/** With what waits in the queue of `write_back`, which the status counts among the unsaved. */
export function unsavedOf(filesystem: Pick<S3FileSystem, 'status'>): UnsavedAnswer {
  const { bytes, files, metadata } = filesystem.status().unsaved;
  return { bytes, files: files + metadata };
}

export function controlAnswers(parts: AnswerParts): ControlAnswers {
  const { filesystem, telemetry, store } = parts;
  return {
    status: () => reportOf(parts),
    unsaved: () => unsavedOf(filesystem),
    why: ({ path }): WhyAnswer => ({
      bucket: store.place.bucket,
      prefix: store.place.prefix,
      readOnly: parts.readOnly,
      since: new Date(parts.since).toISOString(),
      failures: telemetry.failures.of(path),
      attempts: telemetry.attempts.of(path).filter(({ last }) => parts.now() - last < RECENT),
    }),
    restore: ({ path, days, tier }, _, signal) =>
      days === undefined
        ? parts.store.head(path, { signal }).then(archiveState)
        : restoreObject(parts.store, path, days, tier),
    flush: ({ path }, progress, signal) => filesystem.flushBelow(path, progress, signal),
  };
}
