/** How much room a disk has: one answer for all who must leave some of it to others. */
import { statfs } from 'node:fs/promises';

/** Where less is free nothing of ours that can be done without is written: logs and other programs need it. Bytes. */
export const LEAST_FREE = 1024 * 1024 * 1024;

export interface DiskSpace {
  /** What this user may still take: root's reserve is not for others. Bytes. */
  readonly free: number;
  readonly total: number;
}

/** Of the file system in which `path` lies. Rejects with Node's system error. */
export async function diskSpace(path: string): Promise<DiskSpace> {
  const { bavail, blocks, bsize } = await statfs(path);
  return { free: bavail * bsize, total: blocks * bsize };
}
