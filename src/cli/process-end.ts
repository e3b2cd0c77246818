/**
 * How the daemon's process ends, although a thread of its pool may be parked in a read of /dev/fuse.
 *
 * `process.exit` joins that thread and so hangs until the kernel lets go of the session; `_exit(2)` does not. Where even
 * that is out of reach, SIGKILL: a daemon that hangs with its mount up makes every user of the mount hang.
 */
import { detach } from '../fuse/mount-state.ts';
import { EXIT } from './exit-codes.ts';
import type { DaemonLog } from './log.ts';

/** ms for the emergency unmount: longer, and users of the mount would hang on us. */
const EMERGENCY_LIMIT = 2_000;

/** Prepared early: in an emergency nothing should have to be loaded. */
export async function prepareExit(): Promise<(code: number) => never> {
  const exitNow = await import('koffi').then(
    ({ default: koffi }) => koffi.load(null).func('_exit', 'void', ['int']),
    () => undefined,
  );
  return code => {
    exitNow?.(code);
    process.kill(process.pid, 'SIGKILL');
    throw new Error('unreachable: SIGKILL does not return');
  };
}

/** From now on a bug ends the daemon with the mount gone, never with a mount that hangs. Returned, for bugs that others caught. */
export function endOnBugs(log: DaemonLog, mountPoint: string, exit: (code: number) => never): (error: unknown) => void {
  let ending = false;
  const end = (error: unknown): void => {
    if (ending) return;
    ending = true;
    log.fatal({ err: error }, 'a bug in s3mount: the mount is being taken down');
    setTimeout(() => exit(EXIT.bug), EMERGENCY_LIMIT);
    void detach(mountPoint, { lazy: true }).finally(() => exit(EXIT.bug));
  };
  process.on('uncaughtException', end);
  process.on('unhandledRejection', end);
  return end;
}
