/**
 * The daemon's leave from whoever started it.
 *
 * An automount lets only its service manager's process group through to the mount point while a mount is awaited: the
 * daemon that is started for one has to mount from inside that group, and makes a session of its own afterwards.
 */
import { findMount } from '../fuse/mount-table.ts';

/** Whether an automount (autofs) waits at `mountPoint`, absolute. */
export async function isAwaited(mountPoint: string): Promise<boolean> {
  return (await findMount(mountPoint))?.type === 'autofs';
}

/** setsid(2). Without koffi, or where it leads a group already, it stays where it is. */
export async function beginSession(): Promise<void> {
  try {
    const { default: koffi } = await import('koffi');
    koffi.load(null).func('setsid', 'int', [])();
  } catch {
    // Nothing else asks for it.
  }
}
