/** What a mount answers over its control socket. */
import type { S3FileSystem } from '../fs/filesystem.ts';
import type { ControlAnswers } from './control-server.ts';
import type { Failed } from './failure-memory.ts';
import { mountReport, type ReportParts } from './mount-report.ts';

/** The answer to `why`. */
export interface WhyAnswer {
  readonly bucket: string;
  readonly prefix: string;
  readonly readOnly: boolean;
  readonly since: string;
  readonly failures: readonly Failed[];
}

/** The answer to `unsaved`. */
export interface UnsavedAnswer {
  readonly bytes: number;
  readonly files: number;
}

export interface AnswerParts extends Omit<ReportParts, 'status'> {
  readonly filesystem: S3FileSystem;
}

export function controlAnswers(parts: AnswerParts): ControlAnswers {
  const { filesystem, telemetry, store } = parts;
  return {
    status: () => mountReport({ ...parts, status: () => filesystem.status() }),
    unsaved: (): UnsavedAnswer => {
      const { bytes, files, metadata } = filesystem.status().unsaved;
      return { bytes, files: files + metadata };
    },
    why: ({ path }): WhyAnswer => ({
      bucket: store.place.bucket,
      prefix: store.place.prefix,
      readOnly: parts.readOnly,
      since: new Date(parts.since).toISOString(),
      failures: telemetry.failures.of(path),
    }),
    flush: ({ path }, progress, signal) => filesystem.flushBelow(path, progress, signal),
  };
}
