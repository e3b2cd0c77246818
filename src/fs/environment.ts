/** What the parts of the filesystem share. Made once, by whoever composes the mount. */
import type { ContentEnvironment } from '../cache/file-content.ts';
import type { KernelNotifier } from '../fuse/ops.ts';
import type { FileSystemOptions } from './options.ts';
import type { PersistentIndex } from './persistent-index.ts';
import type { WriteBack } from './queued-saves.ts';

export interface Environment extends ContentEnvironment {
  /** Where changes are queued that S3 gets later: `store` goes through it. Absent: S3 has what was answered. */
  readonly writeBack?: WriteBack;
  readonly options: FileSystemOptions;
  /** The kernel's notifier, from the moment the mount answers. */
  notifier: KernelNotifier | undefined;
  /** Above so many inodes the kernel is asked to forget some; default: `MAX_INODES`. */
  readonly maxInodes?: number;
  /** What earlier mounts learned; without it each mount asks anew. */
  readonly persistentIndex?: PersistentIndex;
}
