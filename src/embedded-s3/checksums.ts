/** S3's object checksums: which a request names, how they are computed, stored and answered. Values are base64. */
import { createHash, type Hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { crc32 } from 'node:zlib';
import { CRC_POLYNOMIALS, combineCrc, crc32c, crc64nvme } from '../crc.ts';
import { S3Failure } from './s3-error.ts';

export const CHECKSUM_ALGORITHMS = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const;
export type ChecksumAlgorithm = (typeof CHECKSUM_ALGORITHMS)[number];
export type ChecksumType = 'FULL_OBJECT' | 'COMPOSITE';

export interface Checksum {
  readonly algorithm: ChecksumAlgorithm;
  readonly type: ChecksumType;
  /** base64, for COMPOSITE with `-N`. */
  readonly value: string;
}

const BYTES: Readonly<Record<ChecksumAlgorithm, number>> = { CRC32: 4, CRC32C: 4, CRC64NVME: 8, SHA1: 20, SHA256: 32 };

/** Running checksum of bytes that come in pieces. */
export class ChecksumStream {
  readonly algorithm: ChecksumAlgorithm;
  #crc = 0;
  #crc64: readonly [number, number] = [0, 0];
  readonly #hash: Hash | undefined;

  constructor(algorithm: ChecksumAlgorithm) {
    this.algorithm = algorithm;
    if (algorithm === 'SHA1' || algorithm === 'SHA256') this.#hash = createHash(algorithm.toLowerCase());
  }

  update(bytes: Uint8Array): void {
    if (this.#hash) this.#hash.update(bytes);
    else if (this.algorithm === 'CRC32') this.#crc = crc32(bytes, this.#crc);
    else if (this.algorithm === 'CRC32C') this.#crc = crc32c(bytes, this.#crc);
    else this.#crc64 = crc64nvme(bytes, this.#crc64);
  }

  /** base64. Call it once. */
  value(): string {
    if (this.#hash) return this.#hash.digest('base64');
    const bytes = Buffer.alloc(BYTES[this.algorithm]);
    if (this.algorithm === 'CRC64NVME') {
      bytes.writeUInt32BE(this.#crc64[0], 0);
      bytes.writeUInt32BE(this.#crc64[1], 4);
    } else bytes.writeUInt32BE(this.#crc, 0);
    return bytes.toString('base64');
  }
}

export function checksumOf(algorithm: ChecksumAlgorithm, pieces: Iterable<Uint8Array>): string {
  const stream = new ChecksumStream(algorithm);
  for (const piece of pieces) stream.update(piece);
  return stream.value();
}

export function parseAlgorithm(name: string | undefined): ChecksumAlgorithm | undefined {
  if (name === undefined) return undefined;
  const algorithm = CHECKSUM_ALGORITHMS.find(known => known === name.toUpperCase());
  if (!algorithm) {
    throw new S3Failure('InvalidRequest', { message: 'Checksum algorithm provided is unsupported. Please try again.' });
  }
  return algorithm;
}

export function checksumHeader(algorithm: ChecksumAlgorithm): string {
  return `x-amz-checksum-${algorithm.toLowerCase()}`;
}

export interface ExpectedChecksum {
  readonly algorithm: ChecksumAlgorithm;
  /** Absent: it comes in the trailer. */
  readonly value: string | undefined;
}

/** The one checksum that the request's headers name, by value or as a trailer to come. */
export function expectedChecksum(headers: IncomingHttpHeaders): ExpectedChecksum | undefined {
  const found: ExpectedChecksum[] = [];
  const trailers = String(headers['x-amz-trailer'] ?? '')
    .toLowerCase()
    .split(',')
    .map(name => name.trim());
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const name = checksumHeader(algorithm);
    const value = headers[name];
    if (typeof value === 'string') {
      // A part count, as in a composite checksum, does not belong to bytes that are being sent.
      if (Buffer.from(value, 'base64').length !== BYTES[algorithm] || value.includes('-')) {
        throw new S3Failure('InvalidRequest', { message: `Value for ${name} header is invalid.` });
      }
      found.push({ algorithm, value });
    } else if (trailers.includes(name)) found.push({ algorithm, value: undefined });
  }
  if (found.length > 1) {
    throw new S3Failure('InvalidRequest', {
      message: 'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.',
    });
  }
  const announced = headers['x-amz-sdk-checksum-algorithm'];
  if (found.length === 0 && typeof announced === 'string' && announced.toUpperCase() !== 'MD5') {
    parseAlgorithm(announced);
    throw new S3Failure('InvalidRequest', {
      message:
        'x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.',
    });
  }
  return found[0];
}

const asNumber = (base64: string): bigint => BigInt(`0x${Buffer.from(base64, 'base64').toString('hex') || '0'}`);

/** The checksum of a multipart object from those of its parts: a checksum of checksums, or that of all the bytes. */
export function combineChecksums(
  algorithm: ChecksumAlgorithm,
  type: ChecksumType,
  parts: readonly { readonly checksum: string; readonly size: number }[],
): Checksum {
  if (type === 'COMPOSITE') {
    const bytes = Buffer.concat(parts.map(part => Buffer.from(part.checksum, 'base64')));
    return { algorithm, type, value: `${checksumOf(algorithm, [bytes])}-${parts.length}` };
  }
  if (algorithm === 'SHA1' || algorithm === 'SHA256') {
    throw new S3Failure('InvalidRequest', {
      message: `The FULL_OBJECT checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`,
    });
  }
  const parameters = CRC_POLYNOMIALS[algorithm];
  let crc = 0n;
  for (const [i, part] of parts.entries()) {
    crc = i === 0 ? asNumber(part.checksum) : combineCrc(parameters, crc, asNumber(part.checksum), part.size);
  }
  const hex = crc.toString(16).padStart(parameters.bits / 4, '0');
  return { algorithm, type, value: Buffer.from(hex, 'hex').toString('base64') };
}
