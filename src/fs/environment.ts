/** What the parts of the filesystem share. Made once, by whoever composes the mount. */
import type { ContentEnvironment } from '../cache/file-content.ts';
import type { KernelNotifier } from '../fuse/ops.ts';
import { DEFAULT_METADATA_BYTES, type MetadataLimits, metadataLimits } from './metadata-limits.ts';
import type { FileSystemOptions } from './options.ts';
import type { PersistentIndex } from './persistent-index.ts';
import type { WriteBack } from './queued-saves.ts';

export interface Environment extends ContentEnvironment {
  /** Where changes are queued that S3 gets later: `store` goes through it. Absent: S3 has what was answered. */
  readonly writeBack?: WriteBack;
  readonly options: FileSystemOptions;
  /** The kernel's notifier, from the moment the mount answers. */
  notifier: KernelNotifier | undefined;
  /** How much is remembered of names and attributes; default: what `DEFAULT_METADATA_BYTES` allow. */
  readonly metadataLimits?: MetadataLimits;
  /** What earlier mounts learned; without it each mount asks anew. */
  readonly persistentIndex?: PersistentIndex;
}

const DEFAULT_LIMITS = metadataLimits(DEFAULT_METADATA_BYTES);

export function limitsOf(environment: Environment): MetadataLimits {
  return environment.metadataLimits ?? DEFAULT_LIMITS;
}
