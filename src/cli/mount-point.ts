/** Is this a place to mount on? Each reason against it is one sentence with what to do. */
import { constants } from 'node:fs';
import { access, lstat, readdir, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CliError, EXIT } from './exit-codes.ts';
import { mountAt } from './mount-table.ts';
import { detachByCommand } from './unmount-command.ts';

export interface MountPointRules {
  readonly nonempty: boolean;
}

/** A look at a directory that takes longer than this is a look at somebody else's dead mount. In ms. */
const LOOK_LIMIT = 5_000;

/**
 * Checks `path` and cleans a stale mount off it. Resolves to the path without symbolic links, as the kernel will show it.
 * Throws a `CliError` with the exit code for mount points.
 */
export async function prepareMountPoint(path: string, rules: MountPointRules): Promise<string> {
  const place = await withoutLinks(path);
  const mounted = mountAt(place);
  if (mounted?.type.startsWith('fuse')) {
    if (!(await isDead(place))) {
      throw refusal(
        `${path} is mounted already (${mounted.source}, ${mounted.type}); unmount it first: s3mount umount ${path}.`,
      );
    }
    if (!(await detachByCommand(place, LOOK_LIMIT))) {
      throw refusal(
        `${path} holds a dead mount of ${mounted.source} that cannot be detached; try: sudo umount -l ${path}.`,
      );
    }
  }
  const found = await look(stat(place), path);
  if (!found.isDirectory())
    throw refusal(`${path} is no directory; choose a directory, or make one: mkdir -p DIRECTORY.`);
  await checkOurs(place, path, found);
  await checkEmpty(place, path, rules);
  return place;
}

/** Links of the parents resolved; the last part only by readlink, because a stat of a stale mount fails. */
async function withoutLinks(path: string): Promise<string> {
  if (path === '/') throw refusal('/ cannot be a mount point; choose a directory below it.');
  try {
    let place = join(await realpath(dirname(path)), basename(path));
    const link = await readlink(place).catch(() => undefined);
    if (link !== undefined) {
      const target = resolve(dirname(place), link);
      place = join(await realpath(dirname(target)), basename(target));
      if ((await lstat(place)).isSymbolicLink()) place = await realpath(place);
    }
    return place;
  } catch (error) {
    throw explained(error, path);
  }
}

async function isDead(place: string): Promise<boolean> {
  try {
    await limited(stat(place), place);
    return false;
  } catch (error) {
    return codeOf(error) === 'ENOTCONN' || codeOf(error) === 'ECONNABORTED';
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

async function checkEmpty(place: string, path: string, { nonempty }: MountPointRules): Promise<void> {
  if (nonempty) return;
  const names = await look(readdir(place), path);
  if (names.length === 0) return;
  throw refusal(
    `${path} is not empty (${names.length === 1 ? 'it has' : 'among others'} '${names[0]}'): the bucket would cover what is there; choose an empty directory, or give -o nonempty.`,
  );
}

async function look<T>(asked: Promise<T>, path: string): Promise<T> {
  try {
    return await limited(asked, path);
  } catch (error) {
    throw explained(error, path);
  }
}

function limited<T>(asked: Promise<T>, path: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(refusal(`${path} does not answer: a mount there may hang; try: sudo umount -l ${path}.`)),
      LOOK_LIMIT,
    );
    asked.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function explained(error: unknown, path: string): CliError {
  if (error instanceof CliError) return error;
  switch (codeOf(error)) {
    case 'ENOENT':
      return refusal(`${path} does not exist; make it first: mkdir -p ${path}.`);
    case 'ENOTDIR':
      return refusal(`${path} is no directory; choose a directory, or make one: mkdir -p DIRECTORY.`);
    case 'EACCES':
      return refusal(`${path} may not be read by you; choose a directory of your own, such as ~/works.`);
    default:
      return refusal(`${path} cannot be used as a mount point: ${(error as Error).message}.`);
  }
}

function refusal(sentence: string): CliError {
  return new CliError(EXIT.mountPoint, `mount point ${sentence}`);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
