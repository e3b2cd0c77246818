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

/** From its making on, a bug ends the daemon with the mount gone, never with a mount that hangs. */
export class BugEnd {
  readonly #log: DaemonLog;
  readonly #mountPoint: string;
  readonly #exit: (code: number) => never;
  #begun = false;

  constructor(log: DaemonLog, mountPoint: string, exit: (code: number) => never) {
    this.#log = log;
    this.#mountPoint = mountPoint;
    this.#exit = exit;
    process.on('uncaughtException', error => this.begin(error));
    process.on('unhandledRejection', error => this.begin(error));
  }

  /** The end is under way and brings its own exit code: nobody else should exit. */
  get begun(): boolean {
    return this.#begun;
  }

  /** For bugs that others caught. What is unsaved has the time of the unmount to be saved. */
  begin(error: unknown): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#log.fatal({ err: error }, 'a bug in s3mount: the mount is being taken down');
    setTimeout(() => this.#exit(EXIT.bug), EMERGENCY_LIMIT);
    void detach(this.#mountPoint, { lazy: true }).finally(() => this.#exit(EXIT.bug));
  }
}
