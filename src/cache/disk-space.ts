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

/**
 * `f_type` of what lies on other machines, or is answered by another process (linux/magic.h): NFS, SMB, CIFS, SMB 2, Ceph, AFS,
 * 9P, FUSE, Lustre, GPFS.
 */
const REMOTE: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x5346_414f, 0x0102_1997, 0x6573_5546, 0x0bd0_0bd0,
  0x4750_4653,
]);

/** Whether it is this machine's own disk, or memory. Rejects with Node's system error. */
export async function isLocalDisk(path: string): Promise<boolean> {
  const { type } = await statfs(path);
  return !REMOTE.has(type >>> 0);
}
