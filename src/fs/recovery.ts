/**
 * The last resort for bytes that S3 would not take: they are written to files of the local disk before the daemon leaves.
 *
 * Names come from a bucket and are hostile until proven otherwise: a file's place below the directory is its key with every
 * part made harmless, and files are made new (O_EXCL), so that no link is ever followed.
 */
import { type FileHandle, mkdir, open, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FileContent } from '../cache/file-content.ts';
import type { ReadReply } from '../fuse/ops.ts';
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

/**
 * ms that all reading from S3 may take once it has failed to take what is unsaved. What was written here needs no S3; the rest of
 * a file that was changed in part does.
 */
const READING_LIMIT = 10_000;

/**
 * Writes what is unsaved to `directory`; returns the paths. Of a file that was changed in part what S3 does not give is left
 * out: a hole, named in a file `NAME.missing` beside it. What cannot be written is logged, the rest goes on.
 */
export async function recover(unsaved: readonly Unsaved[], directory: string, log: Log): Promise<string[]> {
  const recovered: string[] = [];
  const signal = AbortSignal.timeout(READING_LIMIT);
  for (const [index, { label, content }] of unsaved.entries()) {
    let path = join(directory, harmlessPath(label));
    try {
      const file = await openNew(path).catch(() => {
        // `a` and `a/b` can both be keys, but not both be files: then by number.
        path = join(directory, `unsaved-${index + 1}`);
        return openNew(path);
      });
      const missing = await writeContent(file, content, signal);
      recovered.push(path);
      const fields = { key: label, path, bytes: content.size };
      if (missing.length === 0) {
        log.warn(fields, 'could not be saved to S3; its bytes lie on the local disk');
      } else {
        await writeMissing(`${path}.missing`, label, missing);
        log.warn(
          { ...fields, missing: missing.length },
          'could not be saved to S3; what was written here lies on the local disk',
        );
      }
    } catch (error) {
      log.error({ key: label, path, err: error }, 'could neither be saved to S3 nor to the local disk');
    }
  }
  return recovered;
}

async function openNew(path: string): Promise<FileHandle> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  return open(path, 'wx', 0o600);
}

type Range = readonly [start: number, end: number];

/** Resolves with the ranges that could not be had. */
async function writeContent(file: FileHandle, content: FileContent, signal: AbortSignal): Promise<Range[]> {
  const missing: Range[] = [];
  try {
    await file.truncate(content.size);
    let before = 0;
    const others: Range[] = [];
    // What is at hand first: reading from S3 may take its time.
    for (const [start, end] of content.ownRanges()) {
      if (before < start) others.push([before, start]);
      await copyRange(file, content, start, end, undefined);
      before = end;
    }
    if (before < content.size) others.push([before, content.size]);
    for (const [start, end] of others) {
      const had = signal.aborted
        ? start
        : await copyRange(file, content, start, end, signal).catch(error => {
            if (error instanceof Unread) return error.from;
            throw error;
          });
      if (had < end) missing.push([had, end]);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return missing;
}

/** The content could not be read from here on. */
class Unread extends Error {
  readonly from: number;
  constructor(from: number, cause: unknown) {
    super(`no bytes at offset ${from}`, { cause });
    this.from = from;
  }
}

/** Resolves with `end`. Throws `Unread`, or what the local disk says. */
async function copyRange(
  file: FileHandle,
  content: FileContent,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (let offset = start; offset < end; ) {
    let reply: ReadReply;
    try {
      reply = await content.read(offset, Math.min(STEP, end - offset), undefined, signal && { signal });
    } catch (error) {
      throw new Unread(offset, error);
    }
    let read = 0;
    try {
      for (const slice of reply.slices) {
        await file.write(slice, 0, slice.length, offset + read);
        read += slice.length;
      }
    } finally {
      reply.release?.();
    }
    if (read === 0) throw new Unread(offset, undefined);
    offset += read;
  }
  return end;
}

async function writeMissing(path: string, label: string, missing: readonly Range[]): Promise<void> {
  const lines = missing.map(([start, end]) => `bytes ${start} to ${end - 1}\n`);
  const text = `Not written here, and not to be had from S3 when the mount ended; holes in the file.\nKey: ${JSON.stringify(label)}\n${lines.join('')}`;
  await writeFile(path, text, { flag: 'wx', mode: 0o600 });
}
