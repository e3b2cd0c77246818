/** What the parts of the filesystem share. Made once, by whoever composes the mount. */
import type { ContentEnvironment } from '../cache/file-content.ts';
import type { KernelNotifier } from '../fuse/ops.ts';
import type { FileSystemOptions } from './options.ts';
import type { PersistentIndex } from './persistent-index.ts';

export interface Environment extends ContentEnvironment {
  readonly options: FileSystemOptions;
  /** The kernel's notifier, from the moment the mount answers. */
  notifier: KernelNotifier | undefined;
  /** What earlier mounts learned; without it each mount asks anew. */
  readonly persistentIndex?: PersistentIndex;
}
