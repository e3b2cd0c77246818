/**
 * The CRC32 that goes along with what is written, so that the store compares it before it answers.
 *
 * 1. CRC32 is the cheapest: 0.15 to 0.25 s of CPU for a GiB, where SHA-256 takes 0.9, CRC32C 2.6, CRC64NVME 5.
 * 2. A store may compare it (then its answer repeats it), ignore it, or refuse a request for the mere sight of it. That is
 *    found out by the first writes, for PUT, for parts and for completing an upload each by itself, and said once.
 * 3. An upload is begun with a CRC32 of the whole object, which S3 puts together from those of the parts; what it then names
 *    is compared with what we sent.
 */
import { crc32OfBoth } from '../crc.ts';
import { crc32 } from '../crc32.ts';
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { Failure, printable } from './error-kinds.ts';
import type { HeaderList, Headers } from './object-headers.ts';
import { isFailure } from './requests.ts';
import type { ChecksumsOfWrites, UploadedPart } from './store.ts';

/** Which writes a store may treat differently. */
export type ChecksummedWrite = 'PutObject' | 'UploadPart' | 'CompleteMultipartUpload';

export const CRC32_HEADER = 'x-amz-checksum-crc32';

/** Headers that begin an upload whose parts and whole have a CRC32. */
export const BEGIN_WITH_CHECKSUMS: HeaderList = [
  ['x-amz-checksum-algorithm', 'CRC32'],
  ['x-amz-checksum-type', 'FULL_OBJECT'],
];

export function crc32Of(slices: readonly Uint8Array[]): number {
  let crc = 0;
  for (const slice of slices) crc = crc32(slice, crc);
  return crc;
}

/** As S3 spells it: base64 of four bytes, the highest first. */
export function crc32Text(crc: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc >>> 0);
  return bytes.toString('base64');
}

/** Undefined for what is no CRC32 of bytes, such as a composite one (`…-3`). */
export function parseCrc32(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Za-z0-9+/]{6}==$/.test(text)) return undefined;
  return Buffer.from(text, 'base64').readUInt32BE();
}

/** The CRC32 of the object that these parts become, as S3 spells it; undefined if that of one is not known. */
export function crc32OfParts(parts: readonly UploadedPart[]): string | undefined {
  let crc = 0;
  for (const part of parts) {
    const next = parseCrc32(part.crc32);
    if (next === undefined) return undefined;
    crc = crc32OfBoth(crc, next, part.size);
  }
  return crc32Text(crc);
}

/** What goes with one request. */
export interface SentChecksum {
  readonly text: string;
  /** The store is known to compare it: the signature need not cover the bytes again. */
  readonly compared: boolean;
}

export class WriteChecksums {
  readonly #telemetry: Telemetry;
  readonly #on: boolean;
  readonly #found = new Map<ChecksummedWrite, 'compared' | 'ignored' | 'refused'>();
  #said = false;

  constructor(telemetry: Telemetry, on: boolean) {
    this.#telemetry = telemetry;
    this.#on = on;
  }

  /** What is known so far, the worst of it; undefined until something has been written. */
  get state(): ChecksumsOfWrites | undefined {
    if (!this.#on) return 'off';
    const found = new Set(this.#found.values());
    return (['refused', 'ignored', 'compared'] as const).find(one => found.has(one));
  }

  /** True once the store has compared that of a write of this kind. */
  compares(write: ChecksummedWrite): boolean {
    return this.#found.get(write) === 'compared';
  }

  /** Whether writes of this kind carry a checksum. */
  sends(write: ChecksummedWrite): boolean {
    const found = this.#found.get(write);
    return this.#on && found !== 'ignored' && found !== 'refused';
  }

  /**
   * Runs `attempt` with the checksum of its bytes, which `compute` tells; without one where none is sent, or where the store
   * refuses the request as long as it has one. Rejects with `Failure`.
   */
  async send<T>(
    write: ChecksummedWrite,
    compute: () => string | undefined,
    attempt: (checksum: SentChecksum | undefined) => Promise<T>,
    force = false,
  ): Promise<T> {
    const text = force || this.sends(write) ? compute() : undefined;
    if (text === undefined) return attempt(undefined);
    try {
      return await attempt({ text, compared: this.compares(write) });
    } catch (error) {
      const refused = !this.compares(write) && isFailure(error, 'invalid', 'not-implemented');
      if (!refused) throw error;
      const before = error instanceof Failure && error.unknownBefore;
      const result = await attempt(undefined).catch((second: unknown) => {
        if (second instanceof Failure) second.unknownBefore ||= before;
        throw second;
      });
      this.#learn(write, 'refused');
      return result;
    }
  }

  /**
   * The store has taken `sent`, and named `told` itself. Answers what it vouches for. Throws `StoreError` ('corrupt') if it
   * has other bytes.
   */
  answered(
    write: ChecksummedWrite,
    key: string,
    sent: SentChecksum | undefined,
    told: string | undefined,
  ): string | undefined {
    if (!sent) return undefined;
    if (told === undefined) {
      this.#learn(write, 'ignored');
      return undefined;
    }
    if (told === sent.text) {
      this.#learn(write, 'compared');
      return told;
    }
    // A composite one, of another store's making, says nothing of the bytes.
    if (parseCrc32(told) === undefined) return undefined;
    this.#telemetry.count('s3.checksum_mismatch');
    throw new StoreError(
      'corrupt',
      `${write} of "${printable(key)}": the store has bytes with another checksum (CRC32 ${printable(told)}) than were sent (${sent.text})`,
      { operation: write, key },
    );
  }

  /** The store refused to begin an upload with checksums. */
  refusedUploads(): void {
    this.#learn('UploadPart', 'refused');
    this.#learn('CompleteMultipartUpload', 'refused');
  }

  #learn(write: ChecksummedWrite, found: 'compared' | 'ignored' | 'refused'): void {
    // What was compared once stays so: a single answer without it proves nothing.
    if (this.#found.get(write) === 'compared' || this.#found.get(write) === found) return;
    this.#found.set(write, found);
    if (found === 'compared' || this.#said) return;
    this.#said = true;
    this.#telemetry.log.info(
      { write },
      found === 'ignored'
        ? 'this store does not compare checksums of what is written: they are left out'
        : 'this store refuses writes with checksums: they are left out',
    );
  }
}

/** For answers to PutObject and UploadPart. */
export function toldCrc32(headers: Headers): string | undefined {
  return headers.get(CRC32_HEADER);
}
