/**
 * One file operation against one fault: the real filesystem over the real S3 store, by HTTP, against the embedded server.
 * Time-outs are short and waits between attempts nothing; the filesystem's own clock is moved by hand.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlockCache } from '../../src/cache/block-cache.ts';
import { BlockPool } from '../../src/cache/block-pool.ts';
import { Budget } from '../../src/cache/budget.ts';
import { Spool } from '../../src/cache/spool.ts';
import { UnsavedMemory } from '../../src/cache/unsaved-memory.ts';
import type { Clock } from '../../src/concurrency.ts';
import { systemClock } from '../../src/concurrency.ts';
import type { EmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { startEmbeddedS3 } from '../../src/embedded-s3/server.ts';
import { S3FileSystem } from '../../src/fs/filesystem.ts';
import { openS3Store } from '../../src/s3/open-store.ts';
import type { S3Store } from '../../src/s3/s3-store.ts';
import { Counters } from '../../src/telemetry.ts';
import { FakeKernel } from '../support/fake-kernel.ts';
import { DEFAULT_OPTIONS } from '../support/filesystem.ts';
import { ManualClock } from '../support/manual-clock.ts';

export const BUCKET = 'faulty';
/** Longer than any answer of the embedded server takes on a busy machine, but for the faults. */
export const TIMEOUT_MS = 1000;
/** What a fault that waits waits for: longer than the time-outs. */
export const TOO_LONG_MS = 3 * TIMEOUT_MS;
const ATTEMPTS = 3;
/** No operation may take longer: the time-outs of all attempts of four requests in a row, twice over on a busy machine. */
export const BOUND_MS = 2 * 4 * ATTEMPTS * TIMEOUT_MS;
/** Where the contents of a bucket have what an exchange put aside: its key tells inode and time. */
export const EXCHANGED = '_s3mount/exchange/';
/** Of a part, in bytes: files of some hundred KiB are large ones here. */
export const PART = 64 * 1024;
const MIB = 1024 * 1024;

/** The store's clock: the system's, until a test sets it wrong. */
class SkewedClock implements Clock {
  skew = 0;
  now(): number {
    return systemClock.now() + this.skew;
  }
  monotonic(): number {
    return systemClock.monotonic();
  }
  after(ms: number, callback: () => void): () => void {
    return systemClock.after(ms, callback);
  }
}

export class FaultyWorld {
  readonly s3: EmbeddedS3;
  readonly store: S3Store;
  readonly clock = new ManualClock(Date.now());
  readonly storeClock: SkewedClock;
  readonly counters = new Counters();
  readonly filesystem: S3FileSystem;
  readonly kernel: FakeKernel;
  readonly switches: Switches;
  /** All that the operation writes has been taken: from then on none of it may be lost. */
  accepted = false;

  private constructor(s3: EmbeddedS3, store: S3Store, storeClock: SkewedClock, switches: Switches) {
    this.s3 = s3;
    this.store = store;
    this.storeClock = storeClock;
    this.switches = switches;
    const budget = new Budget(32 * MIB);
    const pool = new BlockPool();
    this.filesystem = new S3FileSystem({
      store,
      blocks: new BlockCache({ store, budget, pool, telemetry: this.counters, clock: this.clock }),
      budget,
      pool,
      spool: new Spool(new UnsavedMemory(budget, pool), {}),
      telemetry: this.counters,
      clock: this.clock,
      notifier: undefined,
      options: DEFAULT_OPTIONS,
      mimeTypes: '',
      sizes: { singlePut: PART, part: PART, copyPart: 2 * PART, maxCopyPart: 4 * PART, copies: 4, zeros: 2 * PART },
    });
    this.kernel = new FakeKernel(this.filesystem);
  }

  /** `unknown`: the store has to find out what the server keeps; AWS is known to keep all conditions. */
  static async make(kind: 'aws' | 'unknown'): Promise<FaultyWorld> {
    const credential = { accessKeyId: 'first', secretAccessKey: 'secret', sessionToken: 'one' };
    const second = { accessKeyId: 'second', secretAccessKey: 'secret', sessionToken: 'two' };
    const s3 = await startEmbeddedS3({
      buckets: [BUCKET],
      credentials: [credential, second],
      limits: { minPartSize: PART },
    });
    const storeClock = new SkewedClock();
    const switches: Switches = { dns: true, renewed: false };
    const store = await openS3Store({
      bucket: BUCKET,
      url: `http://${kind === 'aws' ? 's3.us-east-1.amazonaws.com' : 's3.test'}:${s3.port}`,
      region: s3.region,
      pathStyle: true,
      credentials: async () => (switches.renewed ? second : credential),
      lookup: async () => {
        if (!switches.dns) throw Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' });
        return ['127.0.0.1'];
      },
      retry: { attempts: ATTEMPTS, base: 1, longest: 2 },
      // All within the deadline of the retries; longer ones, as shipped: test/unit/s3-lost-answers.test.ts.
      timeouts: { connect: TIMEOUT_MS, firstByte: TIMEOUT_MS, stall: TIMEOUT_MS, work: TIMEOUT_MS },
      limits: { minPartSize: PART },
      clock: storeClock,
    });
    return new FaultyWorld(s3, store, storeClock, switches);
  }

  /** Objects that a user sees, by key; conflict copies under `NAME (conflict)`. */
  contents(): Map<string, Buffer> {
    const found = new Map<string, Buffer>();
    for (const key of this.s3.listKeys(BUCKET)) {
      const name = key.startsWith(EXCHANGED)
        ? EXCHANGED
        : key.replace(/_conflict\.[^/]*?Z\.(?:\d+\.)?([^/]*)$/, '$1 (conflict)');
      found.set(name, this.s3.getObject(BUCKET, key)!.bytes());
    }
    return found;
  }

  /** All faults end, and what waits to be saved is. */
  async recover(): Promise<void> {
    this.s3.faults.clear();
    this.switches.dns = true;
    await this.filesystem.drain();
    await this.clock.advance(1000);
    await this.filesystem.drain();
  }

  /** The mount ends with unsaved bytes: what it writes to the local disk. */
  async recovered(): Promise<Buffer[]> {
    const directory = mkdtempSync(join(tmpdir(), 's3mount-faults-'));
    try {
      return (await this.filesystem.recover(directory)).map(path => readFileSync(path));
    } finally {
      rmSync(directory, { recursive: true });
    }
  }

  async close(): Promise<void> {
    await this.store.close();
    await this.s3.close();
  }
}

export interface Switches {
  /** Names resolve. */
  dns: boolean;
  /** The provider of credentials has new ones. */
  renewed: boolean;
}

/** Bytes that tell their origin: no two marks, and no two places of one, are the same. */
export function marked(mark: string, size: number): Buffer {
  const bytes = Buffer.alloc(size);
  const line = (at: number): string => `${mark}:${String(at).padStart(12 - mark.length, '0')}.\n`;
  for (let at = 0; at < size; at += 15) bytes.write(line(at), at, 'latin1');
  return bytes;
}
