/** The mounts of this machine that can be asked: one's own, and for root those of all users. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { mountPointPath } from '../fuse/mount-state.ts';
import { parseMountTable } from '../fuse/mount-table.ts';
import { CliError, EXIT } from './exit-codes.ts';
import { RunFile, type RunRecord } from './run-file.ts';
import { defaultStateDirectory } from './state-directory.ts';

export interface RunningMount {
  readonly file: RunFile;
  readonly record: RunRecord;
}

/** The daemon of a user's mount keeps its file in that user's home: root looks into all of them. */
function stateDirectories(): string[] {
  const places = new Set([defaultStateDirectory()]);
  if (process.getuid!() === 0) {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [, , uid, , , home] = line.split(':');
      if (home && Number(uid) > 0) places.add(defaultStateDirectory(Number(uid), home));
    }
  }
  return [...places];
}

/** Of the mount at exactly `mountPoint`, a path without symbolic links. */
export function findRunFile(mountPoint: string): RunFile | undefined {
  return stateDirectories()
    .map(place => new RunFile(place, mountPoint))
    .find(file => file.read() !== undefined);
}

/** Whose daemons run, in the order of their mount points. */
export function runningMounts(): RunningMount[] {
  return stateDirectories()
    .flatMap(place => RunFile.allIn(place))
    .flatMap(file => {
      const record = file.read();
      return record === undefined || record.ended ? [] : { file, record };
    })
    .sort((a, b) => (a.record.mountPoint < b.record.mountPoint ? -1 : 1));
}

export interface PlaceInMount extends RunningMount {
  /** Of what was asked about, relative to the mount point; empty for the mount itself. */
  readonly path: string;
}

/**
 * The mount that `path` lies in, and where. The mount itself is not touched but by the resolution of symbolic links above
 * it. Throws a `CliError` where no mount of s3mount is there, or none that this user may ask.
 */
export async function placeInMount(path: string): Promise<PlaceInMount> {
  const given = resolve(path);
  const table = parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8'));
  const isIn = (mountPoint: string, place: string): boolean =>
    place === mountPoint || place.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`);
  const mountOf = (place: string): (typeof table)[number] | undefined => {
    let found: (typeof table)[number] | undefined;
    for (const entry of table) {
      if (isIn(entry.mountPoint, place) && entry.mountPoint.length >= (found?.mountPoint.length ?? 0)) found = entry;
    }
    return found;
  };
  // As written first: a path in a mount that hangs must not be resolved. Then with the links on the way to it followed.
  let place = given;
  let mount = mountOf(place);
  if (!mount?.type.startsWith('fuse')) {
    place = await mountPointPath(given).catch(() => given);
    mount = mountOf(place);
  }
  if (!mount?.type.startsWith('fuse')) {
    throw new CliError(EXIT.mountPoint, `${path} is not in a mount of s3mount; s3mount status lists them.`);
  }
  const { mountPoint } = mount;
  const file = findRunFile(mountPoint);
  const record = file?.read();
  if (file === undefined || record === undefined || record.ended) {
    const mine =
      process.getuid!() === 0 ? 'its daemon has left no word' : 'it may be of another user: try it with sudo';
    throw new CliError(EXIT.mountPoint, `${mountPoint} is not served by an s3mount that can be asked; ${mine}.`);
  }
  return { file, record, path: place.slice(mountPoint.length).replace(/^\/+/, '') };
}
