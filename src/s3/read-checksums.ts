/**
 * Whether the bytes of an object that is read through are those that the store has.
 *
 * For a range S3 tells no checksum, but a HEAD tells that of the whole object, and of what we wrote it is known. So the CRC32
 * of each range is taken while it arrives, those of all ranges are put together, and when the last one is in they must come
 * to what the store keeps. Its last bytes are held back until then: a program that reads a file from its beginning to its
 * end never gets to the end of wrong bytes.
 *
 * CRC32 only: 0.15 to 0.25 s of CPU for a GiB. CRC64NVME and CRC32C, which other programs store, would cost 5 and 2.6 s.
 */
import { StoreError } from '../errors.ts';
import type { Telemetry } from '../telemetry.ts';
import { printable } from './error-kinds.ts';
import type { Headers } from './object-headers.ts';
import { RunningCrc } from './running-crc.ts';
import type { ObjectVersion } from './store.ts';
import { CRC32_HEADER, crc32Text, parseCrc32 } from './write-checksums.ts';

/** Versions whose checksum is remembered: files of a directory are looked at one after the other before they are read. */
const MAX_KNOWN = 4096;
/** Objects that are being read through at the same time. */
const MAX_RUNNING = 256;

/**
 * Objects from here on are asked for their checksum when somebody begins to read them through and no HEAD has told it: one
 * HEAD beside 32 GETs. Bytes.
 */
const WORTH_ASKING = 256 * 1024 * 1024;

interface Known {
  readonly etag: string;
  readonly size: number;
  /** Undefined while it is being asked for. */
  crc: number | undefined;
  /** All bytes have come once, and fitted. */
  verified: boolean;
}

/** A range that has come: `told` is what the answer said of it. */
export interface CameRange {
  readonly offset: number;
  readonly length: number;
  readonly crc: number;
  readonly told: number | undefined;
}

export class ReadChecksums {
  /** False: nothing is asked for and nothing compared. */
  readonly on: boolean;
  readonly #telemetry: Telemetry;
  readonly #known = new Map<string, Known>();
  /** Whether what answers tell of ranges is that of the range; undefined until one has fitted or not. */
  #rangesTold: boolean | undefined;
  readonly #running = new Map<Known, RunningCrc>();
  readonly #ask: (key: string) => Promise<unknown>;

  /** `ask`: sends a HEAD, whose answer comes to `told`. */
  constructor(telemetry: Telemetry, on: boolean, ask: (key: string) => Promise<unknown>) {
    this.#ask = ask;
    this.#telemetry = telemetry;
    this.on = on;
  }

  /** What the answer to a HEAD, or to a GET of all bytes, says of the whole object. */
  told({ key, etag, size }: ObjectVersion, headers: Headers): void {
    const type = headers.get('x-amz-checksum-type')?.toUpperCase();
    if (type !== undefined && type !== 'FULL_OBJECT') return;
    this.note(key, etag, size, headers.get(CRC32_HEADER));
  }

  /** The store has vouched for `crc32` of the object. */
  note(key: string, etag: string, size: number, crc32: string | undefined): void {
    const crc = this.on ? parseCrc32(crc32) : undefined;
    if (crc === undefined) return;
    const before = this.#known.get(key);
    if (before?.etag === etag && before.size === size && before.crc === crc) return;
    if (before?.etag === etag && before.size === size && before.crc === undefined) {
      before.crc = crc;
      return;
    }
    this.#remember(key, { etag, size, crc, verified: false });
  }

  /** The bytes of `source` are at `key` too. */
  copied(source: ObjectVersion, key: string, etag: string): void {
    const crc = this.of(source.key, source.etag, source.size);
    if (crc !== undefined) this.note(key, etag, source.size, crc32Text(crc));
  }

  /** The CRC32 of all bytes of this version; undefined if it is not known. */
  of(key: string, etag: string, size: number): number | undefined {
    return this.#of(key, etag, size)?.crc;
  }

  /** True if the CRC32 of a range that begins at `offset` is wanted. */
  follows({ key, etag, size }: ObjectVersion, offset: number): boolean {
    let known = this.#of(key, etag, size);
    if (!known && this.on && offset === 0 && size >= WORTH_ASKING) known = this.#askFor(key, etag, size);
    if (!known || known.verified) return false;
    const running = this.#running.get(known);
    return running ? running.follows(offset) : offset === 0;
  }

  /** What an answer says of the range that it brings: S3 tells it where that is exactly a part. */
  ofRange({ key, etag, size }: ObjectVersion, headers: Headers): number | undefined {
    if (!this.on || this.#rangesTold === false) return undefined;
    const told = parseCrc32(headers.get(CRC32_HEADER));
    return told === this.of(key, etag, size) ? undefined : told;
  }

  /**
   * A range has come. Throws `StoreError` ('corrupt', `isOfWhole`) if it does not fit what was told of it, or was the last one
   * and all together do not fit.
   */
  came({ key, etag, size }: ObjectVersion, { offset, length, crc, told }: CameRange): void {
    if (told !== undefined) this.#compareRange(key, etag, crc, told);
    const known = this.#of(key, etag, size);
    if (!known || known.verified || !this.follows({ key, etag, size }, offset)) return;
    let running = this.#running.get(known);
    if (!running) {
      evictOldest(this.#running, MAX_RUNNING);
      running = new RunningCrc();
      this.#running.set(known, running);
    }
    running.add(offset, length, crc);
    const whole = running.whole(size);
    if (whole === undefined) return;
    this.#running.delete(known);
    // All was read before the HEAD was answered.
    if (known.crc === undefined) return;
    if (whole === known.crc) {
      known.verified = true;
      this.#telemetry.count('s3.verified_bytes', size);
      return;
    }
    this.#wrong(key, etag, whole, known.crc);
  }

  #askFor(key: string, etag: string, size: number): Known {
    const known: Known = { etag, size, crc: undefined, verified: false };
    this.#remember(key, known);
    const forget = (): void => {
      // There is none of the kind that can be compared; it is not asked for again.
      if (known.crc === undefined) known.verified = true;
      if (known.verified) this.#running.delete(known);
    };
    this.#ask(key).then(forget, forget);
    return known;
  }

  #remember(key: string, known: Known): void {
    const before = this.#known.get(key);
    if (before) this.#running.delete(before);
    this.#known.delete(key);
    evictOldest(this.#known, MAX_KNOWN);
    this.#known.set(key, known);
  }

  #compareRange(key: string, etag: string, crc: number, told: number): void {
    if (crc === told) this.#rangesTold = true;
    else if (this.#rangesTold) this.#wrong(key, etag, crc, told);
    // Some other store may tell that of the whole object: until one has fitted, none is believed.
    else this.#rangesTold = false;
  }

  #wrong(key: string, etag: string, came: number, kept: number): never {
    this.#telemetry.count('s3.checksum_mismatch');
    const wrong = `the bytes that came of "${printable(key, 1024)}" have CRC32 ${crc32Text(came)}, where S3 keeps ${crc32Text(kept)}`;
    this.#telemetry.log.error(
      { key, etag },
      `${wrong}: they are thrown away, and what reads the end of the file is told EIO; read it again, and if that does not help look for what changes answers on their way (checksum=write compares nothing that is read)`,
    );
    throw new StoreError('corrupt', `GetObject: ${wrong}`, { operation: 'GetObject', key, isOfWhole: true });
  }

  #of(key: string, etag: string, size: number): Known | undefined {
    const known = this.#known.get(key);
    return known?.etag === etag && known.size === size ? known : undefined;
  }
}

function evictOldest<K, V>(map: Map<K, V>, most: number): void {
  if (map.size < most) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    break;
  }
}
