/** The filesystem seen from outside the kernel: what is unsaved, where an inode is, and saving on demand. */
import type { WriteBackState } from '../cache/write-back.ts';
import { forEachLimit } from '../concurrency.ts';
import type { Name } from '../fuse/ops.ts';
import { FileInode, type Inode } from './inode.ts';
import type { Namespace } from './namespace.ts';
import type { Saver } from './saver.ts';

/** Unsaved files that are named; the others are counted. */
const MAX_NAMED = 20;
/** Saves at once for a flush: as for a drain. */
const PARALLEL_SAVES = 16;

export interface UnsavedFile {
  /** Relative to the mount point. */
  readonly path: string;
  readonly bytes: number;
  /** Saves that failed in a row; 0 for a file that is being written. */
  readonly failedSaves: number;
  /** Why the last one failed. */
  readonly reason?: string;
}

export interface FileSystemStatus {
  /** What would be lost if the process died now. Bytes, and files with content; changes of metadata that wait. */
  readonly unsaved: {
    readonly bytes: number;
    readonly files: number;
    readonly metadata: number;
    /** The largest, and those whose saves failed. */
    readonly largest: readonly UnsavedFile[];
  };
  /** What of it is in the journal, under `write_back`. */
  readonly queued?: WriteBackState;
  readonly openFiles: number;
  readonly openDirectories: number;
  /** Inodes that the kernel holds. */
  readonly inodes: number;
}

export function statusOf(
  namespace: Namespace,
  open: { readonly files: number; readonly directories: number },
): FileSystemStatus {
  const files: UnsavedFile[] = [];
  let bytes = 0;
  let metadata = 0;
  let inodes = 0;
  for (const inode of namespace.inodes()) {
    inodes++;
    if (inode.metadataUnsaved) metadata++;
    if (!isUnsaved(inode)) continue;
    const { unsavedBytes } = inode.content!;
    bytes += unsavedBytes;
    const { label: path, failedSaves, saveError } = inode;
    files.push({ path, bytes: unsavedBytes, failedSaves, ...(saveError ? { reason: saveError.message } : {}) });
  }
  files.sort((a, b) => b.failedSaves - a.failedSaves || b.bytes - a.bytes);
  return {
    unsaved: { bytes, files: files.length, metadata, largest: files.slice(0, MAX_NAMED) },
    openFiles: open.files,
    openDirectories: open.directories,
    inodes,
  };
}

function isUnsaved(inode: Inode): inode is FileInode {
  return inode instanceof FileInode && !inode.unlinked && inode.content?.unsaved === true;
}

/** Undefined for a number that is not known any more. */
export function pathOf(namespace: Namespace, nodeid: number, name?: Name): string | undefined {
  const inode = inodeOf(namespace, nodeid);
  if (inode === undefined) return undefined;
  return name === undefined ? inode.label : `${inode.label}${name}`;
}

function inodeOf(namespace: Namespace, nodeid: number): Inode | undefined {
  try {
    return namespace.inode(nodeid);
  } catch {
    return undefined;
  }
}

export type FlushProgress = (left: { readonly bytes: number; readonly files: number }) => void;

export interface FlushOutcome {
  /** What S3 has now and had not before: files, and changes of mode, owner or times. */
  readonly saved: number;
  readonly failed: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Saves what is unsaved now of the file at `path`, or of all below it (empty: of all), and waits for S3. Never rejects for
 * what could not be saved: it is named. Stops beginning saves when `signal` aborts.
 */
export async function saveBelow(
  namespace: Namespace,
  saver: Saver,
  path: string,
  progress: FlushProgress,
  signal: AbortSignal,
): Promise<FlushOutcome> {
  const inodes = [...namespace.inodes()].filter(
    inode => isBelow(inode, path) && (inode.metadataUnsaved || isUnsaved(inode) || isSaving(inode)),
  );
  const failed: { path: string; reason: string }[] = [];
  let saved = 0;
  const left = new Set<Inode>(inodes);
  const tell = (): void => {
    let bytes = 0;
    for (const inode of left) if (inode instanceof FileInode) bytes += inode.content?.unsavedBytes ?? 0;
    progress({ bytes, files: left.size });
  };
  tell();
  await forEachLimit(inodes, PARALLEL_SAVES, async inode => {
    if (signal.aborted) return;
    const { label } = inode;
    try {
      if (isSaving(inode) || isUnsaved(inode)) await saver.save(inode as FileInode);
      await saver.metadata.save(inode);
      saved++;
    } catch (error) {
      failed.push({ path: label, reason: error instanceof Error ? error.message : String(error) });
    }
    left.delete(inode);
    tell();
  });
  return { saved, failed };
}

function isSaving(inode: Inode): boolean {
  return inode instanceof FileInode && inode.saving !== undefined;
}

function isBelow(inode: Inode, path: string): boolean {
  if (path === '') return true;
  const { label } = inode;
  return label === path || label.startsWith(`${path}/`);
}
