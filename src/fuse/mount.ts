/**
 * Gets a descriptor of /dev/fuse that is mounted: by mount(2) as root, by fusermount3 as an ordinary user, or from a
 * supervisor that did it before us (`/dev/fd/N`).
 */
import fs from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { FsError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { type Libc, O_CLOEXEC, O_RDWR } from './libc.ts';
import { MountError } from './mount-error.ts';
import { fusermountWords, mountData, mountFlags } from './mount-options.ts';
import { type CommandResult, detach, mountPointPath, mountStateOf, runCommand, runFusermount } from './mount-state.ts';
import { findMount } from './mount-table.ts';
import type { MountOptions } from './ops.ts';
import { MAX_IO } from './protocol.ts';

export interface Mounter {
  readonly libc: Libc | undefined;
  readonly log: Log;
  readonly uid: number;
  readonly gid: number;
}

export interface MountedDevice {
  /** Descriptor of /dev/fuse, mounted. Who gets it closes it. */
  readonly fd: number;
  /** Detaches the mount. Rejects with `FsError` EBUSY if somebody stands in it and `lazy` is not set. */
  detach(lazy: boolean): Promise<void>;
  /** To be called when the mount answers: lets the kernel read ahead as far as one request reaches. */
  raiseReadahead(): Promise<void>;
}

/** Mounts; requests may come at once. Rejects with `MountError`. */
export async function mountDevice(options: MountOptions, mounter: Mounter): Promise<MountedDevice> {
  const given = /^\/dev\/fd\/(\d+)$/.exec(options.mountPoint);
  if (given) return supervised(Number(given[1]));
  const mountPoint = await checkedMountPoint(options);
  const at = { ...options, mountPoint };
  let fd: number;
  if (mounter.uid !== 0) fd = await mountByFusermount(at, mounter);
  else if (mounter.libc) fd = mountDirectly(at, mounter, mounter.libc);
  else fd = await mountByCommand(at, mounter);
  return {
    fd,
    detach: lazy => detachMount(mountPoint, lazy),
    raiseReadahead: () => (mounter.uid === 0 ? raiseReadahead(mountPoint, mounter.log) : Promise.resolve()),
  };
}

/** Whoever mounted it also unmounts it. */
function supervised(fd: number): MountedDevice {
  return {
    fd,
    async detach() {
      throw new MountError(
        'failed',
        `The mount of /dev/fd/${fd} was made by a supervisor; it must unmount it as well.`,
      );
    },
    async raiseReadahead() {},
  };
}

export async function checkedMountPoint(options: MountOptions): Promise<string> {
  const { mountPoint: path, subtype } = options;
  try {
    const state = await mountStateOf(path);
    if (state.state === 'dead' || state.state === 'silent') {
      const why = state.state === 'dead' ? 'whose daemon is gone' : 'that does not answer';
      throw new MountError('stale', `${path} carries a mount ${why}; detach it with 'umount -l ${path}'.`);
    }
    if (state.state === 'alive' && state.mount.type === `fuse.${subtype}`) {
      throw new MountError('busy', `${state.mount.source} is already mounted on ${path}; unmount it first.`);
    }
    // An automount is a directory, and Node's stat would start it.
    if (state.state !== 'awaited' && !(await stat(path)).isDirectory()) {
      throw new MountError('not-a-directory', `The mount point ${path} is not a directory; give a directory.`);
    }
    return await mountPointPath(path);
  } catch (error) {
    if (error instanceof MountError) throw error;
    throw pathError(path, error as NodeJS.ErrnoException);
  }
}

function pathError(path: string, error: NodeJS.ErrnoException): MountError {
  const { code } = error;
  const options = { cause: error };
  if (code === 'ENOENT')
    return new MountError('missing', `The mount point ${path} does not exist; create it first.`, options);
  if (code === 'ENOTDIR') {
    return new MountError('not-a-directory', `The mount point ${path} lies below a file; give a directory.`, options);
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new MountError('permission', `You may not reach the mount point ${path}; choose one of your own.`, options);
  }
  return new MountError('failed', `The mount point ${path} cannot be examined: ${error.message}.`, options);
}

const CONTAINER_HINT = "in a container, start it with '--device /dev/fuse --cap-add SYS_ADMIN'";

function deviceError(code: string | undefined): MountError {
  if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO') {
    return new MountError('no-device', `There is no /dev/fuse; load it with 'modprobe fuse', or ${CONTAINER_HINT}.`);
  }
  return new MountError(
    'no-device',
    `/dev/fuse cannot be opened (${code}); give access with 'chmod 0666 /dev/fuse', or ${CONTAINER_HINT}.`,
  );
}

function openDevice(): number {
  try {
    return fs.openSync('/dev/fuse', O_RDWR | O_CLOEXEC);
  } catch (error) {
    throw deviceError((error as NodeJS.ErrnoException).code);
  }
}

/** errno of mount(2) as a sentence. */
function mountError(path: string, errno: number): MountError {
  switch (errno) {
    case 1:
    case 13:
      return new MountError('permission', `The kernel forbids mounting on ${path}; run as root, or ${CONTAINER_HINT}.`);
    case 2:
      return new MountError('missing', `The mount point ${path} does not exist; create it first.`);
    case 16:
      return new MountError('busy', `The mount point ${path} is in use; unmount what is there first.`);
    case 19:
      return new MountError('unsupported', "The kernel has no FUSE; load it with 'modprobe fuse'.");
    case 20:
      return new MountError('not-a-directory', `The mount point ${path} is not a directory; give a directory.`);
    default:
      return new MountError('failed', `The kernel refused to mount on ${path} (errno ${errno}).`);
  }
}

/** mount(2) does not wait for INIT, so that it may be called on the loop's own thread. */
function mountDirectly(options: MountOptions, mounter: Mounter, libc: Libc): number {
  const flags = mountFlags(options);
  const fd = openDevice();
  const data = mountData(options, { fd, uid: mounter.uid, gid: mounter.gid });
  const path = options.mountPoint;
  if (libc.mount(options.fsname, path, `fuse.${options.subtype}`, flags, data) === 0) return fd;
  const errno = libc.errno();
  fs.closeSync(fd);
  throw mountError(path, errno);
}

/** Without koffi: mount(8) inherits the device as its descriptor 3. */
async function mountByCommand(options: MountOptions, mounter: Mounter): Promise<number> {
  mountFlags(options);
  const fd = openDevice();
  const data = mountData(options, { fd: 3, uid: mounter.uid, gid: mounter.gid });
  const words = ['nosuid', 'nodev', ...options.kernelOptions, options.readOnly ? 'ro' : 'rw', data].join(',');
  const type = `fuse.${options.subtype}`;
  const args = ['-i', '-t', type, '-o', words, options.fsname, options.mountPoint];
  const result = await runCommand('mount', args, { extra: fd });
  if (result.code === 0) return fd;
  fs.closeSync(fd);
  if (!result.found) throw new MountError('unsupported', "The command 'mount' is not installed; it is in util-linux.");
  throw new MountError('failed', `mount(8) refused to mount on ${options.mountPoint}: ${oneLine(result.stderr)}.`);
}

async function mountByFusermount(options: MountOptions, mounter: Mounter): Promise<number> {
  const words = fusermountWords(options);
  const { libc } = mounter;
  if (!libc) {
    throw new MountError(
      'unsupported',
      'Mounting as an ordinary user needs koffi, which has no library here; mount as root.',
    );
  }
  const sockets = libc.socketPair();
  if (!sockets) throw new MountError('failed', `A socket for fusermount3 could not be made (errno ${libc.errno()}).`);
  const [ours, theirs] = sockets;
  try {
    const result = await runFusermount(['-o', words, '--', options.mountPoint], {
      extra: theirs,
      env: { _FUSE_COMMFD: '3' },
    });
    if (result.code !== 0) throw fusermountError(options, result);
    const fd = libc.receiveDescriptor(ours);
    if (fd === undefined) throw new MountError('failed', 'fusermount3 mounted, but did not hand over the device.');
    return fd;
  } finally {
    libc.close(ours);
    libc.close(theirs);
  }
}

/** What fusermount3 says on stderr, as a sentence that says what to do. */
function fusermountError(options: MountOptions, result: CommandResult): MountError {
  const path = options.mountPoint;
  const said = oneLine(result.stderr).replace(/^fusermount3?: /, '');
  if (!result.found) {
    return new MountError(
      'no-fusermount',
      "Mounting as an ordinary user needs fusermount3; install the package 'fuse3' (apt install fuse3, dnf install fuse3).",
    );
  }
  if (/user_allow_other/.test(said)) {
    return new MountError(
      'allow-other',
      "The option allow_other is for root alone; add the line 'user_allow_other' to /etc/fuse.conf to use it as well.",
    );
  }
  if (/device not found/.test(said)) return deviceError('ENOENT');
  if (/failed to open \/dev\/fuse/.test(said)) return deviceError('EACCES');
  if (/not owned|no write access/.test(said)) {
    return new MountError(
      'not-owned',
      `The mount point ${path} is not yours to mount on; choose a directory of your own.`,
    );
  }
  if (/too many FUSE/.test(said)) {
    return new MountError(
      'failed',
      `fusermount3 refused to mount on ${path}: ${said}; raise mount_max in /etc/fuse.conf.`,
    );
  }
  if (/mount failed: Operation not permitted/.test(said)) {
    return new MountError(
      'permission',
      `fusermount3 may not mount on ${path}; it needs its setuid bit, or ${CONTAINER_HINT}.`,
    );
  }
  return new MountError('failed', `fusermount3 refused to mount on ${path}: ${said}.`);
}

function oneLine(text: string): string {
  return text.trim().split('\n').join('; ').replace(/\.$/, '');
}

export async function detachMount(mountPoint: string, lazy: boolean): Promise<void> {
  const result = await detach(mountPoint, { lazy });
  if (result.code === 0 || !(await findMount(mountPoint))) return;
  if (/busy/i.test(result.stderr)) throw new FsError('EBUSY', `${mountPoint} is in use`);
  const why = result.found ? oneLine(result.stderr) : 'the command for it is not installed';
  throw new MountError('failed', `${mountPoint} could not be unmounted: ${why}.`);
}

/**
 * The kernel cuts buffered reads to the readahead of the mount's backing device, 128 KiB by default, whatever INIT says.
 * An ordinary user's mount stays there.
 */
async function raiseReadahead(mountPoint: string, log: Log): Promise<void> {
  try {
    const mount = await findMount(mountPoint);
    if (mount) await writeFile(`/sys/class/bdi/${mount.device}/read_ahead_kb`, String(MAX_IO / 1024));
  } catch (error) {
    log.debug({ error: String(error) }, 'the readahead of the mount could not be raised; sequential reads are smaller');
  }
}
