/** Is this a place to mount on? Each reason against it is one sentence with what to do. */
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { cleanStaleMount, mountPointPath, mountStateOf } from '../fuse/mount-state.ts';
import { CliError, EXIT } from './exit-codes.ts';

export interface MountPointRules {
  readonly nonempty: boolean;
}

/**
 * Checks `path` and cleans a stale mount off it. Resolves to the path without symbolic links, as the kernel will show it.
 * Throws a `CliError` with the exit code for mount points.
 */
export async function prepareMountPoint(path: string, rules: MountPointRules): Promise<string> {
  if (path === '/') throw refusal('/ would be covered whole; choose a directory below it.');
  try {
    const place = await mountPointPath(path);
    // Not to be touched before it is covered; it is a directory, and empty.
    if (await isAwaited(place, path)) return place;
    const found = await stat(place);
    if (!found.isDirectory()) throw notDirectory(path);
    await checkOurs(place, path, found);
    if (!rules.nonempty) checkEmpty(await readdir(place), path);
    return place;
  } catch (error) {
    throw explained(error, path);
  }
}

/** Cleans a dead mount away, refuses one that is alive; true for an automount. */
async function isAwaited(place: string, path: string): Promise<boolean> {
  const found = await mountStateOf(place);
  switch (found.state) {
    case 'none':
      return false;
    case 'awaited':
      return true;
    case 'alive':
      // Only a FUSE mount is somebody's bucket; an empty disk mounted there is as good as a directory.
      if (!found.mount.type.startsWith('fuse')) return false;
      throw refusal(
        `${path} is mounted already (${found.mount.source}, ${found.mount.type}); unmount it first: s3mount umount ${path}.`,
      );
    case 'silent':
      throw refusal(
        `${path} does not answer: the mount of ${found.mount.source} there hangs; try: sudo umount -l ${path}.`,
      );
    case 'dead':
      await cleanStaleMount(place).catch((error: unknown) => {
        throw refusal(`${path} holds a dead mount: ${(error as Error).message}; try: sudo umount -l ${path}.`);
      });
      // An automount lay below it.
      return (await mountStateOf(place)).state === 'awaited';
  }
}

async function checkOurs(place: string, path: string, found: { uid: number; mode: number }): Promise<void> {
  const uid = process.getuid!();
  if (uid === 0) return;
  // fusermount3 has the same rule: who mounts must be able to write here, and own it where the sticky bit is set.
  const writable = await access(place, constants.W_OK).then(
    () => true,
    () => false,
  );
  if (!writable || (found.mode & 0o1000 && found.uid !== uid)) {
    throw refusal(
      `${path} is not yours (its owner has uid ${found.uid}); choose a directory of your own, such as ~/works.`,
    );
  }
}

function checkEmpty(names: readonly string[], path: string): void {
  if (names.length === 0) return;
  throw refusal(
    `${path} is not empty (it has '${names[0]}'): the bucket would cover what is there; choose an empty directory, or give -o nonempty.`,
  );
}

function explained(error: unknown, path: string): CliError {
  if (error instanceof CliError) return error;
  switch (error instanceof Error && 'code' in error ? error.code : undefined) {
    case 'ENOENT':
      return refusal(`${path} does not exist; make it first: mkdir -p ${path}.`);
    case 'ENOTDIR':
      return notDirectory(path);
    case 'EACCES':
      return refusal(`${path} may not be read by you; choose a directory of your own, such as ~/works.`);
    default:
      return refusal(`${path} cannot be used: ${(error as Error).message}.`);
  }
}

function notDirectory(path: string): CliError {
  return refusal(`${path} is no directory; choose a directory, or make one: mkdir -p DIRECTORY.`);
}

function refusal(sentence: string): CliError {
  return new CliError(EXIT.mountPoint, `mount point ${sentence}`);
}
