/**
 * Reading from the disk tier, for those who would rather go to S3 than wait.
 *
 * Reads go into buffers of their own and are copied out: one that comes too late harms nobody. After a few in a row that came too
 * late the disk is left alone for a while.
 */
import type { Clock } from '../concurrency.ts';
import type { Telemetry } from '../telemetry.ts';
import type { StoredContent } from './stored-content.ts';
import { BLOCK_SIZE } from './stored-content.ts';
import type { TierFile, TierFiles } from './tier-files.ts';
import { decodeRecord, RECORD_BYTES, recordBytes, UNIT } from './tier-format.ts';
import type { TierIndex } from './tier-index.ts';

/** Read at a time, and how many of that at once: more do not make a disk faster, and hold threads of the pool. */
const READ_BLOCKS = 8;
const READS_AT_ONCE = 4;

/** ms until a read is late. A disk that seeks takes 10 ms, S3 20 to 100 ms: later than this, S3 is asked instead. */
const LATE = 200;

/** A disk that is late so often, and never in time in between, is no cache: it is not asked for a while. */
const LATES_TOLERATED = 3;

/** So many ms the disk is then left alone. */
const PAUSE = 10_000;

interface Run {
  readonly file: TierFile;
  /** Byte offset in the file. */
  readonly at: number;
  readonly count: number;
  readonly bytes: number;
}

export class TierReads {
  readonly #files: TierFiles;
  readonly #index: TierIndex;
  readonly #telemetry: Telemetry;
  readonly #clock: Clock;
  readonly #scratch: Buffer[] = [];
  #scratches = 0;
  readonly #readers: (() => void)[] = [];
  #readAgainAt = 0;
  #lateInARow = 0;
  hitBytes = 0;
  failedBlocks = 0;

  constructor(files: TierFiles, index: TierIndex, telemetry: Telemetry, clock: Clock) {
    this.#files = files;
    this.#index = index;
    this.#telemetry = telemetry;
    this.#clock = clock;
  }

  /** True while the disk is left alone. */
  get resting(): boolean {
    return this.#clock.monotonic() < this.#readAgainAt;
  }

  /** As `BlockTier.read`, of the content that `name` names. */
  async read(
    content: StoredContent,
    name: Buffer,
    first: number,
    count: number,
    take: (position: number, bytes: Uint8Array) => boolean,
  ): Promise<void> {
    for (let position = 0; position < count; ) {
      const run = this.#runAt(content, name, first + position, Math.min(count - position, READ_BLOCKS));
      if (run === undefined) return;
      const buffer = await this.#fill(run);
      if (buffer === undefined) return;
      try {
        let at = 0;
        for (let i = 0; i < run.count; i++) {
          const index = first + position;
          const length = content.blockLength(index);
          const bytes = decodeRecord(buffer, at, name, index, length);
          if (bytes === undefined) {
            this.#corrupt(name, index, run.file);
            return;
          }
          this.#index.use(name, index);
          this.hitBytes += length;
          this.#telemetry.count('tier.hit_bytes', length);
          if (!take(position, bytes)) return;
          at += recordBytes(length);
          position++;
        }
      } finally {
        this.#giveBack(buffer);
      }
    }
  }

  /** Blocks from `index` on that lie one after another in one file. */
  #runAt(content: StoredContent, name: Buffer, index: number, most: number): Run | undefined {
    const place = this.#index.get(name, index);
    const file = place && this.#files.get(place.file);
    if (file === undefined) return undefined;
    const at = place!.at * UNIT;
    let bytes = recordBytes(content.blockLength(index));
    let count = 1;
    while (count < most) {
      const next = this.#index.get(name, index + count);
      if (next === undefined || next.file !== file.id || next.at * UNIT !== at + bytes) break;
      bytes += recordBytes(content.blockLength(index + count));
      count++;
    }
    return { file, at, count, bytes };
  }

  /** The bytes of a run in a buffer that is to be given back; undefined if they do not come, or not in time. */
  async #fill(run: Run): Promise<Buffer | undefined> {
    const clock = this.#clock;
    const buffer = await this.#takeScratch();
    // The disk hung while this one waited for its turn.
    if (this.resting) {
      this.#giveBack(buffer);
      return undefined;
    }
    let late = false;
    let cancel = (): void => {};
    const deadline = new Promise<undefined>(resolve => {
      cancel = clock.after(LATE, () => {
        // Where this thread was busy for as long, the answer has come and is only waiting to be seen.
        setImmediate(() => {
          late = true;
          resolve(undefined);
        });
      });
    });
    const reading = this.#readInto(buffer, run).then(isThere => {
      if (isThere && !late) return buffer;
      this.#giveBack(buffer);
      return undefined;
    });
    const filled = await Promise.race([reading, deadline]);
    cancel();
    if (filled !== undefined) this.#lateInARow = 0;
    else if (late) this.#late(run);
    return filled;
  }

  async #readInto(buffer: Buffer, run: Run): Promise<boolean> {
    try {
      const length = await this.#files.using(run.file, pair => pair.read(buffer, run.bytes, run.at));
      // What it says of a block that is cut off must not be what was in the buffer before.
      buffer.fill(0, length, run.bytes);
      return true;
    } catch (error) {
      if (this.#files.isLive(run.file.id)) this.#files.forget(run.file);
      this.#telemetry.log.debug({ err: error }, 'a file of the disk cache could not be read');
      return false;
    }
  }

  #late(run: Run): void {
    const clock = this.#clock;
    const telemetry = this.#telemetry;
    this.failedBlocks += run.count;
    telemetry.count('tier.late');
    this.#lateInARow++;
    if (this.#lateInARow < LATES_TOLERATED || this.resting) return;
    this.#readAgainAt = clock.monotonic() + PAUSE;
    telemetry.log.warn(
      { late: LATE, pause: PAUSE },
      'the disk of the cache is slower than S3; it is left alone for a while',
    );
  }

  #takeScratch(): Promise<Buffer> | Buffer {
    const free = this.#scratch.pop();
    if (free !== undefined) return free;
    if (this.#scratches < READS_AT_ONCE) {
      this.#scratches++;
      return Buffer.allocUnsafeSlow(READ_BLOCKS * (BLOCK_SIZE + RECORD_BYTES));
    }
    return new Promise(resolve => this.#readers.push(() => resolve(this.#scratch.pop()!)));
  }

  #giveBack(buffer: Buffer): void {
    this.#scratch.push(buffer);
    this.#readers.shift()?.();
  }

  #corrupt(name: Buffer, index: number, file: TierFile): void {
    this.#index.remove(name, index, file.id);
    this.failedBlocks++;
    this.#telemetry.count('tier.corrupt');
  }
}
