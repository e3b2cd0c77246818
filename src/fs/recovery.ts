/**
 * The last resort for bytes that S3 would not take: they are written to files of the local disk before the daemon leaves.
 *
 * Names come from a bucket and are hostile until proven otherwise: a file's place below the directory is its key with every
 * part made harmless, and files are made new (O_EXCL), so that no link is ever followed.
 */
import { mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FileContent } from '../cache/file-content.ts';
import type { Log } from '../telemetry.ts';

/** Bytes read from the content and written to disk at once. */
const STEP = 1024 * 1024;

export interface Unsaved {
  /** The key, or what is left of it. */
  readonly label: string;
  readonly content: FileContent;
}

/** A relative path that stays below where it is put, whatever `label` holds. */
export function harmlessPath(label: string): string {
  const parts = label.split('/').filter(part => part !== '' && part !== '.' && part !== '..');
  const path = parts.map(part => part.replaceAll('\0', '_')).join('/');
  return path === '' ? 'unnamed' : path;
}

/** Writes what is unsaved to `directory`; returns the paths. What cannot be read or written is logged, the rest goes on. */
export async function recover(unsaved: readonly Unsaved[], directory: string, log: Log): Promise<string[]> {
  const recovered: string[] = [];
  for (const { label, content } of unsaved) {
    const path = join(directory, harmlessPath(label));
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      await writeContent(path, content);
      recovered.push(path);
      log.warn({ key: label, path, bytes: content.size }, 'could not be saved to S3; its bytes lie on the local disk');
    } catch (error) {
      log.error({ key: label, path, err: error }, 'could neither be saved to S3 nor to the local disk');
    }
  }
  return recovered;
}

async function writeContent(path: string, content: FileContent): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    for (let offset = 0; offset < content.size; ) {
      const reply = await content.read(offset, STEP);
      let read = 0;
      try {
        for (const slice of reply.slices) {
          await file.write(slice, 0, slice.length, offset + read);
          read += slice.length;
        }
      } finally {
        reply.release?.();
      }
      if (read === 0) throw new Error(`no bytes at offset ${offset}`);
      offset += read;
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
