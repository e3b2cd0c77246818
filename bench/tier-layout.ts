/**
 * How the disk tier should lay out its blocks: few large files, or one for each so many bytes.
 *
 *   node --import tsx bench/tier-layout.ts [DIRECTORY] [MIB]
 *
 * For each layout: writes so many MiB, reads all in order and 128 KiB at random, removes everything. It all stays in the page
 * cache: what differs is the cost of the file system. The checksum, the same for all, is left out.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const MIB = 1024 * 1024;
const BLOCK = 128 * 1024;
/** Open at once, as in the tier. */
const MOST_OPEN = 32;
const BATCH = 2 * MIB;
const READ = MIB;
const RANDOM_READS = 2000;

const parent = process.argv[2] ?? tmpdir();
const total = Number(process.argv[3] ?? 1024) * MIB;

async function measured(work: () => Promise<void>): Promise<string> {
  const cpu = process.cpuUsage();
  const begun = performance.now();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return `${(performance.now() - begun).toFixed(0)} ms, CPU ${((user + system) / 1000).toFixed(0)} ms`;
}

async function layout(fileBytes: number): Promise<void> {
  const directory = mkdtempSync(join(parent, 's3mount-layout-'));
  const nameOf = (file: number): string => {
    const below = join(directory, String(file % 256));
    mkdirSync(below, { recursive: true });
    return join(below, String(file));
  };
  const data = randomBytes(BATCH);
  const opened = new Map<number, FileHandle>();
  const handleOf = async (file: number): Promise<FileHandle> => {
    let handle = opened.get(file);
    if (handle === undefined) {
      handle = await open(nameOf(file), 'r');
      opened.set(file, handle);
      if (opened.size > MOST_OPEN) {
        const [oldest, other] = opened.entries().next().value!;
        opened.delete(oldest);
        await other.close();
      }
    }
    return handle;
  };
  const read = async (buffer: Uint8Array, at: number, length: number): Promise<void> => {
    for (let done = 0; done < length; ) {
      const within = (at + done) % fileBytes;
      const size = Math.min(length - done, fileBytes - within);
      const handle = await handleOf(Math.floor((at + done) / fileBytes));
      await handle.read(buffer, done, size, within);
      done += size;
    }
  };
  try {
    const writing = await measured(async () => {
      let handle: FileHandle | undefined;
      for (let at = 0; at < total; at += Math.min(BATCH, fileBytes)) {
        if (at % fileBytes === 0) {
          await handle?.close();
          handle = await open(nameOf(at / fileBytes), 'wx', 0o600);
        }
        await handle!.write(data, 0, Math.min(BATCH, fileBytes), at % fileBytes);
      }
      await handle?.close();
    });
    const buffer = new Uint8Array(READ);
    const scanning = await measured(async () => {
      for (let at = 0; at < total; at += READ) await read(buffer, at, READ);
    });
    const jumping = await measured(async () => {
      for (let i = 0; i < RANDOM_READS; i++) {
        await read(buffer, Math.floor((Math.random() * total) / BLOCK) * BLOCK, BLOCK);
      }
    });
    for (const handle of opened.values()) await handle.close();
    const removing = await measured(async () => {
      for (let at = 0; at < total; at += fileBytes) await unlink(nameOf(at / fileBytes));
    });
    console.log(`files of ${fileBytes / 1024} KiB: write ${writing} | in order ${scanning}`);
    console.log(`  | ${RANDOM_READS} at random ${jumping} | remove ${removing}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

// The first one pays for the page cache that the others find: it is run twice, and its second figures count.
for (const fileBytes of [32 * MIB, MIB, BLOCK, 32 * MIB]) await layout(fileBytes);
