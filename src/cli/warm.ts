/**
 * `s3mount warm PATH`: reads files through the mount, so that they lie in its cache when they are wanted. Whoever reads is this
 * process: what is read goes the way of every read, into the kernel's pages, the daemon's memory and its disk cache.
 */
import { open, opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { forEachLimit } from '../concurrency.ts';
import type { CommandOutput } from './commands.ts';
import { askDaemon } from './control-client.ts';
import { CliError, EXIT } from './exit-codes.ts';
import type { MountReport } from './mount-report.ts';
import { barText, ProgressLine } from './progress.ts';
import { bytesText, countOf, countText } from './quantities.ts';
import { type PlaceInMount, placeInMount } from './run-places.ts';
import { shown } from './status-text.ts';

/** Files at once: small ones take a round trip each, and a large one is read ahead by the daemon. */
const FILES_AT_ONCE = 16;
/** Bytes of one read: the most that the kernel asks for at once. */
const STEP = 1024 * 1024;
/** ms for the daemon to tell how much it can keep. */
const SILENCE = 5_000;
/** Failures that are named. */
const NAMED = 5;

interface FileToRead {
  readonly path: string;
  readonly size: number;
}

interface Found {
  readonly files: FileToRead[];
  readonly failed: string[];
}

export async function warmCommand(
  paths: readonly string[],
  output: CommandOutput,
  line: ProgressLine = new ProgressLine(),
): Promise<void> {
  const places = await Promise.all(paths.map(path => placeInMount(path)));
  const found: Found = { files: [], failed: [] };
  for (const path of paths) await find(path, found, line);
  const total = found.files.reduce((sum, { size }) => sum + size, 0);
  for (const place of new Map(places.map(each => [each.record.mountPoint, each])).values()) {
    const doubt = await doubtOf(place, total);
    if (doubt !== undefined) output.say(`s3mount: ${doubt}`);
  }
  const start = performance.now();
  let bytes = 0;
  let done = 0;
  const tell = (): void => {
    const seconds = (performance.now() - start) / 1000;
    const speed = seconds > 0.5 ? `, ${bytesText(bytes / seconds)}/s` : '';
    const files = `${countText(done)} of ${countOf(found.files.length, 'file')}`;
    line.show(
      `${barText(total === 0 ? 1 : bytes / total)} ${bytesText(bytes)} of ${bytesText(total)}, ${files}${speed}`,
    );
  };
  await forEachLimit(found.files, FILES_AT_ONCE, async ({ path }) => {
    try {
      await readWhole(path, read => {
        bytes += read;
        tell();
      });
      done++;
    } catch (error) {
      found.failed.push(`${shown(path)} (${(error as Error).message})`);
    }
    tell();
  });
  line.end();
  output.print(`${countOf(done, 'file')} read, ${bytesText(bytes)}.`);
  if (found.failed.length > 0) {
    const more = found.failed.length > NAMED ? ` and ${found.failed.length - NAMED} more` : '';
    throw new CliError(
      EXIT.network,
      `not read: ${found.failed.slice(0, NAMED).join('; ')}${more}; s3mount why PATH says more.`,
    );
  }
}

/** All regular files at and below `path`. Links are not followed: they may lead out of the mount. */
async function find(path: string, found: Found, line: ProgressLine): Promise<void> {
  try {
    const stats = await stat(path);
    if (stats.isFile()) found.files.push({ path, size: stats.size });
    if (!stats.isDirectory()) return;
    const names: string[] = [];
    for await (const entry of await opendir(path, { bufferSize: 1024 })) {
      if (entry.isFile() || entry.isDirectory()) names.push(entry.name);
    }
    await forEachLimit(names, FILES_AT_ONCE, async name => {
      await find(join(path, name), found, line);
    });
    line.show(`looking: ${countOf(found.files.length, 'file')} found`);
  } catch (error) {
    found.failed.push(`${shown(path)} (${(error as Error).message})`);
  }
}

async function readWhole(path: string, progress: (bytes: number) => void): Promise<void> {
  const file = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(STEP);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, STEP, null);
      if (bytesRead === 0) return;
      progress(bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** Where not all of it can stay. */
async function doubtOf({ file, record }: PlaceInMount, total: number): Promise<string | undefined> {
  let report: MountReport;
  try {
    report = (await askDaemon(file.socket, { do: 'status' }, { silence: SILENCE })) as MountReport;
  } catch {
    // A daemon that cannot be asked still serves reads.
    return undefined;
  }
  const { limit } = report.memory;
  const disk = report.diskCache?.limitBytes ?? 0;
  if (total <= Math.max(limit, disk)) return undefined;
  const where = report.diskCache ? `${bytesText(disk)} on disk` : `${bytesText(limit)} of memory, no disk cache`;
  return `${bytesText(total)} are more than the cache of ${shown(record.mountPoint)} keeps (${where}): what is read first may be gone at the end; use_cache= and memory= change that.`;
}
