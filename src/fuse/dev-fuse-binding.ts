/** The kernel binding that speaks the protocol itself, over /dev/fuse. */
import type { Telemetry } from '../telemetry.ts';
import { FuseDevice } from './device.ts';
import { type Libc, loadLibc } from './libc.ts';
import { mountDevice } from './mount.ts';
import { MountError } from './mount-error.ts';
import { DeviceNotifier } from './notifier.ts';
import type { FileSystemOps, KernelBinding, Mounted, MountOptions } from './ops.ts';
import { Session } from './session.ts';

export interface DevFuseBindingOptions {
  readonly telemetry: Telemetry;
  /** Of the mounting user: root mounts by mount(2), others by fusermount3. */
  readonly uid: number;
  readonly gid: number;
  /**
   * An operation failed in a way that it must not (neither `FsError` nor `StoreError`); its caller has got EIO. The daemon
   * should unmount and end.
   */
  readonly onBug?: (error: unknown) => void;
  /**
   * `parked`: a thread waits for requests, not the event loop, as where libuv cannot be reached. `plain` does without koffi:
   * slower, and for root only.
   */
  readonly transport?: 'auto' | 'parked' | 'plain';
}

export class DevFuseBinding implements KernelBinding {
  readonly #options: DevFuseBindingOptions;

  constructor(options: DevFuseBindingOptions) {
    this.#options = options;
  }

  async mount(ops: FileSystemOps, options: MountOptions): Promise<Mounted> {
    const { telemetry, uid, gid, onBug, transport } = this.#options;
    const { log } = telemetry;
    const libc =
      transport === 'plain'
        ? undefined
        : await loadLibc(fields => log.warn(fields, 'koffi cannot be loaded; the mount will be slower'));
    const mounted = await mountDevice(options, { libc, log, uid, gid });
    const device = new FuseDevice(mounted.fd, transport === 'parked' ? withoutWatch(libc) : libc, log);
    const session = new Session(device, ops, { telemetry, posixAcl: options.posixAcl, onBug });
    device.start((buffer, channel) => session.handle(buffer, channel));
    const ended = device.ended.then(end => {
      session.end();
      log.info({ mountPoint: options.mountPoint, end }, 'the kernel has let go of the mount');
      return end;
    });
    const negotiated = await session.negotiated;
    if (negotiated === undefined) {
      await mounted.detach(true).catch(() => {});
      throw new MountError(
        'unsupported',
        `The mount on ${options.mountPoint} ended before it began; it needs Linux 5.4 or newer and nobody who unmounts it.`,
      );
    }
    log.debug({ minor: negotiated.reply.minor, flags: [...negotiated.flags] }, 'protocol negotiated');
    await mounted.raiseReadahead();
    return {
      notifier: new DeviceNotifier(device, negotiated.reply.minor),
      ended,
      // Not until `ended`: a service with a mount namespace of its own may hold a copy of the mount for days.
      async unmount({ lazy = false } = {}) {
        await mounted.detach(lazy);
      },
    };
  }
}

function withoutWatch(libc: Libc | undefined): Libc | undefined {
  return libc && { ...libc, watchReadable: undefined };
}
