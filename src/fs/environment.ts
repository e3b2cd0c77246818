/** What the parts of the filesystem share. Made once, by whoever composes the mount. */
import type { ContentEnvironment } from '../cache/file-content.ts';
import type { KernelNotifier } from '../fuse/ops.ts';
import type { FileSystemOptions } from './options.ts';

export interface Environment extends ContentEnvironment {
  readonly options: FileSystemOptions;
  /** The kernel's notifier, from the moment the mount answers. */
  notifier: KernelNotifier | undefined;
}
