/**
 * Takes a request's body in: undoes `aws-chunked`, computes the digests that are asked for while the bytes arrive, and
 * checks them against what the client sent.
 */
import { createHash, type Hash } from 'node:crypto';
import { AwsChunkedDecoder } from './aws-chunked.ts';
import { type Call, headerOf } from './call.ts';
import {
  type Checksum,
  type ChecksumAlgorithm,
  ChecksumStream,
  checksumHeader,
  type ExpectedChecksum,
  expectedChecksum,
} from './checksums.ts';
import { Content, type Extent } from './content.ts';
import { strikePosition } from './faults.ts';
import { PACE_STEP } from './latency.ts';
import { S3Failure } from './s3-error.ts';
import { PieceSignatures, payloadHash } from './signature.ts';

export interface ReceivedBody {
  readonly content: Content;
  /** hex; `undefined` where MD5s are not computed. */
  readonly md5: string | undefined;
  readonly checksum: Checksum | undefined;
}

/**
 * Bodies are copied into buffers of up to so much. Keeping the socket's own buffers of 64 KiB at most cost twice the CPU: each
 * was fresh memory for the kernel to clear, and 16,000 of them per GB work for the garbage collector.
 */
const EXTENT_SIZE = 16 * 1024 * 1024;

const EMPTY = Buffer.alloc(0);

class BodySink {
  readonly extents: Extent[] = [];
  size = 0;
  /** What the client announced and has not sent yet. */
  #expected: number;
  /** The last extent's buffer and how much of it is filled. */
  #buffer = EMPTY;
  #filled = 0;
  readonly #md5: Hash | undefined;
  readonly #sha256: Hash | undefined;
  readonly #checksum: ChecksumStream | undefined;
  #corruptAt: number | undefined;

  constructor(
    length: number,
    md5: boolean,
    sha256: boolean,
    checksum: ChecksumAlgorithm | undefined,
    corruptAt: number | undefined,
  ) {
    this.#expected = length;
    this.#md5 = md5 ? createHash('md5') : undefined;
    this.#sha256 = sha256 ? createHash('sha256') : undefined;
    this.#checksum = checksum && new ChecksumStream(checksum);
    this.#corruptAt = corruptAt;
  }

  data(bytes: Buffer): void {
    if (bytes.length === 0) return;
    let kept = bytes;
    if (this.#corruptAt !== undefined && this.#corruptAt < this.size + bytes.length) {
      kept = Buffer.from(bytes);
      const at = Math.max(0, this.#corruptAt - this.size);
      kept[at] = kept[at]! ^ 0x01;
      this.#corruptAt = undefined;
    }
    this.#md5?.update(kept);
    this.#sha256?.update(kept);
    this.#checksum?.update(kept);
    this.#store(kept);
    this.size += kept.length;
  }

  #store(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#filled === this.#buffer.length) {
        // More than was announced is an error that is told at the end.
        const length = Math.min(Math.max(this.#expected, bytes.length - at), EXTENT_SIZE);
        this.#expected -= length;
        this.#buffer = Buffer.allocUnsafeSlow(length);
        this.#filled = 0;
        this.extents.push({ length, bytes: this.#buffer });
      }
      const take = Math.min(bytes.length - at, this.#buffer.length - this.#filled);
      bytes.copy(this.#buffer, this.#filled, at, at + take);
      this.#filled += take;
      at += take;
    }
  }

  digests(): { md5: string | undefined; sha256: string | undefined; checksum: string | undefined } {
    return { md5: this.#md5?.digest('hex'), sha256: this.#sha256?.digest('hex'), checksum: this.#checksum?.value() };
  }
}

/** Bytes that the body will have, without framing. Throws MissingContentLength, or NotImplemented for a body of unknown length. */
function declaredLength(call: Call, chunked: boolean): number {
  const text = headerOf(call, chunked ? 'x-amz-decoded-content-length' : 'content-length');
  if (text !== undefined && /^\d+$/.test(text)) return Number(text);
  if (headerOf(call, 'transfer-encoding') !== undefined && !chunked) {
    throw new S3Failure('NotImplemented', { fields: { Header: 'Transfer-Encoding' } });
  }
  if (!chunked && call.operation !== 'PutObject' && call.operation !== 'UploadPart') return 0;
  throw new S3Failure('MissingContentLength');
}

async function pour(call: Call, take: (bytes: Buffer) => void, stallAt: number | undefined): Promise<void> {
  const { request } = call;
  call.proceed();
  let sincePause = 0;
  let total = 0;
  let stallAfter = stallAt;
  let failed = false;
  await new Promise<void>((resolve, reject) => {
    const hold = (waiting: Promise<void>): void => {
      request.pause();
      void waiting.then(() => request.resume());
    };
    request.on('data', (bytes: Buffer) => {
      if (failed) return;
      total += bytes.length;
      call.received(bytes.length);
      try {
        take(bytes);
      } catch (error) {
        failed = true;
        reject(error);
        return;
      }
      if (stallAfter !== undefined && total >= stallAfter) {
        stallAfter = undefined;
        hold(new Promise(done => call.world.clock.after(call.fault?.ms ?? 5000, done)));
      } else if (call.pace) {
        sincePause += bytes.length;
        if (sincePause < PACE_STEP) return;
        hold(call.pace(sincePause));
        sincePause = 0;
      }
    });
    request.on('end', () => {
      if (call.pace && sincePause > 0) void call.pace(sincePause).then(resolve);
      else resolve();
    });
    // It also closes after its end, where a paced answer may still be waiting.
    request.on('close', () => request.complete || reject(new S3Failure('IncompleteBody')));
    request.on('error', () => reject(new S3Failure('IncompleteBody')));
  });
}

/** What brings bytes into a bucket with Object Lock. */
const LOCKED: ReadonlySet<string> = new Set(['PutObject', 'UploadPart']);

/** Reads the whole body. `maxBytes`: EntityTooLarge above it, before a byte is read. `wantMd5`: for the ETag. */
export async function receiveBody(call: Call, maxBytes: number, wantMd5: boolean): Promise<ReceivedBody> {
  const hash = payloadHash(call.headers, call.query);
  const streaming = hash?.startsWith('STREAMING-') ?? false;
  const chunked = streaming || /(^|,)\s*aws-chunked\s*(,|$)/i.test(headerOf(call, 'content-encoding') ?? '');
  const length = declaredLength(call, chunked);
  if (length > maxBytes) {
    throw new S3Failure('EntityTooLarge', { fields: { ProposedSize: length, MaxSizeAllowed: maxBytes } });
  }
  const contentMd5 = headerOf(call, 'content-md5');
  if (contentMd5 !== undefined && Buffer.from(contentMd5, 'base64').length !== 16) throw new S3Failure('InvalidDigest');
  // That of a completion is the object's, not its own body's.
  const expected = call.operation === 'CompleteMultipartUpload' ? undefined : expectedChecksum(call.headers);
  if (call.world.modes.objectLock && LOCKED.has(call.operation) && !expected && contentMd5 === undefined) {
    throw new S3Failure('InvalidRequest', {
      message:
        'Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters',
    });
  }
  const literal = call.verify && hash !== undefined && /^[0-9a-f]{64}$/.test(hash);
  const { fault } = call;
  if (fault?.kind === 'reset' || fault?.kind === 'truncate') {
    await breakOff(call, strikePosition(fault, length));
  }
  const corruptAt = fault?.kind === 'corrupt' ? Math.min(strikePosition(fault, length), length - 1) : undefined;
  const sink = new BodySink(length, wantMd5 || contentMd5 !== undefined, literal, expected?.algorithm, corruptAt);
  const stallAt = fault?.kind === 'stall' ? strikePosition(fault, length) : undefined;
  const trailers = chunked ? await pourChunked(call, sink, stallAt) : undefined;
  if (!chunked) await pour(call, bytes => sink.data(bytes), stallAt);
  if (sink.size !== length) throw new S3Failure('IncompleteBody');

  const digests = sink.digests();
  if (literal && digests.sha256 !== hash) {
    throw new S3Failure('XAmzContentSHA256Mismatch', {
      fields: { ClientComputedContentSHA256: hash, S3ComputedContentSHA256: digests.sha256! },
    });
  }
  if (contentMd5 !== undefined && Buffer.from(contentMd5, 'base64').toString('hex') !== digests.md5) {
    throw new S3Failure('BadDigest', { fields: { ExpectedDigest: contentMd5 } });
  }
  return {
    content: new Content(sink.extents),
    md5: digests.md5,
    checksum: checkChecksum(expected, digests.checksum, trailers),
  };
}

function checkChecksum(
  expected: ExpectedChecksum | undefined,
  computed: string | undefined,
  trailers: ReadonlyMap<string, string> | undefined,
): Checksum | undefined {
  if (!expected || computed === undefined) return undefined;
  const value = expected.value ?? trailers?.get(checksumHeader(expected.algorithm));
  if (value === undefined) {
    throw new S3Failure('InvalidRequest', { message: 'The checksum that x-amz-trailer announces did not come.' });
  }
  if (value !== computed) {
    throw new S3Failure('BadDigest', {
      message: `The ${expected.algorithm} you specified did not match the calculated checksum.`,
    });
  }
  return { algorithm: expected.algorithm, type: 'FULL_OBJECT', value };
}

async function pourChunked(
  call: Call,
  sink: BodySink,
  stallAt: number | undefined,
): Promise<ReadonlyMap<string, string>> {
  const trailers = new Map<string, string>();
  const hash = payloadHash(call.headers, call.query) ?? '';
  const signatures =
    call.verify && call.signed && hash.startsWith('STREAMING-AWS4-HMAC-SHA256')
      ? new PieceSignatures(call.signed)
      : undefined;
  let piece = signatures && createHash('sha256');
  let trailerLines = '';
  const decoder = new AwsChunkedDecoder({
    data(bytes) {
      piece?.update(bytes);
      sink.data(bytes);
    },
    pieceEnd(signature) {
      if (!signatures || !piece) return;
      signatures.piece(piece.digest('hex'), signature);
      piece = createHash('sha256');
    },
    trailer(name, value) {
      if (name === 'x-amz-trailer-signature') signatures?.trailer(trailerLines, value);
      else {
        trailers.set(name, value);
        trailerLines += `${name}:${value}\n`;
      }
    },
  });
  await pour(call, bytes => decoder.push(bytes), stallAt);
  if (!decoder.finished) throw new S3Failure('IncompleteBody');
  return trailers;
}

/** The faults `reset` and `truncate` of an upload: takes so many bytes, then ends the connection. */
async function breakOff(call: Call, after: number): Promise<never> {
  const { request } = call;
  call.proceed();
  let seen = 0;
  await new Promise<void>(resolve => {
    request.on('data', (bytes: Buffer) => {
      seen += bytes.length;
      if (seen >= after) resolve();
    });
    request.on('end', resolve);
    request.on('close', resolve);
  });
  if (call.fault?.kind === 'reset') request.socket.resetAndDestroy();
  else request.socket.destroy();
  throw new S3Failure('IncompleteBody');
}

/** A small body, an XML document, as a byte string. */
export async function receiveText(call: Call, maxBytes = 4 * 1024 * 1024): Promise<string> {
  const { content } = await receiveBody(call, maxBytes, false);
  return content.toBuffer().toString('latin1');
}
