/**
 * Whether bytes that came are those that the store has.
 *
 * TLS and TCP guard bytes on their way, not in the proxies, caches and buffers between. An object that comes whole and is
 * small is compared with what its headers tell: a checksum where one was kept, else the ETag where that is an MD5. Larger
 * ones come in ranges, for which S3 tells no checksum; of them length, range and ETag are checked.
 */
import { createHash } from 'node:crypto';
import { crc32c, crc64nvme } from '../crc.ts';
import { crc32 } from '../crc32.ts';
import type { Telemetry } from '../telemetry.ts';
import type { Headers } from './object-headers.ts';

/**
 * Objects up to this are held back until they have been verified, in bytes. MD5 does 600 MB/s, CRC64NVME 300 here: 3 ms at most,
 * and no more than a round trip is added to the time to the first byte.
 */
export const VERIFIED_BYTES = 1024 * 1024;

type Digest = (slices: readonly Uint8Array[]) => Uint8Array;

function words(...values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [i, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, 4 * i);
  return bytes;
}

const md5: Digest = slices => {
  const hash = createHash('md5');
  for (const slice of slices) hash.update(slice);
  return hash.digest();
};

/** By the header that tells the value in base64, the cheapest first. `-N` at its end: a checksum of parts' checksums. */
const CHECKSUMS: readonly (readonly [header: string, digest: Digest])[] = [
  [
    'x-amz-checksum-crc32',
    slices => {
      let crc = 0;
      for (const slice of slices) crc = crc32(slice, crc);
      return words(crc);
    },
  ],
  [
    'x-amz-checksum-crc32c',
    slices => {
      let crc = 0;
      for (const slice of slices) crc = crc32c(slice, crc);
      return words(crc);
    },
  ],
  [
    'x-amz-checksum-crc64nvme',
    slices => {
      let crc: readonly [number, number] = [0, 0];
      for (const slice of slices) crc = crc64nvme(slice, crc);
      return words(...crc);
    },
  ],
];

/** What one object's bytes must come to. */
export interface Expected {
  readonly name: string;
  readonly value: Uint8Array;
  readonly digest: Digest;
}

export class Verification {
  readonly #telemetry: Telemetry;
  /** Undefined until it has been seen. */
  #etagsAreMd5: boolean | undefined;

  /** `known`: the store's ETags are MD5s, as those of AWS, or are none; undefined: to be seen. */
  constructor(telemetry: Telemetry, known: boolean | undefined) {
    this.#telemetry = telemetry;
    this.#etagsAreMd5 = known;
  }

  /** `bytes` were stored, and answered with `etag`: the first time that tells whether ETags are MD5s. Cheap afterwards. */
  stored(slices: readonly Uint8Array[], etag: string): void {
    if (this.#etagsAreMd5 !== undefined || slices.reduce((sum, slice) => sum + slice.length, 0) > VERIFIED_BYTES)
      return;
    if (`"${Buffer.from(md5(slices)).toString('hex')}"` === etag) this.#etagsAreMd5 = true;
  }

  /** Bytes fitted. */
  fitted(expected: Expected): void {
    if (expected.name === 'etag') this.#etagsAreMd5 ??= true;
  }

  /**
   * What is known of the whole object's bytes, by its CRC32 or by what an answer with these headers says; undefined if
   * nothing. `etag` with its quotes.
   */
  expected(headers: Headers, etag: string, crc32: number | undefined): Expected | undefined {
    if (crc32 !== undefined) {
      const [name, digest] = CHECKSUMS[0]!;
      return { name, value: words(crc32), digest };
    }
    for (const [name, digest] of CHECKSUMS) {
      const text = headers.get(name);
      if (text === undefined || !/^[A-Za-z0-9+/]+=*$/.test(text)) continue;
      return { name, value: Buffer.from(text, 'base64'), digest };
    }
    // Of what is encrypted with keys of KMS or of the customer's the ETag is no MD5.
    const encrypted =
      headers.get('x-amz-server-side-encryption')?.startsWith('aws:kms') ||
      headers.has('x-amz-server-side-encryption-customer-algorithm');
    const hex = /^"([0-9a-f]{32})"$/.exec(etag)?.[1];
    if (this.#etagsAreMd5 === false || encrypted || hex === undefined) return undefined;
    return { name: 'etag', value: Buffer.from(hex, 'hex'), digest: md5 };
  }

  /**
   * Twice the same bytes came, and twice they did not fit. Where no ETag was ever seen to be an MD5 they are none here, and
   * the bytes are right: true then.
   */
  isNoDigest(expected: Expected): boolean {
    if (expected.name !== 'etag' || this.#etagsAreMd5) return false;
    if (this.#etagsAreMd5 === undefined) {
      this.#etagsAreMd5 = false;
      this.#telemetry.log.info({}, 'the ETags of this store are no MD5s: small files are not verified by them');
    }
    return true;
  }
}
