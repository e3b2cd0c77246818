/** The composition root. */
import type { Mounted } from '../fuse/ops.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { Drainable } from './lifecycle.ts';
import type { DaemonLog } from './log.ts';
import { prepareMountPoint } from './mount-point.ts';
import type { Config } from './options.ts';

export interface MountSurroundings {
  readonly log: DaemonLog;
  readonly note: (message: string) => void;
  readonly onBug: (error: unknown) => void;
  readonly mounting: () => void;
}

export interface MountedBucket {
  readonly mounted: Mounted;
  readonly filesystem: Drainable;
  readonly mountPoint: string;
}

export async function mountBucket(config: Config, _surroundings: MountSurroundings): Promise<MountedBucket> {
  await prepareMountPoint(config.mountPoint, { nonempty: config.values.nonempty ?? false });
  throw new CliError(EXIT.bug, 'this build cannot mount yet.');
}
